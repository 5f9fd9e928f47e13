//! The answer to a question of DNS that nobody can be asked (RFC 1035 §4.1).

/// The header (RFC 1035 §4.1.1).
const HEADER_BYTES: usize = 12;

/// Type and class of a question (RFC 1035 §4.1.2).
const TYPE_AND_CLASS_BYTES: usize = 4;

/// A name has no more bytes than this (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// A label has no more bytes than this, and a greater number is no length (RFC 1035 §4.1.4).
const LABEL_BYTES_MAX: u8 = 63;

/// QR: it is a response.
const RESPONSE: u8 = 0x80;
/// The kind of query; 0 is the standard one.
const OPCODE: u8 = 0x78;
/// RD: recursion is desired. A response repeats it.
const RECURSION_DESIRED: u8 = 0x01;
/// RCODE 2: the server could not process the query.
const SERVER_FAILURE: u8 = 2;

/// `SERVFAIL` for this query, a message without the length that it has before it over TCP. It has the query's number and
/// question and nothing else, so that it is never longer than the query: whoever is sent it in place of somebody else gets
/// no more than was sent. None: it is no query with one question, and is best left unanswered.
pub fn servfail(query: &[u8]) -> Option<Vec<u8>> {
    let header = query.get(..HEADER_BYTES)?;
    let is_query = header[2] & (RESPONSE | OPCODE) == 0 && header[4..6] == [0, 1];
    if !is_query {
        return None;
    }
    let end = name_end(query)?.checked_add(TYPE_AND_CLASS_BYTES)?;
    let mut answer = query.get(..end)?.to_vec();
    answer[2] = RESPONSE | (header[2] & RECURSION_DESIRED);
    answer[3] = SERVER_FAILURE;
    // There is nothing behind the question.
    answer[6..HEADER_BYTES].fill(0);
    Some(answer)
}

/// Where the name of the first question ends. No pointer stands in it: there is nothing yet that it could point at.
fn name_end(query: &[u8]) -> Option<usize> {
    let mut at = HEADER_BYTES;
    loop {
        let length = *query.get(at)?;
        if length > LABEL_BYTES_MAX {
            return None;
        }
        at += 1 + usize::from(length);
        if length == 0 {
            return (at - HEADER_BYTES <= NAME_BYTES_MAX).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `dig` sends for the addresses of a name, with EDNS.
    const QUERY: &[u8] =
        b"\xab\xcd\x01\x20\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";

    #[test]
    fn the_question_comes_back_with_the_failure_and_nothing_else() {
        let answer = servfail(QUERY).unwrap();
        assert_eq!(answer, b"\xab\xcd\x81\x02\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01");
    }

    #[test]
    fn what_is_no_query_with_one_question_is_left_unanswered() {
        let with = |at: usize, byte| {
            let mut query = QUERY.to_vec();
            query[at] = byte;
            query
        };
        let response = with(2, 0x81);
        let update = with(2, 0x28);
        let two_questions = with(5, 2);
        let pointer = with(12, 0xc0);
        let long_name = [&QUERY[..12], &b"\x01a".repeat(128)[..], b"\0\0\x01\0\x01"].concat();
        for query in [&response[..], &update, &two_questions, &pointer, &long_name, b"", b"\0", &QUERY[..12]] {
            assert_eq!(servfail(query), None, "{query:?}");
        }
        for cut in 0..QUERY.len() - 11 {
            assert_eq!(servfail(&QUERY[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn an_answer_is_never_longer_than_its_query(mut query in proptest::collection::vec(any::<u8>(), 0..600)) {
            if query.len() > 6 {
                (query[2], query[4], query[5]) = (query[2] & 1, 0, 1);
            }
            if let Some(answer) = servfail(&query) {
                prop_assert!(answer.len() <= query.len());
                // It is a response: nobody answers it again.
                prop_assert_eq!(servfail(&answer), None);
            }
        }
    }
}
