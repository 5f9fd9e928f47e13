use tambat_model::ClauseId;

use super::{seen, settle, why_not_bound};
use crate::clause::Clause;
use crate::observed::{Kept, Observed};
use crate::text::time;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::FREES_PORT,
    title: "frees its port",
    asks: "Right after its end the port can be bound again, and the app itself starts there again.",
    why: "A restart on the same port must not wait for a minute. Connections that the server closed linger in the kernel for
that long, and a listener without SO_REUSEADDR is refused meanwhile.",
    seen: "The port is bound by tambat right after the end, as every careful server binds, and then the app is started there
again, after connections that it has closed itself.",
    broken: "EADDRINUSE, twice in a row, while the app starts well on another port.",
    mend: "Set SO_REUSEADDR before the bind: `allow_reuse_address = True` (Python's socketserver), `setReuseAddress(true)`
(Java), `SO_REUSEADDR` in C. Most servers do it by themselves.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let again = seen(&observed.again)?;
    let mend = "set SO_REUSEADDR on the listening socket before it is bound";
    if let Err(Kept::By(who)) = &again.bind {
        let seen = format!("right after its end {who} listened on {}", again.start.port);
        return Ok(Judgement::broken(seen, "close the listening socket in every process that has it when it ends"));
    }
    if let Some(bound) = again.start.bound() {
        return Ok(Judgement::kept(format!(
            "started on {} again, it listened after {}",
            again.start.port,
            time(bound.after)
        )));
    }
    let starts_elsewhere = observed.second.as_ref().is_ok_and(|second| second.bound().is_some());
    let why = why_not_bound(&again.start);
    let lingers = match &again.bind {
        Err(Kept::Lingering) => "; connections that it had closed linger there",
        _ => "",
    };
    if starts_elsewhere || again.start.says_port_is_taken() {
        return Ok(Judgement::broken(format!("started on {} again, it {why}{lingers}", again.start.port), mend));
    }
    Err(Judgement::not_judged(format!("started again, it {why}; whether for its port's sake is not known")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::{Again, Start, Unseen};
    use crate::verdict::Verdict::{Broken, Kept as VerdictKept, NotJudged};

    /// PB-13
    #[test]
    fn it_starts_where_it_was() {
        assert_eq!(judge(&good()).verdict, VerdictKept);
        let taken = Start { last_lines: lines(&["OSError: [Errno 98] Address already in use"]), ..start(ended(1)) };
        let again = |start| Ok(Again { bind: Ok(()), start });
        let alone = Err(Unseen::because("left out"));
        assert_eq!(judge(&Observed { again: again(taken.clone()), ..good() }).verdict, Broken);
        assert_eq!(judge(&Observed { again: again(taken), second: alone.clone(), ..good() }).verdict, Broken);
        assert_eq!(judge(&Observed { again: again(start(ended(1))), ..good() }).verdict, Broken);
        assert_eq!(judge(&Observed { again: again(start(ended(1))), second: alone, ..good() }).verdict, NotJudged);
        let held = |kept| Ok(Again { bind: Err(kept), start: good().first.unwrap() });
        let by = held(Kept::By("sleep (pid 7)".to_owned()));
        assert_eq!(judge(&Observed { again: by, ..good() }).verdict, Broken);
        assert_eq!(judge(&Observed { again: held(Kept::Lingering), ..good() }).verdict, VerdictKept, "it starts there");
    }
}
