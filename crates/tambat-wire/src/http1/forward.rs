//! A request's head as it is sent to the target.
//!
//! Most of it is slices of what was received, with our own fields behind: no field is touched that says nothing to us.

use tambat_model::{PathPrefix, Stripped};

use super::client_certificate::ClientCertificate;
use super::facts::Framing;
use super::fields::{field_lines, put_number};
use super::request::RequestHead;
use super::request_id::RequestId;
use super::trust::{ClientFraming, Hop};

/// Room for the fields that are added; a head that needs more lets the buffer grow.
const OWN_BYTES: usize = 512;

/// What a request gets on its way to the target.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The client's connection.
    pub hop: &'a Hop<'a>,
    /// The prefix that is removed from the path.
    pub strip: Option<&'a PathPrefix>,
    /// The request's id.
    pub request_id: &'a RequestId,
    /// Proves to another tambat that this one may be believed: only ever sent to one. A token.
    pub hop_token: Option<&'a str>,
    /// The router itself has told the client to send its body: `Expect` is not passed on.
    pub continue_here: bool,
    /// What the client has proved to be by its certificate. Where a trusted peer says that of somebody else, it is passed
    /// on instead.
    pub client_certificate: Option<&'a ClientCertificate>,
    /// The target speaks HTTP/2, where a `TE` of `trailers` belongs to the request (RFC 9113 §8.2.2): servers of gRPC answer
    /// nobody without it.
    pub passes_te: bool,
}

