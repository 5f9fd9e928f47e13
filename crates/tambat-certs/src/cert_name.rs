//! The names that an ACME CA is asked for.

use std::fmt;

use tambat_model::HostPattern;

/// The name of one certificate from an ACME CA. Each name has a certificate of its own: one that fails keeps no other
/// back, and no certificate tells which names live together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertName {
    /// This one.
    Exact(Box<str>),
    /// Every one that is one label longer (RFC 9525 §6.3), without the `*.`.
    Wildcard(Box<str>),
}

impl CertName {
    /// The certificate for what a route answers to. None for `*` and for what no CA signs: `localhost` and what is below
    /// it, addresses, and names with a `_` (CA/Browser Forum BR §7.1.4.2.1).
    pub fn of(pattern: &HostPattern) -> Option<Self> {
        let (name, of) = match pattern {
            HostPattern::Exact(name) => (name, Self::Exact as fn(Box<str>) -> Self),
            HostPattern::Under(name) => (name, Self::Wildcard as fn(Box<str>) -> Self),
            HostPattern::Any => return None,
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        // No name that is one ends in a number (RFC 1123 §2.1): it is an address.
        let is_address = last.bytes().all(|b| b.is_ascii_digit());
        let is_signed = last != "localhost" && !is_address && !name.contains('_');
        is_signed.then(|| of(name.clone()))
    }

    /// As a pattern.
    pub fn pattern(&self) -> HostPattern {
        match self {
            Self::Exact(name) => HostPattern::Exact(name.clone()),
            Self::Wildcard(name) => HostPattern::Under(name.clone()),
        }
    }

    /// The name without the `*.`.
    pub fn base(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Wildcard(name) => name,
        }
    }

    /// Of a folder's name.
    pub(crate) fn of_folder(folder: &str) -> Self {
        folder.strip_prefix("+.").map_or_else(|| Self::Exact(folder.into()), |name| Self::Wildcard(name.into()))
    }

    /// As the name of a folder. A `+` stands in no hostname.
    pub(crate) fn folder(&self) -> String {
        match self {
            Self::Exact(name) => name.to_string(),
            Self::Wildcard(name) => format!("+.{name}"),
        }
    }
}

impl fmt::Display for CertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_ca_signs_has_a_name() {
        let name = |text: &str| CertName::of(&text.parse().unwrap()).map(|name| (name.to_string(), name.folder()));
        let same = |text: &str, folder: &str| Some((text.to_owned(), folder.to_owned()));
        assert_eq!(name("Shop.example.com"), same("shop.example.com", "shop.example.com"));
        assert_eq!(name("*.example.com"), same("*.example.com", "+.example.com"));
        for none in ["*", "localhost", "a.localhost", "*.localhost", "192.0.2.1", "a_b.example.com", "2130706433"] {
            assert_eq!(name(none), None, "{none}");
        }
    }
}
