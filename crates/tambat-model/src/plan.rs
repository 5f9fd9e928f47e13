//! What is meant: a checked app, immutable.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::check::{check_env, check_limits, check_names, check_ports, check_process};
use crate::check_http::check_http;
use crate::draft::{Draft, PortDraft, ProcessDraft, ReadyDraft};
use crate::entrance::EntrancePlan;
use crate::handle::Provider;
use crate::listen::resolve_listeners;
use crate::problem::{Problem, Severity};
use crate::site::{PortSite, resolve_sites};
use crate::uses::resolve_uses;
use crate::{
    AppName, DATAGRAM_IDLE_DEFAULT, DependencyFile, HealthRules, HttpRules, Manner, PortKey, PortName, ProcessName,
    Protocol, ProxyProtocol, Recognised, ResourceUrl, RouterPlan, ServicePort, Sticky, UrlTemplate, VarName,
    shell_command,
};

/// How long an instance may take until it is ready, unless `ready.within` says otherwise: what the platforms allow.
const READY_WITHIN_DEFAULT: Duration = Duration::from_mins(1);

/// An app, checked: its only constructor is [`Plan::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    name: AppName,
    dir: PathBuf,
    build: Option<String>,
    processes: Vec<ProcessPlan>,
    resources: Vec<ResourcePlan>,
    router: RouterPlan,
    manner: Manner,
    entrances: Vec<EntrancePlan>,
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
    /// A session of datagrams in which nothing moves for so long is over.
    pub datagram_idle: Duration,
    /// How long connecting to an instance may take; none: as long as the router has it.
    pub connect: Option<Duration>,
    /// How many streams each of its ports has open at a time; none: any number.
    pub connections_max: Option<NonZeroU32>,
    /// How long a connection waits for an instance that is coming.
    pub wait: Duration,
    /// How long what an instance has in flight may take when it is replaced.
    pub drain: Duration,
    /// What holds for its requests, where it speaks HTTP.
    pub http: Arc<HttpRules>,
    /// Its instances are asked how they are.
    pub health: Option<HealthRules>,
    /// What serves behind its command.
    pub recognised: Recognised,
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
    /// How it is told where each connection comes from; none: it is not.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// By which names it is reached, where it speaks HTTP.
    pub site: Option<PortSite>,
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
        let too_much = check_limits(&draft);
        if !too_much.is_empty() {
            return Err(too_much);
        }
        let mut problems = check_names(&draft);
        problems.extend(check_ports(&draft));
        let (mut sites, site_problems) = resolve_sites(&draft);
        problems.extend(site_problems);
        let (entrances, listen_problems) = resolve_listeners(&draft);
        problems.extend(listen_problems);
        let mut processes = Vec::with_capacity(draft.processes.len());
        let mut next_position = 0;
        for process in &draft.processes {
            problems.extend(check_process(process));
            let (uses, use_problems) = resolve_uses(&draft, process);
            problems.extend(use_problems);
            problems.extend(check_env(process, &uses));
            problems.extend(check_http(process));
            let position = process.position.unwrap_or(next_position);
            next_position = position.saturating_add(1);
            let mut planned = plan_process(&draft, process, position, uses);
            for port in &mut planned.ports {
                port.site = sites.remove(&PortKey { process: process.name.clone(), port: port.name.clone() });
            }
            processes.push(planned);
        }
        if problems.iter().any(|p| p.severity == Severity::Error) {
            return Err(problems);
        }
        let Draft { name, dir, build, resources, router, manner, .. } = draft;
        Ok((Self { name, dir, build, processes, resources, router, manner, entrances }, problems))
    }

    /// With what the app's dependency files tell about its processes.
    #[must_use]
    pub fn recognising(mut self, files: &[DependencyFile]) -> Self {
        for process in &mut self.processes {
            process.recognised = Recognised::of(&process.command, files);
        }
        self
    }

    /// The app's name.
    pub fn name(&self) -> &AppName {
        &self.name
    }

    /// The app's directory, canonical.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same app, its stateful processes run in another directory: a copy.
    #[must_use]
    pub fn stateful_in(mut self, dir: &Path) -> Self {
        let quoted = dir.to_string_lossy().replace('\'', "'\\''");
        for process in self.processes.iter_mut().filter(|process| process.stateful) {
            process.command = format!("cd '{quoted}' && {}", shell_command(&process.command));
        }
        self
    }

    /// The same app, run in another directory: a copy of its own.
    #[must_use]
    pub fn in_dir(self, dir: PathBuf) -> Self {
        Self { dir, ..self }
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

    /// `[router]`.
    pub fn router(&self) -> &RouterPlan {
        &self.router
    }

    /// The listeners that its files ask for, by address.
    pub fn entrances(&self) -> &[EntrancePlan] {
        &self.entrances
    }

    /// Who runs it.
    pub fn manner(&self) -> Manner {
        self.manner
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

fn plan_process(draft: &Draft, process: &ProcessDraft, position: u16, uses: Vec<Use>) -> ProcessPlan {
    let (role, manner) = (role(draft, process), draft.manner);
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
            grace: process.stop.grace.unwrap_or(manner.stop_grace()),
        },
        restart: process.restart.unwrap_or_default(),
        stateful: is_stateful(process),
        any_owner: process.any_owner,
        expose: process.expose,
        idle: process.idle.or(manner.stream_idle()),
        datagram_idle: process.idle.unwrap_or(DATAGRAM_IDLE_DEFAULT),
        connect: process.connect,
        connections_max: process.connections_max,
        wait: manner.wait().unwrap_or(within),
        drain: manner.drain(),
        http: Arc::new(http_rules(process, manner)),
        health: process.health.clone(),
        recognised: Recognised::of(process.command.as_deref().unwrap_or_default(), &[]),
    }
}

