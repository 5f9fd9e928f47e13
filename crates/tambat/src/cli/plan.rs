//! `tambat plan`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use tambat_model::{
    Base, Formation, HandleState, Plan, PortKey, ProcessName, Protocol, Readiness, Role, Scheme, ServicePorts, Wiring,
    redact_all,
};

use super::PlanArgs;
use crate::daemon::{self, StateDir};
use crate::entrances::reached;
use crate::failure::Failure;
use crate::run_lock::runner;
use crate::{layers, output};

/// `tambat plan`: what would run, on which ports, with which handles.
pub(crate) fn run(dir: &Path, args: &PlanArgs) -> Result<ExitCode, Failure> {
    let loaded = tambat_manifest::load(dir, args.source.procfile.as_deref())?;
    let layers = layers::read(dir, &args.source.env_files, &args.source.env)?;
    super::start::warn(loaded.warnings.iter().chain(&layers.warnings));
    let plan = loaded.plan;
    layers.overridden(&plan).iter().for_each(|warning| output::say(warning));
    let formation = Formation::parse(&args.processes, true).map_err(|error| Failure::usage(error.to_string()))?;
    let counts = formation.resolve(&plan, !args.no_deps).map_err(|error| Failure::usage(error.to_string()))?;
    let state = StateDir::of(plan.dir()).ok();
    let report = report(&plan, &counts, args, &layers, state.as_ref())?;
    if args.json {
        output::print_json(&report);
    } else {
        output::print(&show(&report));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
struct Report {
    app: String,
    dir: String,
    build: Option<String>,
    processes: Vec<PlannedProcess>,
    cycles: Vec<Vec<String>>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlannedProcess {
    name: String,
    instances: u16,
    command: String,
    worker: bool,
    ports: Vec<PlannedPort>,
    ready: String,
    #[serde(skip)]
    at_once: bool,
    stateful: bool,
    uses: Vec<PlannedHandle>,
}

#[derive(Debug, Serialize)]
struct PlannedPort {
    name: Option<String>,
    protocol: String,
    port: Option<u16>,
    /// Where browsers on this machine reach it by name; the port stands in them where it is known.
    names: Vec<String>,
    hosts: Vec<String>,
    path: Option<String>,
    strip_path: bool,
    /// Where else it is reached.
    listens: Vec<PlannedListener>,
}

#[derive(Debug, Serialize)]
struct PlannedListener {
    /// As it is written.
    address: String,
    tls: &'static str,
    hosts: Vec<String>,
    /// Does it get the clients that are not told apart there?
    fallback: bool,
}

#[derive(Debug, Serialize)]
struct PlannedHandle {
    variable: String,
    provider: String,
    url: Option<String>,
}

fn report(
    plan: &Plan,
    counts: &BTreeMap<ProcessName, u16>,
    args: &PlanArgs,
    layers: &layers::Layers,
    state: Option<&StateDir>,
) -> Result<Report, Failure> {
    let base = daemon::wanted_base(&args.ports, layers.port.as_ref())?;
    let (ports, mut notes) = ports(plan, base, state)?;
    if super::sockets_there().is_ok_and(|sockets| runner(&sockets, plan.dir()).is_some()) {
        // Whoever has its ports is the app itself.
        notes = vec!["the app runs now: `tambat ps` shows where".to_owned()];
    }
    let attached = state.map(StateDir::attachments).unwrap_or_default();
    let wiring = Wiring { service_ports: ports, attached, ..Wiring::default() };
    let processes = plan.processes().iter().map(|process| PlannedProcess {
        name: process.name.to_string(),
        instances: counts.get(&process.name).copied().unwrap_or(0),
        command: redact_all(&process.command),
        ports: process.ports.iter().map(|port| planned_port(plan, &wiring, &process.name, port, args)).collect(),
        worker: process.role == Role::Worker,
        ready: ready(&process.ready, process.protocol()),
        at_once: matches!(process.ready, Readiness::AtOnce),
        stateful: process.stateful,
        uses: handles(plan, &wiring, &process.name),
    });
    let cycles = plan.cycles().into_iter().map(|cycle| cycle.into_iter().map(ToString::to_string).collect());
    Ok(Report {
        app: plan.name().to_string(),
        dir: plan.dir().display().to_string(),
        build: plan.build().map(redact_all),
        processes: processes.collect(),
        cycles: cycles.collect(),
        notes,
    })
}

/// Where ports would be. Whether they are free is found out by taking them, and `plan` takes nothing: it looks.
fn ports(plan: &Plan, base: Base, state: Option<&StateDir>) -> Result<(ServicePorts, Vec<String>), Failure> {
    let remembered = match base {
        Base::At(wanted) => state.and_then(StateDir::base).filter(|r| r.wanted == wanted.get()),
        Base::Kernel => None,
    };
    let base = remembered.and_then(|r| r.taken.try_into().ok()).map_or(base, Base::At);
    let wanted = ServicePorts::wanted(plan, base).map_err(|process| {
        Failure::usage(format!("the service port of `{process}` would be past 65535: choose a lower base with -p"))
    })?;
    let mut ports = ServicePorts::default();
    let mut notes = Vec::new();
    let listening = tambat_os::listening().unwrap_or_default();
    for (key, port) in wanted {
        let Some(port) = port else { continue };
        if listening.iter().any(|l| l.addr.port() == port.get()) {
            notes.push(format!(
                "port {port} for {key} is taken now: `tambat start` would say by whom,\n      and move on by 100"
            ));
        }
        ports.insert(key, port);
    }
    Ok((ports, notes))
}

fn planned_port(
    plan: &Plan,
    wiring: &Wiring,
    process: &ProcessName,
    port: &tambat_model::PortPlan,
    args: &PlanArgs,
) -> PlannedPort {
    let key = PortKey { process: process.clone(), port: port.name.clone() };
    let site = port.site.as_ref();
    // 0: the kernel chooses, so nobody knows yet.
    let http_port = Some(args.ports.http_port).filter(|port| *port != 0);
    PlannedPort {
        name: port.name.as_ref().map(ToString::to_string),
        protocol: port.protocol.to_string(),
        port: wiring.service_ports.get(&key).map(tambat_model::ServicePort::get),
        names: site.map(|site| site.urls(Scheme::Http, http_port)).unwrap_or_default(),
        hosts: site.into_iter().flat_map(|site| &site.hosts).map(ToString::to_string).collect(),
        path: site.filter(|site| !site.path.is_root()).map(|site| site.path.to_string()),
        strip_path: site.is_some_and(|site| site.strip),
        listens: listens(plan, &key.to_string()),
    }
}

fn listens(plan: &Plan, name: &str) -> Vec<PlannedListener> {
    let own = plan.entrances().iter().flat_map(|plan| plan.claims_of(name).map(move |claim| (plan.at, claim)));
    let listens = own.map(|(at, (claim, fallback))| PlannedListener {
        address: at.to_string(),
        tls: claim.tls.as_str(),
        hosts: claim.hosts.iter().map(ToString::to_string).collect(),
        fallback,
    });
    listens.collect()
}

fn ready(readiness: &Readiness, protocol: Protocol) -> String {
    match readiness {
        Readiness::Path(path, within) => format!("GET {path} answers 2xx, within {within:?}"),
        Readiness::Protocol(within) if protocol == Protocol::Tcp => format!("it accepts, within {within:?}"),
        // Of other datagrams nobody knows what is answered.
        Readiness::Protocol(within) if protocol == Protocol::Udp => format!("it has bound its PORT, within {within:?}"),
        Readiness::Protocol(within) => format!("{protocol} answers, within {within:?}"),
        Readiness::AtOnce => "at once".to_owned(),
    }
}

fn handles(plan: &Plan, wiring: &Wiring, process: &ProcessName) -> Vec<PlannedHandle> {
    let handles = wiring.handles(plan, process).into_iter();
    let planned = handles.map(|handle| PlannedHandle {
        variable: handle.var.to_string(),
        provider: match handle.state {
            HandleState::Attached(_) => format!("{} (attached)", handle.provider),
            _ => handle.provider.to_string(),
        },
        url: handle.state.url().map(ToString::to_string),
    });
    planned.collect()
}

fn show(report: &Report) -> String {
    let mut text = format!("{} in {}\n", report.app, report.dir);
    if let Some(build) = &report.build {
        text.push_str(&format!("build: {build}\n"));
    }
    report.processes.iter().for_each(|process| text.push_str(&show_process(process)));
    for cycle in &report.cycles {
        let round = cycle.iter().chain(cycle.first()).map(String::as_str).collect::<Vec<_>>().join(" → ");
        text.push_str(&format!(
            "\nnote: these use each other, which is fine (whoever is early waits):\n      {round}\n"
        ));
    }
    for note in &report.notes {
        text.push_str(&format!("\nnote: {note}\n"));
    }
    text.trim_end().to_owned()
}

fn show_process(process: &PlannedProcess) -> String {
    let times = if process.instances == 1 { String::new() } else { format!(" × {}", process.instances) };
    let mut text = format!("\n{}{times}: {}\n", process.name, process.command);
    for port in &process.ports {
        let number =
            port.port.map_or_else(|| "a port that the kernel chooses".to_owned(), |p| format!("localhost:{p}"));
        let name = port.name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
        if process.worker {
            text.push_str(&format!("    worker  nothing says that it exports a port; {number} is held for it\n"));
        } else {
            text.push_str(&format!("    serves  {name}{} at {number}\n", port.protocol));
            text.push_str(&show_names(port));
        }
    }
    if !process.worker {
        let when = if process.at_once { "" } else { "when " };
        text.push_str(&format!("    ready   {when}{}\n", process.ready));
    }
    if process.stateful {
        text.push_str("    data    one instance at a time: it is stateful\n");
    }
    for handle in &process.uses {
        let url = handle.url.as_deref().unwrap_or("(chosen at the start)");
        text.push_str(&format!("    gets    {}={url}, from {}\n", handle.variable, handle.provider));
    }
    text
}

/// By which names a port is reached, one a line.
fn show_names(port: &PlannedPort) -> String {
    let names = port.names.iter().map(|name| format!("            {name}\n"));
    let path = port.path.as_deref().unwrap_or_default();
    let hosts = port.hosts.iter().map(|host| format!("            {host}{path}\n"));
    let stripped = port.strip_path.then(|| format!("            without {path} in what it gets\n"));
    let listens = port.listens.iter().map(|of| reached(&of.address, of.tls, &of.hosts, of.fallback));
    names.chain(hosts).chain(stripped).chain(listens.map(|line| format!("            {line}\n"))).collect()
}
