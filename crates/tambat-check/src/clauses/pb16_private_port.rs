use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::Observed;
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::PRIVATE_PORT,
    title: "does not leak its private port",
    asks: "Asked by a public name (`Host`, `X-Forwarded-Host`, `X-Forwarded-Proto: https`), the app builds its redirects,
cookies and links for that name.",
    why: "The port is between the app and whoever routes to it. A redirect to `http://localhost:20123` leads a user's browser to
the user's own machine.",
    seen: "Requests to `/` and to the page that `--path` names, with a public name in those fields.",
    broken: "`Location`, the domain of a cookie, or a link in the body carries the app's own host and port. Not judged when the
app refuses the public name.",
    mend: "Build URLs from the request: relative ones, or from `X-Forwarded-Host` and `-Proto` where the peer is trusted
(`ProxyFix`, `SECURE_PROXY_SSL_HEADER`, `trust proxy`, `ForwardedRequestCustomizer`, `RemoteIpValve`).",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let forwarded = seen(&observed.forwarded)?;
    let leaks: Vec<String> = forwarded
        .pages
        .iter()
        .flat_map(|page| page.leaks.iter().map(move |leak| format!("{} has {leak}", page.path)))
        .collect();
    if !leaks.is_empty() {
        let seen = format!("asked for {}, its page {}", forwarded.host, list(leaks));
        let mend = "write relative URLs, or build them from X-Forwarded-Host and X-Forwarded-Proto";
        return Ok(Judgement::broken(seen, mend));
    }
    // RFC 9110 §15.5.20 and what frameworks answer to a name that they were not told.
    let refuses = |status: u16| matches!(status, 400 | 403 | 421);
    if forwarded.pages.is_empty() || forwarded.pages.iter().all(|page| refuses(page.status)) {
        return Err(Judgement::not_judged(format!("it refuses requests for {}", forwarded.host)));
    }
    let pages = list(forwarded.pages.iter().map(|page| &page.path));
    Ok(Judgement::kept(format!("asked for {}, nothing of {pages} carried its own port", forwarded.host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::observed::{Forwarded, Page};
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-16
    #[test]
    fn a_leak_is_quoted() {
        let with = |status, leaks: &[&str]| {
            let leaks = leaks.iter().map(|leak| (*leak).to_owned()).collect();
            let pages = vec![Page { path: "/".to_owned(), status, leaks }];
            judge(&Observed { forwarded: Ok(Forwarded { host: "app.example.com".to_owned(), pages }), ..good() })
        };
        assert_eq!(with(302, &[]).verdict, Kept);
        assert_eq!(with(400, &[]).verdict, NotJudged);
        let leak = with(302, &["Location: http://localhost:20100/login"]);
        assert_eq!(leak.verdict, Broken);
        insta::assert_snapshot!(
            leak.seen,
            @"asked for app.example.com, its page / has Location: http://localhost:20100/login"
        );
    }
}
