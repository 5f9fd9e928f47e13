//! `uses`, resolved: which variable, which provider.

use std::collections::BTreeMap;

use crate::draft::{Draft, ProcessDraft, UseDraft};
use crate::handle::Provider;
use crate::plan::Use;
use crate::problem::{Place, Problem, closest};
use crate::{PortKey, PortName, Protocol, VarName};

/// The handles of a process, each variable once.
pub(crate) fn resolve_uses(draft: &Draft, process: &ProcessDraft) -> (Vec<Use>, Vec<Problem>) {
    let mut uses: Vec<Use> = Vec::new();
    let mut taken: BTreeMap<VarName, (Provider, Place)> = BTreeMap::new();
    let mut problems = Vec::new();
    for written in &process.uses {
        let place = Place::Use(process.name.clone(), written.provider.clone());
        let resolved = match resolve_provider(draft, written, &place) {
            Ok(resolved) => resolved,
            Err(problem) => {
                problems.push(*problem);
                continue;
            }
        };
        for used in resolved {
            if used.var.is_reserved() {
                let what = format!("`{}` is set by tambat itself, so no handle can be called so", used.var);
                problems.push(Problem::error(place.clone(), what).help("uses = { SOME_OTHER_URL = \"…\" }"));
                continue;
            }
            match taken.get(&used.var) {
                None => {
                    taken.insert(used.var.clone(), (used.provider.clone(), place.clone()));
                    uses.push(used);
                }
                // Named whole and by one of its ports: one handle.
                Some((other, _)) if *other == used.provider => {}
                Some((other, at)) => problems.push(one_variable(&used, other, &place, at)),
            }
        }
    }
    (uses, problems)
}

fn one_variable(used: &Use, other: &Provider, place: &Place, at: &Place) -> Problem {
    let Use { var, provider } = used;
    let what = format!("the handles to `{other}` and `{provider}` would both be {var}");
    let help = format!("uses = {{ {var} = \"{other}\", OTHER_URL = \"{provider}\" }}");
    Problem::error(place.clone(), what).clashes_with(at.clone()).help(help)
}

