//! What stands behind a listener of the manifest (`listen`): who is reached there, told apart by how clients begin.

mod check;
mod plan;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::host::{HostTable, Site};
use crate::route::Route;

pub(crate) use check::takes;
pub use check::{About, Finding};
pub use plan::{Claim, EntrancePlan, ListenPlan};

/// How long a listener waits for what its clients are told apart by, unless `within` says otherwise: a client that
/// speaks first has spoken long before, and one that waits for the server's greeting waits no longer than people do.
pub const PEEK_WITHIN_DEFAULT: Duration = Duration::from_secs(3);

/// An address that the manifest has the router accept at: `0.0.0.0:6379`, `[::1]:5222`. Port 0 is the kernel's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAddr(SocketAddr);

/// A text that is no address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address to listen at: it takes a numeric address and a port")]
pub struct ListenAddrError(String);

impl ListenAddr {
    /// The address.
    pub fn get(self) -> SocketAddr {
        self.0
    }

    /// Can nobody listen at both of these addresses: are they one, or is one a part of the other? Port 0 is another one
    /// each time.
    pub fn takes_room_of(self, addr: SocketAddr) -> bool {
        let is_part =
            self.0.is_ipv4() == addr.is_ipv4() && (self.0.ip().is_unspecified() || addr.ip().is_unspecified());
        self.0.port() == addr.port() && addr.port() != 0 && (self.0 == addr || is_part)
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(addr)
    }
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        text.parse().map(Self).map_err(|_| ListenAddrError(text.to_owned()))
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a listener does about TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsHandling {
    /// There is none: clients speak the app's protocol at once.
    #[default]
    Off,
    /// The handshake ends here, and the app gets what was said in plain.
    Terminate,
    /// The app has the handshake itself; its bytes pass unread but for the name that is asked for.
    Passthrough,
}

/// How a client begins, where that tells whom it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opening {
    /// A TLS handshake (RFC 8446 §4.1.2), with the name in its `server_name`.
    Tls,
    /// A request of HTTP, of whatever version, with the name in its `Host` or `:authority`.
    Http,
    /// A version of SSH (RFC 4253 §4.2), without a name.
    Ssh,
    /// The header of an XMPP stream (RFC 6120 §4.7), with the name in its `to`.
    Xmpp,
    /// The wish of a `PostgreSQL` client for TLS, and then its handshake.
    Postgres,
}

impl Opening {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 5] = [Self::Tls, Self::Http, Self::Ssh, Self::Xmpp, Self::Postgres];

    /// As it is written in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::Xmpp => "xmpp",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who is reached at one listener.
#[derive(Debug, Clone, Default)]
pub struct Entrance {
    /// What its clients are told apart by; empty: by nothing, all of them are for [`Self::other`].
    pub openings: Vec<Opening>,
    /// How long a client may take to begin so that it is told; after that it is for [`Self::other`].
    pub within: Option<Duration>,
    /// By the host of plain requests.
    pub http: HostTable,
    /// By `server_name`: the handshake ends here.
    pub terminated: HostTable,
    /// By `server_name`: the handshake is the app's.
    pub passed: HostTable,
    /// By the `to` of a stream. One that is also in [`Self::terminated`] is offered TLS here (STARTTLS).
    pub xmpp: HostTable,
    /// Those that begin with a version of SSH.
    pub ssh: Option<Arc<Route>>,
    /// All others: whoever begins in no way of [`Self::openings`], or says nothing in time.
    pub other: Option<Arc<Route>>,
    /// Datagrams.
    pub datagrams: Option<Arc<Route>>,
}

/// Who is reached by a name in a TLS handshake.
#[derive(Debug, Clone, Copy)]
pub enum ByServerName<'a> {
    /// The handshake ends here. Of HTTP the request's path decides further.
    Terminated(&'a Site),
    /// The app has it.
    Passed(&'a Site),
}

impl Entrance {
    /// Does a client that begins so tell whom it wants?
    pub fn tells(&self, opening: Opening) -> bool {
        self.openings.contains(&opening)
    }

    /// With who is reached at another one of the same address, each through `route`; the first who is reached somehow is.
    pub(crate) fn take_in(&mut self, other: &Self, mut route: impl FnMut(&Arc<Route>) -> Arc<Route>) {
        let openings = |opening: &Opening| self.tells(*opening) || other.tells(*opening);
        self.openings = Opening::ALL.into_iter().filter(openings).collect();
        self.within = self.within.or(other.within);
        for (ours, theirs) in [
            (&mut self.http, &other.http),
            (&mut self.terminated, &other.terminated),
            (&mut self.passed, &other.passed),
            (&mut self.xmpp, &other.xmpp),
        ] {
            for (pattern, site) in theirs.sites() {
                let site = Site { path: site.path.clone(), strip: site.strip, route: route(&site.route) };
                // Those that claim what another one has do not get so far.
                drop(ours.insert(pattern, site));
            }
        }
        for (ours, theirs) in
            [(&mut self.ssh, &other.ssh), (&mut self.other, &other.other), (&mut self.datagrams, &other.datagrams)]
        {
            if let (None, Some(theirs)) = (&ours, theirs) {
                *ours = Some(route(theirs));
            }
        }
    }

    /// Who is reached by this name (in lower case, without a last dot; empty: none was said). The most exact pattern
    /// wins, whoever ends the handshake.
    pub fn by_server_name(&self, name: &str) -> Option<ByServerName<'_>> {
        match (self.terminated.rank(name), self.passed.rank(name)) {
            (None, None) => None,
            (ours, theirs) if ours >= theirs => self.terminated.first(name).map(ByServerName::Terminated),
            _ => self.passed.first(name).map(ByServerName::Passed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Admission, Protocol};

    fn site(name: &str) -> Site {
        let route = Arc::new(Route::new(name, Protocol::Tcp, Admission::Serve(Vec::new())));
        Site { path: "/".parse().unwrap(), strip: false, route }
    }

    #[test]
    fn the_most_exact_name_wins_whoever_ends_the_handshake() {
        let mut entrance = Entrance::default();
        for (pattern, name) in [("*.a.example", "below"), ("b.example", "b")] {
            entrance.terminated.insert(pattern.parse().unwrap(), site(name)).unwrap();
        }
        for (pattern, name) in [("*", "rest"), ("x.a.example", "x"), ("*.example", "example")] {
            entrance.passed.insert(pattern.parse().unwrap(), site(name)).unwrap();
        }
        let found = |name: &str| match entrance.by_server_name(name) {
            Some(ByServerName::Terminated(site)) => format!("terminated {}", site.route.name),
            Some(ByServerName::Passed(site)) => format!("passed {}", site.route.name),
            None => "none".to_owned(),
        };
        assert_eq!(found("x.a.example"), "passed x");
        assert_eq!(found("y.a.example"), "terminated below");
        assert_eq!(found("b.example"), "terminated b");
        assert_eq!(found("c.example"), "passed example");
        assert_eq!(found("elsewhere"), "passed rest");
        assert_eq!(found(""), "passed rest");
        assert!(Entrance::default().by_server_name("b.example").is_none());
    }

    #[test]
    fn addresses_are_numeric_and_have_a_port() {
        for good in ["0.0.0.0:6379", "[::]:5222", "127.0.0.1:0"] {
            assert_eq!(good.parse::<ListenAddr>().unwrap().to_string(), good);
        }
        for bad in ["localhost:80", ":80", "80", "0.0.0.0", "0.0.0.0:65536", "::1:80"] {
            assert!(bad.parse::<ListenAddr>().is_err(), "{bad}");
        }
    }
}
