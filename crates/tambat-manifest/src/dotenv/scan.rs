//! A `.env` file's lines: which are assignments, and where their values begin and end.

use std::ops::Range;

use tambat_model::VarName;

/// What people name their variables is shorter; what is longer is rather a line of a key or a certificate, and is not
/// shown.
const SHOWN_NAME_BYTES_MAX: usize = 60;

/// An assignment: a name and the text of its value as it is written.
pub(super) struct Assignment<'t> {
    pub(super) name: &'t str,
    /// Without its quotes.
    pub(super) value: &'t str,
    /// Where the value begins in the text.
    pub(super) start: usize,
    pub(super) quote: Quote,
    /// The line it begins on, from 1, and where that begins in the text.
    pub(super) line: usize,
    pub(super) line_start: usize,
    /// Where the `#` of a comment behind an unquoted value stands.
    pub(super) comment: Option<Range<usize>>,
}

/// What stands around a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    None,
    Single,
    Double,
}

/// Something wrong: where in the text, and from where on nothing is shown.
pub(super) struct Fault {
    pub(super) at: Range<usize>,
    pub(super) secret_from: usize,
    /// A line at or before it, from 1, and where that begins in the text.
    pub(super) line: usize,
    pub(super) line_start: usize,
    pub(super) title: String,
    pub(super) help: String,
}

impl Fault {
    /// In the value of an assignment.
    pub(super) fn at(of: &Assignment<'_>, at: Range<usize>, title: String, help: &str) -> Self {
        let help = help.to_owned();
        Self { at, secret_from: of.start, line: of.line, line_start: of.line_start, title, help }
    }
}

/// Goes through a text, assignment by assignment.
pub(super) struct Scanner<'t> {
    text: &'t str,
    /// Where the next line begins; past the end when done.
    next: usize,
    line: usize,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, next: 0, line: 1 }
    }

    /// The assignment on the line that begins here; none: a comment or a blank line.
    fn scan(&mut self) -> Option<Result<Assignment<'t>, Fault>> {
        let (line_start, line) = (self.next, self.line);
        let end = self.text[line_start..].find('\n').map_or(self.text.len(), |at| line_start + at);
        self.advance(end);
        let content = self.text[line_start..end].trim_end();
        let indented = content.trim_start();
        if indented.is_empty() || indented.starts_with('#') {
            return None;
        }
        let start = line_start + content.len() - indented.len();
        let fault = |at: Range<usize>, secret_from, title: String, help: &str| {
            Some(Err(Fault { at, secret_from, line, line_start, title, help: help.to_owned() }))
        };
        if let Some(at) = content.find('\0') {
            let at = line_start + at;
            let title = "a variable cannot have a zero byte in it".to_owned();
            return fault(at..at + 1, line_start, title, "remove it");
        }
        let name_start = start + after_export(indented);
        let rest = &self.text[name_start..line_start + content.len()];
        let Some((written, _)) = rest.split_once('=') else {
            let title = "this line is neither NAME=value nor a comment".to_owned();
            let help = "write NAME=value; a value of several lines stands in quotes";
            return fault(name_start..name_start + rest.len(), name_start, title, help);
        };
        let name = written.trim_end();
        let value_start = name_start + written.len() + 1;
        if name.parse::<VarName>().is_err() {
            let help = "a name takes letters, digits and `_`, and does not begin with a digit";
            return if may_be_shown(name, &rest[written.len() + 1..]) {
                let title = format!("`{name}` is not the name of an environment variable");
                fault(name_start..name_start + name.len(), value_start, title, help)
            } else {
                let title = "what stands before this `=` is not the name of a variable".to_owned();
                fault(value_start - 1..value_start, name_start, title, help)
            };
        }
        let found =
            Assignment { name, value: "", start: value_start, quote: Quote::None, line, line_start, comment: None };
        Some(self.scan_value(found, line_start + content.len()))
    }

    /// The value that begins on a line which ends here.
    fn scan_value(&mut self, found: Assignment<'t>, end: usize) -> Result<Assignment<'t>, Fault> {
        let raw = &self.text[found.start..end];
        let start = found.start + raw.len() - raw.trim_start().len();
        let quote = match raw.trim_start().chars().next() {
            Some('"') => Quote::Double,
            Some('\'') => Quote::Single,
            _ => {
                let comment = comment_in(raw).map(|at| found.start + at..found.start + at + 1);
                let value_end = comment.as_ref().map_or(end, |comment| comment.start);
                let start = start.min(value_end);
                return Ok(Assignment { value: self.text[start..value_end].trim_end(), start, comment, ..found });
            }
        };
        let inner = start + 1;
        let found = Assignment { start: inner, quote, ..found };
        let Some(length) = closing_quote(&self.text[inner..], quote) else {
            self.next = self.text.len() + 1;
            let title = format!("the quote that opens the value of `{}` is never closed", found.name);
            let help = "close it; a value that has one quote of a kind stands in quotes of the other kind";
            return Err(Fault::at(&found, start..inner, title, help));
        };
        let close = inner + length;
        let end = self.text[close..].find('\n').map_or(self.text.len(), |at| close + at);
        self.line = found.line;
        self.next = found.line_start;
        self.advance(end);
        let after = &self.text[close + 1..end];
        let rest = after.trim();
        let is_comment = rest.starts_with('#') && after.starts_with(char::is_whitespace);
        if !rest.is_empty() && !is_comment {
            let from = close + 1 + after.len() - after.trim_start().len();
            let title = format!("there is something after the quotes of `{}`", found.name);
            let help = "put all of the value in one pair of quotes; a comment needs a space before its `#`";
            return Err(Fault::at(&found, from..from + rest.len(), title, help));
        }
        let value = &self.text[inner..close];
        if let Some(at) = value.find('\0') {
            let title = "a variable cannot have a zero byte in it".to_owned();
            return Err(Fault::at(&found, inner + at..inner + at + 1, title, "remove it"));
        }
        Ok(Assignment { value, ..found })
    }

    /// Goes to the line after the one that ends here.
    fn advance(&mut self, end: usize) {
        self.line += self.text[self.next..end].matches('\n').count() + 1;
        self.next = end + 1;
    }
}

impl<'t> Iterator for Scanner<'t> {
    type Item = Result<Assignment<'t>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next <= self.text.len() {
            if let Some(scanned) = self.scan() {
                return Some(scanned);
            }
        }
        None
    }
}

/// The bytes of `export ` at the beginning.
fn after_export(line: &str) -> usize {
    match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => line.len() - rest.trim_start().len(),
        _ => 0,
    }
}

/// Where the `#` of a comment stands in an unquoted value: a space is before it.
fn comment_in(raw: &str) -> Option<usize> {
    raw.match_indices('#').map(|(at, _)| at).find(|at| raw[..*at].ends_with([' ', '\t']))
}

/// Where the quote ends; in double quotes a backslash takes the next character along.
fn closing_quote(text: &str, quote: Quote) -> Option<usize> {
    if quote == Quote::Single {
        return text.find('\'');
    }
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Is it a name that is merely misspelt? A line of a private key ends with `=` and is none.
fn may_be_shown(name: &str, value: &str) -> bool {
    !name.is_empty()
        && name.len() <= SHOWN_NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !matches!(value, "" | "=")
}
