//! Who the client is: the peer, or whoever stands behind the proxies that are trusted.
//!
//! Every proxy appends the address that it saw to the right, so the fields are read from there, and the first address
//! that nobody vouches for is the client's (RFC 7239 §7.4). What stands left of it is the client's own claim: it is not
//! passed on, just as if the client had come here by itself.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use super::authority::{Authority, port};
use super::fields::{is_token, members, put_number, trimmed};
use super::request::RequestHead;
use super::trust::{Hop, Scheme};

/// So many proxies are passed over at most; one more is taken for the client.
const HOPS_MAX: usize = 16;

/// Where a request comes from, as it is told to the target.
#[derive(Debug)]
pub(super) struct Origin<'b> {
    /// The nearest hop first, without the peer itself; the last is the client.
    hops: [IpAddr; HOPS_MAX],
    len: usize,
    peer: IpAddr,
    /// How the client came to the first proxy, where a trusted one says so.
    pub(super) scheme: &'b [u8],
    /// What it called us there.
    pub(super) host: Option<&'b [u8]>,
    /// And at which port.
    pub(super) port: u16,
}

impl RequestHead<'_, '_> {
    /// The client's address: the peer's, unless a trusted peer names another (`X-Forwarded-For`, else `Forwarded`).
    pub fn client(&self, hop: &Hop<'_>) -> IpAddr {
        if hop.trusts_peer { self.origin(hop).client() } else { hop.peer.to_canonical() }
    }

    /// What is told to the target: by the peer's own word only if it is trusted.
    pub(super) fn origin(&self, hop: &Hop<'_>) -> Origin<'_> {
        let mut origin = Origin {
            hops: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); HOPS_MAX],
            len: 0,
            peer: hop.peer.to_canonical(),
            scheme: hop.scheme.as_str().as_bytes(),
            host: None,
            port: hop.port,
        };
        if hop.trusts_peer {
            self.believe(hop, &mut origin);
        }
        origin
    }

    fn believe<'o>(&'o self, hop: &Hop<'_>, origin: &mut Origin<'o>) {
        let mut listed = self.values("x-forwarded-for").rev().flat_map(|value| members(value).rev()).peekable();
        if listed.peek().is_some() {
            for member in listed {
                if !origin.passes(address(member), hop) {
                    break;
                }
            }
        } else if let Some(elements) = self.values("forwarded").map(elements).collect::<Option<Vec<_>>>() {
            for element in elements.iter().flatten().rev() {
                let passes = origin.passes(element.of.and_then(address), hop);
                origin.scheme = element.proto.filter(|proto| is_scheme(proto)).unwrap_or(origin.scheme);
                origin.host = element.host.filter(|host| Authority::parse(host).is_ok()).or(origin.host);
                if !passes {
                    break;
                }
            }
        }
        origin.scheme = self.only("x-forwarded-proto").filter(|proto| is_scheme(proto)).unwrap_or(origin.scheme);
        origin.host = self.only("x-forwarded-host").filter(|host| Authority::parse(host).is_ok()).or(origin.host);
        origin.port = self.only("x-forwarded-port").and_then(port).unwrap_or(origin.port);
    }

    fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }
}

impl Origin<'_> {
    pub(super) fn client(&self) -> IpAddr {
        self.hops[..self.len].last().copied().unwrap_or(self.peer)
    }

    /// Appends the end of `X-Forwarded-For` and of what follows it up to `Forwarded` (RFC 7239 §4), its CRLF not
    /// included. The host that is sent stands at this place of `out` already. How the client came stands with the client.
    pub(super) fn put(&self, host: Range<usize>, out: &mut Vec<u8>) {
        let before_peer = self.hops[..self.len].iter().rev();
        for address in before_peer.clone() {
            put_address(out, *address);
            out.extend_from_slice(b", ");
        }
        // The peer's address is there with every request, and mostly alone: it is written as text once.
        let peer_begins = out.len();
        put_address(out, self.peer);
        let peer = peer_begins..out.len();
        out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
        out.extend_from_slice(self.scheme);
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        let host_begins = out.len();
        match self.host {
            Some(host) => out.extend_from_slice(host),
            None => out.extend_from_within(host),
        }
        let host = host_begins..out.len();
        out.extend_from_slice(b"\r\nX-Forwarded-Port: ");
        put_number(out, u64::from(self.port));
        out.extend_from_slice(b"\r\nForwarded: ");
        let mut how = Some(host);
        for address in before_peer {
            put_node(*address, out, |out| put_address(out, *address));
            self.put_how(how.take(), out);
            out.extend_from_slice(b", ");
        }
        put_node(self.peer, out, |out| out.extend_from_within(peer));
        self.put_how(how, out);
    }

    /// A host has no character that would have to be escaped.
    fn put_how(&self, host: Option<Range<usize>>, out: &mut Vec<u8>) {
        if let Some(host) = host {
            out.extend_from_slice(b";host=\"");
            out.extend_from_within(host);
            out.extend_from_slice(b"\";proto=");
            out.extend_from_slice(self.scheme);
        }
    }

    /// Takes the next address from the right in; is it a trusted proxy's, so that the one before it is believed?
    fn passes(&mut self, address: Option<IpAddr>, hop: &Hop<'_>) -> bool {
        let Some(address) = address else { return false };
        self.hops[self.len] = address;
        self.len += 1;
        self.len < HOPS_MAX && hop.trusted.contains(address)
    }
}

