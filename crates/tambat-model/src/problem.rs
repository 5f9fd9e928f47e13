//! What is wrong with what was written, and where.

use crate::{ListenAddr, ProcessName};

/// The place in what was written that a problem is about. Whoever read the text knows the span of each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The app as a whole.
    App,
    /// A process as a whole.
    Process(ProcessName),
    /// One key of a process, as it is written in the manifest.
    Key(ProcessName, &'static str),
    /// One entry of `uses`, as it is written: `api`, `chat:admin`, `billing/api`.
    Use(ProcessName, String),
    /// One entry of `ports`, by its name.
    Port(ProcessName, String),
    /// One hostname in the `hosts` of a process, as it is written, or, with a port's name, of an entry of its `ports`.
    Host(ProcessName, Option<String>, String),
    /// One address in the `listen` of a process, or, with a port's name, of an entry of its `ports`.
    Listen(ProcessName, Option<String>, ListenAddr),
    /// The entry of `[router] listen` for this address.
    RouterListen(ListenAddr),
    /// Its `fallback`.
    Fallback(ListenAddr),
    /// One entry of `[resources]`.
    Resource(String),
}

/// Does it keep anything from starting?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing starts.
    Error,
    /// It starts, and this is said.
    Warning,
}

/// One thing that is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Does it keep anything from starting?
    pub severity: Severity,
    /// Where.
    pub at: Place,
    /// A second place that it clashes with.
    pub other: Option<Place>,
    /// What is wrong, in one sentence without a full stop.
    pub what: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// Something that keeps the app from starting.
    pub fn error(at: Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, at, other: None, what: what.into(), help: None }
    }

    /// Something that is said, and no more.
    pub fn warning(at: Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, what) }
    }

    /// With what to write instead.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// With the second place that it clashes with.
    #[must_use]
    pub fn clashes_with(self, other: Place) -> Self {
        Self { other: Some(other), ..self }
    }
}

/// What is longer is no slip of any word known here, and comparing takes time.
const WORD_BYTES_MAX: usize = 128;

/// The known word that was probably meant: the one with the fewest edits, if they are few.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count() / 3 + 1;
    let known = known.into_iter().filter(|_| word.len() <= WORD_BYTES_MAX);
    known.map(|k| (edits(word, k), k)).filter(|(n, _)| *n <= limit).min_by_key(|(n, _)| *n).map(|(_, k)| k)
}

/// Levenshtein's distance, in characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let known = ["instances", "protocol", "command"];
        assert_eq!(closest("protcol", known), Some("protocol"));
        assert_eq!(closest("instance", known), Some("instances"));
        assert_eq!(closest("colour", known), None);
    }
}
