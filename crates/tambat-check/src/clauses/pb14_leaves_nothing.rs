use tambat_model::ClauseId;

use super::pb11_stops::needed_kill;
use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::Observed;
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::NOTHING_LEFT,
    title: "leaves nothing behind",
    asks: "When the app has ended, none of the processes that it started goes on.",
    why: "What goes on holds ports, files and memory, and meets the next instance. Nobody knows it any more, so nobody ends it.",
    seen: "The whole tree below its keeper, orphans, daemons and sessions of their own included. What ends by itself within two
seconds of the command does not count.",
    broken: "Something goes on. Not judged when the app itself had to be killed.",
    mend: "End the children before the parent ends, and wait for them; start no daemons (`setsid`, `nohup`, `&` at the end of a
line). Let the platform run workers as processes of their own.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let stop = seen(&observed.stop)?;
    if needed_kill(observed) {
        return Err(Judgement::not_judged("it did not stop by itself: PB-11 has that"));
    }
    if stop.left.is_empty() {
        return Ok(Judgement::kept("nothing of its tree was left"));
    }
    let seen = format!("when it had ended, {} went on", list(&stop.left));
    Ok(Judgement::broken(seen, "end the children before the parent ends, and wait for them; start no daemons"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::Stop;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-14
    #[test]
    fn what_goes_on_is_named() {
        let with = |left, killed, server_left| {
            judge(&Observed { stop: Ok(Stop { left, killed, server_left, ..good().stop.unwrap() }), ..good() })
        };
        assert_eq!(with(vec![], false, false).verdict, Kept);
        assert_eq!(with(vec![], true, false).verdict, NotJudged);
        assert_eq!(with(vec![program()], true, true).verdict, NotJudged);
        let left = with(vec![program()], true, false);
        assert_eq!(left.verdict, Broken);
        assert!(left.seen.contains("python3 (pid 4711)"), "{}", left.seen);
    }
}
