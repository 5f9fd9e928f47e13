//! What is known of a request once its head has been read, small enough to be copied.

use std::fmt;

use tambat_model::ErrorCode;

/// What reading a head came to.
#[derive(Debug)]
pub enum Head<T> {
    /// Good so far, but not all of it is there.
    Incomplete,
    /// All of it is there, and it means this.
    Found(T),
    /// It is answered with this, and its connection is closed: after a head that breaks a rule nobody knows where the
    /// next one begins.
    Refused(Refusal),
}

/// Why a head is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What it is answered with.
    pub code: ErrorCode,
    /// Which rule it breaks, in words for the one who sent it.
    pub cause: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.cause)
    }
}

impl Refusal {
    /// The message can be read in two ways, or in none.
    pub(crate) fn bad(cause: &'static str) -> Self {
        Self { code: ErrorCode::BadRequest, cause }
    }
}

/// The methods that decide something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// `GET`.
    Get,
    /// `HEAD`: its answer has no body, whatever its fields say (RFC 9110 §9.3.2).
    Head,
    /// `OPTIONS`.
    Options,
    /// Any other that is passed on.
    Other,
}

/// The version of a message (RFC 9112 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `HTTP/1.0`.
    Http10,
    /// `HTTP/1.1`.
    Http11,
}

impl Version {
    /// `1.0` or `1.1`, as it stands in `Via` (RFC 9110 §7.6.3).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
        }
    }
}

/// How long the body of a request is (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none, and no field speaks of one.
    None,
    /// So many bytes, as `Content-Length` says; 0 as well.
    Length(u64),
    /// Chunks up to the last one.
    Chunked,
}

impl Framing {
    /// Do bytes of a body follow the head?
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// What the exchange and its driver need to know of a request when its bytes are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method.
    pub method: MethodKind,
    /// May it be sent twice without harm (RFC 9110 §9.2.2)? `GET`, `HEAD`, `OPTIONS`, `PUT` and `DELETE`.
    pub is_idempotent: bool,
    /// The client's version; it is passed on as 1.1 in any case.
    pub version: Version,
    /// How long its body is.
    pub framing: Framing,
    /// Does the client want to send another request on this connection (RFC 9112 §9.3)?
    pub keep_alive: bool,
    /// Is an `Upgrade` passed on, so that the target may answer with 101 (RFC 9110 §7.8)?
    pub upgrade: bool,
    /// Does the client wait for a 100 before it sends the body (RFC 9110 §10.1.1)?
    pub expects_continue: bool,
    /// Is it a call of gRPC, whose errors stand in trailers?
    pub is_grpc: bool,
}
