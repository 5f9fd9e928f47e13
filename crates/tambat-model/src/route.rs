//! The route table: from a service port to the instances that may serve it. Rebuilt whole on every change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::entrance::{Entrance, ListenAddr};
use crate::host::{HostTable, Site};
use crate::https::HttpsRedirect;
use crate::listed::ListedApp;
use crate::mend;
use crate::traffic::Traffic;
use crate::world::{Cause, Gate, InstanceView, Load, Phase, ProcessView, World};
use crate::{Plan, PortKey, PortPlan, ProcessPlan, Protocol, ProxyProtocol, Role, ServicePort, Wiring};

/// How long a session of datagrams goes on in which nothing moves, unless `timeouts.idle` says otherwise: nothing tells when
/// one is over, most are after a question and its answer, and one that is kept open says something every 30 s as a rule
/// (RFC 8085 §3.5 has 15 s as the least for that).
pub const DATAGRAM_IDLE_DEFAULT: Duration = Duration::from_mins(1);

/// Where a connection goes: by the service port it arrived at, or, on a shared listener, by hostname and path.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: BTreeMap<ServicePort, Arc<Route>>,
    hosts: HostTable,
    entrances: BTreeMap<ListenAddr, Arc<Entrance>>,
    listed: Vec<ListedApp>,
}

/// What happens to a connection or request that is for one process port.
#[derive(Debug, Clone)]
pub struct Route {
    /// The process port it is for, as people name it: `web`, `chat:admin`, `billing/api`.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// A stream on which nothing moves for so long is closed; none: never. A tunnel (an upgraded connection) is one, too.
    pub idle: Option<Duration>,
    /// A session of datagrams in which nothing moves for so long is over.
    pub datagram_idle: Duration,
    /// How long connecting to a target may take; none: as long as the router has it.
    pub connect: Option<Duration>,
    /// How many of its streams are open at a time, at all listeners; none: any number. Of HTTP it is the requests that
    /// are limited ([`HttpRules::in_flight_max`]).
    pub connections_max: Option<NonZeroU32>,
    /// How its targets are told where each connection comes from; none: they are not.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What holds for its requests, where it speaks HTTP.
    pub http: Arc<HttpRules>,
    /// Who may serve it.
    pub admission: Admission,
    /// What it has carried. Kept across tables by whoever builds them.
    pub traffic: Arc<Traffic>,
}

/// What holds for the requests of one process port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpRules {
    /// How long the first byte of an answer may take; none: for ever.
    pub first_byte: Option<Duration>,
    /// How long an answer may stand still once it has begun; none: for ever.
    pub response_idle: Option<Duration>,
    /// How long a request waits for a target when all are busy or gone; none: as the table says ([`Admission::Hold`]).
    pub wait: Option<Duration>,
    /// When every target that was tried refused the connection: does the request wait for one (they are instances of
    /// ours, which come back), or fail at once?
    pub waits_when_refused: bool,
    /// How large a request's body may be, bytes; none: of any size.
    pub body_bytes_max: Option<u64>,
    /// Fields that the answers get, in place of what the app said; an empty value removes the field.
    pub headers: Vec<(String, String)>,
    /// The same for clients that come over TLS, where they get others (HSTS).
    pub https_headers: Option<Vec<(String, String)>>,
    /// Who is sent to https when they come without.
    pub https_redirect: HttpsRedirect,
    /// Where its health is asked: nobody is sent anywhere from there.
    pub health_path: Option<String>,
    /// A client stays with its target.
    pub sticky: Option<Sticky>,
    /// How the target is chosen.
    pub balance: Balance,
    /// How many requests a target may have in flight; none: any number.
    pub in_flight_max: Option<NonZeroU32>,
    /// How many requests wait when all targets are full.
    pub queue_max: Option<NonZeroU32>,
    /// `Tambat-Hop` with this value, sent along to each target: it is a router of this user, which then believes our
    /// forwarding fields.
    pub hop_token: Option<Arc<str>>,
}

