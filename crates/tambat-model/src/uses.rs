//! `uses`, resolved: which variable, which provider.

use crate::draft::{Draft, ProcessDraft, UseDraft};
use crate::handle::Provider;
use crate::plan::{USES_MAX, Use};
use crate::problem::{Place, Problem, closest};
use crate::{PortKey, PortName, Protocol, VarName};

/// The handles of a process, each variable once.
pub(crate) fn resolve_uses(draft: &Draft, process: &ProcessDraft) -> (Vec<Use>, Vec<Problem>) {
    let mut uses: Vec<(Use, Place)> = Vec::new();
    let mut problems = Vec::new();
    for written in process.uses.iter().take(USES_MAX) {
        let place = Place::Use(process.name.clone(), written.provider.clone());
        if written.provider.contains("://") {
            let what = "`uses` takes names, and this is a URL";
            problems
                .push(Problem::error(place, what).help("[resources.NAME]\nurl = \"…\"\n\nand then uses = [\"NAME\"]"));
            continue;
        }
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
            } else if uses.iter().any(|(known, _)| *known == used) {
                // Named whole and by one of its ports: one handle.
            } else if let Some((other, at)) = uses.iter().find(|(u, _)| u.var == used.var) {
                let what =
                    format!("the handles to `{}` and `{}` would both be {}", other.provider, used.provider, used.var);
                let help =
                    format!("uses = {{ {} = \"{}\", OTHER_URL = \"{}\" }}", used.var, other.provider, used.provider);
                problems.push(Problem::error(place.clone(), what).clashes_with(at.clone()).help(help));
            } else {
                uses.push((used, place.clone()));
            }
        }
    }
    (uses.into_iter().map(|(used, _)| used).collect(), problems)
}

/// What one entry of `uses` stands for: one handle, or one for each port where a process with named ports is used whole.
fn resolve_provider(draft: &Draft, written: &UseDraft, place: &Place) -> Result<Vec<Use>, Box<Problem>> {
    let text = written.provider.as_str();
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
        let help = format!("[processes.{name}]\nprotocol = \"http\"    # or redis, postgres, tcp");
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
