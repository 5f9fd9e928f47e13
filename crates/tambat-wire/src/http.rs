//! HTTP/1.1 (RFC 9112): the probe's request, the status of its answer, and a 503.

use crate::printable::{one_line, quoted};
use crate::{Expect, Judgement};

/// What every answer begins with (RFC 9112 §2.3): any minor version of 1 will do.
const VERSION: &[u8] = b"HTTP/1.";

/// How long a status line may be; the reason phrase is the only part without a length of its own.
const STATUS_LINE_BYTES_MAX: usize = 4 * 1024;

/// When a client may try again: what keeps an app from being ready is over in about this time.
const RETRY_AFTER_S: u32 = 1;

pub(crate) fn probe_request(path: &str, host: &str) -> Vec<u8> {
    // A line end in a value would make two lines of it (RFC 9112 §11.1).
    let path: String = path.chars().filter(char::is_ascii_graphic).collect();
    let host = one_line(host);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tambat/{version} (readiness)\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// The status line alone decides: what follows it may be a body without an end. Interim answers (RFC 9110 §15.2) are
/// skipped with their fields.
pub(crate) fn judge(answer: &[u8], path: &str, expect: Expect) -> Judgement {
    let mut rest = answer;
    loop {
        let status = match status_line(rest) {
            StatusLine::Incomplete => return Judgement::Incomplete,
            StatusLine::No => return Judgement::answered(rest),
            StatusLine::Found(status) => status,
        };
        if !(100..200).contains(&status.code) || status.code == 101 {
            let text = quoted(status.text);
            return judge_status(status.code, text.trim_matches('"').trim_end(), path, expect);
        }
        match rest.windows(4).position(|w| w == b"\r\n\r\n") {
            Some(end) => rest = &rest[end + 4..],
            None => return Judgement::Incomplete,
        }
    }
}

pub(crate) fn refusal(cause: &str) -> Vec<u8> {
    let body = format!("{}\n", one_line(cause));
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\nRetry-After: {RETRY_AFTER_S}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nTambat-Error: no-target\r\n\r\n{body}",
        length = body.len(),
    )
    .into_bytes()
}

struct Status<'a> {
    code: u16,
    /// The code and the reason phrase: `404 Not Found`.
    text: &'a [u8],
}

enum StatusLine<'a> {
    Incomplete,
    No,
    Found(Status<'a>),
}

/// `HTTP/1.1 200 OK` and its line end; a bare LF is taken for one (RFC 9112 §2.2), and a missing reason phrase with or
/// without its space is fine (§4).
fn status_line(bytes: &[u8]) -> StatusLine<'_> {
    let shared = bytes.len().min(VERSION.len());
    if bytes[..shared] != VERSION[..shared] {
        return StatusLine::No;
    }
    let Some(end) = bytes.iter().take(STATUS_LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < STATUS_LINE_BYTES_MAX { StatusLine::Incomplete } else { StatusLine::No };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let [_, b' ', text @ ..] = &line[VERSION.len().min(line.len())..] else {
        return StatusLine::No;
    };
    match text {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']
        | [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            StatusLine::Found(Status { code: digit(a) * 100 + digit(b) * 10 + digit(c), text })
        }
        _ => StatusLine::No,
    }
}

