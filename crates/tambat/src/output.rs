//! Words to people on standard error, facts on standard output. A reader that has gone away ends nothing.

use std::io::{IsTerminal, Write};

/// Words to people.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A fact.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
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
