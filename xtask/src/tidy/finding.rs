//! What a check says.

use std::fmt;

/// `FILE:LINE: what: what to do`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    path: String,
    /// From 1; `None` where it is about the whole file.
    line: Option<usize>,
    what: String,
    next: String,
}

impl Finding {
    /// About one line, counted from 0 as `enumerate` does.
    pub(super) fn at(path: &str, index: usize, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: Some(index + 1), what: what.into(), next: next.into() }
    }

    /// About a file as a whole.
    pub(super) fn of(path: &str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, what: what.into(), next: next.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}: {}", self.what, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_can_be_clicked_in_a_terminal() {
        assert_eq!(Finding::at("src/a.rs", 0, "a leak", "mend it").to_string(), "src/a.rs:1: a leak: mend it");
        assert_eq!(Finding::of("src/a.rs", "a leak", "mend it").to_string(), "src/a.rs: a leak: mend it");
    }
}
