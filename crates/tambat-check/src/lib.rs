//! The port-binding contract, and whether an app keeps it.
//!
//! [`CLAUSES`] is the contract as data: what each clause asks and why, and the function that judges it. Judges are pure:
//! from what was [`Observed`] to a [`Judgement`]. What is observed comes from [`check`], which starts the app several
//! times, each start under a keeper of its own, and from [`check_url`], which looks at something that runs already.
//! [`report`] has the four ways in which the verdicts are written down.
//!
//! What is absent: the supervisor and the router. Our own runner and any stranger's app are judged alike, from outside.
//! Whoever calls starts what the app uses and says where it is.

mod access;
mod clause;
mod clauses;
mod mend;
mod observed;
pub mod report;
mod run;
mod text;
mod verdict;

pub use clause::{Clause, Selection, contract_as_markdown};
pub use clauses::CLAUSES;
pub use observed::{
    Again, Asked, Away, Beside, Boot, Bound, Declared, End, Facts, Families, Forwarded, InFlight, Kept, Listener, Look,
    Observed, Owner, Page, Program, Reply, Rude, RudeOutcome, Service, Start, Stop, Taken, Talk, Transport, Unseen,
    UserStart,
};
pub use run::{Copied, Goal, Limits, Provider, Subject, Url, UrlError, build, check, check_url};
pub use verdict::{ClauseReport, Judgement, Report, Verdict};
