//! The head of a request: what it means, or why it is refused.

use std::borrow::Cow;
use std::fmt;

use tambat_model::ErrorCode;

use super::authority::Authority;
use super::facts::{Framing, Head, MethodKind, Refusal, RequestFacts, Version};
use super::fields::{self, members, trimmed};
use super::limits::{FieldSlots, Limits, METHOD_BYTES_MAX};
use super::request_id::RequestId;
use super::scan::{Forwarding, Scan};
use super::target::{Target, target};
use super::trust::{Hop, Scheme};

/// What becomes of a request that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It goes to a target.
    Forward,
    /// It is an `OPTIONS` for the router itself, answered with 204 and `Allow`: `OPTIONS *` (RFC 9110 §9.3.7), or one
    /// whose `Max-Forwards` is 0 (§7.6.2).
    AnswerOptions,
}

/// The head of a request that breaks no rule.
pub struct RequestHead<'b, 's> {
    /// From its first byte, an empty line before it included, to the empty line that ends it.
    pub(super) bytes: &'b [u8],
    pub(super) fields: &'s [httparse::Header<'b>],
    /// What to do with each of them.
    pub(super) forwarding: Forwarding,
    pub(super) method: &'b str,
    pub(super) path: Cow<'b, str>,
    /// As it is sent on; none from an HTTP/1.0 client that named none.
    pub(super) authority: Option<Authority<'b>>,
    pub(super) max_forwards: Option<u64>,
    pub(super) upgrade: &'b [u8],
    pub(super) takes_trailers: bool,
    asked: &'b str,
    hop_token: Option<&'b [u8]>,
    request_id: Option<&'b [u8]>,
    facts: RequestFacts,
    disposition: Disposition,
}

/// Reads the head at the beginning of `bytes`, by the rules of RFC 9112 and RFC 9110 and stricter than both: what can be
/// read in two ways is refused, never repaired.
///
/// Fields with `_` in their name are passed over: a gateway to CGI makes the same variable of `X_Y` and `X-Y`.
pub fn request_head<'b, 's>(
    bytes: &'b [u8],
    slots: &'s mut FieldSlots<'b>,
    limits: &Limits,
) -> Head<RequestHead<'b, 's>> {
    match read(bytes, slots, limits) {
        Ok(Some(head)) => Head::Found(head),
        Ok(None) => Head::Incomplete,
        Err(refusal) => Head::Refused(refusal),
    }
}

impl<'b> RequestHead<'b, '_> {
    /// How many bytes it takes, an empty line before it included.
    #[expect(clippy::len_without_is_empty, reason = "a head is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What outlives the bytes.
    pub fn facts(&self) -> RequestFacts {
        self.facts
    }

    /// Who answers it.
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// The method, as the client wrote it.
    pub fn method(&self) -> &'b str {
        self.method
    }

    /// The host in lower case, without port and last dot; empty where an HTTP/1.0 client named none.
    pub fn host(&self) -> &str {
        self.authority.as_ref().map_or("", |authority| &authority.host)
    }

    /// The path and query as they are matched and sent on: see the rules in `target.rs`. `*` where the router itself is
    /// asked.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The target as the client wrote it.
    pub fn asked(&self) -> &'b [u8] {
        self.asked.as_bytes()
    }

    /// What `Content-Length` says.
    pub fn content_length(&self) -> Option<u64> {
        match self.facts.framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked => None,
        }
    }

    /// The first field `traceparent` (W3C Trace Context): passed on as it is, and logged.
    pub fn traceparent(&self) -> Option<&'b [u8]> {
        self.values("traceparent").next()
    }

    /// The value of the first cookie of this name (RFC 6265 §4.2.1), with its quotes if it has some.
    pub fn cookie(&self, name: &str) -> Option<&'b [u8]> {
        let pairs = self.values("cookie").flat_map(|value| value.split(|b| *b == b';'));
        pairs.map(trimmed).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// Does `Accept` name HTML, as that of a browser does that would show the answer as a page?
    pub fn prefers_html(&self) -> bool {
        self.values("accept").flat_map(members).any(|range| {
            let mut parts = range.split(|b| *b == b';').map(trimmed);
            let is_html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"text/html"));
            // A quality of 0 says that it is not wanted (RFC 9110 §12.4.2).
            is_html && !parts.any(|weight| matches!(weight, [b'q' | b'Q', b'=', rest @ ..] if is_zero(rest)))
        })
    }

    /// The only field `Tambat-Hop`: with it another tambat proves itself. It is never passed on.
    pub fn hop_token(&self) -> Option<&'b [u8]> {
        self.hop_token
    }

    /// The id that a trusted peer has given it, if it is a good one. Without, make a new one.
    pub fn request_id(&self, hop: &Hop<'_>) -> Option<RequestId> {
        self.request_id.filter(|_| hop.trusts_peer).and_then(RequestId::kept)
    }

    /// Has it been here before: is this pseudonym in `Via` (RFC 9110 §7.6.3)?
    pub fn comes_from_itself(&self, via: &str) -> bool {
        self.forwarding.has_via()
            && self.values("via").flat_map(members).any(|hop| {
                let mut words = hop.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
                words.nth(1).is_some_and(|received_by| received_by == via.as_bytes())
            })
    }

    /// Did the client come over TLS: to here, or to a proxy whose word is taken?
    pub fn came_over_tls(&self, hop: &Hop<'_>) -> bool {
        self.origin(hop).scheme == Scheme::Https.as_str().as_bytes()
    }

    /// The values of the fields of this name, in their order.
    pub(super) fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        let is_named = move |field: &&httparse::Header<'b>| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(is_named).map(|field| field.value)
    }
}

