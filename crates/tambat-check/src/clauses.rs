//! The contract: a file a clause, and the list of them.

mod pb01_self_contained;
mod pb02_binds_port;
mod pb03_obeys_port;
mod pb04_reachable;
mod pb05_no_other_port;
mod pb06_speaks;
mod pb07_many_at_once;
mod pb08_rude_clients;
mod pb09_port_taken;
mod pb10_beside_itself;
mod pb11_stops;
mod pb12_finishes;
mod pb13_frees_port;
mod pb14_leaves_nothing;
mod pb15_services;
mod pb16_private_port;
mod pb17_no_privilege;
mod pb18_services_away;
mod pb19_declares_library;
#[cfg(test)]
mod sample;

use crate::clause::Clause;
use crate::observed::{Boot, Bound, Observed, RAN_ALREADY, Start};
use crate::text::{last_words, time};
use crate::verdict::Judgement;

/// Every clause, in order.
pub const CLAUSES: &[&Clause] = &[
    &pb01_self_contained::CLAUSE,
    &pb02_binds_port::CLAUSE,
    &pb03_obeys_port::CLAUSE,
    &pb04_reachable::CLAUSE,
    &pb05_no_other_port::CLAUSE,
    &pb06_speaks::CLAUSE,
    &pb07_many_at_once::CLAUSE,
    &pb08_rude_clients::CLAUSE,
    &pb09_port_taken::CLAUSE,
    &pb10_beside_itself::CLAUSE,
    &pb11_stops::CLAUSE,
    &pb12_finishes::CLAUSE,
    &pb13_frees_port::CLAUSE,
    &pb14_leaves_nothing::CLAUSE,
    &pb15_services::CLAUSE,
    &pb16_private_port::CLAUSE,
    &pb17_no_privilege::CLAUSE,
    &pb18_services_away::CLAUSE,
    &pb19_declares_library::CLAUSE,
];

/// The first start, where it came to listen on its `PORT`; else why the clause cannot be judged.
fn up(observed: &Observed) -> Result<(&Start, &Bound), Judgement> {
    let start = observed.first.as_ref().map_err(|unseen| Judgement::not_judged(&unseen.0))?;
    start
        .bound()
        .map(|bound| (start, bound))
        .ok_or_else(|| Judgement::not_judged("it did not come to listen on its PORT"))
}

/// It was started here; else why the clause cannot be judged: of what runs already nobody knows whose it is, what else it
/// has open, nor how it was started.
fn started(observed: &Observed) -> Result<(), Judgement> {
    if observed.asked.is_running {
        return Err(Judgement::not_judged(RAN_ALREADY));
    }
    Ok(())
}

/// What was looked at; else why the clause cannot be judged.
fn seen<T>(look: &crate::observed::Look<T>) -> Result<&T, Judgement> {
    look.as_ref().map_err(|unseen| Judgement::not_judged(&unseen.0))
}

/// Either way a judgement.
fn settle(judged: Result<Judgement, Judgement>) -> Judgement {
    judged.unwrap_or_else(|early| early)
}

/// Why a start did not come to listen on its `PORT`, as the rest of a sentence that begins with the app.
fn why_not_bound(start: &Start) -> String {
    let port = start.port;
    match &start.boot {
        Boot::Impossible(cause) => format!("could not be started: {cause}"),
        Boot::Ended { end, after, left } if left.is_empty() => {
            format!(
                "ended with {end} after {}, before it listened on {port}{}",
                time(*after),
                last_words(&start.last_lines)
            )
        }
        Boot::Ended { end, after, left } => {
            format!("ended with {end} after {} and left {} in the background", time(*after), crate::text::list(left))
        }
        Boot::Unbound(after) => {
            format!("did not listen on {port} within {}{}", time(*after), last_words(&start.last_lines))
        }
        Boot::Foreign(Some(who)) => format!("did not listen on {port}: {who} does, which it did not start"),
        Boot::Foreign(None) => format!("did not listen on {port}: somebody else does"),
        Boot::Bound(_) => format!("listened on {port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    /// A clause that nobody looked at is never kept.
    #[test]
    fn what_was_not_observed_is_not_judged() {
        let nothing = Observed::nothing(sample::asked());
        for clause in CLAUSES {
            let judgement = (clause.judge)(&nothing);
            assert_eq!(judgement.verdict, Verdict::NotJudged, "{}: {judgement:?}", clause.id);
            assert!(!judgement.seen.is_empty());
        }
    }

    #[test]
    fn what_a_good_app_shows_is_kept() {
        for clause in CLAUSES {
            let judgement = (clause.judge)(&sample::good());
            assert_eq!(judgement.verdict, Verdict::Kept, "{}: {judgement:?}", clause.id);
            assert!(!judgement.seen.is_empty() && judgement.mend.is_none());
        }
    }

    /// An app that never comes up breaks one clause: one cause, one verdict.
    #[test]
    fn an_app_that_does_not_start_breaks_one_clause() {
        let mut observed = sample::good();
        observed.first = Ok(sample::start(Boot::Unbound(observed.asked.boot)));
        observed.second = Err(crate::observed::Unseen::because("it did not come to listen on its PORT"));
        observed.beside = Err(crate::observed::Unseen::because("it did not come to listen on its PORT"));
        let broken: Vec<_> = CLAUSES
            .iter()
            .filter(|clause| (clause.judge)(&observed).verdict == Verdict::Broken)
            .map(|clause| clause.id.to_string())
            .collect();
        assert_eq!(broken, ["PB-02"]);
    }
}
