//! Looks at instance ports: who listens there, and does it answer? One task for all instances, asleep when none boots.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tambat_model::{Elsewhere, Endpoint, PortName, ProxyProtocol, Transport};
use tambat_os::{Listening, Owner, Pid};
use tambat_wire::{Judgement, Probe};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use crate::ask::{ask, ask_by_datagram};
use crate::group::SlotId;
use crate::instance::Pace;
use crate::sight::{Sight, Stranger};

/// A worker is looked at for so long after its start, and after each connection that began to wait for it: as long as
/// that may wait.
const WORKER_PATIENCE: Duration = Duration::from_mins(1);

/// After a wrong or a "not yet" answer, the next question comes no sooner.
const ANSWER_INTERVAL: Duration = Duration::from_millis(50);

/// From when on an instance is told that it listens elsewhere: some open a port of their own before the main one. With
/// half of a shorter limit, so that it is known when the limit is over. And no more often: the files of all its
/// processes have to be read for it.
const ELSEWHERE_INTERVAL: Duration = Duration::from_secs(1);

/// A stranger is one who is still there after this.
const STRANGER_INTERVAL: Duration = Duration::from_millis(10);

/// While the machine does not say who listens, it is asked so often.
const UNSEEN_INTERVAL: Duration = Duration::from_millis(250);

/// How often ports are looked at: at first so often, then still eagerly, after a while ever more seldom.
struct Rhythm {
    first: Duration,
    first_for: Duration,
    eager: Duration,
    eager_for: Duration,
    max: Duration,
}

impl Pace {
    fn rhythm(self) -> Rhythm {
        let ms = Duration::from_millis;
        match self {
            // The user waits for it: what boots in milliseconds is not to be kept waiting for as many again.
            Self::Boot => Rhythm { first: ms(1), first_for: ms(100), eager: ms(5), eager_for: ms(2_000), max: ms(250) },
            // Its connections wait for it; and it may be left alone for the night.
            Self::Reload => Rhythm::even(ms(20), ms(10_000), ms(250)),
            // It need not bind anything, and most do not. A timer wakes us twice: once for its part of the wheel.
            Self::Worker => Rhythm::even(ms(250), ms(10_000), ms(2_000)),
        }
    }
}

impl Rhythm {
    fn even(eager: Duration, eager_for: Duration, max: Duration) -> Self {
        Self { first: eager, first_for: Duration::ZERO, eager, eager_for, max }
    }

    /// How long until the next look, at this age of the watch and after this long since the last one.
    fn next(&self, age: Duration, last: Duration) -> Duration {
        if age < self.first_for {
            self.first
        } else if age <= self.eager_for {
            self.eager
        } else {
            (last * 3 / 2).min(self.max)
        }
    }
}

/// One port to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct WatchedPort {
    pub(crate) name: Option<PortName>,
    pub(crate) port: u16,
    /// It has to be bound over each of them.
    pub(crate) transports: &'static [Transport],
    pub(crate) probe: Probe,
    /// What a connection to it begins with.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

/// Which watch: never used twice, so that what an earlier one saw is told from what this one sees.
pub(crate) type WatchId = u64;

/// What the watcher is told.
#[derive(Debug)]
pub(crate) enum Watch {
    /// Look at these ports, which should be ready within this time. With the id of a watch that goes on: be as eager
    /// again as at its beginning.
    Begin {
        slot: SlotId,
        id: WatchId,
        keeper: Pid,
        ports: Vec<WatchedPort>,
        any_owner: bool,
        pace: Pace,
        within: Duration,
    },
    /// Look no more.
    End { slot: SlotId },
}

/// What it saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) slot: SlotId,
    pub(crate) id: WatchId,
    pub(crate) sight: Sight,
}

struct Watched {
    id: WatchId,
    keeper: Pid,
    ports: Vec<WatchedPort>,
    any_owner: bool,
    pace: Pace,
    since: Instant,
    interval: Duration,
    due: Instant,
    elsewhere_due: Instant,
    asking: Option<tokio::task::JoinHandle<()>>,
    /// A stranger was seen at the last look.
    strange: bool,
    last: Option<Sight>,
}

