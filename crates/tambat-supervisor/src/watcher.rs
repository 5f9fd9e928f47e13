//! Looks at instance ports: who listens there, and does it answer? One task for all instances, asleep when none boots.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tambat_model::{Endpoint, PortName};
use tambat_os::{Listening, Owner, Pid};
use tambat_wire::{Judgement, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout};

use crate::group::SlotId;
use crate::instance::Pace;
use crate::sight::{Elsewhere, Sight, Stranger};

/// How often ports are looked at just after a start: the user waits for them.
const BOOT_INTERVAL: Duration = Duration::from_millis(5);

/// For so long; then the interval grows by half each time.
const BOOT_EAGER: Duration = Duration::from_secs(2);

/// To this.
const INTERVAL_MAX: Duration = Duration::from_millis(250);

/// How often the port of a reloader is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_millis(20);

/// A worker is looked at for so long after its start, and after each connection that waits for it.
const WORKER_PATIENCE: Duration = Duration::from_secs(10);

/// After a wrong or a "not yet" answer, the next question comes no sooner.
const ANSWER_INTERVAL: Duration = Duration::from_millis(50);

/// From when on an instance is told that it listens elsewhere: some open a port of their own before the main one.
const ELSEWHERE_AFTER: Duration = Duration::from_secs(1);

/// One question to an app may take so long: a first page may have to be compiled.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// An answer is read up to this size; what it says stands at its beginning.
const ANSWER_LENGTH_MAX_BYTES: usize = 64 * 1024;

/// One port to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct WatchedPort {
    pub(crate) name: Option<PortName>,
    pub(crate) port: u16,
    pub(crate) probe: Probe,
}

/// What the watcher is told.
#[derive(Debug)]
pub(crate) enum Watch {
    Begin { slot: SlotId, run: u32, keeper: Pid, ports: Vec<WatchedPort>, any_owner: bool, pace: Pace },
    End { slot: SlotId },
}

/// What it saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) slot: SlotId,
    pub(crate) run: u32,
    pub(crate) sight: Sight,
}

struct Watched {
    run: u32,
    keeper: Pid,
    ports: Vec<WatchedPort>,
    any_owner: bool,
    pace: Pace,
    since: Instant,
    interval: Duration,
    due: Instant,
    asking: Option<tokio::task::JoinHandle<()>>,
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
                Some(watch) => take(&mut watched, watch),
            },
            Some(answer) = answered.recv() => {
                if let Some(one) = watched.get_mut(&answer.slot).filter(|w| w.run == answer.run) {
                    one.asking = None;
                    one.due = Instant::now() + one.interval.max(ANSWER_INTERVAL);
                    one.tell(answer.slot, answer.sight, &seen);
                }
            }
            () = sleep => look(&mut watched, &answers, &seen),
        }
    }
}

fn take(watched: &mut HashMap<SlotId, Watched>, watch: Watch) {
    match watch {
        Watch::End { slot } => {
            watched.remove(&slot);
        }
        Watch::Begin { slot, run, keeper, ports, any_owner, pace } => {
            let now = Instant::now();
            let interval = match pace {
                Pace::Boot => BOOT_INTERVAL,
                Pace::Reload => RELOAD_INTERVAL,
                Pace::Worker => INTERVAL_MAX,
            };
            let one = Watched {
                run,
                keeper,
                ports,
                any_owner,
                pace,
                interval,
                since: now,
                due: now + interval,
                asking: None,
                last: None,
            };
            watched.insert(slot, one);
        }
    }
}

/// One look at the machine's listeners serves all instances that are due.
fn look(watched: &mut HashMap<SlotId, Watched>, answers: &UnboundedSender<Seen>, seen: &UnboundedSender<Seen>) {
    let now = Instant::now();
    let Ok(listening) = tambat_os::listening() else {
        watched.values_mut().for_each(|w| w.due = now + INTERVAL_MAX);
        return;
    };
    watched.retain(|_, w| w.pace != Pace::Worker || now - w.since < WORKER_PATIENCE);
    for (slot, one) in watched.iter_mut().filter(|(_, w)| w.asking.is_none() && w.due <= now) {
        one.slow_down(now);
        let all_bound = one.ports.iter().all(|p| listening.iter().any(|l| l.addr.port() == p.port));
        if all_bound {
            one.verify(*slot, &listening, answers, seen);
        } else if now - one.since >= ELSEWHERE_AFTER {
            one.tell(*slot, Sight::Nobody { elsewhere: one.elsewhere() }, seen);
        }
    }
}

