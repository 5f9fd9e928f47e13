//! What the driver of an exchange is told.

use std::ops::Range;

use tambat_model::ErrorCode;

use super::super::facts::{Framing, Refusal};

/// What holds for the bodies of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BodyRules {
    /// How large one may be, bytes; none: of any size.
    pub request_bytes_max: Option<u64>,
}

impl BodyRules {
    /// Is the request refused for the length that it announces? Then nothing of it is sent to a target. Of a body in
    /// chunks the machine finds out when it comes.
    pub fn refusal(&self, framing: Framing) -> Option<Refusal> {
        match (framing, self.request_bytes_max) {
            (Framing::Length(length), Some(max)) if length > max => {
                Some(Refusal { code: ErrorCode::BodyTooBig, cause: BODY_TOO_BIG })
            }
            _ => None,
        }
    }
}

pub(super) const BODY_TOO_BIG: &str = "the request's body is larger than max_body";

/// What became of bytes that were brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// So many were used; the rest stays with the driver.
    pub used: usize,
    /// These of them are sent on as they are, after what was appended to `out`.
    pub raw: Range<usize>,
}

/// Why an exchange ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Whose it is.
    pub side: Side,
    /// What it is answered with, or logged.
    pub code: ErrorCode,
    /// In words.
    pub cause: &'static str,
}

/// An end of the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who sent the request.
    Client,
    /// Who answers it.
    Target,
}

/// What the exchange waits for, so which limit is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The client: more of its body.
    RequestBody,
    /// The target: the beginning of its answer, or the 100 that the client waits for.
    FirstByte,
    /// The target: the rest of its answer.
    Response,
    /// Either, for as long as they like.
    Tunnel,
    /// Nobody: it is over.
    Nothing,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Another request may use it.
    Keep,
    /// It is closed, once what was appended has been sent.
    Close,
    /// It carries bytes that are none of our business. What was not used belongs to the other side.
    Tunnel,
}

/// What becomes of both connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// The client's. Where [`super::Exchange::request_is_whole`] says no, the client may still be sending: it is closed with
    /// patience, so that the answer is not lost (RFC 9112 §9.6).
    pub client: After,
    /// The target's.
    pub target: After,
}

impl Fault {
    pub(super) fn by_client(code: ErrorCode, cause: &'static str) -> Self {
        Self { side: Side::Client, code, cause }
    }

    pub(super) fn by_target(code: ErrorCode, cause: &'static str) -> Self {
        Self { side: Side::Target, code, cause }
    }
}
