//! A real PostgreSQL behind a service port.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::{AppDir, LIMIT, Running, programs, until};

/// A result of 10 MB: far more than any buffer on the way.
const BIG_BYTES: usize = 10_000_000;

/// An app with a database in `data`. PostgreSQL refuses to run as root, and so becomes another user there: whoever
/// listens is then not of tambat's user, and is found to be the instance by its place in the process tree.
struct Database {
    app: AppDir,
    bin: PathBuf,
    user: &'static str,
}

impl Database {
    /// INT is PostgreSQL's fast shutdown, TERM the one that waits for its clients.
    fn new(stop_signal: &str, options: &str) -> Self {
        let bin = programs::postgres();
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let user = if is_root { "setpriv --reuid=postgres --regid=postgres --clear-groups " } else { "" };
        let app = AppDir::manifest(&format!(
            "[processes.web]\n\
             command = \"tambat-fixture serve\"\n\
             uses = {{ DATABASE_URL = \"db\" }}\n\
             [processes.db]\n\
             command = \"{user}{}/postgres -D data -p $PORT -h 127.0.0.1 -k '' {options}\"\n\
             protocol = \"postgres\"\n\
             url = \"postgres://app@{{host}}:{{port}}/postgres\"\n\
             stop = {{ signal = \"{stop_signal}\", grace = \"20s\" }}\n",
            bin.display()
        ));
        let database = Self { app, bin, user };
        // That user must get through to its data.
        let passable = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(database.app.path().parent().unwrap(), passable).unwrap();
        std::fs::create_dir(database.data()).unwrap();
        database.give(&database.data());
        database.run("initdb", "-D data -A trust -U app -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions");
        database
    }

    fn data(&self) -> PathBuf {
        self.app.path().join("data")
    }

    /// Makes it the database's user's own.
    fn give(&self, path: &Path) {
        if !self.user.is_empty() {
            self.app.program("chown", &["postgres:postgres", path.to_str().unwrap()]).must_be(0);
        }
    }

    /// Runs one of PostgreSQL's programs as its user.
    fn run(&self, program: &str, args: &str) {
        let command = format!("exec {}{}/{program} {args}", self.user, self.bin.display());
        self.app.program("/bin/sh", &["-c", &command]).must_be(0);
    }

    /// What psql says to this, by the handle that web has.
    fn psql(&self, query: &str) -> String {
        let command = "exec psql -XAtwq -v ON_ERROR_STOP=1 -c \"$0\" \"$DATABASE_URL\"";
        let run = ["run", "--as", "web", "/bin/sh", "-c", command, query];
        self.app.tambat(&run).must_be(0).stdout.trim_end().to_owned()
    }

    fn state(&self) -> String {
        self.app.process("db")["instances"][0]["state"].as_str().unwrap().to_owned()
    }

    fn until_a_client_waits(&self) {
        until("a client that waits", || (self.app.process("db")["ports"][0]["waiting"] == 1).then_some(()));
    }

    /// Stops tambat. PostgreSQL writes its titles over its environment, so its processes are looked for by their
    /// directory, too.
    fn stop(&self, mut running: Running) {
        assert_eq!(running.stop(), 0);
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let there =
            |folder: &Path| std::fs::read_link(folder.join("cwd")).is_ok_and(|cwd| cwd.starts_with(self.data()));
        let left: Vec<PathBuf> = processes.map(|entry| entry.path()).filter(|folder| there(folder)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!self.data().join("postmaster.pid").exists(), "it had the time to stop in its own way");
    }
}

