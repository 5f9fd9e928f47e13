//! How a client of gRPC is told of an error: an answer that is all trailers, with a status of gRPC in it. Its libraries take
//! a bare status of HTTP for the fault of something in between, and show their users nothing of what it said.

use std::fmt::Write as _;

/// The type of such an answer.
pub(super) const TYPE: &str = "application/grpc";

/// What gRPC makes of a status of HTTP where nothing else is said, by its own table
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>): whoever retries by it, retries what it would
/// have retried.
pub(super) fn status(http: u16) -> u8 {
    const UNKNOWN: u8 = 2;
    const PERMISSION_DENIED: u8 = 7;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    match http {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Appends a text as `grpc-message` has it: printable ASCII but for `%`, everything else as its bytes in `%XX`.
pub(super) fn put_message(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_http_is_one_of_grpc() {
        let found = [400, 401, 403, 404, 405, 408, 413, 417, 421, 429, 431, 500, 501, 502, 503, 504, 508].map(status);
        assert_eq!(found, [13, 16, 7, 12, 2, 2, 2, 2, 2, 14, 2, 2, 2, 14, 14, 14, 2]);
    }

    #[test]
    fn a_message_is_printable_ascii() {
        let mut out = String::new();
        put_message(&mut out, "100 % \r\nx: y\u{7f} – ~");
        assert_eq!(out, "100 %25 %0D%0Ax: y%7F %E2%80%93 ~");
    }
}
