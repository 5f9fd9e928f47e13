//! From who asks to be reached at a listener to how its clients are told apart.

use std::sync::Arc;
use std::time::Duration;

use super::{Entrance, ListenAddr, Opening, TlsHandling};
use crate::host::Site;
use crate::{HostPattern, PathPrefix, Protocol, Route};

/// Where HTTPS is (RFC 9110 §4.2.2), and by now any other protocol that wants to pass: TLS ends there unless said
/// otherwise.
const HTTPS_PORT: u16 = 443;

/// Who asks to be reached at a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The process port or the route, as people name it: `cache`, `chat:c2s`.
    pub who: String,
    /// What is spoken on its own port.
    pub protocol: Protocol,
    /// Who has the handshake, where there is one.
    pub tls: TlsHandling,
    /// The names it asks for; empty: it says none.
    pub hosts: Vec<HostPattern>,
    /// The beginning of its paths, where it speaks HTTP.
    pub path: PathPrefix,
    /// Is that removed from what is sent on?
    pub strip: bool,
    /// May it be reached from other machines: does it see who calls, or has its owner said that it need not?
    pub may_be_exposed: bool,
}

/// An entry of `[router] listen`: how the clients of one listener are told apart where they begin in several ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenPlan {
    /// Where.
    pub address: ListenAddr,
    /// What is looked for in a client's first bytes.
    pub peek: Vec<Opening>,
    /// How long they may take; none: the usual time.
    pub within: Option<Duration>,
    /// Who gets the others, as people name it; none: they are closed.
    pub fallback: Option<String>,
}

/// How the clients of one listener are told apart, and whom they reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrancePlan {
    /// Where.
    pub at: ListenAddr,
    /// See [`Entrance::openings`].
    pub openings: Vec<Opening>,
    /// See [`Entrance::within`].
    pub within: Option<Duration>,
    /// Who asks to be reached there, in the order of the files.
    pub claims: Vec<Claim>,
    /// What `[router]` says of it.
    pub listen: Option<ListenPlan>,
    /// Which of those who ask gets whoever is not told.
    pub fallback: Option<usize>,
    /// The ways in.
    pub(crate) parts: Vec<Part>,
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whose, of [`EntrancePlan::claims`].
    pub(crate) claim: usize,
    pub(crate) way: Way,
}

/// By which of an entrance's tables somebody is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Http,
    Terminated,
    Passed,
    Xmpp,
    Ssh,
    Other,
    Datagrams,
}

impl TlsHandling {
    /// As it is written in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Terminate => "terminate",
            Self::Passthrough => "passthrough",
        }
    }

    /// What holds where nothing is said.
    pub fn unless_said(protocol: Protocol, at: ListenAddr) -> Self {
        match protocol {
            Protocol::Tls => Self::Passthrough,
            Protocol::Ssh | Protocol::Mysql | Protocol::Udp | Protocol::Dns => Self::Off,
            _ if at.get().port() == HTTPS_PORT => Self::Terminate,
            _ => Self::Off,
        }
    }
}

impl Way {
    /// What has to be looked for, so that it is found. Plain HTTP alone is not looked for: there is nothing else.
    fn openings(self, protocol: Protocol) -> &'static [Opening] {
        match self {
            Self::Http => &[Opening::Http],
            Self::Xmpp => &[Opening::Xmpp],
            Self::Ssh => &[Opening::Ssh],
            Self::Terminated | Self::Passed if protocol == Protocol::Postgres => &[Opening::Tls, Opening::Postgres],
            Self::Terminated | Self::Passed => &[Opening::Tls],
            Self::Other | Self::Datagrams => &[],
        }
    }
}

/// The ways to somebody. `looks_for_ssh`: the listener looks whether a client begins with SSH. The fallback is reached by
/// whoever is not told.
pub(crate) fn ways(claim: &Claim, looks_for_ssh: bool, is_fallback: bool) -> Vec<Way> {
    match (claim.protocol, claim.tls) {
        (Protocol::None, _) => Vec::new(),
        (Protocol::Udp, _) => vec![Way::Datagrams],
        (Protocol::Dns, TlsHandling::Off) => vec![Way::Datagrams, Way::Other],
        (Protocol::Http | Protocol::H2c, TlsHandling::Off) => vec![Way::Http],
        (Protocol::Xmpp, TlsHandling::Off) => vec![Way::Xmpp],
        (Protocol::Xmpp, TlsHandling::Terminate) => vec![Way::Xmpp, Way::Terminated],
        (_, TlsHandling::Terminate) => vec![Way::Terminated],
        (_, TlsHandling::Passthrough) => vec![Way::Passed],
        (Protocol::Ssh, TlsHandling::Off) if looks_for_ssh && is_fallback => vec![Way::Ssh, Way::Other],
        (Protocol::Ssh, TlsHandling::Off) if looks_for_ssh => vec![Way::Ssh],
        (_, TlsHandling::Off) => vec![Way::Other],
    }
}

