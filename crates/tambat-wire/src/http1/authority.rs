//! A host with or without a port, as `Host` and an absolute target have it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use tambat_model::HOSTNAME_BYTES_MAX;

use super::trust::Scheme;

/// Letters, digits, `-` and `_` between dots, or an IPv6 address in brackets; then maybe a port. Narrower than RFC 3986
/// §3.2.2, where a name may hold `%` and punctuation that no hostname has: what the target might read otherwise is
/// refused, and so are user information, an empty port and port 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority<'b> {
    /// As it was written.
    pub(super) text: &'b str,
    /// In lower case, without port and last dot; an IPv6 address keeps its brackets.
    pub(super) host: Cow<'b, str>,
    /// The port that it names.
    pub(super) port: Option<u16>,
}

impl<'b> Authority<'b> {
    /// Says what is wrong with it, where something is.
    #[inline]
    pub(super) fn parse(text: &'b [u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "the host is not ASCII")?;
        let (host_bytes, has_upper) = if text.starts_with('[') { address(text)? } else { name(text.as_bytes())? };
        let (host, rest) = text.split_at(host_bytes);
        let port = match rest.as_bytes() {
            [] => None,
            [b':', digits @ ..] => Some(port(digits).ok_or("the port is not a number from 1 to 65535")?),
            _ => return Err("something other than a port follows the address"),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = if has_upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) };
        Ok(Self { text, host, port })
    }
}

/// Do both name one host at one port? No if one of them is none.
pub(crate) fn same_authority(one: &[u8], other: &[u8], scheme: Option<Scheme>) -> bool {
    let place = |text| {
        let parsed = Authority::parse(text).ok()?;
        let port = parsed.port.or(scheme.map(Scheme::default_port));
        Some((parsed.host.into_owned(), port))
    };
    place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

/// How long the hostname at the beginning is, and whether a letter in it has to be made small.
#[inline]
fn name(text: &[u8]) -> Result<(usize, bool), &'static str> {
    let (mut has_upper, mut label_is_empty, mut bytes) = (false, true, 0);
    for b in text {
        match b {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label_is_empty = false,
            b'A'..=b'Z' => (has_upper, label_is_empty) = (true, false),
            b'.' if !label_is_empty => label_is_empty = true,
            b'.' => return Err("the hostname has nothing before a dot"),
            b':' => break,
            _ => return Err("the host has a character that no hostname has"),
        }
        bytes += 1;
    }
    match bytes - usize::from(label_is_empty && bytes > 0) {
        0 => Err("the host is empty"),
        1..=HOSTNAME_BYTES_MAX => Ok((bytes, has_upper)),
        _ => Err("the hostname is longer than 253 characters"),
    }
}

/// How long the address in brackets at the beginning is, and whether a letter in it has to be made small.
fn address(text: &str) -> Result<(usize, bool), &'static str> {
    let (inner, _) = text[1..].split_once(']').ok_or("a bracket is not closed")?;
    inner.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is no IPv6 address")?;
    Ok((inner.len() + "[]".len(), inner.bytes().any(|b| b.is_ascii_uppercase())))
}

/// 1 to 65535, in digits without a zero before them.
pub(super) fn port(digits: &[u8]) -> Option<u16> {
    match digits {
        [b'1'..=b'9', ..] => super::fields::number(digits)?.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_in_lower_case_without_port_and_last_dot() {
        for (text, host, port) in [
            ("shop.example", "shop.example", None),
            ("Shop.EXAMPLE:8080", "shop.example", Some(8080)),
            ("shop.example.:80", "shop.example", Some(80)),
            ("localhost", "localhost", None),
            ("my_web-1.localhost:65535", "my_web-1.localhost", Some(65535)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
            ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None),
        ] {
            let parsed = Authority::parse(text.as_bytes()).unwrap();
            assert_eq!((&*parsed.host, parsed.port, parsed.text), (host, port, text));
            let is_borrowed = matches!(parsed.host, Cow::Borrowed(_));
            assert_eq!(is_borrowed, !text.bytes().any(|b| b.is_ascii_uppercase()), "{text}");
        }
        assert!(Authority::parse("a.".repeat(126).as_bytes()).is_ok());
        assert!(Authority::parse(("a.".repeat(126) + "bc").as_bytes()).is_err());
    }

    #[test]
    fn b03_what_is_no_host_is_refused() {
        let long = "a".repeat(300);
        for bad in [
            "",
            "a b",
            "a/b",
            "a@b",
            "user:pw@b",
            "a:99999",
            "a:65536",
            "a:0",
            "a:080",
            "a:",
            "a:8x",
            "a:+1",
            "a\0",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[]",
            "[1.2.3.4]",
            "[::1%eth0]",
            "::1",
            "a..b",
            ".a",
            ".",
            "a,b",
            "a%41",
            "a\u{e9}",
            "*",
            ":80",
            "a?b",
            "a#b",
            "a\\b",
            "[::g]",
            &long,
        ] {
            assert!(Authority::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Authority::parse(b"a\xff").is_err());
    }
}
