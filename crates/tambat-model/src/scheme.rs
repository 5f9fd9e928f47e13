//! How names are visited: in plain text, or over TLS.

use std::fmt;

/// The scheme of a URL that a browser visits (RFC 9110 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// In plain text.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// Both, the plain one first.
    pub const ALL: [Self; 2] = [Self::Http, Self::Https];

    /// As URLs have it, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme means when it has none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// What stands in a URL behind the hostname: nothing for the usual port.
    pub fn port_suffix(self, port: u16) -> String {
        if port == self.default_port() { String::new() } else { format!(":{port}") }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_need_not_name_the_default_port() {
        let suffix = |scheme: Scheme, port| format!("{scheme}{}", scheme.port_suffix(port));
        assert_eq!([suffix(Scheme::Http, 80), suffix(Scheme::Https, 443)], ["http", "https"]);
        assert_eq!([suffix(Scheme::Http, 443), suffix(Scheme::Https, 80)], ["http:443", "https:80"]);
    }
}
