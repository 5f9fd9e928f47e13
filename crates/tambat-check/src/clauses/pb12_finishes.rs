use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::{InFlight, Observed};
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::FINISHES,
    title: "finishes what it began",
    asks: "A request that is under way when the app is told to stop is answered, whole.",
    why: "Every deploy tells every instance to stop. Without this, each of them costs some users an error.",
    seen: "A request to the page that `--slow` names is made just before the signal; without one, a request whose head and half
its body were sent before, and the rest after.",
    broken: "Its answer does not come, or breaks off. Not judged when nothing slow is known: the app answered before the rest of
the body came. Not judged for other protocols than HTTP.",
    mend: "On SIGTERM, stop accepting, finish what is under way, then end: `server.close()` in Node, `srv.Shutdown(ctx)` in Go,
`with_graceful_shutdown` in axum, `setStopAtShutdown(true)` and a stop timeout in Jetty. Tornado and asyncio do
nothing of the kind by themselves: stop the server, wait for the open requests, then stop the loop.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let signal = &observed.asked.signal;
    let mend = format!("on SIG{signal} stop accepting, finish what is under way, and only then end");
    Ok(match seen(&observed.in_flight)? {
        InFlight::Whole(status) => {
            Judgement::kept(format!("a request under way at SIG{signal} was answered whole, with {status}"))
        }
        InFlight::Cut(bytes) => Judgement::broken(
            format!("the answer to a request under way at SIG{signal} broke off after {bytes} bytes"),
            mend,
        ),
        InFlight::Lost(what) => {
            Judgement::broken(format!("a request under way at SIG{signal} got no answer: {what}"), mend)
        }
        InFlight::Early => Judgement::not_judged(
            "it answers before all of a request has come; --slow PATH names a page that takes its time",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-12
    #[test]
    fn only_a_whole_answer_is_one() {
        for (seen, expected) in [
            (InFlight::Whole(500), Kept),
            (InFlight::Cut(12), Broken),
            (InFlight::Lost("it closed the connection".to_owned()), Broken),
            (InFlight::Early, NotJudged),
        ] {
            assert_eq!(judge(&Observed { in_flight: Ok(seen.clone()), ..good() }).verdict, expected, "{seen:?}");
        }
    }
}