/// Runs until `watches` closes.
pub(crate) async fn run(mut watches: UnboundedReceiver<Watch>, seen: UnboundedSender<Seen>) {
    let mut watched: HashMap<SlotId, Watched> = HashMap::new();
    let (answers, mut answered) = tokio::sync::mpsc::unbounded_channel::<Seen>();
    loop {
        let due = watched.values().filter(|w| w.asking.is_none()).map(|w| w.due).min();
        let sleep = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            watch = watches.recv() => match watch {
                None => return,
                Some(watch) => take(&mut watched, watch, Instant::now()),
            },
            Some(answer) = answered.recv() => {
                if let Some(one) = watched.get_mut(&answer.slot).filter(|w| w.id == answer.id) {
                    one.asking = None;
                    one.due = Instant::now() + one.interval.max(ANSWER_INTERVAL);
                    one.tell(answer.slot, answer.sight, &seen);
                }
            }
            () = sleep => look(&mut watched, &answers, &seen),
        }
    }
}

fn take(watched: &mut HashMap<SlotId, Watched>, watch: Watch, now: Instant) {
    match watch {
        Watch::End { slot } => {
            watched.remove(&slot);
        }
        Watch::Begin { slot, id, keeper, ports, any_owner, pace, within } => {
            let first = pace.rhythm().first;
            if let Some(one) = watched.get_mut(&slot).filter(|one| one.id == id) {
                // Not later than it would have been: whoever asks again and again is not to put it off.
                (one.since, one.interval, one.due) = (now, first, one.due.min(now + ANSWER_INTERVAL));
                return;
            }
            let one = Watched {
                id,
                keeper,
                ports,
                any_owner,
                pace,
                since: now,
                interval: first,
                due: now + first.min(ANSWER_INTERVAL),
                elsewhere_due: now + ELSEWHERE_INTERVAL.min(within / 2),
                asking: None,
                strange: false,
                last: None,
            };
            watched.insert(slot, one);
        }
    }
}

/// One look at the machine's listeners serves all instances that are due, or nearly so: those that have been watched
/// for long are looked at together.
fn look(watched: &mut HashMap<SlotId, Watched>, answers: &UnboundedSender<Seen>, seen: &UnboundedSender<Seen>) {
    let now = Instant::now();
    watched.retain(|_, w| w.pace != Pace::Worker || now - w.since < WORKER_PATIENCE);
    let is_due = |w: &Watched| w.asking.is_none() && w.due <= now + w.interval / 2;
    let is_over = |transport| watched.values().any(|w| is_due(w) && w.is_over(transport));
    let there = There::look([Transport::Tcp, Transport::Udp].map(is_over));
    for (slot, one) in watched.iter_mut().filter(|(_, w)| is_due(w)) {
        one.slow_down(now);
        match &there {
            Ok(there) => one.look(*slot, there, now, answers, seen),
            Err(error) => one.unseen(*slot, error, seen),
        }
    }
}

/// Who listens on this machine, over the transports that somebody is watched over.
#[derive(Default)]
struct There {
    streams: Vec<Listening>,
    datagrams: Vec<Listening>,
}

impl There {
    /// At TCP, and at UDP?
    fn look([streams, datagrams]: [bool; 2]) -> std::io::Result<Self> {
        let over = |wanted, transport| if wanted { tambat_os::listening_over(transport) } else { Ok(Vec::new()) };
        let streams = over(streams, tambat_os::Transport::Tcp)?;
        Ok(Self { streams, datagrams: over(datagrams, tambat_os::Transport::Udp)? })
    }

    fn over(&self, transport: Transport) -> &[Listening] {
        match transport {
            Transport::Tcp => &self.streams,
            Transport::Udp => &self.datagrams,
        }
    }

