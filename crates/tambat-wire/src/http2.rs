//! HTTP/2 from clients, as HTTP/1.1: one policy, two framings.
//!
//! A request of a stream becomes the head of an HTTP/1.1 request, which is then read by the same rules as any other, and
//! the answer that the HTTP/1.1 engine writes becomes the parts of a stream's answer. What HTTP/1.1 has no words for is
//! refused here: nothing of a stream can end a line, or begin a field, that it was not. And a [`FrameWatch`] looks at the
//! frames as they come: it counts what costs us work and the client nothing, and sees rules broken that frames alone show.
//! A [`SentWatch`] looks at those that go: it sees what a client is refused, by us or by the codec.

mod answer;
mod frames;
mod request;
mod sent;
mod watch;
mod websocket;
mod written;

pub use answer::{AnswerError, AnswerHead, AnswerPart, AnswerReader, for_each_trailer};
pub use frames::{FRAME_BYTES_MAX, PREFACE, Reason, goaway};
pub use request::{Body, Malformed, Pseudo, Translated, trailer_is_fit, write_request};
pub use sent::{Refused, SentWatch};
pub use watch::{Broke, FrameWatch};
pub use websocket::{Accept, WebSocketKey};
