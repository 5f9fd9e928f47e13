//! The resource handle of the example that has one, behind it a server of Redis' protocol.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use crate::app::{App, command, get, refusal};

/// Answers every command of one client after the other: `AUTH` by comparing, `PING` with a pong.
fn cache(password: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut answers = client.try_clone().expect("a second handle");
            let lines = BufReader::new(client).lines().map_while(Result::ok);
            let mut last = String::new();
            // The lines between say how long the next one is.
            for word in lines.filter(|line| !line.starts_with(['*', '$'])) {
                let answer = match (&*last, &*word) {
                    (_, "PING") => "+PONG\r\n",
                    ("app", word) if word == password => "+OK\r\n",
                    ("app", _) => "-WRONGPASS\r\n",
                    _ => "",
                };
                answers.write_all(answer.as_bytes()).expect("answered");
                last = word;
            }
        }
    });
    port
}

#[test]
fn a_handle_is_dialled_logged_in_to_and_never_shown() {
    let port = cache("hunter 2");
    for (user, expected) in [("app:hunter%202@", "+PONG"), ("app:hunter3@", "did not accept"), ("", "+PONG")] {
        let url = format!("redis://{user}127.0.0.1:{port}/0");
        let app = App::start("resource", &[("REDIS_URL", &url)]);
        let answer = get(app.port, "/");
        assert!(answer.contains(expected) && !answer.contains("hunter"), "{user}: {answer}");
        assert!(answer.contains(&format!("127.0.0.1:{port}/...")), "{answer}");
        assert_eq!(app.stop(), Some(0));
    }
}

#[test]
fn a_handle_that_is_away_does_not_end_the_app() {
    let app = App::start("resource", &[("REDIS_URL", "redis://127.0.0.1:1")]);
    let answer = get(app.port, "/");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("redis://127.0.0.1:1 is away"), "{answer}");
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn a_handle_that_cannot_be_used_is_said_at_the_start() {
    for (url, says) in [
        (
            None,
            "REDIS_URL: it is not in the environment\nset it to the URL of the backing service, such as REDIS_URL=redis://127.0.0.1:6379",
        ),
        (Some(""), "REDIS_URL: it is not in the environment"),
        (Some("127.0.0.1:6379"), "REDIS_URL: it has no scheme"),
        (Some("postgres://u:hunter2@db"), "its scheme is postgres, and this app speaks redis"),
        (Some("redis:///0"), "REDIS_URL: it names no host"),
    ] {
        let mut command = command("resource");
        command.env("PORT", "5000").env_remove("REDIS_URL").envs(url.map(|url| ("REDIS_URL", url)));
        let (code, said) = refusal(command);
        assert_eq!(code, Some(1), "{url:?}: {said}");
        assert!(said.contains(says) && !said.contains("hunter2"), "{url:?}: {said}");
    }
}
