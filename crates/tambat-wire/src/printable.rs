//! Bytes and sentences of others, made fit to be shown: bounded, on one line, without control characters.

/// How much of an answer is shown: enough for a banner or a status line, short enough for one line of a terminal.
const QUOTED_BYTES_MAX: usize = 60;

/// How long a sentence may get inside a refusal: a cause with an app's last lines fits, a runaway one is cut.
const SENTENCE_BYTES_MAX: usize = 2_048;

/// The beginning of the first line of these bytes, in quotes.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let shown = &line[..line.len().min(QUOTED_BYTES_MAX)];
    let cut = if shown.len() < line.len() { "…" } else { "" };
    format!("\"{}{cut}\"", shown.escape_ascii())
}

/// This text as one line without control characters, of a bounded length.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(SENTENCE_BYTES_MAX));
    for c in text.trim().chars() {
        if line.len() + c.len_utf8() > SENTENCE_BYTES_MAX {
            line.push('…');
            break;
        }
        line.push(if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_quoted_up_to_its_first_line_end() {
        assert_eq!(quoted(b"SSH-2.0-OpenSSH_9.2\r\nmore"), "\"SSH-2.0-OpenSSH_9.2\"");
        assert_eq!(quoted(b"\x15\x03\x01\xff\"x"), "\"\\x15\\x03\\x01\\xff\\\"x\"");
        assert_eq!(quoted(&[b'a'; 100]), format!("\"{}…\"", "a".repeat(QUOTED_BYTES_MAX)));
        assert_eq!(quoted(b""), "\"\"");
    }

    #[test]
    fn a_sentence_is_one_line_and_bounded() {
        assert_eq!(one_line("  one\r\ntwo\u{1b}[31m\u{2028}three\n"), "one  two [31m three");
        let long = one_line(&"é".repeat(5_000));
        assert!(long.len() <= SENTENCE_BYTES_MAX + '…'.len_utf8() && long.ends_with('…'), "{}", long.len());
    }
}
