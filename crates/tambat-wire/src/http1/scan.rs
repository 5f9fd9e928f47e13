//! One pass over the fields of a request: which of them decide something, and which are passed on as they are.

use tambat_model::ErrorCode;

use super::facts::{Framing, Refusal, Version};
use super::fields::{Coding, Connection, coding, is_token, members, named_by_connection, number};

/// A field that may stand once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Once<'b> {
    #[default]
    Never,
    Is(&'b [u8]),
    More,
}

impl<'b> Once<'b> {
    pub(super) fn is_none(self) -> bool {
        self == Self::Never
    }

    /// Its value, if it stands once.
    pub(super) fn only(self) -> Option<&'b [u8]> {
        match self {
            Self::Is(value) => Some(value),
            Self::Never | Self::More => None,
        }
    }

    fn add(&mut self, value: &'b [u8]) {
        *self = if self.is_none() { Self::Is(value) } else { Self::More };
    }
}

/// Which of the fields are passed on: a bit for each, the first field's lowest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forwarding {
    copied: u128,
    via: u128,
    claims: u128,
    max_forwards: u128,
}

impl Forwarding {
    /// Those that are copied from this peer. Of what only a proxy can know of the client nothing is, unless it is trusted.
    /// `Max-Forwards` is, where it is not counted down.
    pub(super) fn copied(self, trusts_peer: bool, counts_down: bool) -> u128 {
        let claims = if trusts_peer { self.claims } else { 0 };
        let max_forwards = if counts_down { 0 } else { self.max_forwards };
        self.copied | self.via | claims | max_forwards
    }

    pub(super) fn has_via(self) -> bool {
        self.via != 0
    }
}

/// What the fields of a request say.
#[derive(Debug, Default)]
pub(super) struct Scan<'b> {
    pub(super) forwarding: Forwarding,
    pub(super) host: Option<&'b [u8]>,
    pub(super) connection: Connection,
    pub(super) expects_continue: bool,
    /// What an `Upgrade` asks for, where it may be passed on.
    pub(super) upgrade: Option<&'b [u8]>,
    pub(super) max_forwards: Once<'b>,
    pub(super) hop_token: Once<'b>,
    pub(super) request_id: Once<'b>,
    /// Trailers are kept for the client, or passed on by it (RFC 9110 §10.1.4).
    pub(super) takes_trailers: bool,
    /// `Content-Type` says that it is a call of gRPC.
    pub(super) is_grpc: bool,
    content_length: Once<'b>,
    transfer_encoding: Once<'b>,
}

impl<'b> Scan<'b> {
    /// Looks at each field once; a second time only where `Connection` names some.
    pub(super) fn of(fields: &[httparse::Header<'b>]) -> Result<Self, Refusal> {
        let mut scan = Self::default();
        let mut upgrade = Once::Never;
        for (nth, field) in fields.iter().enumerate() {
            let value = field.value;
            match known(field.name.as_bytes()) {
                Known::Plain => scan.forwarding.copied |= 1 << nth,
                Known::Dropped => {}
                Known::ContentType => {
                    scan.is_grpc = is_grpc(value);
                    scan.forwarding.copied |= 1 << nth;
                }
                Known::Te => scan.takes_trailers |= takes_trailers(value),
                Known::Claim => scan.forwarding.claims |= 1 << nth,
                Known::Via => scan.forwarding.via |= 1 << nth,
                Known::Host if scan.host.is_some() => return Err(Refusal::bad("there are two `Host` fields")),
                Known::Host => scan.host = Some(value),
                Known::Connection => scan.connection.read(value)?,
                Known::ContentLength => scan.content_length.add(value),
                Known::TransferEncoding => scan.transfer_encoding.add(value),
                Known::Expect => scan.expects_continue |= expects_continue(value)?,
                Known::Upgrade => upgrade.add(value),
                Known::HopToken => scan.hop_token.add(value),
                Known::RequestId => scan.request_id.add(value),
                Known::MaxForwards => {
                    scan.max_forwards.add(value);
                    scan.forwarding.max_forwards |= 1 << nth;
                }
            }
        }
        scan.upgrade = upgrade.only().filter(|value| is_passed_on(value));
        if scan.connection.names > 0 {
            scan.drop_named(fields);
        }
        Ok(scan)
    }

    /// How long the body is (RFC 9112 §6.3).
    pub(super) fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        match (self.transfer_encoding, self.content_length) {
            (Once::Never, Once::Never) => Ok(Framing::None),
            (Once::Never, Once::Is(value)) => {
                number(value).map(Framing::Length).ok_or(Refusal::bad("`Content-Length` is not a number of bytes"))
            }
            (_, Once::More) => Err(Refusal::bad("there are two `Content-Length` fields")),
            (_, Once::Is(_)) => Err(Refusal::bad("there are both a `Content-Length` and a `Transfer-Encoding`")),
            (Once::More, _) => Err(Refusal::bad("there are two `Transfer-Encoding` fields")),
            _ if version == Version::Http10 => Err(Refusal::bad("HTTP/1.0 knows no `Transfer-Encoding`")),
            (Once::Is(value), Once::Never) => match coding(value) {
                Coding::Chunked => Ok(Framing::Chunked),
                Coding::Bad => Err(Refusal::bad("`Transfer-Encoding` is not `chunked`")),
                Coding::Unknown => {
                    let cause = "`Transfer-Encoding` names a coding other than chunked";
                    Err(Refusal { code: ErrorCode::CodingUnknown, cause })
                }
            },
        }
    }

