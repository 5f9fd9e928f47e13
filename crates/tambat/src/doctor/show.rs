//! The findings for people: what is in the way first, each with its fix below it.

use super::judge::{Finding, Verdict};
use crate::output;

/// What is wrong, then what may be one day, then what is fine.
pub(crate) fn show(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| match finding.verdict {
        Verdict::Wrong => 0,
        Verdict::Note => 1,
        Verdict::Fine => 2,
    });
    let rows: Vec<Vec<String>> = sorted
        .iter()
        .map(|finding| vec![word(finding.verdict).to_owned(), finding.id.clone(), finding.seen.clone()])
        .collect();
    let table = output::table(&rows);
    let lines = table.lines().zip(&sorted).map(|(line, finding)| match &finding.fix {
        Some(fix) => format!("{line}\n       fix: {fix}"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "fine",
        Verdict::Note => "note",
        Verdict::Wrong => "wrong",
    }
}
