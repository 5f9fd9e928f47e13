//! What is said over the socket.

use serde::{Deserialize, Serialize};

/// A running app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name.
    pub app: String,
    /// Its directory, canonical.
    pub dir: String,
    /// The pid of the tambat that runs it.
    pub pid: i32,
    /// That tambat's version.
    pub version: String,
    /// Does it serve many apps, and go on when this one has stopped?
    #[serde(default)]
    pub served: bool,
    /// Its processes, by position.
    pub processes: Vec<ProcessStatus>,
    /// The backing services that are not run here.
    pub resources: Vec<ResourceStatus>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// `ready`, `waiting`, `paused`, `building`, `failed`, `ended`, `stopped`, or `running` for a worker.
    pub state: String,
    /// Why it is not ready, where that is known.
    pub cause: Option<String>,
    /// Its command line.
    pub command: String,
    /// How many instances there should be.
    pub desired: u16,
    /// Has nothing said that it exports a port?
    pub worker: bool,
    /// Does it run once, because of its data?
    pub stateful: bool,
    /// Its ports.
    pub ports: Vec<PortStatus>,
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
    /// Its resource handles.
    pub uses: Vec<HandleStatus>,
}

/// A port of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Its name; none: the unnamed one.
    pub name: Option<String>,
    /// What is spoken there.
    pub protocol: String,
    /// The service port.
    pub port: u16,
    /// The addresses the router accepts on.
    pub addresses: Vec<String>,
    /// Where people and clients on this machine reach it. A password in it is hidden.
    pub url: String,
    /// Where browsers on this machine reach it by name: `http://shop.localhost:7080`, the one to visit first; none
    /// where it does not speak HTTP, or names are served nowhere.
    #[serde(default)]
    pub names: Vec<String>,
    /// The same over TLS, with a certificate of the local CA: `https://shop.localhost:7443`.
    #[serde(default)]
    pub https_names: Vec<String>,
    /// Its hostnames elsewhere, as the manifest has them.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Where everybody reaches it, if a server has published it: `https://shop.example.com`.
    #[serde(default)]
    pub published: Option<String>,
    /// Where it is reached beside that, as its `listen` says.
    #[serde(default)]
    pub listens: Vec<ListenStatus>,
    /// How its handle is written: `{host}` and `{port}` are filled in by whoever uses it.
    pub template: String,
    /// Connections accepted since the start.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that wait for an instance now.
    pub waiting: u64,
    /// Connections that were told why nobody serves them.
    pub refused: u64,
    /// Bytes carried from clients to instances.
    pub bytes_in: u64,
    /// Bytes carried from instances to clients.
    pub bytes_out: u64,
}

/// A listener that a port is reached at, beside its service port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenStatus {
    /// Where: the port is a number that clients can dial, also where the manifest leaves it to the kernel.
    pub address: String,
    /// `off`, `terminate` (the handshake ends at the router) or `passthrough` (it is the app's).
    pub tls: String,
    /// The names by which it is reached there; empty: it is whatever a client says.
    pub hosts: Vec<String>,
    /// Does it get the clients that are not told apart there?
    #[serde(default)]
    pub fallback: bool,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// `web.1`.
    pub name: String,
    /// `starting`, `binding`, `ready`, `draining`, `stopping`, `backoff`, `failed`, `ended` or `stopped`.
    pub state: String,
    /// Its process id, while it has one.
    pub pid: Option<i32>,
    /// Where its first port was found, or the port it was told while it has not bound it.
    pub address: Option<String>,
    /// Its listener is reachable from other machines, past the router.
    pub exposed: bool,
    /// Connections open to it.
    pub open: u64,
    /// How often it was started again after a failure.
    pub restarts: u32,
    /// Why it is where it is, where that is known.
    pub cause: Option<String>,
    /// How long it took to become ready, in milliseconds.
    pub ready_after_ms: Option<u64>,
}

/// A resource handle. Passwords are hidden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandleStatus {
    /// The variable.
    pub variable: String,
    /// The provider as `uses` names it.
    pub provider: String,
    /// What it says now.
    pub url: Option<String>,
    /// Is a remote URL attached in the provider's place?
    pub attached: bool,
}

/// An entry of `[resources]`. Passwords are hidden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
}

/// What a process finds in its environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentReport {
    /// The process.
    pub process: String,
    /// By name.
    pub variables: Vec<VariableReport>,
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariableReport {
    /// Its name.
    pub name: String,
    /// Its value; a password in a URL is hidden unless `reveal` asked for it.
    pub value: String,
    /// The source that won.
    pub source: String,
    /// The sources that lost, best first.
    pub lost: Vec<String>,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When: milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// Who: an instance, `build`, or `tambat`.
    pub source: String,
    /// `out`, `err`, or `system`.
    pub stream: String,
    /// What.
    pub text: String,
}

/// How many instances there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// 0 to 1000.
    pub instances: u16,
}

/// A remote URL in place of a provider.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Attach {
    /// The provider as `uses` names it.
    pub name: String,
    /// The URL, password included.
    pub url: String,
}

impl std::fmt::Debug for Attach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attach").field("name", &self.name).finish_non_exhaustive()
    }
}

/// It is done, or begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, in a sentence.
    pub done: String,
}

/// It could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// `cannot X <which one>: <cause>; what to try`.
    pub error: String,
}
