//! The protocol of `MySQL` and `MariaDB`, as far as a server's first packet goes ("Connection Phase" in the manual of
//! `MySQL`'s source): a greeting, or an error in its place.

use crate::Judgement;
use crate::printable::{one_line, quoted};

/// The version of the protocol that every server since `MySQL` 3.21 greets with.
const PROTOCOL_VERSION: u8 = 10;

/// What an error begins with.
const ERROR: u8 = 0xff;

/// How long a first packet may be, in bytes: greetings have about 100, errors 512 of text at most.
const PACKET_BYTES_MAX: usize = 1024;

/// A packet's length, 3 bytes, and its number, 1 byte.
const HEADER_BYTES: usize = 4;

/// Errors that are over after a while, or that keep everybody out: too many connections, shutting down, and a host that is
/// blocked after too many connections that broke off. Any other shows that it answers (1130: this host may not connect).
const NOT_YET: [u16; 3] = [TOO_MANY_CONNECTIONS, 1053, 1129];

/// `ER_CON_COUNT_ERROR`: what clients try again after.
const TOO_MANY_CONNECTIONS: u16 = 1040;

/// The greeting is waited for whole: a connection that is closed with bytes unread is reset.
pub(crate) fn judge(answer: &[u8]) -> Judgement {
    let Some((header, rest)) = answer.split_first_chunk::<HEADER_BYTES>() else {
        // A length of two bytes, the packet's number 0.
        let is_header = answer.get(2).is_none_or(|byte| *byte == 0);
        return if is_header { Judgement::Incomplete } else { Judgement::answered(answer) };
    };
    let [a, b, c, number] = *header;
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    let begins_well = rest.first().is_none_or(|first| matches!(*first, PROTOCOL_VERSION | ERROR));
    if number != 0 || !(3..=PACKET_BYTES_MAX).contains(&length) || !begins_well {
        return Judgement::answered(answer);
    }
    match rest.get(..length) {
        None => Judgement::Incomplete,
        Some([PROTOCOL_VERSION, version @ ..]) if is_version(version) => Judgement::Ready,
        Some([ERROR, low, high, text @ ..]) => judge_error(u16::from_le_bytes([*low, *high]), text),
        Some(_) => Judgement::answered(answer),
    }
}

/// An error in the place of the greeting. Before a client has said what it understands, an error has no SQLSTATE: clients of
/// `MySQL`'s own library would take one for text.
pub(crate) fn refusal(cause: &str) -> Vec<u8> {
    /// Clients read so much of an error's text (`MYSQL_ERRMSG_SIZE`).
    const TEXT_BYTES_MAX: usize = 500;
    let mut text = format!("tambat: {}", one_line(cause));
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    let length = u32::try_from(text.len() + 3).unwrap_or_default().to_le_bytes();
    let code = TOO_MANY_CONNECTIONS.to_le_bytes();
    [&length[..3], &[0, ERROR], &code, text.as_bytes()].concat()
}

/// The server's version, ended by NUL: digits come first, and all of it can be printed.
fn is_version(bytes: &[u8]) -> bool {
    let version = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    version.len() < bytes.len()
        && version.first().is_some_and(u8::is_ascii_digit)
        && version.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

/// Some servers have a SQLSTATE before the text: `#` and 5 bytes.
fn judge_error(code: u16, text: &[u8]) -> Judgement {
    let text = match text {
        [b'#', state @ ..] => state.get(5..).unwrap_or_default(),
        text => text,
    };
    if NOT_YET.contains(&code) {
        Judgement::NotYet(format!("it answers error {code}, {}", quoted(text)))
    } else {
        Judgement::Ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[0], payload].concat()
    }

    fn greeting(version: &str) -> Vec<u8> {
        packet(&[b"\x0a", version.as_bytes(), b"\0\x08\0\0\0saltsalt\0\xff\xf7\x08\x02\0\xff\x81\x15"].concat())
    }

    fn error(code: u16, text: &str) -> Vec<u8> {
        packet(&[&[ERROR], &code.to_le_bytes()[..], text.as_bytes()].concat())
    }

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged() {
        for (answer, ready) in [
            (greeting("8.0.36"), true),
            (greeting("5.5.5-10.11.6-MariaDB-0+deb12u1"), true),
            (error(1130, "Host '10.0.0.1' is not allowed to connect to this MariaDB server"), true),
            (error(1040, "Too many connections"), false),
            (error(1040, "#08004Too many connections"), false),
            (error(1129, "Host '10.0.0.1' is blocked because of many connection errors"), false),
        ] {
            let whole = judge(&answer);
            assert_eq!(whole == Judgement::Ready, ready, "{whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{whole:?}");
            for end in 0..answer.len() {
                assert_eq!(judge(&answer[..end]), Judgement::Incomplete, "{end}");
            }
        }
        let said = "it answers error 1040, \"Too many connections\"".to_owned();
        assert_eq!(judge(&error(1040, "#08004Too many connections")), Judgement::NotYet(said));
    }

    #[test]
    fn something_else_is_quoted() {
        for answer in [
            b"SSH-2.0-OpenSSH_9.2\r\n".as_slice(),
            b"220 mail ESMTP\r\n",
            b"\x05\0\0\x01\x0a8.0\0",
            b"\x05\0\0\0\x098.0\0",
            b"\x04\0\0\0\x0a8.0",
            b"\x05\0\0\0\x0ax.0\0",
            b"\x02\0\0\0\xff\x10",
            b"\0\0\x01\0\x0a",
        ] {
            assert!(matches!(judge(answer), Judgement::Wrong(_)), "{}: {:?}", answer.escape_ascii(), judge(answer));
        }
    }

    proptest! {
        #[test]
        fn a_refusal_reads_as_not_yet_whatever_its_cause(cause in any::<String>()) {
            let answer = refusal(&cause);
            prop_assert!(matches!(judge(&answer), Judgement::NotYet(_)), "{:?}", judge(&answer));
            prop_assert!(std::str::from_utf8(&answer[7..]).is_ok());
        }
    }
}
