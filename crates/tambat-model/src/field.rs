//! Fields that the answers of a process get, and the cookie that keeps a client with its target: each parsed once.

use std::fmt;
use std::str::FromStr;

/// No field in use has a longer name; more is text pasted by mistake.
const NAME_BYTES_MAX: usize = 128;

/// As long as one field of a head may be where servers are strict: with it, whoever reads the answer still takes it.
const VALUE_BYTES_MAX: usize = 4_096;

/// The fields that say where a message ends and what becomes of its connection (RFC 9110 §7.6.1, RFC 9112 §6): the
/// router writes them for each connection anew, and a wrong one would let an answer be read in two ways.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The fields by which the router itself speaks.
const OWN: [&str; 4] = ["tambat-error", "tambat-hop", "via", "x-request-id"];

/// Why a text is no field of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Its name is none (RFC 9110 §5.1).
    #[error("`{0}` is not the name of a field: it takes letters, digits and !#$%&'*+-.^_`|~, {NAME_BYTES_MAX} at most")]
    Name(String),
    /// It is not its user's to say.
    #[error("`{0}` cannot be set: it says where a message ends or what becomes of its connection")]
    Framing(String),
    /// It is not its user's to say, either.
    #[error("`{0}` cannot be set: tambat writes it itself")]
    Own(String),
    /// Its value would end it, or cannot stand in it (RFC 9110 §5.5). The value is not repeated: it may be anything.
    #[error(
        "the value of a field takes printable ASCII, blanks only inside, {VALUE_BYTES_MAX} at most: nothing that would end it"
    )]
    Value,
    /// A cookie's name is a token (RFC 6265 §4.1.1).
    #[error(
        "`{0}` is not the name of a cookie: it takes letters, digits and !#$%&'*+-.^_`|~, {NAME_BYTES_MAX} at most"
    )]
    Cookie(String),
}

/// The name of a field that an answer may be given, as it was written.
#[derive(Debug, Clone)]
pub struct FieldName(String);

/// The value of a field; an empty one removes the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldValue(String);

/// The name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(String);

impl FromStr for FieldName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if !is_token(text) {
            return Err(FieldError::Name(text.to_owned()));
        }
        let is_among = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(text));
        if is_among(&FRAMING) {
            return Err(FieldError::Framing(text.to_owned()));
        }
        if is_among(&OWN) {
            return Err(FieldError::Own(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Field names do not tell upper case from lower case (RFC 9110 §5.1).
impl PartialEq for FieldName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for FieldName {}

impl FromStr for FieldValue {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let fits = text.len() <= VALUE_BYTES_MAX && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if fits && text.trim() == text { Ok(Self(text.to_owned())) } else { Err(FieldError::Value) }
    }
}

impl CookieName {
    /// What it is called unless its user says otherwise.
    pub fn tambat() -> Self {
        Self("tambat".to_owned())
    }
}

impl FromStr for CookieName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if is_token(text) { Ok(Self(text.to_owned())) } else { Err(FieldError::Cookie(text.to_owned())) }
    }
}

macro_rules! has_a_text {
    ($($name:ty),*) => {$(
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

has_a_text!(FieldName, FieldValue, CookieName);

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_may_be_set_is_a_token_and_nobody_elses() {
        for good in ["X-Frame-Options", "server", "Cache-Control", "x_y"] {
            assert_eq!(good.parse::<FieldName>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a:", "a\r\nb", "é", &"x".repeat(129)] {
            assert!(matches!(bad.parse::<FieldName>(), Err(FieldError::Name(_))), "{bad:?}");
        }
        for bad in ["Content-Length", "transfer-encoding", "HOST", "Connection"] {
            assert!(matches!(bad.parse::<FieldName>(), Err(FieldError::Framing(_))), "{bad}");
        }
        assert!(matches!("Via".parse::<FieldName>(), Err(FieldError::Own(_))));
        assert_eq!("X-A".parse::<FieldName>().unwrap(), "x-a".parse().unwrap());
    }

    #[test]
    fn a_value_cannot_end_its_field() {
        for good in ["", "DENY", "max-age=60, public", "\"quoted\""] {
            assert_eq!(good.parse::<FieldValue>().unwrap().as_str(), good);
        }
        for bad in ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", " a", "a ", "a\tb", "é", &"x".repeat(4_097)] {
            assert_eq!(bad.parse::<FieldValue>(), Err(FieldError::Value), "{bad:?}");
        }
    }

    #[test]
    fn a_cookie_is_called_by_a_token() {
        assert_eq!("sid".parse::<CookieName>().unwrap().as_str(), "sid");
        for bad in ["", "a=b", "a;b", "a b", "a\r\n"] {
            assert!(matches!(bad.parse::<CookieName>(), Err(FieldError::Cookie(_))), "{bad:?}");
        }
    }
}
