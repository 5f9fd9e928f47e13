use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::{End, Observed, Taken};
use crate::text::{last_words, time};
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::PORT_TAKEN,
    title: "fails loudly when its port is taken",
    asks: "When somebody else has the port, the app ends, with a code that is not 0.",
    why: "Whoever started it must learn that it does not serve. An app that takes the next free number is found by nobody, and
one that goes on without a port looks healthy.",
    seen: "A start on a port that tambat holds.",
    broken: "It still runs at the end of the boot limit, or ends with code 0, or listens on another port.",
    mend: "Let the error of the bind end the program. Turn off what looks for the next free port: `--strictPort` (Vite),
`strictPort: true`. Start it without a reloader: one that waits for a change of a file never tells anybody.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let mend = "let the error of the bind end the program with a code that is not 0";
    Ok(match seen(&observed.taken)? {
        Taken::Ended { end: End::Code(0), after, last_lines } => Judgement::broken(
            format!("its port taken, it ended with code 0 after {}{}", time(*after), last_words(last_lines)),
            mend,
        ),
        Taken::Ended { end, after, last_lines } => Judgement::kept(format!(
            "its port taken, it ended with {end} after {}{}",
            time(*after),
            last_words(last_lines)
        )),
        Taken::Running(after) => {
            Judgement::broken(format!("its port taken, it still ran after {} and listened nowhere", time(*after)), mend)
        }
        Taken::Elsewhere(listener) if is_old(observed, listener.addr.port()) => {
            Judgement::not_judged(format!("its port taken, it listened on {listener}, its port before: that is PB-03"))
        }
        Taken::Elsewhere(listener) => Judgement::broken(
            format!("its port taken, it listened on {listener} instead"),
            "turn off the search for the next free port (`strictPort`), and let the error of the bind end the program",
        ),
    })
}

/// It listens there whatever `PORT` says, which is another clause.
fn is_old(observed: &Observed, port: u16) -> bool {
    let is_first = observed.first.as_ref().is_ok_and(|first| first.port == port);
    is_first && observed.second.as_ref().is_ok_and(|second| second.bound().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::verdict::Verdict::{Broken, Kept};

    /// PB-09
    #[test]
    fn only_an_end_that_says_so_is_loud() {
        let ended = |end| Taken::Ended { end, after: asked().grace, last_lines: vec![] };
        for (taken, expected) in [
            (ended(End::Code(1)), Kept),
            (ended(End::Signal("ABRT".to_owned())), Kept),
            (ended(End::Code(0)), Broken),
            (Taken::Running(asked().boot), Broken),
            (Taken::Elsewhere(listener("127.0.0.1:5174")), Broken),
        ] {
            assert_eq!(judge(&Observed { taken: Ok(taken.clone()), ..good() }).verdict, expected, "{taken:?}");
        }
    }
}