fn is_scheme(proto: &[u8]) -> bool {
    [Scheme::Http, Scheme::Https].iter().any(|scheme| proto == scheme.as_str().as_bytes())
}

/// `192.0.2.1`, `192.0.2.1:47011`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:47011`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|inner| inner.contains(':'));
    let parsed = bare.unwrap_or(text).parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

/// Appends an address as the node of a `for` (RFC 7239 §6).
fn put_node(address: IpAddr, out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    if address.is_ipv4() {
        out.extend_from_slice(b"for=");
        put(out);
    } else {
        out.extend_from_slice(b"for=\"[");
        put(out);
        out.extend_from_slice(b"]\"");
    }
}

/// Appends an address in its usual form. IPv4 by hand: this happens with every request.
fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            let mut text = [b'.'; "255.255.255.255.".len()];
            let mut len = 0;
            for octet in v4.octets() {
                for (least, digit) in [(100, octet / 100), (10, octet / 10 % 10), (0, octet % 10)] {
                    if octet >= least {
                        text[len] = b'0' + digit;
                        len += 1;
                    }
                }
                text[len] = b'.';
                len += 1;
            }
            out.extend_from_slice(&text[..len - 1]);
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// One hop of `Forwarded`, as far as it is read.
#[derive(Debug, Clone, Copy, Default)]
struct Element<'b> {
    of: Option<&'b [u8]>,
    host: Option<&'b [u8]>,
    proto: Option<&'b [u8]>,
}

/// Reads a `Forwarded` field (RFC 7239 §4). None for the whole of it where its quoting is broken or a name stands twice:
/// where one element ends could be read in two ways.
fn elements(value: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut found = vec![];
    let mut element = Element::default();
    let mut rest = trimmed(value);
    while !rest.is_empty() {
        let (name, after) = rest.split_at(rest.iter().position(|b| *b == b'=')?);
        let (value, after) = pair_value(&after[1..])?;
        let place = match name.to_ascii_lowercase().as_slice() {
            b"for" => Some(&mut element.of),
            b"host" => Some(&mut element.host),
            b"proto" => Some(&mut element.proto),
            other if is_token(other) => None,
            _ => return None,
        };
        if place.is_some_and(|place| place.replace(value).is_some()) {
            return None;
        }
        rest = trimmed(after);
        match rest.split_first() {
            None => found.push(element),
            // Something has to follow, or the field ends in the middle.
            Some((_, [])) => return None,
            Some((b',', next)) => {
                found.push(std::mem::take(&mut element));
                rest = trimmed(next);
            }
            Some((b';', next)) => rest = trimmed(next),
            Some(_) => return None,
        }
    }
    Some(found)
}

