use tambat_model::ClauseId;

use super::{settle, started, up};
use crate::clause::Clause;
use crate::observed::{Listener, Observed};
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::UNDECLARED,
    title: "opens no port that it did not declare",
    asks: "Every TCP and UDP port that a process of the app opens is one that it was told.",
    why: "A port that nobody told it is a port that nobody guards: a debugger, a metrics page, a cluster protocol. It also
keeps a second instance from starting on the same machine.",
    seen: "The listening sockets of all processes of its tree, from its start to its stop. A UDP port counts when it takes
datagrams from anybody and is none of those that the kernel chooses for clients.",
    broken: "A port beside those that it was told, reachable from other machines. Warned when it is on loopback. Not judged
where the files of a process of the tree may not be seen.",
    mend: "Declare it (`ports = { web = \"http\", admin = \"http\" }`) and bind the number in `PORT_ADMIN`; or turn it off, or
use a Unix socket for it.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    started(observed)?;
    let (start, _) = up(observed)?;
    let (outside, loopback): (Vec<&Listener>, Vec<&Listener>) =
        start.elsewhere().partition(|listener| !listener.addr.ip().is_loopback());
    let mend = "declare it under `ports` in tambat.toml and bind the number in its variable; or turn it off";
    if !outside.is_empty() {
        return Ok(Judgement::broken(format!("beside its PORT it opened {}", list(outside)), mend));
    }
    if !loopback.is_empty() {
        return Ok(Judgement::warned(format!("beside its PORT it opened {}, on loopback", list(loopback)), mend));
    }
    if !start.hidden.is_empty() {
        let why = format!("what its processes {} have open may not be seen from here", list(&start.hidden));
        return Err(Judgement::not_judged(why));
    }
    Ok(Judgement::kept(format!("it opened {} and nothing else", list(&start.told))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::Transport;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged, Warned};

    /// PB-05
    #[test]
    fn what_was_not_told_is_broken_outside_and_warned_on_loopback() {
        let with = |addr: &str, transport| {
            let mut observed = good();
            let first = observed.first.as_mut().unwrap();
            first.listeners.push(Listener { transport, ..listener(addr) });
            judge(&observed)
        };
        for (addr, expected) in
            [("0.0.0.0:9000", Broken), ("[::]:9000", Broken), ("127.0.0.1:9000", Warned), ("[::1]:20100", Kept)]
        {
            assert_eq!(with(addr, Transport::Tcp).verdict, expected, "{addr}");
        }
        insta::assert_snapshot!(
            with("0.0.0.0:9000", Transport::Udp).seen,
            @"beside its PORT it opened UDP 0.0.0.0:9000 of python3 (pid 4711)"
        );
        let mut hidden = good();
        hidden.first.as_mut().unwrap().hidden = vec![7];
        assert_eq!(judge(&hidden).verdict, NotJudged);
    }
}
