//! What is there, put into the API's words.

use std::sync::Arc;

use tambat_api::{AppStatus, HandleStatus, InstanceStatus, ListenStatus, PortStatus, ProcessStatus, ResourceStatus};
use tambat_model::{
    Cause, Gate, HandleState, InstanceView, Manner, Phase, PortKey, PortPlan, PortSite, ProcessPlan, ProcessView, Role,
    Scheme, Wiring, public_url, redact, redact_all, url_at,
};

use super::journal::{self, Spot};
use super::{App, health};
use crate::entrances::reached;

/// The whole app. Passwords in the templates of its URLs are hidden unless another app asks, to write its handles.
pub(crate) fn of(app: &App, reveal: bool) -> AppStatus {
    let world = health::examined(&app.plan, app.world.borrow().clone(), &app.health);
    let wiring = app.wiring();
    let unknown = ProcessView::default();
    let view = |process: &ProcessPlan| world.processes.get(&process.name).unwrap_or(&unknown);
    AppStatus {
        app: app.plan.name().to_string(),
        dir: app.plan.dir().display().to_string(),
        pid: i32::try_from(std::process::id()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        served: app.plan.manner() == Manner::Serve,
        processes: app.plan.processes().iter().map(|p| process(app, &wiring, p, view(p), reveal)).collect(),
        resources: app
            .plan
            .resources()
            .iter()
            .map(|r| ResourceStatus { name: r.name.to_string(), url: r.url.to_string() })
            .collect(),
    }
}

/// The first lines of a start: what is served where. Short ones, for narrow terminals.
pub(crate) fn headlines(app: &App) -> Vec<String> {
    let (wiring, at) = (app.wiring(), app.name_ports());
    let exporters = app.plan.processes().iter().filter(|p| p.role == Role::Exporter);
    let ports = exporters.flat_map(|p| p.ports.iter().map(move |port| (p, port)));
    let by_tls = |port: &PortPlan| port.site.as_ref()?.urls(Scheme::Https, at.https).into_iter().next();
    let mut over_tls = None;
    let served: Vec<(String, String)> = ports
        .filter_map(|(process, port)| {
            let key = PortKey { process: process.name.clone(), port: port.name.clone() };
            let url = url_at(port.protocol, "localhost", wiring.service_ports.get(&key)?);
            over_tls = over_tls.take().or_else(|| by_tls(port));
            // The first is the one that people visit; `ps` has them all.
            let name = port.site.as_ref().and_then(|site| visited(site, at.http));
            let first = name.map_or_else(|| url.clone(), |name| format!("{url}  {name}"));
            let name = key.to_string();
            let more = listens(app, &name).into_iter().map(|of| reached(&of.address, &of.tls, &of.hosts, of.fallback));
            let lines = std::iter::once(first).chain(more);
            Some(lines.map(|line| (name.clone(), line)).collect::<Vec<_>>())
        })
        .flatten()
        .collect();
    let width = served.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = vec![format!("{}, in {}", app.plan.name(), app.plan.dir().display())];
    lines.extend(served.iter().map(|(name, url)| format!("{name:<width$}  {url}")));
    let advice = if app.ca_is_believed { "" } else { " (see `tambat trust`)" };
    lines.extend(over_tls.map(|url| format!("https, too: {url}{advice}")));
    lines
}

/// The name that people visit: on this machine, or else the first that `hosts` says.
fn visited(site: &PortSite, http_port: Option<u16>) -> Option<String> {
    let url = site.urls(Scheme::Http, http_port).into_iter().next();
    url.or_else(|| site.hosts.first().map(|host| format!("{host}{}", shown(site))))
}

fn shown(site: &PortSite) -> &str {
    if site.path.is_root() { "" } else { site.path.as_str() }
}

/// Adds the service port's URL to a line that names an instance's private port, and to the news that it is ready.
pub(crate) fn annotate(app: &Arc<App>) -> journal::Annotate {
    let (plan, wiring) = (Arc::clone(&app.plan), app.wiring());
    Box::new(move |source, spot| {
        let (process, _) = source.split_once('.')?;
        let process = plan.processes().iter().find(|p| p.name.as_str() == process && p.role == Role::Exporter)?;
        let url = public_url(&wiring, process)?;
        match spot {
            Spot::Ready => Some(format!(" at {url}")),
            Spot::Line { text, port } => names_port(text, &port.to_string()).then(|| format!(" \u{2192} {url}")),
        }
    })
}

/// The number stands in the line by itself: not as part of a longer one.
fn names_port(text: &str, port: &str) -> bool {
    text.match_indices(port).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_none_or(|c| !c.is_ascii_digit());
        let after = text[at + port.len()..].chars().next().is_none_or(|c| !c.is_ascii_digit());
        before && after
    })
}

