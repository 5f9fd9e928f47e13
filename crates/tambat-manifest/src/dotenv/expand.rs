//! `${NAME}` and escapes in a value.

use std::ops::Range;

use tambat_model::VarName;

use super::scan::{Assignment, Fault, Quote};

/// The kernel takes no longer string into an environment (Linux: `MAX_ARG_STRLEN`, 32 pages), and variables that name
/// each other could grow without end.
const VALUE_BYTES_MAX: usize = 128 * 1024;

/// A default within a default within … : nobody reads more than this.
const NESTING_MAX: usize = 8;

/// More variables than this that are not set are one mistake, made often.
const UNSET_MAX: usize = 20;

/// A value as it is meant.
#[derive(Default)]
pub(super) struct Expanded {
    pub(super) value: String,
    /// The first `$` that looks like a variable and is none.
    pub(super) bare_dollar: Option<Range<usize>>,
    /// The variables that were taken as empty, and where they stand.
    pub(super) unset: Vec<(String, Range<usize>)>,
}

impl Expanded {
    pub(super) fn literal(value: &str) -> Self {
        Self { value: value.to_owned(), ..Self::default() }
    }
}

/// The value of this assignment, its variables looked up.
pub(super) fn expand(of: &Assignment<'_>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, Fault> {
    let mut expander = Expander { of, lookup, out: Expanded::default() };
    expander.expand(of.value, of.start, 0)?;
    Ok(expander.out)
}

struct Expander<'a, 't> {
    of: &'a Assignment<'t>,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    out: Expanded,
}

/// What `${…}` says of a variable.
struct Reference<'t> {
    name: &'t str,
    /// Does an empty one count as unset?
    or_empty: bool,
    otherwise: Otherwise<'t>,
}

/// What stands in for a variable that is not set.
enum Otherwise<'t> {
    Empty,
    Default(&'t str),
    Fault(&'t str),
}

impl<'t> Expander<'_, 't> {
    /// Appends what this text means; `start` is where it stands in the file.
    fn expand(&mut self, text: &'t str, start: usize, depth: usize) -> Result<(), Fault> {
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at + c.len_utf8()..];
            let here = start + at;
            if c == '\\' && self.of.quote == Quote::Double {
                let escaped = rest.chars().next().unwrap_or(c);
                self.out.value.push(unescaped(escaped));
                at += c.len_utf8() + if rest.is_empty() { 0 } else { escaped.len_utf8() };
            } else if c == '$' && rest.starts_with('{') {
                let inner = &rest[1..];
                let Some(length) = closing_brace(inner) else {
                    let title = format!("the `${{` in `{}` is never closed", self.of.name);
                    return Err(self.fault(here..here + 2, title, "write ${NAME}, or single quotes around the value"));
                };
                self.refer(&inner[..length], here + 2, depth)?;
                at += length + "${}".len();
            } else {
                if c == '$' && self.of.quote == Quote::None && rest.starts_with(begins_a_name) {
                    self.out.bare_dollar.get_or_insert(here..here + 1);
                }
                self.out.value.push(c);
                at += c.len_utf8();
            }
            if self.out.value.len() > VALUE_BYTES_MAX {
                let title = format!("`{}` is longer than {VALUE_BYTES_MAX} bytes", self.of.name);
                return Err(self.fault(here..here + 1, title, "no process can be given so long a variable"));
            }
        }
        Ok(())
    }

    /// Appends what `${inner}` means.
    fn refer(&mut self, inner: &'t str, start: usize, depth: usize) -> Result<(), Fault> {
        let span = start..start + inner.len();
        let Some(reference) = reference(inner) else {
            let title = format!("this `${{…}}` in `{}` is not understood", self.of.name);
            let help = "it is one of ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME:?why} and ${NAME?why}";
            return Err(self.fault(span, title, help));
        };
        let Reference { name, or_empty, otherwise } = reference;
        if let Some(value) = (self.lookup)(name).filter(|value| !(or_empty && value.is_empty())) {
            self.out.value.push_str(&value);
            return Ok(());
        }
        match otherwise {
            Otherwise::Empty => {
                if self.out.unset.len() < UNSET_MAX && !self.out.unset.iter().any(|(known, _)| known == name) {
                    self.out.unset.push((name.to_owned(), span));
                }
                Ok(())
            }
            Otherwise::Default(_) if depth == NESTING_MAX => {
                let title = format!("the defaults in `{}` are nested too deeply", self.of.name);
                Err(self.fault(span, title, "give one of them a line and a name of its own"))
            }
            Otherwise::Default(default) => self.expand(default, start + inner.len() - default.len(), depth + 1),
            Otherwise::Fault(why) => {
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                let title = format!("`{}` needs `{name}`, which is not set{why}", self.of.name);
                Err(self.fault(span, title, &format!("set `{name}` on a line before this one, or in the shell")))
            }
        }
    }

    fn fault(&self, at: Range<usize>, title: String, help: &str) -> Fault {
        Fault::at(self.of, at, title, help)
    }
}

fn unescaped(escaped: char) -> char {
    match escaped {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

fn begins_a_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Where the `}` of a `${` stands in the text behind it.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with('$') => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn reference(inner: &str) -> Option<Reference<'_>> {
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    name.parse::<VarName>().ok()?;
    let (or_empty, operator) = rest.strip_prefix(':').map_or((false, rest), |operator| (true, operator));
    let otherwise = match operator.chars().next() {
        None if !or_empty => Otherwise::Empty,
        Some('-') => Otherwise::Default(&operator[1..]),
        Some('?') => Otherwise::Fault(&operator[1..]),
        _ => return None,
    };
    Some(Reference { name, or_empty, otherwise })
}
