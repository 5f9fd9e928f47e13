//! SSH (RFC 4253), as far as versions go, and the message that ends a connection.

use crate::Judgement;
use crate::printable::{one_line, quoted};

/// How long a line may be, in bytes: RFC 4253 §4.2 has 255 for a version, and nothing for lines before it.
const LINE_BYTES_MAX: usize = 2 * 1024;

/// Lines of OpenSSH before it closes the connection: too many others have not said who they are yet, or this host has
/// given offence.
const NOT_YET: [&[u8]; 2] = [b"Exceeded MaxStartups", b"Not allowed at this time"];

/// What servers of other protocols greet with: no line before a version.
const OTHERS: [&[u8]; 6] = [b"220 ", b"220-", b"HTTP/", b"+OK", b"* OK", b"-ERR"];

/// A server's version, which may have other lines before it (RFC 4253 §4.2).
pub(crate) fn judge(answer: &[u8]) -> Judgement {
    let mut rest = answer;
    loop {
        let Some(end) = rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
            let may_go_on = rest.len() < LINE_BYTES_MAX && is_text(rest) && !is_other(rest);
            return if may_go_on { Judgement::Incomplete } else { Judgement::answered(rest) };
        };
        let line = rest[..end].trim_ascii_end();
        if NOT_YET.iter().any(|words| line.starts_with(words)) {
            return Judgement::NotYet(format!("it answers {}", quoted(line)));
        }
        match line.strip_prefix(b"SSH-") {
            Some([b'1' | b'2', b'.', b'0'..=b'9', ..]) => return Judgement::Ready,
            None if is_text(line) && !is_other(line) => rest = &rest[end + 1..],
            Some(_) | None => return Judgement::answered(rest),
        }
    }
}

/// Our version, and that we go: a server logs who went, and no connection that broke. OpenSSH counts connections without a
/// login, and shuts a host out that has many.
pub(crate) fn farewell() -> Vec<u8> {
    /// RFC 4253 §11.1.
    const BY_APPLICATION: u32 = 11;
    ending(BY_APPLICATION, "it was asked whether it is ready")
}

/// Our version in the place of the server's, and the reason: clients show it. It is allowed before keys are exchanged, and
/// is not encrypted then (RFC 4253 §6 and §11).
pub(crate) fn refusal(cause: &str) -> Vec<u8> {
    /// RFC 4253 §11.1.
    const SERVICE_NOT_AVAILABLE: u32 = 7;
    ending(SERVICE_NOT_AVAILABLE, &format!("tambat: {}", one_line(cause)))
}

/// `SSH_MSG_DISCONNECT` (RFC 4253 §11.1) behind our version.
fn ending(reason: u32, description: &str) -> Vec<u8> {
    const DISCONNECT: u8 = 1;
    const VERSION: &[u8] = b"SSH-2.0-tambat\r\n";
    let sized =
        |text: &str| [&u32::try_from(text.len()).unwrap_or_default().to_be_bytes()[..], text.as_bytes()].concat();
    let payload = [&[DISCONNECT], &reason.to_be_bytes()[..], &sized(description), &sized("en")].concat();
    [VERSION, &packet(&payload)].concat()
}

/// A packet without encryption: length, length of the padding, payload, and at least 4 bytes of padding up to a multiple
/// of 8 (RFC 4253 §6).
fn packet(payload: &[u8]) -> Vec<u8> {
    const BLOCK_BYTES: usize = 8;
    const PADDING_BYTES_MIN: usize = 4;
    let unpadded = 5 + payload.len();
    let padding = BLOCK_BYTES - unpadded % BLOCK_BYTES;
    let padding = if padding < PADDING_BYTES_MIN { padding + BLOCK_BYTES } else { padding };
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or_default();
    let [padding_byte, ..] = padding.to_le_bytes();
    [&length.to_be_bytes()[..], &[padding_byte], payload, &vec![0; padding]].concat()
}

/// Lines before a version are text; protocols of bytes are told from it by their first ones.
fn is_text(line: &[u8]) -> bool {
    line.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace() || *byte == 0x1b)
}

fn is_other(line: &[u8]) -> bool {
    OTHERS.iter().any(|beginning| line.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged() {
        for (answer, ready) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", true),
            ("SSH-1.99-x\n", true),
            ("Property of the house.\r\nGo away, \u{fc}ber.\r\nSSH-2.0-dropbear\r\n", true),
            ("Exceeded MaxStartups\r\n", false),
            ("Not allowed at this time\r\n", false),
        ] {
            let whole = judge(answer.as_bytes());
            assert_eq!(whole == Judgement::Ready, ready, "{whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{whole:?}");
            for end in 0..answer.len() {
                assert_eq!(judge(&answer.as_bytes()[..end]), Judgement::Incomplete, "{:?}", &answer.as_bytes()[..end]);
            }
        }
    }

    #[test]
    fn something_else_is_quoted() {
        for answer in [
            b"220 mail ESMTP\r\n".as_slice(),
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\x4a\0\0\0\x0a8.0.36\0",
            b"\x15\x03\x01\0\x02",
            b"SSH-3.0-x\r\n",
            b"SSH-2\r\n",
        ] {
            assert!(matches!(judge(answer), Judgement::Wrong(_)), "{}: {:?}", answer.escape_ascii(), judge(answer));
        }
        assert!(matches!(judge(&[b'x'; LINE_BYTES_MAX]), Judgement::Wrong(_)));
    }

    #[test]
    fn an_ending_is_a_version_and_one_packet() {
        for cause in ["", "x", "web.1 exited with code 1", "\u{fc}ber\r\n"] {
            let told = refusal(cause);
            assert_eq!(judge(&told), Judgement::Ready, "to a judge it is SSH: nobody but a client reads on");
            let packet = told.strip_prefix(b"SSH-2.0-tambat\r\n").unwrap();
            let length = u32::from_be_bytes(*packet.first_chunk().unwrap()) as usize;
            assert_eq!((packet.len(), packet.len() % 8), (length + 4, 0));
            assert!(packet[4] >= 4 && packet[5] == 1);
        }
        assert!(farewell().starts_with(b"SSH-2.0-tambat\r\n"));
    }

    proptest! {
        #[test]
        fn padding_is_right_for_every_length(payload in proptest::collection::vec(any::<u8>(), 1..64)) {
            let packet = packet(&payload);
            prop_assert!(packet.len().is_multiple_of(8) && packet.len() >= 16);
            prop_assert_eq!(&packet[5..packet.len() - usize::from(packet[4])], &payload[..]);
        }
    }
}
