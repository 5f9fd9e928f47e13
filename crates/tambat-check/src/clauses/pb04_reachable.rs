use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::mend;
use crate::observed::Observed;
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::REACHABLE,
    title: "can be reached",
    asks: "Told `HOST=0.0.0.0`, the app listens where other machines reach it, over IPv4 and IPv6: on `::` for both, or on
`0.0.0.0` and `::`.",
    why: "On one machine the loopback address is enough, and better. In a container, a loopback address is the container's
own: the app runs, its log says so, and nobody gets through.",
    seen: "A start with `HOST=0.0.0.0` in its environment, and the addresses of its listening sockets.",
    broken: "Never here, since it works on this machine. Warned: it listens on loopback only, or in one family only.",
    mend: "Take the address from `HOST` (tambat says `HOST=127.0.0.1` while it runs the app for a developer), and without it
listen on `::`, which takes IPv4 as well: `::` in Node and Go, `--host ::` for uvicorn, `-b [::]:$PORT` for gunicorn.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let start = seen(&observed.open)?;
    let not_up = || Judgement::not_judged("told HOST=0.0.0.0, it did not come to listen on its PORT");
    let bound = start.bound().ok_or_else(not_up)?;
    let shown = list(&bound.addrs);
    if bound.addrs.iter().all(std::net::IpAddr::is_loopback) {
        let seen = format!("told HOST=0.0.0.0, it listens on {shown} only: nobody reaches it in a container");
        return Ok(Judgement::warned(seen, mend::bind_host(&observed.asked)));
    }
    let (v4, v6) = (bound.families.v4, bound.families.v6);
    let missing = match (v4, v6) {
        (true, false) => "IPv6",
        (false, true) => "IPv4",
        _ => return Ok(Judgement::kept(format!("told HOST=0.0.0.0, it listens on {shown}"))),
    };
    let seen = format!("told HOST=0.0.0.0, it listens on {shown}: not over {missing}");
    Ok(Judgement::warned(seen, mend::bind_both(&observed.asked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::{Boot, Families};
    use crate::verdict::Verdict::{Kept, NotJudged, Warned};

    /// PB-04
    #[test]
    fn both_families_and_not_only_loopback() {
        let both = Families { v4: true, v6: true };
        for (addrs, families, expected) in [
            (vec!["::"], both, Kept),
            (vec!["0.0.0.0", "::"], both, Kept),
            (vec!["0.0.0.0"], Families { v4: true, v6: false }, Warned),
            (vec!["::"], Families { v4: false, v6: true }, Warned),
            (vec!["127.0.0.1"], Families { v4: true, v6: false }, Warned),
            (vec!["127.0.0.1", "::1"], both, Warned),
        ] {
            let mut seen = bound(&addrs);
            seen.families = families;
            let observed = Observed { open: Ok(start_at(SECOND, Boot::Bound(seen))), ..good() };
            assert_eq!(judge(&observed).verdict, expected, "{addrs:?}");
        }
        let down = Observed { open: Ok(start_at(SECOND, ended(1))), ..good() };
        assert_eq!(judge(&down).verdict, NotJudged);
    }
}