/// What a status says; `text`: the status and what is said with it.
pub(crate) fn judge_status(code: u16, text: &str, path: &str, expect: Expect) -> Judgement {
    let ready = match expect {
        Expect::Below500 => code < 500,
        Expect::Success => (200..300).contains(&code),
    };
    if ready {
        return Judgement::Ready;
    }
    Judgement::NotYet(match expect {
        Expect::Below500 => format!("it answers {text}"),
        Expect::Success => format!("it answers {text} at {}, where 2xx means ready", one_line(path)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWERS: &[(&str, Expect, bool)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Expect::Below500, true),
        ("HTTP/1.0 404 Not Found\r\n\r\n", Expect::Below500, true),
        ("HTTP/1.1 302\r\nLocation: /x\r\n\r\n", Expect::Below500, true),
        ("HTTP/1.1 499 \n\n", Expect::Below500, true),
        ("HTTP/1.1 500 Oops\r\n\r\n", Expect::Below500, false),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Expect::Below500, false),
        ("HTTP/1.1 204 No Content\r\n\r\n", Expect::Success, true),
        ("HTTP/1.1 302 Found\r\n\r\n", Expect::Success, false),
        ("HTTP/1.1 404 Not Found\r\n\r\n", Expect::Success, false),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            Expect::Success,
            true,
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n", Expect::Below500, false),
    ];

    #[test]
    fn the_final_status_decides_and_no_prefix_says_otherwise() {
        for (answer, expect, ready) in ANSWERS {
            let bytes = answer.as_bytes();
            let whole = judge(bytes, "/", *expect);
            assert_eq!(whole == Judgement::Ready, *ready, "{answer:?}: {whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{answer:?}: {whole:?}");
            for end in 0..bytes.len() {
                let part = judge(&bytes[..end], "/", *expect);
                assert!(part == Judgement::Incomplete || part == whole, "{:?}: {part:?}", &answer[..end]);
            }
        }
    }

    #[test]
    fn not_yet_says_what_was_answered_and_where() {
        assert_eq!(
            judge(b"HTTP/1.1 503 Service Unavailable\r\n", "/", Expect::Below500),
            Judgement::NotYet("it answers 503 Service Unavailable".to_owned())
        );
        assert_eq!(
            judge(b"HTTP/1.1 404 \r\n", "/healthz", Expect::Success),
            Judgement::NotYet("it answers 404 at /healthz, where 2xx means ready".to_owned())
        );
    }

    #[test]
    fn something_else_is_quoted() {
        for wrong in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 99 x\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.\r\n",
            "+OK\r\n",
        ] {
            let judgement = judge(wrong.as_bytes(), "/", Expect::Below500);
            assert_eq!(judgement, Judgement::Wrong(format!("it answered \"{}\"", wrong.trim_end())), "{wrong:?}");
        }
        let endless = [b"HTTP/1.1 200 ".as_slice(), &[b'a'; STATUS_LINE_BYTES_MAX]].concat();
        assert!(matches!(judge(&endless, "/", Expect::Below500), Judgement::Wrong(_)));
    }

    #[test]
    fn the_request_is_one_request_whatever_the_path_and_host_hold() {
        let request = String::from_utf8(probe_request("/a\r\nX: y", "h\r\nX: y")).unwrap();
        assert!(request.starts_with("GET /aX:y HTTP/1.1\r\nHost: h  X: y\r\n"), "{request}");
        assert!(request.ends_with("Connection: close\r\n\r\n") && request.matches("\r\n").count() == 6, "{request}");
    }

    #[test]
    fn a_refusal_is_a_complete_answer() {
        let answer = String::from_utf8(refusal("web.1 exited\r\nSet-Cookie: a")).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nTambat-Error: no-target"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert_eq!(body, "web.1 exited  Set-Cookie: a\n");
        assert!(matches!(judge(answer.as_bytes(), "/", Expect::Below500), Judgement::NotYet(_)));
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_final_judgement(
            index in 0..ANSWERS.len(), tail in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let (answer, expect, _) = ANSWERS[index];
            let longer = [answer.as_bytes(), &tail].concat();
            prop_assert_eq!(judge(&longer, "/", expect), judge(answer.as_bytes(), "/", expect));
        }

        #[test]
        fn no_cause_breaks_out_of_the_body(cause in "\\PC*[\r\n\t\u{0}-\u{1f}]*\\PC*") {
            let answer = refusal(&cause);
            prop_assert_eq!(answer.windows(4).filter(|w| w == b"\r\n\r\n").count(), 1);
        }
    }
}
