//! One process: its instances together, and what its user asks of them. Pure.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use tambat_model::{Gate, InstanceName, Load, ProcessPlan, Readiness, Role};

use crate::instance::{Action, Event, Instance, Rules, State};
use crate::moment::Moment;
use crate::news::News;

/// Which machine: never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId {
    /// The place of its process in the plan.
    pub(crate) process: usize,
    /// How many of that process came before it.
    pub(crate) nth: u64,
}

/// The instances of one process.
#[derive(Debug)]
pub(crate) struct Group {
    plan: ProcessPlan,
    process: usize,
    building: bool,
    /// Its user stopped it before the app was built.
    waived: bool,
    paused: bool,
    desired: u16,
    slots: Vec<(SlotId, Instance)>,
    next: u64,
}

/// An action, the machine it is for, and that machine's name: it may be forgotten by the time the action is done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Todo {
    pub(crate) slot: SlotId,
    pub(crate) instance: InstanceName,
    pub(crate) action: Action,
}

impl Group {
    /// The process at this place in the plan, of which nothing runs yet. `building`: and nothing does before
    /// [`Group::built`].
    pub(crate) fn new(plan: ProcessPlan, process: usize, desired: u16, building: bool) -> Self {
        let desired = allowed(&plan, desired);
        Self { plan, process, building, waived: false, paused: false, desired, slots: Vec::new(), next: 0 }
    }

    /// The process.
    pub(crate) fn plan(&self) -> &ProcessPlan {
        &self.plan
    }

    /// Are its connections let through?
    pub(crate) fn gate(&self) -> Gate {
        match (self.building, self.paused) {
            (true, _) => Gate::Building,
            (false, true) => Gate::Paused,
            (false, false) => Gate::Open,
        }
    }

    /// Lets its connections through, or holds them. That the app is being built is not its user's to say.
    pub(crate) fn set_gate(&mut self, gate: Gate) {
        match gate {
            Gate::Open => self.paused = false,
            Gate::Paused => self.paused = true,
            Gate::Building => {}
        }
    }

    /// How many instances there should be.
    pub(crate) fn desired(&self) -> u16 {
        self.desired
    }

