//! The conversation with a keeper: orders go out, reports come in.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream as StdStream;

use tambat_os::{Order, Report, ReportReader};
use tokio::net::UnixStream;

/// A report is some tens of bytes; the longest names 16 processes.
const CHUNK_BYTES: usize = 1024;

/// tambat's end of the socket to a keeper. Dropping it ends what the keeper keeps.
#[derive(Debug)]
pub struct KeeperSocket(UnixStream);

impl KeeperSocket {
    /// Takes the socket, which must be nonblocking. Fails where the reactor takes no more descriptors.
    pub fn new(socket: StdStream) -> io::Result<Self> {
        UnixStream::from_std(socket).map(Self)
    }

    /// Sends an order. If the keeper is gone, its end is what is read next. Not cancel safe: an order cut short is lost.
    pub async fn send(&self, order: &Order) {
        let bytes = order.encode();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match self.0.writable().await.and_then(|()| self.0.try_write(rest)) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// The next report; `None` when the keeper is gone, or says what is none. Cancel safe: no report is lost.
    pub async fn next(&self, reader: &mut ReportReader) -> Option<Report> {
        loop {
            if let Some(report) = reader.next() {
                return report.ok();
            }
            let mut bytes = [0; CHUNK_BYTES];
            match self.0.readable().await.and_then(|()| self.0.try_read(&mut bytes)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return None,
                Ok(read) => reader.push(&bytes[..read]),
            }
        }
    }
}
