use tambat_model::ClauseId;

use super::{seen, settle, started, why_not_bound};
use crate::clause::Clause;
use crate::mend;
use crate::observed::{Boot, Observed, Start};
use crate::text::{list, time};
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::BINDS_IN_TIME,
    title: "binds its port in time",
    asks: "Within the boot limit (60 s; `--boot`) the app listens on the port whose number stands in `PORT`, and on every
other port that it was told by name (`PORT_ADMIN`).",
    why: "Whoever routes to it knows that number and no other. Platforms give up on an app that has not bound it within a
minute, and start it again.",
    seen: "The machine's listening sockets are looked at every few milliseconds, by the kernel's own list, until one on that
port belongs to the app.",
    broken: "Nobody of the app listens there within the limit, or it ends before. What it bound instead is named. Where it
binds the same other port at every start, PB-03 has the verdict.",
    mend: "Read the number from the environment and listen on it: `app.listen(int(os.environ[\"PORT\"]))`,
`server.listen(process.env.PORT)`, `http.ListenAndServe(\":\" + os.Getenv(\"PORT\"), nil)`. A server that does not
read it takes it in its command: `puma -p $PORT`. What is slow belongs behind the bind, or into `build`.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    started(observed)?;
    let start = seen(&observed.first)?;
    if let Some(bound) = start.bound() {
        if !bound.missing.is_empty() {
            let seen =
                format!("it listens on PORT, and not on {} within {}", list(&bound.missing), time(observed.asked.boot));
            return Ok(Judgement::broken(seen, "listen on the number in each of these variables"));
        }
        return Ok(Judgement::kept(format!("it listened on {} after {}", start.port, time(bound.after))));
    }
    if matches!(start.boot, Boot::Foreign(_)) {
        return Err(Judgement::not_judged("somebody else listens on its PORT: PB-01 says who"));
    }
    if let Some(fixed) = fixed_port(observed) {
        return Err(Judgement::not_judged(format!("it listens on {fixed} whatever PORT says: that is PB-03")));
    }
    let elsewhere: Vec<_> = start.elsewhere().collect();
    let instead = match elsewhere.as_slice() {
        [] => String::new(),
        some => format!("; it listened on {}", list(some)),
    };
    Ok(Judgement::broken(format!("it {}{instead}", why_not_bound(start)), how_to_mend(observed, start)))
}

fn how_to_mend(observed: &Observed, start: &Start) -> String {
    match &start.boot {
        Boot::Impossible(_) => "make its command one that runs in this directory".to_owned(),
        Boot::Ended { left, .. } if !left.is_empty() => {
            "keep it in the foreground: leave out the option that makes it a daemon".to_owned()
        }
        Boot::Ended { .. } if start.elsewhere().next().is_none() => {
            "see what it wrote; it must run until it is told to stop".to_owned()
        }
        _ => mend::bind_port(&observed.asked, start),
    }
}

/// The port that it binds at every start, whatever it is told.
pub(super) fn fixed_port(observed: &Observed) -> Option<u16> {
    let (first, second) = (observed.first.as_ref().ok()?, observed.second.as_ref().ok()?);
    if first.bound().is_some() {
        return None;
    }
    let ports = |start: &Start| start.elsewhere().map(|listener| listener.addr.port()).collect::<Vec<_>>();
    let again = ports(second);
    ports(first).into_iter().find(|port| again.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    fn on(port: u16, told: u16) -> Start {
        Start { listeners: vec![listener(&format!("127.0.0.1:{port}"))], ..start_at(told, Boot::Unbound(asked().boot)) }
    }

    /// PB-02
    #[test]
    fn it_listens_on_its_port_or_is_broken() {
        assert_eq!(judge(&good()).verdict, Kept);
        let mut missing = bound(&["127.0.0.1"]);
        missing.missing = vec!["PORT_ADMIN".to_owned()];
        for (boot, expected) in [
            (Boot::Bound(missing), Broken),
            (Boot::Unbound(asked().boot), Broken),
            (Boot::Impossible("find the program x in PATH".to_owned()), Broken),
            (ended(0), Broken),
            (Boot::Foreign(None), NotJudged),
        ] {
            let observed = Observed { first: Ok(start(boot.clone())), ..good() };
            assert_eq!(judge(&observed).verdict, expected, "{boot:?}");
        }
    }

    /// PB-02, PB-03
    #[test]
    fn another_port_is_this_clause_and_always_the_same_other_port_is_not() {
        let seen = |second: u16| Observed { first: Ok(on(8000, FIRST)), second: Ok(on(second, SECOND)), ..good() };
        assert_eq!(judge(&seen(8000)).verdict, NotJudged);
        let random = judge(&seen(8001));
        assert_eq!(random.verdict, Broken);
        insta::assert_snapshot!(
            random.seen,
            @"it did not listen on 20100 within 60 s; it listened on TCP 127.0.0.1:8000 of python3 (pid 4711)"
        );
        insta::assert_snapshot!(random.mend.unwrap(), @r#"in app.py use os.environ["PORT"]"#);
    }

    /// PB-02
    #[test]
    fn one_that_goes_to_the_background_is_told_so() {
        let boot = Boot::Ended { end: crate::observed::End::Code(0), after: asked().grace, left: vec![program()] };
        let judgement = judge(&Observed { first: Ok(start(boot)), ..good() });
        insta::assert_snapshot!(
            format!("{}\n{}", judgement.seen, judgement.mend.unwrap()),
            @r"
        it ended with code 0 after 30 s and left python3 (pid 4711) in the background
        keep it in the foreground: leave out the option that makes it a daemon
        "
        );
    }
}
