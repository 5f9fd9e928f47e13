//! What is promised of the bridge from HTTP/2, for any fields: what is written is one head of HTTP/1.1 and nothing else,
//! with the fields that were given and no others, as a reader sees it that shares nothing with the bridge; and the engine
//! finds no other request in it. Called by the fuzz target, and by the ordinary tests of `tambat-wire` with every seed.

use tambat_wire::http1::{Disposition, FieldSlots, Framing, Head, Limits, request_head};
use tambat_wire::http2::{Body, Malformed, Pseudo, Translated, WebSocketKey, trailer_is_fit, write_request};

use crate::http1::reader::{Message, head, text};

/// What stands before what is written.
const BEFORE: &[u8] = b"before";

/// Fields as they come out of a field section, and whether the stream ends with them: a byte for that, and then for each
/// field the lengths of name and value and the two themselves. The pseudo-header fields are the first that have their
/// names.
pub(crate) fn http2_request(data: &[u8]) {
    let Some((ends, mut rest)) = data.split_first() else { return };
    let (mut pseudo, mut fields) = (Pseudo::default(), Vec::new());
    while let Some((name, value, left)) = field(rest) {
        rest = left;
        match name {
            b":method" if pseudo.method.is_empty() => pseudo.method = value,
            b":scheme" if pseudo.scheme.is_none() => pseudo.scheme = Some(value),
            b":authority" if pseudo.authority.is_none() => pseudo.authority = Some(value),
            b":path" if pseudo.path.is_none() => pseudo.path = Some(value),
            b":protocol" if pseudo.protocol.is_none() => pseudo.protocol = Some(value),
            _ => fields.push((name, value)),
        }
    }
    check(&pseudo, &fields, ends & 1 == 1);
}

fn field(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (lengths, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(lengths[0].into())?;
    let (value, rest) = rest.split_at_checked(lengths[1].into())?;
    Some((name, value, rest))
}

fn check(pseudo: &Pseudo<'_>, fields: &[(&[u8], &[u8])], ends: bool) {
    let mut out = BEFORE.to_vec();
    let key = WebSocketKey::new([7; 16]);
    let written = write_request(pseudo, || fields.iter().copied(), ends, || key, &mut out);
    let Some(bytes) = out.strip_prefix(BEFORE) else { panic!("it is appended") };
    match written {
        Err(Malformed::Protocol) => assert!(bytes.is_empty() && pseudo.protocol.is_some()),
        Err(Malformed::Rule(cause)) => assert!(bytes.is_empty() && !cause.is_empty()),
        Ok(translated) => {
            let (start, found, used) = head(bytes);
            assert_eq!(used, bytes.len(), "{:?}", text(bytes));
            let message = Message { start, fields: found, ..Message::default() };
            same_fields(pseudo, fields, &translated, &message);
            same_request(pseudo, &translated, bytes);
            assert!(fields.iter().all(|(name, value)| trailer_is_fit(name, value)), "{:?}", text(bytes));
        }
    }
}

/// What was written has the fields that were given, and those that stand for something else.
fn same_fields(pseudo: &Pseudo<'_>, fields: &[(&[u8], &[u8])], translated: &Translated, message: &Message) {
    let method = if matches!(translated, Translated::WebSocket(_)) { b"GET" } else { pseudo.method };
    let path = if method == b"CONNECT" { &b"/"[..] } else { pseudo.path.unwrap_or_default() };
    assert_eq!(message.start, format!("{} {} HTTP/1.1", text(method), text(path)));
    let mut wanted: Vec<(String, String)> = Vec::new();
    let (mut cookies, mut host) = (Vec::new(), pseudo.authority);
    for (name, value) in fields {
        match *name {
            b"cookie" => cookies.push(text(value)),
            b"host" => host = host.or(Some(value)),
            b"sec-websocket-key" if matches!(translated, Translated::WebSocket(_)) => {}
            _ => wanted.push((text(name), text(value))),
        }
    }
    wanted.extend(host.map(|host| ("host".to_owned(), text(host))));
    if !cookies.is_empty() {
        wanted.push(("cookie".to_owned(), cookies.join("; ")));
    }
    match translated {
        Translated::Request { body: Body::Chunked, .. } => wanted.push(("transfer-encoding".into(), "chunked".into())),
        Translated::Request { .. } => {}
        Translated::WebSocket(_) => {
            wanted.push(("connection".into(), "Upgrade".into()));
            wanted.push(("upgrade".into(), "websocket".into()));
            wanted.push(("sec-websocket-key".into(), "BwcHBwcHBwcHBwcHBwcHBw==".into()));
        }
    }
    let mut found: Vec<(String, String)> =
        message.fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect();
    // A crumb may be empty, or have blanks beside its separator alone.
    let trimmed = |(name, value): (String, String)| (name, value.trim_matches([' ', '\t']).to_owned());
    let mut wanted: Vec<_> = wanted.into_iter().map(trimmed).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

/// The engine reads the request that was meant, all of it, or refuses it.
fn same_request(pseudo: &Pseudo<'_>, translated: &Translated, bytes: &[u8]) {
    let mut slots = FieldSlots::new();
    match request_head(bytes, &mut slots, &Limits::default()) {
        Head::Incomplete => panic!("a head without an end: {:?}", text(bytes)),
        Head::Refused(refusal) => assert!(!refusal.cause.is_empty()),
        Head::Found(head) => {
            assert_eq!(head.len(), bytes.len());
            let facts = head.facts();
            match translated {
                Translated::Request { body: Body::None, .. } => assert!(!facts.framing.has_body()),
                Translated::Request { body: Body::Length, .. } => assert!(matches!(facts.framing, Framing::Length(_))),
                Translated::Request { body: Body::Chunked, .. } => assert_eq!(facts.framing, Framing::Chunked),
                Translated::WebSocket(_) => assert!(facts.upgrade && facts.framing == Framing::None),
            }
            assert_eq!(facts.upgrade, matches!(translated, Translated::WebSocket(_)));
            assert!(facts.keep_alive);
            if let (Some(path), Disposition::Forward) = (pseudo.path, head.disposition()) {
                assert_eq!(text(head.asked()), text(path));
            }
        }
    }
}
