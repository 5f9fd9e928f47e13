//! Medians and tables.

use std::{fmt, time::Duration};

/// The middle of the figures, of two middle ones their mean; not a number of none.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => f64::NAN,
        1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The least and the most of them, as one reads them: `1.20–3.40`.
pub(super) fn range(figures: &[f64], decimals: usize) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{least:.decimals$}–{most:.decimals$}")
}

/// Milliseconds.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A count as a float. Exact up to 2^53: 9 petabytes, or 104 days in nanoseconds.
pub(super) fn float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
    let float = count as f64;
    float
}

/// A table as Markdown has it.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|word| (*word).to_owned()).collect()] }
    }

    /// One row more, of as many cells as there are headings.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default().max(3)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{}", "-".repeat(width + 2)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "nothing is rounded")]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_range_goes_from_the_least_to_the_most() {
        assert_eq!(range(&[2.5, 1.25, 10.0], 1), "1.2–10.0");
        assert_eq!(range(&[3.0], 0), "3–3");
    }

    #[test]
    fn a_table_is_aligned_by_characters() {
        let mut table = Table::new(&["runner", "µs"]);
        table.row(vec!["tambat".to_owned(), "1.00".to_owned()]);
        table.row(vec!["…".to_owned()]);
        let expected = "| runner | µs   |\n|--------|------|\n| tambat | 1.00 |\n| …      |      |\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn times_become_milliseconds() {
        assert!((ms(Duration::from_micros(1500)) - 1.5).abs() < 1e-9);
        assert!((float(1 << 40) - 1_099_511_627_776.0).abs() < 1e-3);
    }
}
