//! DNS (RFC 1035) over TCP, as far as one question and its answer go. Over UDP the two are the same without their
//! lengths.

use crate::{Judgement, servfail};

/// The question for the server's own version (`version.bind`, class CHAOS, type TXT; RFC 4892 §3), with its length before
/// it (RFC 1035 §4.2.2): a server answers or refuses it by itself, and never asks others. It is not asked to recurse.
pub(crate) const QUERY: &[u8] = b"\0\x1e\x7a\xb7\0\0\0\x01\0\0\0\0\0\0\x07version\x04bind\0\0\x10\0\x03";

/// A message's head (RFC 1035 §4.1.1).
const HEAD_BYTES: usize = 12;

/// Any whole answer with our number shows that it answers: that it does not tell its version, or has none, too. A server
/// that fails (`SERVFAIL`) has not got its zones yet.
pub(crate) fn judge(answer: &[u8]) -> Judgement {
    let Some((length, message)) = answer.split_first_chunk() else { return Judgement::Incomplete };
    let length = usize::from(u16::from_be_bytes(*length));
    let begins_well = message.iter().zip(&QUERY[2..4]).all(|(theirs, ours)| theirs == ours);
    if length < HEAD_BYTES || !begins_well {
        return Judgement::answered(answer);
    }
    match message.get(..length) {
        None => Judgement::Incomplete,
        Some(message) => judge_message(message).unwrap_or_else(|| Judgement::answered(answer)),
    }
}

/// Is a query whole? Whoever begins with a length that has no room for a head is no client.
pub(crate) fn is_told(heard: &[u8]) -> bool {
    let Some((length, message)) = heard.split_first_chunk() else { return false };
    let length = usize::from(u16::from_be_bytes(*length));
    length < HEAD_BYTES || message.len() >= length
}

/// `SERVFAIL` for the first query, with its length before it. None: it was none.
pub(crate) fn refusal(heard: &[u8]) -> Option<Vec<u8>> {
    let (length, message) = heard.split_first_chunk()?;
    let answer = servfail(message.get(..usize::from(u16::from_be_bytes(*length)))?)?;
    Some([&u16::try_from(answer.len()).ok()?.to_be_bytes()[..], &answer].concat())
}

/// None: it is no answer to our question.
fn judge_message(message: &[u8]) -> Option<Judgement> {
    const SERVFAIL: u8 = 2;
    let [_, _, flags, code, a, b, _, _, _, _, _, _, rest @ ..] = message else { return None };
    let (is_answer, opcode) = (flags & 0x80 != 0, (flags >> 3) & 0xf);
    // The question is repeated, unless it was not understood.
    let question = &QUERY[2 + HEAD_BYTES..];
    let is_ours = match u16::from_be_bytes([*a, *b]) {
        0 => true,
        1 => rest.get(..question.len()).is_some_and(|theirs| theirs.eq_ignore_ascii_case(question)),
        _ => false,
    };
    if !is_answer || opcode != 0 || !is_ours {
        return None;
    }
    Some(match code & 0xf {
        SERVFAIL => Judgement::NotYet("it answers SERVFAIL".to_owned()),
        _ => Judgement::Ready,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our question with these flags, and this behind it.
    fn answer(flags: [u8; 2], behind: &[u8]) -> Vec<u8> {
        let mut message = [&QUERY[2..], behind].concat();
        message[2..4].copy_from_slice(&flags);
        [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
    }

    #[test]
    fn the_question_is_framed() {
        assert_eq!(usize::from(QUERY[1]), QUERY.len() - 2);
        assert!(matches!(judge(QUERY), Judgement::Wrong(_)), "an echo is no answer");
    }

    #[test]
    fn a_query_is_heard_whole_and_answered_servfail() {
        for end in 0..QUERY.len() {
            assert!(!is_told(&QUERY[..end]), "{end}");
            assert_eq!(refusal(&QUERY[..end]), None, "{end}");
        }
        assert!(is_told(QUERY) && is_told(b"\0\x02zz"));
        assert!(matches!(judge(&refusal(QUERY).unwrap()), Judgement::NotYet(_)));
    }

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged() {
        let not_understood = b"\0\x0c\x7a\xb7\x80\x01\0\0\0\0\0\0\0\0".to_vec();
        for (whole, ready) in [
            (answer([0x84, 0], b"\xc0\x0c\0\x10\0\x03\0\0\0\0\0\x05\x042.90"), true),
            (answer([0x80, 5], b""), true),
            (not_understood, true),
            (answer([0x80, 2], b""), false),
        ] {
            let judged = judge(&whole);
            assert_eq!(judged == Judgement::Ready, ready, "{judged:?}");
            assert_eq!(matches!(judged, Judgement::NotYet(_)), !ready, "{judged:?}");
            for end in 0..whole.len() {
                assert_eq!(judge(&whole[..end]), Judgement::Incomplete, "{end}");
            }
        }
    }

    #[test]
    fn something_else_is_quoted() {
        let mut another_name = answer([0x80, 0], b"");
        another_name[16] = b'x';
        let mut another_number = answer([0x80, 0], b"");
        another_number[3] = 0;
        for whole in
            [another_name, another_number, answer([0xa8, 0], b""), b"SSH-2.0-x\r\n".to_vec(), b"\0\x02zz".to_vec()]
        {
            assert!(matches!(judge(&whole), Judgement::Wrong(_)), "{}: {:?}", whole.escape_ascii(), judge(&whole));
        }
    }
}
