//! A connection of TLS that never blocks: rustls without its own buffers, records decrypted where they were received.

use std::{
    io::{self, Write as _},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use rustls::{
    HandshakeKind,
    client::UnbufferedClientConnection,
    unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic},
};

use super::{
    super::talk::{Ends, Talk, connect, receive, whole},
    shared::{NAME, Shared, alpn, invalid},
    speech::Speech,
};

/// A `ClientHello` with a key of ML-KEM has 1.5 KiB; nothing else that a client sends in a handshake is longer.
const HANDSHAKE_BYTES_MAX: usize = 4 * 1024;

/// How much longer a record is than what it carries, a few times over: what is asked at once is one record, or two.
const RECORD_MORE_BYTES: usize = 128;

/// What is spoken inside, and the records around it.
pub(in super::super) struct Secure<S> {
    stream: TcpStream,
    tls: UnbufferedClientConnection,
    speech: S,
    /// The beginning of a record.
    partial: Vec<u8>,
    /// To be encrypted and sent.
    plain: Vec<u8>,
    /// Unless it has been seen.
    expected: Option<Expected>,
}

/// What the handshake must come to.
#[derive(Clone, Copy, Debug)]
struct Expected {
    kind: HandshakeKind,
    alpn: &'static [u8],
}

/// What a step of the connection leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    /// Nothing, until more arrives.
    Rest,
}

impl<S> AsFd for Secure<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl<S: Speech> Talk for Secure<S> {
    type Shared = Shared;

    fn open(shared: &mut Shared, nth: usize, ends: Ends) -> io::Result<Self> {
        let since = Instant::now();
        let (config, resumes) = shared.config(nth)?;
        let kind = if resumes { HandshakeKind::Resumed } else { HandshakeKind::Full };
        let expected = Some(Expected { kind, alpn: alpn(shared.offer) });
        let name = NAME.try_into().map_err(|error| invalid(&error))?;
        let tls = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut plain = Vec::new();
        let speech = S::begin(&shared.requests, shared.offer, since, &mut plain);
        let mut this = Self { stream: connect(ends)?, tls, speech, partial: Vec::new(), plain, expected };
        this.drive(&mut [], &mut Vec::new())?;
        Ok(this)
    }

    fn ask(&mut self, shared: &mut Shared, count: usize, since: Instant) -> io::Result<()> {
        self.speech.ask(shared, count, since, &mut self.plain);
        self.flush()
    }

    fn read(&mut self, scratch: &mut [u8], answered: &mut Vec<Instant>) -> io::Result<u64> {
        let before = self.partial.len();
        scratch[..before].copy_from_slice(&self.partial);
        let Some(received) = receive(&self.stream, &mut scratch[before..])?.map(<[u8]>::len) else { return Ok(0) };
        self.partial.clear();
        let records = &mut scratch[..before + received];
        let used = self.drive(records, answered)?;
        self.partial.extend_from_slice(&records[used..]);
        if !answered.is_empty() {
            self.expect()?;
        }
        Ok(received as u64)
    }

    fn waits(&self) -> bool {
        self.speech.waits()
    }

    fn end(mut self) -> io::Result<()> {
        let mut records = Vec::new();
        let status = self.tls.process_tls_records(&mut self.partial);
        if let ConnectionState::WriteTraffic(mut traffic) = status.state.map_err(io::Error::other)? {
            fill(&mut records, RECORD_MORE_BYTES, |room| traffic.queue_close_notify(room))?;
        }
        whole(self.stream.write(&records)?, &records)
    }
}

impl<S: Speech> Secure<S> {
    /// Everything that these records bring about. How many of their bytes are done with.
    fn drive(&mut self, records: &mut [u8], answered: &mut Vec<Instant>) -> io::Result<usize> {
        let (mut used, mut out) = (0, Vec::new());
        loop {
            let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(&mut records[used..]);
            let mut done = discard;
            let step = match state.map_err(io::Error::other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        done += record.discard;
                        self.speech.feed(record.payload, &mut self.plain, answered)?;
                    }
                    Step::GoOn
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    fill(&mut out, HANDSHAKE_BYTES_MAX, |room| data.encode(room))?;
                    Step::GoOn
                }
                ConnectionState::TransmitTlsData(mut data) => {
                    if let Some(mut traffic) = data.may_encrypt_app_data() {
                        encrypt(&mut traffic, &mut self.plain, &mut out)?;
                    }
                    whole(self.stream.write(&out)?, &out)?;
                    out.clear();
                    data.done();
                    Step::GoOn
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    encrypt(&mut traffic, &mut self.plain, &mut out)?;
                    if !out.is_empty() {
                        whole(self.stream.write(&out)?, &out)?;
                    }
                    Step::Rest
                }
                ConnectionState::BlockedHandshake => Step::Rest,
                _ => return Err(io::Error::other("it was closed, with notice")),
            };
            used += done;
            if step == Step::Rest {
                return Ok(used);
            }
        }
    }

    /// Sends what was said since. Of a record that is there in part nothing is done with.
    fn flush(&mut self) -> io::Result<()> {
        let mut partial = std::mem::take(&mut self.partial);
        let used = self.drive(&mut partial, &mut Vec::new())?;
        partial.drain(..used);
        self.partial = partial;
        Ok(())
    }

    /// The handshake came to what it had to.
    fn expect(&mut self) -> io::Result<()> {
        let Some(Expected { kind, alpn }) = self.expected.take() else { return Ok(()) };
        let seen = (self.tls.handshake_kind(), self.tls.alpn_protocol());
        if seen == (Some(kind), Some(alpn)) {
            return Ok(());
        }
        let said = |protocol: Option<&[u8]>| String::from_utf8_lossy(protocol.unwrap_or_default()).into_owned();
        Err(io::Error::other(format!(
            "a handshake was {:?} for `{}`, and should have been {kind:?} for `{}`",
            seen.0,
            said(seen.1),
            said(Some(alpn))
        )))
    }
}

fn encrypt<D>(traffic: &mut WriteTraffic<'_, D>, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
    if !plain.is_empty() {
        fill(out, plain.len() + RECORD_MORE_BYTES, |room| traffic.encrypt(plain, room))?;
        plain.clear();
    }
    Ok(())
}

/// Whatever is written into so much room goes behind what is there.
fn fill<E>(out: &mut Vec<u8>, room: usize, write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> io::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let before = out.len();
    out.resize(before + room, 0);
    let written = write(&mut out[before..]).map_err(io::Error::other)?;
    out.truncate(before + written);
    Ok(())
}
