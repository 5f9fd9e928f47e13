use tambat_model::ClauseId;

use super::{seen, settle};
use crate::clause::Clause;
use crate::observed::{Observed, Service};
use crate::text::list;
use crate::verdict::Judgement;

pub(super) const CLAUSE: Clause = Clause {
    id: ClauseId::BACKING_SERVICES,
    title: "finds its backing services in its config",
    asks: "Each backing service is dialled where its variable says, and nowhere else.",
    why: "Another database, a copy for a test, a provider that has moved: all of it is a change of one variable, if the address
stands nowhere else.",
    seen: "Each variable of `uses` leads to a recorder that passes everything on to the real provider. Where the provider would
be found without it (its own service port, its protocol's usual port), tambat listens, too, if nobody else does; and
the connections of the app's tree are looked at.",
    broken: "The app dials the provider somewhere else. Not judged when it dials nothing while it is checked; `--path` names a
page that makes it dial.",
    mend: "Take the whole URL from the variable: `redis.from_url(os.environ[\"CACHE_URL\"])`,
`DriverManager.getConnection(System.getenv(\"DB_URL\"))`. No default in the code that leads somewhere by itself.",
    judge,
};

fn judge(observed: &Observed) -> Judgement {
    settle(try_judge(observed))
}

fn try_judge(observed: &Observed) -> Result<Judgement, Judgement> {
    let services = seen(&observed.services)?;
    let strays: Vec<&Service> = services.iter().filter(|service| !service.elsewhere.is_empty()).collect();
    if let Some(service) = strays.first() {
        let seen =
            format!("it dialled {} at {}, not where {} says", service.provider, list(&service.elsewhere), service.var);
        return Ok(Judgement::broken(seen, format!("take the whole URL from the variable {}", service.var)));
    }
    let silent: Vec<&str> = services.iter().filter(|service| service.dials == 0).map(|s| s.var.as_str()).collect();
    if !silent.is_empty() {
        return Err(Judgement::not_judged(format!(
            "it dialled nothing by {} while it was checked; --path names a page that makes it",
            list(silent)
        )));
    }
    let dialled = services.iter().map(|s| format!("{} by {}", s.provider, s.var));
    Ok(Judgement::kept(format!("it dialled {}", list(dialled))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::sample::*;
    use crate::verdict::Verdict::{Broken, Kept, NotJudged};

    /// PB-15
    #[test]
    fn a_service_is_dialled_where_its_variable_says() {
        let service = |dials, elsewhere: &[&str]| Service {
            var: "CACHE_URL".to_owned(),
            provider: "cache".to_owned(),
            dials,
            elsewhere: elsewhere.iter().map(|addr| addr.parse().unwrap()).collect(),
        };
        for (services, expected) in [
            (vec![service(1, &[])], Kept),
            (vec![service(0, &[])], NotJudged),
            (vec![service(1, &[]), service(0, &[])], NotJudged),
            (vec![service(0, &["127.0.0.1:6379"])], Broken),
            (vec![service(3, &[]), service(3, &["127.0.0.1:6379"])], Broken),
        ] {
            let judgement = judge(&Observed { services: Ok(services), ..good() });
            assert_eq!(judgement.verdict, expected, "{judgement:?}");
        }
    }
}
