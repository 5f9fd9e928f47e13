//! The words of tests with HTTP/2: a target that speaks it in frames by hand, so that it may say what no library would.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::rig::{Backend, bounded};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The default of every window (RFC 9113 §6.5.2).
pub(crate) const WINDOW_BYTES: usize = 65_535;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error that a `RST_STREAM` names.
    pub(crate) fn error(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// The target's end of a connection.
pub(crate) struct Peer(pub(crate) TcpStream);

impl Peer {
    /// The next connection that comes, with these settings: number and value.
    pub(crate) fn accept(backend: &Backend, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self(bounded(backend.accept()));
        peer.0.set_nodelay(true).unwrap();
        let mut preface = vec![0; PREFACE.len()];
        peer.0.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        let payload = settings
            .iter()
            .flat_map(|(number, value)| [number.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat());
        peer.say(SETTINGS, 0, 0, &payload.collect::<Vec<_>>());
        peer
    }

    pub(crate) fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).unwrap();
    }

    /// `:status: 200`, and whether nothing follows.
    pub(crate) fn ok(&mut self, stream: u32, ends: bool) {
        self.fields(stream, &[0x88], ends);
    }

    /// A block of fields, as HPACK has it.
    pub(crate) fn fields(&mut self, stream: u32, block: &[u8], ends: bool) {
        self.say(HEADERS, END_HEADERS | u8::from(ends), stream, block);
    }

    pub(crate) fn reset(&mut self, stream: u32, error: u32) {
        self.say(RST_STREAM, 0, stream, &error.to_be_bytes());
    }

    /// The last stream that was looked at, and the error.
    pub(crate) fn goes_away(&mut self, last: u32, error: u32) {
        self.say(GOAWAY, 0, 0, &[last.to_be_bytes(), error.to_be_bytes()].concat());
    }

    pub(crate) fn gives_room(&mut self, stream: u32, bytes: u32) {
        self.say(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
        self.say(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// The next frame that says something of a stream, or that the connection ends; settings and pings are answered.
    pub(crate) fn hear(&mut self) -> Frame {
        loop {
            let frame = self.next().expect("a frame");
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.say(SETTINGS, ACK, 0, &[]),
                PING if frame.flags & ACK == 0 => self.say(PING, ACK, 0, &frame.payload.clone()),
                SETTINGS | PING => {}
                WINDOW_UPDATE if frame.stream == 0 => {}
                _ => return frame,
            }
        }
    }

    /// What the answer to a ping says.
    pub(crate) fn pong(&mut self) -> Vec<u8> {
        loop {
            let frame = self.next().expect("a frame");
            if frame.kind == PING && frame.flags & ACK != 0 {
                return frame.payload;
            }
        }
    }

    /// The head of the next request: its stream.
    pub(crate) fn request(&mut self) -> Frame {
        let frame = self.hear();
        assert_eq!((frame.kind, frame.flags & END_HEADERS), (HEADERS, END_HEADERS), "{frame:?}");
        frame
    }

    /// Has the other side closed, whatever it said before?
    pub(crate) fn is_closed(&mut self) -> bool {
        while self.next().is_some() {}
        true
    }

    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
            Err(error) => panic!("{error}"),
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.0.read_exact(&mut payload).unwrap();
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }
}

/// A literal field, never indexed.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], string(name), string(value)].concat()
}