#[test]
fn psql_finds_its_database_by_the_handle_and_the_data_stay() {
    let database = Database::new("INT", "-F");
    let app = &database.app;
    let running = app.start(&[]);
    running.ready(&[]);
    let port = app.port("db");
    let url = app.json(&["env", "web", "--json"])["variables"]
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "DATABASE_URL")
        .map(|variable| variable["value"].as_str().unwrap().to_owned());
    assert_eq!(url.unwrap(), format!("postgres://app@127.0.0.1:{port}/postgres"));
    assert_eq!(database.psql("select current_user || ' ' || 6 * 7"), "app 42");
    database.psql("create table ships as select 'Ayu' as name");
    assert_eq!(database.psql(&format!("select repeat('x', {BIG_BYTES})")).len(), BIG_BYTES);

    let refused = app.tambat(&["scale", "db=2"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("it is stateful"), "{refused:?}");
    assert_eq!(app.process("db")["instances"].as_array().unwrap().len(), 1);
    // Nobody had to be taken on trust.
    assert!(running.stderr().iter().all(|line| !line.contains("cannot see who listens")), "{:?}", running.stderr());

    database.stop(running);

    let running = app.start(&[]);
    running.ready(&["db"]);
    assert_eq!(database.psql("select name from ships"), "Ayu");
    database.stop(running);
}

#[test]
fn its_stop_signal_is_the_fast_one_with_a_client_connected() {
    let database = Database::new("INT", "-F");
    let running = database.app.start(&[]);
    running.ready(&["db"]);
    let mut client = Client::connect(&database);
    database.app.tambat(&["stop", "db"]).must_be(0);
    // TERM would wait for the client, and then kill.
    running.line("received fast shutdown request");
    running.line("database system is shut down");
    until("the end of db", || (database.app.process("db")["state"] == "stopped").then_some(()));
    client.leave();
    database.stop(running);
}

#[test]
fn a_restart_is_stop_then_start_while_new_clients_wait() {
    let database = Database::new("TERM", "-F");
    let running = database.app.start(&[]);
    running.ready(&["db"]);
    let began = "select pg_postmaster_start_time()";
    let first = database.psql(began);
    let mut client = Client::connect(&database);
    database.app.tambat(&["restart", "db"]).must_be(0);

    // The old one goes on for the time of the drain, and ends its sessions then; who comes meanwhile is held.
    let second = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| database.psql(began));
        database.until_a_client_waits();
        assert!(["draining", "stopping"].contains(&&*database.state()));
        running.line("received smart shutdown request");
        waiting.join().unwrap()
    });
    client.leave();
    assert_ne!(second, first, "it was let through to the new one");
    assert_eq!(database.app.process("db")["instances"].as_array().unwrap().len(), 1);
    // Two at once on one directory: the second would have said that, and ended.
    assert!(running.stdout().iter().all(|line| !line.contains("postmaster.pid")), "{:?}", running.stdout());
    database.stop(running);
}

#[test]
fn it_is_ready_when_it_answers_a_startup_and_not_when_it_listens() {
    // A standby that takes no clients: it listens, and says 57P03 until it is promoted.
    let database = Database::new("INT", "-c hot_standby=off");
    let standby = database.data().join("standby.signal");
    std::fs::write(&standby, "").unwrap();
    database.give(&standby);
    let running = database.app.start(&[]);
    running.up().line("entering standby mode");
    let late = database.app.tambat(&["wait", "db", "--timeout", "1s"]).must_be(124);
    assert!(late.stderr.contains("db is waiting"), "{late:?}");

    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| database.psql("select pg_is_in_recovery()"));
        database.until_a_client_waits();
        database.run("pg_ctl", "promote -s -D data");
        waiting.join().unwrap()
    });
    assert_eq!(waiting, "f");
    running.ready(&["db"]);
    database.stop(running);
}

/// A psql that stays connected.
struct Client {
    child: std::process::Child,
}

impl Client {
    fn connect(database: &Database) -> Self {
        let mut command = database.app.any_command("psql");
        let url = format!("postgres://app@127.0.0.1:{}/postgres", database.app.port("db"));
        command.args(["-XAtwq", &url]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "select 'connected';").unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "connected\n", "within {LIMIT:?}");
        Self { child }
    }

    /// Its connection was cut; it ends with its input.
    fn leave(&mut self) {
        drop(self.child.stdin.take());
        until("the end of psql", || self.child.try_wait().unwrap());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
