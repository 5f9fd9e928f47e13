//! The ways in which a report is written down: for people, for programs, for CI.

mod json;
mod junit;
mod markdown;
mod text;

pub use json::json;
pub use junit::junit;
pub use markdown::markdown;
pub use text::{Colour, text};

use crate::text::time;
use crate::verdict::{Report, Verdict};

/// What was judged, in a few words: `web of shop: python3 app.py`.
fn subject(report: &Report) -> String {
    let asked = &report.asked;
    match &asked.process {
        Some(process) => format!("{process} of {}: {}", asked.app, asked.command),
        None => asked.command.clone(),
    }
}

/// How many clauses have which verdict: `17 kept, 1 warned, 1 not judged`.
fn sum(report: &Report) -> String {
    let count = |verdict: Verdict| {
        let count = report.count(verdict);
        (count > 0).then(|| format!("{count} {verdict}"))
    };
    let all = [Verdict::Kept, Verdict::Broken, Verdict::Warned, Verdict::NotJudged];
    all.into_iter().filter_map(count).collect::<Vec<_>>().join(", ")
}

/// The facts, each with its name as people read it.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    const MIB: f64 = 1024.0 * 1024.0;
    #[expect(clippy::cast_precision_loss, reason = "a number of MiB with one digit behind the point")]
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB);
    let facts = &report.facts;
    let memory_after = facts.memory_after.zip(facts.requests);
    let mut all = vec![
        ("boot", facts.boot.map(time)),
        ("speaks", facts.protocol.clone()),
        ("listens on", (!facts.addresses.is_empty()).then(|| crate::text::list(&facts.addresses))),
        ("memory", facts.memory_at_rest.map(mib)),
        ("memory later", memory_after.map(|(bytes, requests)| format!("{} after {requests} requests", mib(bytes)))),
        ("processes", facts.processes.map(|count| count.to_string())),
        ("stop", facts.stop.map(time)),
    ];
    all.retain(|(_, fact)| fact.is_some());
    all.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}

#[cfg(test)]
mod sample {
    use std::time::Duration;

    use tambat_model::ClauseId;

    use crate::clause::Selection;
    use crate::clauses::CLAUSES;
    use crate::observed::Facts;
    use crate::verdict::{ClauseReport, Judgement, Report};

    /// One clause of each verdict.
    pub(super) fn report() -> Report {
        let observed = crate::observed::Observed::nothing(asked());
        let mut report = Report::new(&observed, &Selection::new(vec![ClauseId::SELF_CONTAINED], vec![]));
        let judged = |number: usize, judgement: Judgement, ms: u64| ClauseReport {
            clause: CLAUSES[number - 1],
            judgement,
            took: Duration::from_millis(ms),
        };
        report.clauses = vec![
            judged(1, Judgement::kept("python3 (pid 4711) of its own tree listens on 20100"), 310),
            judged(
                3,
                Judgement::broken(
                    "told 20100 and then 20200, it listened on 8000 both times (TCP 127.0.0.1:8000 of python3 (pid 4711))",
                    "in app.py use os.environ[\"PORT\"]",
                ),
                2_040,
            ),
            judged(
                4,
                Judgement::warned("told HOST=0.0.0.0, it listens on 127.0.0.1 only", "listen on <::> & take HOST"),
                0,
            ),
            judged(12, Judgement::not_judged("it does not speak HTTP"), 0),
        ];
        report.facts = Facts {
            boot: Some(Duration::from_millis(310)),
            memory_at_rest: Some(25_480_000),
            memory_after: Some(26_000_000),
            requests: Some(1_000),
            protocol: Some("HTTP/1.1".to_owned()),
            addresses: vec!["127.0.0.1:20100".parse().unwrap()],
            processes: Some(1),
            stop: Some(Duration::from_millis(64)),
        };
        report
    }

    pub(super) fn asked() -> crate::observed::Asked {
        crate::observed::Asked {
            app: "shop".to_owned(),
            process: Some("web".to_owned()),
            command: "python3 app.py".to_owned(),
            recognised: tambat_model::Recognised::of("python3 app.py", &[]),
            protocol: None,
            stateful: false,
            any_owner: false,
            restart: tambat_model::Restart::OnFailure,
            boot: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            signal: "TERM".to_owned(),
            is_running: false,
        }
    }
}
