use tambat_model::ClauseId;

use super::{seen, settle, started};
use crate::clause::Clause;
use crate::observed::{Boot, Observed, Owner};
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::SELF_CONTAINED,
    title: "is self-contained: it answers on its port itself",
    asks: "What listens on the port that the app was told is a process that was started with it. No web server is injected
into it from outside, and none stands in for it.",
    why: "An app that needs a server beside it needs that server wherever it is to run: its version, its configuration, its
user, its restart. An app that has its server among its dependencies runs where its runtime does.",
    seen: "The owner of the listening socket is looked up (from the socket's inode to the process that has it open) and
compared with the tree of processes that was started here: everything below its keeper, double forks and new sessions
included. The app is given no open socket, so it can only have made it itself.",
    broken: "Somebody outside the tree listens on its port, or has the app's listening socket open, too. Not judged with
`owner = \"any\"`, and where the owner's files may not be seen (a setuid program).",
    mend: "Start the server in the app's own command, in the foreground: `gunicorn app:app`, `puma`, a `main()` with an
embedded Jetty, `httpd -D FOREGROUND`. Do not hand the work to a daemon that already runs. If the process stands
for a container on purpose, say `owner = \"any\"`.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    started(observed)?;
    let start = seen(&observed.first)?;
    let mend = "start the server in the app's own command and in the foreground, and let it make its socket itself";
    let bound = match &start.boot {
        Boot::Bound(bound) => bound,
        Boot::Foreign(who) => {
            let who = who.as_ref().map_or_else(|| "somebody who cannot be seen".to_owned(), ToString::to_string);
            let seen = format!("{who} listens on {}, and was not started with the app", start.port);
            return Ok(Judgement::broken(seen, mend));
        }
        _ => return Err(Judgement::not_judged("it did not come to listen on its PORT")),
    };
    if !bound.outsiders.is_empty() {
        let seen = format!("{} outside the app listen on {}, too", list(&bound.outsiders), start.port);
        return Ok(Judgement::broken(seen, mend));
    }
    Ok(match &bound.owner {
        Owner::Ours(program) => Judgement::kept(format!("{program} of its own tree listens on {}", start.port)),
        Owner::Any => Judgement::not_judged("the manifest says owner = \"any\": whoever listens counts as the app"),
        Owner::Hidden(pid) => {
            let whose = pid.map_or_else(|| "some of its processes".to_owned(), |pid| format!("its process {pid}"));
            Judgement::not_judged(format!("the files of {whose} may not be seen from here (setuid, or another user's)"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::Program;
    use crate::verdict::Verdict::{self, Broken, Kept, NotJudged};

    fn verdict(change: impl Fn(&mut crate::observed::Bound)) -> Verdict {
        let mut seen = bound(&["127.0.0.1"]);
        change(&mut seen);
        judge(&Observed { first: Ok(start(Boot::Bound(seen))), ..good() }).verdict
    }

    /// PB-01
    #[test]
    fn whoever_listens_is_of_the_tree() {
        let stranger = Program { name: "nginx".to_owned(), pid: 7 };
        assert_eq!(verdict(|_| ()), Kept);
        assert_eq!(verdict(|seen| seen.outsiders = vec![stranger.clone()]), Broken);
        assert_eq!(verdict(|seen| seen.owner = Owner::Any), NotJudged);
        assert_eq!(verdict(|seen| seen.owner = Owner::Hidden(None)), NotJudged);
        for (boot, expected) in [
            (Boot::Foreign(Some(stranger.clone())), Broken),
            (Boot::Foreign(None), Broken),
            (Boot::Unbound(asked().boot), NotJudged),
            (ended(1), NotJudged),
        ] {
            assert_eq!(judge(&Observed { first: Ok(start(boot.clone())), ..good() }).verdict, expected, "{boot:?}");
        }
        let first = Ok(start(Boot::Foreign(Some(stranger))));
        let judgement = judge(&Observed { first, ..good() });
        insta::assert_snapshot!(judgement.seen, @"nginx (pid 7) listens on 20100, and was not started with the app");
    }
}