/// A token or a quoted string, and what follows it. Nothing that has to be escaped is an address or a host: it is left
/// in its quotes, so that it is taken for neither.
fn pair_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|b| matches!(b, b',' | b';' | b' ' | b'\t')).unwrap_or(text.len());
        let (token, after) = text.split_at(end);
        return is_token(token).then_some((token, after));
    };
    let mut at = 0;
    let mut is_escaped = false;
    loop {
        match quoted.get(at)? {
            b'"' => break,
            b'\\' => {
                is_escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
    let value = if is_escaped { &text[..at + 2] } else { &quoted[..at] };
    Some((value, &quoted[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::super::{ClientFraming, FieldSlots, Head, Limits, request_head};
    use super::*;
    use tambat_model::{Network, Trusted};

    /// The client, `X-Forwarded-For` and `Forwarded` of a request with these fields from 10.0.0.1.
    fn told(fields: &str, trusts_peer: bool) -> (String, String, String) {
        let trusted: Trusted =
            ["10.0.0.0/8", "::1", "fd00::/8"].map(|text| text.parse::<Network>().unwrap()).into_iter().collect();
        let peer = "::ffff:10.0.0.1".parse().unwrap();
        let hop = Hop {
            peer,
            port: 80,
            scheme: Scheme::Http,
            framing: ClientFraming::Http1,
            trusts_peer,
            trusted: &trusted,
            via: "tambat",
        };
        let bytes = format!("GET / HTTP/1.1\r\nHost: a.b\r\n{fields}\r\n");
        let mut slots = FieldSlots::new();
        let Head::Found(head) = request_head(bytes.as_bytes(), &mut slots, &Limits::default()) else {
            panic!("{bytes}");
        };
        let origin = head.origin(&hop);
        let mut out = b"a.b".to_vec();
        origin.put(0..3, &mut out);
        let out = String::from_utf8(out).unwrap();
        let (list, rest) = out["a.b".len()..].split_once("\r\n").unwrap();
        let (_, forwarded) = rest.split_once("\r\nForwarded: ").unwrap();
        (head.client(&hop).to_string(), list.to_owned(), forwarded.to_owned())
    }

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["0.0.0.0", "1.20.99.100", "255.255.255.255", "10.9.200.101", "2001:db8::1", "::1"] {
            let mut out = vec![];
            put_address(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn d08_an_untrusted_peer_is_the_client() {
        let claims = "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=2.2.2.2\r\nX-Forwarded-Proto: https\r\n";
        let (client, list, forwarded) = told(claims, false);
        assert_eq!((&*client, &*list), ("10.0.0.1", "10.0.0.1"));
        assert_eq!(forwarded, "for=10.0.0.1;host=\"a.b\";proto=http");
    }

    #[test]
    fn d09_the_first_untrusted_address_from_the_right_is_the_client() {
        for (fields, client, list) in [
            ("", "10.0.0.1", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.2\r\n", "192.0.2.1", "192.0.2.1, 10.0.0.2, 10.0.0.1"),
            (
                "X-Forwarded-For: 6.6.6.6,192.0.2.1\r\nX-Forwarded-For: 10.0.0.2\r\n",
                "192.0.2.1",
                "192.0.2.1, 10.0.0.2, 10.0.0.1",
            ),
            ("X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1"),
            ("X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n", "10.0.0.2", "10.0.0.2, 10.0.0.1"),
            ("X-Forwarded-For: 6.6.6.6, \r\n", "10.0.0.1", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("X-Forwarded-For: [2001:DB8::1]:99, fd00::1\r\n", "2001:db8::1", "2001:db8::1, fd00::1, 10.0.0.1"),
            ("X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1", "2001:db8::1, 10.0.0.1"),
            ("X-Forwarded-For: [1.2.3.4]\r\n", "10.0.0.1", "10.0.0.1"),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ] {
            let (got_client, got_list, _) = told(fields, true);
            assert_eq!((&*got_client, &*got_list), (client, list), "{fields}");
        }
        let many = format!("X-Forwarded-For: 6.6.6.6{}\r\n", ", 10.0.0.9".repeat(HOPS_MAX));
        assert_eq!(told(&many, true).0, "10.0.0.9");
    }

    #[test]
    fn forwarded_is_believed_where_it_stands_alone() {
        let (client, list, forwarded) = told(
            "Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https;Host=\"shop.example:443\", by=x;for=10.0.0.2\r\n",
            true,
        );
        assert_eq!((&*client, &*list), ("2001:db8::1", "2001:db8::1, 10.0.0.2, 10.0.0.1"));
        let want = "for=\"[2001:db8::1]\";host=\"shop.example:443\";proto=https, for=10.0.0.2, for=10.0.0.1";
        assert_eq!(forwarded, want);
        let both = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.9;proto=https\r\n";
        assert_eq!(told(both, true).2, "for=192.0.2.1;host=\"a.b\";proto=http, for=10.0.0.1");
    }

    #[test]
    fn what_a_trusted_peer_says_badly_is_not_believed() {
        let of = |fields| told(fields, true).2;
        assert_eq!(
            of("X-Forwarded-Proto: https\r\nX-Forwarded-Host: s.example\r\n"),
            "for=10.0.0.1;host=\"s.example\";proto=https"
        );
        for bad in [
            "X-Forwarded-Proto: ftp\r\n",
            "X-Forwarded-Proto: https, http\r\n",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n",
            "X-Forwarded-Host: a\"b\r\n",
            "X-Forwarded-Host: a, b\r\n",
        ] {
            assert_eq!(of(bad), "for=10.0.0.1;host=\"a.b\";proto=http", "{bad}");
        }
    }

    #[test]
    fn d10_forwarded_with_broken_quoting_is_ignored() {
        for bad in [
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            "for=192.0.2.1\"",
            "for=\"192.0.2.1\"x",
            "for=[2001:db8::1]",
            "for",
            "for=",
            "=a",
            "for=192.0.2.1;",
            "for=192.0.2.1,",
            ";for=192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "f or=192.0.2.1",
            "for=192.0.2.1, for=\"",
            "for=192.0.2.1 for=192.0.2.2",
        ] {
            assert_eq!(told(&format!("Forwarded: {bad}\r\n"), true).0, "10.0.0.1", "{bad}");
            let second = format!("Forwarded: for=192.0.2.1\r\nForwarded: {bad}\r\n");
            assert_eq!(told(&second, true).0, "10.0.0.1", "{bad}");
        }
        for hidden in ["for=unknown", "for=_secret", "for=\"192.0.2.1\\\"\"", "proto=https"] {
            assert_eq!(told(&format!("Forwarded: for=6.6.6.6, {hidden}\r\n"), true).0, "10.0.0.1", "{hidden}");
        }
    }
}
