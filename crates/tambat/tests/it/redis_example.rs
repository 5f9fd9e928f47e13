//! The example `redis`: a Tornado app that counts its visits in a real Redis, and what Redis' own client sees through a
//! service port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::{AppDir, Response, get, programs, until};

const PASSWORD: &str = "tambat-it-7f3a";

/// A value of 10 MB: far more than any buffer on the way.
const BIG_BYTES: usize = 10_000_000;

/// So many keys are loaded slowly ...
const SLOW_KEYS: u64 = 1_000;

/// ... each with a pause of so many microseconds.
const SLOW_KEY_MICROS: u64 = 1_000;

/// The example as it is in the tree.
fn visits() -> AppDir {
    programs::redis();
    programs::tornado();
    let example = programs::repository().join("examples/redis");
    ["Procfile", "tambat.toml", "app.py"]
        .iter()
        .fold(AppDir::new(), |app, file| app.file(file, std::fs::read(example.join(file)).unwrap()))
}

/// A Redis alone.
fn alone(options: &str) -> AppDir {
    programs::redis();
    AppDir::manifest(&format!(
        "[processes.cache]\ncommand = \"redis-server --port $PORT --bind 127.0.0.1 --save '' {options}\"\nprotocol = \"redis\"\n"
    ))
}

/// The number on the page.
fn count(response: &Response) -> u64 {
    assert_eq!(response.status, 200, "{response:?}");
    let (_, rest) = response.body.split_once("<h1>").unwrap();
    rest.split_once("</h1>").unwrap().0.parse().unwrap()
}

fn redis_cli(app: &AppDir, port: u16, args: &[&str]) -> String {
    app.program("redis-cli", &[&["-p", &port.to_string()], args].concat()).must_be(0).stdout.trim_end().to_owned()
}

/// redis-cli with its standard input from a file of the app.
fn redis_cli_from(app: &AppDir, port: u16, args: &str, file: &str) -> String {
    app.program("/bin/sh", &["-c", &format!("redis-cli -p {port} {args} < {file}")]).must_be(0).stdout
}

#[test]
fn visits_are_counted_and_the_count_survives_a_restart_of_tambat() {
    let app = visits();
    let mut running = app.start(&[]);
    running.ready(&[]);
    for expected in 1..=3 {
        assert_eq!(count(&running.get("web", "/")), expected);
    }
    assert_eq!(redis_cli(&app, app.port("cache"), &["GET", "visits"]), "3");
    assert_eq!(running.stop(), 0);

    let mut running = app.start(&[]);
    // Both boot: the page waits for web, and web's connection waits for the cache.
    running.up();
    assert_eq!(count(&running.get("web", "/")), 4);
    assert_eq!(running.stop(), 0);
}

