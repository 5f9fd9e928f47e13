//! Why a client of `PostgreSQL` is refused, in its own protocol ("Error and Notice Message Fields" in its manual).

use crate::postgres::framed;
use crate::printable::one_line;

/// Codes of errors ("`PostgreSQL` Error Codes").
const PROTOCOL_VIOLATION: &str = "08P01";
const REJECTED: &str = "08004";
const INVALID_AUTHORIZATION: &str = "28000";

/// Why a client is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It wants no TLS, by which alone it could say whom it wants.
    Clear,
    /// It says nothing inside of TLS' `server_name`. It can read this inside of TLS only.
    NoName,
    /// Nobody answers to the name in `server_name`. It can read this inside of TLS only.
    UnknownName(Box<str>),
    /// It has sent something behind its wish for encryption.
    Injected,
    /// It wishes the same again.
    Again,
    /// It wished for TLS, got it, and goes on in clear.
    ClearAfterSsl,
}

impl Refusal {
    /// An `ErrorResponse`, after which the connection is to be closed.
    pub fn message(&self) -> Vec<u8> {
        let (code, hint) = match self {
            Self::Clear => (INVALID_AUTHORIZATION, Some("Connect with sslmode=require, and to the host by its name.")),
            Self::NoName => (
                INVALID_AUTHORIZATION,
                Some("Connect to the host by its name, not by its address, with libpq 14 or later (and not sslsni=0)."),
            ),
            Self::UnknownName(_) => {
                (REJECTED, Some("Look at the host of the connection, and at `hosts` of the server."))
            }
            Self::Injected => (
                PROTOCOL_VIOLATION,
                Some("The client has an error, or somebody between it and the server adds to what it says."),
            ),
            Self::Again | Self::ClearAfterSsl => (PROTOCOL_VIOLATION, None),
        };
        let message = format!("tambat: {}", one_line(&self.to_string()));
        let mut fields = vec![(b'S', "FATAL"), (b'V', "FATAL"), (b'C', code), (b'M', &*message)];
        fields.extend(hint.map(|hint| (b'H', hint)));
        let mut body = Vec::new();
        for (field, value) in fields {
            body.push(field);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        framed(Some(b'E'), &body)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clear => {
                f.write_str("servers are told apart by the name in TLS here, and this connection has no TLS")
            }
            Self::NoName => {
                f.write_str("servers are told apart by the name in TLS here, and this connection names none")
            }
            Self::UnknownName(name) => write!(f, "no server here answers to the name \"{name}\""),
            Self::Injected => f.write_str("received unencrypted data after a request for encryption"),
            Self::Again => f.write_str("encryption was asked for again"),
            Self::ClearAfterSsl => f.write_str("received an unencrypted message where TLS was agreed on"),
        }
    }
}
