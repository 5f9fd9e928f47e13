//! The names of the errors that the router itself makes: in the field `Tambat-Error` of its answers, in the access log,
//! in the metrics and in the manual.

use std::fmt;
use std::fmt::Write as _;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $slug:literal, $status:literal;)+) => {
        /// Why the router itself answered, or cut an exchange off. The names are stable: programs may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorCode {
            /// All of them, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it stands in `Tambat-Error`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $slug,)+ }
            }

            /// The status it is answered with, or, where nothing can be answered any more, logged with.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// What it says, in one sentence.
            pub fn doc(self) -> &'static str {
                let said = match self { $(Self::$variant => concat!($($doc),+),)+ };
                said.trim_start()
            }
        }
    };
}

error_codes! {
    /// The request breaks a rule of HTTP/1.1, so that it could be read in two ways.
    BadRequest = "bad-request", 400;
    /// No process answers to this hostname and path.
    NoRoute = "no-route", 404;
    /// `CONNECT` and `TRACE` are not passed on.
    MethodRefused = "method-refused", 405;
    /// The request's head did not arrive whole in time.
    HeadTimeout = "head-timeout", 408;
    /// The connection did not say in time, or in no way that is known here, whom it wants.
    NotTold = "not-told", 408;
    /// The request's body came to a standstill.
    BodyTimeout = "body-timeout", 408;
    /// The request's body is larger than `max_body`.
    BodyTooBig = "body-too-big", 413;
    /// The request line is too long.
    LineTooLong = "line-too-long", 414;
    /// `Expect` asks for something other than `100-continue`.
    ExpectationUnknown = "expectation-unknown", 417;
    /// The request's host is neither the one its TLS connection was opened for, nor in the certificate that was shown.
    Misdirected = "misdirected", 421;
    /// As many connections are open, of the client or for the process, as `max_connections` allows.
    TooManyConnections = "too-many-connections", 429;
    /// A field is too long, or the fields together are, or there are too many of them.
    HeadTooBig = "head-too-big", 431;
    /// The client closed the connection before its answer was complete; nothing can be answered.
    ClientClosed = "client-closed", 499;
    /// The client does not take its answer; the connection is cut.
    ClientStalled = "client-stalled", 499;
    /// The request has a transfer coding other than chunked.
    CodingUnknown = "coding-unknown", 501;
    /// The target's answer breaks a rule of HTTP/1.1.
    BadResponse = "bad-response", 502;
    /// The target closed the connection without an answer.
    TargetClosed = "target-closed", 502;
    /// The target broke off in the middle of its answer; the client's connection is cut, so that nobody takes it for complete.
    TargetBroke = "target-broke-off", 502;
    /// No target took a connection.
    TargetUnreachable = "target-unreachable", 502;
    /// The process has no instance that takes requests.
    NoTarget = "no-target", 503;
    /// As many requests wait for the process as may.
    QueueFull = "queue-full", 503;
    /// The router is shutting down.
    ShuttingDown = "shutting-down", 503;
    /// No target took a connection in time.
    ConnectTimeout = "connect-timeout", 504;
    /// The target did not begin its answer in time.
    FirstByteTimeout = "first-byte-timeout", 504;
    /// The target's answer came to a standstill; the client's connection is cut.
    ResponseTimeout = "response-timeout", 504;
    /// The request's version of HTTP is not 1.0 or 1.1.
    VersionUnknown = "version-unknown", 505;
    /// The request came back to this router.
    Loop = "loop", 508;
}

impl ErrorCode {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The table of the manual, in Markdown.
pub fn error_codes_as_markdown() -> String {
    let mut out = String::from("| `Tambat-Error` | status | what it says |\n|---|---|---|\n");
    for code in ErrorCode::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{code}` | {} | {} |", code.status(), code.doc());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name_and_its_place() {
        for (nth, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(code.index(), nth);
            assert!(ErrorCode::ALL[..nth].iter().all(|other| other.as_str() != code.as_str()), "{code}");
            assert!((400..600).contains(&code.status()), "{code}");
            assert!(code.doc().ends_with('.') && !code.doc().starts_with(' '), "{}", code.doc());
        }
        assert_eq!(error_codes_as_markdown().lines().count(), ErrorCode::COUNT + 2);
    }
}