    /// What `Connection` names is for us alone (RFC 9110 §7.6.1). The fields that are ours to write are not copied in the
    /// first place, and the others that speak of the way here are not the client's to remove.
    fn drop_named(&mut self, fields: &[httparse::Header<'b>]) {
        let connections = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
        for name in connections.flat_map(|field| named_by_connection(field.value)) {
            for (nth, field) in fields.iter().enumerate() {
                if field.name.as_bytes().eq_ignore_ascii_case(name) {
                    self.forwarding.copied &= !(1 << nth);
                }
            }
        }
    }
}

/// What a field is to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing: it is passed on.
    Plain,
    /// Of this connection alone, written anew, or not to be passed on by anybody.
    Dropped,
    /// A proxy's word about the client.
    Claim,
    Host,
    Connection,
    ContentLength,
    ContentType,
    TransferEncoding,
    Expect,
    Te,
    Upgrade,
    Via,
    MaxForwards,
    HopToken,
    RequestId,
}

/// Tells a field by its length and first letter, and then by all of it. Most are told to be none by the length alone.
#[inline]
fn known(name: &[u8]) -> Known {
    let is = |what: &str| name.eq_ignore_ascii_case(what.as_bytes());
    let [first, ..] = name else { return Known::Plain };
    let known = match (name.len(), first | 0x20) {
        (2, b't') if is("te") => Known::Te,
        (3, b'v') if is("via") => Known::Via,
        (4, b'h') if is("host") => Known::Host,
        // CGI makes HTTP_PROXY of it, which many programs obey.
        (5, b'p') if is("proxy") => Known::Dropped,
        (6, b'e') if is("expect") => Known::Expect,
        (7, b'u') if is("upgrade") => Known::Upgrade,
        (9, b'f') if is("forwarded") => Known::Dropped,
        (9, b'x') if is("x-real-ip") => Known::Claim,
        (10, b'c') if is("connection") => Known::Connection,
        (11, b'c') if is("client-cert") => Known::Claim,
        (10, b'k') if is("keep-alive") => Known::Dropped,
        (10, b't') if is("tambat-hop") => Known::HopToken,
        (12, b'c') if is("content-type") => Known::ContentType,
        (12, b'm') if is("max-forwards") => Known::MaxForwards,
        (12, b'x') if is("x-request-id") => Known::RequestId,
        (14, b'c') if is("content-length") => Known::ContentLength,
        // Part of the upgrade to h2c.
        (14, b'h') if is("http2-settings") => Known::Dropped,
        (15.., b'x') if is_overwritten(name) => Known::Dropped,
        (13.., b'x') if name[..12].eq_ignore_ascii_case(b"x-forwarded-") => Known::Claim,
        (16, b'p') if is("proxy-connection") => Known::Dropped,
        (15.., b'x') if name[..14].eq_ignore_ascii_case(b"x-client-cert-") => Known::Claim,
        (17, b'c') if is("client-cert-chain") => Known::Claim,
        (17, b't') if is("transfer-encoding") => Known::TransferEncoding,
        (19, b'p') if is("proxy-authorization") => Known::Dropped,
        _ => Known::Plain,
    };
    if matches!(known, Known::Plain | Known::Claim) && has_underscore(name) { Known::Dropped } else { known }
}

/// What [`super::Forward`] always writes itself.
fn is_overwritten(name: &[u8]) -> bool {
    ["x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"]
        .into_iter()
        .any(|what| name.eq_ignore_ascii_case(what.as_bytes()))
}

