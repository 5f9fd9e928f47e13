//! For people, in the columns of a terminal.

use super::{facts, subject, sum};
use crate::verdict::{ClauseReport, Report, Verdict};

/// No line is longer.
const COLUMNS: usize = 80;

/// Where the words of a clause begin.
const INDENT: usize = 21;

/// May the words have colours?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Yes: a terminal shows them.
    Yes,
    /// No.
    No,
}

/// The whole report. What is kept takes one line; what is not says what was seen and how to mend it.
pub fn text(report: &Report, colour: Colour) -> String {
    let mut out = format!("{}\n\n", wrapped(&subject(report), 0, 2));
    for clause in &report.clauses {
        out.push_str(&show(clause, colour));
    }
    let facts = facts(report);
    if !facts.is_empty() {
        out.push('\n');
    }
    for (name, fact) in facts {
        out.push_str(&wrapped(&format!("  {name:<14}{fact}"), 0, 16));
        out.push('\n');
    }
    out.push_str(&format!("\n{}\n", sum(report)));
    out
}

fn show(report: &ClauseReport, colour: Colour) -> String {
    let (verdict, judgement) = (report.judgement.verdict, &report.judgement);
    let word = format!("{:<10}", verdict.words());
    let head = format!("  {}  {word}  {}\n", report.clause.id, report.clause.title);
    let mut out = match colour {
        Colour::Yes => head.replacen(&word, &painted(&word, verdict), 1),
        Colour::No => head,
    };
    if verdict == Verdict::Kept {
        return out;
    }
    out.push_str(&format!("{}{}\n", " ".repeat(INDENT), wrapped(&judgement.seen, INDENT, INDENT)));
    if let Some(mend) = &judgement.mend {
        out.push_str(&format!("{}{}\n", " ".repeat(INDENT), wrapped(&format!("→ {mend}"), INDENT, INDENT + 2)));
    }
    out
}

/// Green, red, yellow, dim (ECMA-48 §8.3.117).
fn painted(word: &str, verdict: Verdict) -> String {
    let number = match verdict {
        Verdict::Kept => 32,
        Verdict::Broken => 31,
        Verdict::Warned => 33,
        Verdict::NotJudged => 2,
    };
    format!("\u{1b}[{number}m{word}\u{1b}[0m")
}

/// Breaks a text between words; `at` is the column where it begins, `indent` that of its further lines.
fn wrapped(text: &str, at: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = at;
    for (nth, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if nth > 0 && column + 1 + length > COLUMNS && column > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if nth > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::sample::report;
    use super::*;

    #[test]
    fn a_report_for_people() {
        insta::assert_snapshot!(text(&report(), Colour::No));
    }

    #[test]
    fn no_line_is_longer_than_a_terminal_and_colours_take_no_room() {
        let plain = text(&report(), Colour::No);
        assert!(plain.lines().all(|line| line.chars().count() <= COLUMNS), "{plain}");
        let painted = text(&report(), Colour::Yes);
        assert!(painted.contains("\u{1b}[31mbroken"));
        assert_eq!(tambat_model::plain(&painted.replace('\n', "\u{2028}")).matches("broken").count(), 2);
    }
}
