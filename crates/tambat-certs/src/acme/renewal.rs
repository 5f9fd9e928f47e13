//! When each certificate is ordered: a machine. It is told what is wanted, what is there and what happened, with the time;
//! it answers with what to do. It knows no CA and no clock.
//!
//! The time is the wall clock's, since certificates count by it. It may jump: so nothing is kept as "not before that
//! moment" that a clock gone wrong may have put years ahead, but as "so long after that moment", and a moment that lies
//! ahead is now.

mod ca;
mod entry;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

pub(crate) use ca::Ca;
pub(crate) use entry::{Entry, Pause, Why};

use super::failure::{Failure, FailureKind};
use super::jitter::Jitter;
use super::routes::Routes;
use crate::cert_name::CertName;
use crate::certificate::Lifetime;

/// So many orders run at once: a CA takes some seconds for each, and counts those that are pending.
const ORDERS_MAX: usize = 4;

/// After an order that succeeded there is none for the same name for so long, however short-lived what came of it.
const AFTER_ISSUE: Duration = Duration::from_mins(1);

/// The CA's suggestion is asked for at least so often, and at most once a minute (RFC 9773 §4.3.2).
const WINDOW_AGAIN_MAX: Duration = Duration::from_hours(24);
const WINDOW_AGAIN_MIN: Duration = Duration::from_mins(1);

/// After a CA that gave none it is asked for again in so long (RFC 9773 §4.3.3).
const WINDOW_AFTER_NONE: Duration = Duration::from_hours(6);

/// So many names that nobody has written down, but somebody has asked for, have a certificate: 5 KiB of memory each.
pub(crate) const DEMANDED_MAX: usize = 10_000;

/// The machine.
#[derive(Debug)]
pub(crate) struct Renewals {
    entries: BTreeMap<CertName, Entry>,
    ca: Ca,
    jitter: Jitter,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The route table is this one now.
    Routes(Routes),
    /// Somebody wants this one, and may have it.
    Demanded(CertName),
    /// Whoever decides does not allow it any more.
    Denied(CertName),
    /// What is on the disk of a name that was wanted.
    Found { name: CertName, lifetime: Option<Lifetime>, tried: Option<Tried> },
    /// An order succeeded.
    Issued { name: CertName, lifetime: Lifetime },
    /// An order failed.
    Failed { name: CertName, failure: Failure },
    /// When the CA suggests to renew (RFC 9773 §4.2), and in how long to ask again.
    Window { name: CertName, start: SystemTime, end: SystemTime, again: Duration },
    /// It suggests nothing, or could not be asked.
    NoWindow { name: CertName },
    /// Time has passed.
    Tick,
}

/// The last try that failed, as it was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) pause: Pause,
    pub(crate) failures: u32,
    pub(crate) failure: Failure,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// See what is on the disk; [`Event::Found`] is the answer.
    Load(CertName),
    /// Order one. `replaces`: the CA is told which one it replaces (RFC 9773 §5). `failures`: so many orders of it have
    /// failed in a row. `ask`: only if who decides about demanded names still allows it.
    Order { name: CertName, replaces: bool, failures: u32, ask: bool },
    /// Ask the CA when it suggests to renew.
    AskWindow(CertName),
    /// Nobody wants it any more.
    Forget(CertName),
    /// Write down that a try failed, lest a restart tries at once.
    Remember { name: CertName, tried: Tried },
}

impl Renewals {
    pub(crate) fn new(jitter: Jitter) -> Self {
        Self { entries: BTreeMap::new(), ca: Ca::default(), jitter }
    }

    /// Takes in what happened.
    pub(crate) fn on(&mut self, event: Event, now: SystemTime) -> Vec<Action> {
        self.entries.values_mut().for_each(|entry| entry.not_ahead_of(now));
        self.ca.not_ahead_of(now);
        let mut actions = match event {
            Event::Routes(routes) => self.on_routes(&routes),
            Event::Demanded(name) => self.on_demanded(name),
            Event::Denied(name) => self.on_denied(&name),
            Event::Found { name, lifetime, tried } => self.on_found(&name, lifetime, tried),
            Event::Issued { name, lifetime } => self.on_issued(&name, lifetime, now),
            Event::Failed { name, failure } => self.on_failed(&name, failure, now),
            Event::Window { name, start, end, again } => self.on_window(&name, (start, end), again, now),
            Event::NoWindow { name } => self.on_no_window(&name, now),
            Event::Tick => Vec::new(),
        };
        actions.append(&mut self.due(now));
        actions
    }

    /// When something is due next; none: nothing is but by an event.
    pub(crate) fn next(&self) -> Option<SystemTime> {
        let orders = self.entries.values().filter_map(Entry::order_at).min();
        let orders = orders.map(|at| self.ca.until().map_or(at, |until| at.max(until)));
        let orders = orders.filter(|_| self.running() < self.orders_max());
        let windows = self.entries.values().filter_map(Entry::window_at).min();
        orders.into_iter().chain(windows).min()
    }