/// An instance of ours that refuses a connection comes back, or is known to be gone: its requests wait. On a developer's
/// machine nothing else has a limit unless its user says one.
fn http_rules(process: &ProcessDraft, manner: Manner) -> HttpRules {
    let http = &process.http;
    let headers: Vec<_> = http.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    HttpRules {
        first_byte: http.first_byte.or(manner.first_byte()),
        response_idle: http.response_idle.or(manner.response_idle()),
        wait: http.wait,
        waits_when_refused: true,
        body_bytes_max: http.body_bytes_max,
        https_headers: http.hsts.map(|hsts| hsts.added_to(&headers)),
        headers,
        https_redirect: http.https_redirect.into(),
        health_path: process.health.as_ref().and_then(|health| health.path.clone()),
        sticky: http.sticky.as_ref().map(|cookie| Sticky { cookie: cookie.to_string() }),
        balance: http.balance.unwrap_or_default(),
        in_flight_max: http.in_flight_max,
        queue_max: http.queue_max,
        hop_token: None,
    }
}

/// One of which nothing says that it exports something is a worker.
fn role(draft: &Draft, process: &ProcessDraft) -> Role {
    let protocol = process.protocol;
    let says_so = process.name.is_web()
        || protocol.is_some()
        || process.port.is_some()
        || !process.ports.is_empty()
        || !process.site.listen.is_empty()
        || process.ready != ReadyDraft::default();
    let is_used = || {
        let used = draft.processes.iter().flat_map(|p| &p.uses);
        used.map(|u| u.provider.split_once(':').map_or(u.provider.as_str(), |(p, _)| p))
            .any(|p| p == process.name.as_str())
    };
    if protocol != Some(Protocol::None) && (says_so || is_used()) { Role::Exporter } else { Role::Worker }
}

fn plan_ports(process: &ProcessDraft) -> Vec<PortPlan> {
    let plan = |name: Option<PortName>, protocol, service, proxy_protocol| PortPlan {
        name,
        protocol,
        service,
        template: process.url.clone().unwrap_or_else(|| UrlTemplate::of(protocol)),
        proxy_protocol,
        site: None,
    };
    if process.ports.is_empty() {
        let protocol = first_protocol(process);
        return if protocol == Protocol::None {
            Vec::new()
        } else {
            vec![plan(None, protocol, process.port, process.proxy_protocol)]
        };
    }
    let named = |port: &PortDraft| plan(Some(port.name.clone()), port.protocol, port.port, port.proxy_protocol);
    let mut ports: Vec<PortPlan> = process.ports.iter().map(named).collect();
    ports[0].service = ports[0].service.or(process.port);
    ports[0].proxy_protocol = ports[0].proxy_protocol.or(process.proxy_protocol);
    for port in ports.iter_mut().skip(1) {
        port.template = UrlTemplate::of(port.protocol);
    }
    ports
}