/// A client stays with its target, by a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
}

/// How the target is chosen among those that are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the least in flight; among equals in turn.
    LeastInFlight,
    /// The one that the client's address leads to, each time: when a target goes, only its clients go elsewhere.
    SourceHash,
}

/// Who may serve a connection now.
#[derive(Debug, Clone)]
pub enum Admission {
    /// One of these, at least one.
    Serve(Vec<Arc<Target>>),
    /// Nobody yet: it waits for so long at most (none: for ever).
    Hold {
        /// How long a connection may wait.
        limit: Option<Duration>,
        /// What it waits for: "web.1 has not bound its port yet".
        cause: Cause,
        /// What its user can do about it, where there is something.
        mend: Option<Cause>,
    },
    /// Nobody: it is told why.
    Refuse {
        /// Why.
        cause: Cause,
        /// What its user can do about it, where there is something.
        mend: Option<Cause>,
    },
}

/// An instance port that a route may choose.
#[derive(Debug, Clone)]
pub struct Target {
    /// The instance, as people name it: `web.1`, or `billing/api` for another app's service port.
    pub name: String,
    /// How often an instance of this name has been started, from 1: tells a report on an old one from the new one.
    pub generation: u32,
    /// Where it is dialled.
    pub addr: SocketAddr,
    /// Its connections.
    pub load: Arc<Load>,
}

impl Route {
    /// A route with the default rules and counters of its own.
    pub fn new(name: &str, protocol: Protocol, admission: Admission) -> Self {
        Self {
            name: name.to_owned(),
            protocol,
            idle: None,
            datagram_idle: DATAGRAM_IDLE_DEFAULT,
            connect: None,
            connections_max: None,
            proxy_protocol: None,
            http: Arc::default(),
            admission,
            traffic: Arc::default(),
        }
    }
}

impl RouteTable {
    /// The route of this service port.
    pub fn get(&self, port: ServicePort) -> Option<&Arc<Route>> {
        self.routes.get(&port)
    }

    /// Sets the route of this service port.
    pub fn insert(&mut self, port: ServicePort, route: Route) {
        self.routes.insert(port, Arc::new(route));
    }

    /// The routes by hostname and path.
    pub fn hosts(&self) -> &HostTable {
        &self.hosts
    }

    /// The same, to add to.
    pub fn hosts_mut(&mut self) -> &mut HostTable {
        &mut self.hosts
    }

    /// Who is reached at this listener of the manifest; none: there is no such listener any more, or not yet.
    pub fn entrance(&self, at: ListenAddr) -> Option<&Arc<Entrance>> {
        self.entrances.get(&at)
    }

    /// Sets it.
    pub fn set_entrance(&mut self, at: ListenAddr, entrance: Entrance) {
        self.entrances.insert(at, Arc::new(entrance));
    }

    /// The listeners of the manifest, and who is reached there.
    pub fn entrances(&self) -> impl Iterator<Item = (ListenAddr, &Arc<Entrance>)> {
        self.entrances.iter().map(|(at, entrance)| (*at, entrance))
    }

    /// The apps of the catalogue, in the order in which they are shown; none where the routes are of no app.
    pub fn listed(&self) -> &[ListedApp] {
        &self.listed
    }

    /// Sets them.
    pub fn list(&mut self, apps: Vec<ListedApp>) {
        self.listed = apps;
    }

    /// All service ports' routes, by number.
    pub fn iter(&self) -> impl Iterator<Item = (ServicePort, &Arc<Route>)> {
        self.routes.iter().map(|(port, route)| (*port, route))
    }
}

/// What each process port has carried, by its name: the counters outlive every table.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, Arc<Traffic>>>);

impl Ledger {
    /// The counters of the process port of this name.
    pub fn of(&self, name: &str) -> Arc<Traffic> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(traffic) = all.get(name) {
            return Arc::clone(traffic);
        }
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Forgets the counters of all others. Whoever still holds them counts on, unseen.
    pub fn keep_only(&self, is_kept: impl Fn(&str) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_kept(name));
    }
}