#[test]
fn requests_wait_while_the_cache_restarts_and_none_fails() {
    let app = visits();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let (web, pid) = (app.port("web"), app.process("cache")["instances"][0]["pid"].clone());
    let (enough, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let counts = thread::spawn({
        let (enough, visits) = (Arc::clone(&enough), Arc::clone(&visits));
        move || {
            let mut counts = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                counts.push(count(&get(web, "/")));
                visits.fetch_add(1, Ordering::Relaxed);
            }
            counts
        }
    });
    let some_more = || {
        let wanted = visits.load(Ordering::Relaxed) + 3;
        until("visits", || (visits.load(Ordering::Relaxed) >= wanted || counts.is_finished()).then_some(()));
    };
    some_more();
    app.tambat(&["restart", "cache"]).must_be(0);
    until("the new cache", || {
        let cache = app.process("cache");
        (cache["state"] == "ready" && cache["instances"][0]["pid"] != pid).then_some(())
    });
    some_more();
    enough.store(true, Ordering::Relaxed);
    let counts = counts.join().unwrap();
    assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{counts:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn another_redis_with_a_password_is_attached_and_detached() {
    let app = visits();
    let remote = app.neighbour("remote").file(
        "tambat.toml",
        format!(
            "[processes.cache]\ncommand = \"redis-server --port $PORT --bind 127.0.0.1 --save '' --requirepass {PASSWORD}\"\n\
             protocol = \"redis\"\n"
        ),
    );
    let mut other = remote.start(&[]);
    other.ready(&["cache"]);
    let port = remote.port("cache");
    let mut running = app.start(&[]);
    running.ready(&[]);
    assert_eq!(count(&running.get("web", "/")), 1);

    let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}/0");
    // On the command line everybody could read it.
    let refused = app.tambat(&["attach", "cache", &url]).must_be(2);
    assert!(refused.stderr.contains("standard input") && !refused.stderr.contains(PASSWORD), "{refused:?}");
    let app = app.file("url", &url);
    let attach = format!("exec {} attach cache - < url", env!("CARGO_BIN_EXE_tambat"));
    let attached = app.program("/bin/sh", &["-c", &attach]).must_be(0);
    assert!(attached.stderr.contains("redis://:***@127.0.0.1"), "{attached:?}");
    let web = app.port("web");
    let there = |words: &[&str]| redis_cli(&remote, port, &[&["-a", PASSWORD, "--no-auth-warning"], words].concat());
    // web restarts with the old one going on: its last visits are still counted here.
    until("a visit that is counted there", || {
        count(&get(web, "/"));
        (there(&["EXISTS", "visits"]) == "1").then_some(())
    });
    let so_far: u64 = there(&["GET", "visits"]).parse().unwrap();
    assert_eq!(count(&get(web, "/")), so_far + 1);
    until("the end of the local cache", || (app.process("cache")["state"] == "stopped").then_some(()));
    // It was counted on disk before it was answered.
    let log = std::fs::read(app.path().join("data/appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let local = u64::try_from(String::from_utf8_lossy(&log).matches("visits").count()).unwrap();

    app.tambat(&["detach", "cache"]).must_be(0);
    let here = || redis_cli(&app, app.port("cache"), &["GET", "visits"]).parse::<u64>().ok();
    until("a visit that is counted here again", || {
        count(&get(web, "/"));
        here().filter(|visits| *visits > local)
    });
    assert_eq!(running.stop(), 0);
    assert_eq!(other.stop(), 0);
    for said in [running.stdout(), running.stderr()].concat() {
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

#[test]
fn the_cache_is_not_attached_in_its_own_place() {
    let app = visits();
    let mut running = app.start(&[]);
    running.ready(&[]);
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let refused = app.tambat(&["attach", "cache", &format!("redis://{host}:{}", app.port("cache"))]).must_be(2);
        assert!(refused.stderr.contains("that is cache itself"), "{refused:?}");
    }
    assert_eq!(count(&running.get("web", "/")), 1);
    assert_eq!(running.stop(), 0);
}

#[test]
fn redis_cli_finds_a_redis_at_the_service_port() {
    let sets: Vec<String> = (0..1_000).map(|n| format!("*3\r\n$3\r\nSET\r\n$4\r\nk{n:03}\r\n$1\r\nx\r\n")).collect();
    let app = alone("--appendonly no").file("big", "0123456789".repeat(BIG_BYTES / 10)).file("pipeline", sets.concat());
    let mut running = app.start(&[]);
    running.ready(&["cache"]);
    let port = app.port("cache");
    assert_eq!(redis_cli(&app, port, &["PING"]), "PONG");
    let piped = redis_cli_from(&app, port, "--pipe", "pipeline");
    assert!(piped.contains("errors: 0, replies: 1000"), "{piped}");
    assert_eq!(redis_cli(&app, port, &["DBSIZE"]), "1000");
    assert_eq!(redis_cli_from(&app, port, "-x SET big", "big"), "OK\n");
    app.program("/bin/sh", &["-c", &format!("redis-cli -p {port} --raw GET big | head -c {BIG_BYTES} | cmp - big")])
        .must_be(0);
    for direction in ["bytes_in", "bytes_out"] {
        until(&format!("{direction} to be counted"), || {
            let bytes = app.process("cache")["ports"][0][direction].as_u64().unwrap();
            (usize::try_from(bytes).unwrap() > BIG_BYTES).then_some(())
        });
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_redis_that_is_still_loading_is_not_ready() {
    // Sleeps at every key, and answers -LOADING in between.
    let slow = format!("--key-load-delay {SLOW_KEY_MICROS} --loading-process-events-interval-bytes 1024");
    let app = alone(&format!("--appendonly no --enable-debug-command yes {slow}"));
    let mut running = app.start(&[]);
    running.ready(&["cache"]);
    let port = app.port("cache");
    redis_cli(&app, port, &["DEBUG", "POPULATE", &SLOW_KEYS.to_string(), "key", "512"]);
    redis_cli(&app, port, &["SAVE"]);
    assert_eq!(running.stop(), 0);

    let mut running = app.start(&[]);
    running.up();
    // It comes while Redis accepts and loads, and is let through when that is done.
    assert_eq!(redis_cli(&app, app.port("cache"), &["DBSIZE"]), SLOW_KEYS.to_string());
    let took = app.process("cache")["instances"][0]["ready_after_ms"].as_u64().unwrap();
    assert!(took >= SLOW_KEYS * SLOW_KEY_MICROS / 1_000, "ready after {took} ms, while it was loading");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_example_itself_is_planned() {
    let app = AppDir::new();
    let example = programs::repository().join("examples/redis");
    let plan = app.json(&["plan", "--json", "-p", "5000", "-d", example.to_str().unwrap()]);
    let [web, cache] = plan["processes"].as_array().unwrap().as_slice() else { panic!("{plan}") };
    let handle = serde_json::json!({ "variable": "REDIS_URL", "provider": "cache", "url": "redis://127.0.0.1:5100" });
    assert_eq!(web["uses"], serde_json::json!([handle]));
    assert_eq!((&web["ports"][0]["port"], &cache["ports"][0]["port"]), (&5000.into(), &5100.into()));
    assert_eq!((&cache["ports"][0]["protocol"], &cache["stateful"]), (&"redis".into(), &true.into()));
}
