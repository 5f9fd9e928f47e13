//! What may be set about the router.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tambat_wire::http1::Trusted;

use crate::access::AccessLog;
use crate::challenges::Challenges;
use crate::listener::ListenerKind;

/// How long connecting to a target may take: on one machine it takes microseconds, unless the target's backlog is full.
const CONNECT_TIMEOUT_S: u64 = 5;

/// How long a TLS handshake may take: half a dozen slow round trips, and the time to get a certificate.
const HANDSHAKE_TIMEOUT_S: u64 = 10;

/// How long a request's head may take from its first byte on, and a new connection until it: a client that is slower
/// than this has no honest reason.
const HEAD_TIMEOUT_S: u64 = 10;

/// How long the body of a request may stand still, and a client may take nothing of its answer: longer than any hiccup
/// of a network.
const BODY_IDLE_S: u64 = 30;

/// How long a client's connection may be idle between two requests: longer than most clients keep theirs, so that it is
/// they who close.
const KEEP_ALIVE_IDLE_S: u64 = 75;

/// How long a target's connection may be idle: shorter than what apps keep theirs (60 s as a rule), so that they do not
/// close just when a request is sent.
const TARGET_IDLE_S: u64 = 50;

/// How many connections and requests may wait at one listener at a time: each holds a file descriptor.
const WAITING_MAX: usize = 4_096;

/// How many connections may be open at a time: each holds two file descriptors, and a process gets 1,048,576 of them at
/// most unless somebody has raised that (`nr_open` in `proc_sys_fs(5)`).
const CONNECTIONS_MAX: usize = 500_000;

/// More threads than this carry more than one machine's loopback does.
const WORKERS_MAX: usize = 8;

/// What may be set about the router; the default is right.
#[derive(Debug, Clone)]
pub struct RouterSettings {
    /// How many threads carry connections; one for each core, 8 at most.
    pub workers: NonZeroUsize,
    /// How long connecting to a target may take; 5 s.
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take; 10 s.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take; 10 s.
    pub head_timeout: Duration,
    /// How long the body of a request may stand still, and a client may take nothing of its answer; 30 s.
    pub body_idle: Duration,
    /// How long a client's connection may be idle between two requests; 75 s.
    pub keep_alive_idle: Duration,
    /// How long a target's connection may be idle between two requests; 50 s.
    pub target_idle: Duration,
    /// How many connections and requests may wait at one listener at a time; 4,096. Those beyond are turned away at once.
    pub waiting_max: usize,
    /// How many connections may be open at a time, over all listeners; 500,000. Those beyond wait in the kernel's
    /// queues until there is room. Each holds two file descriptors, so this must be well below half of what the process
    /// may have: a connection that was accepted and has none left for its target is stuck, and keeps others out.
    pub connections_max: usize,
    /// How many connections one client address may have open; none: any number. Trusted peers have no such limit.
    pub connections_per_address_max: Option<NonZeroU32>,
    /// The peers whose forwarding fields are believed; nobody.
    pub trusted: Trusted,
    /// The peers whose connections begin with a PROXY header, and no others do; nobody. At a service port this does not
    /// hold for those of this machine: handles lead there, and other routers of this user come from there.
    pub proxy_peers: Trusted,
    /// A request that carries this in `Tambat-Hop` comes from a router of this user: its forwarding fields are believed.
    pub hop_token: Option<Arc<str>>,
    /// Who answers ACME CAs, and knows which names are public; none: nobody does.
    pub challenges: Option<Arc<dyn Challenges>>,
    /// Where each request is noted when it is over; none: nowhere.
    pub access: Option<AccessLog>,
}

impl RouterSettings {
    /// Does this peer begin its connections to such a listener with a PROXY header?
    pub(crate) fn introduces(&self, peer: IpAddr, at: ListenerKind) -> bool {
        let is_exempt = || matches!(at, ListenerKind::Service(_)) && peer.to_canonical().is_loopback();
        self.proxy_peers.contains(peer) && !is_exempt()
    }

    /// Do connections of this client never wait for what others of its address have done? Trusted peers speak for many, and
    /// so do those of this machine at a service port, as above.
    pub(crate) fn never_pauses(&self, client: IpAddr, at: ListenerKind) -> bool {
        let is_of_this_machine = || client.to_canonical().is_loopback();
        self.trusted.contains(client) || (matches!(at, ListenerKind::Service(_)) && is_of_this_machine())
    }
}

impl Default for RouterSettings {
    fn default() -> Self {
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            workers: NonZeroUsize::new(WORKERS_MAX).map_or(cores, |max| cores.min(max)),
            connect_timeout: Duration::from_secs(CONNECT_TIMEOUT_S),
            handshake_timeout: Duration::from_secs(HANDSHAKE_TIMEOUT_S),
            head_timeout: Duration::from_secs(HEAD_TIMEOUT_S),
            body_idle: Duration::from_secs(BODY_IDLE_S),
            keep_alive_idle: Duration::from_secs(KEEP_ALIVE_IDLE_S),
            target_idle: Duration::from_secs(TARGET_IDLE_S),
            waiting_max: WAITING_MAX,
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: None,
            trusted: Trusted::default(),
            proxy_peers: Trusted::default(),
            hop_token: None,
            challenges: None,
            access: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tambat_model::Network;

    use super::*;

    #[test]
    fn who_is_listed_introduces_its_clients_but_not_where_handles_lead() {
        let networks = ["10.0.0.0/8", "127.0.0.0/8", "::1"].map(|text| text.parse::<Network>().unwrap());
        let settings = RouterSettings { proxy_peers: networks.into_iter().collect(), ..RouterSettings::default() };
        let service = ListenerKind::Service(5_000_u16.try_into().unwrap());
        let at = |peer: &str, kind| settings.introduces(peer.parse().unwrap(), kind);
        for (peer, shared, at_service_port) in [
            ("10.1.2.3", true, true),
            ("::ffff:10.1.2.3", true, true),
            ("127.0.0.1", true, false),
            ("::ffff:127.0.0.1", true, false),
            ("::1", true, false),
            ("11.0.0.1", false, false),
        ] {
            assert_eq!((at(peer, ListenerKind::Shared), at(peer, service)), (shared, at_service_port), "{peer}");
        }
        let settings = RouterSettings { trusted: networks.into_iter().take(1).collect(), ..RouterSettings::default() };
        let never = |client: &str, kind| settings.never_pauses(client.parse().unwrap(), kind);
        for (client, shared, at_service_port) in [
            ("10.1.2.3", true, true),
            ("::ffff:10.1.2.3", true, true),
            ("127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("11.0.0.1", false, false),
        ] {
            assert_eq!(
                (never(client, ListenerKind::Shared), never(client, service)),
                (shared, at_service_port),
                "{client}"
            );
        }
        let nobody = RouterSettings::default();
        assert!(!nobody.introduces([10, 1, 2, 3].into(), ListenerKind::Shared));
    }
}
