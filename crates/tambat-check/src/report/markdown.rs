//! For a pull request, a wiki, a README.

use super::{facts, subject, sum};
use crate::verdict::{Report, Verdict};

/// The whole report: a table, and below it what is not well.
pub fn markdown(report: &Report) -> String {
    let mut out = format!(
        "## {}\n\n{}\n\n| clause | the app... | verdict | seen |\n|---|---|---|---|\n",
        line(&subject(report)),
        sum(report)
    );
    for clause in &report.clauses {
        let (id, verdict) = (clause.clause.id, clause.judgement.verdict);
        let word = if verdict == Verdict::Broken { "**broken**".to_owned() } else { verdict.to_string() };
        out.push_str(&format!("| {id} | {} | {word} | {} |\n", clause.clause.title, line(&clause.judgement.seen)));
    }
    let mends: Vec<_> =
        report.clauses.iter().filter_map(|c| Some((c.clause.id, c.judgement.mend.as_deref()?))).collect();
    if !mends.is_empty() {
        out.push_str("\n### How to mend it\n\n");
    }
    for (id, mend) in mends {
        out.push_str(&format!("- {id}: {}\n", line(mend)));
    }
    let facts = facts(report);
    if !facts.is_empty() {
        out.push_str("\n### Facts\n\n");
    }
    for (name, fact) in facts {
        out.push_str(&format!("- {name}: {}\n", line(&fact)));
    }
    out
}

/// What others wrote is text here, and on one line.
fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::sample::report;
    use super::*;

    #[test]
    fn a_report_for_a_page() {
        insta::assert_snapshot!(markdown(&report()));
    }

    #[test]
    fn a_text_of_others_stays_a_text() {
        assert_eq!(line("a|b\n[x](y) `z`"), "a\\|b \\[x\\](y) \\`z\\`");
    }
}