/// The routes of an app's own process ports, as things are now.
pub fn route_table(plan: &Plan, wiring: &Wiring, world: &World, ledger: &Ledger) -> RouteTable {
    let mut table = RouteTable::default();
    let mut routes = BTreeMap::new();
    let unknown = ProcessView::default();
    for (process, port) in plan.processes().iter().flat_map(|p| p.ports.iter().map(move |port| (p, port))) {
        let key = PortKey { process: process.name.clone(), port: port.name.clone() };
        let Some(number) = wiring.service_ports.get(&key) else {
            continue;
        };
        let view = world.processes.get(&process.name).unwrap_or(&unknown);
        let admission = admission(process, port, view);
        let name = key.to_string();
        let traffic = ledger.of(&name);
        let http = Arc::clone(&process.http);
        let route = Arc::new(Route {
            name,
            protocol: port.protocol,
            idle: process.idle,
            datagram_idle: process.datagram_idle,
            connect: process.connect,
            connections_max: process.connections_max,
            proxy_protocol: port.proxy_protocol,
            http,
            admission,
            traffic,
        });
        routes.insert(route.name.clone(), Arc::clone(&route));
        for (site, pattern) in port.site.iter().flat_map(|site| site.patterns().map(move |pattern| (site, pattern))) {
            let at = Site { path: site.path.clone(), strip: site.strip, route: Arc::clone(&route) };
            // A plan in which two ports claim one name and path does not come to be.
            drop(table.hosts.insert(pattern.clone(), at));
        }
        table.routes.insert(number, route);
    }
    for plan in plan.entrances() {
        table.set_entrance(plan.at, plan.entrance(|name| routes.get(name).cloned()));
    }
    table
}

/// What is known of a process of another app.
#[derive(Debug, Clone)]
pub enum ForeignService {
    /// It is served here.
    At(SocketAddr, Arc<Load>),
    /// That app does not run.
    NotRunning,
    /// That app runs and has no such process or port: the sentence that says so.
    Missing(Cause),
}

/// The route to a process of another app. While that app does not run, connections wait for `hold` at most; where it
/// runs and has no such process, waiting would not help.
pub fn foreign_route(name: &str, protocol: Protocol, service: ForeignService, hold: Duration) -> Route {
    let admission = match service {
        ForeignService::At(addr, load) => {
            Admission::Serve(vec![Arc::new(Target { name: name.to_owned(), generation: 1, addr, load })])
        }
        ForeignService::NotRunning => Admission::Hold {
            limit: Some(hold),
            cause: format!("{name} is not running").into(),
            mend: Some("start it with `tambat start` in its directory".into()),
        },
        ForeignService::Missing(cause) => Admission::Refuse { cause, mend: None },
    };
    Route::new(name, protocol, admission)
}

fn admission(process: &ProcessPlan, port: &PortPlan, view: &ProcessView) -> Admission {
    let hold = |limit, (cause, mend)| Admission::Hold { limit, cause, mend };
    match view.gate {
        Gate::Open => {}
        Gate::Building => return hold(None, ("the app is still being built".into(), None)),
        Gate::Paused => return hold(None, mend::paused(&process.name)),
    }
    let targets: Vec<Arc<Target>> =
        view.instances.iter().filter_map(|instance| target(instance, port)).map(Arc::new).collect();
    if !targets.is_empty() {
        return Admission::Serve(targets);
    }
    if let Some(coming) = view.instances.iter().find(|i| is_coming(i, process.role)) {
        return hold(Some(process.wait), mend::coming(coming, process, port));
    }
    let (cause, mend) = mend::absent(process, port, view);
    Admission::Refuse { cause, mend }
}

fn target(instance: &InstanceView, port: &PortPlan) -> Option<Target> {
    let Phase::Ready { endpoints, load, .. } = &instance.phase else {
        return None;
    };
    if instance.ill.is_some() {
        return None;
    }
    let endpoint = endpoints.iter().find(|e| e.port == port.name)?;
    Some(Target {
        name: instance.name.to_string(),
        generation: instance.generation,
        addr: endpoint.addr,
        load: Arc::clone(load),
    })
}

