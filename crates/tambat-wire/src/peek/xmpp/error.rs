//! The errors that end a stream (RFC 6120 §4.9), and what is written of a stream of our own.

use super::{STREAMS, StreamHeader, StreamKind};

/// The namespace of conditions (RFC 6120 §4.9.2).
const CONDITIONS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// Why a stream is ended: a condition of RFC 6120 §4.9.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamError {
    /// The first element is none of a stream (§4.9.3.1).
    BadFormat,
    /// It took too long to say what it wants (§4.9.3.4).
    ConnectionTimeout,
    /// Nobody answers to the `to` (§4.9.3.6).
    HostUnknown,
    /// There is no `to`, or it is no domain (§4.9.3.7).
    ImproperAddressing,
    /// It is neither a client's stream nor a server's (§4.9.3.10).
    InvalidNamespace,
    /// It is no XML (§4.9.3.13).
    NotWellFormed,
    /// It breaks a rule of ours: too long, too many attributes, no TLS where it is asked for (§4.9.3.14).
    PolicyViolation,
    /// It has a comment, an instruction, a document type or an entity (§4.9.3.18).
    RestrictedXml,
    /// It is not in UTF-8 (§4.9.3.22).
    UnsupportedEncoding,
    /// It is of a version without features, or of none that there is (§4.9.3.25).
    UnsupportedVersion,
}

impl StreamError {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::BadFormat,
        Self::ConnectionTimeout,
        Self::HostUnknown,
        Self::ImproperAddressing,
        Self::InvalidNamespace,
        Self::NotWellFormed,
        Self::PolicyViolation,
        Self::RestrictedXml,
        Self::UnsupportedEncoding,
        Self::UnsupportedVersion,
    ];

    /// The name of its element.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InvalidNamespace => "invalid-namespace",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RestrictedXml => "restricted-xml",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }

    /// What people are told beside it.
    fn text(self) -> &'static str {
        match self {
            Self::BadFormat => "this port is for XMPP streams",
            Self::ConnectionTimeout => "this took longer than is waited for here",
            Self::HostUnknown => "nobody here answers to the domain in `to`",
            Self::ImproperAddressing => "write the domain that is wanted into `to`",
            Self::InvalidNamespace => "a stream is one of jabber:client or of jabber:server",
            Self::NotWellFormed => "this is not well-formed XML",
            Self::PolicyViolation => "this is longer than is read here, or comes before TLS",
            Self::RestrictedXml => "no comments, instructions, document types and entities",
            Self::UnsupportedEncoding => "write it in UTF-8",
            Self::UnsupportedVersion => "write version='1.0'",
        }
    }

    /// The whole answer to a client that has begun no stream, or the one with this header: our own header, the error, the
    /// end. After it the connection is closed. `id` is that of our stream: nobody should be able to guess it (§4.7.3).
    pub fn answer(self, header: Option<&StreamHeader>, id: &str) -> Vec<u8> {
        let mut answer = open(header, self == Self::HostUnknown, id);
        self.end(&mut answer);
        answer.into_bytes()
    }

    /// Appends the error and the end of the stream to one that is open.
    pub(crate) fn end(self, answer: &mut String) {
        let (condition, text) = (self.as_str(), self.text());
        answer.push_str(&format!(
            "<stream:error><{condition} xmlns='{CONDITIONS}'/><text xmlns='{CONDITIONS}' xml:lang='en'>tambat: \
             {text}</text></stream:error></stream:stream>"
        ));
    }
}

/// Our own header in answer to this one (RFC 6120 §4.7). It comes from whom the client has named, unless that is nobody
/// here: then from nobody (§4.9.1.2).
pub(crate) fn open(header: Option<&StreamHeader>, from_nobody: bool, id: &str) -> String {
    let namespace = header.map_or(StreamKind::Client, |header| header.kind).namespace();
    let from = header.and_then(|header| header.to.as_deref()).filter(|_| !from_nobody);
    let to = header.and_then(|header| header.from.as_deref());
    let mut open = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='{STREAMS}' id='{}' from='{}'",
        attribute(id),
        attribute(from.unwrap_or_default()),
    );
    if let Some(to) = to {
        open.push_str(&format!(" to='{}'", attribute(to)));
    }
    open.push_str(" version='1.0' xml:lang='en'>");
    open
}

/// As the value of an attribute in single quotes (XML 1.0 §2.3). What others wrote was read as XML before: it has no
/// characters that XML has not.
fn attribute(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(c))),
            c => escaped.push(c),
        }
        escaped
    })
}
