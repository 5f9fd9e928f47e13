//! A host with or without a port, as `Host` and an absolute target have it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use tambat_model::HOSTNAME_BYTES_MAX;

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
        let host_bytes = match text.first() {
            None => return Err("the host is empty"),
            Some(b'[') => text.iter().position(|b| *b == b']').map_or(text.len(), |at| at + 1),
            Some(_) => text.iter().position(|b| *b == b':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(host_bytes);
        let has_upper = if host.starts_with(b"[") { address_has_upper(host)? } else { name_has_upper(host)? };
        let port = match rest {
            [] => None,
            [b':', digits @ ..] => Some(port(digits).ok_or("the port is not a number from 1 to 65535")?),
            _ => return Err("something other than a port follows the address"),
        };
        // Nothing but ASCII has come so far.
        let ascii = |bytes: &'b [u8]| std::str::from_utf8(bytes).map_err(|_| "the host is not ASCII");
        let text = ascii(text)?;
        let host = ascii(host.strip_suffix(b".").unwrap_or(host))?;
        let host = if has_upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) };
        Ok(Self { text, host, port })
    }
}

/// Is there a letter to be made small in this name?
#[inline]
fn name_has_upper(name: &[u8]) -> Result<bool, &'static str> {
    if name.len() > HOSTNAME_BYTES_MAX + usize::from(name.ends_with(b".")) {
        return Err("the hostname is longer than 253 characters");
    }
    let (mut has_upper, mut label_is_empty) = (false, true);
    for b in name {
        match b {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label_is_empty = false,
            b'A'..=b'Z' => (has_upper, label_is_empty) = (true, false),
            b'.' if !label_is_empty => label_is_empty = true,
            b'.' => return Err("the hostname has nothing before a dot"),
            _ => return Err("the host has a character that no hostname has"),
        }
    }
    if name.is_empty() { Err("the host is empty") } else { Ok(has_upper) }
}

/// Is there a letter to be made small in this address in brackets?
fn address_has_upper(address: &[u8]) -> Result<bool, &'static str> {
    let inner = address.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or_default();
    let parsed = std::str::from_utf8(inner).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
    parsed.ok_or("what stands in brackets is no IPv6 address")?;
    Ok(inner.iter().any(u8::is_ascii_uppercase))
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