/// No field is shown: there are cookies and passwords among them, and in the query.
impl fmt::Debug for RequestHead<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split_once('?').map_or(&*self.path, |(path, _)| path);
        let mut shown = f.debug_struct("RequestHead");
        shown.field("method", &self.method).field("host", &self.host()).field("path", &path);
        shown.field("facts", &self.facts).finish_non_exhaustive()
    }
}

fn is_zero(quality: &[u8]) -> bool {
    !quality.is_empty() && quality.iter().all(|b| matches!(b, b'0' | b'.'))
}

fn read<'b, 's>(
    bytes: &'b [u8],
    slots: &'s mut FieldSlots<'b>,
    limits: &Limits,
) -> Result<Option<RequestHead<'b, 's>>, Refusal> {
    // One empty line is passed over (RFC 9112 §2.2): some clients send it behind a body.
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let window = &bytes[skipped..bytes.len().min(limits.head_bytes_max).max(skipped)];
    match window {
        [] => return Ok(None),
        b"\r" if skipped == 0 => return Ok(None),
        [b'\r' | b'\n', ..] => return Err(Refusal::bad("the request begins with more than one empty line")),
        _ => {}
    }
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(window, slots.within(limits)) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            let is_full = skipped + window.len() >= limits.head_bytes_max;
            return still_within(window, parsed.method, is_full, limits).map(|()| None);
        }
        Err(error) => return Err(broken(error, window, &parsed)),
    };
    let (Some(method), Some(asked), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::bad("the request line is not whole"));
    };
    let fields: &'s [httparse::Header<'b>] = parsed.headers;
    let lines =
        fields::lines(&window[..len], fields).ok_or(Refusal::bad("a line ends with a LF without a CR before it"))?;
    if lines.first_bytes > limits.line_bytes_max {
        return Err(LINE_TOO_LONG);
    }
    if lines.field_bytes > limits.field_bytes_max {
        return Err(FIELD_TOO_LONG);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let kind = method_kind(method)?;
    let asked_for = target(asked, kind == MethodKind::Options)?;
    let scan = Scan::of(fields)?;
    let (path, authority) = place(asked_for, scan.host, version)?;
    let facts = facts(method, kind, version, &scan)?;
    let max_forwards = max_forwards(kind, &scan)?;
    let is_ours = path == "*" || max_forwards == Some(0);
    Ok(Some(RequestHead {
        bytes: &bytes[..skipped + len],
        fields,
        forwarding: scan.forwarding,
        method,
        path,
        authority,
        max_forwards,
        upgrade: scan.upgrade.unwrap_or_default(),
        takes_trailers: scan.takes_trailers,
        asked,
        hop_token: scan.hop_token.only(),
        request_id: scan.request_id.only(),
        facts,
        disposition: if is_ours { Disposition::AnswerOptions } else { Disposition::Forward },
    }))
}

const LINE_TOO_LONG: Refusal =
    Refusal { code: ErrorCode::LineTooLong, cause: "the request line is longer than the router takes" };
const FIELD_TOO_LONG: Refusal =
    Refusal { code: ErrorCode::HeadTooBig, cause: "a field of the request is longer than the router takes" };
const HEAD_TOO_LONG: Refusal =
    Refusal { code: ErrorCode::HeadTooBig, cause: "the head of the request is longer than the router takes" };
const TOO_MANY_FIELDS: Refusal =
    Refusal { code: ErrorCode::HeadTooBig, cause: "the request has more fields than the router takes" };

