//! The head of an answer as the HTTP/1.1 engine has written it.
//!
//! Each line of it kept the rules of [`response_head`](crate::http1::response_head) when it came, or is the router's own. So
//! its lines are taken apart here, and not judged once more.

use super::answer::AnswerError;
use crate::http1::number;

/// CR LF.
const LINE_END_BYTES: usize = 2;

/// What each head begins with.
const BEGINS: &[u8] = b"HTTP/1.1 ";

/// Longer than any head that the engine writes: what came was measured, and what is added is little.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// The ends of so many lines are kept: those of an ordinary head. Behind them they are looked for once more.
const ENDS_KEPT: usize = 16;

/// A head.
pub(super) struct WrittenHead<'b> {
    /// 100 to 999.
    pub(super) status: u16,
    /// What `Content-Length` says.
    pub(super) length: Option<u64>,
    /// Is there a `Transfer-Encoding`? It is `chunked`.
    pub(super) is_chunked: bool,
    pub(super) fields_count: usize,
    /// The lines of the fields, each with its end.
    lines: &'b [u8],
    /// How many bytes of them the first ones take, each with its end.
    ends: [u32; ENDS_KEPT],
}

impl<'b> WrittenHead<'b> {
    /// The one at the beginning of `input`, and how many bytes it takes; none: more of it is to come.
    pub(super) fn read(input: &'b [u8]) -> Result<Option<(usize, Self)>, AnswerError> {
        let shared = input.len().min(BEGINS.len());
        if input[..shared] != BEGINS[..shared] {
            return Err(AnswerError("an answer does not begin with HTTP/1.1"));
        }
        let Some((first, behind)) = cut_line(input)? else {
            return incomplete(input);
        };
        let status = match first.get(BEGINS.len()..) {
            Some(
                [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']
                | [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..],
            ) => [a, b, c],
            _ => return Err(AnswerError("an answer has no status")),
        };
        let status = status.iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'));
        let mut head =
            Self { status, length: None, is_chunked: false, fields_count: 0, lines: behind, ends: [0; ENDS_KEPT] };
        let mut rest = behind;
        while let Some((line, behind)) = cut_line(rest)? {
            if line.is_empty() {
                head.lines = &head.lines[..head.lines.len() - rest.len()];
                return Ok(Some((input.len() - behind.len(), head)));
            }
            head.frame(line)?;
            rest = behind;
            if let Some(end) = head.ends.get_mut(head.fields_count) {
                *end = u32::try_from(head.lines.len() - rest.len()).unwrap_or(u32::MAX);
            }
            head.fields_count += 1;
        }
        incomplete(input)
    }

    /// Does another head follow (RFC 9110 §15.2)? After 101 none does.
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Its fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'b> {
        self.lines().map(cut_field)
    }

    /// The lines of its fields, without their ends.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let (lines, ends, count) = (self.lines, self.ends, self.fields_count);
        let (mut nth, mut begins) = (0, 0);
        std::iter::from_fn(move || {
            let rest = lines.get(begins..).filter(|_| nth < count)?;
            // That each line has its end was seen before.
            let line = match ends.get(nth) {
                Some(end) => lines.get(begins..(*end as usize).checked_sub(LINE_END_BYTES)?)?,
                None => cut_line(rest).ok()??.0,
            };
            nth += 1;
            begins += line.len() + LINE_END_BYTES;
            Some(line)
        })
    }

    /// Has a look at the line of a field: does it say how long the body is?
    fn frame(&mut self, line: &[u8]) -> Result<(), AnswerError> {
        if let Some(value) = value_of(line, b"content-length:") {
            let length = number(value.trim_ascii()).ok_or(AnswerError("the length of an answer is no number"))?;
            if self.length.replace(length).is_some() {
                return Err(AnswerError("an answer has two lengths"));
            }
        } else if value_of(line, b"transfer-encoding:").is_some() {
            self.is_chunked = true;
        }
        Ok(())
    }
}

fn incomplete<T>(input: &[u8]) -> Result<Option<T>, AnswerError> {
    if input.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(AnswerError("the head of an answer has no end")) }
}

/// A line without its end, and what stands behind it; none: the line is not whole.
type Cut<'b> = Option<(&'b [u8], &'b [u8])>;

/// The first line.
fn cut_line(bytes: &[u8]) -> Result<Cut<'_>, AnswerError> {
    let Some(end) = line_feed(bytes) else {
        return Ok(None);
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(AnswerError("a line of an answer does not end with CR LF"))?;
    Ok(Some((line, &bytes[end + 1..])))
}

