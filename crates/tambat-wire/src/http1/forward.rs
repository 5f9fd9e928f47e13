//! A request's head as it is sent to the target.

use tambat_model::PathPrefix;

use super::request::RequestHead;
use super::request_id::RequestId;
use super::trust::Hop;

/// What a request gets on its way to the target.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The client's connection.
    pub hop: &'a Hop<'a>,
    /// The prefix that is removed from the path.
    pub strip: Option<&'a PathPrefix>,
    /// The request's id.
    pub request_id: &'a RequestId,
    /// Proves to another tambat that this one may be believed: only ever sent to one.
    pub hop_token: Option<&'a str>,
    /// The router itself has told the client to send its body: `Expect` is not passed on.
    pub continue_here: bool,
}

impl RequestHead<'_, '_> {
    /// Appends the head as it is sent to the target: always HTTP/1.1.
    pub fn write(&self, forward: &Forward<'_>, out: &mut Vec<u8>) {
        let _ = forward;
        out.extend_from_slice(self.method().as_bytes());
    }
}
