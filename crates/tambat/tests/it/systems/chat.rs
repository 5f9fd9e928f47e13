//! ejabberd, which speaks XMPP: several ports, none of them HTTP at first.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{example, run_by_nobody, stop_by_term};
use crate::support::{AppDir, LIMIT, get, programs};

const TWO_USERS: &str = include_str!("two_users.py");

/// How another server begins.
const SERVER: &[u8] =
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
    to='localhost' from='example.org' version='1.0'>";

fn chat() -> AppDir {
    programs::ejabberd();
    programs::slixmpp();
    example("ejabberd")
}

/// What bob's client says when alice has written to him, both over STARTTLS, with the certificate of the app verified.
fn talk(app: &AppDir) -> String {
    let port = app.port("chat:c2s").to_string();
    let users = ["alice:wonderland", "bob:builder"];
    let script = ["-c", TWO_USERS, &port, "data/cert.pem"];
    app.program("/usr/bin/python3", &[&script[..], &users].concat()).must_be(0).stdout
}

fn ask(port: u16, header: &[u8], until: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(header).unwrap();
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    while !answer.contains(until) {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "no {until} in {answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    answer
}

#[test]
fn two_users_who_came_while_it_booted_talk_over_ejabberd() {
    let app = chat();
    let mut running = app.start(&[]);
    running.up();
    running.err_line("built in ");
    assert_eq!(talk(&app), "bob@localhost read ahoj from alice@localhost\n");
    let served = ask(app.port("chat:s2s"), SERVER, "</stream:features>");
    assert!(served.contains("xmlns='jabber:server'"), "{served}");
    assert_eq!(get(app.port("chat:http"), "/admin/").status, 401);
    let names: Vec<String> = running.processes().into_iter().map(|process| process.name).collect();
    assert!(names.iter().any(|name| name == "beam.smp") && !names.iter().any(|name| name == "epmd"), "{names:?}");
    let process = app.process("chat");
    let urls: Vec<&str> = process["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["url"].as_str().unwrap().split(':').next().unwrap())
        .collect();
    assert_eq!((urls, &process["stateful"]), (vec!["xmpp", "xmpp", "http"], &true.into()));
    stop_by_term(&app, &mut running);

    // The accounts are in its spool now.
    std::fs::write(app.path().join(".env"), "ACCOUNTS=\n").unwrap();
    run_by_nobody(app, |app, _, _| assert_eq!(talk(app), "bob@localhost read ahoj from alice@localhost\n"));
}

#[test]
fn a_client_of_a_chat_that_failed_is_told_why_in_its_own_protocol() {
    let app = AppDir::manifest(
        "[processes.chat]\ncommand = \"exit 3\"\nprotocol = \"xmpp\"\nrestart = \"never\"\n\
         [processes.web]\ncommand = \"tambat-fixture serve\"\n",
    );
    let mut running = app.start(&[]);
    running.up();
    app.until_state("chat", "ended");
    let told = ask(app.port("chat"), SERVER, "</stream:stream>");
    assert!(told.contains("<resource-constraint ") && told.contains("chat.1 exited with code 3"), "{told}");
    assert_eq!(running.stop(), 0);
}
