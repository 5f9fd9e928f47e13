//! Words to people on standard error, facts on standard output. A reader that has gone away ends nothing.

use std::io::{IsTerminal, Write};

/// Words to people; on a terminal, lines break between words.
pub(crate) fn say(text: &str) {
    let stderr = std::io::stderr();
    let columns = if stderr.is_terminal() { tambat_os::terminal::size(&stderr).map(|size| size.cols) } else { None };
    let text = match columns {
        Some(columns) => text.lines().map(|line| wrap(line, usize::from(columns))).collect::<Vec<_>>().join("\n"),
        None => text.to_owned(),
    };
    let _ = writeln!(stderr.lock(), "{text}");
}

/// No line is broken into narrower ones than this.
const COLUMNS_MIN: usize = 40;

/// Breaks a line between words, the rest indented. One that was laid out by its writer, or has colours, stays as it is.
fn wrap(line: &str, columns: usize) -> String {
    let laid_out = line.starts_with(' ') || line.contains('\u{1b}');
    if laid_out || line.chars().count() <= columns || columns < COLUMNS_MIN {
        return line.to_owned();
    }
    let mut out = String::new();
    let mut width = 0;
    for word in line.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > columns {
            out.push_str("\n  ");
            width = 2;
        } else if !out.is_empty() {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out
}

/// A fact.
pub(crate) fn print(text: &str) {
    let _ = try_print(text);
}

/// A fact, for those who have more of them and stop when nobody reads any more.
pub(crate) fn try_print(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

/// A fact as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&text),
        Err(error) => say(&format!("tambat: cannot write JSON: {error}")),
    }
}

/// May words to people be coloured?
pub(crate) fn color_on_stderr() -> bool {
    std::io::stderr().is_terminal() && color_wanted()
}

/// May facts be coloured?
pub(crate) fn color_on_stdout() -> bool {
    std::io::stdout().is_terminal() && color_wanted()
}

/// <https://no-color.org>: any value but the empty one says no.
fn color_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Rows as columns, each as wide as its widest cell; the last one as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_breaks_between_words() {
        let line = "tambat: no app runs in /srv/shop or above it: `tambat start` runs it";
        let broken = wrap(line, 50);
        assert_eq!(broken, "tambat: no app runs in /srv/shop or above it:\n  `tambat start` runs it");
        assert_eq!(wrap(line, 80), line);
        assert_eq!(wrap(line, 10), line);
        let word = "x".repeat(60);
        assert_eq!(wrap(&word, 50), word);
        let laid_out = format!("  | {line}");
        assert_eq!(wrap(&laid_out, 50), laid_out);
    }
}
