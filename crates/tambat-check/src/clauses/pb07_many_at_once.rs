use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::Observed;
use crate::text::time;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::MANY_AT_ONCE,
    title: "serves many at once",
    asks: "While 50 connections are open and silent, a request on one more is answered within 5 s.",
    why: "Browsers open connections ahead of their requests, load balancers keep some in store, and slow clients are many. A
server that waits for each in turn stands still for everybody.",
    seen: "50 connections are held open without a byte, then one request is made.",
    broken: "It is not answered within 5 s. Not judged for plain TCP, since no request is known.",
    mend: "Use the server of the framework that is meant for production: threads (`ThreadingHTTPServer`, `gunicorn --threads`,
`puma`), or an event loop. A server with one synchronous worker needs a buffering proxy before it, so the app would
not be self-contained.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let mend = "use a server with threads or an event loop, or more workers; one that serves a connection at a time stands \
                still for all others";
    Ok(match seen(&observed.idle)? {
        Ok(after) => Judgement::kept(format!("with 50 silent connections it answered after {}", time(*after))),
        Err(what) => Judgement::broken(format!("with 50 silent connections {what}"), mend),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::verdict::Verdict::{Broken, Kept};

    /// PB-07
    #[test]
    fn an_answer_in_time_is_kept() {
        assert_eq!(judge(&good()).verdict, Kept);
        let observed = Observed { idle: Ok(Err("it gave no answer within 5 s".to_owned())), ..good() };
        assert_eq!(judge(&observed).verdict, Broken);
    }
}
