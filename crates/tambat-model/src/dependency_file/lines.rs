//! Formats that are read line by line.

use super::python_name;

/// pip's requirements: a name first, then whatever else; options and paths name nothing, but for an `egg`.
pub(super) fn requirements(text: &str) -> Vec<String> {
    let named = |line: &str| {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if let Some((_, egg)) = line.split_once("#egg=") {
            return python_name(egg);
        }
        let is_name = line.starts_with(|c: char| c.is_ascii_alphanumeric()) && !is_path(line);
        is_name.then(|| python_name(line)).flatten()
    };
    // A line that goes on has its name in front.
    let mut goes_on = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if !std::mem::replace(&mut goes_on, line.trim_end().ends_with('\\')) {
            names.extend(named(line));
        }
    }
    names
}

/// `https://…`, `git+ssh://…`, `folder/file.whl`: where nothing but the address is written.
fn is_path(line: &str) -> bool {
    let word = line.split(['@', ';', ' ']).next().unwrap_or_default();
    word.contains("://") || word.contains('/')
}

/// `gem "puma"`, `gem('puma')`.
pub(super) fn gemfile(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut commented = false;
    for line in text.lines() {
        match line.trim_end() {
            "=begin" => commented = true,
            "=end" => commented = false,
            _ => {}
        }
        let Some(rest) = line.trim_start().strip_prefix("gem").filter(|_| !commented) else { continue };
        let Some(quoted) = rest.strip_prefix([' ', '(', '\t']) else { continue };
        names.extend(quoted_first(quoted.trim_start_matches([' ', '(', '\t'])).map(str::to_owned));
    }
    names
}

/// What the string that a text begins with holds.
fn quoted_first(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    text[1..].split_once(quote).map(|(inner, _)| inner)
}

/// Modules that are required directly, without their major version; and "net/http", which every Go has.
pub(super) fn go_mod(text: &str) -> Vec<String> {
    let mut names = vec!["net/http".to_owned()];
    let mut block = None;
    for line in text.lines() {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        let words: Vec<&str> = code.split_whitespace().collect();
        let path = match (words.as_slice(), block) {
            ([directive, "("], _) => {
                block = Some(*directive == "require");
                None
            }
            ([")"], _) => {
                block = None;
                None
            }
            (["require", path, ..], None) | ([path, ..], Some(true)) => Some(*path),
            _ => None,
        };
        if comment.trim() != "indirect" {
            names.extend(path.map(|path| without_major(path).to_owned()));
        }
    }
    names
}

/// `example.com/a/v4` is version 4 of `example.com/a`.
fn without_major(path: &str) -> &str {
    let is_major = |last: &str| last.strip_prefix('v').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    path.rsplit_once('/').filter(|(_, last)| is_major(last)).map_or(path, |(front, _)| front)
}

/// The artifacts of Gradle's `"group:artifact:version"`, but for those of tests.
pub(super) fn gradle(text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut names = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("test")) {
        let mut rest = line;
        while let Some(start) = rest.find(['"', '\'']) {
            let Some(string) = quoted_first(&rest[start..]) else { break };
            let mut parts = string.split(':');
            if let (Some(_), Some(artifact), false) = (parts.next(), parts.next(), string.contains(['/', ' '])) {
                names.push(artifact.to_owned());
            }
            rest = &rest[start + string.len() + 2..];
        }
    }
    names
}

/// Without `// …` and `/* … */`, where these do not stand in a string of one line.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match quote {
            None if rest.starts_with("//") => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            None if rest.starts_with("/*") => {
                rest = rest[2..].split_once("*/").map_or("", |(_, after)| after);
                continue;
            }
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if c == open || c == '\n' => quote = None,
            _ => {}
        }
        code.push(c);
        rest = &rest[c.len_utf8()..];
    }
    code
}
