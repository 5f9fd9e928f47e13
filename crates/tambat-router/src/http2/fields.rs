//! Fields of answers, as the codec wants them.
//!
//! Most fields of most answers came before just so: who made the answer, of what type it is, what second it is. Of these
//! one copy is shared, and neither their names are read anew nor their values copied.

use std::cell::RefCell;
use std::io;

use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use tambat_wire::http2::AnswerHead;

/// The field whose value no two answers have in common.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// So many fields are known to a worker at a time: those of some ten apps.
const KNOWN_MAX: usize = 64;

/// Longer lines are not kept: hardly any of them comes twice.
const LINE_BYTES_MAX: usize = 160;

/// What the line of a request id begins with, as the engine writes it.
const REQUEST_ID_LINE: &[u8] = b"X-Request-ID: ";

/// The fields that one worker has seen before, each in the place that its digest says.
#[derive(Debug, Default)]
pub(crate) struct KnownFields(RefCell<Vec<Known>>);

#[derive(Debug, Clone, Default)]
struct Known {
    /// Of the line that came here last.
    digest: u64,
    /// There once it has come twice: what comes once costs no more than a look.
    line: Box<[u8]>,
    field: Option<(HeaderName, HeaderValue)>,
}

impl KnownFields {
    /// All fields of an answer.
    pub(super) fn of(&self, head: &AnswerHead<'_>) -> io::Result<HeaderMap> {
        let mut map = HeaderMap::with_capacity(head.fields_max());
        for line in head.lines() {
            if let Some((name, value)) = self.field(head, line)? {
                map.append(name, value);
            }
        }
        Ok(map)
    }

    fn field<'b>(&self, head: &AnswerHead<'b>, line: &'b [u8]) -> io::Result<Option<(HeaderName, HeaderValue)>> {
        let end = match line.last_chunk::<8>() {
            Some(end) if line.len() <= LINE_BYTES_MAX && !head.opens_tunnel() => u64::from_le_bytes(*end),
            _ => return fresh(head, line),
        };
        if line.starts_with(REQUEST_ID_LINE) {
            return fresh(head, line);
        }
        let mut places = self.0.borrow_mut();
        if places.is_empty() {
            places.resize(KNOWN_MAX, Known::default());
        }
        let digest = digest(line, end);
        let place = &mut places[(digest >> 32) as usize % KNOWN_MAX];
        if place.digest != digest {
            *place = Known { digest, ..Known::default() };
            return fresh(head, line);
        }
        if *place.line == *line {
            return Ok(place.field.clone());
        }
        let field = fresh(head, line)?;
        // What one client alone is told stays with it.
        if field.as_ref().is_none_or(|(name, _)| name != SET_COOKIE) {
            (place.line, place.field) = (line.into(), field.clone());
        }
        Ok(field)
    }
}

fn fresh<'b>(head: &AnswerHead<'b>, line: &'b [u8]) -> io::Result<Option<(HeaderName, HeaderValue)>> {
    let Some((name, value)) = head.field(line) else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_bytes(value).map_err(unfit)?;
    if REQUEST_ID.as_str().eq_ignore_ascii_case(name) {
        // The codec puts none of them into its table, and does not compare each with all those before.
        value.set_sensitive(true);
        return Ok(Some((REQUEST_ID, value)));
    }
    Ok(Some((HeaderName::try_from(name).map_err(unfit)?, value)))
}

/// Where a line is looked for. Whoever would have two of them collide gains that they are not shared. `end`: its last eight
/// bytes.
fn digest(line: &[u8], end: u64) -> u64 {
    let mix = |digest: u64, word: u64| (digest.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let words = line.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    mix(words.fold(line.len() as u64, mix), end)
}

pub(super) fn unfit(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use tambat_wire::http2::{AnswerPart, AnswerReader, Body, Translated};

    use super::*;

    fn read(known: &KnownFields, fields: &str) -> io::Result<HeaderMap> {
        let answer = format!("HTTP/1.1 204 No\r\n{fields}\r\n");
        let mut reader = AnswerReader::new(Translated::Request { head_only: false, body: Body::None });
        match reader.next(answer.as_bytes(), 0) {
            Ok((_, AnswerPart::Head(head))) => known.of(&head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_field_is_the_same_however_often_it_has_come() {
        let (known, long) = (KnownFields::default(), "x".repeat(LINE_BYTES_MAX));
        let fields =
            format!("Server: a\r\nSERVER: b\r\nX-Own: c\r\nX-Request-ID: d\r\nSet-Cookie: e\r\nVia: {long}\r\n");
        for _ in 0..4 {
            let map = read(&known, &fields).unwrap();
            let seen: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            let expected = [
                ("server", "a"),
                ("server", "b"),
                ("x-own", "c"),
                ("x-request-id", "d"),
                ("set-cookie", "e"),
                ("via", &long),
            ];
            assert_eq!(seen, expected);
            assert!(map["x-request-id"].is_sensitive() && !map["server"].is_sensitive());
        }
        let kept: Vec<_> = known.0.borrow().iter().filter_map(|known| known.field.clone()).collect();
        let has = |name: &str| kept.iter().any(|(known, _)| known.as_str() == name);
        assert!(has("server") && has("x-own") && !has("set-cookie") && !has("x-request-id") && !has("via"), "{kept:?}");
    }

    #[test]
    fn what_concerns_connections_of_http1_is_known_not_to_be_passed_on() {
        let known = KnownFields::default();
        for _ in 0..3 {
            assert!(read(&known, "Connection: close\r\nKeep-Alive: timeout=5\r\n").unwrap().is_empty());
        }
        assert!(known.0.borrow().iter().any(|known| *known.line == *b"Connection: close" && known.field.is_none()));
    }

    #[test]
    fn places_are_few_and_what_collides_is_not_mistaken() {
        let known = KnownFields::default();
        for round in 0..3 {
            for nth in 0..10 * KNOWN_MAX {
                let map = read(&known, &format!("x-{nth}: {}\r\n", nth % 7)).unwrap();
                assert_eq!(map[format!("x-{nth}")], (nth % 7).to_string(), "{round}");
            }
        }
        assert_eq!(known.0.borrow().len(), KNOWN_MAX);
    }

    #[test]
    fn lines_of_one_digest_are_not_mistaken_for_each_other() {
        // The digest of one, and the line of another.
        let known = KnownFields::default();
        let line = b"server: some";
        let digest = digest(line, u64::from_le_bytes(*line.last_chunk().unwrap()));
        let other = (HeaderName::from_static("server"), HeaderValue::from_static("other"));
        let place = Known { digest, line: b"server: other".as_slice().into(), field: Some(other) };
        known.0.borrow_mut().resize(KNOWN_MAX, place);
        for _ in 0..3 {
            assert_eq!(read(&known, "server: some\r\n").unwrap()["server"], "some");
        }
    }

    #[test]
    fn what_the_codec_has_no_place_for_is_an_error() {
        let known = KnownFields::default();
        for _ in 0..3 {
            assert!(read(&known, "no name: a\r\n").is_err() && read(&known, "a: \u{1}\r\n").is_err());
        }
    }
}
