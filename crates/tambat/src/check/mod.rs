//! What `tambat check` runs: the judge of `tambat-check`, and for it what the judged process uses.

mod providers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tambat_check::{Copied, Goal, Provider, Report, Subject, Unseen};
use tambat_model::{
    BASE_DEFAULT, Base, Declared, ForeignUrl, Plan, PortKey, ProcessName, ProcessPlan, Protocol, ResourceUrl,
    ServicePort, ServicePorts, Wiring,
};
use tambat_os::{Pid, Spawner};

use crate::daemon::{self, StateDir};
use crate::failure::Failure;
use crate::layers::Layers;
use crate::output;

use providers::{Providers, Wanted};

/// After an interruption: keepers give what they keep two seconds, and then kill it.
const INTERRUPTED_LIMIT: Duration = Duration::from_secs(15);

/// The app, and what all its checks share.
pub(crate) struct Checks<'a> {
    /// The app.
    pub(crate) plan: Plan,
    /// Nothing says what it speaks: its command came from the command line.
    pub(crate) undeclared: bool,
    /// The environment's shared sources.
    pub(crate) layers: Layers,
    /// What is asked.
    pub(crate) goal: &'a Goal,
    /// For the starts that are judged.
    pub(crate) spawner: &'a Spawner,
}

/// Judges one process. `tell` hears what is being done.
pub(crate) async fn process(
    checks: &Checks<'_>,
    process: &ProcessPlan,
    providers_spawner: Option<Spawner>,
    tell: &dyn Fn(&str),
) -> Result<Report, Failure> {
    let attached = StateDir::of(checks.plan.dir()).map(|state| state.attachments()).unwrap_or_default();
    let needed = providers::needed(&checks.plan, &process.name, &attached);
    let copied = copy(&checks.plan, process, &needed)?;
    let plan = checks.plan.clone();
    // Only what is stateful runs in the copy: the others may need what lies beside the directory.
    let (plan, of_providers) = match &copied {
        Some(copied) if process.stateful => {
            (plan.clone().in_dir(copied.dir().to_owned()), plan.stateful_in(copied.dir()))
        }
        Some(copied) => (plan.clone(), plan.stateful_in(copied.dir())),
        None => (plan.clone(), plan),
    };
    let foreign = foreign(&plan, &process.name, &needed, &attached).await?;
    let wiring = Wiring { service_ports: usual_ports(&plan), foreign, attached, ..Wiring::default() };
    let mut running = match providers_spawner.filter(|_| !needed.is_empty()) {
        Some(spawner) => {
            tell("starting what it uses");
            let wanted = Wanted { plan: of_providers, names: needed, wiring: wiring.clone(), layers: &checks.layers };
            Some(Providers::start(wanted, spawner)?)
        }
        None => None,
    };
    if let Some(providers) = &mut running
        && let Err(failure) = providers.ready().await
    {
        if let Some(providers) = running {
            providers.end().await;
        }
        return Err(failure);
    }
    let subject = subject(checks, process, plan, wiring, running.as_ref());
    let observed = Box::pin(tambat_check::check(&subject, checks.goal, checks.spawner, tell)).await;
    if let Some(providers) = running {
        tell("stopping what it uses");
        providers.end().await;
    }
    Ok(Report::new(&observed, &checks.goal.selection))
}

/// Waits until nothing of an interrupted check is left.
pub(crate) async fn nothing_left(spawners: &[Pid]) {
    providers::nothing_left(spawners, INTERRUPTED_LIMIT).await;
}

/// Providers in other apps are not started here: those that run are used as they are.
async fn foreign(
    plan: &Plan,
    process: &ProcessName,
    needed: &[ProcessName],
    attached: &BTreeMap<String, ResourceUrl>,
) -> Result<BTreeMap<tambat_model::Provider, ForeignUrl>, Failure> {
    let mut found = BTreeMap::new();
    for name in needed.iter().chain([process]) {
        let uses = plan.process(name).map(|p| p.uses.as_slice()).unwrap_or_default();
        let elsewhere = uses.iter().map(|used| &used.provider).filter(|provider| {
            matches!(provider, tambat_model::Provider::Foreign { .. }) && !attached.contains_key(&provider.to_string())
        });
        for provider in elsewhere {
            let running = daemon::running_foreign(&crate::cli::sockets()?, provider).await;
            let cannot = |cause| Failure::new(format!("cannot judge {process}: {cause}"));
            found.insert(provider.clone(), running.map_err(cannot)?);
        }
    }
    Ok(found)
}

/// Two servers on one data directory destroy it, and a judge's rude clients have no business there: what is stateful
/// runs in a copy.
fn copy(plan: &Plan, process: &ProcessPlan, needed: &[ProcessName]) -> Result<Option<Copied>, Failure> {
    let is_stateful = |name: &ProcessName| plan.process(name).is_some_and(|process| process.stateful);
    if !process.stateful && !needed.iter().any(is_stateful) {
        return Ok(None);
    }
    let cannot = |error| Failure::new(format!("cannot copy {}: {error}", plan.dir().display()));
    Copied::of(plan.dir()).map(Some).map_err(cannot)
}

