//! What runs: published by the supervisor, read by everyone else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::{InstanceName, PortName, ProcessName};

/// Why something is not there, in words for its user: "web.1 exited with code 1 …".
pub type Cause = Arc<str>;

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

/// How many connections an instance is serving. Shared by the router, which counts, and the supervisor, which waits
/// for none.
#[derive(Debug, Default)]
pub struct Load(AtomicUsize);

impl Load {
    /// One connection more, until the guard is dropped.
    pub fn admit(self: &Arc<Self>) -> Admitted {
        self.0.fetch_add(1, Ordering::AcqRel);
        Admitted(Arc::clone(self))
    }

    /// How many there are.
    pub fn in_flight(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Proof that a connection is counted at its target.
#[derive(Debug)]
pub struct Admitted(Arc<Load>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
