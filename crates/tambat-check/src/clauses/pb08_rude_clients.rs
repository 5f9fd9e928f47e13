use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::{Observed, RudeOutcome};
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::RUDE_CLIENTS,
    title: "survives rude clients",
    asks: "Clients that reset their connection, send half a request, garbage or a mebibyte of head, or leave before the answer,
harm nobody but themselves.",
    why: "Port scanners, broken clients and lost networks do all of this every day, and an app that exports its own port meets
them without a proxy before it.",
    seen: "One rude client after the other, and a good request after each.",
    broken: "The app ends, or a good request is not answered within 5 s. For plain TCP, where no good request is known, only an
end is seen; else it is not judged.",
    mend: "Catch the errors of a connection where that connection is served, not around the loop that accepts. Bound what is
read before a request is understood. Write to a socket that may be gone as if it were: ignore SIGPIPE, expect EPIPE.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let mend = "catch the errors of a connection where that connection is served, and bound what is read before a request \
                is understood";
    let rude = seen(&observed.rude)?;
    for client in rude {
        let after = |what: String| format!("after a client that {} {what}", client.what);
        match &client.outcome {
            RudeOutcome::Ended(end) => return Ok(Judgement::broken(after(format!("it ended with {end}")), mend)),
            RudeOutcome::NoAnswer(what) => return Ok(Judgement::broken(after(what.clone()), mend)),
            RudeOutcome::Fine | RudeOutcome::Alive => {}
        }
    }
    if rude.is_empty() || rude.iter().any(|client| client.outcome == RudeOutcome::Alive) {
        return Err(Judgement::not_judged(
            "it outlived them; no request is known for what it speaks, to see whether it answers",
        ));
    }
    Ok(Judgement::kept(format!("it answered after each of {} rude clients", rude.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::{End, Rude};
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-08
    #[test]
    fn one_that_ends_or_is_silent_is_broken() {
        for (outcome, expected) in [
            (RudeOutcome::Fine, Kept),
            (RudeOutcome::Alive, NotJudged),
            (RudeOutcome::Ended(End::Signal("PIPE".to_owned())), Broken),
            (RudeOutcome::NoAnswer("it gave no answer within 5 s".to_owned()), Broken),
        ] {
            let rude = vec![Rude { what: "resets its connection", outcome }];
            let judgement = judge(&Observed { rude: Ok(rude), ..good() });
            assert_eq!(judgement.verdict, expected, "{judgement:?}");
        }
        assert_eq!(judge(&Observed { rude: Ok(vec![]), ..good() }).verdict, NotJudged);
    }
}
