//! Hostile clients of HTTP/2: group `e`, as frames on a plain connection with prior knowledge. Each test is named after
//! its case, and asserts three things: what the client got, what the app saw, and that the next good request on a new
//! connection is answered.
//!
//! `table` has the rules of RFC 9113, RFC 7541 and RFC 8441 one by one, each as the frames that break or keep it, and what
//! has to come of them.

mod cases;
mod client;
mod floods;
mod frames;
mod pauses;
mod table;
