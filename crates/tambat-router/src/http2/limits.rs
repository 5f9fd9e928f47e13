//! How much one HTTP/2 connection may ask for. All of it together is to stay below 1 MiB of memory for a client that
//! sends as much as it may and takes nothing.

use crate::worker::BUFFER_BYTES;

/// So many requests at a time: what browsers reckon with (RFC 9113 §6.5.2 recommends no fewer than 100).
pub(super) const STREAMS_MAX: u32 = 100;

/// So much of one request's body may be on its way. A body that is sent over 20 ms is received at 6 MB/s.
pub(super) const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// So much of all bodies together: this is what the codec keeps at most while no target takes anything.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;

/// The fields of one request, with 32 bytes for each of them (RFC 9113 §10.5.1): as much as a head of HTTP/1.1.
pub(super) const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

/// The heads of all requests at a time: some hundred ordinary ones are a tenth of it. More are refused, and may be tried
/// again.
pub(super) const HEADS_BYTES_MAX: usize = 256 * 1024;

/// So much of one answer is taken before the client's window and socket have taken it.
pub(super) const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// So much of all answers together is in the codec: what is sent in one piece at most. A client whose windows are open, but
/// that reads nothing, has no more of our memory.
pub(super) const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// So much of all answers together is kept before the codec where clients open no windows. What is read of the next one
/// is a quarter of what is left of this, within the two limits below.
pub(super) const KEPT_BYTES: usize = 64 * 1024;

/// So much of an answer is read at once: as much as may be sent.
pub(super) const READ_BYTES_MAX: usize = SEND_BUFFER_BYTES;

/// So much is read of an answer in any case: those who wait for their window may not keep others from theirs. With as
/// many streams as there may be, that is 100 KiB.
pub(super) const READ_BYTES_MIN: usize = 1024;

/// So many streams that were reset here are remembered, so that what the client had sent before it knew is no error.
pub(super) const RESET_STREAMS_MAX: usize = 100;

/// So many requests may be aborted before anybody has looked at them (CVE-2023-44487): what a client may have at a time.
pub(super) const ABORTED_UNSEEN_MAX: usize = 100;

/// So many streams may be reset for an error of the client's (CVE-2025-8671) as long as the connection lasts. Clients
/// make none; what a proxy passes on for many is not that bad.
pub(super) const ERRORS_MAX: usize = 200;

/// How long a connection that is over may take to send its last frames, and its client to read them and close.
pub(super) const CLOSING_S: u64 = 1;

/// How much of what the client still sends is thrown away meanwhile. Unread bytes would make a reset of the close, and a
/// reset destroys the last frames on their way.
pub(super) const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// The same of a flood, of which more would only be more of it: what is on its way over an ordinary line.
pub(super) const FLOOD_DRAINED_BYTES_MAX: usize = 64 * 1024;

/// How much of a connection is read in one turn, before the others of its thread have theirs: what the thread's buffer
/// holds, and more than a whole window of one body, so that who sends more than that is told so.
pub(super) const READ_A_TURN_BYTES: usize = BUFFER_BYTES;

/// What a connection without requests is given when the router drains: one may be on its way.
pub(super) const LAST_REQUEST_S: u64 = 1;