    fn has(&self, port: &WatchedPort) -> bool {
        port.transports.iter().all(|transport| self.over(*transport).iter().any(|l| l.addr.port() == port.port))
    }
}

impl Watched {
    fn is_over(&self, transport: Transport) -> bool {
        self.ports.iter().any(|port| port.transports.contains(&transport))
    }

    fn slow_down(&mut self, now: Instant) {
        self.interval = self.pace.rhythm().next(now - self.since, self.interval);
        self.due = now + self.interval;
    }

    fn look(
        &mut self,
        slot: SlotId,
        there: &There,
        now: Instant,
        answers: &UnboundedSender<Seen>,
        seen: &UnboundedSender<Seen>,
    ) {
        if self.ports.iter().all(|port| there.has(port)) {
            self.verify(slot, there, answers, seen);
            return;
        }
        self.strange = false;
        if now >= self.elsewhere_due {
            self.elsewhere_due = now + ELSEWHERE_INTERVAL;
            let elsewhere = self.elsewhere();
            self.tell(slot, Sight::Nobody { elsewhere }, seen);
        }
    }

    fn unseen(&mut self, slot: SlotId, error: &std::io::Error, seen: &UnboundedSender<Seen>) {
        self.due += UNSEEN_INTERVAL;
        self.tell(slot, Sight::Unseen(error.to_string()), seen);
    }

    /// Every port is bound: by whom? Only an instance of ours is asked anything.
    fn verify(&mut self, slot: SlotId, there: &There, answers: &UnboundedSender<Seen>, seen: &UnboundedSender<Seen>) {
        let mut endpoints = Vec::with_capacity(self.ports.len());
        let mut unreadable = false;
        for port in &self.ports {
            let mut bound = Vec::with_capacity(port.transports.len());
            for transport in port.transports {
                match self.owner_of(*transport, port.port, there) {
                    Ok(Some(Owner::Ours { addrs, .. })) => bound.push(addrs),
                    Ok(Some(Owner::Unreadable { addrs, .. })) => {
                        unreadable = true;
                        bound.push(addrs);
                    }
                    Ok(Some(Owner::Stranger(who))) => return self.stranger(slot, port.port, who, seen),
                    Ok(None) => return,
                    Err(error) => return self.unseen(slot, &error, seen),
                }
            }
            let addrs = at_all(&bound);
            let Some(addr) = dial_address(&addrs, port.port) else { return };
            let exposed = bound.iter().flatten().copied().find(|a| !a.ip().is_loopback());
            endpoints.push(Endpoint { port: port.name.clone(), addr, exposed });
        }
        self.strange = false;
        if matches!(self.last, None | Some(Sight::Nobody { .. })) {
            self.tell(slot, Sight::NotYet("it has not answered yet".to_owned()), seen);
        }
        let ports = self.ports.clone();
        let (answers, id) = (answers.clone(), self.id);
        self.asking = Some(tokio::spawn(async move {
            let sight = ask_all(endpoints, &ports, unreadable).await;
            // The watcher may have ended: then nobody needs the answer.
            let _ = answers.send(Seen { slot, id, sight });
        }));
    }

    fn stranger(&mut self, slot: SlotId, port: u16, who: Option<tambat_os::ProcessInfo>, seen: &UnboundedSender<Seen>) {
        let who = who.map(|info| (info.name, info.pid.get()));
        // A listener that ends between two looks at the machine belongs to nobody for a moment.
        if std::mem::replace(&mut self.strange, true) {
            self.tell(slot, Sight::Stranger(Stranger { port, who }), seen);
        } else {
            self.due = self.due.max(Instant::now() + STRANGER_INTERVAL);
        }
    }

    fn owner_of(&self, transport: Transport, port: u16, there: &There) -> std::io::Result<Option<Owner>> {
        if self.any_owner {
            let addrs = there.over(transport).iter().map(|l| l.addr).filter(|a| a.port() == port).collect();
            return Ok(Some(Owner::Ours { pid: self.keeper, addrs }));
        }
        tambat_os::owner_over(of_this_machine(transport), port, self.keeper)
    }

