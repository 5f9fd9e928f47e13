//! Connections of these tests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use crate::support::LIMIT;

/// A port of this machine.
pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A connection, bounded in time.
pub(super) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// What has come when this has come.
pub(super) fn read_until(mut stream: &TcpStream, until: &str) -> String {
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    while !answer.contains(until) {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "no {until} in {answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    answer
}

/// What is answered to these bytes, as far as this.
pub(super) fn ask(addr: SocketAddr, bytes: &str, until: &str) -> String {
    let mut stream = connect(addr);
    stream.write_all(bytes.as_bytes()).unwrap();
    read_until(&stream, until)
}