fn process(app: &App, wiring: &Wiring, plan: &ProcessPlan, view: &ProcessView, reveal: bool) -> ProcessStatus {
    let (state, cause) = state(plan, view);
    ProcessStatus {
        name: plan.name.to_string(),
        state: state.to_owned(),
        cause: cause.map(|c| c.to_string()),
        command: redact_all(&plan.command),
        desired: view.desired,
        worker: plan.role == Role::Worker,
        stateful: plan.stateful,
        ports: plan.ports.iter().filter_map(|port| port_status(app, wiring, plan, port, reveal)).collect(),
        instances: view.instances.iter().map(instance).collect(),
        uses: wiring
            .handles(&app.plan, &plan.name)
            .into_iter()
            .map(|handle| HandleStatus {
                variable: handle.var.to_string(),
                provider: handle.provider.to_string(),
                url: handle.state.url().map(ToString::to_string),
                attached: matches!(handle.state, HandleState::Attached(_)),
            })
            .collect(),
    }
}

/// One word for a process as a whole, and why.
fn state(plan: &ProcessPlan, view: &ProcessView) -> (&'static str, Option<Cause>) {
    match view.gate {
        Gate::Building => return ("building", None),
        Gate::Paused => return ("paused", None),
        Gate::Open => {}
    }
    let phases = || view.instances.iter().map(|i| &i.phase);
    if phases().any(|p| matches!(p, Phase::Ready { .. })) {
        return (if plan.role == Role::Worker { "running" } else { "ready" }, None);
    }
    let cause = phases().find_map(cause_of);
    if phases().any(|p| p.pid().is_some() || matches!(p, Phase::Spawning | Phase::Backoff { .. })) {
        return ("waiting", cause);
    }
    if phases().any(|p| matches!(p, Phase::Failed { .. })) {
        return ("failed", cause);
    }
    if phases().any(|p| matches!(p, Phase::Ended { .. })) {
        return ("ended", cause);
    }
    ("stopped", None)
}

fn cause_of(phase: &Phase) -> Option<Cause> {
    match phase {
        Phase::Backoff { cause } | Phase::Failed { cause } | Phase::Ended { cause } => Some(Arc::clone(cause)),
        _ => None,
    }
}

fn port_status(app: &App, wiring: &Wiring, process: &ProcessPlan, port: &PortPlan, reveal: bool) -> Option<PortStatus> {
    let key = PortKey { process: process.name.clone(), port: port.name.clone() };
    let number = wiring.service_ports.get(&key)?;
    let counters = app.router.counters(number).unwrap_or_default();
    let addresses = app.addresses.get(&number.get()).into_iter().flatten();
    let ports = app.name_ports();
    let names =
        |scheme: Scheme| port.site.as_ref().map(|site| site.urls(scheme, *ports.get(scheme))).unwrap_or_default();
    Some(PortStatus {
        name: port.name.as_ref().map(ToString::to_string),
        protocol: port.protocol.to_string(),
        port: number.get(),
        addresses: addresses.map(ToString::to_string).collect(),
        url: port.template.fill("localhost", number).map(|url| url.to_string()).unwrap_or_default(),
        names: names(Scheme::Http),
        https_names: names(Scheme::Https),
        hosts: port.site.iter().flat_map(|site| &site.hosts).map(ToString::to_string).collect(),
        published: wiring.published.get(&key).cloned(),
        listens: listens(app, &key.to_string()),
        template: if reveal { port.template.as_str().to_owned() } else { redact(port.template.as_str()) },
        connections: counters.connections,
        open: counters.open as u64,
        waiting: counters.waiting as u64,
        refused: counters.refused,
        bytes_in: counters.bytes_in,
        bytes_out: counters.bytes_out,
    })
}

/// Where the process port of this name is reached by its `listen`.
fn listens(app: &App, name: &str) -> Vec<ListenStatus> {
    let own = app.plan.entrances().iter().flat_map(|plan| plan.claims_of(name).map(move |claim| (plan.at, claim)));
    let listens = own.map(|(at, (claim, fallback))| ListenStatus {
        address: app.listens(at).to_string(),
        tls: claim.tls.as_str().to_owned(),
        hosts: claim.hosts.iter().map(ToString::to_string).collect(),
        fallback,
    });
    listens.collect()
}

fn instance(view: &InstanceView) -> InstanceStatus {
    let (address, exposed, open, after) = match &view.phase {
        Phase::Binding { port, .. } => (port.map(|p| format!("PORT {p}")), false, 0, None),
        Phase::Ready { endpoints, load, after, .. } => {
            let first = endpoints.first().map(|e| e.addr);
            let exposed = endpoints.iter().find_map(|e| e.exposed);
            (exposed.or(first).map(|a| a.to_string()), exposed.is_some(), load.in_flight() as u64, Some(*after))
        }
        _ => (None, false, 0, None),
    };
    InstanceStatus {
        name: view.name.to_string(),
        state: view.phase.as_str().to_owned(),
        pid: view.phase.pid(),
        address,
        exposed,
        open,
        restarts: view.restarts,
        cause: cause_of(&view.phase).map(|c| c.to_string()).or_else(|| illness(view)),
        ready_after_ms: after.and_then(|a| u64::try_from(a.as_millis()).ok()),
    }
}

/// It runs, and has not answered as it should.
fn illness(view: &InstanceView) -> Option<String> {
    view.ill.as_ref().map(|ill| format!("{} {ill}", view.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_by_itself() {
        assert!(names_port("listening on 127.0.0.1:20003", "20003"));
        assert!(names_port("port=20003, ok", "20003"));
        assert!(!names_port("id 120003", "20003") && !names_port("200031 bytes", "20003"));
    }
}
