//! For CI: JUnit's XML, a suite a process and a test a clause.

use super::{facts, subject};
use crate::verdict::{ClauseReport, Report, Verdict};

/// The whole file. A warning is a test that passed, and says so in its output: whoever wants it to fail asks for
/// `--strict`, which decides the exit code.
pub fn junit(reports: &[Report]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tambat check\">\n");
    reports.iter().for_each(|report| out.push_str(&suite(report)));
    out.push_str("</testsuites>\n");
    out
}

fn suite(report: &Report) -> String {
    let seconds: f64 = report.clauses.iter().map(|clause| clause.took.as_secs_f64()).sum();
    let mut out = format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">\n    <properties>\n",
        escaped(&subject(report)),
        report.clauses.len(),
        report.count(Verdict::Broken),
        report.count(Verdict::NotJudged),
    );
    for (name, fact) in facts(report) {
        out.push_str(&format!("      <property name=\"{name}\" value=\"{}\"/>\n", escaped(&fact)));
    }
    out.push_str("    </properties>\n");
    report.clauses.iter().for_each(|clause| out.push_str(&case(report, clause)));
    out.push_str("  </testsuite>\n");
    out
}

fn case(report: &Report, clause: &ClauseReport) -> String {
    let class = report
        .asked
        .process
        .as_deref()
        .map_or_else(|| report.asked.app.clone(), |process| format!("{}.{process}", report.asked.app));
    let judgement = &clause.judgement;
    let (seen, mend) = (escaped(&judgement.seen), escaped(judgement.mend.as_deref().unwrap_or_default()));
    let inner = match judgement.verdict {
        Verdict::Kept => format!("<system-out>{seen}</system-out>"),
        Verdict::Warned => format!("<system-out>warned: {seen}\n{mend}</system-out>"),
        Verdict::Broken => format!("<failure message=\"{seen}\">{mend}</failure>"),
        Verdict::NotJudged => format!("<skipped message=\"{seen}\"/>"),
    };
    format!(
        "    <testcase classname=\"{}\" name=\"{} the app {}\" time=\"{:.3}\">{inner}</testcase>\n",
        escaped(&class),
        clause.clause.id,
        escaped(clause.clause.title),
        clause.took.as_secs_f64(),
    )
}

/// XML 1.0 §2.4, and §2.2: characters that no document may hold are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(char::REPLACEMENT_CHARACTER),
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
    fn a_report_for_ci() {
        insta::assert_snapshot!(junit(&[report()]));
    }

    #[test]
    fn nothing_breaks_out_of_an_attribute() {
        assert_eq!(escaped("<a b=\"c\">&\u{1b}[2J"), "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}[2J");
    }
}
