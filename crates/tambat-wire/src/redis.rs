//! The Redis protocol (RESP 2): `PING`, its answers, and an error.

use crate::Judgement;
use crate::printable::{one_line, quoted};

/// The request, as every client library writes it.
pub(crate) const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

const PONG: &[u8] = b"+PONG\r\n";

/// How long an error line may be: Redis' own longest, the one about protected mode, has about 1,000 bytes.
const ERROR_LINE_BYTES_MAX: usize = 4 * 1024;

/// Errors that are over after a while; any other error shows that it answers (`-NOAUTH`, `-NOPERM`).
const NOT_YET: [&[u8]; 4] = [b"-LOADING ", b"-MASTERDOWN ", b"-BUSY ", b"-ERR max number of clients reached"];

pub(crate) fn judge(answer: &[u8]) -> Judgement {
    let shared = answer.len().min(PONG.len());
    if answer[..shared] == PONG[..shared] {
        return if shared == PONG.len() { Judgement::Ready } else { Judgement::Incomplete };
    }
    if answer[0] != b'-' {
        return Judgement::answered(answer);
    }
    let Some(end) = answer.iter().take(ERROR_LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if answer.len() < ERROR_LINE_BYTES_MAX { Judgement::Incomplete } else { Judgement::answered(answer) };
    };
    let line = &answer[..end];
    // An error begins with a word in capitals: RESP 2, "Simple errors".
    let word = line[1..].split(|byte| !byte.is_ascii_uppercase()).next().unwrap_or_default();
    if word.is_empty() {
        Judgement::answered(answer)
    } else if NOT_YET.iter().any(|prefix| line.starts_with(prefix)) {
        Judgement::NotYet(format!("it answers {}", quoted(line)))
    } else {
        Judgement::Ready
    }
}

pub(crate) fn refusal(cause: &str) -> Vec<u8> {
    format!("-ERR tambat: {}\r\n", one_line(cause)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: [&str; 4] =
        ["+PONG\r\n", "-NOAUTH Authentication required.\r\n", "-NOPERM no\r\n", "-ERR operation not permitted\r\n"];
    const NOT_YET: [&str; 3] = [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-MASTERDOWN Link with MASTER is down\r\n",
        "-ERR max number of clients reached\r\n",
    ];

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged() {
        for (answer, ready) in READY.map(|a| (a, true)).into_iter().chain(NOT_YET.map(|a| (a, false))) {
            let judgement = judge(answer.as_bytes());
            assert_eq!(judgement == Judgement::Ready, ready, "{answer}: {judgement:?}");
            assert_eq!(matches!(judgement, Judgement::NotYet(_)), !ready, "{answer}: {judgement:?}");
            for end in 0..answer.len() - 1 {
                assert_eq!(judge(&answer.as_bytes()[..end]), Judgement::Incomplete, "{:?}", &answer[..end]);
            }
        }
    }

    #[test]
    fn something_else_is_quoted() {
        for (answer, quoted) in [
            (b"HTTP/1.1 400 Bad Request\r\n".as_slice(), "\"HTTP/1.1 400 Bad Request\""),
            (b"+OK POP3 ready\r\n", "\"+OK POP3 ready\""),
            (b"-\r\n", "\"-\""),
            (b"+PONGS\r\n", "\"+PONGS\""),
        ] {
            assert_eq!(judge(answer), Judgement::Wrong(format!("it answered {quoted}")));
        }
        assert!(matches!(judge(&[b'-'; ERROR_LINE_BYTES_MAX]), Judgement::Wrong(_)));
    }

    #[test]
    fn a_refusal_is_one_error() {
        assert_eq!(refusal("cache.1 exited\r\n+OK"), b"-ERR tambat: cache.1 exited  +OK\r\n");
    }
}
