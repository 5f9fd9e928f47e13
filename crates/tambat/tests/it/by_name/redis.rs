//! Redis: by the name in TLS, which ends at the router; and without TLS at an address of its own.

use std::net::SocketAddr;

use super::{NAMES, Stage};
use crate::support::{AppDir, Output, programs};

fn stage() -> Stage {
    programs::redis();
    Stage::new(|name| {
        format!(
            "[processes.cache]\ncommand = \"redis-server --port $PORT --bind 127.0.0.1 --save ''\"\nprotocol = \"redis\"\n\
             listen = \"127.0.0.1:0\"\nhosts = \"{name}.example\"\ntls = \"terminate\"\n"
        )
    })
}

/// redis-cli, which gives the name that it is told to give.
fn redis_cli(stage: &Stage, at: SocketAddr, how: &[&str], words: &[&str]) -> Output {
    let port = at.port().to_string();
    stage.run("redis-cli", &[&["-h", "127.0.0.1", "-p", &port], how, words].concat())
}

#[test]
fn redis_cli_reaches_the_one_that_it_names() {
    let stage = stage();
    let (mut running, at) = stage.serve("cache");
    let over =
        |host: &str, words: &[&str]| redis_cli(&stage, at, &["--tls", "--cacert", "ca.pem", "--sni", host], words);
    for name in NAMES {
        let said = over(&format!("{name}.example"), &["SET", "who", name]).must_be(0);
        assert_eq!(said.stdout, "OK\n", "{said:?}");
    }
    // Names know no case, and a last dot is none of theirs.
    for (host, name) in [("one.example", "one"), ("two.example", "two"), ("ONE.Example", "one")] {
        assert_eq!(over(host, &["GET", "who"]).must_be(0).stdout, format!("{name}\n"), "{host}");
    }
    let refused = over("nope.example", &["PING"]);
    assert!(refused.stderr.contains("unrecognized name"), "{refused:?}");
    let nameless = redis_cli(&stage, at, &["--tls", "--cacert", "ca.pem"], &["PING"]);
    assert!(nameless.stderr.contains("unrecognized name"), "{nameless:?}");
    let plain = redis_cli(&stage, at, &[], &["PING"]);
    assert!(plain.stderr.contains("Server closed the connection"), "{plain:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_library_of_python_reaches_the_one_of_its_url() {
    let python = programs::redis_py();
    let stage = stage();
    let (mut running, at) = stage.serve("cache");
    let script = "import sys, redis\n\
                  for name in ('one', 'two', 'nope'):\n\
                  \x20   url = f'rediss://{name}.example:{sys.argv[1]}/0'\n\
                  \x20   try:\n\
                  \x20       client = redis.Redis.from_url(url, ssl_ca_certs='ca.pem')\n\
                  \x20       client.set('who', name)\n\
                  \x20       print(client.get('who').decode())\n\
                  \x20   except redis.exceptions.ConnectionError as error:\n\
                  \x20       print('unrecognized' if 'UNRECOGNIZED_NAME' in str(error) else error)\n";
    let said = stage.run(python.to_str().unwrap(), &["-c", script, &at.port().to_string()]).must_be(0);
    assert_eq!(said.stdout, "one\ntwo\nunrecognized\n");
    for name in NAMES {
        let how = ["--tls", "--cacert", "ca.pem", "--sni", &format!("{name}.example")];
        assert_eq!(redis_cli(&stage, at, &how, &["GET", "who"]).must_be(0).stdout, format!("{name}\n"));
    }
    assert_eq!(running.stop(), 0);
}

/// One that other machines reach, without TLS.
fn public(more: &str) -> AppDir {
    programs::redis();
    AppDir::manifest(&format!(
        "[processes.cache]\ncommand = \"redis-server --port $PORT --bind 127.0.0.1 --save ''\"\nprotocol = \"redis\"\n\
         listen = \"0.0.0.0:0\"\n{more}"
    ))
}

#[test]
fn one_that_other_machines_reach_must_be_meant() {
    let app = public("");
    for verb in ["start", "plan"] {
        let refused = app.tambat(&[verb]).must_be(2);
        let said = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "at 0.0.0.0:0 `cache` is reached from other machines, and cannot see from which",
            "Redis' protected mode would take every client for a local one",
            "help: expose = true, if it guards itself (a password, certificates)",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!refused.stdout.contains("started"), "{refused:?}");
    }

    let app = public("expose = true\n");
    let mut running = app.start(&[]);
    running.ready(&["cache"]);
    let listens = &app.process("cache")["ports"][0]["listens"][0];
    let at: SocketAddr = listens["address"].as_str().unwrap().parse().unwrap();
    let ping = app.program("redis-cli", &["-h", "127.0.0.2", "-p", &at.port().to_string(), "PING"]);
    assert_eq!(ping.must_be(0).stdout, "PONG\n");
    // At any address of this machine: which of them others know, nobody can say.
    let told = app.tambat(&["url", "--public", "cache"]).must_be(1).stderr;
    assert!(told.contains("cannot say where cache is reached from other machines"), "{told}");
    assert_eq!(running.stop(), 0);

    let app = public("expose = true\nhosts = \"cache.example\"\ntls = \"passthrough\"\n");
    let mut running = app.start(&[]);
    running.up();
    let address = app.process("cache")["ports"][0]["listens"][0]["address"].as_str().unwrap().to_owned();
    let port = address.rsplit(':').next().unwrap();
    let told = app.tambat(&["url", "--public", "cache"]).must_be(0).stdout;
    assert_eq!(told, format!("rediss://cache.example:{port}\n"));
    assert_eq!(running.stop(), 0);
}
