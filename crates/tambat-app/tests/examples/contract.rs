//! What every app keeps that is served by this crate.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::app::{App, PATIENCE, ask, command, curl, free_port, get, read_to_end, refusal};

const HALF: &[u8] = b"POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhello";

#[test]
fn an_axum_app_finishes_what_it_began() {
    let mut app = App::start("axum", &[]);
    assert!(get(app.port, "/").ends_with("moored\n"));
    let mut half = app.connect();
    half.write_all(HALF).expect("sent");
    // Its head is read once a request that was sent after it is answered.
    get(app.port, "/");
    app.signal(Signal::SIGTERM);
    app.refuses();
    half.write_all(b"world").expect("sent");
    let answer = read_to_end(&mut half);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("helloworld"), "{answer}");
    assert_eq!(app.ended().code(), Some(0));
    TcpListener::bind((Ipv4Addr::LOCALHOST, app.port)).expect("the port is free again");
}

#[test]
fn int_ends_it_as_term_does() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut app = App::start("axum", &[]);
        let mut idle = app.connect();
        app.signal(signal);
        assert_eq!(app.ended().code(), Some(0), "{signal}");
        assert_eq!(read_to_end(&mut idle), "");
    }
}

#[test]
fn a_client_that_hangs_does_not_outlive_the_grace() {
    let mut app = App::start("grace", &[]);
    let mut half = app.connect();
    half.write_all(HALF).expect("sent");
    get(app.port, "/");
    let told = Instant::now();
    app.signal(Signal::SIGTERM);
    assert_eq!(app.ended().code(), Some(3));
    assert!(told.elapsed() >= Duration::from_millis(500), "{:?}", told.elapsed());
    let app = App::start("grace", &[]);
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn both_versions_of_http_are_told_apart_by_curl() {
    let words: &[&str] = &["--data", "three words here"];
    for (example, data, body) in [("axum", &[][..], "moored\n"), ("hyper", words, "3\n")] {
        let app = App::start(example, &[]);
        let url = format!("http://127.0.0.1:{}/", app.port);
        for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2"), ("--http1.0", "1")] {
            let said = curl(&[&[option, "--write-out", "%{http_version} %{http_code}", &url], data].concat());
            assert_eq!(said, format!("{body}{version} 200"), "{example} {option}");
        }
        assert_eq!(app.stop(), Some(0), "{example}");
    }
}

#[test]
fn a_raw_protocol_is_drained_as_well() {
    let mut app = App::start("raw", &[]);
    let mut client = app.connect();
    client.write_all(b"ahoy\n").expect("sent");
    let mut line = [0; 5];
    client.read_exact(&mut line).expect("answered");
    assert_eq!(&line, b"ahoy\n");
    client.write_all(b"half ").expect("sent");
    // What was sent before is there once another client is served.
    let mut other = app.connect();
    other.write_all(b"other\n").expect("sent");
    other.read_exact(&mut [0; 6]).expect("answered");
    app.signal(Signal::SIGTERM);
    app.refuses();
    assert_eq!(read_to_end(&mut other), "stopping\n");
    client.write_all(b"a line\n").expect("sent");
    assert_eq!(read_to_end(&mut client), "half a line\nstopping\n");
    assert_eq!(app.ended().code(), Some(0));
}

#[test]
fn named_ports_are_served_side_by_side() {
    let (app, admin) = loop {
        let (port, admin) = (free_port(), free_port());
        let mut command = command("named_ports");
        command.env("PORT", port.to_string()).env("PORT_ADMIN", admin.to_string());
        if let Some(app) = App::listening(command, port) {
            break (app, admin);
        }
    };
    assert!(get(app.port, "/").ends_with("moored\n"));
    assert!(get(admin, "/").ends_with("the engine room\n"));
    assert_eq!(app.stop(), Some(0));
    TcpListener::bind((Ipv4Addr::LOCALHOST, admin)).expect("the other port is free again, too");
}

#[test]
fn health_is_a_path_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = App::start("health", &[("DATA", folder.path().to_str().expect("text"))]);
    let answer = get(app.port, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    let head = ask(app.port, "HEAD /healthz HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    assert!(head.contains("content-length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    drop(folder);
    let answer = get(app.port, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("not healthy: "), "{answer}");
    assert!(get(app.port, "/").ends_with("moored\n"));
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn a_host_says_where_it_is_reached() {
    let ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    for (host, v4, v6) in
        [(None, true, true), (Some("0.0.0.0"), true, false), (Some("::"), true, true), (Some("127.0.0.1"), true, false)]
    {
        if host == Some("::") && !ipv6 {
            continue;
        }
        let environment: Vec<(&str, &str)> = host.map(|host| ("HOST", host)).into_iter().collect();
        let app = App::start("axum", &environment);
        let by = |reached: std::io::Result<TcpStream>| reached.is_ok();
        assert_eq!(by(TcpStream::connect((Ipv4Addr::LOCALHOST, app.port))), v4, "{host:?}");
        assert_eq!(by(TcpStream::connect((Ipv6Addr::LOCALHOST, app.port))), v6 && ipv6, "{host:?}");
        assert_eq!(app.stop(), Some(0), "{host:?}");
    }
}

#[test]
fn what_keeps_it_from_mooring_is_said_and_fails() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let taken = holder.local_addr().expect("an address").port().to_string();
    for (environment, says) in [
        (&[][..], "cannot find the port to bind: PORT is not in the environment\nset it (PORT=5000)"),
        (&[("PORT", "")], "cannot use PORT=\"\": it is not a number"),
        (&[("PORT", "web")], "cannot use PORT=\"web\": it is not a number"),
        (&[("PORT", "0")], "cannot use PORT=0: the kernel would choose"),
        (&[("PORT", "65536")], "cannot use PORT=65536: ports end at 65535"),
        (&[("PORT", &taken)], "another program listens there\nstop it (`ss -ltnp"),
        (&[("PORT", "5000"), ("HOST", "app.example.com")], "cannot use HOST=\"app.example.com\""),
        (&[("PORT", "5000"), ("HOST", "192.0.2.1")], "this machine does not have that address"),
        (&[("PORT", "5000"), ("NOTIFY_SOCKET", "nowhere")], "cannot tell the service manager at NOTIFY_SOCKET"),
    ] {
        let mut command = command("axum");
        command.envs(environment.iter().copied());
        let (code, said) = refusal(command);
        assert_eq!(code, Some(1), "{environment:?}: {said}");
        assert!(said.contains(says), "{environment:?}: {said}");
    }
}

#[test]
fn a_slow_client_of_either_version_is_let_go_when_it_drains() {
    let app = App::start("axum", &[]);
    // One that has sent a part of the preface of HTTP/2, and one that has sent all of it and then nothing.
    let mut part = app.connect();
    part.write_all(b"PR").expect("sent");
    let mut whole = app.connect();
    whole.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("sent");
    get(app.port, "/");
    let told = Instant::now();
    assert_eq!(app.stop(), Some(0));
    assert!(told.elapsed() < PATIENCE / 2, "{:?}", told.elapsed());
    drop((part, whole));
}