/// Is it worth waiting for the rest of this head, or can no rest make it good?
fn still_within(window: &[u8], method: Option<&str>, is_full: bool, limits: &Limits) -> Result<(), Refusal> {
    if method.map_or(window, str::as_bytes).len() > METHOD_BYTES_MAX {
        return Err(METHOD_TOO_LONG);
    }
    let longer_than = |bytes_max: usize| move |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len() > bytes_max;
    let mut lines = window.split(|b| *b == b'\n');
    if lines.next().is_some_and(longer_than(limits.line_bytes_max)) {
        return Err(LINE_TOO_LONG);
    }
    if lines.any(longer_than(limits.field_bytes_max)) {
        return Err(FIELD_TOO_LONG);
    }
    if is_full { Err(HEAD_TOO_LONG) } else { Ok(()) }
}

const METHOD_TOO_LONG: Refusal =
    Refusal { code: ErrorCode::BadRequest, cause: "the method is longer than any there is" };

/// What httparse has refused, in our words.
fn broken(error: httparse::Error, window: &[u8], parsed: &httparse::Request<'_, '_>) -> Refusal {
    let cause = match error {
        httparse::Error::TooManyHeaders => return TOO_MANY_FIELDS,
        httparse::Error::Version => {
            let version = parsed.path.map(|path| &window[fields::offset(window, path.as_bytes()) + path.len() + 1..]);
            if version.is_some_and(|rest| matches!(rest, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', ..])) {
                return Refusal {
                    code: ErrorCode::VersionUnknown,
                    cause: "the version of HTTP is neither 1.0 nor 1.1",
                };
            }
            "the request line does not end with a version of HTTP"
        }
        httparse::Error::HeaderName => "a line of the head has no name of a field before a colon",
        httparse::Error::HeaderValue => "a field has a control character in it",
        httparse::Error::NewLine => "a line of the head goes on where it has to end",
        httparse::Error::Token | httparse::Error::Status if parsed.method.is_none() => "the method is not a token",
        httparse::Error::Token | httparse::Error::Status => {
            "the target is empty, or has a character that no target has"
        }
    };
    Refusal::bad(cause)
}

/// `CONNECT` would open a tunnel to anywhere, and `TRACE` shows a page's scripts what they must not see (RFC 9110 §9.3.6
/// and §9.3.8). Some servers read methods in any case, so neither is passed on in any.
fn method_kind(method: &str) -> Result<MethodKind, Refusal> {
    match method {
        "GET" => Ok(MethodKind::Get),
        "HEAD" => Ok(MethodKind::Head),
        "OPTIONS" => Ok(MethodKind::Options),
        _ if method.len() > METHOD_BYTES_MAX => Err(METHOD_TOO_LONG),
        _ if method.eq_ignore_ascii_case("CONNECT") || method.eq_ignore_ascii_case("TRACE") => {
            Err(Refusal { code: ErrorCode::MethodRefused, cause: "`CONNECT` and `TRACE` are not passed on" })
        }
        _ => Ok(MethodKind::Other),
    }
}

/// The path, and the host that it is a path of: the target's own and `Host` have to agree (RFC 9112 §3.2).
fn place<'b>(
    asked_for: Target<'b>,
    host: Option<&'b [u8]>,
    version: Version,
) -> Result<(Cow<'b, str>, Option<Authority<'b>>), Refusal> {
    let host = match host {
        Some(text) => Some(Authority::parse(text).map_err(Refusal::bad)?),
        None if version == Version::Http11 => return Err(Refusal::bad("there is no `Host`")),
        None => None,
    };
    let (path, target_host) = match asked_for {
        Target::Origin(path) => return Ok((path, host)),
        Target::Asterisk(target_host) => (Cow::Borrowed("*"), target_host),
        Target::Absolute(scheme, authority, path) => (path, Some((scheme, authority))),
    };
    let Some((scheme, authority)) = target_host else {
        return Ok((path, host));
    };
    let port = |of: &Authority<'_>| of.port.unwrap_or(scheme.default_port());
    if host.is_some_and(|host| host.host != authority.host || port(&host) != port(&authority)) {
        return Err(Refusal::bad("the target and `Host` name different hosts"));
    }
    Ok((path, Some(authority)))
}

/// What decides about the body and about the connection.
fn facts(method: &str, kind: MethodKind, version: Version, scan: &Scan<'_>) -> Result<RequestFacts, Refusal> {
    let framing = scan.framing(version)?;
    let is_11 = version == Version::Http11;
    let connection = scan.connection;
    Ok(RequestFacts {
        method: kind,
        is_idempotent: kind != MethodKind::Other || matches!(method, "PUT" | "DELETE"),
        version,
        framing,
        keep_alive: !connection.close && (is_11 || connection.keep_alive),
        upgrade: is_11 && connection.upgrade && scan.upgrade.is_some() && !framing.has_body(),
        // An HTTP/1.0 client does not mean it, and one without a body has nothing to wait for (RFC 9110 §10.1.1).
        expects_continue: is_11 && scan.expects_continue && framing.has_body(),
        is_grpc: scan.is_grpc,
    })
}

