//! What is printed, and what is judged at the end.

use std::io::{self, Write as _};

use super::figures::Table;
use crate::failure::Failure;

/// One figure and what it must not miss.
pub(super) struct Bar {
    pub(super) what: String,
    pub(super) bound: Bound,
    pub(super) seen: f64,
    pub(super) unit: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn holds(&self) -> bool {
        match self.bound {
            Bound::AtMost(limit) => self.seen <= limit,
            Bound::AtLeast(limit) => self.seen >= limit,
        }
    }

    fn row(&self) -> Vec<String> {
        let bound = match self.bound {
            Bound::AtMost(limit) => format!("≤ {limit} {}", self.unit),
            Bound::AtLeast(limit) => format!("≥ {limit} {}", self.unit),
        };
        let verdict = if self.holds() { "held" } else { "missed" };
        vec![self.what.clone(), bound, format!("{:.2} {}", self.seen, self.unit), verdict.to_owned()]
    }
}

/// The bars so far, and what could not be measured at all.
#[derive(Default)]
pub(super) struct Report {
    bars: Vec<Bar>,
    failures: Vec<String>,
}

impl Report {
    /// A reader that has gone is no reason to stop: the verdict is the exit code.
    #[expect(clippy::unused_self, reason = "whoever speaks holds the report")]
    pub(super) fn say(&self, text: &str) {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    pub(super) fn judge(&mut self, bar: Bar) {
        self.bars.push(bar);
    }

    /// What one measurement ended with; the others go on.
    pub(super) fn failed(&mut self, what: &str, failure: &Failure) {
        self.say(&format!("`{what}` was not measured: {failure}\n"));
        self.failures.push(what.to_owned());
    }

    /// The table of bars.
    ///
    /// # Errors
    ///
    /// When one of them is missed, or something could not be measured.
    pub(super) fn finish(self) -> Result<(), Failure> {
        if !self.bars.is_empty() {
            let mut table = Table::new(&["bar", "bound", "seen", ""]);
            self.bars.iter().for_each(|bar| table.row(bar.row()));
            self.say(&format!("### Bars\n\n{table}"));
        }
        if !self.failures.is_empty() {
            return Err(Failure::new(
                format!("cannot measure everything: {} failed", self.failures.join(", ")),
                "the causes stand above",
            ));
        }
        let missed: Vec<&str> = self.bars.iter().filter(|bar| !bar.holds()).map(|bar| &*bar.what).collect();
        if missed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            format!("cannot hold every bar: missed {}", missed.join(", ")),
            "is the machine busy with something else? The figures stand above",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(bound: Bound, seen: f64) -> Bar {
        Bar { what: "length of rope".to_owned(), bound, seen, unit: "m" }
    }

    #[test]
    fn a_bar_is_held_at_its_bound_and_missed_past_it() {
        assert!(bar(Bound::AtMost(15.0), 15.0).holds() && !bar(Bound::AtMost(15.0), 15.01).holds());
        assert!(bar(Bound::AtLeast(2.0), 2.0).holds() && !bar(Bound::AtLeast(2.0), 1.99).holds());
        assert!(!bar(Bound::AtLeast(2.0), f64::NAN).holds());
        assert_eq!(bar(Bound::AtLeast(2.0), 1.5).row(), ["length of rope", "≥ 2 m", "1.50 m", "missed"]);
    }

    #[test]
    fn a_missed_bar_is_a_failure_that_names_it() {
        let held = Report { bars: vec![bar(Bound::AtMost(1.0), 0.5)], failures: Vec::new() };
        assert!(held.finish().is_ok());
        let bars = vec![bar(Bound::AtMost(1.0), 0.5), bar(Bound::AtMost(1.0), 1.5)];
        let missed = Report { bars, failures: Vec::new() };
        assert!(missed.finish().unwrap_err().to_string().contains("missed length of rope"));
    }

    #[test]
    fn what_was_not_measured_is_no_success() {
        let mut report = Report::default();
        report.failed("idle", &Failure::new("cannot connect", "start it"));
        assert!(report.finish().unwrap_err().to_string().contains("idle failed"));
    }
}
