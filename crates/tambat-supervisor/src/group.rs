//! One process: its instances together, and what its user asks of them. Pure.

use std::num::NonZeroU16;
use std::time::Duration;

use tambat_model::{Gate, InstanceName, ProcessPlan, Role};

use crate::instance::{Action, Event, Instance, Rules, State};
use crate::moment::Moment;

/// Under `tambat start` connections of an instance that is replaced may take this long to finish.
const DRAIN: Duration = Duration::from_secs(2);

/// Which of a process's machines: never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(pub(crate) u32);

/// The instances of one process.
#[derive(Debug)]
pub(crate) struct Group {
    plan: ProcessPlan,
    gate: Gate,
    desired: u16,
    slots: Vec<(SlotId, Instance)>,
    next: u32,
}

/// An action and the machine it is for.
pub(crate) type Todo = (SlotId, Action);

impl Group {
    /// A process of which nothing runs yet. `first` is the number of its first slot: slots are unique in an app.
    pub(crate) fn new(plan: ProcessPlan, desired: u16, gate: Gate, first: SlotId) -> Self {
        Self { plan, gate, desired, slots: Vec::new(), next: first.0 }
    }

    /// The process.
    pub(crate) fn plan(&self) -> &ProcessPlan {
        &self.plan
    }

    /// Are its connections let through?
    pub(crate) fn gate(&self) -> Gate {
        self.gate
    }

    /// Lets its connections through, or holds them.
    pub(crate) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// How many instances there should be.
    pub(crate) fn desired(&self) -> u16 {
        self.desired
    }

