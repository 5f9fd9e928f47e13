//! What the others see of it all: published when it has changed, and only then.

use std::sync::Arc;

use tambat_model::{Endpoint, Gate, InstanceView, Phase, ProcessView, World};

use super::{Driver, Live};
use crate::group::{Group, SlotId};
use crate::instance::State;

/// What was published of a process, in a form that can be compared.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    gate: Gate,
    desired: u16,
    instances: Vec<(SlotId, u32, u32, State)>,
}

impl Driver {
    /// Publishes the world, if it is another one than before: every publication makes a new route table.
    pub(super) fn publish(&mut self) {
        let shown: Vec<Shown> = self.groups.iter().map(|g| self.shown(g)).collect();
        if self.shown.as_ref() == Some(&shown) {
            return;
        }
        self.shown = Some(shown);
        // First nothing more is admitted, then it is said who else there is: whoever is denied finds that out at once,
        // or waits for a moment.
        self.groups.iter().for_each(|g| g.close_loads(|slot| self.live.get(&slot).map(|live| &*live.load)));
        let processes = self.groups.iter().map(|g| (g.plan().name.clone(), self.view(g))).collect();
        self.outlets.world.send_replace(Arc::new(World { processes }));
    }

    fn shown(&self, group: &Group) -> Shown {
        let instances = group.slots().map(|(slot, i)| (slot, self.run_of(slot), i.restarts(), i.state().clone()));
        Shown { gate: group.gate(), desired: group.desired(), instances: instances.collect() }
    }

    fn view(&self, group: &Group) -> ProcessView {
        let instances = group.slots().map(|(slot, instance)| InstanceView {
            name: instance.name().clone(),
            generation: self.run_of(slot),
            restarts: instance.restarts(),
            phase: phase(instance.state(), self.live.get(&slot)),
            ill: None,
        });
        ProcessView { gate: group.gate(), desired: group.desired(), instances: instances.collect() }
    }

    fn run_of(&self, slot: SlotId) -> u32 {
        self.live.get(&slot).map_or(0, |live| live.run.id)
    }
}

fn phase(state: &State, live: Option<&Live>) -> Phase {
    match state {
        State::Spawning { .. } | State::Stopping { pid: None, .. } => Phase::Spawning,
        State::Binding { pid, seen, .. } => Phase::Binding {
            pid: *pid,
            port: live.and_then(|l| l.ports.first()).map(|(_, port)| port.get()),
            elsewhere: seen.elsewhere().cloned(),
        },
        State::Ready { pid, endpoints, after } => Phase::Ready {
            pid: *pid,
            endpoints: Arc::<[Endpoint]>::from(endpoints.as_slice()),
            load: live.map(|l| Arc::clone(&l.load)).unwrap_or_default(),
            after: *after,
        },
        State::Draining { pid, .. } => Phase::Draining { pid: *pid },
        State::Stopping { pid: Some(pid), .. } => Phase::Stopping { pid: *pid },
        State::Backoff { cause, .. } => Phase::Backoff { cause: Arc::clone(cause) },
        State::Failed { cause, .. } => Phase::Failed { cause: Arc::clone(cause) },
        State::Ended { cause, .. } => Phase::Ended { cause: Arc::clone(cause) },
        State::Stopped | State::Gone => Phase::Stopped,
    }
}