    /// What is known of each name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&CertName, &Entry)> {
        self.entries.iter()
    }

    /// What is known of one.
    pub(crate) fn entry(&self, name: &CertName) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Is a certificate for this name on its way, as far as that can be known?
    pub(crate) fn is_coming(&self, name: &CertName, now: SystemTime) -> bool {
        let held_up = self.ca.until().is_some_and(|until| now < until);
        self.entries
            .get(name)
            .is_some_and(|entry| !entry.is_settled() || (!held_up && entry.order_at().is_some_and(|at| at <= now)))
    }

    /// How the CA is.
    pub(crate) fn ca(&self) -> &Ca {
        &self.ca
    }

    fn on_routes(&mut self, routes: &Routes) -> Vec<Action> {
        let is_left = |name: &CertName, entry: &Entry| match entry.why {
            _ if routes.named.contains(name) => false,
            Why::Named => true,
            Why::Demanded => !routes.is_open(name),
        };
        let left = self.entries.extract_if(.., |name, entry| is_left(name, entry));
        let mut actions: Vec<Action> = left.map(|(name, _)| Action::Forget(name)).collect();
        for name in &routes.named {
            if let Some(entry) = self.entries.get_mut(name) {
                entry.why = Why::Named;
            } else {
                self.entries.insert(name.clone(), Entry::new(Why::Named));
                actions.push(Action::Load(name.clone()));
            }
        }
        actions
    }

    fn on_demanded(&mut self, name: CertName) -> Vec<Action> {
        if self.entries.contains_key(&name) {
            return Vec::new();
        }
        self.entries.insert(name.clone(), Entry::new(Why::Demanded));
        vec![Action::Load(name)]
    }

    fn on_denied(&mut self, name: &CertName) -> Vec<Action> {
        match self.entries.get_mut(name) {
            // What it has is good until it expires.
            Some(entry) if entry.lifetime().is_some() => entry.give_up(),
            Some(_) => {
                self.entries.remove(name);
            }
            None => {}
        }
        Vec::new()
    }

    fn on_found(&mut self, name: &CertName, lifetime: Option<Lifetime>, tried: Option<Tried>) -> Vec<Action> {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.found(lifetime, tried, self.jitter.part());
        }
        Vec::new()
    }

    fn on_issued(&mut self, name: &CertName, lifetime: Lifetime, now: SystemTime) -> Vec<Action> {
        self.ca.answered();
        let Some(entry) = self.entries.get_mut(name) else { return Vec::new() };
        if lifetime.contains(now) {
            entry.issued(lifetime, Pause { since: now, length: AFTER_ISSUE }, self.jitter.part());
            return Vec::new();
        }
        // To order one after another would not set the clock right.
        let failure = Failure::new(
            FailureKind::Here,
            "the CA's certificate is not good at the time that this machine's clock shows; set the clock",
        );
        let tried = entry.issued_in_vain(lifetime, failure, now, &mut self.jitter);
        vec![Action::Remember { name: name.clone(), tried }]
    }

    fn on_failed(&mut self, name: &CertName, failure: Failure, now: SystemTime) -> Vec<Action> {
        self.ca.failed(&failure, now, &mut self.jitter);
        let Some(entry) = self.entries.get_mut(name) else { return Vec::new() };
        if entry.why == Why::Demanded && entry.lifetime().is_none() {
            // Whoever wants it may ask again.
            self.entries.remove(name);
            return Vec::new();
        }
        if failure.kind == FailureKind::Away {
            // Nothing was said about this name: it waits for the CA like all others.
            entry.not_reached(failure);
            return Vec::new();
        }
        let tried = entry.failed(failure, now, &mut self.jitter);
        vec![Action::Remember { name: name.clone(), tried }]
    }

    fn on_window(
        &mut self,
        name: &CertName,
        (start, end): (SystemTime, SystemTime),
        again: Duration,
        now: SystemTime,
    ) -> Vec<Action> {
        let Some(entry) = self.entries.get_mut(name) else { return Vec::new() };
        let pause = Pause { since: now, length: again.clamp(WINDOW_AGAIN_MIN, WINDOW_AGAIN_MAX) };
        entry.suggested((start, end), pause, self.jitter.part());
        Vec::new()
    }

    fn on_no_window(&mut self, name: &CertName, now: SystemTime) -> Vec<Action> {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.not_suggested(Pause { since: now, length: WINDOW_AFTER_NONE });
        }
        Vec::new()
    }

    /// Begins what is due. Names that have no certificate come first, then those that expire first.
    fn due(&mut self, now: SystemTime) -> Vec<Action> {
        let over = self.entries.extract_if(.., |_, entry| entry.is_over(now));
        let mut actions: Vec<Action> = over.map(|(name, _)| Action::Forget(name)).collect();
        for (name, entry) in &mut self.entries {
            if entry.window_at().is_some_and(|at| at <= now) {
                entry.ask_window();
                actions.push(Action::AskWindow(name.clone()));
            }
        }
        if self.ca.until().is_some_and(|until| now < until) {
            return actions;
        }
        let free = self.orders_max().saturating_sub(self.running());
        let mut due: Vec<(&CertName, &mut Entry)> =
            self.entries.iter_mut().filter(|(_, entry)| entry.order_at().is_some_and(|at| at <= now)).collect();
        due.sort_by_key(|(_, entry)| (entry.lifetime().map(|lifetime| lifetime.not_after), entry.failures()));
        for (name, entry) in due.into_iter().take(free) {
            let ask = entry.why == Why::Demanded && entry.lifetime().is_some();
            let (replaces, failures) = (entry.order(), entry.failures());
            actions.push(Action::Order { name: name.clone(), replaces, failures, ask });
        }
        actions
    }

    /// A CA that was away is asked by one order; the others follow when that was answered.
    fn orders_max(&self) -> usize {
        if self.ca.is_away() { 1 } else { ORDERS_MAX }
    }

    fn running(&self) -> usize {
        self.entries.values().filter(|entry| entry.is_ordering()).count()
    }
}

#[cfg(test)]
mod tests;
