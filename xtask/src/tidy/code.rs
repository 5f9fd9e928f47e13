//! Rust text without what is not code: comments, strings and characters become blanks, line by line.

/// The same lines and columns, with comments and the insides of literals blanked.
pub(super) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let blanked = blank_len(rest, before);
        let len = blanked.unwrap_or(next.len_utf8());
        let (taken, after) = rest.split_at(len);
        match blanked {
            Some(_) => code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => code.push(next),
        }
        before = if blanked.is_some() { ' ' } else { next };
        rest = after;
    }
    code
}

/// Whether `word` stands in a line of code by itself. A lifetime (`'static`) is not that word.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let outside = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '\'');
    line.match_indices(word)
        .any(|(at, _)| outside(line[..at].chars().next_back()) && outside(line[at + word.len()..].chars().next()))
}

/// How many bytes from here on are no code; `None` when this character is code.
fn blank_len(rest: &str, before: char) -> Option<usize> {
    let in_word = before.is_alphanumeric() || before == '_';
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_len(rest));
    }
    if rest.starts_with('"') {
        return Some(string_len(rest));
    }
    if rest.starts_with('\'') {
        return char_len(rest);
    }
    if in_word { None } else { raw_string_len(rest) }
}

/// Block comments nest.
fn block_comment_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'x'`, `'\''`, `'\u{1F6A2}'`; `None` for a lifetime or a label.
fn char_len(rest: &str) -> Option<usize> {
    let inside = &rest[1..];
    let first = inside.chars().next()?;
    if first == '\\' {
        let escaped = inside.chars().nth(1)?;
        let from = 1 + 1 + escaped.len_utf8();
        return Some(from + rest[from..].find('\'')? + 1);
    }
    let close = 1 + first.len_utf8();
    rest[close..].starts_with('\'').then_some(close + 1)
}

/// `r"..."`, `br#"..."#`, `cr"..."`.
fn raw_string_len(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|prefix| rest.strip_prefix(prefix).is_some_and(|after| after.trim_start_matches('#').starts_with('"')))?;
    let hashes = rest[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        for (text, left) in [
            ("a // unsafe\nb", "a b"),
            ("a /* x /* y */ z */ b", "a b"),
            (r#"f("un\"safe") + g"#, "f( ) + g"),
            (r#"r"\" + a"#, "+ a"),
            ("br##\"a\"# b\"## + c", "+ c"),
            ("'\\'' + 'x' + b'\"' + c", "+ + b + c"),
            ("'\\u{1F6A2}' + '🚢' + c", "+ + c"),
            ("&'static str", "&'static str"),
            ("<'a>('b')", "<'a>( )"),
            ("for r in var\"\" {}", "for r in var {}"),
            ("r#type = 1", "r#type = 1"),
            ("\"open\nunsafe", ""),
        ] {
            let code = code_only(text);
            assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), left, "{text}");
            let widths = |text: &str| text.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
            assert_eq!(widths(&code), widths(text), "columns of {text}");
        }
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "fn a() {}\n/* two\nlines */\nlet s = \"one\ntwo\";\n";
        assert_eq!(code_only(text).lines().count(), text.lines().count());
    }

    #[test]
    fn a_word_is_no_part_of_another_and_no_lifetime() {
        assert!(has_word("unsafe { x }", "unsafe") && has_word("pub static A: u8", "static"));
        assert!(!has_word("unsafe_code", "unsafe") && !has_word("&'static str", "static"));
        assert!(has_word("f(&'static str); static A", "static"));
    }
}