impl RequestHead<'_, '_> {
    /// Appends the head as it is sent to the target: HTTP/1.1, whatever the client speaks.
    ///
    /// `Host` is the one that was matched (RFC 9112 §3.2.2), or the listener's own where an HTTP/1.0 client named none.
    /// The length of the body is written from what was understood, never copied. Of the connection's own fields (RFC 9110
    /// §7.6.1) none is passed on, but for an `Upgrade` that may be, and [`Forward::passes_te`]. `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and
    /// `Forwarded` say one thing, see `client.rs`; every other claim of that kind is passed on from a trusted peer only.
    pub fn write(&self, forward: &Forward<'_>, out: &mut Vec<u8>) {
        out.reserve(self.bytes.len() + OWN_BYTES);
        self.put_line(forward.strip, out);
        out.extend_from_slice(b"Host: ");
        let host_begins = out.len();
        self.put_host(forward.hop, out);
        let host = host_begins..out.len();
        out.extend_from_slice(b"\r\n");
        self.put_copied(forward.hop.trusts_peer, out);
        out.extend_from_slice(b"X-Forwarded-For: ");
        self.origin(forward.hop).put(host, out);
        let version = match forward.hop.framing {
            ClientFraming::Http1 => self.facts().version.as_str(),
            ClientFraming::Http2 => "2.0",
        };
        for part in [b"\r\nVia: ", version.as_bytes(), b" ", forward.hop.via.as_bytes()] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b"\r\nX-Request-ID: ");
        out.extend_from_slice(forward.request_id.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.put_framing(forward, out);
        if let Some(token) = forward.hop_token {
            put_field(b"Tambat-Hop: ", token.as_bytes(), out);
        }
        if let Some(certificate) = forward.client_certificate
            && !(forward.hop.trusts_peer && self.values("client-cert").next().is_some())
        {
            out.extend_from_slice(certificate.lines());
        }
        if let Some(left) = self.max_forwards {
            out.extend_from_slice(b"Max-Forwards: ");
            put_number(out, left.saturating_sub(1));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn put_line(&self, strip: Option<&PathPrefix>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        match strip.map_or(Stripped::Whole(&self.path), |prefix| prefix.strip(&self.path)) {
            Stripped::Whole(path) => out.extend_from_slice(path.as_bytes()),
            Stripped::SlashThen(rest) => {
                out.push(b'/');
                out.extend_from_slice(rest.as_bytes());
            }
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    fn put_host(&self, hop: &Hop<'_>, out: &mut Vec<u8>) {
        match &self.authority {
            Some(authority) => out.extend_from_slice(authority.text.as_bytes()),
            None => {
                out.extend_from_slice(b"localhost");
                if hop.port != hop.scheme.default_port() {
                    out.push(b':');
                    put_number(out, u64::from(hop.port));
                }
            }
        }
    }

    /// The fields that are passed on, in runs as long as they stand side by side.
    fn put_copied(&self, trusts_peer: bool, out: &mut Vec<u8>) {
        let mut copied = self.forwarding.copied(trusts_peer, self.max_forwards.is_some());
        while copied != 0 {
            let begins = copied.trailing_zeros();
            let ends = begins + (copied >> begins).trailing_ones();
            out.extend_from_slice(field_lines(self.bytes, self.fields, begins as usize, ends as usize));
            copied &= u128::MAX.checked_shl(ends).unwrap_or(0);
        }
    }

    fn put_framing(&self, forward: &Forward<'_>, out: &mut Vec<u8>) {
        let facts = self.facts();
        match facts.framing {
            Framing::None => {}
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::Length(bytes) => {
                out.extend_from_slice(b"Content-Length: ");
                put_number(out, bytes);
                out.extend_from_slice(b"\r\n");
            }
        }
        if facts.expects_continue && !forward.continue_here {
            out.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        if facts.upgrade {
            put_field(b"Connection: upgrade\r\nUpgrade: ", self.upgrade, out);
        }
        if forward.passes_te && self.takes_trailers {
            out.extend_from_slice(b"TE: trailers\r\n");
        }
    }
}

fn put_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::trust::Scheme;
    use super::super::{FieldSlots, Framing, Head, Limits, RequestFacts, request_head};
    use super::*;
    use tambat_model::Trusted;

    const ID: &str = "01900000-0000-7000-8000-000000000000";

    /// What our own fields say of a plain request from 192.0.2.1.
    const OWN: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 8080\r\n\
        Forwarded: for=192.0.2.1;host=\"a\";proto=http\r\nVia: 1.1 tambat\r\nX-Request-ID: 01900000-0000-7000-8000-000000000000\r\n";

    #[derive(Clone, Copy, Default)]
    struct Way<'a> {
        trusts_peer: bool,
        strip: Option<&'a PathPrefix>,
        hop_token: Option<&'a str>,
        continue_here: bool,
        certificate: bool,
        passes_te: bool,
    }

    fn sent(bytes: &str, way: Way<'_>) -> Option<String> {
        let (trusted, request_id) = (Trusted::default(), RequestId::kept(ID.as_bytes()).unwrap());
        let hop = Hop {
            peer: "192.0.2.1".parse().unwrap(),
            port: 8080,
            scheme: Scheme::Http,
            framing: ClientFraming::Http1,
            trusts_peer: way.trusts_peer,
            trusted: &trusted,
            via: "tambat",
        };
        let Way { strip, hop_token, continue_here, passes_te, .. } = way;
        let certificate = way.certificate.then(|| ClientCertificate::new(b"DER", "CN=alice", &[0xab]));
        let client_certificate = certificate.as_ref();
        let forward = Forward {
            hop: &hop,
            strip,
            request_id: &request_id,
            hop_token,
            continue_here,
            client_certificate,
            passes_te,
        };
        let mut slots = FieldSlots::new();
        let Head::Found(head) = request_head(bytes.as_bytes(), &mut slots, &Limits::default()) else {
            return None;
        };
        let mut out = b"before".to_vec();
        head.write(&forward, &mut out);
        Some(String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned())
    }

    fn plainly(fields: &str) -> String {
        sent(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), Way::default()).unwrap()
    }

    /// What is sent of these fields, without those that are always there.
    fn rest_of(fields: &str) -> String {
        let sent = plainly(fields);
        let rest = sent.strip_prefix("GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
        let (before, after) = rest.split_once(OWN).unwrap_or_else(|| panic!("{sent}"));
        format!("{before}{}", after.strip_suffix("\r\n").unwrap())
    }

    #[test]
    fn a_plain_request_gets_our_fields() {
        assert_eq!(plainly(""), format!("GET / HTTP/1.1\r\nHost: a\r\n{OWN}\r\n"));
        assert_eq!(
            plainly("Accept: */*\r\nCookie:  a=b \r\nX-Empty:\r\nConnection: close\r\nRange: bytes=0-1,2-3\r\n"),
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nCookie:  a=b \r\nX-Empty:\r\nRange: bytes=0-1,2-3\r\n{OWN}\r\n"
            )
        );
    }

    #[test]
    fn nobody_but_a_trusted_peer_speaks_of_client_certificates() {
        let claims = "Client-Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\nX-Client-Cert-Subject: CN=root\r\n\
            X-Client-Cert-SHA256: 00\r\nX_Client_Cert_Subject: CN=root\r\n";
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{claims}\r\n");
        let own = "Client-Cert: :REVS:\r\nX-Client-Cert-Subject: CN=alice\r\nX-Client-Cert-SHA256: ab\r\n";
        assert_eq!(sent(&head, Way::default()), sent("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Way::default()));
        let certain = sent(&head, Way { certificate: true, ..Way::default() }).unwrap();
        assert!(certain.ends_with(&format!("{own}\r\n")) && !certain.contains("AAAA") && !certain.contains("root"));
        let trusting = sent(&head, Way { certificate: true, trusts_peer: true, ..Way::default() }).unwrap();
        assert!(
            trusting.contains("Client-Cert: :AAAA:\r\n") && trusting.contains("X-Client-Cert-Subject: CN=root\r\n")
        );
        assert!(!trusting.contains("alice") && !trusting.contains("X_Client"), "{trusting}");
    }

    #[test]
    fn the_host_that_was_matched_is_sent() {
        let line_and_host = |head: &str| {
            let sent = sent(head, Way::default()).unwrap();
            let lines: Vec<_> = sent.split("\r\n").take(2).map(str::to_owned).collect();
            lines.join("|")
        };
        assert_eq!(
            line_and_host("GET http://A.b:81/x?y HTTP/1.1\r\nHost: a.B:81\r\n\r\n"),
            "GET /x?y HTTP/1.1|Host: A.b:81"
        );
        assert_eq!(line_and_host("GET /../x HTTP/1.0\r\n\r\n"), "GET /x HTTP/1.1|Host: localhost:8080");
        assert_eq!(line_and_host("GET http://a/ HTTP/1.0\r\n\r\n"), "GET / HTTP/1.1|Host: a");
        let old = sent("GET / HTTP/1.0\r\n\r\n", Way::default()).unwrap();
        assert!(
            old.contains("\r\nVia: 1.0 tambat\r\n") && old.contains("\r\nX-Forwarded-Host: localhost:8080\r\n"),
            "{old}"
        );
    }

    #[test]
    fn b23_fields_with_an_underscore_are_dropped() {
        assert_eq!(
            rest_of("X_Forwarded_For: 1.2.3.4\r\nA: b\r\n_: c\r\nContent_Length: 4\r\nX-Forwarded_Foo: x\r\n"),
            "A: b\r\n"
        );
    }

    #[test]
    fn d06_the_client_does_not_remove_our_fields() {
        let removed =
            "Connection: Host, X-Forwarded-For, X-Real-IP, Via, X-Request-ID, Content-Length, Forwarded, Gone\r\n";
        assert_eq!(
            rest_of(&format!("{removed}gone: 1\r\nVia: 1.1 b\r\nStays: 2\r\nGONE: 3\r\n")),
            "Via: 1.1 b\r\nStays: 2\r\n"
        );
        let body = sent(
            "PUT / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n",
            Way::default(),
        );
        assert!(body.unwrap().contains("\r\nContent-Length: 3\r\n"));
    }

    #[test]
    fn d07_the_fields_of_the_connection_are_dropped() {
        let own = "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers\r\n\
            Proxy-Authorization: Basic x\r\nUpgrade: websocket\r\nHTTP2-Settings: x\r\nProxy: evil\r\nTambat-Hop: guess\r\n\
            Expect: 100-continue\r\n";
        assert_eq!(rest_of(&format!("A: b\r\n{own}Trailer: X-Sum\r\n")), "A: b\r\nTrailer: X-Sum\r\n");
    }

    #[test]
    fn d07_only_to_http2_it_is_said_that_trailers_are_taken() {
        let te = |value: &str, passes_te| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: {value}\r\n\r\n");
            let sent = sent(&head, Way { passes_te, ..Way::default() }).unwrap();
            assert!(!sent.contains("Connection"), "{sent}");
            sent.contains("\r\nTE: ").then(|| assert!(sent.ends_with("\r\nTE: trailers\r\n\r\n"), "{sent}")).is_some()
        };
        for (value, is_told) in [("trailers", true), ("gzip, Trailers", true), ("gzip;q=0.5", false), ("", false)] {
            assert_eq!((te(value, true), te(value, false)), (is_told, false), "{value:?}");
        }
    }

    #[test]
    fn d08_the_word_of_a_trusted_peer_alone_is_passed_on() {
        let claims = "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\
            X-Forwarded-Port: 444\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-User: root\r\nX-Forwarded-Prefix: /p\r\n";
        assert_eq!(rest_of(claims), "");
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{claims}\r\n");
        let trusting = sent(&head, Way { trusts_peer: true, ..Way::default() }).unwrap();
        let want = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-User: root\r\nX-Forwarded-Prefix: /p\r\n\
            X-Forwarded-For: 1.1.1.1, 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 444\r\n\
            Forwarded: for=1.1.1.1;host=\"evil\";proto=https, for=192.0.2.1\r\nVia: 1.1 tambat\r\n";
        assert_eq!(trusting.split_once("X-Request-ID").unwrap().0, want);
    }

    #[test]
    fn d02_d03_an_upgrade_is_passed_on_or_not() {
        let websocket = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        assert_eq!(rest_of(websocket), "Sec-WebSocket-Version: 13\r\nConnection: upgrade\r\nUpgrade: websocket\r\n");
        assert_eq!(rest_of("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"), "");
        assert_eq!(rest_of("Connection: Upgrade\r\n"), "");
    }

    #[test]
    fn d04_an_expectation_goes_with_its_body() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 007\r\n\r\n";
        let relayed = sent(head, Way::default()).unwrap();
        assert!(relayed.ends_with("\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"), "{relayed}");
        let here = sent(head, Way { continue_here: true, ..Way::default() }).unwrap();
        assert!(here.ends_with("\r\nContent-Length: 7\r\n\r\n") && !here.contains("Expect"), "{here}");
        let chunked = sent("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", Way::default()).unwrap();
        assert!(chunked.ends_with("\r\nTransfer-Encoding: chunked\r\n\r\n"), "{chunked}");
    }

    #[test]
    fn d12_max_forwards_counts_down_for_options() {
        let of = |method: &str, value: &str| {
            let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n");
            let sent = sent(&head, Way::default()).unwrap();
            let lines = sent.split("\r\n").filter(|line| line.starts_with("Max-Forwards"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of("OPTIONS", "3"), ["Max-Forwards: 2"]);
        assert_eq!(of("OPTIONS", "18446744073709551615"), ["Max-Forwards: 18446744073709551614"]);
        assert_eq!(of("GET", "3"), ["Max-Forwards: 3"]);
    }

    #[test]
    fn a_prefix_is_removed_and_a_token_added() {
        let api: PathPrefix = "/api".parse().unwrap();
        let way = Way { strip: Some(&api), hop_token: Some("t0ken"), ..Way::default() };
        for (asked, want) in [("/api/x?y", "/x?y"), ("/api?y", "/?y"), ("/api", "/"), ("/b/../api/x", "/x")] {
            let sent = sent(&format!("GET {asked} HTTP/1.1\r\nHost: a\r\n\r\n"), way).unwrap();
            assert!(sent.starts_with(&format!("GET {want} HTTP/1.1\r\nHost: a\r\n")), "{sent}");
            assert!(sent.ends_with("\r\nTambat-Hop: t0ken\r\n\r\n"), "{sent}");
        }
    }

    #[test]
    fn as_many_fields_as_may_come_go() {
        let fields: String = (0..99).map(|nth| ["X-", "A", &"b".repeat(nth), ": c\r\n"].concat()).collect();
        assert_eq!(rest_of(&fields), fields);
        let every_other: String = (0..99).map(|nth| if nth % 2 == 0 { "A: b\r\n" } else { "TE: b\r\n" }).collect();
        assert_eq!(rest_of(&every_other), "A: b\r\n".repeat(50));
    }

    /// What a head means to whoever reads it.
    fn meaning(head: &str) -> Option<(String, String, String, RequestFacts)> {
        match request_head(head.as_bytes(), &mut FieldSlots::new(), &Limits::default()) {
            Head::Found(read) if read.len() == head.len() => {
                Some((read.method().into(), read.path().into(), read.host().into(), read.facts()))
            }
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_means_what_was_read(
            method in "GET|HEAD|POST|PUT|OPTIONS|M-SEARCH",
            target in "(http://a\\.b)?/([a-z./;]|%2[ef5]|%C3){0,8}(\\?[a-z=/.%]{0,6})?",
            fields in proptest::collection::vec(
                "(X-Y|Te|Keep-Alive|Via|X_Y|x-forwarded-for|Forwarded|Cookie|Proxy|Proxy-Authorization|Tambat-Hop): \
                    [ -~\u{e9}]{0,12}|Connection: (close|x-y|host|Content-Length|upgrade)|Upgrade: (h2c|websocket)|\
                    Content-Length: [0-9]{1,4}|Transfer-Encoding: (chunked|gzip)|Expect: 100-continue",
                0..8,
            ),
            trusts_peer: bool,
        ) {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a.b\r\n{}\r\n", fields.join("\r\n") + "\r\n");
            let head = if fields.is_empty() { head.replace("\r\n\r\n\r\n", "\r\n\r\n") } else { head };
            let Some(read) = meaning(&head) else { return Ok(()) };
            let sent = sent(&head, Way { trusts_peer, ..Way::default() }).unwrap();
            let again = meaning(&sent).unwrap_or_else(|| panic!("{sent:?} of {head:?}"));
            let keep_alive = read.3.keep_alive;
            prop_assert!(again.3.keep_alive);
            // A double escape may be one less after each reading; nothing else changes.
            prop_assert_eq!((&again.0, &again.2), (&read.0, &read.2));
            prop_assert_eq!(RequestFacts { keep_alive, ..again.3 }, read.3);
            if !target.contains("%25") {
                prop_assert_eq!(&again.1, &read.1);
            }
            let lower = sent.to_ascii_lowercase();
            for forbidden in ["te", "keep-alive", "proxy", "proxy-authorization", "tambat-hop", "x_y", "proxy-connection"] {
                prop_assert!(!lower.contains(&format!("\r\n{forbidden}:")), "{} in {:?}", forbidden, sent);
            }
            for once in ["host", "x-forwarded-for", "forwarded", "x-request-id"] {
                prop_assert_eq!(lower.matches(&format!("\r\n{once}:")).count(), 1, "{} in {:?}", once, sent);
            }
            let lengths = usize::from(matches!(read.3.framing, Framing::Length(_)));
            prop_assert_eq!(lower.matches("\r\ncontent-length:").count(), lengths);
            let codings = usize::from(read.3.framing == Framing::Chunked);
            prop_assert_eq!(lower.matches("\r\ntransfer-encoding:").count(), codings);
            prop_assert_eq!(lower.matches("\r\nupgrade:").count(), usize::from(read.3.upgrade));
        }
    }
}
