//! A request of a stream as the head of an HTTP/1.1 request.

use super::websocket::{Accept, WebSocketKey};
use crate::http1::{Scheme, same_authority};

/// The pseudo-header fields of a request (RFC 9113 §8.3.1, RFC 8441 §4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pseudo<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:scheme`.
    pub scheme: Option<&'a [u8]>,
    /// `:authority`.
    pub authority: Option<&'a [u8]>,
    /// `:path`.
    pub path: Option<&'a [u8]>,
    /// `:protocol`.
    pub protocol: Option<&'a [u8]>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translated {
    /// A request. Behind its head its body follows, as the head says.
    Request {
        /// It is a `HEAD`: its answer has no body.
        head_only: bool,
        /// How its body is written behind the head.
        body: Body,
    },
    /// The opening of a WebSocket, which is to be answered with this. Behind the head its bytes follow.
    WebSocket(Accept),
}

/// How the body of a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// As it is: the head has said how long it is.
    Length,
    /// In chunks.
    Chunked,
}

/// Why a request cannot be translated: its stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It breaks this rule (RFC 9113 §8.1.1).
    #[error("{0}")]
    Rule(&'static str),
    /// It asks for a tunnel of a protocol that is not known here (RFC 8441 §4, RFC 9220 §3: 501).
    #[error("the protocol of an extended CONNECT is not `websocket`")]
    Protocol,
}

/// Appends the head of the HTTP/1.1 request that means the same. `ends`: no body follows the fields.
///
/// What is written is one head, whatever the fields hold; whether it breaks a rule that both framings have is for
/// [`request_head`](crate::http1::request_head) to say, which reads it next. Crumbs of cookies are put together
/// (RFC 9113 §8.2.3), for which `fields` may be asked for twice. On an error nothing was written.
pub fn write_request<'a, F: Iterator<Item = (&'a [u8], &'a [u8])>>(
    pseudo: &Pseudo<'a>,
    fields: impl Fn() -> F,
    ends: bool,
    key: impl FnOnce() -> WebSocketKey,
    out: &mut Vec<u8>,
) -> Result<Translated, Malformed> {
    let start = out.len();
    let written = Writer { out, pseudo, ends }.write(fields, key);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// May this field of a trailer section be passed on as it is? If not, the message is malformed (RFC 9113 §8.1).
pub fn trailer_is_fit(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| NAME[usize::from(*b)]) && value_is_fit(value)
}

struct Writer<'w, 'a> {
    out: &'w mut Vec<u8>,
    pseudo: &'w Pseudo<'a>,
    ends: bool,
}

/// What the fields said that decides how the request is written.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    has_length: bool,
    has_body: bool,
    has_cookies: bool,
}

const METHOD: Malformed = Malformed::Rule("the method is not a token");

