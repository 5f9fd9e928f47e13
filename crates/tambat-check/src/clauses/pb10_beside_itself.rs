use tambat_model::ClauseId;

use super::{seen, settle, why_not_bound};
use crate::clause::Clause;
use crate::observed::{Observed, Start};
use crate::text::time;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::BESIDE_ITSELF,
    title: "runs beside itself",
    asks: "A second instance, on another port and at the same time, works, and so does the first one while it is there.",
    why: "Scaling out is running it twice, and so is every restart that refuses nobody: the new instance is there before the
old one goes.",
    seen: "A second start while the first one runs, and a request to each.",
    broken: "Either fails, although the second one starts when it is alone. Not judged for a stateful process, of which there is
never more than one.",
    mend: "Give each instance what is its own: no pid file, no lock, no socket at a fixed path, no fixed second port. `PS` names
the instance (`web.1`), `PORT` is its number. If its data is one instance's alone, say `stateful = true`.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    if observed.asked.stateful {
        return Err(Judgement::not_judged("it is stateful: there is never more than one instance of it"));
    }
    let beside = seen(&observed.beside)?;
    let mend = "give each instance what is its own: no pid file, lock or second port at a fixed place; if its data is one \
                instance's alone, say `stateful = true`";
    if beside.second.bound().is_none() {
        let Some(alone) = &beside.alone else {
            return Err(Judgement::not_judged(format!("the second one {}", why_not_bound(&beside.second))));
        };
        if alone.bound().is_none() {
            return Err(Judgement::not_judged(format!(
                "it does not start on another port even alone: it {}",
                why_not_bound(alone)
            )));
        }
        if let Some(port) = shared_port(observed) {
            return Err(Judgement::not_judged(format!(
                "both want the port {port}, which it did not declare: that is PB-05"
            )));
        }
        let seen = format!("beside the first one, the second one {}; alone, it starts", why_not_bound(&beside.second));
        return Ok(Judgement::broken(seen, mend));
    }
    Ok(match &beside.first_answers {
        Ok(after) => Judgement::kept(format!("both listened, and the first one answered after {}", time(*after))),
        Err(what) => Judgement::broken(format!("when the second one was there, the first one failed: {what}"), mend),
    })
}

/// A fixed port that it opens beside those that it was told: the second one fails for it, and PB-05 says so.
fn shared_port(observed: &Observed) -> Option<u16> {
    let ports = |start: &Start| start.elsewhere().map(|l| (l.transport, l.addr.port())).collect::<Vec<_>>();
    let first = ports(observed.first.as_ref().ok()?);
    let alone = ports(observed.beside.as_ref().ok()?.alone.as_ref()?);
    first.into_iter().find(|port| alone.contains(port)).map(|(_, port)| port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::{Beside, Boot};
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-10
    #[test]
    fn both_work_or_it_is_broken() {
        let up = || start_at(SECOND, Boot::Bound(bound(&["127.0.0.1"])));
        let down = || start_at(SECOND, ended(1));
        let answer = || Ok(asked().grace);
        for (second, first_answers, alone, expected) in [
            (up(), answer(), None, Kept),
            (up(), Err("it has ended with code 1".to_owned()), None, Broken),
            (down(), answer(), Some(up()), Broken),
            (down(), answer(), Some(down()), NotJudged),
            (down(), answer(), None, NotJudged),
        ] {
            let beside = Beside { second, first_answers, alone };
            let judgement = judge(&Observed { beside: Ok(beside), ..good() });
            assert_eq!(judgement.verdict, expected, "{judgement:?}");
        }
        let mut stateful = good();
        stateful.asked.stateful = true;
        assert_eq!(judge(&stateful).verdict, NotJudged);
    }

    /// PB-05, PB-10: one cause, one verdict.
    #[test]
    fn a_fixed_second_port_is_not_held_against_it_twice() {
        let mut observed = good();
        let mut alone = start_at(SECOND, Boot::Bound(bound(&["127.0.0.1"])));
        alone.listeners.push(listener("0.0.0.0:9000"));
        observed.first.as_mut().unwrap().listeners.push(listener("0.0.0.0:9000"));
        let second = start_at(SECOND, ended(1));
        observed.beside = Ok(Beside { second, first_answers: Ok(asked().grace), alone: Some(alone) });
        assert_eq!(judge(&observed).verdict, NotJudged);
    }
}
