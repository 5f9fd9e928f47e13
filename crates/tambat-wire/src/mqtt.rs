//! MQTT 3.1.1 and 5.0 (OASIS), as far as `CONNECT` and `CONNACK` go.

use crate::Judgement;
use crate::printable::one_line;

/// `CONNECT` of version 3.1.1 (§3.1): a clean session that keeps nothing, 10 s of keep-alive, and no client identifier,
/// for which the server makes one: the session of nobody else is taken over. Servers of 5.0 alone answer it in their way.
pub(crate) const CONNECT: &[u8] = b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0";

/// `DISCONNECT` (§3.14): the server does not log a connection that broke.
pub(crate) const DISCONNECT: &[u8] = b"\xe0\0";

/// The first byte of `CONNACK` (§3.2.1).
const CONNACK: u8 = 0x20;

/// How long a `CONNACK` may be, in bytes: the properties of 5.0 are those of a connection, and a sentence.
const CONNACK_BYTES_MAX: usize = 8 * 1024;

/// The first byte of a protocol level of 5.0.
const LEVEL_5: u8 = 5;

/// 3.1.1: server unavailable (§3.2.2.3).
const UNAVAILABLE: u8 = 3;

/// 5.0: server unavailable (§3.2.2.2).
const UNAVAILABLE_5: u8 = 0x88;

/// 5.0: a sentence for people (§3.2.2.3.9).
const REASON_STRING: u8 = 0x1f;

/// Codes that are over after a while: server unavailable of both versions; busy, quota exceeded, and connection rate
/// exceeded of 5.0. Any other shows that it answers: not authorized, an unsupported version.
const NOT_YET: [u8; 5] = [UNAVAILABLE, UNAVAILABLE_5, 0x89, 0x97, 0x9f];

pub(crate) fn judge(answer: &[u8]) -> Judgement {
    match answer {
        [] => return Judgement::Incomplete,
        [CONNACK, ..] => {}
        _ => return Judgement::answered(answer),
    }
    let (length, body) = match remaining_length(&answer[1..]) {
        Length::Incomplete => return Judgement::Incomplete,
        Length::Of(length, body) if (2..=CONNACK_BYTES_MAX).contains(&length) => (length, body),
        Length::Of(..) | Length::No => return Judgement::answered(answer),
    };
    match body.get(..length) {
        None => Judgement::Incomplete,
        // All bits but "session present" are 0 (§3.2.2.1).
        Some([0 | 1, code, ..]) if NOT_YET.contains(code) => {
            Judgement::NotYet(format!("it answers CONNACK with the code 0x{code:02x}"))
        }
        Some([0 | 1, _, ..]) => Judgement::Ready,
        Some(_) => Judgement::answered(answer),
    }
}

/// Has a client said its version? Its first packet begins with the name and the level of the protocol (§3.1.2).
pub(crate) fn is_told(heard: &[u8]) -> bool {
    match heard {
        [] => false,
        [0x10, rest @ ..] => !matches!(level(rest), Level::Incomplete),
        _ => true,
    }
}

/// What a client that began so is told: that the server is unavailable; one of version 5 is told why.
pub(crate) fn refusal(cause: &str, heard: &[u8]) -> Vec<u8> {
    let is_5 = heard.split_first().is_some_and(|(first, rest)| *first == 0x10 && level(rest) == Level::Is(LEVEL_5));
    if !is_5 {
        return vec![CONNACK, 2, 0, UNAVAILABLE];
    }
    let reason = format!("tambat: {}", one_line(cause));
    let properties = [&[REASON_STRING], &sized_16(reason.as_bytes())[..]].concat();
    let body = [&[0, UNAVAILABLE_5], &variable_integer(properties.len())[..], &properties].concat();
    [&[CONNACK], &variable_integer(body.len())[..], &body].concat()
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    Incomplete,
    No,
    Is(u8),
}

/// What stands behind the first byte of a `CONNECT`.
fn level(rest: &[u8]) -> Level {
    const NAME: &[u8] = b"\0\x04MQTT";
    let body = match remaining_length(rest) {
        Length::Incomplete => return Level::Incomplete,
        Length::No => return Level::No,
        Length::Of(_, body) => body,
    };
    match (body.strip_prefix(NAME), NAME.starts_with(body)) {
        (Some([level, ..]), _) => Level::Is(*level),
        (Some([]), _) | (None, true) => Level::Incomplete,
        (None, false) => Level::No,
    }
}

enum Length<'a> {
    Incomplete,
    No,
    /// Of so many bytes; and what follows.
    Of(usize, &'a [u8]),
}

/// 7 bits in each of up to 4 bytes, the lowest first (§2.2.3).
fn remaining_length(bytes: &[u8]) -> Length<'_> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Length::Of(length, &bytes[at + 1..]);
        }
    }
    if bytes.len() < 4 { Length::Incomplete } else { Length::No }
}

fn variable_integer(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn sized_16(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap_or_default().to_be_bytes()[..], content].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged() {
        for (answer, ready) in [
            (b"\x20\x02\0\0".as_slice(), true),
            (b"\x20\x02\x01\0", true),
            (b"\x20\x02\0\x05", true),
            (b"\x20\x03\0\x84\0", true),
            (b"\x20\x02\0\x03", false),
            (b"\x20\x03\0\x88\0", false),
            (b"\x20\x03\0\x89\0", false),
        ] {
            let whole = judge(answer);
            assert_eq!(whole == Judgement::Ready, ready, "{whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{whole:?}");
            for end in 0..answer.len() {
                assert_eq!(judge(&answer[..end]), Judgement::Incomplete, "{end}");
            }
        }
        assert_eq!(judge(b"\x20\x02\0\x03"), Judgement::NotYet("it answers CONNACK with the code 0x03".to_owned()));
    }

    #[test]
    fn something_else_is_quoted() {
        for answer in [
            b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
            b" \x01\0",
            b"\x20\x02\x02\0",
            b"\x20\xff\xff\xff\xff",
            b"\x20\xff\xff\x7f\0\0",
            b"\xe0\0",
        ] {
            assert!(matches!(judge(answer), Judgement::Wrong(_)), "{}: {:?}", answer.escape_ascii(), judge(answer));
        }
    }

    #[test]
    fn the_probe_is_a_whole_packet() {
        assert_eq!(usize::from(CONNECT[1]) + 2, CONNECT.len());
        assert_eq!(level(&CONNECT[1..]), Level::Is(4));
        for end in 0..9 {
            assert_eq!(is_told(&CONNECT[..end]), end == 9, "{end}");
        }
        assert!(is_told(b"GET / HTTP/1.1") && is_told(b"\x10\x0a\0\x06MQIsdp") && is_told(b"\x10\xff\xff\xff\xff"));
    }

    #[test]
    fn a_client_is_told_in_its_own_version() {
        assert_eq!(refusal("down", CONNECT), b"\x20\x02\0\x03");
        assert_eq!(refusal("down", b"\x10\x0a\0\x06MQIsdp\x03"), b"\x20\x02\0\x03");
        let five = b"\x10\x0d\0\x04MQTT\x05\x02\0\x0a\0\0\0";
        assert_eq!(refusal("down", five), b"\x20\x12\0\x88\x0f\x1f\0\x0ctambat: down");
    }

    proptest! {
        #[test]
        fn a_refusal_reads_as_not_yet_whatever_its_cause(cause in any::<String>(), level in any::<u8>()) {
            let connect = [b"\x10\x0c\0\x04MQTT", &[level][..]].concat();
            prop_assert!(matches!(judge(&refusal(&cause, &connect)), Judgement::NotYet(_)));
        }
    }
}
