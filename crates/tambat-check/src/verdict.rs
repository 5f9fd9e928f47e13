//! What is said of each clause.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tambat_model::ClauseId;

use crate::clause::{Clause, Selection};
use crate::clauses::CLAUSES;
use crate::observed::{Asked, Facts, Observed};

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It was seen to keep the clause.
    Kept,
    /// Kept here, and will bite when deployed.
    Warned,
    /// It was seen to break it.
    Broken,
    /// It could not be observed, or nobody asked.
    NotJudged,
}

impl Verdict {
    /// As it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Warned => "warned",
            Self::Broken => "broken",
            Self::NotJudged => "not_judged",
        }
    }

    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotJudged => "not judged",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a judge says: a verdict, the evidence for it, and how to mend what is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen: programs, pids, addresses, bytes. For a clause that was not judged: why not.
    pub seen: String,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Judgement {
    /// It was seen to keep the clause.
    pub(crate) fn kept(seen: impl Into<String>) -> Self {
        Self { verdict: Verdict::Kept, seen: seen.into(), mend: None }
    }

    /// Kept here, and will bite when deployed.
    pub(crate) fn warned(seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warned, seen: seen.into(), mend: Some(mend.into()) }
    }

    /// It was seen to break it.
    pub(crate) fn broken(seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Broken, seen: seen.into(), mend: Some(mend.into()) }
    }

    /// It could not be observed.
    pub(crate) fn not_judged(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotJudged, seen: why.into(), mend: None }
    }
}

/// One clause, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClauseReport {
    /// Which.
    pub clause: &'static Clause,
    /// What is said of it.
    pub judgement: Judgement,
    /// How long its observation took.
    pub took: Duration,
}

/// Everything that is said of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was judged.
    pub asked: Asked,
    /// Those that were asked for, in the contract's order.
    pub clauses: Vec<ClauseReport>,
    /// What else was seen.
    pub facts: Facts,
}

impl Report {
    /// Judges what was observed.
    pub fn new(observed: &Observed, selection: &Selection) -> Self {
        let judged = |clause: &'static Clause| ClauseReport {
            clause,
            judgement: (clause.judge)(observed),
            took: observed.took(clause.id),
        };
        let selected = CLAUSES.iter().copied().filter(|clause| selection.has(clause.id));
        Self { asked: observed.asked.clone(), clauses: selected.map(judged).collect(), facts: observed.facts.clone() }
    }

    /// How many clauses have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.clauses.iter().filter(|report| report.judgement.verdict == verdict).count()
    }

    /// Is there nothing to complain of? With `strict`, a warning is a complaint, too.
    pub fn is_good(&self, strict: bool) -> bool {
        self.count(Verdict::Broken) == 0 && !(strict && self.count(Verdict::Warned) > 0)
    }

    /// What is said of this clause, if it was asked for.
    pub fn verdict(&self, id: ClauseId) -> Option<Verdict> {
        self.clauses.iter().find(|report| report.clause.id == id).map(|report| report.judgement.verdict)
    }
}
