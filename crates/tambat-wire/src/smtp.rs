//! SMTP (RFC 5321), as far as a server's greeting goes.

use crate::Judgement;
use crate::printable::{one_line, quoted};

/// The end of a session in which nothing was asked (RFC 5321 §4.1.1.10).
pub(crate) const QUIT: &[u8] = b"QUIT\r\n";

/// How long a line may be, in bytes: RFC 5321 §4.5.3.1.5 has 512, and some servers more.
const LINE_BYTES_MAX: usize = 2 * 1024;

/// The longest line of an answer that every client takes, with its end (RFC 5321 §4.5.3.1.5).
const ANSWER_LINE_BYTES_MAX: usize = 512;

/// A greeting may have several lines; the last has a blank behind its code (RFC 5321 §4.2.1). 220 is ready. 421 and
/// whatever else has the right form says that it does not serve: not now (4yz), or nobody from here (554).
pub(crate) fn judge(answer: &[u8]) -> Judgement {
    let mut rest = answer;
    loop {
        let Some(end) = rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
            return if may_go_on(rest) { Judgement::Incomplete } else { Judgement::answered(rest) };
        };
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let (Some(code), Some(separator)) = (code(line), separator(line)) else { return Judgement::answered(rest) };
        // All lines have the code of the first.
        if !answer.starts_with(code) {
            return Judgement::answered(rest);
        }
        match (code, separator) {
            (_, b'-') => rest = &rest[end + 1..],
            (b"220", _) => return Judgement::Ready,
            _ => return Judgement::NotYet(format!("it greets with {}", quoted(line))),
        }
    }
}

/// "Not now" in the place of a greeting, with the code of a system that takes no messages (RFC 3463 §3.4). What is not
/// ASCII has no place in it.
pub(crate) fn refusal(cause: &str) -> Vec<u8> {
    let ascii = |c: char| if c.is_ascii() { c } else { '?' };
    let mut line: String = format!("421 4.3.2 tambat: {}", one_line(cause)).chars().map(ascii).collect();
    line.truncate(ANSWER_LINE_BYTES_MAX - 2);
    line.push_str("\r\n");
    line.into_bytes()
}

/// A code that a server greets with: 220, or one that refuses.
fn code(line: &[u8]) -> Option<&[u8]> {
    let code = line.get(..3)?;
    let refuses = matches!(code, [b'4' | b'5', b'0'..=b'5', b'0'..=b'9']);
    (code == b"220" || refuses).then_some(code)
}

/// What stands behind the code; nothing counts as a blank.
fn separator(line: &[u8]) -> Option<u8> {
    let separator = line.get(3).copied().unwrap_or(b' ');
    matches!(separator, b' ' | b'-').then_some(separator)
}

/// Can this be the beginning of a line?
fn may_go_on(line: &[u8]) -> bool {
    let begins_well = match line {
        [] => true,
        [first] => matches!(first, b'2' | b'4' | b'5'),
        [first, second] => matches!((first, second), (b'2', b'2') | (b'4' | b'5', b'0'..=b'5')),
        [a, b, c] => code(&[*a, *b, *c]).is_some(),
        line => code(line).is_some() && (separator(line).is_some() || line[3] == b'\r'),
    };
    begins_well && line.len() < LINE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged() {
        for (answer, ready) in [
            ("220 mail.example.com ESMTP Postfix\r\n", true),
            ("220\r\n", true),
            ("220 bare\n", true),
            ("220-mail.example.com ESMTP\r\n220-no spam\r\n220 please\r\n", true),
            ("421 4.3.2 mail.example.com Service not available\r\n", false),
            ("554-mail.example.com\r\n554 no SMTP service here\r\n", false),
            ("450 too fast\r\n", false),
        ] {
            let whole = judge(answer.as_bytes());
            assert_eq!(whole == Judgement::Ready, ready, "{whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{whole:?}");
            for end in 0..answer.len() {
                assert_eq!(judge(&answer.as_bytes()[..end]), Judgement::Incomplete, "{}", &answer[..end]);
            }
        }
        assert_eq!(judge(b"421 down\r\n"), Judgement::NotYet("it greets with \"421 down\"".to_owned()));
    }

    #[test]
    fn something_else_is_quoted() {
        for answer in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "2",
            "250 fine\r\n",
            "220x\r\n",
            "220-one\r\n221 two\r\n",
            "+OK POP3\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
        ] {
            let judged = judge(answer.as_bytes());
            assert_eq!(matches!(judged, Judgement::Wrong(_)), answer != "2", "{answer}: {judged:?}");
        }
        let long = format!("220 {}", "x".repeat(LINE_BYTES_MAX));
        assert!(matches!(judge(long.as_bytes()), Judgement::Wrong(_)));
    }

    proptest! {
        #[test]
        fn a_refusal_reads_as_not_yet_whatever_its_cause(cause in any::<String>()) {
            let answer = refusal(&cause);
            prop_assert!(matches!(judge(&answer), Judgement::NotYet(_)), "{:?}", judge(&answer));
            prop_assert!(answer.len() <= ANSWER_LINE_BYTES_MAX && answer.is_ascii());
            prop_assert_eq!(answer.iter().filter(|byte| byte.is_ascii_control()).count(), 2);
        }
    }
}
