//! The PostgreSQL frontend/backend protocol 3.0, as far as a startup and its answer go ("Message Formats" in the
//! PostgreSQL manual).

use crate::Judgement;
use crate::printable::{one_line, quoted};

/// Protocol 3.0.
const VERSION: u32 = 196_608;

/// `SSLRequest` and `GSSENCRequest`: a length of 8 and one of these.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// How long the error that answers a startup may be, in bytes: servers write a few hundred.
const ERROR_BYTES_MAX: usize = 8 * 1024;

/// `admin_shutdown`, `crash_shutdown`, `cannot_connect_now`: it is going or coming.
const NOT_YET: [&[u8]; 3] = [b"57P01", b"57P02", b"57P03"];

/// What a client of the PostgreSQL protocol has sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresOpening {
    /// Fewer than 8 bytes: more are needed.
    Incomplete,
    /// It asks for encryption, in 8 bytes, and reads one byte: `N` says no, and it goes on in plain.
    Encryption,
    /// A startup, a cancellation or something else: it reads a message now.
    Startup,
}

/// What a client of the PostgreSQL protocol has sent first; it reads an error only when its wish for encryption has
/// been answered.
pub fn postgres_opening(received: &[u8]) -> PostgresOpening {
    let Some((length, code)) = received.first_chunk().zip(received.get(4..).and_then(<[u8]>::first_chunk)) else {
        // Lengths are below 2^24: what begins otherwise is no PostgreSQL client, and may never send an eighth byte.
        let is_length = received.first().is_none_or(|first| *first == 0);
        return if is_length { PostgresOpening::Incomplete } else { PostgresOpening::Startup };
    };
    if u32::from_be_bytes(*length) == 8 && ENCRYPTION_REQUESTS.contains(&u32::from_be_bytes(*code)) {
        PostgresOpening::Encryption
    } else {
        PostgresOpening::Startup
    }
}

/// A startup for a user that need not exist: that it is turned away is an answer, too. Encryption is not asked for.
pub(crate) fn probe_startup() -> Vec<u8> {
    let mut body = VERSION.to_be_bytes().to_vec();
    for text in ["user", "tambat", "database", "tambat", "application_name", "tambat readiness"] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    framed(None, &body)
}

pub(crate) fn judge(answer: &[u8]) -> Judgement {
    let Some(kind) = answer.first() else {
        return Judgement::Incomplete;
    };
    if !matches!(kind, b'R' | b'E') {
        return Judgement::answered(answer);
    }
    let [_, a, b, c, d, body @ ..] = answer else {
        return Judgement::Incomplete;
    };
    // The length counts itself, 4 bytes.
    let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    if !(8..=ERROR_BYTES_MAX).contains(&length) {
        return Judgement::answered(answer);
    }
    if *kind == b'R' {
        return Judgement::Ready;
    }
    match body.get(..length - 4) {
        None => Judgement::Incomplete,
        Some(fields) => judge_error(fields).unwrap_or_else(|| Judgement::answered(answer)),
    }
}

pub(crate) fn refusal(cause: &str) -> Vec<u8> {
    // No NUL comes out of `one_line`, so that no field ends early.
    let message = format!("tambat: {}", one_line(cause));
    let mut body = Vec::new();
    for (field, value) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "57P03"), (b'M', &*message)] {
        body.push(field);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    framed(Some(b'E'), &body)
}

/// A message: its type where it has one, its length including the length itself, its body.
pub(crate) fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    kind.into_iter().chain(length.to_be_bytes()).chain(body.iter().copied()).collect()
}

/// None: these are not the fields of an error.
fn judge_error(fields: &[u8]) -> Option<Judgement> {
    let mut code = None;
    let mut message = b"".as_slice();
    for field in fields.split(|byte| *byte == 0) {
        match field {
            [b'C', value @ ..] => code = Some(value),
            [b'M', value @ ..] => message = value,
            _ => {}
        }
    }
    Some(if NOT_YET.contains(&code?) {
        Judgement::NotYet(format!("it answers {}", quoted(message)))
    } else {
        Judgement::Ready
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(code: &str, message: &str) -> Vec<u8> {
        framed(Some(b'E'), format!("SFATAL\0VFATAL\0C{code}\0M{message}\0Fpostmaster.c\0L2000\0\0").as_bytes())
    }

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged_otherwise() {
        let starting = "the database system is starting up";
        for (answer, ready) in [
            (b"R\0\0\0\x08\0\0\0\0".to_vec(), true),
            (b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0".to_vec(), true),
            (error("28000", "role \"tambat\" does not exist"), true),
            (error("53300", "too many clients"), true),
            (error("57P03", starting), false),
            (error("57P01", "terminating"), false),
        ] {
            let whole = judge(&answer);
            assert_eq!(whole == Judgement::Ready, ready, "{whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{whole:?}");
            for end in 0..answer.len() {
                let part = judge(&answer[..end]);
                assert!(part == Judgement::Incomplete || part == whole, "{end}: {part:?}");
            }
        }
        assert_eq!(judge(&error("57P03", starting)), Judgement::NotYet(format!("it answers \"{starting}\"")));
    }

    #[test]
    fn something_else_is_quoted() {
        let wrong: [&[u8]; 5] = [b"HTTP/1.1 400\r\n", b"E could not fork\0", b"R\0\0\0\x03", b"E\0\0\0\x08abc\0", b"S"];
        for answer in wrong {
            assert!(matches!(judge(answer), Judgement::Wrong(_)), "{}: {:?}", answer.escape_ascii(), judge(answer));
        }
    }

    #[test]
    fn a_startup_is_framed() {
        let startup = probe_startup();
        assert_eq!(startup[..8], [0, 0, 0, u8::try_from(startup.len()).unwrap(), 0, 3, 0, 0]);
        assert!(startup.ends_with(b"\0\0"));
        assert_eq!(postgres_opening(&startup), PostgresOpening::Startup);
    }

    #[test]
    fn a_wish_for_encryption_is_told_from_a_startup() {
        let ssl = [0, 0, 0, 8, 4, 210, 22, 47];
        let gss = [0, 0, 0, 8, 4, 210, 22, 48];
        let cancel = [0, 0, 0, 16, 4, 210, 22, 46];
        for whole in [ssl, gss] {
            assert_eq!(postgres_opening(&whole), PostgresOpening::Encryption);
            for end in 0..8 {
                assert_eq!(postgres_opening(&whole[..end]), PostgresOpening::Incomplete);
            }
        }
        assert_eq!(postgres_opening(&cancel), PostgresOpening::Startup);
        assert_eq!(postgres_opening(b"\x16\x03\x01"), PostgresOpening::Startup);
    }

    proptest! {
        #[test]
        fn a_refusal_reads_as_not_yet_whatever_its_cause(cause in any::<String>()) {
            let answer = refusal(&cause);
            prop_assert!(matches!(judge(&answer), Judgement::NotYet(_)));
            let length = u32::from_be_bytes([answer[1], answer[2], answer[3], answer[4]]) as usize;
            prop_assert_eq!(length + 1, answer.len());
            prop_assert_eq!(answer[5..].split(|b| *b == 0).count(), 6);
        }
    }
}
