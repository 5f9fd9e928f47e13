//! The header of an XMPP stream, by which clients and servers say whom they want (RFC 6120 §4.7), and the errors by which
//! a stream is ended before it has begun (§4.9). XML is read as §11 has it: no comments, no processing instructions, no
//! document types, no entities but the five that XML itself has.

mod error;
mod scan;
pub(crate) mod tag;

pub use error::StreamError;
pub(crate) use error::open;
pub(crate) use scan::{HeaderScan, TagByte, TagScan};
use tag::Tag;

use super::Peek;

/// How long a header may be, the XML declaration before it included, in bytes: clients write some 200, servers 300.
pub const STREAM_HEADER_BYTES_MAX: usize = 8 * 1024;

/// The namespace of streams (RFC 6120 §4.8.1).
pub(crate) const STREAMS: &str = "http://etherx.jabber.org/streams";

/// The longest domain of an address (RFC 7622 §3.2), bytes.
const DOMAIN_BYTES_MAX: usize = 1_023;

/// The longest address (RFC 7622 §3.1), bytes.
const ADDRESS_BYTES_MAX: usize = 3_071;

/// Who has begun the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// A client: `jabber:client` (RFC 6120 §4.8.2).
    Client,
    /// Another server: `jabber:server`.
    Server,
}

impl StreamKind {
    /// The namespace of what such a stream carries.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Client => "jabber:client",
            Self::Server => "jabber:server",
        }
    }
}

/// The header of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHeader {
    /// Who has begun it.
    pub kind: StreamKind,
    /// The domain that is wanted: with its ASCII letters in lower case, without a last dot, never empty.
    pub to: Option<Box<str>>,
    /// Who wants it, as it was written.
    pub from: Option<Box<str>>,
    /// The language of texts (`xml:lang`).
    pub lang: Option<Box<str>>,
    /// Major and minor version; none: from before RFC 3920.
    pub version: Option<(u32, u32)>,
    /// How many bytes it takes, the XML declaration before it included: up to behind its `>`.
    pub len: usize,
}

impl StreamHeader {
    /// By what a route is to be looked up: the domain, or nothing where none was said.
    pub fn asked(&self) -> &str {
        self.to.as_deref().unwrap_or_default()
    }

    /// The error when no route was found.
    pub fn nobody(&self) -> StreamError {
        if self.to.is_some() { StreamError::HostUnknown } else { StreamError::ImproperAddressing }
    }

    fn of(tag: &Tag<'_>, len: usize) -> Result<Self, StreamError> {
        if tag.local() != "stream" {
            return Err(StreamError::BadFormat);
        }
        if tag.namespace() != Some(STREAMS) {
            return Err(StreamError::InvalidNamespace);
        }
        if tag.is_empty_element {
            return Err(StreamError::NotWellFormed);
        }
        let to = tag.attribute("to").map(domain).transpose()?;
        let from = tag.attribute("from").filter(|from| !from.is_empty());
        if from.is_some_and(|from| from.len() > ADDRESS_BYTES_MAX) {
            return Err(StreamError::ImproperAddressing);
        }
        Ok(Self {
            kind: kind(tag).ok_or(StreamError::InvalidNamespace)?,
            to,
            from: from.map(Into::into),
            lang: tag.attribute("xml:lang").filter(|lang| is_language(lang)).map(Into::into),
            version: tag.attribute("version").map(version).transpose()?,
            len,
        })
    }
}

/// The header of a stream at the beginning of these bytes. An error is found where it is one but for that: it is to be
/// answered.
pub fn stream_header(received: &[u8]) -> Peek<Result<StreamHeader, StreamError>> {
    HeaderScan::default().on(received)
}

/// The content's namespace is the default one, or that of a prefix where stanzas are written with it (RFC 6120 §4.8.3).
fn kind(tag: &Tag<'_>) -> Option<StreamKind> {
    let of = |namespace: &str| {
        [StreamKind::Client, StreamKind::Server].into_iter().find(|kind| kind.namespace() == namespace)
    };
    match tag.default_namespace() {
        Some(namespace) if namespace != STREAMS => of(namespace),
        _ => tag.namespaces().find_map(of),
    }
}

/// The domain of an address that is nothing else (RFC 6120 §4.7.2).
fn domain(text: &str) -> Result<Box<str>, StreamError> {
    let domain = text.strip_suffix('.').unwrap_or(text);
    let is_domain = !domain.is_empty()
        && domain.len() <= DOMAIN_BYTES_MAX
        && !domain.contains(|c: char| c.is_whitespace() || c.is_control() || "@/<>&'\"".contains(c));
    if is_domain { Ok(domain.to_ascii_lowercase().into()) } else { Err(StreamError::ImproperAddressing) }
}

/// Two numbers (RFC 6120 §4.7.5).
fn version(text: &str) -> Result<(u32, u32), StreamError> {
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten().ok_or(StreamError::UnsupportedVersion)
    };
    let (major, minor) = text.split_once('.').ok_or(StreamError::UnsupportedVersion)?;
    Ok((number(major)?, number(minor)?))
}

/// A tag of a language, by its letters (RFC 5646 §2.1); anything else is left out, since texts have a language anyway.
fn is_language(text: &str) -> bool {
    const LANGUAGE_BYTES_MAX: usize = 35;
    (1..=LANGUAGE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests;
