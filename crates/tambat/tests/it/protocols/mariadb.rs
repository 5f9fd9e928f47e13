//! `MariaDB`, which greets first.

use super::{Client, WHY, failed, spoken, stop_by_term};
use crate::support::{AppDir, programs};

/// Its startup takes so long: it listens, and greets nobody before this is over.
const SLOW_STARTUP_S: u64 = 2;

/// An app with a database in `data`, run without privileges: `MariaDB` asks root for a `--user`.
fn database() -> AppDir {
    programs::mariadb();
    let manifest = "[processes.web]\ncommand = \"tambat-fixture serve\"\nuses = [\"db\"]\n\
         [processes.db]\n\
         command = \"exec /usr/sbin/mariadbd --no-defaults --datadir=$PWD/data --bind-address=127.0.0.1 --port=$PORT \
         --socket=$PWD/socket --pid-file=$PWD/pid --init-file=$PWD/slow.sql --log-warnings=2\"\n\
         protocol = \"mysql\"\n\
         url = \"mysql://app@{host}:{port}/shop\"\n";
    let slow = format!("do sleep({SLOW_STARTUP_S});\n");
    let app = AppDir::manifest(manifest).file("slow.sql", slow).unprivileged();
    let data = format!("--datadir={}/data", app.path().display());
    app.program("mariadb-install-db", &["--no-defaults", &data, "--auth-root-authentication-method=normal"]).must_be(0);
    app
}

/// The client's arguments.
fn at(port: u16) -> Vec<String> {
    let port = port.to_string();
    ["--no-defaults", "-h", "127.0.0.1", "-P", &port, "-u", "root", "-N"].map(str::to_owned).to_vec()
}

fn query(app: &AppDir, port: u16, sql: &str) -> crate::support::Output {
    let args = [at(port), vec!["-e".to_owned(), sql.to_owned()]].concat();
    app.program("mariadb", &args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn it_is_ready_when_it_greets_and_the_data_stay() {
    let app = database();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("db");
    // It comes while the server starts, and waits.
    let made = query(&app, port, "create database shop; create table shop.ships as select 'Ayu' as name; select 6 * 7");
    assert_eq!(made.must_be(0).stdout, "42\n");
    let ready_after = app.process("db")["instances"][0]["ready_after_ms"].as_u64().unwrap();
    assert!(ready_after >= SLOW_STARTUP_S * 1_000, "ready after {ready_after} ms, while it greeted nobody");
    assert_eq!(app.process("db")["stateful"], true);
    let url = app.environment("web")["DB_URL"].clone();
    assert_eq!(url, format!("mysql://app@127.0.0.1:{port}/shop"));
    stop_by_term(&app, "db", &mut running, None);

    let mut running = app.start(&[]);
    running.ready(&["db"]);
    let port = app.port("db");
    assert_eq!(query(&app, port, "select name from shop.ships").must_be(0).stdout, "Ayu\n");
    let mut command = app.any_command("mariadb");
    command.args(at(port)).arg("--unbuffered");
    let client = Client::start(command, "select 'connected';\n", "connected");
    stop_by_term(&app, "db", &mut running, Some(client));

    let spoken = spoken(&app, "db");
    assert!(spoken.contains("the MySQL protocol (server 5.5.5-10."), "{spoken}");
}

#[test]
fn a_client_of_one_that_failed_reads_why() {
    programs::mariadb();
    let (app, mut running) = failed("mysql");
    let told = query(&app, app.port("back"), "select 1").must_be(1);
    assert!(told.stderr.contains("1040") && told.stderr.contains(WHY), "{told:?}");
    assert_eq!(running.stop(), 0);
}
