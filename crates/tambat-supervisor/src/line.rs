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
                let (fits, more) = rest.split_at(LINE_LENGTH_MAX_BYTES - self.partial.len());
                self.partial.extend_from_slice(fits);
                rest = more;
                let begun = self.partial.split_off(whole_characters(&self.partial));
                self.flush(&mut line);
                self.partial = begun;
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

/// How many of these bytes are there without the character that has only begun at their end: that is three bytes at most
/// (RFC 3629 §3).
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let torn = (tail..bytes.len()).find(|at| {
        let error = std::str::from_utf8(&bytes[*at..]).err();
        error.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    });
    torn.unwrap_or(bytes.len())
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

    /// Whatever is read at once: a pipe gives 8 KiB at a time, which tears characters.
    #[test]
    fn a_line_without_end_is_bounded_and_whole() {
        for (character, read) in [("\u{20ac}", 300_000), ("\u{20ac}", 8192), ("\u{1f6a2}", 8191), ("\u{e9}", 4095)] {
            let long = character.repeat(100_000);
            let mut chunks: Vec<&[u8]> = long.as_bytes().chunks(read).collect();
            chunks.push(b"\nx");
            let mut out = lines(&chunks);
            assert!(out.iter().all(|l| l.len() <= LINE_LENGTH_MAX_BYTES));
            assert_eq!(out.pop().unwrap(), "x");
            assert!(out.concat() == long, "{character} torn by reads of {read}");
        }
    }

    #[test]
    fn what_never_was_a_character_holds_nothing_up() {
        assert_eq!(whole_characters(b"ab"), 2);
        assert_eq!(whole_characters(b"ab\xe2\x82"), 2);
        assert_eq!(whole_characters(b"ab\xe2\x82\xac"), 5);
        assert_eq!(whole_characters(b"\x82\x82\x82\x82"), 4);
        assert_eq!(whole_characters(b"a\xff\xff"), 3);
        assert_eq!(whole_characters(b"\xf0\x9f\x9a"), 0);
        let bytes = vec![0x82; 3 * LINE_LENGTH_MAX_BYTES];
        assert!(lines(&[&bytes]).len() >= 3);
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(chunks in proptest::collection::vec("[a-c\u{20ac}]{0,9}", 0..9)) {
            let bytes: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
            proptest::prop_assert_eq!(lines(&bytes).concat(), chunks.concat());
        }
    }
}
