use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::Observed;
use crate::text::{list, time};
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::STOPS,
    title: "stops when it is told",
    asks: "After SIGTERM (or the signal that the manifest names) the app ends within the grace (30 s; `--grace`).",
    why: "Whoever stops it waits that long and then kills it: what it was doing is lost, and every deploy takes half a minute
longer.",
    seen: "The signal is sent to its process group, and its tree is watched until nothing is left. To end by that signal is as
good as any other end.",
    broken: "It needs KILL.",
    mend: "Handle SIGTERM and leave the server's loop. Where a shell starts it, use `exec`, so that the signal reaches it. As
process 1 of a container nothing is done for a signal by default: handle it.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let stop = seen(&observed.stop)?;
    let (signal, grace) = (&observed.asked.signal, observed.asked.grace);
    if !needed_kill(observed) {
        return Ok(Judgement::kept(format!("it ended with {} {} after SIG{signal}", stop.end, time(stop.took))));
    }
    let seen = if stop.server_left {
        format!("after SIG{signal} its command ended, and its server went on: {}", list(&stop.left))
    } else {
        format!("it still ran {} after SIG{signal} and had to be killed", time(grace))
    };
    Ok(Judgement::broken(
        seen,
        format!("handle SIG{signal} and leave the server's loop; where a shell starts it, write `exec` before it"),
    ))
}

/// The app itself did not end when it was told.
pub(super) fn needed_kill(observed: &Observed) -> bool {
    observed.stop.as_ref().is_ok_and(|stop| stop.server_left || (stop.killed && stop.left.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::{End, Stop};
    use crate::verdict::Verdict::{Broken, Kept};

    /// PB-11
    #[test]
    fn any_end_in_time_is_one() {
        let ended = |end| Stop { end, ..good().stop.unwrap() };
        for (stop, expected) in [
            (ended(End::Code(143)), Kept),
            (ended(End::Signal("TERM".to_owned())), Kept),
            (Stop { killed: true, ..ended(End::Signal("KILL".to_owned())) }, Broken),
            (Stop { killed: true, left: vec![program()], ..ended(End::Code(0)) }, Kept),
            (Stop { killed: true, left: vec![program()], server_left: true, ..ended(End::Code(0)) }, Broken),
        ] {
            assert_eq!(judge(&Observed { stop: Ok(stop.clone()), ..good() }).verdict, expected, "{stop:?}");
        }
    }
}