    fn elsewhere(&self) -> Vec<Elsewhere> {
        let told = |port: u16| self.ports.iter().any(|p| p.port == port);
        let mut found: Vec<Elsewhere> = Vec::new();
        let mut listeners = tambat_os::listeners_of(self.keeper).unwrap_or_default();
        if self.is_over(Transport::Udp) {
            // A port that the kernel chose is that of a client, as a rule.
            let ephemeral = tambat_os::ports::ephemeral();
            let mut udp = tambat_os::udp_listeners_of(self.keeper).unwrap_or_default();
            udp.retain(|listener| ephemeral.as_ref().is_none_or(|range| !range.contains(&listener.addr.port())));
            listeners.append(&mut udp);
        }
        for listener in listeners {
            let port = listener.addr.port();
            if !told(port) && found.iter().all(|e| e.port != port) {
                found.push(Elsewhere { program: listener.name, pid: listener.pid.get(), port });
            }
        }
        found.sort_by_key(|e| e.port);
        found
    }

    /// Says what is new.
    fn tell(&mut self, slot: SlotId, sight: Sight, seen: &UnboundedSender<Seen>) {
        if self.last.as_ref() != Some(&sight) {
            self.last = Some(sight.clone());
            let _ = seen.send(Seen { slot, id: self.id, sight });
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

/// Asks each endpoint over each of its transports; of several answers that are no "ready", the last one is told.
async fn ask_all(endpoints: Vec<Endpoint>, ports: &[WatchedPort], unreadable: bool) -> Sight {
    let mut answered = None;
    for (endpoint, port) in endpoints.iter().zip(ports) {
        for transport in port.transports {
            let judgement = match transport {
                Transport::Tcp => ask(endpoint.addr, port.proxy_protocol, &port.probe).await,
                Transport::Udp => ask_by_datagram(endpoint.addr, port.proxy_protocol, &port.probe).await,
            };
            match judgement {
                Judgement::Ready => {}
                Judgement::Incomplete => answered = Some(Sight::NotYet("it answered in part".to_owned())),
                Judgement::NotYet(answer) => answered = Some(Sight::NotYet(answer)),
                Judgement::Wrong(answer) => answered = Some(Sight::Wrong(answer)),
            }
        }
    }
    answered.unwrap_or(Sight::Ready { endpoints, unreadable })
}

/// The addresses at which it is bound over every transport; where there is no such one, those of the first.
fn at_all(bound: &[Vec<SocketAddr>]) -> Vec<SocketAddr> {
    let Some((first, others)) = bound.split_first() else { return Vec::new() };
    let everywhere: Vec<SocketAddr> =
        first.iter().copied().filter(|addr| others.iter().all(|addrs| addrs.contains(addr))).collect();
    if everywhere.is_empty() { first.clone() } else { everywhere }
}

fn of_this_machine(transport: Transport) -> tambat_os::Transport {
    match transport {
        Transport::Tcp => tambat_os::Transport::Tcp,
        Transport::Udp => tambat_os::Transport::Udp,
    }
}

/// Where a listener on these addresses is dialled from this machine: loopback where it can be, IPv4 first.
fn dial_address(addrs: &[SocketAddr], port: u16) -> Option<SocketAddr> {
    let v4 = |a: &&SocketAddr| matches!(a.ip(), IpAddr::V4(ip) if ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST);
    let v6 = |a: &&SocketAddr| matches!(a.ip(), IpAddr::V6(ip) if ip.is_unspecified() || ip == Ipv6Addr::LOCALHOST);
    if addrs.iter().any(|a| v4(&a)) {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    if addrs.iter().any(|a| v6(&a)) {
        return Some((Ipv6Addr::LOCALHOST, port).into());
    }
    addrs.first().copied()
}

#[cfg(test)]
mod tests;