/// `X_Y` and `X-Y` are one variable to CGI: who sends the one may mean to be taken for the other. Eight bytes at a time,
/// for this looks at the name of nearly every field.
#[inline]
fn has_underscore(name: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let is_in = |eight: &[u8; 8]| {
        // A byte that is `_` becomes 0, and only from 0 does taking 1 away set the highest bit anew.
        let zeros = u64::from_ne_bytes(*eight) ^ (ONES * u64::from(b'_'));
        zeros.wrapping_sub(ONES) & !zeros & (ONES << 7) != 0
    };
    match name.last_chunk() {
        Some(last) => name.as_chunks().0.iter().any(is_in) || is_in(last),
        None => name.contains(&b'_'),
    }
}

/// Is it the type of gRPC, with or without the name of a codec and parameters? That of gRPC-Web is another: its clients speak
/// HTTP.
fn is_grpc(value: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    value.split_at_checked(TYPE.len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
    })
}

/// `100-continue` is the only expectation there is (RFC 9110 §10.1.1).
fn expects_continue(value: &[u8]) -> Result<bool, Refusal> {
    let mut expected = members(value).filter(|member| !member.is_empty()).peekable();
    let expects = expected.peek().is_some();
    if expected.all(|member| member.eq_ignore_ascii_case(b"100-continue")) {
        return Ok(expects);
    }
    Err(Refusal { code: ErrorCode::ExpectationUnknown, cause: "`Expect` asks for something other than `100-continue`" })
}

/// Only this of a `TE` is passed on: the other members are codings, which are nobody's here.
fn takes_trailers(value: &[u8]) -> bool {
    members(value).any(|member| member.eq_ignore_ascii_case(b"trailers"))
}

/// May these protocols be asked of the target (RFC 9110 §7.8)? Never another HTTP: its requests would pass unread. Never
/// TLS inside the connection.
fn is_passed_on(value: &[u8]) -> bool {
    members(value).all(|protocol| {
        let mut parts = protocol.splitn(2, |b| *b == b'/');
        let name = parts.next().unwrap_or_default();
        let is_another = ["h2c", "h2", "http", "tls"].iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
        is_token(name) && parts.all(is_token) && !is_another
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for (name, want) in [
            ("Host", Known::Host),
            ("hOST", Known::Host),
            ("CONNECTION", Known::Connection),
            ("content-Length", Known::ContentLength),
            ("Transfer-encoding", Known::TransferEncoding),
            ("Expect", Known::Expect),
            ("UPGRADE", Known::Upgrade),
            ("vIA", Known::Via),
            ("Max-Forwards", Known::MaxForwards),
            ("tambat-hop", Known::HopToken),
            ("x-request-ID", Known::RequestId),
            ("Te", Known::Te),
            ("PROXY", Known::Dropped),
            ("forwarded", Known::Dropped),
            ("Keep-Alive", Known::Dropped),
            ("HTTP2-Settings", Known::Dropped),
            ("Proxy-Connection", Known::Dropped),
            ("Proxy-Authorization", Known::Dropped),
            ("X-Forwarded-FOR", Known::Dropped),
            ("X-Forwarded-Host", Known::Dropped),
            ("x-forwarded-port", Known::Dropped),
            ("X-Forwarded-Proto", Known::Dropped),
            ("X-Real-Ip", Known::Claim),
            ("X-Forwarded-User", Known::Claim),
            ("X-Forwarded-Client-Cert", Known::Claim),
            ("Client-Cert", Known::Claim),
            ("client-cert-chain", Known::Claim),
            ("X-Client-Cert-Subject", Known::Claim),
            ("x-client-cert-sha256", Known::Claim),
            ("X-Client-Cert-", Known::Plain),
            ("X-Forwarded-", Known::Plain),
            ("X-Forwarde", Known::Plain),
            ("Hosts", Known::Plain),
            ("Trailer", Known::Plain),
            ("Cookie", Known::Plain),
            ("Content-Lengtn", Known::Plain),
        ] {
            assert_eq!(known(name.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn b23_an_underscore_is_seen_at_every_place() {
        for len in 1..40 {
            assert!(!has_underscore(&vec![b'^'; len]) && !has_underscore(&vec![b'`'; len]));
            for at in 0..len {
                let mut name = vec![b'-'; len];
                name[at] = b'_';
                assert!(has_underscore(&name), "{at} of {len}");
                assert_eq!(known(&name), Known::Dropped);
            }
        }
    }
}