/// What one entry of `uses` stands for: one handle, or one for each port where a process with named ports is used whole.
fn resolve_provider(draft: &Draft, written: &UseDraft, place: &Place) -> Result<Vec<Use>, Box<Problem>> {
    let text = written.provider.as_str();
    if text.contains("://") {
        let help = "[resources.NAME]\nurl = \"…\"\nand then: uses = [\"NAME\"]";
        return Err(Problem::error(place.clone(), "`uses` takes names, and this is a URL").help(help).into());
    }
    let var = |of: &str| written.var.clone().unwrap_or_else(|| VarName::of_handle(of));
    if let Some((app, rest)) = text.split_once('/') {
        let provider = foreign(app, rest).map_err(|error| Problem::error(place.clone(), error.to_string()))?;
        return Ok(vec![Use { var: var(text), provider }]);
    }
    if let Some(resource) = draft.resources.iter().find(|r| r.name.as_str() == text) {
        return Ok(vec![Use { var: var(text), provider: Provider::Resource(resource.name.to_string()) }]);
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let Some(process) = draft.processes.iter().find(|p| p.name.as_str() == name) else {
        return Err(unknown_provider(draft, text, name, place).into());
    };
    if !process.name.is_web() && process.protocol.is_none() && process.ports.is_empty() {
        let what = format!("`{name}` is used, but nothing says what it speaks");
        let help = format!("[processes.{name}]\nprotocol = \"http\"    # or h2c, redis, postgres, xmpp, tcp");
        return Err(Problem::error(place.clone(), what)
            .clashes_with(Place::Process(process.name.clone()))
            .help(help)
            .into());
    }
    if process.protocol == Some(Protocol::None) {
        let what = format!("`{name}` speaks nothing (protocol = \"none\"), so it has no URL");
        return Err(Problem::error(place.clone(), what)
            .clashes_with(Place::Key(process.name.clone(), "protocol"))
            .into());
    }
    let key = |port: Option<PortName>| Provider::Process(PortKey { process: process.name.clone(), port });
    if let Some(port) = port {
        let Some(named) = process.ports.iter().find(|p| p.name.as_str() == port) else {
            let known: Vec<&str> = process.ports.iter().map(|p| p.name.as_str()).collect();
            let what = format!("`{name}` has no port `{port}`; it has {}", or_none(&known));
            return Err(Problem::error(place.clone(), what).clashes_with(Place::Process(process.name.clone())).into());
        };
        return Ok(vec![Use { var: var(&text.replace(':', "_")), provider: key(Some(named.name.clone())) }]);
    }
    let first = Use { var: var(name), provider: key(process.ports.first().map(|p| p.name.clone())) };
    let named = process.ports.iter().filter(|_| written.var.is_none());
    let others = named
        .map(|p| Use { var: VarName::of_handle(&format!("{name}_{}", p.name)), provider: key(Some(p.name.clone())) });
    Ok(std::iter::once(first).chain(others).collect())
}

fn foreign(app: &str, rest: &str) -> Result<Provider, crate::NameError> {
    let (process, port) = rest.split_once(':').map_or((rest, None), |(process, port)| (process, Some(port)));
    Ok(Provider::Foreign { app: app.parse()?, process: process.parse()?, port: port.map(str::parse).transpose()? })
}

fn unknown_provider(draft: &Draft, text: &str, name: &str, place: &Place) -> Problem {
    let processes = draft.processes.iter().map(|p| p.name.as_str());
    let known: Vec<&str> = processes.chain(draft.resources.iter().map(|r| r.name.as_str())).collect();
    let what = format!("there is no process or resource `{name}` in this app; it has {}", or_none(&known));
    let problem = Problem::error(place.clone(), what);
    match closest(name, known) {
        Some(meant) => problem.help(format!("did you mean `{}`?", text.replacen(name, meant, 1))),
        None => problem.help("a process of another app is written \"app/process\""),
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use crate::Protocol::{Http, None as Nothing, Postgres, Redis, Tcp};
    use crate::draft::{ProcessDraft, UseDraft};
    use crate::sample::{draft, name, plan, problems, process, with_ports};
    use crate::{Place, Plan};

    /// What web uses: variable and provider.
    fn handles(processes: Vec<ProcessDraft>) -> Vec<(String, String)> {
        let plan = plan(processes);
        let web = plan.process(&name("web")).unwrap();
        web.uses.iter().map(|used| (used.var.to_string(), used.provider.to_string())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(var, provider)| ((*var).to_owned(), (*provider).to_owned())).collect()
    }

    #[test]
    fn short_names_become_variables() {
        let web = process("web", None, &["my-db", "mail", "billing/api", "billing/chat:admin"]);
        assert_eq!(
            handles(vec![web, process("my-db", Some(Postgres), &[])]),
            pairs(&[
                ("MY_DB_URL", "my-db"),
                ("MAIL_URL", "mail"),
                ("BILLING_API_URL", "billing/api"),
                ("BILLING_CHAT_ADMIN_URL", "billing/chat:admin")
            ])
        );
    }

    #[test]
    fn the_table_form_names_the_variable() {
        let var = |text: &str| Some(text.parse().unwrap());
        let mut web = process("web", None, &[]);
        web.uses = vec![
            UseDraft { var: var("REDIS"), provider: "cache".to_owned() },
            UseDraft { var: var("CHAT"), provider: "chat".to_owned() },
        ];
        let chat = with_ports("chat", &[("c2s", Tcp, None), ("admin", Http, None)]);
        let expected = pairs(&[("REDIS", "cache"), ("CHAT", "chat:c2s")]);
        assert_eq!(handles(vec![web, process("cache", Some(Redis), &[]), chat]), expected);
    }

    #[test]
    fn a_process_with_named_ports_gives_a_handle_for_each_and_one_for_the_first() {
        let chat = || with_ports("chat", &[("c2s", Tcp, None), ("admin", Http, None)]);
        let whole = pairs(&[("CHAT_URL", "chat:c2s"), ("CHAT_C2S_URL", "chat:c2s"), ("CHAT_ADMIN_URL", "chat:admin")]);
        assert_eq!(handles(vec![process("web", None, &["chat"]), chat()]), whole);
        assert_eq!(handles(vec![process("web", None, &["chat", "chat:admin"]), chat()]), whole);
        assert_eq!(handles(vec![process("web", None, &["chat:admin"]), chat()]), whole[2..]);
    }

    #[test]
    fn what_cannot_be_used_is_said_with_what_to_write() {
        let cases: [(&str, ProcessDraft, &str, Option<&str>); 8] = [
            (
                "aip",
                process("api", None, &[]),
                "there is no process or resource `aip` in this app; it has web, api, mail",
                Some("did you mean `api`?"),
            ),
            (
                "zebra",
                process("api", None, &[]),
                "there is no process or resource `zebra` in this app; it has web, api, mail",
                Some("a process of another app is written \"app/process\""),
            ),
            (
                "api",
                process("api", None, &[]),
                "`api` is used, but nothing says what it speaks",
                Some("[processes.api]\nprotocol = \"http\"    # or h2c, redis, postgres, xmpp, tcp"),
            ),
            (
                "api",
                process("api", Some(Nothing), &[]),
                "`api` speaks nothing (protocol = \"none\"), so it has no URL",
                None,
            ),
            ("api:x", process("api", Some(Http), &[]), "`api` has no port `x`; it has none", None),
            (
                "a b/c",
                process("api", Some(Http), &[]),
                "`a b` is not the name of an app: it becomes a hostname label, so it takes a-z, 0-9 and inner `-`, at most 63 of them",
                None,
            ),
            (
                "redis://h",
                process("api", Some(Http), &[]),
                "`uses` takes names, and this is a URL",
                Some("[resources.NAME]\nurl = \"…\"\nand then: uses = [\"NAME\"]"),
            ),
            (
                "ap_i:a",
                with_ports("api", &[("a", Http, None)]),
                "there is no process or resource `ap_i` in this app; it has web, api, mail",
                Some("did you mean `api:a`?"),
            ),
        ];
        for (provider, api, what, help) in cases {
            let found = Plan::new(draft(vec![process("web", None, &[provider]), api])).unwrap_err();
            assert_eq!((found[0].what.as_str(), found[0].help.as_deref()), (what, help));
            assert_eq!(found[0].at, Place::Use(name("web"), provider.to_owned()));
        }
    }

    #[test]
    fn no_variable_is_taken_twice_or_from_tambat() {
        let mut web = process("web", None, &["my-db", "my_db"]);
        let found = problems(vec![web.clone(), process("my-db", Some(Tcp), &[]), process("my_db", Some(Tcp), &[])]);
        assert_eq!(found[1], "the handles to `my-db` and `my_db` would both be MY_DB_URL");
        for reserved in ["PORT", "PORT_ADMIN", "PS", "HOST", "TAMBAT_URL"] {
            web.uses = vec![UseDraft { var: Some(reserved.parse().unwrap()), provider: "mail".to_owned() }];
            let what = format!("`{reserved}` is set by tambat itself, so no handle can be called so");
            assert_eq!(problems(vec![web.clone()]), [what]);
        }
    }
}