    /// Its machines, in the order of their making.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (SlotId, &Instance)> {
        self.slots.iter().map(|(id, instance)| (*id, instance))
    }

    /// One machine.
    pub(crate) fn instance(&self, id: SlotId) -> Option<&Instance> {
        self.slots.iter().find(|(slot, _)| *slot == id).map(|(_, instance)| instance)
    }

    /// Does anything of it run?
    pub(crate) fn is_alive(&self) -> bool {
        self.slots.iter().any(|(_, i)| i.is_alive())
    }

    /// Closes the loads of those whose runs take nothing new any more.
    pub(crate) fn close_loads<'a>(&self, load_of: impl Fn(SlotId) -> Option<&'a Load>) {
        let closed = self.slots.iter().filter(|(_, i)| i.has_closed());
        closed.filter_map(|(slot, _)| load_of(*slot)).for_each(Load::close);
    }

    /// The first code that is not 0, once every instance has come to its end by itself. `None`: not so, or there is none.
    pub(crate) fn ended(&self) -> Option<u8> {
        let ended = |i: &Instance| match i.state() {
            State::Ended { code, .. } | State::Failed { code, .. } => Some(*code),
            _ => None,
        };
        let codes: Vec<u8> = self.slots.iter().map(|(_, i)| ended(i)).collect::<Option<_>>()?;
        codes.iter().copied().find(|code| *code != 0).or(codes.first().copied())
    }

    /// Starts as many as there should be, once the app is built.
    pub(crate) fn start(&mut self, now: Moment) -> Vec<Todo> {
        if self.building {
            return Vec::new();
        }
        (1..=self.desired).flat_map(|number| self.provide(number, now)).collect()
    }

    /// The app is built: starts as many as there should be.
    pub(crate) fn built(&mut self, now: Moment) -> Vec<Todo> {
        self.building = false;
        if self.waived { Vec::new() } else { self.start(now) }
    }

    /// Makes it so many: new ones are started, those too many are retired, and who was stopped or has come to its end is
    /// wanted again.
    pub(crate) fn scale(&mut self, desired: u16, now: Moment) -> Vec<Todo> {
        self.desired = allowed(&self.plan, desired);
        self.waived = false;
        let desired = self.desired;
        let mut todo = self.each(&Event::Retire, now, |i| i.name().number.get() > desired);
        todo.extend(self.each(&Event::Start, now, |i| i.is_held() || is_over(i)));
        todo.extend(self.start(now));
        todo
    }

    /// Stops it; it stays stopped until it is restarted or scaled.
    pub(crate) fn stop(&mut self, now: Moment) -> Vec<Todo> {
        self.waived = self.building;
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
        self.waived = false;
        let numbers: BTreeSet<NonZeroU16> = self.slots.iter().map(|(_, i)| i.name().number).collect();
        let mut todo: Vec<Todo> = numbers.into_iter().flat_map(|number| self.restart_one(number, now)).collect();
        todo.extend(self.start(now));
        todo
    }

    /// Something happened to one of its machines.
    pub(crate) fn on(&mut self, id: SlotId, event: &Event, now: Moment) -> Vec<Todo> {
        let Some((_, instance)) = self.slots.iter_mut().find(|(slot, _)| *slot == id) else { return Vec::new() };
        let (name, replaces) = (instance.name().clone(), instance.replaces());
        let mut actions = instance.on(event.clone(), now);
        let follows = if replaces {
            self.settle(id, now)
        } else {
            if self.promote(name.number) {
                actions.iter_mut().for_each(without_a_future);
            }
            Vec::new()
        };
        self.slots.retain(|(_, i)| *i.state() != State::Gone);
        let own = actions.into_iter().map(|action| Todo { slot: id, instance: name.clone(), action });
        own.chain(follows).collect()
    }

    /// A replacement that is ready takes its place; one that is not going to be leaves it to the old one.
    fn settle(&mut self, id: SlotId, now: Moment) -> Vec<Todo> {
        let Some((_, replacement)) = self.slots.iter_mut().find(|(slot, _)| *slot == id) else { return Vec::new() };
        let number = replacement.name().number;
        match replacement.state() {
            State::Ready { .. } => {
                replacement.settle();
                let others = self.slots.iter().filter(|(slot, i)| *slot != id && i.name().number == number);
                let ids: Vec<SlotId> = others.map(|(slot, _)| *slot).collect();
                ids.into_iter().flat_map(|other| self.on(other, &Event::Retire, now)).collect()
            }
            State::Failed { .. } | State::Stopped => {
                self.slots.retain(|(slot, _)| *slot != id);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The old one has ended while its replacement was still on its way: the replacement is the one that counts.
    fn promote(&mut self, number: NonZeroU16) -> bool {
        let is_of = |i: &Instance| i.name().number == number;
        let goes_on = |i: &Instance| !i.replaces() && i.is_alive() && !i.is_leaving();
        if self.slots.iter().any(|(_, i)| is_of(i) && goes_on(i)) {
            return false;
        }
        let coming = self.slots.iter_mut().find(|(_, i)| is_of(i) && i.replaces() && !i.is_leaving());
        let Some((new, replacement)) = coming else { return false };
        replacement.settle();
        let new = *new;
        self.slots.retain(|(slot, i)| *slot == new || !is_of(i) || i.is_alive());
        true
    }

    fn restart_one(&mut self, number: NonZeroU16, now: Moment) -> Vec<Todo> {
        let present: Vec<(SlotId, bool)> = self
            .slots
            .iter()
            .filter(|(_, i)| i.name().number == number && !i.is_leaving())
            .map(|(slot, i)| (*slot, i.replaces()))
            .collect();
        // A second restart before the first is through: what is on its way may know nothing of what has changed since.
        if let Some((replacement, _)) = present.iter().find(|(_, replaces)| *replaces) {
            return self.on(*replacement, &Event::Restart, now);
        }
        let mut todo = Vec::new();
        for (slot, _) in present {
            if self.may_overlap() && matches!(self.instance(slot).map(Instance::state), Some(State::Ready { .. })) {
                todo.extend(self.add(number, true, now));
            } else {
                todo.extend(self.on(slot, &Event::Restart, now));
            }
        }
        todo
    }

    /// Sees to it that there is an instance of this number.
    fn provide(&mut self, number: u16, now: Moment) -> Vec<Todo> {
        let Some(number) = NonZeroU16::new(number) else { return Vec::new() };
        let mut of_number = self.slots.iter().filter(|(_, i)| i.name().number == number);
        let leaving = of_number.clone().map(|(slot, _)| *slot).next();
        if of_number.any(|(_, i)| !i.is_leaving()) {
            return Vec::new();
        }
        match leaving {
            // It has to be gone before another one may start: then it may as well come back.
            Some(slot) if !self.may_overlap() => self.on(slot, &Event::Restart, now),
            _ => self.add(number, false, now),
        }
    }

    /// May two instances of one number run for a while?
    fn may_overlap(&self) -> bool {
        !self.plan.stateful && self.plan.role == Role::Exporter
    }

    fn add(&mut self, number: NonZeroU16, replaces: bool, now: Moment) -> Vec<Todo> {
        let name = InstanceName { process: self.plan.name.clone(), number };
        // Where there is no port, there is nothing to wait for.
        let readiness = if self.plan.ports.is_empty() { Readiness::AtOnce } else { self.plan.ready.clone() };
        let (restart, recognised) = (self.plan.restart, self.plan.recognised.clone());
        let rules = Rules { readiness, restart, drain: self.plan.drain, replaces, recognised };
        let id = SlotId { process: self.process, nth: self.next };
        self.next += 1;
        self.slots.push((id, Instance::new(name, rules)));
        self.on(id, &Event::Start, now)
    }

    fn each(&mut self, event: &Event, now: Moment, which: impl Fn(&Instance) -> bool) -> Vec<Todo> {
        let ids: Vec<SlotId> = self.slots.iter().filter(|(_, i)| which(i)).map(|(id, _)| *id).collect();
        ids.into_iter().flat_map(|id| self.on(id, event, now)).collect()
    }
}

/// Has it come to its end by itself, for good?
fn is_over(instance: &Instance) -> bool {
    matches!(instance.state(), State::Ended { .. } | State::Failed { .. })
}

/// Two instances on one set of data would destroy it.
fn allowed(plan: &ProcessPlan, desired: u16) -> u16 {
    if plan.stateful { desired.min(1) } else { desired }
}

/// Why an instance ended is still told when another one takes its place, or when everything ends with it; that it is
/// started again is not so.
pub(crate) fn without_a_future(action: &mut Action) {
    if let Action::Tell(News::Again { cause, .. } | News::Failed { cause, .. }) = action {
        *action = Action::Tell(News::Trouble(cause.clone()));
    }
}

#[cfg(test)]
mod tests;
