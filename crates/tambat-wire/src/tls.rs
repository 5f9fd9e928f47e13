//! TLS (RFC 8446), as far as a hello and its answer go.

use crate::Judgement;

/// That nobody goes on, for a reason of its own, and that nothing more comes (RFC 8446 §6.1): two alerts that are no
/// errors.
pub(crate) const FAREWELL: &[u8] = b"\x15\x03\x03\0\x02\x01\x5a\x15\x03\x03\0\x02\x01\0";

/// The fatal alert `internal_error` (RFC 8446 §6.2): nothing that the client did is wrong.
pub(crate) const REFUSAL: &[u8] = b"\x15\x03\x03\0\x02\x02\x50";

/// The types of a record (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The type of a handshake message (RFC 8446 §4).
const SERVER_HELLO: u8 = 2;

/// A server's hello, and alerts too, show that TLS is spoken: a server may want a name, or a certificate. One that has an
/// error of its own (`internal_error`) is not ready.
pub(crate) fn judge(answer: &[u8]) -> Judgement {
    const INTERNAL_ERROR: u8 = 80;
    match answer {
        [ALERT, 3, 0..=4, 0, 2, 1 | 2, INTERNAL_ERROR, ..] => {
            Judgement::NotYet("it answers the TLS alert internal_error".to_owned())
        }
        [ALERT, 3, 0..=4, 0, 2, 1 | 2, _, ..] | [HANDSHAKE, 3, 0..=4, _, _, SERVER_HELLO, ..] => Judgement::Ready,
        answer if is_beginning(answer) => Judgement::Incomplete,
        answer => Judgement::Wrong(format!("it answered {}", crate::printable::quoted(answer))),
    }
}

/// Of one of the two records above.
fn is_beginning(answer: &[u8]) -> bool {
    match answer {
        [] | [ALERT | HANDSHAKE] | [ALERT | HANDSHAKE, 3] | [ALERT | HANDSHAKE, 3, 0..=4] => true,
        [HANDSHAKE, 3, 0..=4, rest @ ..] => rest.len() <= 2,
        [ALERT, 3, 0..=4, rest @ ..] => [0, 2].starts_with(rest) || matches!(rest, [0, 2, 1 | 2]),
        _ => false,
    }
}

/// A `ClientHello` that servers of TLS 1.2 and 1.3 answer (RFC 8446 §4.1.2), for this name where it is one
/// (RFC 6066 §3). Its key is any number: nobody goes on from the answer.
pub(crate) fn client_hello(server_name: Option<&str>) -> Vec<u8> {
    const SUITES: [u16; 9] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca8, 0xcca9];
    const KEY: [u8; 32] = [9; 32];
    let suites: Vec<u8> = SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let key_share = [&[0, 0x1d][..], &sized_16(&KEY)].concat();
    let named = server_name.map(|name| extension(0, &sized_16(&[&[0], &sized_16(name.as_bytes())[..]].concat())));
    let extensions = [
        named.unwrap_or_default(),
        // supported_groups: x25519 and secp256r1.
        extension(10, &sized_16(&[0, 0x1d, 0, 0x17])),
        // ec_point_formats: uncompressed.
        extension(11, &[1, 0]),
        // signature_algorithms: ECDSA and RSA-PSS with SHA-256, RSA with SHA-256.
        extension(13, &sized_16(&[4, 3, 8, 4, 4, 1])),
        // supported_versions: 1.3 and 1.2.
        extension(43, &[4, 3, 4, 3, 3]),
        extension(51, &sized_16(&key_share)),
    ]
    .concat();
    let random = [7; 32];
    let body = [&[3, 3][..], &random, &[0], &sized_16(&suites), &[1, 0], &sized_16(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    let handshake = [&[1], &length[1..], &body].concat();
    [&[HANDSHAKE, 3, 1][..], &sized_16(&handshake)].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized_16(content)].concat()
}

/// With its length before it.
fn sized_16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_and_no_prefix_is_judged_otherwise() {
        for (answer, ready) in [
            (b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03".as_slice(), true),
            (b"\x15\x03\x03\0\x02\x02\x28", true),
            (b"\x15\x03\x01\0\x02\x02\x70", true),
            (REFUSAL, false),
        ] {
            let whole = judge(answer);
            assert_eq!(whole == Judgement::Ready, ready, "{whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{whole:?}");
            for end in 0..answer.len() {
                let part = judge(&answer[..end]);
                assert!(part == Judgement::Incomplete || part == whole, "{end}: {part:?}");
            }
        }
    }

    #[test]
    fn something_else_is_quoted() {
        for answer in [
            b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
            b"\x16\x03\x01\0\x05\x01",
            b"\x15\x03\x03\0\x03",
            b"\x15\x03\x03\0\x02\x03\0",
            b"\x17\x03\x03",
            b"\x16\x02",
        ] {
            assert!(matches!(judge(answer), Judgement::Wrong(_)), "{}: {:?}", answer.escape_ascii(), judge(answer));
        }
    }

    #[test]
    fn a_hello_has_its_lengths_and_its_name() {
        for (name, found) in [(Some("db.example.com"), true), (None, false)] {
            let hello = client_hello(name);
            assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])) + 5, hello.len());
            assert_eq!(hello.windows(14).any(|part| part == b"db.example.com"), found);
            assert!(matches!(judge(&hello), Judgement::Wrong(_)), "an echo is no answer");
        }
    }
}
