//! Output, cut into lines. Bytes in, lines out; bounded, and nothing is lost.

/// A longer line is cut here and goes on in the next: one program must not fill our memory with one line.
pub(crate) const LINE_LENGTH_MAX_BYTES: usize = 64 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes, gives the lines that are complete by them. What is not UTF-8 becomes U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let mut rest = piece;
            while self.partial.len() + rest.len() > LINE_LENGTH_MAX_BYTES {
                let room = LINE_LENGTH_MAX_BYTES - self.partial.len();
                let cut = char_boundary(&self.partial, rest, room);
                self.partial.extend_from_slice(&rest[..cut]);
                rest = &rest[cut..];
                self.flush(&mut line);
            }
            self.partial.extend_from_slice(rest);
            if self.partial.last() == Some(&b'\n') {
                self.flush(&mut line);
            }
        }
    }

    /// The stream has ended: what is left is a line too.
    pub(crate) fn end(&mut self, mut line: impl FnMut(String)) {
        if !self.partial.is_empty() {
            self.flush(&mut line);
        }
    }

    fn flush(&mut self, line: &mut impl FnMut(String)) {
        let mut text = self.partial.as_slice();
        text = text.strip_suffix(b"\n").unwrap_or(text);
        text = text.strip_suffix(b"\r").unwrap_or(text);
        line(String::from_utf8_lossy(text).into_owned());
        self.partial.clear();
        self.partial.shrink_to(4096);
    }
}

/// Where to cut, so that no character is torn: at most three bytes before the room's end (RFC 3629 §3).
fn char_boundary(partial: &[u8], rest: &[u8], room: usize) -> usize {
    let is_continuation = |at: usize| rest.get(at).is_some_and(|b| b & 0b1100_0000 == 0b1000_0000);
    let back = (0..4).find(|back| room >= *back && !is_continuation(room - back));
    match back {
        Some(back) if room > back || !partial.is_empty() => room - back,
        _ => room,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut out = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.push(chunk, |l| out.push(l));
        }
        lines.end(|l| out.push(l));
        out
    }

    #[test]
    fn lines_are_cut_at_line_feeds_wherever_the_chunks_end() {
        assert_eq!(lines(&[b"a\nb", b"c\r\n", b"", b"\nd"]), ["a", "bc", "", "d"]);
    }

    #[test]
    fn what_is_not_utf8_is_kept_visible() {
        assert_eq!(lines(&[b"a\xff\xfeb\n"]), ["a\u{fffd}\u{fffd}b"]);
    }

    #[test]
    fn a_line_without_end_is_bounded_and_whole() {
        let long = "\u{20ac}".repeat(100_000);
        let mut out = lines(&[long.as_bytes(), b"\nx"]);
        assert!(out.iter().all(|l| l.len() <= LINE_LENGTH_MAX_BYTES));
        assert_eq!(out.pop().unwrap(), "x");
        assert_eq!(out.concat(), long);
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(chunks in proptest::collection::vec("[a-c\u{20ac}]{0,9}", 0..9)) {
            let bytes: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
            proptest::prop_assert_eq!(lines(&bytes).concat(), chunks.concat());
        }
    }
}
