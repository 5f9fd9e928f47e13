//! What is meant: a checked app, immutable.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::assign::BASE_STEP;
use crate::draft::{Draft, PortDraft, ProcessDraft, ReadyDraft};
use crate::formation::INSTANCES_MAX;
use crate::handle::Provider;
use crate::problem::{Place, Problem, Severity};
use crate::uses::resolve_uses;
use crate::{AppName, PortKey, PortName, ProcessName, Protocol, ResourceUrl, ServicePort, UrlTemplate, VarName};

/// How long an instance may take until it is ready, unless `ready.within` says otherwise: what the platforms allow.
const READY_WITHIN_DEFAULT: Duration = Duration::from_mins(1);

/// How long an instance may take to stop on a developer's machine, unless `stop.grace` says otherwise.
const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// More processes would not find their service ports below 65536, each [`BASE_STEP`] after the other.
const PROCESSES_MAX: usize = 600;

/// More backing services of one process are a list pasted by mistake; each is compared with each.
pub(crate) const USES_MAX: usize = 64;

/// More ports of one process would run into the service ports of the next.
const PORTS_MAX: usize = BASE_STEP as usize;

/// An app, checked: its only constructor is [`Plan::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    name: AppName,
    dir: PathBuf,
    build: Option<String>,
    processes: Vec<ProcessPlan>,
    resources: Vec<ResourcePlan>,
}

/// A process, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPlan {
    /// Its name.
    pub name: ProcessName,
    /// Its place in the files, from 0: decides its service port.
    pub position: u16,
    /// Its command line, for `/bin/sh -c`.
    pub command: String,
    /// Its ports, the first being `PORT`; empty only for `protocol = "none"`.
    pub ports: Vec<PortPlan>,
    /// Does it export something?
    pub role: Role,
    /// How many to run unless told otherwise.
    pub instances: u16,
    /// Its resource handles.
    pub uses: Vec<Use>,
    /// Its part of the environment.
    pub env: Vec<(VarName, String)>,
    /// When it is ready.
    pub ready: Readiness,
    /// How it is stopped.
    pub stop: Stop,
    /// What follows its end.
    pub restart: Restart,
    /// One instance at a time, because two would destroy each other's data.
    pub stateful: bool,
    /// Does whoever listens on its port count as the app?
    pub any_owner: bool,
    /// May it be reached from other machines although it cannot see who calls?
    pub expose: bool,
    /// A stream on which nothing moves for so long is closed; none: never.
    pub idle: Option<Duration>,
}

/// A port that a process exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    /// Its name; none: the one unnamed port.
    pub name: Option<PortName>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The service port that was asked for; none: by position.
    pub service: Option<ServicePort>,
    /// How its handle is written.
    pub template: UrlTemplate,
}

/// Does a process export something on its port?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It does, and is not ready before it does.
    Exporter,
    /// Nothing says so: it has a `PORT` and need not bind it.
    Worker,
}

/// One entry of `uses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The variable that holds the handle.
    pub var: VarName,
    /// Who stands behind it.
    pub provider: Provider,
}

/// When an instance is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// When its port answers as its protocol has it, within this time.
    Protocol(Duration),
    /// When this path answers 2xx, within this time.
    Path(String, Duration),
    /// From the start: nothing is expected on its port.
    AtOnce,
}

impl Readiness {
    /// How long it may take.
    pub fn within(&self) -> Duration {
        match self {
            Self::Protocol(within) | Self::Path(_, within) => *within,
            Self::AtOnce => READY_WITHIN_DEFAULT,
        }
    }
}

/// How an instance is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The signal's name without `SIG`.
    pub signal: String,
    /// How long it may take before it is killed.
    pub grace: Duration,
}

/// What follows the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Started again after a failure.
    #[default]
    OnFailure,
    /// Always started again.
    Always,
    /// Never started again.
    Never,
}

/// A backing service that is not run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcePlan {
    /// Its name.
    pub name: ProcessName,
    /// Its URL.
    pub url: ResourceUrl,
}

