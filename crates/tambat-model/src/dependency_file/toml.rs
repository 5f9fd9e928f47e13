//! TOML, as far as it is tables, keys, and strings in their values. Values may go over several lines.

use super::python_name;

/// `key = value` and the table it stands in.
#[derive(Debug)]
struct Entry {
    table: String,
    key: String,
    value: String,
}

/// What a project needs to run: its dependencies and its extras, by PEP 621 or by poetry. Groups are for its developers.
pub(super) fn pyproject(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in entries(text) {
        match entry.table.as_str() {
            "project" if entry.key == "dependencies" => {
                names.extend(strings(&entry.value).iter().filter_map(|s| python_name(s)));
            }
            "project.optional-dependencies" => {
                names.extend(strings(&entry.value).iter().filter_map(|s| python_name(s)));
            }
            "tool.poetry.dependencies" => names.extend(python_name(&entry.key)),
            _ => {}
        }
    }
    names
}

/// `[packages]`.
pub(super) fn pipfile(text: &str) -> Vec<String> {
    entries(text).iter().filter(|e| e.table == "packages").filter_map(|e| python_name(&e.key)).collect()
}

/// What is linked into the program: not what tests or builds it. A crate that is renamed goes by both names.
pub(super) fn cargo(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in entries(text) {
        if entry.table == "dependencies"
            || (entry.table.starts_with("target.") && entry.table.ends_with(".dependencies"))
        {
            let package = entry.value.split_once("package").and_then(|(_, rest)| rest.trim_start().strip_prefix('='));
            names.extend(package.and_then(|rest| strings(rest).into_iter().next()));
            names.push(entry.key.split('.').next().unwrap_or_default().to_owned());
        } else if let Some(name) = entry.table.strip_prefix("dependencies.") {
            names.push(name.to_owned());
        }
    }
    names
}

fn entries(text: &str) -> Vec<Entry> {
    let mut table = String::new();
    let mut found = Vec::new();
    for line in logical_lines(text) {
        let line = line.trim();
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).replace(['"', '\'', ' '], "");
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().trim_matches(['"', '\'']).to_owned();
            found.push(Entry { table: table.clone(), key, value: value.to_owned() });
        }
    }
    found
}

/// Lines without comments. A string of several lines and a bracket that is open are one; a table's own line never goes on.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut depth, mut rest) = (String::new(), 0_usize, text);
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '#' => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '"' | '\'' => string_length(rest),
            _ => c.len_utf8(),
        };
        match c {
            '\n' if depth == 0 || line.starts_with('[') => {
                depth = 0;
                lines.push(std::mem::take(&mut line));
            }
            _ if line.is_empty() && c.is_whitespace() => {}
            _ => {
                match c {
                    '[' | '{' => depth += 1,
                    ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                line.push_str(&rest[..taken]);
            }
        }
        rest = &rest[taken..];
    }
    lines.push(line);
    lines
}

/// How many bytes the string has that begins here, its quotes included. One that is not closed ends with its line, or,
/// with three quotes, with the text.
fn string_length(text: &str) -> usize {
    let quote = &text[..1];
    let long = quote.repeat(3);
    if text.starts_with(&long) {
        return text[3..].find(&long).map_or(text.len(), |end| 3 + end + 3);
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' if quote == "\"" => escaped = true,
            _ if text[at..].starts_with(quote) => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The strings of a value, without their quotes.
fn strings(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.find(['"', '\'']) {
        let string = &rest[start..];
        let length = string_length(string);
        found.push(string[..length].trim_matches(['"', '\'']).to_owned());
        rest = &string[length..];
    }
    found
}
