//! One app is the backing service of another: two directories, two `tambat start`.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{AppDir, Running, get, until};

const SHOP: &str = r#"
[processes.web]
command = "exec tambat-fixture serve"
uses = ["billing/api"]
"#;

const BILLING: &str = r#"
[processes.web]
command = "exec tambat-fixture serve"
[processes.api]
command = "exec tambat-fixture serve"
protocol = "http"
"#;

fn apps() -> (AppDir, AppDir) {
    let shop = AppDir::manifest(SHOP);
    let billing = shop.neighbour("billing").file("tambat.toml", BILLING);
    (shop, billing)
}

/// Ends both; the second one sees that nothing of either is left.
fn stop_both(mut first: Running, mut second: Running) {
    first.signal(Signal::SIGINT);
    assert_eq!(first.exit_code(), 0);
    assert_eq!(second.stop(), 0);
}

/// The port that is held in the shop for the other app.
fn held_port(shop: &AppDir) -> u16 {
    let url = shop.environment("web")["BILLING_API_URL"].as_str().unwrap().to_owned();
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn the_provider_first() {
    let (shop, billing) = apps();
    let billing_runs = billing.start(&[]);
    billing_runs.ready(&["api"]);
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    assert_eq!(shop_runs.get("web", "/dial?BILLING_API_URL").body, "api.1");
    assert_ne!(held_port(&shop), billing.port("api"));
    stop_both(billing_runs, shop_runs);
}

/// A session of another kind has another folder of sockets.
#[test]
fn a_provider_that_was_started_from_another_session() {
    let (shop, billing) = apps();
    let elsewhere = shop.home_path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let billing = billing.env("XDG_RUNTIME_DIR", elsewhere.to_str().unwrap());
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    let billing_runs = billing.start(&[]);
    shop_runs.err_line("billing/api runs: connections go to port");
    assert_eq!(shop_runs.get("web", "/dial?BILLING_API_URL").body, "api.1");
    stop_both(billing_runs, shop_runs);
}

#[test]
fn the_consumer_first_and_its_connections_wait() {
    let (shop, billing) = apps();
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    let web = (shop.port("web"), shop.pid_of("web"));
    let early = thread::spawn(move || get(web.0, "/dial?BILLING_API_URL").body);
    until("the connection to wait", || (!early.is_finished()).then_some(()));
    let billing_runs = billing.start(&[]);
    assert_eq!(early.join().unwrap(), "api.1");
    shop_runs.err_line("billing/api runs: connections go to port");
    assert_eq!(shop.pid_of("web"), web.1);
    stop_both(billing_runs, shop_runs);
}

/// Waiting lasts as long as `ready.within` of the consumer, and the answer says why it was in vain.
#[test]
fn a_provider_that_ends_is_waited_for_and_one_that_comes_back_goes_on() {
    let (shop, billing) = apps();
    let shop = shop.file("tambat.toml", format!("{SHOP}ready = {{ within = \"4s\" }}\n"));
    let first = billing.start(&[]);
    first.ready(&["api"]);
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    let (web, held) = (shop.pid_of("web"), held_port(&shop));
    assert_eq!(get(held, "/").body, "api.1");

    first.signal(Signal::SIGINT);
    let mut first = first;
    assert_eq!(first.exit_code(), 0);
    shop_runs.err_line("billing/api has ended: connections wait for it");
    let began = Instant::now();
    let told = get(held, "/");
    assert_eq!(told.status, 503);
    let cause = "billing/api is not running: start it with `tambat start` in its directory";
    assert!(told.body.contains(cause), "{}", told.body);
    assert!(began.elapsed() >= Duration::from_millis(3_900), "{:?}", began.elapsed());

    let second = billing.start(&[]);
    let answer = until("billing to be back", || Some(get(held, "/")).filter(|r| r.status == 200));
    assert_eq!(answer.body, "api.1");
    assert_eq!(shop.pid_of("web"), web);
    stop_both(second, shop_runs);
}

#[test]
fn a_connection_that_waits_goes_on_when_the_provider_is_back() {
    let (shop, billing) = apps();
    let mut first = billing.start(&[]);
    first.ready(&["api"]);
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    let held = held_port(&shop);
    first.signal(Signal::SIGINT);
    assert_eq!(first.exit_code(), 0);
    shop_runs.err_line("billing/api has ended");
    let waits = thread::spawn(move || get(held, "/"));
    let second = billing.start(&[]);
    assert_eq!(waits.join().unwrap().body, "api.1");
    stop_both(second, shop_runs);
}

#[test]
fn a_handle_is_written_as_the_other_app_has_it() {
    let shop = AppDir::manifest(
        r#"
        [processes.web]
        command = "exec tambat-fixture serve"
        uses = { CACHE = "billing/cache", DB = "billing/db", ADMIN = "billing/chat:admin" }
        "#,
    );
    let billing = shop.neighbour("billing").file(
        "tambat.toml",
        r#"
        [processes.web]
        command = "exec tambat-fixture serve"
        [processes.cache]
        command = "exec tambat-fixture park"
        protocol = "redis"
        [processes.db]
        command = "exec tambat-fixture park"
        protocol = "postgres"
        url = "postgres://app:dev@{host}:{port}/bills"
        [processes.chat]
        command = "exec tambat-fixture serve --port-var PORT_ADMIN"
        ports = { c2s = "tcp", admin = "http" }
        "#,
    );
    let billing_runs = billing.start(&[]);
    billing_runs.ready(&["web"]);
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    let environment = shop.environment("web");
    let text = |name: &str| environment[name].as_str().unwrap().to_owned();
    assert!(text("CACHE").starts_with("redis://127.0.0.1:"), "{environment}");
    assert!(text("DB").starts_with("postgres://app:dev@127.0.0.1:") && text("DB").ends_with("/bills"), "{environment}");
    assert!(text("ADMIN").starts_with("http://127.0.0.1:"), "{environment}");
    for verb in ["ps", "env"] {
        let said = shop.tambat(&[verb]).must_be(0).stdout;
        assert!(said.contains("postgres://app:***@127.0.0.1:"), "{said}");
    }
    stop_both(billing_runs, shop_runs);
}

/// Until the other app has been seen its handle is taken for HTTP; then the consumer is told what it is.
#[test]
fn a_consumer_that_was_told_too_early_is_restarted_once() {
    let shop = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture serve\"\nuses = { CACHE = \"billing/cache\" }\n",
    );
    let billing = shop
        .neighbour("billing")
        .file("tambat.toml", "[processes.cache]\ncommand = \"exec tambat-fixture park\"\nprotocol = \"redis\"\n");
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    let web = shop.pid_of("web");
    let billing_runs = billing.start(&[]);
    shop_runs.err_line("web is restarted: its handle to billing/cache has changed");
    shop.pid_after("web", web);
    let handle = shop.environment("web")["CACHE"].as_str().unwrap().to_owned();
    assert!(handle.starts_with("redis://127.0.0.1:"), "{handle}");
    stop_both(billing_runs, shop_runs);
}

#[test]
fn an_app_that_runs_without_such_a_process_says_so_at_once() {
    let shop = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture serve\"\nuses = [\"billing/api\", \"billing/web:admin\"]\n",
    );
    let billing = shop
        .neighbour("billing")
        .file("Procfile", "web: exec tambat-fixture serve\nworker: exec tambat-fixture park\n");
    let billing_runs = billing.start(&[]);
    billing_runs.ready(&["web"]);
    let shop_runs = shop.start(&[]);
    shop_runs.ready(&["web"]);
    shop_runs.err_line("runs and has no process `api`; it has web, worker");
    shop_runs.err_line("has no port `admin`");
    let told = get(held_port(&shop), "/");
    assert_eq!(told.status, 503);
    let cause = format!("billing in {} runs and has no process `api`; it has web, worker", billing.path().display());
    assert!(told.body.contains(&cause), "{}", told.body);
    stop_both(billing_runs, shop_runs);
}