impl<'a> Writer<'_, 'a> {
    fn write<F: Iterator<Item = (&'a [u8], &'a [u8])>>(
        mut self,
        fields: impl Fn() -> F,
        key: impl FnOnce() -> WebSocketKey,
    ) -> Result<Translated, Malformed> {
        let websocket = self.is_websocket()?.then(key);
        self.line(websocket.is_some())?;
        let seen = self.fields(fields(), websocket.is_some())?;
        self.host(&seen)?;
        if seen.has_cookies {
            self.cookies(fields());
        }
        if let Some(key) = websocket {
            if seen.has_length {
                return Err(Malformed::Rule("the opening of a WebSocket has a `content-length`"));
            }
            self.field(b"connection", b"Upgrade");
            self.field(b"upgrade", b"websocket");
            self.field(b"sec-websocket-key", key.as_bytes());
            self.out.extend_from_slice(b"\r\n");
            return Ok(Translated::WebSocket(key.accept()));
        }
        let body = match (self.ends, seen.has_length) {
            (true, _) if seen.has_body => {
                return Err(Malformed::Rule("the body is shorter than `content-length` says"));
            }
            (true, _) => Body::None,
            (false, true) => Body::Length,
            (false, false) => Body::Chunked,
        };
        if body == Body::Chunked {
            self.field(b"transfer-encoding", b"chunked");
        }
        self.out.extend_from_slice(b"\r\n");
        Ok(Translated::Request { head_only: self.pseudo.method == b"HEAD", body })
    }

    /// Is it an extended CONNECT (RFC 8441 §4)?
    fn is_websocket(&self) -> Result<bool, Malformed> {
        match self.pseudo.protocol {
            None => Ok(false),
            Some(_) if self.pseudo.method != b"CONNECT" => Err(Malformed::Rule("`:protocol` without CONNECT")),
            Some(b"websocket") if self.ends => Err(Malformed::Rule("a WebSocket ends before it has begun")),
            Some(b"websocket") => Ok(true),
            Some(_) => Err(Malformed::Protocol),
        }
    }

    fn line(&mut self, is_websocket: bool) -> Result<(), Malformed> {
        let Pseudo { method, scheme, path, .. } = *self.pseudo;
        if method.is_empty() || !method.iter().all(|b| NAME[usize::from(*b)] || b.is_ascii_uppercase()) {
            return Err(METHOD);
        }
        let (method, path) = if is_websocket {
            (&b"GET"[..], self.path(path)?)
        } else if method == b"CONNECT" {
            // It is refused by its method: where it leads to says nothing any more (RFC 9113 §8.5).
            if path.is_some() || scheme.is_some() {
                return Err(Malformed::Rule("a CONNECT has a `:path` or a `:scheme`"));
            }
            (method, &b"/"[..])
        } else {
            (method, self.path(path)?)
        };
        for part in [method, b" ", path, b" HTTP/1.1\r\n"] {
            self.out.extend_from_slice(part);
        }
        Ok(())
    }

    fn path(&self, path: Option<&'a [u8]>) -> Result<&'a [u8], Malformed> {
        if self.scheme().is_none() {
            return Err(Malformed::Rule("the `:scheme` is neither http nor https"));
        }
        let path = path.ok_or(Malformed::Rule("there is no `:path`"))?;
        if !path.iter().copied().all(is_visible) {
            return Err(Malformed::Rule("the `:path` has a character that no target has"));
        }
        match path {
            [b'/', ..] => Ok(path),
            b"*" if self.pseudo.method == b"OPTIONS" => Ok(path),
            _ => Err(Malformed::Rule("the `:path` does not begin with a slash")),
        }
    }

    fn scheme(&self) -> Option<Scheme> {
        [Scheme::Http, Scheme::Https].into_iter().find(|known| {
            self.pseudo.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(known.as_str().as_bytes()))
        })
    }

    /// Every field but hosts and cookies.
    fn fields(
        &mut self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        is_websocket: bool,
    ) -> Result<Seen<'a>, Malformed> {
        let mut seen = Seen::default();
        for (name, value) in fields {
            if name.is_empty() || !name.iter().all(|b| NAME[usize::from(*b)]) {
                return Err(Malformed::Rule("the name of a field is no token in lower case"));
            }
            if !value_is_fit(value) {
                return Err(Malformed::Rule("the value of a field has a control character in it, or blanks around it"));
            }
            match (name.len(), name) {
                (2, b"te") if value != b"trailers" => return Err(Malformed::Rule("`te` is not `trailers`")),
                (4, b"host") if seen.host.is_some() => return Err(Malformed::Rule("there are two `host` fields")),
                (4, b"host") => seen.host = Some(value),
                (6, b"cookie") => seen.has_cookies = true,
                (7, b"upgrade")
                | (10, b"connection" | b"keep-alive")
                | (16, b"proxy-connection")
                | (17, b"transfer-encoding") => return Err(CONNECTION_FIELD),
                (17, b"sec-websocket-key") if is_websocket => {}
                (14, b"content-length") => {
                    seen.has_length = true;
                    seen.has_body |= !value.iter().all(|b| *b == b'0');
                    self.field(name, value);
                }
                _ => self.field(name, value),
            }
        }
        Ok(seen)
    }

    /// `:authority` and `host` name one host (RFC 9113 §8.3.1).
    fn host(&mut self, seen: &Seen<'a>) -> Result<(), Malformed> {
        let host = match (self.pseudo.authority, seen.host) {
            (None, None) => return Ok(()),
            (Some(authority), Some(host)) => {
                let is_same = authority == host || same_authority(authority, host, self.scheme());
                if !is_same {
                    return Err(Malformed::Rule("`:authority` and `host` name different hosts"));
                }
                authority
            }
            (Some(host), None) | (None, Some(host)) => host,
        };
        if !host.iter().copied().all(is_visible) {
            return Err(Malformed::Rule("the `:authority` has a character that no host has"));
        }
        self.field(b"host", host);
        Ok(())
    }

    fn cookies(&mut self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let mut before = &b"cookie: "[..];
        for (_, crumb) in fields.filter(|(name, _)| *name == b"cookie") {
            self.out.extend_from_slice(before);
            self.out.extend_from_slice(crumb);
            before = b"; ";
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.out.extend_from_slice(part);
        }
    }
}

const CONNECTION_FIELD: Malformed = Malformed::Rule("a field is for connections of HTTP/1.1");

