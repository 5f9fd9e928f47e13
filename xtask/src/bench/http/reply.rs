//! What comes back, checked to the last byte.

use std::io;

/// No head of an answer is longer: more is no head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Status 200, and a body of so many bytes whose length the head says.
    Body(u64),
    /// Status 101.
    Switch,
    /// These bytes.
    Exactly(Vec<u8>),
}

/// One answer that arrives in pieces.
#[derive(Debug)]
pub(super) struct Reply {
    expected: Expected,
    /// Of a head, or of what must be exact.
    partial: Vec<u8>,
    /// Of the body, once the head is there.
    left: Option<u64>,
}

impl Reply {
    pub(super) fn new(expected: Expected) -> Self {
        Self { expected, partial: Vec::new(), left: None }
    }

    /// Takes what arrived; true when the answer is whole, and the next one may begin.
    ///
    /// # Errors
    ///
    /// When it is another answer than the expected one, or goes on behind its end.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if let Some(left) = self.left {
            return self.body(left, bytes);
        }
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(bytes);
            let bytes = std::mem::take(&mut self.partial);
            return self.begin(&bytes);
        }
        self.begin(bytes)
    }

    fn begin(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match &self.expected {
            Expected::Exactly(expected) => match bytes.len() {
                length if length < expected.len() => self.keep(bytes),
                _ if bytes == expected => Ok(true),
                _ => Err(wrong("another message came back", bytes)),
            },
            Expected::Body(expected) => {
                let Some(end) = head_end(bytes) else { return self.keep(bytes) };
                let (head, body) = bytes.split_at(end);
                if !head.starts_with(b"HTTP/1.1 200 ") {
                    return Err(wrong("it is no 200", head));
                }
                if content_length(head) != Some(*expected) {
                    return Err(wrong("its Content-Length is wrong", head));
                }
                self.body(*expected, body)
            }
            Expected::Switch => match head_end(bytes) {
                None => self.keep(bytes),
                Some(end) if end == bytes.len() && bytes.starts_with(b"HTTP/1.1 101 ") => Ok(true),
                Some(_) => Err(wrong("it is no 101 alone", bytes)),
            },
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(wrong("its head does not end", bytes));
        }
        self.partial = bytes.to_vec();
        Ok(false)
    }

    fn body(&mut self, left: u64, bytes: &[u8]) -> io::Result<bool> {
        let left = left.checked_sub(bytes.len() as u64).ok_or_else(|| wrong("it goes on behind its end", bytes))?;
        self.left = (left > 0).then_some(left);
        Ok(left == 0)
    }
}

/// Behind the empty line.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|found| found + 4)
}

fn content_length(head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}

fn wrong(why: &str, bytes: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
    io::Error::other(format!("an answer was wrong: {why}: {said:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: s\r\ncontent-Length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_is_whole_wherever_it_is_cut() {
        for cut in 1..ANSWER.len() {
            let mut reply = Reply::new(Expected::Body(5));
            assert!(!reply.feed(&ANSWER[..cut]).unwrap(), "{cut}");
            assert!(reply.feed(&ANSWER[cut..]).unwrap(), "{cut}");
            assert!(reply.feed(ANSWER).unwrap(), "the next one, after {cut}");
        }
    }

    #[test]
    fn another_status_length_or_end_is_an_error() {
        let feed = |expected, bytes: &[u8]| Reply::new(expected).feed(bytes);
        assert!(feed(Expected::Body(6), ANSWER).is_err());
        assert!(feed(Expected::Body(5), &[ANSWER, b"!"].concat()).is_err());
        assert!(feed(Expected::Body(5), b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nhello").is_err());
        assert!(feed(Expected::Body(5), b"HTTP/1.1 200 OK\r\n\r\nhello").is_err());
        assert!(feed(Expected::Switch, ANSWER).is_err());
        assert!(feed(Expected::Body(5), &vec![b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn messages_and_handshakes_are_compared() {
        let mut reply = Reply::new(Expected::Exactly(b"abcd".to_vec()));
        assert!(!reply.feed(b"ab").unwrap() && reply.feed(b"cd").unwrap());
        assert!(reply.feed(b"abce").is_err());
        assert!(Reply::new(Expected::Switch).feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap());
    }
}
