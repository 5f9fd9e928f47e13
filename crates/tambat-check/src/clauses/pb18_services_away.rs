use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::Observed;
use crate::text::{last_words, list, time};
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::PROVIDER_AWAY,
    title: "does not exit when a backing service is away at first",
    asks: "An app whose backing services come up five seconds after it serves when they are there.",
    why: "After a power cut everything starts at once. An app that gives up then stays down, or is started so often that whoever
starts it gives up.",
    seen: "A start whose handles lead to a closed port, which is opened 5 s later. If the app ends, it is started again as
`restart` says.",
    broken: "Never here. Warned: it ends, and `restart` does not bring it back. Not judged when it uses nothing.",
    mend: "Connect when a connection is needed, and try again; serve what needs no backing service meanwhile, and say 503 for
the rest. Or leave `restart = \"on-failure\"`, and end with a code that is not 0.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let away = seen(&observed.away)?;
    let gone = format!("with {} away for {}", list(&away.vars), time(away.away));
    let mend = "connect when a connection is needed and try again; or end with a code that is not 0 and leave \
                `restart = \"on-failure\"`";
    Ok(match (&away.answers, away.ends.as_slice()) {
        (Ok(_), []) => Judgement::kept(format!("{gone} it went on, and answered when they were there")),
        (Ok(_), ends) => {
            let times = if ends.len() == 1 { "once".to_owned() } else { format!("{} times", ends.len()) };
            Judgement::kept(format!("{gone} it ended {times} and was there again after a restart"))
        }
        (Err(what), []) => Judgement::warned(format!("{gone} it went on, and {what} when they were there"), mend),
        (Err(_), ends) => {
            let seen =
                format!("{gone} it ended with {} and did not come back{}", list(ends), last_words(&away.last_lines));
            Judgement::warned(seen, mend)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::{Away, End};
    use crate::verdict::Verdict::{Kept, Warned};

    /// PB-18
    #[test]
    fn one_that_is_there_in_the_end_keeps_it() {
        let with = |ends: Vec<End>, answers: crate::observed::Reply| {
            judge(&Observed { away: Ok(Away { ends, answers, ..good().away.unwrap() }), ..good() }).verdict
        };
        let failed = || Err("it gave no answer within 60 s".to_owned());
        assert_eq!(with(vec![], Ok(asked().grace)), Kept);
        assert_eq!(with(vec![End::Code(1), End::Code(1)], Ok(asked().grace)), Kept);
        assert_eq!(with(vec![End::Code(0)], failed()), Warned);
        assert_eq!(with(vec![], failed()), Warned);
    }
}
