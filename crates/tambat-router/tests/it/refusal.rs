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
fn a_client_of_a_server_that_speaks_first_is_told_without_having_spoken() {
    let words = "tambat: web cannot be reached: web.1 exited with code 1";
    let disconnect = b"SSH-2.0-tambat\r\n\0\0\0";
    let error = [u8::try_from(words.len() + 3).unwrap(), 0, 0, 0, 0xff, 0x10, 0x04];
    for (protocol, beginning) in
        [(Protocol::Smtp, &b"421 4.3.2 "[..]), (Protocol::Mysql, &error[..]), (Protocol::Ssh, &disconnect[..])]
    {
        let rig = failed(protocol);
        let start = Instant::now();
        let told = rest(&rig.client());
        assert!(start.elapsed() < Duration::from_secs(1), "{protocol}: {:?}", start.elapsed());
        assert!(told.starts_with(beginning), "{protocol}: {}", told.escape_ascii());
        assert!(String::from_utf8_lossy(&told).contains(words), "{protocol}: {}", told.escape_ascii());
    }
}

#[test]
fn a_client_of_mqtt_is_told_in_the_version_that_it_speaks() {
    let rig = failed(Protocol::Mqtt);
    for (level, told) in [(4, &b"\x20\x02\0\x03"[..]), (5, b"\x20\x3d\0\x88\x3a\x1f\0\x37tambat: web cannot be")] {
        let mut client = rig.client();
        // The level of the protocol comes in the second part.
        client.write_all(b"\x10\x0d\0\x04MQTT").unwrap();
        client.write_all(&[level, 2, 0, 10, 0, 0, 0]).unwrap();
        let answer = rest(&client);
        assert!(answer.starts_with(told), "{}", answer.escape_ascii());
    }
}

#[test]
fn a_client_of_tls_is_answered_an_alert() {
    let rig = failed(Protocol::Tls);
    let mut client = rig.client();
    client.write_all(b"\x16\x03\x01\0\x05\x01\0\0\x01\0").unwrap();
    assert_eq!(rest(&client), b"\x15\x03\x03\0\x02\x02\x50");
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