fn is_visible(b: u8) -> bool {
    !matches!(b, 0..=b' ' | 0x7f)
}

/// RFC 9113 §8.2.1, and what RFC 9110 §5.5 says of control characters.
fn value_is_fit(value: &[u8]) -> bool {
    let is_fit = |b: &u8| matches!(b, b'\t' | b' '..=0x7e | 0x80..);
    !matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) && value.iter().all(is_fit)
}

/// The bytes of a token (RFC 9110 §5.6.2) in lower case.
const NAME: &[bool; 256] = &{
    let mut is_fit = [false; 256];
    let mut b = 0_u8;
    loop {
        is_fit[b as usize] = matches!(
            b,
            b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'
                | b'_' | b'`' | b'|' | b'~'
        );
        if b == u8::MAX {
            break is_fit;
        }
        b += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    const GET: Pseudo<'_> = Pseudo {
        method: b"GET",
        scheme: Some(b"https"),
        authority: Some(b"a.example"),
        path: Some(b"/"),
        protocol: None,
    };

    fn key() -> WebSocketKey {
        WebSocketKey::new(*b"the sample nonce")
    }

    fn written(pseudo: Pseudo<'_>, fields: Fields<'_>, ends: bool) -> Result<(String, Translated), Malformed> {
        let mut out = b"before".to_vec();
        let fields = || fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let written = write_request(&pseudo, fields, ends, key, &mut out);
        let text = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
        match written {
            Ok(translated) => Ok((text, translated)),
            Err(malformed) => {
                assert_eq!(text, "", "{malformed}");
                Err(malformed)
            }
        }
    }

    fn of(pseudo: Pseudo<'_>, fields: Fields<'_>) -> String {
        written(pseudo, fields, true).unwrap().0
    }

    fn is_malformed(pseudo: Pseudo<'_>, fields: Fields<'_>) {
        let written = written(pseudo, fields, true);
        assert!(matches!(written, Err(Malformed::Rule(_))), "{pseudo:?} {fields:?}: {written:?}");
    }

    #[test]
    fn a_request_is_written_with_its_host_and_its_fields() {
        assert_eq!(of(GET, &[]), "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n");
        let post = Pseudo { method: b"POST", path: Some(b"/x?y=%20"), authority: Some(b"[::1]:81"), ..GET };
        assert_eq!(
            of(post, &[("accept", "*/*"), ("x-empty", ""), ("accept", "a\tb"), ("te", "trailers")]),
            "POST /x?y=%20 HTTP/1.1\r\naccept: */*\r\nx-empty: \r\naccept: a\tb\r\nte: trailers\r\nhost: [::1]:81\r\n\r\n"
        );
        let asterisk = Pseudo { method: b"OPTIONS", path: Some(b"*"), ..GET };
        assert_eq!(of(asterisk, &[]), "OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n");
        assert_eq!(of(Pseudo { authority: None, ..GET }, &[]), "GET / HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn the_body_is_framed_as_the_fields_and_the_end_of_the_stream_say() {
        let body = |fields: Fields<'_>, ends| match written(GET, fields, ends)? {
            (text, Translated::Request { head_only: false, body }) => {
                assert_eq!(text.contains("transfer-encoding: chunked\r\n"), body == Body::Chunked);
                Ok(body)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(body(&[], true), Ok(Body::None));
        assert_eq!(body(&[("content-length", "0")], true), Ok(Body::None));
        assert_eq!(body(&[], false), Ok(Body::Chunked));
        assert_eq!(body(&[("content-length", "5")], false), Ok(Body::Length));
        assert!(matches!(body(&[("content-length", "5")], true), Err(Malformed::Rule(_))));
        let (_, head) = written(Pseudo { method: b"HEAD", ..GET }, &[], true).unwrap();
        assert_eq!(head, Translated::Request { head_only: true, body: Body::None });
    }

    #[test]
    fn crumbs_of_cookies_are_put_together() {
        let crumbs = [("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("cookie", "e=f")];
        assert_eq!(of(GET, &crumbs), "GET / HTTP/1.1\r\nx: y\r\nhost: a.example\r\ncookie: a=b; c=d; e=f\r\n\r\n");
    }

    #[test]
    fn e11_names_and_values_that_none_may_have_are_malformed() {
        for name in ["X", "x y", "x:", ":x", "", "x\r\ny", "x\0", "é", "x(", "host\t"] {
            is_malformed(GET, &[(name, "v")]);
            assert!(!trailer_is_fit(name.as_bytes(), b"v"), "{name:?}");
        }
        for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\u{1}", "\u{7f}", " a", "a ", "\ta", "a\t"] {
            is_malformed(GET, &[("x", value)]);
            is_malformed(GET, &[("cookie", value)]);
            is_malformed(Pseudo { authority: None, ..GET }, &[("host", value)]);
            assert!(!trailer_is_fit(b"x", value.as_bytes()), "{value:?}");
        }
        assert!(trailer_is_fit(b"x-sum", "a é".as_bytes()));
    }

    #[test]
    fn e12_fields_of_connections_are_malformed() {
        for (name, value) in [
            ("connection", "close"),
            ("connection", ""),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "identity"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("te", "trailers, gzip"),
            ("te", "Trailers"),
            ("te", ""),
        ] {
            is_malformed(GET, &[(name, value)]);
        }
    }

    #[test]
    fn e13_pseudo_header_fields_that_are_missing_or_wrong_are_malformed() {
        for path in ["", "x", "*", "/a b", "/a\r\nb", "/\0", "/\u{7f}", "http://a/"] {
            is_malformed(Pseudo { path: Some(path.as_bytes()), ..GET }, &[]);
        }
        is_malformed(Pseudo { path: None, ..GET }, &[]);
        for scheme in [None, Some(&b"ftp"[..]), Some(b""), Some(b"http ")] {
            is_malformed(Pseudo { scheme, ..GET }, &[]);
        }
        for method in ["", "G T", "GET / HTTP/1.1\r\nx:", "G\0", "GÉT", "GET:"] {
            is_malformed(Pseudo { method: method.as_bytes(), ..GET }, &[]);
        }
        assert!(of(Pseudo { scheme: Some(b"HTTP"), ..GET }, &[]).starts_with("GET / HTTP/1.1\r\n"));
    }

    #[test]
    fn e14_authority_and_host_name_one_host() {
        for (authority, host) in [("b.example", "a.example"), ("a.example:81", "a.example"), ("a@b", "b"), ("", "a")] {
            is_malformed(Pseudo { authority: Some(authority.as_bytes()), ..GET }, &[("host", host)]);
        }
        is_malformed(Pseudo { authority: None, ..GET }, &[("host", "a"), ("host", "a")]);
        for host in ["a.example", "A.Example", "a.example:443", "a.example."] {
            assert_eq!(of(GET, &[("host", host)]), "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n");
        }
        assert_eq!(of(Pseudo { authority: None, ..GET }, &[("host", "b")]), "GET / HTTP/1.1\r\nhost: b\r\n\r\n");
    }

    #[test]
    fn e17_nothing_ends_a_line_early() {
        for authority in ["a\r\nx: y", "a b", "a\0", "a\n", "a\u{7f}"] {
            is_malformed(Pseudo { authority: Some(authority.as_bytes()), ..GET }, &[]);
            let connect = Pseudo { method: b"CONNECT", scheme: None, path: None, ..GET };
            is_malformed(Pseudo { authority: Some(authority.as_bytes()), ..connect }, &[]);
        }
    }

    #[test]
    fn a_connect_is_left_to_its_refusal() {
        let connect = Pseudo { method: b"CONNECT", scheme: None, path: None, ..GET };
        assert_eq!(of(connect, &[]), "CONNECT / HTTP/1.1\r\nhost: a.example\r\n\r\n");
        is_malformed(Pseudo { path: Some(b"/"), ..connect }, &[]);
        is_malformed(Pseudo { scheme: Some(b"http"), ..connect }, &[]);
    }

    #[test]
    fn e20_an_extended_connect_opens_a_websocket() {
        let websocket = Pseudo { method: b"CONNECT", protocol: Some(b"websocket"), path: Some(b"/chat"), ..GET };
        let fields: Fields<'_> = &[("sec-websocket-version", "13"), ("sec-websocket-key", "theirs"), ("origin", "b")];
        let (text, translated) = written(websocket, fields, false).unwrap();
        assert_eq!(
            text,
            "GET /chat HTTP/1.1\r\nsec-websocket-version: 13\r\norigin: b\r\nhost: a.example\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        assert_eq!(translated, Translated::WebSocket(key().accept()));
        assert!(matches!(written(websocket, &[], true), Err(Malformed::Rule(_))));
        assert!(matches!(written(websocket, &[("content-length", "0")], false), Err(Malformed::Rule(_))));
        let other = Pseudo { protocol: Some(b"connect-udp"), ..websocket };
        assert_eq!(written(other, &[], false), Err(Malformed::Protocol));
        is_malformed(Pseudo { protocol: Some(b"websocket"), ..GET }, &[]);
        is_malformed(Pseudo { path: None, ..websocket }, &[]);
        is_malformed(Pseudo { scheme: None, ..websocket }, &[]);
    }
}
