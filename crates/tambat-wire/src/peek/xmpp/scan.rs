//! Finds where a tag ends, byte by byte and each once; what stands in it is read when it is whole.

use super::tag::{Tag, declaration};
use super::{STREAM_HEADER_BYTES_MAX, StreamError, StreamHeader};
use crate::peek::Peek;

/// Looks for the `>` of one tag. One that stands in an attribute's value ends nothing (XML 1.0 §2.4).
#[derive(Debug, Default)]
pub(crate) struct TagScan {
    quote: Option<u8>,
}

/// What a byte means to a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagByte {
    /// It is part of it.
    Inside,
    /// It ends it.
    End,
    /// It has no place in it.
    Wrong,
}

impl TagScan {
    pub(crate) fn on(&mut self, byte: u8) -> TagByte {
        match (byte, self.quote) {
            (b'<', _) => return TagByte::Wrong,
            (b'>', None) => return TagByte::End,
            (b'"' | b'\'', None) => self.quote = Some(byte),
            (byte, Some(open)) if byte == open => self.quote = None,
            _ => {}
        }
        TagByte::Inside
    }
}

/// Reads the header of a stream.
#[derive(Debug, Default)]
pub(crate) struct HeaderScan {
    /// How many bytes were looked at.
    at: usize,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing but white space yet, or the XML declaration before it.
    #[default]
    Before,
    /// Behind a `<` that stands here.
    Opened { tag: usize },
    /// In the XML declaration (XML 1.0 §2.8), which begins here; was the last byte a `?`?
    Declaration { tag: usize, question: bool },
    /// In the tag that begins here.
    Tag { tag: usize, scan: TagScan },
}

impl HeaderScan {
    /// As [`Peeker::on`](crate::peek::Peeker::on).
    pub(crate) fn on(&mut self, received: &[u8]) -> Peek<Result<StreamHeader, StreamError>> {
        while let Some(byte) = received.get(self.at).filter(|_| self.at < STREAM_HEADER_BYTES_MAX) {
            let told = self.step(*byte, received);
            self.at += 1;
            if told != Peek::Incomplete {
                return told;
            }
        }
        match self.state {
            _ if self.at < STREAM_HEADER_BYTES_MAX => Peek::Incomplete,
            // Eight kilobytes of white space are no stream.
            State::Before | State::Opened { .. } => Peek::No,
            State::Declaration { .. } | State::Tag { .. } => Peek::Found(Err(StreamError::PolicyViolation)),
        }
    }

    fn step(&mut self, byte: u8, received: &[u8]) -> Peek<Result<StreamHeader, StreamError>> {
        let at = self.at;
        match &mut self.state {
            State::Before => match byte {
                b'<' => self.state = State::Opened { tag: at },
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => return Peek::No,
            },
            State::Opened { tag } => {
                let tag = *tag;
                match byte {
                    // The declaration stands at the very beginning; whatever else begins so is an instruction.
                    b'?' if tag == 0 => self.state = State::Declaration { tag, question: false },
                    b'?' | b'!' => return Peek::Found(Err(StreamError::RestrictedXml)),
                    b'/' => return Peek::Found(Err(StreamError::NotWellFormed)),
                    byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                        self.state = State::Tag { tag, scan: TagScan::default() };
                    }
                    // Lines of syslog begin with `<34>`.
                    _ => return Peek::No,
                }
            }
            State::Declaration { tag, question } => {
                if byte == b'>' && *question {
                    let content = received.get(*tag + 2..at - 1).unwrap_or_default();
                    if let Err(error) = declaration(content) {
                        return Peek::Found(Err(error));
                    }
                    self.state = State::Before;
                } else if byte == b'<' {
                    return Peek::Found(Err(StreamError::NotWellFormed));
                } else {
                    *question = byte == b'?';
                }
            }
            State::Tag { tag, scan } => match scan.on(byte) {
                TagByte::Inside => {}
                TagByte::Wrong => return Peek::Found(Err(StreamError::NotWellFormed)),
                TagByte::End => {
                    let content = received.get(*tag + 1..at).unwrap_or_default();
                    return Peek::Found(Tag::of(content).and_then(|tag| StreamHeader::of(&tag, at + 1)));
                }
            },
        }
        Peek::Incomplete
    }
}
