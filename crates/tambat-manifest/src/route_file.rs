//! The file of a router alone (`tambat route --from FILE`): where it listens, and where requests go by hostname and path.

mod entrances;
mod keys;
mod read;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use tambat_model::{
    EntrancePlan, HealthRules, HostPattern, HttpRules, ListenAddr, PathPrefix, Protocol, ProxyProtocol, RouterPlan,
    TlsHandling,
};

use crate::{Diagnostic, LoadError, Text};

pub(crate) use read::address;

pub use keys::{ROUTE_FILE_KEYS, route_file_keys_as_markdown};

/// A file with 100,000 routes has 10 MiB; more than this is another file by mistake, and takes its memory many times.
pub const ROUTE_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A route has at most so many targets: each request looks at them.
pub const TARGETS_MAX: usize = 256;

/// At most so many addresses are asked about their health, each as often as the file says: 2,000 questions a second at
/// the usual pace.
pub const CHECKS_MAX: usize = 4_096;

/// What a router's file says, with nothing in it that is wrong: no hostname and path is claimed twice, every route has a
/// target, and every limit is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFile {
    listen: Vec<SocketAddr>,
    listen_tls: Vec<SocketAddr>,
    router: RouterKeys,
    routes: Vec<FileRoute>,
    entrances: Vec<EntrancePlan>,
}

/// What a router's file says of the router itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RouterKeys {
    /// What the routers of apps have, too; the access log's file is seen from the current directory.
    pub plan: RouterPlan,
    /// Where metrics are answered.
    pub metrics: Option<SocketAddr>,
}

/// One route of a router's file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileRoute {
    /// As the file calls it.
    pub name: String,
    /// The hostnames it answers to, at least one: at the listeners that all share, unless it has some of its own.
    pub hosts: Vec<HostPattern>,
    /// The beginning of the paths it answers to.
    pub path: PathPrefix,
    /// Is that removed from what is sent on?
    pub strip: bool,
    /// Listeners of its own, each once; empty: it is at those that all share, and speaks HTTP.
    pub listen: Vec<ListenAddr>,
    /// Who has the handshake there, where that is said.
    pub tls: Option<TlsHandling>,
    /// What its targets speak; something.
    pub protocol: Protocol,
    /// Where its requests go: at least one, at most [`TARGETS_MAX`], none twice.
    pub targets: Vec<SocketAddr>,
    /// A stream (a tunnel is one, too) on which nothing moves for so long is closed.
    pub idle: Duration,
    /// A session of datagrams in which nothing moves for so long is over.
    pub datagram_idle: Duration,
    /// How long connecting to a target may take; none: as long as the router has it.
    pub connect: Option<Duration>,
    /// How many streams it has open at a time; none: any number.
    pub connections_max: Option<NonZeroU32>,
    /// How long a request waits for a target when none takes it.
    pub wait: Duration,
    /// What holds for its requests.
    pub http: Arc<HttpRules>,
    /// How its targets are told where each connection comes from.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How its targets are asked.
    pub health: HealthRules,
}

impl RouteFile {
    /// Reads this file, which has at most [`ROUTE_FILE_BYTES_MAX`].
    ///
    /// # Errors
    ///
    /// When it cannot be read, or for everything that is wrong with it at once.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let Some(text) = Text::read_at_most(path, ROUTE_FILE_BYTES_MAX)? else {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no such file");
            return Err(LoadError::Unreadable { path: path.to_path_buf(), source });
        };
        Self::new(&text).map_err(LoadError::Invalid)
    }

    /// What this text says.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn new(text: &Text) -> Result<Self, Vec<Diagnostic>> {
        read::read(text)
    }

    /// Where the router listens without TLS, none twice; port 0 is the kernel's choice. With [`Self::listen_tls`] and
    /// [`Self::entrances`] there is at least one address.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Where it listens with TLS. If there is such an address, there is a certificate.
    pub fn listen_tls(&self) -> &[SocketAddr] {
        &self.listen_tls
    }

    /// The listeners that routes have of their own, by address, and who is reached there. If a handshake ends at one of
    /// them, there is a certificate.
    pub fn entrances(&self) -> &[EntrancePlan] {
        &self.entrances
    }

    /// The router itself.
    pub fn router(&self) -> &RouterKeys {
        &self.router
    }

    /// The routes in the file's order, at least one.
    pub fn routes(&self) -> &[FileRoute] {
        &self.routes
    }

    /// Has this file nothing new for a router that was started with the other, but routes and listeners of their own?
    pub fn differs_in_routes_alone(&self, other: &Self) -> bool {
        // How listeners of routes are peeked at is read with them.
        let router = |file: &Self| {
            let mut router = file.router.clone();
            router.plan.listen.clear();
            router
        };
        (&self.listen, &self.listen_tls, router(self)) == (&other.listen, &other.listen_tls, router(other))
    }

    /// The listeners of routes, taken out.
    pub fn take_entrances(&mut self) -> Vec<EntrancePlan> {
        mem::take(&mut self.entrances)
    }

    /// The routes, taken out.
    pub fn take_routes(&mut self) -> Vec<FileRoute> {
        mem::take(&mut self.routes)
    }
}

impl FileRoute {
    /// What is spoken with its targets, and what they are told first.
    pub(crate) fn spoken(&self) -> (Protocol, Option<ProxyProtocol>) {
        (self.protocol, self.proxy_protocol)
    }

    /// The hostname that its targets are asked under where they are asked for a path: the first one it names, if any.
    pub fn health_host(&self) -> Option<&str> {
        self.health.path.as_ref()?;
        self.hosts.iter().find_map(|host| if let HostPattern::Exact(name) = host { Some(&**name) } else { None })
    }
}