/// What stands behind this name and its colon, if the line begins with them.
fn value_of<'b, const N: usize>(line: &'b [u8], name: &[u8; N]) -> Option<&'b [u8]> {
    line.split_first_chunk::<N>().and_then(|(begins, value)| begins.eq_ignore_ascii_case(name).then_some(value))
}

/// Name and value of a field, without the blanks around it.
pub(super) fn cut_field(line: &[u8]) -> (&str, &[u8]) {
    let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
    let mut value = line.get(colon + 1..).unwrap_or_default();
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    // A name that is no text is none that anybody takes.
    (std::str::from_utf8(&line[..colon]).unwrap_or_default(), value)
}

/// Where the first line feed stands; eight bytes are looked at in one go.
fn line_feed(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const LINE_FEEDS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (nth, word) in words.iter().enumerate() {
        // The lowest byte that is 0 becomes 0x80, and none below it (Hacker's Delight §6-1).
        let differs = u64::from_le_bytes(*word) ^ LINE_FEEDS;
        let found = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if found != 0 {
            return Some(nth * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|b| *b == b'\n').map(|at| words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{FieldSlots, Head, Limits, ResponseHead, response_head};

    fn of(head: &WrittenHead<'_>) -> (u16, Vec<(String, Vec<u8>)>) {
        (head.status, head.fields().map(|(name, value)| (name.to_owned(), value.to_vec())).collect())
    }

    /// What the engine's own reader makes of it.
    fn by_the_rules(head: &ResponseHead<'_, '_>) -> (u16, Vec<(String, Vec<u8>)>) {
        (head.status(), head.fields().map(|(name, value)| (name.to_owned(), value.to_vec())).collect())
    }

    #[test]
    fn a_line_feed_is_found_wherever_it_stands() {
        for len in 0..40 {
            for at in 0..=len {
                let mut bytes = vec![0x0b; len];
                bytes.iter_mut().skip(at).step_by(3).for_each(|b| *b = b'\n');
                assert_eq!(line_feed(&bytes), (at < len).then_some(at), "{bytes:?}");
            }
        }
        assert_eq!(line_feed(b"\x8a\x09\xff\x0a\x0a\x0b\x00\x01"), Some(3));
    }

    #[test]
    fn heads_that_nobody_writes_are_no_answers() {
        for head in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
        ] {
            assert!(WrittenHead::read(head.as_bytes()).is_err(), "{head:?}");
        }
        let endless = [&b"HTTP/1.1 200 OK\r\nA: "[..], &vec![b'a'; HEAD_BYTES_MAX]].concat();
        assert!(WrittenHead::read(&endless).is_err() && WrittenHead::read(&endless[..1_000]).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn a_head_that_keeps_the_rules_is_read_as_they_say(
            status in 100_u16..1_000,
            reason in "( [ -~]{0,9})?",
            fields in prop::collection::vec(("[A-Za-z][a-z-]{0,18}", "[ \t]{0,2}[!-~\u{80}-\u{ff}]?[ -~\t]{0,30}"), 0..2 * ENDS_KEPT),
            length in prop::option::of(0_u64..1 << 40),
            is_chunked: bool,
        ) {
            let mut text = format!("HTTP/1.1 {status}{reason}\r\n");
            fields.iter().for_each(|(name, value)| text.push_str(&format!("{name}:{value}\r\n")));
            if is_chunked {
                text.push_str("Transfer-Encoding: chunked\r\n");
            } else if let Some(length) = length {
                text.push_str(&format!("content-length: {length}\r\n"));
            }
            text.push_str("\r\n");
            let bytes = [text.as_bytes(), b"body"].concat();
            let (mut slots, limits) = (FieldSlots::new(), Limits::default());
            if let Head::Found(expected) = response_head(&bytes, &mut slots, &limits) {
                let (used, head) = WrittenHead::read(&bytes).unwrap().unwrap();
                prop_assert_eq!((used, of(&head)), (text.len(), by_the_rules(&expected)));
                prop_assert_eq!(head.fields_count, head.fields().count());
                prop_assert_eq!(head.is_interim(), expected.is_interim());
                prop_assert!(head.is_chunked || !is_chunked);
                if !is_chunked {
                    prop_assert_eq!(head.length.is_some(), length.is_some() || expected.fields().any(|(name, _)| name.eq_ignore_ascii_case("content-length")));
                }
                for end in 0..used {
                    prop_assert!(WrittenHead::read(&bytes[..end]).unwrap().is_none(), "{}", end);
                }
            }
        }
    }
}
