use tambat_model::ClauseId;

use super::{seen, settle, why_not_bound};
use crate::clause::Clause;
use crate::observed::{Boot, End, Observed};
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::UNPRIVILEGED,
    title: "needs no privilege",
    asks: "The app runs as a user without privileges: its port is 1024 or higher, and nothing else of it needs root.",
    why: "Who gets into an app that runs as root has the machine. Platforms run it as somebody else, and it fails there.",
    seen: "Where tambat runs as root, a start as a user who may do nothing special (65534, with a home of its own), in a copy of
the directory that belongs to that user, or in the directory itself where that is large. What fails there is started
there as root, too. Else the whole check ran without privileges.",
    broken: "It starts as root and not as that user. Not judged where that user cannot read or write the directory or use what
is in its PATH.",
    mend: "Write to the app's own directory or to a temporary one, not to `/var` or `/etc`; bind the number in `PORT`, never 80;
do not change users in the app, but start it as the right one.",
    judge,
};

/// The shell's own codes: it may not execute the program, or does not find it (POSIX, "Exit Status for Commands").
const NOT_EXECUTED_CODES: [u8; 2] = [126, 127];

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let user = seen(&observed.user)?;
    let uid = user.uid;
    let Some(start) = &user.start else {
        return Ok(Judgement::kept(format!("all of this ran as the user {uid}, who has no privileges")));
    };
    if start.bound().is_some() {
        return Ok(Judgement::kept(format!("as the user {uid} it listened on {}", start.port)));
    }
    if !user.closed.is_empty() {
        let closed = list(user.closed.iter().map(|path| path.display()));
        return Err(Judgement::not_judged(format!(
            "the user {uid} may not be able to use {closed}, so its failure says nothing"
        )));
    }
    if let Boot::Ended { end: End::Code(code), .. } = start.boot
        && NOT_EXECUTED_CODES.contains(&code)
    {
        return Err(Judgement::not_judged(format!("the user {uid} cannot execute its command (code {code})")));
    }
    if matches!(start.boot, Boot::Impossible(_)) {
        return Err(Judgement::not_judged(format!("as the user {uid} it {}", why_not_bound(start))));
    }
    if user.as_root.as_ref().is_some_and(|as_root| as_root.bound().is_none()) {
        return Err(Judgement::not_judged("in a copy of its directory it does not start as root either"));
    }
    let seen = format!("as the user {uid} it {}; as root it starts", why_not_bound(start));
    Ok(Judgement::broken(
        seen,
        "let it run as any user: write into its own directory only, and change no users in the app",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::UserStart;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-17
    #[test]
    fn a_failure_counts_only_where_nothing_else_explains_it() {
        let with = |boot: Option<Boot>, closed: &[&str]| {
            let start = boot.map(|boot| start_at(20_300, boot));
            let closed = closed.iter().map(Into::into).collect();
            judge(&Observed { user: Ok(UserStart { uid: 65_534, closed, start, as_root: None }), ..good() }).verdict
        };
        let up = || Some(Boot::Bound(bound(&["127.0.0.1"])));
        assert_eq!(with(None, &[]), Kept);
        assert_eq!(with(up(), &[]), Kept);
        assert_eq!(with(up(), &["/srv/shop"]), Kept, "it was seen to run");
        assert_eq!(with(Some(ended(1)), &[]), Broken);
        assert_eq!(with(Some(ended(1)), &["/srv/shop"]), NotJudged);
        assert_eq!(with(Some(ended(126)), &[]), NotJudged);
        assert_eq!(with(Some(Boot::Impossible("x".to_owned())), &[]), NotJudged);
        assert_eq!(with(Some(Boot::Unbound(asked().boot)), &[]), Broken);
        for (as_root, expected) in [(ended(1), NotJudged), (up().unwrap(), Broken)] {
            let (start, as_root) = (Some(start_at(20_300, ended(1))), Some(start_at(20_400, as_root)));
            let user = UserStart { uid: 65_534, closed: vec![], start, as_root };
            assert_eq!(judge(&Observed { user: Ok(user), ..good() }).verdict, expected);
        }
    }
}
