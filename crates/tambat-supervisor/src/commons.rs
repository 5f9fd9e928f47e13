//! What the supervisors of one tambat have in common: the instance ports, and the numbers of runs.
//!
//! A port that one of them has told an instance is free until that instance binds it: without this, another one could tell
//! its own instance the same. And a run's number tells an instance from another one that had its address before, whose
//! ever that was.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tambat_model::InstancePort;

use crate::ports::PortPool;

/// What the supervisors of one tambat have in common.
#[derive(Debug)]
pub struct Commons {
    ports: Mutex<Ports>,
    next_run: AtomicU32,
}

#[derive(Debug)]
struct Ports {
    pool: PortPool,
    /// What instances were told, until nothing of them is left.
    told: BTreeSet<u16>,
}

/// A port that an instance is told; nobody else is, until this is dropped.
#[derive(Debug)]
pub(crate) struct HeldPort {
    port: InstancePort,
    commons: Arc<Commons>,
}

impl Default for Commons {
    fn default() -> Self {
        let ports = Ports { pool: PortPool::new(std::process::id()), told: BTreeSet::new() };
        Self { ports: Mutex::new(ports), next_run: AtomicU32::new(1) }
    }
}

impl Commons {
    /// The next port that is free, or why there is none.
    pub(crate) fn port(self: &Arc<Self>) -> Result<HeldPort, String> {
        let mut ports = self.ports();
        let Ports { pool, told } = &mut *ports;
        let port = pool.next(|port| told.contains(&port))?;
        told.insert(port.get());
        Ok(HeldPort { port, commons: Arc::clone(self) })
    }

    /// The number of a run, from 1: never given twice.
    pub(crate) fn run(&self) -> u32 {
        self.next_run.fetch_add(1, Ordering::Relaxed)
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldPort {
    /// Its number.
    pub(crate) fn number(&self) -> InstancePort {
        self.port
    }
}

impl Drop for HeldPort {
    fn drop(&mut self) {
        self.commons.ports().told.remove(&self.port.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_supervisors_tell_no_port_twice_and_one_that_is_let_go_may_come_again() {
        let commons = Arc::<Commons>::default();
        let (one, two) = (commons.port().unwrap(), commons.port().unwrap());
        assert_ne!(one.number(), two.number());
        assert_eq!(commons.ports().told.len(), 2);
        drop(one);
        assert_eq!(commons.ports().told, BTreeSet::from([two.number().get()]));
        assert_eq!((commons.run(), commons.run()), (1, 2));
    }
}
