//! A client that cancels what its session does names the session by what a server has told it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use tambat_wire::door::postgres::{CancelKey, Door, StartupWatch, Step, Watch};

use crate::record::{Running, accept};
use crate::table::{python, tools};

/// A session that begins: who it is, what it is told, its key, and that it waits for queries.
fn session(secret: &[u8]) -> Vec<u8> {
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    };
    [
        message(b'R', b"\0\0\0\0"),
        message(b'S', b"client_encoding\0UTF8\0"),
        message(b'S', b"server_version\x0018.0\0"),
        message(b'K', &[&4_711_u32.to_be_bytes()[..], secret].concat()),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// What is done about a client of this connection in the end.
fn step(stream: &mut TcpStream) -> Step {
    let mut door = Door::new();
    let mut received = Vec::new();
    loop {
        match door.on(&received) {
            Step::Incomplete => {
                let mut chunk = [0; 1_024];
                let length = stream.read(&mut chunk).unwrap();
                assert!(length > 0, "closed after {}", received.escape_ascii());
                received.extend_from_slice(&chunk[..length]);
            }
            Step::Reply(said) => {
                stream.write_all(said).unwrap();
                received.clear();
            }
            step => return step,
        }
    }
}

fn cancelled(more: &str, secret: &[u8]) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = tempfile::tempdir().unwrap();
    let program = format!(
        "import psycopg, sys\n\
         c = psycopg.connect(f'host=127.0.0.1 port={{sys.argv[1]}} user=u sslmode=disable {more}')\n\
         c.pgconn.get_cancel().cancel()"
    );
    let _running = Running::start(&mut python(&tools("postgres/bin/python"), &program, port), &home);
    let mut first = accept(&listener);
    assert!(matches!(step(&mut first), Step::Refuse(_)), "it begins in clear");
    let said = session(secret);
    let key = CancelKey { pid: 4_711, secret: secret.into() };
    assert_eq!(StartupWatch::new().on(&said), Watch::Key(key.clone()));
    first.write_all(&said).unwrap();
    let mut second = accept(&listener);
    match step(&mut second) {
        Step::Cancel(request) => assert_eq!(request.key, key),
        other => panic!("{other:?}"),
    }
}

#[test]
fn psycopg_cancels_by_the_key_of_its_session() {
    cancelled("", &[1, 2, 3, 4]);
}

#[test]
fn psycopg_cancels_by_a_longer_key_of_version_3_2() {
    cancelled("max_protocol_version=3.2", &[7; 32]);
}