impl Claim {
    /// What a listener looks for, so that whoever wants it is told; empty: nothing tells.
    pub(crate) fn openings(&self, looks_for_ssh: bool) -> Vec<Opening> {
        let ways = ways(self, looks_for_ssh, false);
        sorted(ways.iter().flat_map(|way| way.openings(self.protocol)).copied())
    }

    /// The names by which it is found: `*` where it says none.
    fn patterns(&self) -> Vec<HostPattern> {
        if self.hosts.is_empty() { vec![HostPattern::Any] } else { self.hosts.clone() }
    }
}

impl EntrancePlan {
    /// As these ask for it. `fallback`: which of them gets whoever is not told.
    pub fn new(at: ListenAddr, claims: Vec<Claim>, listen: Option<&ListenPlan>, fallback: Option<usize>) -> Self {
        let looks_for_ssh = listen.is_some_and(|listen| listen.peek.contains(&Opening::Ssh));
        let of = |(nth, claim): (usize, &Claim)| {
            let ways = ways(claim, looks_for_ssh, fallback == Some(nth));
            ways.into_iter().map(move |way| Part { claim: nth, way })
        };
        let parts: Vec<Part> = claims.iter().enumerate().flat_map(of).collect();
        let openings = match listen {
            Some(listen) => sorted(listen.peek.iter().copied()),
            None if parts.iter().all(|part| matches!(part.way, Way::Http | Way::Datagrams)) => Vec::new(),
            None => sorted(parts.iter().flat_map(|part| part.way.openings(claims[part.claim].protocol)).copied()),
        };
        let within = listen.and_then(|listen| listen.within);
        Self { at, openings, within, claims, listen: listen.cloned(), fallback, parts }
    }

    /// With those that ask for the same address elsewhere: they come second.
    pub(crate) fn beside(&self, other: &Self) -> Self {
        let claims = self.claims.iter().chain(&other.claims).cloned().collect();
        let theirs = other.fallback.map(|nth| self.claims.len() + nth);
        Self::new(self.at, claims, self.listen.as_ref().or(other.listen.as_ref()), self.fallback.or(theirs))
    }

    /// With every name as this has it.
    #[must_use]
    pub(crate) fn named(mut self, name: impl Fn(&str) -> String) -> Self {
        self.claims.iter_mut().for_each(|claim| claim.who = name(&claim.who));
        self
    }

    /// Of those who ask, this one's claims, and whether it gets whoever is not told by it.
    pub fn claims_of(&self, who: &str) -> impl Iterator<Item = (&Claim, bool)> {
        let claims = self.claims.iter().enumerate().filter(move |(_, claim)| claim.who == who);
        claims.map(|(nth, claim)| (claim, self.fallback == Some(nth)))
    }

    /// Are there streams that come in here?
    pub fn has_streams(&self) -> bool {
        self.parts.iter().any(|part| part.way != Way::Datagrams)
    }

    /// Are there datagrams?
    pub fn has_datagrams(&self) -> bool {
        self.parts.iter().any(|part| part.way == Way::Datagrams)
    }

    /// Are there handshakes that end here?
    pub fn ends_tls(&self) -> bool {
        self.parts.iter().any(|part| part.way == Way::Terminated)
    }

    /// With each one's route, by its name; whoever has none is not reached.
    pub fn entrance(&self, route: impl Fn(&str) -> Option<Arc<Route>>) -> Entrance {
        let mut entrance = Entrance { openings: self.openings.clone(), within: self.within, ..Entrance::default() };
        for part in &self.parts {
            let claim = &self.claims[part.claim];
            let Some(route) = route(&claim.who) else { continue };
            let table = match part.way {
                Way::Http => &mut entrance.http,
                Way::Terminated => &mut entrance.terminated,
                Way::Passed => &mut entrance.passed,
                Way::Xmpp => &mut entrance.xmpp,
                Way::Ssh => {
                    entrance.ssh.get_or_insert(route);
                    continue;
                }
                Way::Other => {
                    entrance.other.get_or_insert(route);
                    continue;
                }
                Way::Datagrams => {
                    entrance.datagrams.get_or_insert(route);
                    continue;
                }
            };
            for pattern in claim.patterns() {
                let site = Site { path: claim.path.clone(), strip: claim.strip, route: Arc::clone(&route) };
                // Two that claim one name and path do not come to be: see `check`.
                drop(table.insert(pattern, site));
            }
        }
        entrance
    }
}

/// Each once, in the order of the manual.
fn sorted(openings: impl Iterator<Item = Opening>) -> Vec<Opening> {
    let there: Vec<Opening> = openings.collect();
    Opening::ALL.into_iter().filter(|opening| there.contains(opening)).collect()
}
