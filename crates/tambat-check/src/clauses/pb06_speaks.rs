use tambat_model::ClauseId;

use super::{settle, up};
use crate::clause::Clause;
use crate::observed::{Observed, Talk};
use crate::text::{list, time};
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::PROTOCOL,
    title: "speaks its protocol on its port",
    asks: "A client of the protocol that was declared gets an answer in that protocol. Without a declaration the protocol is
recognised.",
    why: "A port that is open is not a service that answers. Between the two lie seconds (a page is compiled, a log is
replayed), or a wrong line in a configuration.",
    seen: "A request of the declared protocol. Else HTTP/1, HTTP/2 without TLS, TLS, the Redis protocol, PostgreSQL and XMPP
are tried, and the greetings of SSH, SMTP, FTP and MySQL are known; what is none of these is plain TCP.",
    broken: "A wrong answer, or none within the boot limit. Not judged for plain TCP and for
datagrams: nobody knows what to expect.",
    mend: "Say in the manifest what it speaks (`protocol = \"redis\"`); or turn off what stands before it: TLS on this port,
PROXY protocol, a path that answers nothing.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let (_, bound) = up(observed)?;
    let mend = "make it answer in that protocol, or say in tambat.toml what it speaks: `protocol = \"...\"`";
    let mut spoken = Vec::new();
    let mut plain = Vec::new();
    let mut datagrams = Vec::new();
    for (var, talk) in &bound.talks {
        match talk {
            Talk::Speaks { protocol, after, but } => {
                let but = but.as_ref().map(|but| format!(" ({but})")).unwrap_or_default();
                spoken.push(format!("{protocol} on {var} after {}{but}", time(*after)));
            }
            Talk::PlainTcp => plain.push(var),
            Talk::Datagrams => datagrams.push(var),
            Talk::Wrong(what) | Talk::Silent(what) => {
                return Ok(Judgement::broken(format!("on {var} {what}"), mend));
            }
        }
    }
    if spoken.is_empty() && plain.is_empty() && !datagrams.is_empty() {
        return Err(Judgement::not_judged(format!(
            "it takes datagrams on {}, and nobody knows what it would answer",
            list(&datagrams)
        )));
    }
    if !plain.is_empty() || spoken.is_empty() {
        let vars = list(&plain);
        return Err(Judgement::not_judged(format!(
            "it takes connections on {vars}, and none of the protocols known here was recognised"
        )));
    }
    Ok(Judgement::kept(format!("it speaks {}", list(spoken))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::Boot;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-06
    #[test]
    fn an_answer_in_the_protocol_is_kept_and_any_other_is_broken() {
        assert_eq!(judge(&good()).verdict, Kept);
        for (talk, expected) in [
            (Talk::PlainTcp, NotJudged),
            (Talk::Datagrams, Kept),
            (Talk::Wrong("it answered \"SSH-2.0-x\"".to_owned()), Broken),
            (Talk::Silent("it gave no answer within 60 s".to_owned()), Broken),
        ] {
            let mut seen = bound(&["127.0.0.1"]);
            seen.talks.push(("PORT_ADMIN".to_owned(), talk.clone()));
            let observed = Observed { first: Ok(start(Boot::Bound(seen))), ..good() };
            assert_eq!(judge(&observed).verdict, expected, "{talk:?}");
        }
        let mut alone = bound(&["127.0.0.1"]);
        alone.talks = vec![("PORT".to_owned(), Talk::Datagrams)];
        let observed = Observed { first: Ok(start(Boot::Bound(alone))), ..good() };
        assert_eq!(judge(&observed).verdict, NotJudged);
    }
}