impl Watched {
    fn slow_down(&mut self, now: Instant) {
        if self.pace == Pace::Boot && now - self.since > BOOT_EAGER {
            self.interval = (self.interval * 3 / 2).min(INTERVAL_MAX);
        }
        self.due = now + self.interval;
    }

    /// Every port is bound: by whom? Only an instance of ours is asked anything.
    fn verify(
        &mut self,
        slot: SlotId,
        listening: &[Listening],
        answers: &UnboundedSender<Seen>,
        seen: &UnboundedSender<Seen>,
    ) {
        let mut endpoints = Vec::with_capacity(self.ports.len());
        let mut unreadable = false;
        for port in &self.ports {
            let addrs = match self.owner_of(port.port, listening) {
                Some(Owner::Ours { addrs, .. }) => addrs,
                Some(Owner::Unreadable { addrs, .. }) => {
                    unreadable = true;
                    addrs
                }
                Some(Owner::Stranger(who)) => {
                    let who = who.map(|info| (info.name, info.pid.get()));
                    self.tell(slot, Sight::Stranger(Stranger { port: port.port, who }), seen);
                    return;
                }
                None => return,
            };
            let Some(addr) = dial_address(&addrs, port.port) else { return };
            endpoints.push(Endpoint { port: port.name.clone(), addr });
        }
        let questions: Vec<(SocketAddr, Probe)> =
            endpoints.iter().zip(&self.ports).map(|(e, p)| (e.addr, p.probe.clone())).collect();
        let (answers, run) = (answers.clone(), self.run);
        self.asking = Some(tokio::spawn(async move {
            let mut sight = Sight::Ready { endpoints, unreadable };
            for (addr, probe) in questions {
                match ask(addr, &probe).await {
                    Judgement::Ready => {}
                    Judgement::Incomplete => {
                        sight = Sight::NotYet("it closed the connection without an answer".to_owned())
                    }
                    Judgement::NotYet(answer) => sight = Sight::NotYet(answer),
                    Judgement::Wrong(answer) => sight = Sight::Wrong(answer),
                }
            }
            // The watcher may have ended: then nobody needs the answer.
            let _ = answers.send(Seen { slot, run, sight });
        }));
    }

    fn owner_of(&self, port: u16, listening: &[Listening]) -> Option<Owner> {
        if self.any_owner {
            let addrs = listening.iter().map(|l| l.addr).filter(|a| a.port() == port).collect();
            return Some(Owner::Ours { pid: self.keeper, addrs });
        }
        tambat_os::owner(port, self.keeper).ok().flatten()
    }

    fn elsewhere(&self) -> Vec<Elsewhere> {
        let told = |port: u16| self.ports.iter().any(|p| p.port == port);
        let mut found: Vec<Elsewhere> = Vec::new();
        for listener in tambat_os::listeners_of(self.keeper).unwrap_or_default() {
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
            let _ = seen.send(Seen { slot, run: self.run, sight });
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

/// Asks one port once. Whatever keeps it from answering is "not yet": it may be about to end, or to begin.
async fn ask(addr: SocketAddr, probe: &Probe) -> Judgement {
    match timeout(ANSWER_LIMIT, converse(addr, probe)).await {
        Ok(Ok(judgement)) => judgement,
        Ok(Err(error)) => Judgement::NotYet(error.to_string()),
        Err(_) => Judgement::NotYet(format!("no answer within {ANSWER_LIMIT:?}")),
    }
}

async fn converse(addr: SocketAddr, probe: &Probe) -> std::io::Result<Judgement> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(&probe.request()).await?;
    let mut answer = Vec::new();
    loop {
        match probe.judge(&answer, false) {
            Judgement::Incomplete => {}
            judged => return Ok(judged),
        }
        let full = answer.len() >= ANSWER_LENGTH_MAX_BYTES;
        if full || stream.read_buf(&mut answer).await? == 0 {
            return Ok(probe.judge(&answer, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_dialled_where_it_is() {
        let dial = |addrs: &[&str]| {
            let addrs: Vec<SocketAddr> = addrs.iter().map(|a| a.parse().unwrap()).collect();
            dial_address(&addrs, 9).unwrap().to_string()
        };
        assert_eq!(dial(&["0.0.0.0:9"]), "127.0.0.1:9");
        assert_eq!(dial(&["[::]:9"]), "[::1]:9");
        assert_eq!(dial(&["[::1]:9", "127.0.0.1:9"]), "127.0.0.1:9");
        assert_eq!(dial(&["192.0.2.1:9"]), "192.0.2.1:9");
    }
}
