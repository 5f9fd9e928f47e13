//! What may be set about the router.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

/// How long connecting to a target may take: on one machine it takes microseconds, unless the target's backlog is full.
const CONNECT_TIMEOUT_S: u64 = 5;

/// How many connections of one service port may wait at a time: each holds a file descriptor.
const WAITING_MAX: usize = 4_096;

/// How many connections may be open at a time: each holds two file descriptors, and a process gets 1,048,576 of them at
/// most unless somebody has raised that (`nr_open` in `proc_sys_fs(5)`).
const CONNECTIONS_MAX: usize = 500_000;

/// More threads than this carry more than one machine's loopback does.
const WORKERS_MAX: usize = 8;

/// What may be set about the router; the default is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSettings {
    /// How many threads carry streams; one for each core, 8 at most.
    pub workers: NonZeroUsize,
    /// How long connecting to a target may take; 5 s.
    pub connect_timeout: Duration,
    /// How many connections of one service port may wait at a time; 4,096. Those beyond are turned away at once.
    pub waiting_max: usize,
    /// How many connections may be open at a time, over all service ports; 500,000. Those beyond wait in the kernel's
    /// queues until there is room. Each holds two file descriptors, so this must be well below half of what the process
    /// may have: a connection that was accepted and has none left for its target is stuck, and keeps others out.
    pub connections_max: usize,
}

impl Default for RouterSettings {
    fn default() -> Self {
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            workers: NonZeroUsize::new(WORKERS_MAX).map_or(cores, |max| cores.min(max)),
            connect_timeout: Duration::from_secs(CONNECT_TIMEOUT_S),
            waiting_max: WAITING_MAX,
            connections_max: CONNECTIONS_MAX,
        }
    }
}