/// A worker that runs may bind its port yet, and who is ill may get well; others are waited for until they are ready or
/// given up.
fn is_coming(instance: &InstanceView, role: Role) -> bool {
    match &instance.phase {
        Phase::Spawning
        | Phase::Binding { .. }
        | Phase::Backoff { .. }
        | Phase::Draining { .. }
        | Phase::Stopping { .. } => true,
        Phase::Ready { .. } => role == Role::Worker || instance.ill.is_some(),
        Phase::Failed { .. } | Phase::Ended { .. } | Phase::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{name, plan, port, process, with_ports};
    use crate::{Elsewhere, Endpoint, InstanceName, PortName, ProcessDraft, SiteDraft};

    fn instance(process: &str, number: u16, phase: Phase) -> InstanceView {
        let name = InstanceName { process: name(process), number: number.try_into().unwrap() };
        InstanceView { name, generation: 1, restarts: 0, phase, ill: None }
    }

    fn ready(ports: &[(Option<&str>, u16)]) -> Phase {
        let endpoint = |(name, number): &(Option<&str>, u16)| Endpoint {
            port: name.map(|name| name.parse::<PortName>().unwrap()),
            addr: ([127, 0, 0, 1], *number).into(),
            exposed: None,
        };
        let endpoints = ports.iter().map(endpoint).collect();
        Phase::Ready { pid: 1, endpoints, load: Arc::default(), after: Duration::ZERO }
    }

    fn binding(elsewhere: Option<u16>) -> Phase {
        let elsewhere = elsewhere.map(|port| Elsewhere { program: "run".to_owned(), pid: 1, port });
        Phase::Binding { pid: 1, port: Some(20_000), elsewhere }
    }

    /// What becomes of a connection to the first port of the first process.
    fn admission_of(plan: &Plan, gate: Gate, instances: Vec<InstanceView>) -> String {
        let mut wiring = Wiring::default();
        let process = &plan.processes()[0];
        for (number, of) in (5000..).zip(&process.ports) {
            wiring.service_ports.insert(PortKey { process: process.name.clone(), port: of.name.clone() }, port(number));
        }
        let mut world = World::default();
        world.processes.insert(process.name.clone(), ProcessView { gate, desired: 1, instances });
        let table = route_table(plan, &wiring, &world, &Ledger::default());
        assert_eq!(table.iter().count(), process.ports.len());
        match &table.get(port(5000)).unwrap().admission {
            Admission::Serve(targets) => {
                targets.iter().map(|t| format!("{} {}", t.name, t.addr)).collect::<Vec<_>>().join(", ")
            }
            Admission::Hold { limit: Some(limit), cause, mend } => {
                format!("hold {}s: {}", limit.as_secs(), whole(cause, mend.as_ref()))
            }
            Admission::Hold { limit: None, cause, mend } => format!("hold: {}", whole(cause, mend.as_ref())),
            Admission::Refuse { cause, mend } => format!("refuse: {}", whole(cause, mend.as_ref())),
        }
    }

    fn whole(cause: &Cause, mend: Option<&Cause>) -> String {
        mend.map_or_else(|| cause.to_string(), |mend| format!("{cause} / {mend}"))
    }

    #[test]
    fn each_phase_decides_what_becomes_of_a_connection() {
        let web = plan(vec![process("web", None, &[])]);
        let failed = || Phase::Failed { cause: "web.1 exited with code 1".into() };
        let cases = [
            (Phase::Spawning, "hold 60s: web.1 is starting"),
            (binding(None), "hold 60s: web.1 is binding"),
            (
                binding(Some(3000)),
                "hold 60s: web.1 listens on 3000, not on its PORT 20000: it ignores PORT (PB-03) / \
                 make it listen on the number in the variable PORT, or put $PORT in its command",
            ),
            (ready(&[(None, 20_000)]), "web.1 127.0.0.1:20000"),
            (
                ready(&[]),
                "refuse: web.1 has not bound its PORT (PB-02) / \
                 make it listen on the number in the variable PORT, or put $PORT in its command",
            ),
            (Phase::Draining { pid: 1 }, "hold 60s: web.1 is draining"),
            (Phase::Stopping { pid: 1 }, "hold 60s: web.1 is stopping"),
            (
                Phase::Backoff { cause: "web.1 exited".into() },
                "hold 60s: web.1 exited; it is started again in a moment / `tambat logs web` shows what it wrote",
            ),
            (
                failed(),
                "refuse: web.1 exited with code 1 / \
                 `tambat logs web` shows what it wrote; `tambat restart web` tries anew",
            ),
            (
                Phase::Ended { cause: "web.1 ended".into() },
                "refuse: web.1 ended / `tambat restart web` starts it again",
            ),
            (Phase::Stopped, "refuse: web is not running / `tambat restart web` starts it"),
        ];
        for (phase, expected) in cases {
            assert_eq!(admission_of(&web, Gate::Open, vec![instance("web", 1, phase)]), expected);
        }
        let none = "refuse: web is not running / `tambat restart web` starts it";
        assert_eq!(admission_of(&web, Gate::Open, vec![]), none);
        let mixed = vec![
            instance("web", 1, failed()),
            instance("web", 2, ready(&[(None, 20_001)])),
            instance("web", 3, Phase::Spawning),
        ];
        assert_eq!(admission_of(&web, Gate::Open, mixed), "web.2 127.0.0.1:20001");
        let coming = vec![instance("web", 1, failed()), instance("web", 2, Phase::Spawning)];
        assert_eq!(admission_of(&web, Gate::Open, coming), "hold 60s: web.2 is starting");
        let two = vec![instance("web", 1, ready(&[(None, 20_000)])), instance("web", 2, ready(&[(None, 20_001)]))];
        assert_eq!(admission_of(&web, Gate::Open, two), "web.1 127.0.0.1:20000, web.2 127.0.0.1:20001");
    }

    #[test]
    fn who_is_ill_is_not_chosen_and_waited_for_while_nobody_else_is_there() {
        let web = plan(vec![process("web", None, &[])]);
        let up = |number, ill: Option<&str>| {
            let view = instance("web", number, ready(&[(None, 20_000 + number)]));
            InstanceView { ill: ill.map(Cause::from), ..view }
        };
        let ill = Some("answers 503 Service Unavailable");
        assert_eq!(admission_of(&web, Gate::Open, vec![up(1, ill), up(2, None)]), "web.2 127.0.0.1:20002");
        assert_eq!(
            admission_of(&web, Gate::Open, vec![up(1, ill)]),
            "hold 60s: web.1 is not well: it answers 503 Service Unavailable / `tambat logs web` shows what it wrote"
        );
    }

    #[test]
    fn a_closed_gate_holds_everything_without_limit() {
        let web = plan(vec![process("web", None, &[])]);
        let up = || vec![instance("web", 1, ready(&[(None, 20_000)]))];
        assert_eq!(admission_of(&web, Gate::Paused, up()), "hold: web is paused / `tambat resume web` lets it go on");
        assert_eq!(admission_of(&web, Gate::Building, up()), "hold: the app is still being built");
    }

    #[test]
    fn a_worker_that_runs_may_bind_its_port_yet() {
        let worker = plan(vec![process("worker", None, &[])]);
        let up = |ports| vec![instance("worker", 1, ready(ports))];
        let waits = "hold 60s: worker.1 has not bound its PORT (PB-02) / \
                     make it listen on the number in the variable PORT, or put $PORT in its command";
        assert_eq!(admission_of(&worker, Gate::Open, up(&[])), waits);
        assert_eq!(admission_of(&worker, Gate::Open, up(&[(None, 20_000)])), "worker.1 127.0.0.1:20000");
    }

    #[test]
    fn each_named_port_has_its_own_route() {
        let chat = plan(vec![with_ports("chat", &[("c2s", Protocol::Tcp, None), ("admin", Protocol::Http, None)])]);
        let up = |ports| vec![instance("chat", 1, ready(ports))];
        let both = &[(Some("admin"), 20_001), (Some("c2s"), 20_000)];
        assert_eq!(admission_of(&chat, Gate::Open, up(both)), "chat.1 127.0.0.1:20000");
        let other = &[(Some("admin"), 20_001)];
        assert_eq!(
            admission_of(&chat, Gate::Open, up(other)),
            "refuse: chat.1 has not bound its port c2s (PB-02) / make it listen on the number in the variable PORT_C2S"
        );
    }

    #[test]
    fn every_name_and_path_leads_to_the_route_of_its_port() {
        let api = ProcessDraft {
            site: SiteDraft {
                hosts: vec!["*.shop.example".parse().unwrap()],
                path: Some("/api".parse().unwrap()),
                strip_path: Some(true),
                ..SiteDraft::default()
            },
            ..process("api", Some(Protocol::Http), &[])
        };
        let plan = plan(vec![process("web", None, &[]), api, process("cache", Some(Protocol::Redis), &[])]);
        let mut wiring = Wiring::default();
        for (process, number) in plan.processes().iter().zip(5000..) {
            wiring.service_ports.insert(PortKey { process: process.name.clone(), port: None }, port(number));
        }
        let table = route_table(&plan, &wiring, &World::default(), &Ledger::default());
        let find = |host, path| {
            let site = table.hosts().find(host, path)?;
            Some((site.route.name.clone(), site.strip))
        };
        let web = Some(("web".to_owned(), false));
        let api = Some(("api".to_owned(), true));
        assert_eq!((find("shop.localhost", "/"), find("web.shop.localhost", "/apis")), (web.clone(), web));
        assert_eq!((find("shop.localhost", "/api/x"), find("api.shop.localhost", "/api")), (api.clone(), api.clone()));
        assert_eq!((find("eu.shop.example", "/api"), find("eu.shop.example", "/")), (api, None));
        assert_eq!((find("api.shop.localhost", "/"), find("cache.shop.localhost", "/")), (None, None));
        let of_host = &table.hosts().find("shop.localhost", "/").unwrap().route;
        assert!(Arc::ptr_eq(of_host, table.get(port(5000)).unwrap()), "one route, whichever way it is found");
    }

    #[test]
    fn a_process_port_without_a_service_port_has_no_route() {
        let plan = plan(vec![process("web", None, &[]), process("off", Some(Protocol::None), &[])]);
        assert_eq!(route_table(&plan, &Wiring::default(), &World::default(), &Ledger::default()).iter().count(), 0);
    }

    #[test]
    fn a_process_of_another_app_is_held_until_its_service_port_is_known() {
        let hold = Duration::from_secs(9);
        let route = foreign_route("billing/api", Protocol::Http, ForeignService::NotRunning, hold);
        let Admission::Hold { limit, cause, mend } = route.admission else { panic!("{route:?}") };
        assert_eq!(limit, Some(hold));
        assert_eq!(
            whole(&cause, mend.as_ref()),
            "billing/api is not running / start it with `tambat start` in its directory"
        );
        let known = ForeignService::At(([127, 0, 0, 1], 5000).into(), Arc::default());
        let route = foreign_route("billing/api", Protocol::Http, known, hold);
        let Admission::Serve(targets) = route.admission else { panic!("{route:?}") };
        assert_eq!((targets.len(), targets[0].name.as_str()), (1, "billing/api"));
        let missing = ForeignService::Missing("billing has no process `api`".into());
        let route = foreign_route("billing/api", Protocol::Http, missing, hold);
        assert!(
            matches!(route.admission, Admission::Refuse { cause, mend: None } if &*cause == "billing has no process `api`")
        );
    }
}
