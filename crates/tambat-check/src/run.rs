//! Looking at an app: it is started, watched, asked, harassed, stopped. What is seen becomes an [`Observed`].

mod address;
mod away;
mod boot;
mod build;
mod copy;
mod course;
mod forwarded;
mod http;
mod http2;
mod load;
mod recorder;
mod rude;
mod shows;
mod stage;
mod staged;
mod stop;
mod taken;
mod talk;
mod url;
mod user;
mod watch;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{Layer, Plan, PortKey, ProcessName, Protocol, Wiring};
use tambat_os::Spawner;

use crate::clause::Selection;
use crate::observed::{Declared, Look, Observed};

pub use build::build;
pub use copy::Copied;
pub use url::{Url, UrlError, check_url};

/// A process to be judged, and everything that its start needs.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The app, in the directory where it is to run: a copy where the process is stateful.
    pub plan: Arc<Plan>,
    /// The process.
    pub process: ProcessName,
    /// Where its handles point, and the service ports that people would visit.
    pub wiring: Wiring,
    /// The sources of the environment that every process shares.
    pub layers: Vec<Layer>,
    /// Variables of the shell that are not UTF-8.
    pub raw_env: Vec<(OsString, OsString)>,
    /// What its first port is said to speak; none: nothing says.
    pub protocol: Option<Protocol>,
    /// The providers that were started for it.
    pub providers: Vec<Provider>,
    /// What its dependencies say of a web server library.
    pub declared: Look<Declared>,
}

/// A provider that runs, for one handle of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The variable that holds the handle.
    pub var: String,
    /// As `uses` names it.
    pub name: String,
    /// Its port.
    pub key: PortKey,
    /// Where it is.
    pub addr: SocketAddr,
    /// Where it listens itself, behind that.
    pub places: Vec<SocketAddr>,
    /// Ports at which it would be found by one who does not read the variable.
    pub usual: Vec<u16>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until it listens.
    pub boot: Duration,
    /// From the signal to its end.
    pub grace: Duration,
}

/// What is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// Which clauses.
    pub selection: Selection,
    /// How long things may take.
    pub limits: Limits,
    /// A page that takes its time.
    pub slow: Option<String>,
    /// A page to ask for beside `/`: one that redirects, or makes the app dial its backing services.
    pub path: Option<String>,
}

/// Looks at a process. `tell` hears what is being done, in a few words. Nothing of the app is left when this returns;
/// when the future is dropped, keepers end what was started.
pub async fn check(subject: &Subject, goal: &Goal, spawner: &Spawner, tell: &dyn Fn(&str)) -> Observed {
    Box::pin(course::run(subject, goal, spawner, tell)).await
}
