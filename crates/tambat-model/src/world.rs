//! What runs: published by the supervisor, read by everyone else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::{InstanceName, PortName, ProcessName};

/// Why something is not there, in words for its user: "web.1 exited with code 1 …".
///
/// What an instance wrote itself stands at its end, after [`LAST_LINE`], if anywhere.
pub type Cause = Arc<str>;

/// What stands before an instance's own last line in a [`Cause`].
pub const LAST_LINE: &str = "; its last line: ";

/// A cause as others than its user may read it: without what an instance wrote, which may be anything.
pub fn discreet(cause: &str) -> &str {
    cause.split_once(LAST_LINE).map_or(cause, |(told, _)| told)
}

/// The processes of an app and their instances, at one moment.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// By process.
    pub processes: BTreeMap<ProcessName, ProcessView>,
}

/// One process at one moment.
#[derive(Debug, Clone, Default)]
pub struct ProcessView {
    /// Are its connections let through?
    pub gate: Gate,
    /// How many instances there should be.
    pub desired: u16,
    /// Those there are, by number; of two with one name the newer one comes last.
    pub instances: Vec<InstanceView>,
}

impl ProcessView {
    /// As others than its user may see it: every cause is [`discreet`].
    #[must_use]
    pub fn discreet(mut self) -> Self {
        for instance in &mut self.instances {
            if let Phase::Backoff { cause } | Phase::Failed { cause } | Phase::Ended { cause } = &mut instance.phase
                && let told = discreet(cause)
                && told.len() < cause.len()
            {
                *cause = told.into();
            }
        }
        self
    }

    /// Does its user want it to run? Also if it failed; not if it was stopped, or has come to its end.
    pub fn is_wanted(&self) -> bool {
        self.instances.iter().any(|i| !matches!(i.phase, Phase::Stopped | Phase::Ended { .. }))
    }
}

/// Are a process's connections let through to its instances?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// Yes.
    #[default]
    Open,
    /// The app is still being built: they wait, for however long that takes.
    Building,
    /// `tambat pause`: they wait until `tambat resume`.
    Paused,
}

/// One instance at one moment.
#[derive(Debug, Clone)]
pub struct InstanceView {
    /// Its name.
    pub name: InstanceName,
    /// How often an instance of this name has been started, from 1.
    pub generation: u32,
    /// How often it was started again after a failure.
    pub restarts: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// What its health check says against it: the end of a sentence that begins with its name. The supervisor, which
    /// asks only until an instance is ready, leaves this to whoever goes on asking.
    pub ill: Option<Cause>,
}

/// Where an instance is in its life. Pid and ports exist only where there are any.
#[derive(Debug, Clone)]
pub enum Phase {
    /// The spawner has been asked.
    Spawning,
    /// It runs and is not ready yet.
    Binding {
        /// Its process id.
        pid: i32,
        /// The port it was told to bind, where it was.
        port: Option<u16>,
        /// Where it was seen to listen although nobody told it that port: it ignores its own.
        elsewhere: Option<Elsewhere>,
    },
    /// It runs and takes connections, or (a worker) just runs.
    Ready {
        /// Its process id.
        pid: i32,
        /// Where each of its ports is dialled.
        endpoints: Arc<[Endpoint]>,
        /// Its connections.
        load: Arc<Load>,
        /// How long it took to be so.
        after: Duration,
    },
    /// It takes no new connection; those it has are finished first.
    Draining {
        /// Its process id.
        pid: i32,
    },
    /// It has been told to stop.
    Stopping {
        /// Its process id.
        pid: i32,
    },
    /// It failed and is started again soon.
    Backoff {
        /// Why it failed.
        cause: Cause,
    },
    /// It failed too often and is not started again by itself.
    Failed {
        /// Why it failed.
        cause: Cause,
    },
    /// It came to its end, and that was right.
    Ended {
        /// How.
        cause: Cause,
    },
    /// Its user stopped it.
    Stopped,
}

