//! What was found wrong, with limits: any file may be wrong in every line.

use tambat_model::Severity;

use crate::diagnostic::{Diagnostic, Spot};

/// Nobody reads more than this at once, and each one that is shown scans its file.
const SHOWN_MAX: usize = 20;

/// Of more than this only the number is kept: enough to choose [`SHOWN_MAX`] from in the order of the files.
const KEPT_MAX: usize = 200;

/// Diagnostics, as they are found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    left_out: usize,
}

impl Findings {
    /// Keeps one more.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.kept.len() < KEPT_MAX { self.kept.push(diagnostic) } else { self.left_out += 1 }
    }

    /// Keeps those of another file.
    pub(crate) fn append(&mut self, other: Self) {
        self.errors += other.errors;
        self.left_out += other.left_out;
        self.kept.extend(other.kept);
    }

    /// Is there anything that keeps the app from starting?
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// The last one.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Diagnostic> {
        self.kept.last_mut()
    }

    /// Errors first, each kind in the order of the files; no more than can be read.
    pub(crate) fn in_order(self) -> Vec<Diagnostic> {
        let Self { mut kept, left_out, errors } = self;
        kept.sort_by_cached_key(|d| (d.severity, d.spots.first().map(Spot::order)));
        let left_out = left_out + kept.len().saturating_sub(SHOWN_MAX);
        kept.truncate(SHOWN_MAX);
        if left_out > 0 {
            let severity = if errors > SHOWN_MAX { Severity::Error } else { Severity::Warning };
            let title = format!("{left_out} more like these are not shown");
            kept.push(Diagnostic { severity, title, spots: Vec::new(), help: None });
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_shown_and_the_others_are_counted() {
        let mut findings = Findings::default();
        for nth in 0..1_000 {
            let severity = if nth % 2 == 0 { Severity::Warning } else { Severity::Error };
            findings.push(Diagnostic { severity, title: nth.to_string(), spots: Vec::new(), help: None });
        }
        assert!(findings.has_errors());
        let shown = findings.in_order();
        assert_eq!(shown.len(), SHOWN_MAX + 1);
        assert!(shown.iter().all(|d| d.severity == Severity::Error));
        assert_eq!(shown[SHOWN_MAX].title, "980 more like these are not shown");
    }
}