/// How often an `OPTIONS` may be passed on yet (RFC 9110 §7.6.2); other methods do not count.
fn max_forwards(kind: MethodKind, scan: &Scan<'_>) -> Result<Option<u64>, Refusal> {
    if kind != MethodKind::Options || scan.max_forwards.is_none() {
        return Ok(None);
    }
    let only = scan.max_forwards.only().and_then(fields::number);
    only.map(Some).ok_or(Refusal::bad("`Max-Forwards` is not one number"))
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::redundant_closure_for_method_calls,
        reason = "a path to a method names its lifetimes, a closure leaves them open"
    )]

    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::super::trust::{ClientFraming, Scheme};
    use super::*;
    use tambat_model::Trusted;

    const REQUEST: &str = "GET /a/b?c=d HTTP/1.1\r\nHost: shop.example:8080\r\nAccept: */*\r\n\r\n";

    /// Reads these bytes and looks at what was found.
    fn read<T>(bytes: &[u8], look: impl FnOnce(&RequestHead<'_, '_>) -> T) -> Result<T, Option<ErrorCode>> {
        read_within(bytes, &Limits::default(), look)
    }

    fn read_within<T>(
        bytes: &[u8],
        limits: &Limits,
        look: impl FnOnce(&RequestHead<'_, '_>) -> T,
    ) -> Result<T, Option<ErrorCode>> {
        match request_head(bytes, &mut FieldSlots::new(), limits) {
            Head::Found(head) => Ok(look(&head)),
            Head::Incomplete => Err(None),
            Head::Refused(refusal) => Err(Some(refusal.code)),
        }
    }

    fn code(bytes: &[u8]) -> Option<ErrorCode> {
        read(bytes, |_| ()).expect_err(&format!("{:?}", String::from_utf8_lossy(bytes)))
    }

    /// A POST with these fields.
    fn with(fields: &str) -> String {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
    }

    fn facts_of(bytes: &str) -> RequestFacts {
        read(bytes.as_bytes(), |head| head.facts()).unwrap_or_else(|code| panic!("{bytes:?}: {code:?}"))
    }

    #[test]
    fn a_plain_request_is_what_it_says() {
        let followed = format!("{REQUEST}GET /next");
        read(followed.as_bytes(), |head| {
            assert_eq!(head.len(), REQUEST.len());
            assert_eq!((head.method(), head.host(), head.path()), ("GET", "shop.example", "/a/b?c=d"));
            assert_eq!(head.asked(), b"/a/b?c=d");
            assert!(matches!(head.path, Cow::Borrowed(_)));
            assert_eq!(head.disposition(), Disposition::Forward);
            assert_eq!((head.content_length(), head.traceparent(), head.hop_token()), (None, None, None));
        })
        .unwrap();
        let facts = RequestFacts {
            method: MethodKind::Get,
            is_idempotent: true,
            version: Version::Http11,
            framing: Framing::None,
            keep_alive: true,
            upgrade: false,
            expects_continue: false,
            is_grpc: false,
        };
        assert_eq!(facts_of(REQUEST), facts);
        for (value, is_grpc) in [
            ("application/grpc", true),
            ("Application/GRPC+proto", true),
            ("application/grpc ; x=y", true),
            ("application/grpc-web+proto", false),
            ("application/grpcs", false),
            ("application/gr", false),
        ] {
            let fields = format!("Content-Type: {value}");
            assert_eq!(facts_of(&with(&fields)).is_grpc, is_grpc, "{fields}");
        }
    }

    #[test]
    fn a_request_is_whole_with_its_last_byte() {
        for end in 0..REQUEST.len() {
            assert_eq!(code(&REQUEST.as_bytes()[..end]), None, "{:?}", &REQUEST[..end]);
        }
    }

    #[test]
    fn a01_a02_a03_two_lengths_are_none() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: 5\r\ncontent-length: 5\r\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(code(with(fields).as_bytes()), Some(ErrorCode::BadRequest), "{fields}");
        }
    }

    #[test]
    fn a04_a05_a_length_is_digits() {
        for value in ["", "+5", "-1", "0x10", "1_0", "5 5", "5;", "\t", "18446744073709551616", "5\u{660}"] {
            let fields = format!("Content-Length: {value}");
            assert_eq!(code(with(&fields).as_bytes()), Some(ErrorCode::BadRequest), "{fields}");
        }
        assert_eq!(facts_of(&with("Content-Length:\t 12 ")).framing, Framing::Length(12));
        assert_eq!(facts_of(&with("Content-Length: 18446744073709551615")).framing, Framing::Length(u64::MAX));
        assert_eq!(facts_of(&with("X: y")).framing, Framing::None);
    }

    #[test]
    fn a06_a07_chunked_alone_is_a_coding() {
        use ErrorCode::{BadRequest, CodingUnknown};
        for (value, want) in [
            ("chunked, identity", BadRequest),
            ("gzip", CodingUnknown),
            ("xchunked", CodingUnknown),
            (",chunked", BadRequest),
            ("chunked,", BadRequest),
            ("gzip, chunked", CodingUnknown),
            ("chunked\r\nTransfer-Encoding: chunked", BadRequest),
            ("chunked\r\nTransfer-Encoding: identity", BadRequest),
            ("\u{b}chunked", BadRequest),
            ("\u{a0}chunked", BadRequest),
            ("", BadRequest),
            ("chun ked", BadRequest),
            ("\"chunked\"", BadRequest),
        ] {
            let fields = format!("Transfer-Encoding: {value}");
            assert_eq!(code(with(&fields).as_bytes()), Some(want), "{fields:?}");
        }
        assert_eq!(facts_of(&with("TRANSFER-encoding: ChunkeD\t")).framing, Framing::Chunked);
    }

    #[test]
    fn a08_http_10_knows_no_coding() {
        assert_eq!(code(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(ErrorCode::BadRequest));
    }

    #[test]
    fn b01_b02_b03_there_is_one_good_host() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(code(head.as_bytes()), Some(ErrorCode::BadRequest), "{head:?}");
        }
        let host = |head: &str| read(head.as_bytes(), |head| head.host().to_owned());
        assert_eq!(host("GET / HTTP/1.0\r\n\r\n"), Ok(String::new()));
        assert_eq!(host("GET / HTTP/1.1\r\nhOST: \tShop.Example.:80 \r\n\r\n"), Ok("shop.example".into()));
    }

    #[test]
    fn b04_target_and_host_agree() {
        let seen = |line: &str, host: &str| {
            let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            read(head.as_bytes(), |head| format!("{} {}", head.host(), head.path()))
        };
        assert_eq!(seen("GET http://A.b:80/x/../y", "a.B"), Ok("a.b /y".into()));
        assert_eq!(seen("GET https://a.b?q", "a.b:443"), Ok("a.b /?q".into()));
        for (line, host) in [
            ("GET http://a.b/", "c.d"),
            ("GET http://a.b:81/", "a.b"),
            ("GET https://a.b/", "a.b:80"),
            ("GET http://user@a.b/", "a.b"),
            ("OPTIONS http://a.b", "c.d"),
        ] {
            assert_eq!(seen(line, host), Err(Some(ErrorCode::BadRequest)), "{line} {host}");
        }
        let old = "GET http://a.b/ HTTP/1.0\r\n\r\n";
        assert_eq!(read(old.as_bytes(), |head| head.host().to_owned()), Ok("a.b".into()));
    }

    #[test]
    fn b06_b07_connect_and_trace_are_not_passed_on() {
        for line in ["CONNECT a:443", "TRACE /", "trace /", "CONNECT /"] {
            let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(code(head.as_bytes()), Some(ErrorCode::MethodRefused), "{line}");
        }
    }

    #[test]
    fn b08_d12_some_options_are_answered_here() {
        let seen = |line: &str, fields: &str| {
            let head = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            read(head.as_bytes(), |head| head.disposition())
        };
        assert_eq!(seen("OPTIONS *", ""), Ok(Disposition::AnswerOptions));
        assert_eq!(seen("OPTIONS http://a", ""), Ok(Disposition::AnswerOptions));
        assert_eq!(seen("OPTIONS /", "Max-Forwards: 0\r\n"), Ok(Disposition::AnswerOptions));
        assert_eq!(seen("OPTIONS /", "Max-Forwards: 1\r\n"), Ok(Disposition::Forward));
        assert_eq!(seen("OPTIONS /", ""), Ok(Disposition::Forward));
        assert_eq!(seen("GET /", "Max-Forwards: 0\r\n"), Ok(Disposition::Forward));
        assert_eq!(seen("GET /", "Max-Forwards: x\r\n"), Ok(Disposition::Forward));
        for (line, fields) in [
            ("GET *", ""),
            ("OPTIONS /", "Max-Forwards: x\r\n"),
            ("OPTIONS /", "Max-Forwards: 1\r\nMax-Forwards: 0\r\n"),
        ] {
            assert_eq!(seen(line, fields), Err(Some(ErrorCode::BadRequest)), "{line} {fields}");
        }
    }

    #[test]
    fn b09_to_b12_request_lines_are_strict() {
        use ErrorCode::{BadRequest, VersionUnknown};
        let long = format!("{} / HTTP/1.1", "M".repeat(300));
        for (line, want) in [
            ("GET /", BadRequest),
            ("GET / HTTP/1.2", VersionUnknown),
            ("GET / HTTP/3.0", VersionUnknown),
            ("PRI * HTTP/2.0", VersionUnknown),
            ("GET / HTTP/1.1.1", BadRequest),
            ("GET / http/1.1", BadRequest),
            ("GET / HTTP/1.1 ", BadRequest),
            ("GET / HTP/1.1", BadRequest),
            ("GET  / HTTP/1.1", BadRequest),
            ("GET /  HTTP/1.1", BadRequest),
            ("GET\t/ HTTP/1.1", BadRequest),
            (" GET / HTTP/1.1", BadRequest),
            ("GET HTTP/1.1", BadRequest),
            ("G(T / HTTP/1.1", BadRequest),
            ("G\0T / HTTP/1.1", BadRequest),
            ("G\u{ff}T / HTTP/1.1", BadRequest),
            ("/ HTTP/1.1", BadRequest),
            (&long, BadRequest),
            ("GET /a b HTTP/1.1", BadRequest),
            ("GET /a\u{1}b HTTP/1.1", BadRequest),
            ("GET /a#b HTTP/1.1", BadRequest),
            ("GET /a\\b HTTP/1.1", BadRequest),
            ("GET /\u{e9} HTTP/1.1", BadRequest),
            ("GET a.b/ HTTP/1.1", BadRequest),
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(code(head.as_bytes()), Some(want), "{line:?}");
        }
        assert_eq!(code(b"\xff\xfe"), Some(BadRequest));
        assert_eq!(code(b"GET /\xff HTTP/1.1\r\n"), Some(BadRequest));
        assert_eq!(code(b"\x16\x03\x01\x02\0"), Some(BadRequest), "a TLS ClientHello");
        assert_eq!(code(b"GET /\r\n"), Some(BadRequest), "HTTP/0.9 is refused with its one line");
        assert_eq!(code(&[b'M'; 65]), Some(BadRequest), "no method goes on like that");
        assert_eq!(code(&[&[b'M'; 65], &b" /"[..]].concat()), Some(BadRequest), "nor ends like that");
        assert_eq!(code(&[&[b'M'; 64], &b" /"[..]].concat()), None);
    }

    #[test]
    fn b13_b14_heads_have_limits_and_meet_them_early() {
        use ErrorCode::{HeadTooBig, LineTooLong};
        let limits = Limits::default();
        let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(bytes - 14));
        let rest = "Host: a\r\n\r\n";
        assert!(read((line(limits.line_bytes_max) + rest).as_bytes(), |_| ()).is_ok());
        assert_eq!(code((line(limits.line_bytes_max + 1) + rest).as_bytes()), Some(LineTooLong));
        assert_eq!(code(&line(10_000).as_bytes()[..limits.line_bytes_max]), None);
        assert_eq!(code(&line(10_000).as_bytes()[..=limits.line_bytes_max]), Some(LineTooLong), "before it ends");

        let field = |bytes: usize| format!("X: {}\r\n", "b".repeat(bytes - 3));
        let start = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned();
        let whole = |fields: &str| start.clone() + fields + "\r\n";
        assert!(read(whole(&field(limits.field_bytes_max)).as_bytes(), |_| ()).is_ok());
        assert_eq!(code(whole(&field(limits.field_bytes_max + 1)).as_bytes()), Some(HeadTooBig));
        let unfinished = start.clone() + field(20_000).trim_end();
        assert_eq!(code(unfinished.as_bytes()), Some(HeadTooBig), "before it ends");
        assert_eq!(code((start.clone() + &field(20_000)).as_bytes()), Some(HeadTooBig));

        let four = field(16_000).repeat(4);
        let fill = |sum: usize| whole(&(four.clone() + &field(sum - start.len() - four.len() - 4)));
        assert_eq!(fill(limits.head_bytes_max).len(), limits.head_bytes_max);
        assert!(read(fill(limits.head_bytes_max).as_bytes(), |_| ()).is_ok());
        assert_eq!(code(fill(limits.head_bytes_max + 1).as_bytes()), Some(HeadTooBig));
        let endless = start.clone() + &field(1_000).repeat(66);
        assert_eq!(code(&endless.as_bytes()[..limits.head_bytes_max]), Some(HeadTooBig), "before it ends");
        assert_eq!(code(&endless.as_bytes()[..limits.head_bytes_max - 1]), None);

        assert!(read(whole(&"X: y\r\n".repeat(99)).as_bytes(), |_| ()).is_ok());
        assert_eq!(code(whole(&"X: y\r\n".repeat(100)).as_bytes()), Some(HeadTooBig));
        assert_eq!(code((start.clone() + &"X: y\r\n".repeat(100)).as_bytes()), Some(HeadTooBig), "before it ends");
        let small = Limits { fields_max: 2, line_bytes_max: 20, field_bytes_max: 20, head_bytes_max: 60 };
        assert_eq!(read_within(whole("X: y\r\nY: z\r\n").as_bytes(), &small, |_| ()), Err(Some(HeadTooBig)));
    }

    #[test]
    fn b15_to_b22_field_lines_are_strict() {
        for fields in [
            "Host : a",
            "X: y\r\n z",
            "X: y\r\n\tz",
            ": x",
            "no colon",
            "X: a\0b",
            "X: a\rb",
            "X: a\x7fb",
            "X: a\u{1b}b",
            "X: a\nY: b",
            "X: y\n",
            "X\u{e9}: y",
            "X(: y",
            "X y: z",
            "\"X\": y",
        ] {
            assert_eq!(code(with(fields).as_bytes()), Some(ErrorCode::BadRequest), "{fields:?}");
        }
        assert_eq!(code(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"), Some(ErrorCode::BadRequest), "B17");
        assert_eq!(code(b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n"), Some(ErrorCode::BadRequest), "B17");
        assert_eq!(code(b"GET / HTTP/1.1\nHost: a\r\n\r\n"), Some(ErrorCode::BadRequest), "B20");
        assert_eq!(code(b"GET / HTTP/1.1\r\nHost: a\n\n"), Some(ErrorCode::BadRequest), "B20");
        assert_eq!(code(b"GET / HTTP/1.1\rHost: a\r\n\r\n"), Some(ErrorCode::BadRequest), "B19");
        assert!(read(with("X: caf\u{e9}\tau lait").as_bytes(), |_| ()).is_ok(), "obs-text is opaque");
    }

    #[test]
    fn b21_one_empty_line_is_passed_over() {
        let head = format!("\r\n{REQUEST}");
        for end in 0..head.len() {
            assert_eq!(code(&head.as_bytes()[..end]), None, "{end}");
        }
        assert_eq!(read(head.as_bytes(), |head| head.len()), Ok(head.len()));
        for bad in ["\n", "\r\n\r", "\r\n\n", "\r\r", "\rG"] {
            assert_eq!(code(format!("{bad}{REQUEST}").as_bytes()), Some(ErrorCode::BadRequest), "{bad:?}");
            assert_eq!(code(bad.as_bytes()), Some(ErrorCode::BadRequest), "{bad:?}");
        }
    }

    #[test]
    fn connections_are_kept_as_their_version_says() {
        let keeps = |version: &str, fields: &str| {
            facts_of(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).keep_alive
        };
        assert!(keeps("1.1", "") && keeps("1.1", "Connection: keep-alive\r\n"));
        assert!(!keeps("1.1", "Connection: close\r\n") && !keeps("1.1", "Connection: x\r\nConnection: CLOSE, y\r\n"));
        assert!(!keeps("1.0", "") && keeps("1.0", "Connection: Keep-Alive\r\n"));
        assert!(
            !keeps("1.0", "Connection: keep-alive, close\r\n") && !keeps("1.0", "Proxy-Connection: keep-alive\r\n")
        );
        assert_eq!(code(with("Connection: a b").as_bytes()), Some(ErrorCode::BadRequest));
    }

    #[test]
    fn d02_d03_only_a_good_upgrade_is_one() {
        let upgrades =
            |version: &str, fields: &str| facts_of(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).upgrade;
        assert!(upgrades("1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"));
        assert!(upgrades("1.1", "Upgrade: foo/2, websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n"));
        for (version, fields) in [
            ("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
            ("1.1", "Upgrade: websocket\r\n"),
            ("1.1", "Connection: upgrade\r\n"),
            ("1.1", "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade: websocket, H2C\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade: TLS/1.2\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade: web socket\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade:\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"),
            ("1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"),
        ] {
            assert!(!upgrades(version, fields), "{version} {fields}");
        }
    }

    #[test]
    fn d05_only_100_continue_is_expected() {
        let expects = |fields: &str| facts_of(&with(fields)).expects_continue;
        assert!(expects("Content-Length: 3\r\nExpect: 100-Continue"));
        assert!(expects("Transfer-Encoding: chunked\r\nExpect: 100-continue"));
        assert!(!expects("Expect: 100-continue") && !expects("Content-Length: 0\r\nExpect: 100-continue"));
        assert!(!expects("Content-Length: 3\r\nExpect:"));
        for value in ["200-ok", "100-continue, x", "100-continue;a=b", "\"100-continue\""] {
            let fields = format!("Content-Length: 3\r\nExpect: {value}");
            assert_eq!(code(with(&fields).as_bytes()), Some(ErrorCode::ExpectationUnknown), "{value}");
        }
        let old = "POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
        assert!(!facts_of(old).expects_continue);
    }

    #[test]
    fn d11_an_id_is_kept_from_a_trusted_peer() {
        let kept = |fields: &str, trusts_peer: bool| {
            let (peer, trusted) = (IpAddr::V4(Ipv4Addr::LOCALHOST), Trusted::default());
            let hop = Hop {
                peer,
                port: 80,
                scheme: Scheme::Http,
                framing: ClientFraming::Http1,
                trusts_peer,
                trusted: &trusted,
                via: "t",
            };
            read(with(fields).as_bytes(), |head| head.request_id(&hop).map(|id| id.to_string())).unwrap()
        };
        let good = "X-Request-ID: 0123456789abcdefghij";
        assert_eq!(kept(good, true).as_deref(), Some("0123456789abcdefghij"));
        assert_eq!(kept(good, false), None);
        assert_eq!(kept("X-Request-ID: short", true), None);
        assert_eq!(kept(&format!("{good}\r\n{good}"), true), None);
    }

    #[test]
    fn d13_our_own_pseudonym_in_via_is_seen() {
        let loops = |via: &str| read(with(via).as_bytes(), |head| head.comes_from_itself("tambat-7f")).unwrap();
        assert!(loops("Via: 1.1 tambat-7f") && loops("via: 1.0 a, HTTP/1.1  tambat-7f (comment)"));
        assert!(loops("Via: 1.1 a\r\nX: y\r\nVia: 1.1 tambat-7f"));
        assert!(!loops("Via: 1.1 tambat-7") && !loops("Via: tambat-7f") && !loops("X-Via: 1.1 tambat-7f"));
    }

    #[test]
    fn methods_decide_what_may_be_sent_twice() {
        for (method, kind, is_idempotent) in [
            ("GET", MethodKind::Get, true),
            ("HEAD", MethodKind::Head, true),
            ("OPTIONS", MethodKind::Options, true),
            ("PUT", MethodKind::Other, true),
            ("DELETE", MethodKind::Other, true),
            ("POST", MethodKind::Other, false),
            ("PATCH", MethodKind::Other, false),
            ("get", MethodKind::Other, false),
            ("M-SEARCH", MethodKind::Other, false),
        ] {
            let facts = facts_of(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!((facts.method, facts.is_idempotent), (kind, is_idempotent), "{method}");
        }
    }

    #[test]
    fn what_the_router_asks_of_other_fields() {
        let head = with(
            "traceparent: 00-0af7-b7ad-01\r\nCookie: a=b; tambat=x1;c\r\ncookie: tambat=y; d=\"e\"\r\nTambat-Hop: secret",
        );
        read(head.as_bytes(), |head| {
            assert_eq!(head.traceparent(), Some(&b"00-0af7-b7ad-01"[..]));
            assert_eq!(head.cookie("tambat"), Some(&b"x1"[..]));
            assert_eq!((head.cookie("d"), head.cookie("tam")), (Some(&b"\"e\""[..]), None));
            assert_eq!(head.hop_token(), Some(&b"secret"[..]));
            assert!(!format!("{head:?}").contains("secret"), "{head:?}");
        })
        .unwrap();
        let twice = with("Tambat-Hop: a\r\nTambat-Hop: b");
        assert_eq!(read(twice.as_bytes(), |head| head.hop_token().map(<[u8]>::len)), Ok(None));
        let html = |fields: &str| read(with(fields).as_bytes(), |head| head.prefers_html()).unwrap();
        assert!(html("Accept: text/html,application/xhtml+xml,*/*;q=0.8") && html("Accept: a/b, Text/HTML;q=0.9"));
        assert!(!html("Accept: */*") && !html("Accept: text/html;q=0.0") && !html("X: text/html"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, |_| ());
        }

        #[test]
        fn bytes_that_look_like_a_head_are_read_without_a_panic(
            text in "(\r\n)?[A-Z*]{0,8} ?[/a.%2e:?h-]{0,12} ?HTTP/1.[01]\r\n(([HhTC][a-z-]{0,4}: ?[a-z0-9,; \t]{0,8}|                     Host: a|Content-Length: [0-9]{1,3}|Connection: [a-z,]{1,9}|Forwarded: [a-z=\";,]{0,9})\r?\n){0,4}\r?\n?"
        ) {
            let found = read(text.as_bytes(), |head| (head.len(), head.facts()));
            // More bytes never change what a head means, fewer never make one.
            let followed = read(format!("{text}GET").as_bytes(), |head| (head.len(), head.facts()));
            if let Ok((len, facts)) = found {
                prop_assert_eq!(followed, Ok((len, facts)));
                for end in 0..len {
                    prop_assert_eq!(read(&text.as_bytes()[..end], |_| ()), Err(None), "{:?}", &text[..end]);
                }
            }
        }
    }
}
