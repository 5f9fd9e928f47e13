//! Connections that cannot be served, and what they are told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tambat_model::{Admission, Protocol};

use crate::rig::{Rig, eventually, hold, is_reset, rest};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0me\0\0";

fn failed(protocol: Protocol) -> Rig {
    let rig = Rig::new(protocol);
    rig.publish(Admission::Refuse { cause: "web.1 exited with code 1".into(), mend: None });
    rig
}

fn told(client: &TcpStream) -> String {
    String::from_utf8_lossy(&rest(client)).into_owned()
}

#[test]
fn an_http_client_is_answered_503_with_the_cause() {
    let rig = failed(Protocol::Http);
    let mut client = rig.client();
    client.write_all(GET).unwrap();
    let told = told(&client);
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\r\nTambat-Error: no-target\r\n"), "{told}");
    assert!(told.contains(r#""cause":"web cannot be reached: web.1 exited with code 1""#), "{told}");
    assert_eq!(rig.counters().refused, 1);
}

#[test]
fn a_client_that_is_still_sending_gets_to_read_it() {
    let rig = failed(Protocol::Http);
    let mut client = rig.client();
    client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 524288\r\n\r\n").unwrap();
    client.write_all(&vec![b'x'; 512 * 1024]).unwrap();
    assert!(told(&client).contains("web.1 exited with code 1"));
}

#[test]
fn a_redis_client_is_answered_an_error() {
    let rig = failed(Protocol::Redis);
    let mut client = rig.client();
    client.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    assert_eq!(told(&client), "-ERR tambat: web cannot be reached: web.1 exited with code 1\r\n");
}

#[test]
fn a_postgres_client_is_answered_an_error_after_its_wish_for_encryption_was_declined() {
    let rig = failed(Protocol::Postgres);
    let mut client = rig.client();
    // In two parts, as a network may deliver it.
    client.write_all(&SSL_REQUEST[..3]).unwrap();
    client.write_all(&SSL_REQUEST[3..]).unwrap();
    let mut answer = [0];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"N");
    client.write_all(STARTUP).unwrap();
    let told = told(&client);
    assert!(told.starts_with('E') && told.contains("57P03\0Mtambat: web cannot be reached: web.1 exited"), "{told:?}");
}

#[test]
fn a_client_of_a_plain_stream_is_reset() {
    let rig = failed(Protocol::Tcp);
    let start = Instant::now();
    assert!(is_reset(&rig.client()));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn who_has_waited_for_the_whole_limit_is_told_what_for() {
    let limit = Duration::from_millis(200);
    for protocol in [Protocol::Http, Protocol::Redis, Protocol::Postgres] {
        let rig = Rig::new(protocol);
        rig.publish(hold(Some(limit)));
        let (mut client, start) = (rig.client(), Instant::now());
        client.write_all(if protocol == Protocol::Postgres { STARTUP } else { GET }).unwrap();
        let told = told(&client);
        assert!(told.contains("web cannot be reached: web.1 is binding (after a wait of 0.2 s)"), "{protocol}: {told}");
        assert!(start.elapsed() >= limit, "{protocol}: {:?}", start.elapsed());
        drop(client);
        eventually("nothing is left", || rig.counters().open == 0);
    }
    let rig = Rig::new(Protocol::Tcp);
    rig.publish(hold(Some(limit)));
    assert!(is_reset(&rig.client()));
}

#[test]
fn a_client_that_never_closes_is_closed_on() {
    let rig = failed(Protocol::Http);
    let mut client = rig.client();
    client.write_all(GET).unwrap();
    assert!(told(&client).contains("503"));
    eventually("the router has closed", || rig.counters().open == 0);
}
