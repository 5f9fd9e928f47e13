//! HTTP/2 to targets (RFC 9113): a stream as the exchange sees it, which knows HTTP/1.1 alone; and the question that tells
//! whether a server of HTTP/2 is ready.
//!
//! The frames of exchanges, and what binds them together, are those of a library; here it is said what goes into them.

mod answer;
mod ask;
mod frames;
mod hpack;
mod request;

pub use answer::{AnswerHead, AnswerWriter};
pub use request::{BodyPart, BodyReader, StreamHead, StreamSlots, stream_head, trailers};

pub(crate) use ask::{Asked, judge, request};
