//! A client that sends frames as they are, and reads what comes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::hostile::client::connect_from;

use super::frames::{
    ACK, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame, ping, settings,
};

/// Nothing that is waited for here takes nearly as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    ahead: Vec<u8>,
    /// What the router has said of itself.
    pub(super) settings: Option<Frame>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Frame(Frame),
    /// The router has closed the connection.
    End,
    /// Nothing in this time.
    Nothing,
}

impl Client {
    /// A connection on which nothing was said.
    pub(super) fn raw(addr: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&addr, PATIENCE).unwrap())
    }

    /// The same, coming from this address.
    pub(super) fn raw_from(from: Ipv4Addr, addr: SocketAddr) -> Self {
        Self::of(connect_from(from, addr))
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, ahead: Vec::new(), settings: None }
    }

    /// One that has begun with these settings, and is agreed upon.
    pub(super) fn with(addr: SocketAddr, said: &[(u16, u32)]) -> Self {
        Self::raw(addr).begins(said)
    }

    fn begins(self, said: &[(u16, u32)]) -> Self {
        let mut client = self;
        client.send([PREFACE, &settings(said)].concat());
        client.settings =
            Some(client.until("the router's settings", |frame| frame.is(SETTINGS, 0) && frame.flags & ACK == 0));
        client.send(frame(SETTINGS, ACK, 0, &[]));
        client.until("that its own are taken", |frame| frame.is(SETTINGS, ACK));
        client
    }

    pub(super) fn open(addr: SocketAddr) -> Self {
        Self::with(addr, &[])
    }

    /// The same, coming from this address.
    pub(super) fn open_from(from: Ipv4Addr, addr: SocketAddr) -> Self {
        Self::raw_from(from, addr).begins(&[])
    }

    /// What the router does not take any more is lost.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends it unless the router has closed the connection: was it taken?
    pub(super) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// What comes next within this time.
    pub(super) fn next(&mut self, within: Duration) -> Next {
        loop {
            if let Some((frame, length)) = Frame::read(&self.ahead) {
                self.ahead.drain(..length);
                return Next::Frame(frame);
            }
            self.stream.set_read_timeout(Some(within)).unwrap();
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Next::End,
                Ok(more) => self.ahead.extend_from_slice(&buffer[..more]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Next::Nothing;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::End,
            }
        }
    }

    /// Bytes that are no frames, up to the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = std::mem::take(&mut self.ahead);
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// The first frame that is like this.
    #[track_caller]
    pub(super) fn until(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Frame {
        let mut seen = Vec::new();
        loop {
            match self.next(PATIENCE) {
                Next::Frame(frame) if is_it(&frame) => return frame,
                Next::Frame(frame) => seen.push(frame),
                other => panic!("{what} does not come: {other:?} after {seen:?}"),
            }
        }
    }

    /// The code of the GOAWAY that ends the connection, and the last stream it speaks of.
    #[track_caller]
    pub(super) fn goaway(&mut self, what: &str) -> (u32, u32) {
        let frame = self.until(&format!("{what}: GOAWAY"), |frame| frame.kind == GOAWAY);
        (frame.number(4), frame.number(0))
    }

    /// The router closes the connection.
    #[track_caller]
    pub(super) fn must_end(&mut self, what: &str) {
        loop {
            match self.next(PATIENCE) {
                Next::Frame(_) => {}
                Next::End => return,
                Next::Nothing => panic!("{what}: the connection is still open"),
            }
        }
    }

    /// The status and the body of the answer on this stream.
    #[track_caller]
    pub(super) fn answer(&mut self, stream: u32) -> (Option<u16>, Vec<u8>) {
        let head = self.until(&format!("the answer on {stream}"), |frame| {
            assert!(frame.kind != RST_STREAM || frame.stream != stream, "it was reset: {frame:?}");
            frame.kind == HEADERS && frame.stream == stream
        });
        let (mut body, mut last) = (Vec::new(), head.clone());
        while !last.is(last.kind, END_STREAM) {
            last = self.until(&format!("the end of the answer on {stream}"), |frame| frame.stream == stream);
            assert_ne!(last.kind, RST_STREAM, "{last:?}");
            if last.kind == super::frames::DATA {
                body.extend_from_slice(&last.payload);
            }
        }
        (head.status(), body)
    }

    /// The connection works.
    #[track_caller]
    pub(super) fn must_be_alive(&mut self, what: &str) {
        let asked = b"alive???";
        self.send(ping(asked));
        self.until(&format!("{what}: an answer to PING"), |frame| {
            assert_ne!(frame.kind, GOAWAY, "{what}: {frame:?}");
            frame.is(PING, ACK) && frame.payload == asked
        });
    }
}
