//! For programs: a public promise. Keys are added, and none is renamed or taken away.

use std::time::Duration;

use serde::Serialize;

use crate::verdict::{Report, Verdict};

#[derive(Serialize)]
struct Document<'a> {
    app: &'a str,
    process: Option<&'a str>,
    command: &'a str,
    clauses: Vec<Clause<'a>>,
    facts: Facts<'a>,
}

#[derive(Serialize)]
struct Clause<'a> {
    id: String,
    title: &'a str,
    verdict: Verdict,
    seen: &'a str,
    mend: Option<&'a str>,
    ms: u64,
}

#[derive(Serialize)]
struct Facts<'a> {
    boot_ms: Option<u64>,
    memory_bytes: Option<u64>,
    memory_bytes_later: Option<u64>,
    requests: Option<u32>,
    protocol: Option<&'a str>,
    addresses: Vec<String>,
    processes: Option<usize>,
    stop_ms: Option<u64>,
}

/// One object, on one line.
pub fn json(report: &Report) -> String {
    let facts = &report.facts;
    let clauses = report.clauses.iter().map(|one| Clause {
        id: one.clause.id.to_string(),
        title: one.clause.title,
        verdict: one.judgement.verdict,
        seen: &one.judgement.seen,
        mend: one.judgement.mend.as_deref(),
        ms: ms(one.took),
    });
    let document = Document {
        app: &report.asked.app,
        process: report.asked.process.as_deref(),
        command: &report.asked.command,
        clauses: clauses.collect(),
        facts: Facts {
            boot_ms: facts.boot.map(ms),
            memory_bytes: facts.memory_at_rest,
            memory_bytes_later: facts.memory_after,
            requests: facts.requests,
            protocol: facts.protocol.as_deref(),
            addresses: facts.addresses.iter().map(ToString::to_string).collect(),
            processes: facts.processes,
            stop_ms: facts.stop.map(ms),
        },
    };
    // Nothing in it can fail to be written.
    serde_json::to_string(&document).unwrap_or_default()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::sample::report;
    use super::*;

    #[test]
    fn a_report_for_programs() {
        let line = json(&report());
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
    }
}