pub(crate) fn is_stateful(process: &ProcessDraft) -> bool {
    let by_protocol = first_protocol(process).is_stateful() || process.ports.iter().any(|p| p.protocol.is_stateful());
    process.stateful.unwrap_or(by_protocol)
}

/// `web` speaks HTTP unless it says otherwise; of another process of which nothing is said, only TCP is known.
pub(crate) fn first_protocol(process: &ProcessDraft) -> Protocol {
    let unsaid = if process.name.is_web() { Protocol::Http } else { Protocol::Tcp };
    process.ports.first().map(|p| p.protocol).or(process.protocol).unwrap_or(unsaid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol::{Http, None as Nothing, Postgres, Redis, Tcp};
    use crate::sample::{draft, name, plan, port, process, with_ports};

    fn cycles(uses: &[(&str, &[&str])]) -> Vec<String> {
        let plan = plan(uses.iter().map(|(name, uses)| process(name, Some(Http), uses)).collect());
        let joined = |cycle: Vec<&ProcessName>| cycle.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" ");
        plan.cycles().into_iter().map(joined).collect()
    }

    #[test]
    fn what_is_stateful_may_run_in_a_copy() {
        let plan = plan(vec![process("web", None, &["db"]), process("db", Some(Redis), &[])]);
        let before = plan.process(&name("web")).unwrap().command.clone();
        let moved = plan.stateful_in(Path::new("/tmp/it's"));
        let command = |of: &str| moved.process(&name(of)).unwrap().command.clone();
        assert_eq!(command("web"), before);
        assert!(command("db").starts_with("cd '/tmp/it'\\''s' && exec "), "{}", command("db"));
    }

    #[test]
    fn cycles_are_found_once_each_from_their_first_process() {
        assert_eq!(cycles(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]), Vec::<String>::new());
        assert_eq!(cycles(&[("a", &["a"])]), ["a"]);
        assert_eq!(cycles(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]), ["a b c"]);
        assert_eq!(cycles(&[("x", &["b"]), ("b", &["c"]), ("c", &["b"])]), ["b c"]);
        assert_eq!(cycles(&[("a", &["b"]), ("b", &["a"]), ("c", &["d"]), ("d", &["c", "a"])]), ["a b", "c d"]);
    }

    #[test]
    fn an_app_in_which_all_use_all_is_looked_at_in_no_time() {
        let names: Vec<String> = (0..60).map(|n| format!("p{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all: Vec<(&str, &[&str])> = names.iter().map(|name| (*name, names.as_slice())).collect();
        assert_eq!(cycles(&all).len(), 60);
    }

    #[test]
    fn who_exports_and_who_merely_works() {
        let ready = ReadyDraft { path: None, within: Some(Duration::from_secs(9)) };
        let plan = plan(vec![
            process("web", None, &["used"]),
            process("worker", None, &[]),
            process("used", Some(Tcp), &[]),
            process("speaks", Some(Redis), &[]),
            ProcessDraft { port: Some(port(7000)), ..process("ported", None, &[]) },
            with_ports("named", &[("a", Tcp, None)]),
            ProcessDraft { ready, ..process("readied", None, &[]) },
            process("none", Some(Nothing), &[]),
        ]);
        let roles: Vec<(&str, Role)> = plan.processes().iter().map(|p| (p.name.as_str(), p.role)).collect();
        let exporter = |name| (name, Role::Exporter);
        let worker = |name| (name, Role::Worker);
        assert_eq!(
            roles,
            [
                exporter("web"),
                worker("worker"),
                exporter("used"),
                exporter("speaks"),
                exporter("ported"),
                exporter("named"),
                exporter("readied"),
                worker("none"),
            ]
        );
        let ready = |text| &plan.process(&name(text)).unwrap().ready;
        assert_eq!(*ready("web"), Readiness::Protocol(Duration::from_mins(1)));
        assert_eq!(*ready("readied"), Readiness::Protocol(Duration::from_secs(9)));
        assert_eq!((ready("worker"), ready("worker").within()), (&Readiness::AtOnce, Duration::from_mins(1)));
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let plan =
            plan(vec![process("web", None, &[]), process("worker", None, &[]), process("off", Some(Nothing), &[])]);
        let [web, worker, off] = plan.processes() else { panic!("three") };
        assert_eq!((web.protocol(), worker.protocol(), off.protocol()), (Http, Tcp, Nothing));
        assert_eq!(web.ports[0].template.as_str(), "http://{host}:{port}");
        assert_eq!((worker.ports.len(), off.ports.len()), (1, 0));
        assert_eq!((web.instances, web.restart, web.stateful, web.idle), (1, Restart::OnFailure, false, None));
        assert_eq!(web.stop, Stop { signal: "TERM".to_owned(), grace: Duration::from_secs(5) });
    }

    #[test]
    fn the_first_named_port_takes_the_url_and_the_number_of_its_process() {
        let chat = ProcessDraft {
            port: Some(port(5222)),
            url: Some("xmpp://me@{host}:{port}".parse().unwrap()),
            ..with_ports("chat", &[("c2s", Tcp, None), ("admin", Postgres, Some(9000))])
        };
        let plan = plan(vec![chat]);
        let chat = &plan.processes()[0];
        assert_eq!(chat.ports[0].service, Some(port(5222)));
        assert_eq!(chat.ports[1].service, Some(port(9000)));
        let template = |port: &str| {
            let key = PortKey { process: name("chat"), port: Some(port.parse().unwrap()) };
            plan.template(&key).map(|template| template.as_str().to_owned())
        };
        assert_eq!(template("c2s").as_deref(), Some("xmpp://me@{host}:{port}"));
        assert_eq!(template("admin").as_deref(), Some("postgres://{host}:{port}"));
        assert_eq!(template("none"), None);
        assert!(chat.stateful);
    }

    #[test]
    fn a_position_that_is_given_is_kept_and_the_next_follows_it() {
        let at = |position, text| ProcessDraft { position, ..process(text, None, &[]) };
        let plan = plan(vec![at(None, "web"), at(Some(5), "api"), at(None, "worker")]);
        assert_eq!(plan.processes().iter().map(|p| p.position).collect::<Vec<_>>(), [0, 5, 6]);
    }

    #[test]
    fn who_uses_whom() {
        let plan = plan(vec![process("web", None, &["api", "mail"]), process("api", Some(Http), &["mail", "b/x"])]);
        assert_eq!(plan.providers(), ["api", "b/x", "mail"]);
        let consumers = |provider| plan.consumers_of(provider).map(|p| p.name.as_str()).collect::<Vec<_>>();
        assert_eq!((consumers("mail"), consumers("api")), (vec!["web", "api"], vec!["web"]));
        assert_eq!(plan.uses_of(&name("api")).count(), 1);
        assert_eq!(plan.uses_of(&name("web")).count(), 0);
        assert!(plan.resource("mail").is_some() && plan.resource("api").is_none());
        assert_eq!((plan.name().as_str(), plan.dir(), plan.build()), ("shop", Path::new("/srv/shop"), None));
    }

    #[test]
    fn a_warning_comes_beside_the_plan_and_an_error_in_its_place() {
        let (_, warnings) = Plan::new(draft(vec![process("my_web", None, &[])])).unwrap();
        assert_eq!(warnings.len(), 1);
        let problems = Plan::new(draft(vec![process("my_web", None, &["nobody"])])).unwrap_err();
        assert_eq!(problems.iter().map(|p| p.severity).collect::<Vec<_>>(), [Severity::Warning, Severity::Error]);
    }
}