    /// Its machines, in the order of their making.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (SlotId, &Instance)> {
        self.slots.iter().map(|(id, instance)| (*id, instance))
    }

    /// Does anything of it run?
    pub(crate) fn is_alive(&self) -> bool {
        self.slots.iter().any(|(_, i)| i.is_alive())
    }

    /// Has every instance come to its end by itself? `None`: not so. `Some(None)`: there never was one.
    pub(crate) fn ended(&self) -> Option<Option<u8>> {
        let mut codes = Vec::new();
        for (_, instance) in &self.slots {
            match instance.state() {
                State::Ended { code, .. } | State::Failed { code, .. } => codes.push(*code),
                _ => return None,
            }
        }
        Some(codes.iter().copied().find(|c| *c != 0).or(codes.first().copied()))
    }

    /// Starts as many as there should be.
    pub(crate) fn start(&mut self, now: Moment) -> Vec<Todo> {
        let mut todo = Vec::new();
        for number in 1..=self.desired {
            let present = self.slots.iter().any(|(_, i)| i.name().number.get() == number);
            if !present && let Some(id) = self.add(number, false) {
                todo.extend(self.on(id, &Event::Start, now));
            }
        }
        todo
    }

    /// Makes it so many: new ones are started, those too many are retired.
    pub(crate) fn scale(&mut self, desired: u16, now: Moment) -> Vec<Todo> {
        self.desired = desired;
        let mut todo = self.each(&Event::Retire, now, |i| i.name().number.get() > desired);
        todo.extend(self.each(&Event::Start, now, |i| *i.state() == State::Stopped));
        todo.extend(self.start(now));
        todo
    }

    /// Stops it; it stays stopped until it is restarted or scaled.
    pub(crate) fn stop(&mut self, now: Moment) -> Vec<Todo> {
        self.each(&Event::Stop, now, |_| true)
    }

    /// Kills it.
    pub(crate) fn kill(&mut self, now: Moment) -> Vec<Todo> {
        self.each(&Event::Kill, now, |_| true)
    }

    /// Starts every instance anew: with the old one going on until the new one is ready where that does no harm, else
    /// one after the other.
    pub(crate) fn restart(&mut self, now: Moment) -> Vec<Todo> {
        self.desired = self.desired.max(1);
        let mut todo = Vec::new();
        let slots: Vec<_> =
            self.slots.iter().filter(|(_, i)| !i.replaces()).map(|(id, i)| (*id, i.name().number)).collect();
        for (id, number) in slots {
            if self.may_overlap(id) {
                let replacement = self.add(number.get(), true);
                todo.extend(replacement.into_iter().flat_map(|new| self.on(new, &Event::Start, now)));
            } else {
                todo.extend(self.on(id, &Event::Restart, now));
            }
        }
        todo.extend(self.start(now));
        todo
    }

    /// Something happened to one of its machines.
    pub(crate) fn on(&mut self, id: SlotId, event: &Event, now: Moment) -> Vec<Todo> {
        let Some((_, instance)) = self.slots.iter_mut().find(|(slot, _)| *slot == id) else { return Vec::new() };
        let actions = instance.on(event.clone(), now);
        let mut todo: Vec<Todo> = actions.into_iter().map(|action| (id, action)).collect();
        todo.extend(self.settle(id, now));
        self.slots.retain(|(_, i)| *i.state() != State::Gone);
        todo
    }

    /// A replacement that is ready takes its place; one that is not going to be leaves it to the old one.
    fn settle(&mut self, id: SlotId, now: Moment) -> Vec<Todo> {
        let Some((_, replacement)) = self.slots.iter_mut().find(|(slot, i)| *slot == id && i.replaces()) else {
            return self.fall_back(id);
        };
        let number = replacement.name().number;
        match replacement.state() {
            State::Ready { .. } => {
                replacement.settle();
                self.each_but(id, number, &Event::Retire, now)
            }
            State::Failed { .. } | State::Ended { .. } | State::Stopped => {
                self.slots.retain(|(slot, _)| *slot != id);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The old one has ended while its replacement was still on its way: the replacement is the one that counts.
    fn fall_back(&mut self, id: SlotId) -> Vec<Todo> {
        let Some(position) = self.slots.iter().position(|(slot, _)| *slot == id) else { return Vec::new() };
        let (number, alive) = (self.slots[position].1.name().number, self.slots[position].1.is_alive());
        if alive {
            return Vec::new();
        }
        let mut replaced = false;
        for (_, other) in
            self.slots.iter_mut().filter(|(slot, i)| *slot != id && i.replaces() && i.name().number == number)
        {
            other.settle();
            replaced = true;
        }
        if replaced {
            self.slots.remove(position);
        }
        Vec::new()
    }

    fn may_overlap(&self, id: SlotId) -> bool {
        let is_ready = self.slots.iter().any(|(slot, i)| *slot == id && matches!(i.state(), State::Ready { .. }));
        is_ready && !self.plan.stateful && self.plan.role == Role::Exporter
    }

    fn add(&mut self, number: u16, replaces: bool) -> Option<SlotId> {
        let name = InstanceName { process: self.plan.name.clone(), number: NonZeroU16::new(number)? };
        let rules = Rules { readiness: self.plan.ready.clone(), restart: self.plan.restart, drain: DRAIN, replaces };
        if replaces {
            // A second restart before the first is through: the newest replacement is the one that counts.
            let older = |(_, i): &(SlotId, Instance)| i.replaces() && i.name() == &name;
            if self.slots.iter().any(older) {
                return None;
            }
        }
        let id = SlotId(self.next);
        self.next += 1;
        self.slots.push((id, Instance::new(name, rules)));
        Some(id)
    }

    fn each(&mut self, event: &Event, now: Moment, which: impl Fn(&Instance) -> bool) -> Vec<Todo> {
        let ids: Vec<SlotId> = self.slots.iter().filter(|(_, i)| which(i)).map(|(id, _)| *id).collect();
        ids.into_iter().flat_map(|id| self.on(id, event, now)).collect()
    }

    fn each_but(&mut self, id: SlotId, number: NonZeroU16, event: &Event, now: Moment) -> Vec<Todo> {
        let others = self.slots.iter().filter(|(slot, i)| *slot != id && i.name().number == number);
        let ids: Vec<SlotId> = others.map(|(slot, _)| *slot).collect();
        ids.into_iter().flat_map(|other| self.on(other, event, now)).collect()
    }
}

/// So many slots a process may use up in the life of an app; the next process's slots begin behind them.
pub(crate) const SLOTS_A_PROCESS: u32 = 1 << 20;