impl Plan {
    /// Checks a draft as a whole. All problems are found, not just the first; with an error among them there is no plan.
    /// The warnings come beside the plan.
    pub fn new(draft: Draft) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        if draft.processes.len() > PROCESSES_MAX {
            let what = format!("this app has {} processes; there is room for {PROCESSES_MAX}", draft.processes.len());
            return Err(vec![Problem::error(Place::App, what).help("divide it into several apps")]);
        }
        let mut problems = check_names(&draft);
        problems.extend(check_ports(&draft));
        let mut processes = Vec::with_capacity(draft.processes.len());
        let mut next_position = 0;
        for process in &draft.processes {
            problems.extend(check_process(process));
            let (uses, use_problems) = resolve_uses(&draft, process);
            problems.extend(use_problems);
            problems.extend(check_env(process, &uses));
            let position = process.position.unwrap_or(next_position);
            next_position = position.saturating_add(1);
            processes.push(plan_process(&draft, process, position, uses));
        }
        if problems.iter().any(|p| p.severity == Severity::Error) {
            return Err(problems);
        }
        let Draft { name, dir, build, resources, .. } = draft;
        Ok((Self { name, dir, build, processes, resources }, problems))
    }

    /// The app's name.
    pub fn name(&self) -> &AppName {
        &self.name
    }

    /// The app's directory, canonical.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The command that is run before anything starts.
    pub fn build(&self) -> Option<&str> {
        self.build.as_deref()
    }

    /// The processes, by position.
    pub fn processes(&self) -> &[ProcessPlan] {
        &self.processes
    }

    /// One process.
    pub fn process(&self, name: &ProcessName) -> Option<&ProcessPlan> {
        self.processes.iter().find(|p| p.name == *name)
    }

    /// The entries of `[resources]`.
    pub fn resources(&self) -> &[ResourcePlan] {
        &self.resources
    }

    /// One entry of `[resources]`.
    pub fn resource(&self, name: &str) -> Option<&ResourcePlan> {
        self.resources.iter().find(|r| r.name.as_str() == name)
    }

    /// How the handle of this process port is written.
    pub fn template(&self, key: &PortKey) -> Option<UrlTemplate> {
        let process = self.process(&key.process)?;
        process.ports.iter().find(|p| p.name == key.port).map(|p| p.template.clone())
    }

    /// Who uses a process of this app: the uses that point at it.
    pub fn uses_of<'a>(&'a self, provider: &'a ProcessName) -> impl Iterator<Item = &'a Use> {
        self.processes.iter().flat_map(|p| &p.uses).filter(move |used| match &used.provider {
            Provider::Process(key) => key.process == *provider,
            _ => false,
        })
    }

    /// The processes with a handle to this provider, as `uses` names it.
    pub fn consumers_of<'a>(&'a self, provider: &'a str) -> impl Iterator<Item = &'a ProcessPlan> {
        self.processes.iter().filter(move |p| p.uses.iter().any(|used| used.provider.to_string() == provider))
    }

    /// Every provider that a handle of this app points at, as `uses` names it.
    pub fn providers(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.processes.iter().flat_map(|p| &p.uses).map(|u| u.provider.to_string()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The cycles in `uses`, each by the names on its way round: the shortest through each process, written down once,
    /// from its first process in the files. They are allowed: whoever is early waits.
    pub fn cycles(&self) -> Vec<Vec<&ProcessName>> {
        let mut cycles: Vec<Vec<&ProcessName>> = Vec::new();
        for process in &self.processes {
            if cycles.iter().any(|cycle| cycle.contains(&&process.name)) {
                continue;
            }
            cycles.extend(self.shortest_cycle(&process.name));
        }
        cycles
    }

    /// The shortest way along `uses` from a process back to itself.
    fn shortest_cycle<'a>(&'a self, start: &'a ProcessName) -> Option<Vec<&'a ProcessName>> {
        let mut came_from: BTreeMap<&ProcessName, &ProcessName> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(name) = queue.pop_front() {
            for next in self.process(name).into_iter().flat_map(ProcessPlan::local_providers) {
                if next == start {
                    let mut path = vec![name];
                    path.extend(std::iter::successors(came_from.get(name).copied(), |n| came_from.get(n).copied()));
                    path.reverse();
                    return Some(path);
                }
                if !came_from.contains_key(next) {
                    came_from.insert(next, name);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

impl ProcessPlan {
    /// The processes of this app that it uses.
    pub fn local_providers(&self) -> impl Iterator<Item = &ProcessName> {
        self.uses.iter().filter_map(|used| match &used.provider {
            Provider::Process(key) => Some(&key.process),
            _ => None,
        })
    }

    /// What its first port speaks.
    pub fn protocol(&self) -> Protocol {
        self.ports.first().map_or(Protocol::None, |p| p.protocol)
    }
}

fn check_names(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    if draft.processes.is_empty() {
        problems.push(Problem::error(Place::App, "this app has no process").help("[processes.web]\ncommand = \"…\""));
    }
    for (nth, process) in draft.processes.iter().enumerate() {
        if draft.processes[..nth].iter().any(|other| other.name == process.name) {
            let what = format!("there are two processes called `{}`", process.name);
            problems.push(Problem::error(Place::Process(process.name.clone()), what).help("give each its own name"));
        }
        if draft.resources.iter().any(|r| r.name == process.name) {
            let what = format!("`{}` is the name of a process and of a resource", process.name);
            let other = Place::Resource(process.name.to_string());
            problems.push(Problem::error(Place::Process(process.name.clone()), what).clashes_with(other));
        }
        if !process.name.is_hostname_label() {
            let what =
                format!("`{}` cannot become a hostname, which takes letters, digits and inner `-`", process.name);
            let label = process.name.as_str().replace('_', "-");
            let problem = Problem::warning(Place::Process(process.name.clone()), what);
            problems.push(problem.help(format!("a name such as `{}` can", label.trim_matches('-'))));
        }
    }
    problems
}

/// No two process ports may ask for one service port.
fn check_ports(draft: &Draft) -> Vec<Problem> {
    let mut taken: BTreeMap<ServicePort, (&ProcessName, Place)> = BTreeMap::new();
    let mut problems = Vec::new();
    let places = draft.processes.iter().flat_map(|process| {
        let own = process.port.map(|port| (port, Place::Key(process.name.clone(), "port")));
        let named =
            process.ports.iter().filter_map(|p| Some((p.port?, Place::Port(process.name.clone(), p.name.to_string()))));
        own.into_iter().chain(named).map(move |(port, place)| (port, &process.name, place))
    });
    for (port, name, place) in places {
        match taken.get(&port) {
            Some((other, at)) => {
                let who =
                    if *other == name { format!("two ports of `{name}`") } else { format!("`{other}` and `{name}`") };
                let what = format!("{who} both ask for port {port}");
                problems.push(Problem::error(place, what).clashes_with(at.clone()).help("give each a port of its own"));
            }
            None => {
                taken.insert(port, (name, place));
            }
        }
    }
    problems
}

/// A variable that nobody would see, because a stronger source has it too.
fn check_env(process: &ProcessDraft, uses: &[Use]) -> Vec<Problem> {
    let set_here = |var: &VarName| match var.as_str() {
        "PS" | "TAMBAT_URL" => true,
        "PORT" => first_protocol(process) != Protocol::None,
        _ => process.ports.iter().any(|port| port.name.variable() == *var),
    };
    let mut problems = Vec::new();
    for (var, _) in &process.env {
        let what = if set_here(var) {
            format!("`{var}` in `env` is never seen: tambat sets it itself")
        } else if let Some(used) = uses.iter().find(|used| used.var == *var) {
            format!("`{var}` in `env` is never seen: the handle to `{}` has this name", used.provider)
        } else {
            continue;
        };
        problems.push(Problem::warning(Place::Key(process.name.clone(), "env"), what).help("remove it"));
    }
    problems
}

/// The named ports of a process: each speaks something, and has a variable of its own.
fn check_named_ports(process: &ProcessDraft) -> Vec<Problem> {
    let name = &process.name;
    if process.ports.len() > PORTS_MAX {
        let what = format!("`{name}` has {} ports; there is room for {PORTS_MAX}", process.ports.len());
        return vec![Problem::error(Place::Key(name.clone(), "ports"), what)];
    }
    let place = |port: &PortDraft| Place::Port(name.clone(), port.name.to_string());
    let mut problems = Vec::new();
    for (nth, port) in process.ports.iter().enumerate() {
        if port.protocol == Protocol::None {
            let what = format!("the port `{}` of `{name}` speaks nothing (\"none\"), so it is no port", port.name);
            problems.push(Problem::error(place(port), what).help("\"tcp\" is any stream"));
        }
        let variable = port.name.variable();
        if let Some(other) = process.ports[..nth].iter().find(|other| other.name.variable() == variable) {
            let what = format!("the ports `{}` and `{}` of `{name}` would both be {variable}", other.name, port.name);
            let problem = Problem::error(place(port), what).clashes_with(place(other));
            problems.push(problem.help("give each a name of its own"));
        }
    }
    problems
}

fn check_process(process: &ProcessDraft) -> Vec<Problem> {
    let key = |key| Place::Key(process.name.clone(), key);
    let name = &process.name;
    let mut problems = check_named_ports(process);
    if process.uses.len() > USES_MAX {
        let what = format!("`{name}` uses {} services; there is room for {USES_MAX}", process.uses.len());
        problems.push(Problem::error(key("uses"), what));
    }
    if process.command.as_deref().is_none_or(|c| c.trim().is_empty()) {
        let what = format!("`{name}` has no command, here or in the Procfile");
        problems.push(Problem::error(Place::Process(name.clone()), what).help("command = \"…\""));
    }
    if process.protocol.is_some() && !process.ports.is_empty() {
        let what = format!("`{name}` has `ports`, so each of them has its own protocol");
        problems.push(Problem::error(key("protocol"), what).help("ports = { main = \"http\", admin = \"http\" }"));
    }
    if process.protocol == Some(Protocol::None) && process.port.is_some() {
        problems.push(Problem::error(
            key("port"),
            format!("`{name}` speaks nothing (protocol = \"none\"), so it has no port"),
        ));
    }
    if process.port.is_some() && process.ports.first().is_some_and(|p| p.port.is_some()) {
        let what = format!("the first port of `{name}` is given twice, by `port` and in `ports`");
        problems.push(Problem::error(key("port"), what));
    }
    if process.instances.is_some_and(|n| n > INSTANCES_MAX) {
        problems
            .push(Problem::error(key("instances"), format!("`{name}` asks for more than {INSTANCES_MAX} instances")));
    }
    if is_stateful(process) && process.instances.is_some_and(|n| n > 1) {
        let what = format!("`{name}` is stateful: two instances on its data would destroy it");
        problems.push(
            Problem::error(key("instances"), what)
                .help("instances = 1, or stateful = false if its instances share nothing"),
        );
    }
    if process.ready.path.is_some() && first_protocol(process) != Protocol::Http {
        problems.push(Problem::error(key("ready"), format!("`{name}` does not speak http, so it has no path to ask")));
    }
    problems
}

fn plan_process(draft: &Draft, process: &ProcessDraft, position: u16, uses: Vec<Use>) -> ProcessPlan {
    let role = role(draft, process);
    let within = process.ready.within.unwrap_or(READY_WITHIN_DEFAULT);
    let ready = match (&process.ready.path, role) {
        (Some(path), _) => Readiness::Path(path.clone(), within),
        (None, Role::Exporter) => Readiness::Protocol(within),
        (None, Role::Worker) => Readiness::AtOnce,
    };
    ProcessPlan {
        name: process.name.clone(),
        position,
        command: process.command.clone().unwrap_or_default(),
        ports: plan_ports(process),
        role,
        instances: process.instances.unwrap_or(1),
        uses,
        env: process.env.clone(),
        ready,
        stop: Stop {
            signal: process.stop.signal.clone().unwrap_or_else(|| "TERM".to_owned()),
            grace: process.stop.grace.unwrap_or(STOP_GRACE_DEFAULT),
        },
        restart: process.restart.unwrap_or_default(),
        stateful: is_stateful(process),
        any_owner: process.any_owner,
        expose: process.expose,
        idle: process.idle,
    }
}

/// One of which nothing says that it exports something is a worker.
fn role(draft: &Draft, process: &ProcessDraft) -> Role {
    let protocol = process.protocol;
    let says_so = process.name.is_web()
        || protocol.is_some()
        || process.port.is_some()
        || !process.ports.is_empty()
        || process.ready != ReadyDraft::default();
    let is_used = || {
        let used = draft.processes.iter().flat_map(|p| &p.uses);
        used.map(|u| u.provider.split_once(':').map_or(u.provider.as_str(), |(p, _)| p))
            .any(|p| p == process.name.as_str())
    };
    if protocol != Some(Protocol::None) && (says_so || is_used()) { Role::Exporter } else { Role::Worker }
}

fn plan_ports(process: &ProcessDraft) -> Vec<PortPlan> {
    let plan = |name: Option<PortName>, protocol, service| PortPlan {
        name,
        protocol,
        service,
        template: process.url.clone().unwrap_or_else(|| UrlTemplate::of(protocol)),
    };
    if process.ports.is_empty() {
        let protocol = first_protocol(process);
        return if protocol == Protocol::None { Vec::new() } else { vec![plan(None, protocol, process.port)] };
    }
    let mut ports: Vec<PortPlan> =
        process.ports.iter().map(|p: &PortDraft| plan(Some(p.name.clone()), p.protocol, p.port)).collect();
    ports[0].service = ports[0].service.or(process.port);
    for port in ports.iter_mut().skip(1) {
        port.template = UrlTemplate::of(port.protocol);
    }
    ports
}

fn is_stateful(process: &ProcessDraft) -> bool {
    let by_protocol = first_protocol(process).is_stateful() || process.ports.iter().any(|p| p.protocol.is_stateful());
    process.stateful.unwrap_or(by_protocol)
}

/// `web` speaks HTTP unless it says otherwise; of another process of which nothing is said, only TCP is known.
fn first_protocol(process: &ProcessDraft) -> Protocol {
    let unsaid = if process.name.is_web() { Protocol::Http } else { Protocol::Tcp };
    process.ports.first().map(|p| p.protocol).or(process.protocol).unwrap_or(unsaid)
}