/// A listener of an instance on a port that nobody told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The program.
    pub program: String,
    /// Its process id.
    pub pid: i32,
    /// The port it bound.
    pub port: u16,
}

impl Phase {
    /// One word for it, as `tambat ps` has.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Spawning => "starting",
            Self::Binding { .. } => "binding",
            Self::Ready { .. } => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopping { .. } => "stopping",
            Self::Backoff { .. } => "backoff",
            Self::Failed { .. } => "failed",
            Self::Ended { .. } => "ended",
            Self::Stopped => "stopped",
        }
    }

    /// Its process id, in the phases that have one.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Binding { pid, .. } | Self::Ready { pid, .. } | Self::Draining { pid } | Self::Stopping { pid } => {
                Some(*pid)
            }
            _ => None,
        }
    }
}

/// Where one port of an instance is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The port's name; none: the unnamed one.
    pub port: Option<PortName>,
    /// The address the router dials: the one a listener of the instance was seen on.
    pub addr: SocketAddr,
    /// An address it listens on that other machines may reach, past the router.
    pub exposed: Option<SocketAddr>,
}

/// What an instance is serving: connections, or, where it speaks HTTP, requests. Shared by the router, which counts, and
/// the supervisor, which closes it and then waits until nothing is left.
///
/// Counting and closing meet in one word: whoever has closed it and then sees nothing in flight has seen the truth,
/// whatever table anybody still holds.
#[derive(Debug, Default)]
pub struct Load(AtomicUsize);

/// The bit that says "closed".
const CLOSED: usize = 1 << (usize::BITS - 1);

/// The bit that says "cut"; the others count.
const CUT: usize = 1 << (usize::BITS - 2);

/// Why something is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The instance takes nothing new any more: a newer table has others.
    Closed,
    /// It has as much in flight as it may.
    Full,
}

impl Load {
    /// One more, until the guard is dropped; `max`: how many it may have in flight.
    ///
    /// # Errors
    ///
    /// Says why not, and has counted nothing then.
    pub fn admit(self: &Arc<Self>, max: Option<NonZeroU32>) -> Result<Admitted, Denied> {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let denied = if before & CLOSED != 0 {
            Denied::Closed
        } else if max.is_some_and(|max| before >= max.get() as usize) {
            Denied::Full
        } else {
            return Ok(Admitted(Arc::clone(self)));
        };
        self.0.fetch_sub(1, Ordering::AcqRel);
        Err(denied)
    }

    /// From now on nothing is admitted. What is in flight stays so.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Is nothing admitted any more?
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The same, and streams that are in flight are to end: whoever carries one tells both sides that nothing more comes.
    /// Requests are not meant.
    pub fn cut(&self) {
        self.0.fetch_or(CLOSED | CUT, Ordering::AcqRel);
    }

    /// Are streams to end?
    pub fn is_cut(&self) -> bool {
        self.0.load(Ordering::Acquire) & CUT != 0
    }

    /// How many there are.
    pub fn in_flight(&self) -> usize {
        self.0.load(Ordering::Acquire) & !(CLOSED | CUT)
    }
}

/// Proof that something is counted at its target.
#[derive(Debug)]
pub struct Admitted(Arc<Load>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_load_admits_nothing_and_keeps_what_it_has() {
        let load = Arc::new(Load::default());
        let one = load.admit(None).unwrap();
        let two = load.admit(NonZeroU32::new(2)).unwrap();
        assert_eq!(load.admit(NonZeroU32::new(2)).unwrap_err(), Denied::Full);
        load.close();
        assert_eq!(load.admit(None).unwrap_err(), Denied::Closed);
        assert_eq!((load.in_flight(), load.is_closed(), load.is_cut()), (2, true, false));
        load.cut();
        assert_eq!((load.in_flight(), load.is_closed(), load.is_cut()), (2, true, true));
        drop((one, two));
        assert_eq!(load.in_flight(), 0);
    }
}
