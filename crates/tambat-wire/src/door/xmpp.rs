//! STARTTLS in the app's place (RFC 6120 §5): the stream that the client has begun is answered here, up to the handshake.
//! What it says inside of TLS begins with a new stream, and is the app's.

use crate::peek::xmpp::tag::Tag;
use crate::peek::xmpp::{StreamError, StreamHeader, TagByte, TagScan, open};

/// How much a client may send before it asks for TLS, in bytes: what asks takes some fifty.
pub const BEFORE_TLS_BYTES_MAX: usize = 4 * 1024;

/// The namespace of STARTTLS (RFC 6120 §5.4).
const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// Behind the answer the handshake begins (RFC 6120 §5.4.2.3).
const PROCEED: &[u8] = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

const END_OF_STREAM: &[u8] = b"</stream:stream>";

/// A stream to which TLS is offered, and nothing else.
#[derive(Debug)]
pub struct StartTls {
    /// How many bytes behind the header were looked at.
    at: usize,
    state: State,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartTlsStep {
    /// More bytes are needed.
    Incomplete,
    /// This is to be sent; the next byte from the client begins the handshake.
    Handshake(&'static [u8]),
    /// This is to be sent, and the connection to be closed.
    Close(Vec<u8>),
}

#[derive(Debug)]
enum State {
    /// Between elements, or, when TLS was asked for, before the end of what asks.
    Between { is_asked: bool },
    /// In the tag whose `<` stands here.
    Tag { tag: usize, scan: TagScan, is_asked: bool },
    /// TLS was asked for, or the stream is over.
    Over(StartTlsStep),
}

impl StartTls {
    /// Begins behind the header of a client's stream whose `to` somebody here answers to. What is to be sent is a header of
    /// our own and the offer. `id` is that of our stream: nobody should be able to guess it (RFC 6120 §4.7.3).
    ///
    /// # Errors
    ///
    /// A stream from before version 1.0 knows no offers: this is to be sent, and the connection to be closed.
    pub fn begin(header: &StreamHeader, id: &str) -> Result<(Self, Vec<u8>), Vec<u8>> {
        if header.version.is_none_or(|(major, _)| major == 0) {
            return Err(StreamError::UnsupportedVersion.answer(Some(header), id));
        }
        let mut offer = open(Some(header), false, id);
        offer.push_str(&format!("<stream:features><starttls xmlns='{TLS}'><required/></starttls></stream:features>"));
        Ok((Self { at: 0, state: State::Between { is_asked: false } }, offer.into_bytes()))
    }

    /// What is to be done by everything received behind the header: the same bytes as the last time, and more. Whatever
    /// stands behind the wish for TLS was not said by whom the handshake is with, and closes the connection.
    pub fn on(&mut self, received: &[u8]) -> StartTlsStep {
        while let Some(byte) = received.get(self.at).copied().filter(|_| !self.is_closed()) {
            let told = if self.at < BEFORE_TLS_BYTES_MAX {
                self.step(byte, received)
            } else {
                Err(StreamError::PolicyViolation)
            };
            if let Err(error) = told {
                self.state = State::Over(closed(error));
            }
            self.at += 1;
        }
        match &self.state {
            State::Over(step) => step.clone(),
            State::Between { .. } | State::Tag { .. } => StartTlsStep::Incomplete,
        }
    }

    /// What is to be sent when it takes too long to ask, before the connection is closed (RFC 6120 §4.9.3.4).
    pub fn late() -> Vec<u8> {
        let mut end = String::new();
        StreamError::ConnectionTimeout.end(&mut end);
        end.into_bytes()
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Over(StartTlsStep::Close(_)))
    }

    fn step(&mut self, byte: u8, received: &[u8]) -> Result<(), StreamError> {
        match &mut self.state {
            State::Between { .. } if byte.is_ascii_whitespace() => {}
            State::Between { is_asked } if byte == b'<' => {
                self.state = State::Tag { tag: self.at, scan: TagScan::default(), is_asked: *is_asked };
            }
            State::Between { .. } => return Err(StreamError::NotWellFormed),
            State::Over(_) => return Err(StreamError::PolicyViolation),
            State::Tag { tag, scan, is_asked } => match scan.on(byte) {
                TagByte::Inside => {}
                TagByte::Wrong => return Err(StreamError::NotWellFormed),
                TagByte::End => {
                    let content = received.get(*tag + 1..self.at).unwrap_or_default();
                    self.state = if *is_asked { end_of_wish(content) } else { judge(content) }?;
                }
            },
        }
        Ok(())
    }
}

/// What follows this tag.
fn judge(content: &[u8]) -> Result<State, StreamError> {
    match content {
        [b'!' | b'?', ..] => return Err(StreamError::RestrictedXml),
        [b'/', name @ ..] => {
            let is_stream = name.trim_ascii_end().split(|byte| *byte == b':').next_back() == Some(b"stream");
            let end = State::Over(StartTlsStep::Close(END_OF_STREAM.to_vec()));
            return if is_stream { Ok(end) } else { Err(StreamError::NotWellFormed) };
        }
        _ => {}
    }
    let tag = Tag::of(content)?;
    match (tag.local(), tag.namespace(), tag.is_empty_element) {
        ("starttls", Some(TLS), true) => Ok(State::Over(StartTlsStep::Handshake(PROCEED))),
        ("starttls", Some(TLS), false) => Ok(State::Between { is_asked: true }),
        // Nothing else is offered: TLS comes first (RFC 6120 §5.3.1).
        _ => Err(StreamError::PolicyViolation),
    }
}

/// The end of an element that was not empty: `</starttls>`.
fn end_of_wish(content: &[u8]) -> Result<State, StreamError> {
    let name = content.strip_prefix(b"/").ok_or(StreamError::PolicyViolation)?.trim_ascii_end();
    if name.split(|byte| *byte == b':').next_back() == Some(b"starttls") {
        Ok(State::Over(StartTlsStep::Handshake(PROCEED)))
    } else {
        Err(StreamError::NotWellFormed)
    }
}

/// The end of a stream that is open (RFC 6120 §4.9.1.1).
fn closed(error: StreamError) -> StartTlsStep {
    let mut end = String::new();
    error.end(&mut end);
    StartTlsStep::Close(end.into_bytes())
}

#[cfg(test)]
mod tests;
