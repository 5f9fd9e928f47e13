use tambat_model::ClauseId;

use super::pb02_binds_port::fixed_port;
use super::{seen, settle, why_not_bound};
use crate::clause::Clause;
use crate::mend;
use crate::observed::{Boot, Observed, Start};
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::OBEYS_PORT,
    title: "obeys PORT, whatever number it says",
    asks: "Told another port at its next start, the app binds that one: the number comes from its environment and from
nowhere else.",
    why: "Its port is the environment's to choose: two instances on one machine, a restart beside the old instance and every
platform depend on it. A number in the code is a port that somebody else has one day.",
    seen: "A second start with another free port.",
    broken: "It binds the port of its first start again, or one and the same other port both times.",
    mend: "Take the number out of the code and of the configuration file, and read it from `PORT`. A file that was written at
the first start must not win over the environment.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let first = seen(&observed.first)?;
    let second = seen(&observed.second)?;
    let mend = || mend::bind_port(&observed.asked, second);
    if let Some(port) = fixed_port(observed) {
        let who: Vec<_> = first.elsewhere().filter(|listener| listener.addr.port() == port).collect();
        let seen =
            format!("told {} and then {}, it listened on {port} both times ({})", first.port, second.port, list(who));
        return Ok(Judgement::broken(seen, mend()));
    }
    if first.bound().is_none() {
        return Err(Judgement::not_judged("it did not come to listen on its PORT at its first start"));
    }
    if second.bound().is_some() {
        return Ok(Judgement::kept(format!("told {} and then {}, it listened on each", first.port, second.port)));
    }
    let is_old = |start: &Start| start.elsewhere().find(|l| l.addr.port() == first.port).cloned();
    if let Some(old) = is_old(second) {
        let seen = format!("told {}, it listened on {old}, which was its port before", second.port);
        return Ok(Judgement::broken(seen, mend()));
    }
    let others: Vec<_> = second.elsewhere().collect();
    if !others.is_empty() && matches!(second.boot, Boot::Unbound(_)) {
        let seen = format!("told {}, it listened on {} instead", second.port, list(others));
        return Ok(Judgement::broken(seen, mend()));
    }
    Err(Judgement::not_judged(format!("its second start {}", why_not_bound(second))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::Unseen;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    fn unbound(told: u16, on: &[u16]) -> Start {
        let listeners = on.iter().map(|port| listener(&format!("127.0.0.1:{port}"))).collect();
        Start { listeners, ..start_at(told, Boot::Unbound(asked().boot)) }
    }

    /// PB-03
    #[test]
    fn the_second_number_is_obeyed_like_the_first() {
        let good_first = || good().first.unwrap();
        for (first, second, expected) in [
            (good_first(), start_at(SECOND, Boot::Bound(bound(&["0.0.0.0"]))), Kept),
            (good_first(), unbound(SECOND, &[FIRST]), Broken),
            (good_first(), unbound(SECOND, &[8000]), Broken),
            (good_first(), unbound(SECOND, &[]), NotJudged),
            (good_first(), start_at(SECOND, ended(1)), NotJudged),
            (unbound(FIRST, &[8000]), unbound(SECOND, &[9000, 8000]), Broken),
            (unbound(FIRST, &[8000]), unbound(SECOND, &[8001]), NotJudged),
            (unbound(FIRST, &[]), unbound(SECOND, &[]), NotJudged),
        ] {
            let observed = Observed { first: Ok(first), second: Ok(second.clone()), ..good() };
            assert_eq!(judge(&observed).verdict, expected, "{second:?}");
        }
        let none = Observed { second: Err(Unseen::because("left out")), ..good() };
        assert_eq!(judge(&none).verdict, NotJudged);
    }

    /// PB-03
    #[test]
    fn a_fixed_port_is_named_with_its_owner() {
        let observed = Observed { first: Ok(unbound(FIRST, &[8000])), second: Ok(unbound(SECOND, &[8000])), ..good() };
        insta::assert_snapshot!(
            judge(&observed).seen,
            @"told 20100 and then 20200, it listened on 8000 both times (TCP 127.0.0.1:8000 of python3 (pid 4711))"
        );
    }
}