/// The service ports that people would visit: where `tambat start` begins unless it is told otherwise.
fn usual_ports(plan: &Plan) -> ServicePorts {
    let mut ports = ServicePorts::default();
    let base = ServicePort::try_from(BASE_DEFAULT).map_or(Base::Kernel, Base::At);
    for (key, number) in ServicePorts::wanted(plan, base).unwrap_or_default() {
        if let Some(number) = number {
            ports.insert(key, number);
        }
    }
    ports
}

fn subject(
    checks: &Checks<'_>,
    process: &ProcessPlan,
    plan: Plan,
    wiring: Wiring,
    running: Option<&Providers>,
) -> Subject {
    let protocol = process.protocol();
    let is_said = !checks.undeclared && !matches!(protocol, Protocol::Tcp | Protocol::None);
    let ports = running.map(|providers| &providers.ports);
    // What the app's configuration names is not dialled behind its back.
    let values =
        || checks.layers.all.iter().map(|layer| &layer.value).chain(process.env.iter().map(|(_, value)| value));
    let resources = plan.resources().iter().filter_map(|resource| resource.url.port()).collect::<Vec<_>>();
    let is_configured =
        |port: u16| resources.contains(&port) || values().any(|value| value.contains(&format!(":{port}")));
    let used = process.uses.iter().filter_map(|used| {
        let tambat_model::Provider::Process(key) = &used.provider else { return None };
        let port = ports?.get(key)?;
        Some(Provider {
            var: used.var.to_string(),
            name: used.provider.to_string(),
            key: key.clone(),
            addr: (std::net::Ipv4Addr::LOCALHOST, port.get()).into(),
            places: running.map(|providers| providers.places(key)).unwrap_or_default(),
            usual: usual(&plan, &wiring, key).into_iter().filter(|port| !is_configured(*port)).collect(),
        })
    });
    let providers = used.collect();
    Subject {
        process: process.name.clone(),
        wiring,
        layers: checks.layers.all.clone(),
        raw_env: checks.layers.raw.clone(),
        protocol: is_said.then_some(protocol),
        providers,
        declared: declared(process, protocol),
        plan: Arc::new(plan),
    }
}

/// Where somebody who does not read the variable would look: at its service port, and at the usual port of what it speaks.
fn usual(plan: &Plan, wiring: &Wiring, key: &PortKey) -> Vec<u16> {
    let process = plan.process(&key.process);
    let protocol = process.and_then(|p| p.ports.iter().find(|port| port.name == key.port)).map(|port| port.protocol);
    let of_scheme =
        |protocol: Protocol| format!("{}://localhost", protocol.scheme()).parse::<ResourceUrl>().ok()?.port();
    let service = wiring.service_ports.get(key).map(ServicePort::get);
    // Port 80 is nobody's alone.
    service.into_iter().chain(protocol.and_then(of_scheme).filter(|port| *port >= 1024)).collect()
}

fn declared(process: &ProcessPlan, protocol: Protocol) -> Result<tambat_check::Declared, Unseen> {
    if !protocol.is_http() {
        return Err(Unseen("it does not speak HTTP".to_owned()));
    }
    match process.recognised.declared() {
        Declared::Nowhere => Err(Unseen("it has no file of dependencies that is known here".to_owned())),
        Declared::Without { file } => Ok(tambat_check::Declared { file: (*file).to_owned(), library: None }),
        Declared::Library { file, library } => {
            Ok(tambat_check::Declared { file: (*file).to_owned(), library: Some(library.name().to_owned()) })
        }
    }
}

/// The processes that are judged: the one that was named, or all that export a port.
pub(crate) fn chosen<'a>(plan: &'a Plan, named: Option<&str>) -> Result<Vec<&'a ProcessPlan>, Failure> {
    let known = || plan.processes().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    let has_port = |process: &&ProcessPlan| process.ports.iter().any(|port| port.protocol != Protocol::None);
    if let Some(named) = named {
        let found = plan.processes().iter().find(|process| process.name.as_str() == named);
        let process = found.ok_or_else(|| {
            Failure::usage(format!("there is no process `{named}` in {}; it has {}", plan.name(), known()))
        })?;
        if !has_port(&process) {
            return Err(Failure::usage(format!(
                "`{named}` binds no port (protocol = \"none\"): there is nothing to judge"
            )));
        }
        return Ok(vec![process]);
    }
    let (exporters, workers): (Vec<_>, Vec<_>) =
        plan.processes().iter().filter(has_port).partition(|process| process.role == tambat_model::Role::Exporter);
    for worker in workers {
        output::say(&format!(
            "tambat: {} is not judged: nothing says that it exports a port; `tambat check {}` judges it all the same",
            worker.name, worker.name
        ));
    }
    if exporters.is_empty() {
        return Err(Failure::usage(format!("no process of {} exports a port: there is nothing to judge", plan.name())));
    }
    Ok(exporters)
}
