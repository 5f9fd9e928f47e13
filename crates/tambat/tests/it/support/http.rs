//! An HTTP client as plain as can be: one request, one connection, everything up to its end.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::LIMIT;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The head, status line included.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

/// GET at 127.0.0.1. Waits as long as the connection is held; panics if there is no whole answer.
pub(crate) fn get(port: u16, path: &str) -> Response {
    try_get(port, path).unwrap_or_else(|error| panic!("GET {path} at port {port}: {error}"))
}

/// GET at 127.0.0.1.
pub(crate) fn try_get(port: u16, path: &str) -> io::Result<Response> {
    try_get_at((Ipv4Addr::LOCALHOST, port).into(), &format!("localhost:{port}"), path, "")
}

/// GET of this host, with further fields, each with its line's end.
pub(crate) fn try_get_at(addr: SocketAddr, host: &str, path: &str, fields: &str) -> io::Result<Response> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    whole(&text)
}

/// Everything that came on a connection, as an answer.
pub(crate) fn whole(text: &[u8]) -> io::Result<Response> {
    let text = String::from_utf8_lossy(text);
    let broken = || io::Error::other(format!("not a whole answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    if length.is_some_and(|length: usize| body.len() < length) {
        return Err(broken());
    }
    Ok(Response { status, head: head.to_owned(), body: body.to_owned() })
}
