//! What was written: each value parsed, nothing yet compared with anything else. [`crate::Plan::new`] does that.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::{
    AppName, Balance, CookieName, FieldName, FieldValue, HealthRules, HostPattern, Hsts, ListenAddr, Manner,
    PathPrefix, PortName, ProcessName, Protocol, ProxyProtocol, ResourcePlan, Restart, RouterPlan, ServicePort,
    TlsHandling, UrlTemplate, VarName,
};

/// An app as it was written in its manifest and its Procfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The `name`, or the directory's.
    pub name: AppName,
    /// The app's directory, canonical.
    pub dir: PathBuf,
    /// The `build` command.
    pub build: Option<String>,
    /// In the order of their positions: the lines of the Procfile, then those that only the manifest has.
    pub processes: Vec<ProcessDraft>,
    /// The entries of `[resources]`, in the file's order.
    pub resources: Vec<ResourcePlan>,
    /// `[router]`.
    pub router: RouterPlan,
    /// Who runs it.
    pub manner: Manner,
}

/// A process as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessDraft {
    /// Its name.
    pub name: ProcessName,
    /// Its position, from 0; none: the one after that of the process before it. Positions grow along the list.
    pub position: Option<u16>,
    /// Its command, from the manifest or else the Procfile.
    pub command: Option<String>,
    /// What it speaks on its one unnamed port.
    pub protocol: Option<Protocol>,
    /// The service port of its first port.
    pub port: Option<ServicePort>,
    /// Its named ports, in the file's order. None: one unnamed port.
    pub ports: Vec<PortDraft>,
    /// How many to run.
    pub instances: Option<u16>,
    /// What it uses.
    pub uses: Vec<UseDraft>,
    /// Its part of the environment.
    pub env: Vec<(VarName, String)>,
    /// How its handle is written.
    pub url: Option<UrlTemplate>,
    /// When it is ready.
    pub ready: ReadyDraft,
    /// How it is stopped.
    pub stop: StopDraft,
    /// What follows its end.
    pub restart: Option<Restart>,
    /// Would two instances destroy each other's data?
    pub stateful: Option<bool>,
    /// `owner = "any"`: whoever listens on its port counts as the app.
    pub any_owner: bool,
    /// May it be reached from other machines although it cannot see who calls?
    pub expose: bool,
    /// `proxy_protocol`: how its first port is told where each connection comes from.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `timeouts.idle`: a stream on which nothing moves for so long is closed.
    pub idle: Option<Duration>,
    /// `timeouts.connect`: how long connecting to an instance may take.
    pub connect: Option<Duration>,
    /// `max_connections`: how many streams each of its ports has open at a time.
    pub connections_max: Option<NonZeroU32>,
    /// By which names its first port is reached.
    pub site: SiteDraft,
    /// What holds for its requests.
    pub http: HttpDraft,
    /// Its instances are asked how they are.
    pub health: Option<HealthRules>,
}

impl Draft {
    /// An app of which nothing but its name and its directory is written.
    pub fn new(name: AppName, dir: PathBuf) -> Self {
        let (processes, resources) = (Vec::new(), Vec::new());
        Self { name, dir, build: None, processes, resources, router: RouterPlan::default(), manner: Manner::default() }
    }
}

impl ProcessDraft {
    /// A process of which only the name and the command are written, as in a Procfile.
    pub fn new(name: ProcessName, command: Option<String>) -> Self {
        Self {
            name,
            position: None,
            command,
            protocol: None,
            port: None,
            ports: Vec::new(),
            instances: None,
            uses: Vec::new(),
            env: Vec::new(),
            url: None,
            ready: ReadyDraft::default(),
            stop: StopDraft::default(),
            restart: None,
            stateful: None,
            any_owner: false,
            expose: false,
            proxy_protocol: None,
            idle: None,
            connect: None,
            connections_max: None,
            site: SiteDraft::default(),
            http: HttpDraft::default(),
            health: None,
        }
    }
}

/// By which names a port is reached, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteDraft {
    /// Its hostnames, beside those it has on this machine.
    pub hosts: Vec<HostPattern>,
    /// The beginning of its paths.
    pub path: Option<PathPrefix>,
    /// Is that removed from what is sent on?
    pub strip_path: Option<bool>,
    /// Where else it is reached, each once.
    pub listen: Vec<ListenAddr>,
    /// Who has the handshake there.
    pub tls: Option<TlsHandling>,
}

/// What holds for the requests of a process, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpDraft {
    /// `timeouts.first_byte`.
    pub first_byte: Option<Duration>,
    /// `timeouts.response_idle`.
    pub response_idle: Option<Duration>,
    /// `timeouts.wait`.
    pub wait: Option<Duration>,
    /// `max_body`, bytes.
    pub body_bytes_max: Option<u64>,
    /// `headers`, in the file's order.
    pub headers: Vec<(FieldName, FieldValue)>,
    /// `https_redirect`.
    pub https_redirect: Option<bool>,
    /// `hsts`.
    pub hsts: Option<Hsts>,
    /// `sticky`: the cookie.
    pub sticky: Option<CookieName>,
    /// `balance`.
    pub balance: Option<Balance>,
    /// `max_in_flight`.
    pub in_flight_max: Option<NonZeroU32>,
    /// `queue`.
    pub queue_max: Option<NonZeroU32>,
}

/// A named port as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDraft {
    /// Its name.
    pub name: PortName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its service port.
    pub port: Option<ServicePort>,
    /// How it is told where each connection comes from.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// By which names it is reached.
    pub site: SiteDraft,
}

/// `ready = { path, within }` as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadyDraft {
    /// The path that must answer 2xx.
    pub path: Option<String>,
    /// The boot limit.
    pub within: Option<Duration>,
}

/// `stop = { signal, grace }` as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopDraft {
    /// The signal's name without `SIG`, checked by whoever read it.
    pub signal: Option<String>,
    /// How long it may take.
    pub grace: Option<Duration>,
}

/// One entry of `uses` as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseDraft {
    /// The variable, in the table form.
    pub var: Option<VarName>,
    /// `api`, `chat:admin`, `billing/api`.
    pub provider: String,
}
