//! The life of one instance: state × event → state + actions. No socket, no process, no clock.

mod state;

use std::collections::VecDeque;
use std::time::Duration;

use tambat_model::{Cause, InstanceName, Readiness, Recognised, Restart};

use crate::exit::Exit;
use crate::moment::Moment;
use crate::news::News;
use crate::sight::Sight;

pub(crate) use state::{Action, Event, Pace, State, Then, Turn};

/// So many failures …
pub(crate) const FAILURES_MAX: usize = 5;

/// … within this time make a process *failed*: what fails so often is broken, not unlucky.
pub(crate) const FAILURES_WITHIN: Duration = Duration::from_mins(1);

/// The first pause before a failed instance is started again. Each further one is twice as long; the fifth failure ends
/// that, so none is longer than 2 s.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// How long an instance that is to stop is left alone once its streams are cut: the router looks for that every 100 ms, and
/// most clients close at once.
const CUT: Duration = Duration::from_millis(500);

/// The exit code of what never became ready: the code `timeout(1)` has for it.
pub(crate) const CODE_NOT_READY: u8 = 124;

/// The exit code of what could not be started: the shell's for a command that was not found.
pub(crate) const CODE_NOT_STARTED: u8 = 127;

/// What a machine needs to know of the plan.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// When it is ready.
    pub(crate) readiness: Readiness,
    /// What follows its end.
    pub(crate) restart: Restart,
    /// How long connections may take to finish before it is told to stop.
    pub(crate) drain: Duration,
    /// It replaces a running instance: it gets one try.
    pub(crate) replaces: bool,
    /// What serves behind its command.
    pub(crate) recognised: Recognised,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    name: InstanceName,
    rules: Rules,
    state: State,
    failures: VecDeque<Moment>,
    restarts: u32,
    advised: Advised,
}

/// What the user of a worker that listens is told once a run.
#[derive(Debug, Default)]
struct Advised {
    bound: bool,
    elsewhere: bool,
}

impl Instance {
    /// An instance that has not been started.
    pub(crate) fn new(name: InstanceName, rules: Rules) -> Self {
        let advised = Advised::default();
        Self { name, rules, state: State::Stopped, failures: VecDeque::new(), restarts: 0, advised }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &InstanceName {
        &self.name
    }

    /// Where it is in its life.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// How often it was started again after a failure.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Is it there in place of another one that still runs?
    pub(crate) fn replaces(&self) -> bool {
        self.rules.replaces
    }

    /// It has taken the place of the one it replaces.
    pub(crate) fn settle(&mut self) {
        self.rules.replaces = false;
    }

    /// Does anything of it run, as far as is known?
    pub(crate) fn is_alive(&self) -> bool {
        use State::{Binding, Draining, Ready, Spawning, Stopping};
        matches!(self.state, Spawning { .. } | Binding { .. } | Ready { .. } | Draining { .. } | Stopping { .. })
    }

    /// Does what runs of it take nothing new any more, whatever happens? Who lets go of a port to reload takes it up again.
    pub(crate) fn has_closed(&self) -> bool {
        !matches!(self.state, State::Spawning { .. } | State::Binding { .. } | State::Ready { .. })
    }

    /// Is it on its way out, to be forgotten?
    pub(crate) fn is_leaving(&self) -> bool {
        use State::{Draining, Gone, Stopping};
        matches!(self.state, Draining { then: Then::Leave, .. } | Stopping { then: Then::Leave, .. } | Gone)
    }

    /// Did its user stop it, and may want it back?
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.state, State::Stopped | State::Stopping { then: Then::Stay, .. })
    }

    /// The code it ended with, where it has ended without its user's wish.
    pub(crate) fn end_code(&self) -> Option<u8> {
        match self.state {
            State::Backoff { code, .. } | State::Failed { code, .. } | State::Ended { code, .. } => Some(code),
            _ => None,
        }
    }

    /// When [`Event::Elapsed`] is due.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Binding { since, turn: Turn::Boot | Turn::Reload, .. } => {
                Some(*since + self.rules.readiness.within())
            }
            State::Draining { until, .. } | State::Backoff { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Are its ports to be looked at, and how eagerly?
    pub(crate) fn watch(&self) -> Option<Pace> {
        match &self.state {
            State::Binding { turn: Turn::Boot, .. } => Some(Pace::Boot),
            State::Binding { turn: Turn::Reload | Turn::Overdue, .. } => Some(Pace::Reload),
            State::Ready { endpoints, .. } if endpoints.is_empty() && self.is_worker() => Some(Pace::Worker),
            _ => None,
        }
    }

    /// Takes an event; says what is to be done.
    pub(crate) fn on(&mut self, event: Event, now: Moment) -> Vec<Action> {
        match event {
            Event::Start => self.on_start(now),
            Event::Spawned { pid } => self.on_spawned(pid, now),
            Event::NotSpawned { cause } => self.on_not_spawned(&cause, now),
            Event::Seen(sight) => self.on_seen(sight, now),
            Event::Exited(exit) => self.on_exited(exit, now),
            Event::Refused => self.on_refused(now),
            Event::Drained => self.on_drained(),
            Event::Elapsed => self.on_elapsed(now),
            Event::Stop => self.stop(Then::Stay),
            Event::Retire => self.on_retire(now),
            Event::Restart => self.on_restart(now),
            Event::Kill => self.on_kill(),
        }
    }

    fn on_start(&mut self, now: Moment) -> Vec<Action> {
        match &mut self.state {
            State::Stopped | State::Failed { .. } | State::Ended { .. } | State::Backoff { .. } => {
                self.failures.clear();
                self.spawn(now)
            }
            State::Stopping { then: then @ Then::Stay, .. } => {
                *then = Then::Start;
                self.failures.clear();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn on_spawned(&mut self, pid: i32, now: Moment) -> Vec<Action> {
        match &mut self.state {
            State::Spawning { since } => {
                let since = *since;
                self.state = if self.is_worker() {
                    State::Ready { pid, endpoints: Vec::new(), after: now - since }
                } else {
                    State::Binding { pid, since, seen: Sight::NOTHING, turn: Turn::Boot }
                };
            }
            State::Stopping { pid: unknown @ None, .. } => *unknown = Some(pid),
            _ => return Vec::new(),
        }
        vec![Action::Tell(News::Started { pid })]
    }

    fn on_not_spawned(&mut self, cause: &Cause, now: Moment) -> Vec<Action> {
        match &self.state {
            State::Spawning { .. } => self.fail(cause, false, CODE_NOT_STARTED, now),
            State::Stopping { then, .. } => {
                let then = then.clone();
                self.after_stop(then, now)
            }
            _ => Vec::new(),
        }
    }

    fn on_seen(&mut self, sight: Sight, now: Moment) -> Vec<Action> {
        match &self.state {
            State::Binding { .. } => self.seen_while_binding(sight, now),
            State::Ready { endpoints, .. } if endpoints.is_empty() => self.seen_of_worker(sight),
            _ => Vec::new(),
        }
    }

    fn seen_while_binding(&mut self, sight: Sight, now: Moment) -> Vec<Action> {
        let State::Binding { pid, since, seen, turn } = &mut self.state else { return Vec::new() };
        let (pid, since, boots) = (*pid, *since, *turn == Turn::Boot);
        match sight {
            Sight::Ready { endpoints, unreadable } => {
                let after = now - since;
                self.state = State::Ready { pid, endpoints, after };
                let warned = (unreadable && boots).then_some(News::OwnerUnreadable);
                let told = if boots { News::Ready { after } } else { News::ReadyAgain };
                warned.into_iter().chain([told]).map(Action::Tell).collect()
            }
            Sight::Stranger(_) => {
                let cause: Cause = sight.explain(&self.name, &self.rules.recognised).into();
                let told = Action::Tell(News::Trouble(cause.clone()));
                let then = Then::Fail { cause, code: 1 };
                self.state = State::Stopping { pid: Some(pid), then, killed: true };
                vec![told, Action::Kill]
            }
            _ => {
                let is_news = *seen != sight && boots && sight.is_telling();
                let told = is_news
                    .then(|| Action::Tell(News::Trouble(sight.explain(&self.name, &self.rules.recognised).into())));
                *seen = sight;
                told.into_iter().collect()
            }
        }
    }

    fn seen_of_worker(&mut self, sight: Sight) -> Vec<Action> {
        let State::Ready { endpoints, .. } = &mut self.state else { return Vec::new() };
        let told = match sight {
            Sight::Ready { endpoints: new, .. } => {
                *endpoints = new;
                (!std::mem::replace(&mut self.advised.bound, true)).then_some(News::WorkerBound)
            }
            Sight::Nobody { elsewhere } if !elsewhere.is_empty() => {
                let first = !std::mem::replace(&mut self.advised.elsewhere, true);
                first.then_some(News::WorkerBoundElsewhere { elsewhere })
            }
            _ => None,
        };
        told.map(Action::Tell).into_iter().collect()
    }

    fn on_exited(&mut self, mut exit: Exit, now: Moment) -> Vec<Action> {
        match &self.state {
            State::Stopping { then, killed, .. } => {
                // Whoever was killed on purpose did not fail to stop in time.
                exit.killed &= !killed;
                let then = then.clone();
                let mut actions = vec![Action::Tell(News::StopEnded(exit))];
                actions.extend(self.after_stop(then, now));
                actions
            }
            State::Draining { then, .. } => {
                let then = then.clone();
                let mut actions = vec![Action::Tell(News::StopEnded(exit))];
                actions.extend(self.after_stop(then, now));
                actions
            }
            State::Spawning { .. } | State::Binding { turn: Turn::Boot, .. } => self.ended_by_itself(&exit, false, now),
            State::Ready { .. } | State::Binding { .. } => self.ended_by_itself(&exit, true, now),
            _ => Vec::new(),
        }
    }

    fn on_refused(&mut self, now: Moment) -> Vec<Action> {
        let is_worker = self.is_worker();
        match &mut self.state {
            State::Ready { endpoints, .. } if is_worker => endpoints.clear(),
            State::Ready { pid, .. } => {
                self.state = State::Binding { pid: *pid, since: now, seen: Sight::NOTHING, turn: Turn::Reload };
            }
            _ => {}
        }
        Vec::new()
    }

    fn on_drained(&mut self) -> Vec<Action> {
        match &self.state {
            State::Draining { then, .. } => self.stop(then.clone()),
            _ => Vec::new(),
        }
    }

    fn on_elapsed(&mut self, now: Moment) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match &mut self.state {
            State::Binding { .. } => self.overdue(),
            State::Draining { until, is_cut: is_cut @ false, .. } => {
                (*until, *is_cut) = (now + CUT, true);
                vec![Action::Cut]
            }
            State::Draining { then, .. } => {
                let then = then.clone();
                self.stop(then)
            }
            State::Backoff { .. } => {
                self.restarts = self.restarts.saturating_add(1);
                self.spawn(now)
            }
            _ => Vec::new(),
        }
    }

    /// What has just been started is given up. What was ready before goes on: whoever writes it may be at it.
    fn overdue(&mut self) -> Vec<Action> {
        let State::Binding { pid, seen, turn, .. } = &mut self.state else { return Vec::new() };
        let (pid, name, within, seen) =
            (*pid, &self.name, self.rules.readiness.within(), seen.explain(&self.name, &self.rules.recognised));
        if *turn != Turn::Boot {
            *turn = Turn::Overdue;
            let cause = format!(
                "{name} was ready and has not been so again for {within:?}: {seen}; it is left alone, since it may be \
                 waiting for a change of its files (`tambat restart` starts it anew)"
            );
            return vec![Action::Tell(News::Trouble(cause.into()))];
        }
        let cause: Cause = format!("{name} was not ready within {within:?}: {seen}").into();
        let told = Action::Tell(News::Trouble(cause.clone()));
        let then = Then::Fail { cause, code: CODE_NOT_READY };
        self.state = State::Stopping { pid: Some(pid), then, killed: false };
        vec![told, Action::Stop]
    }

    fn stop(&mut self, then: Then) -> Vec<Action> {
        // Who is to be forgotten is not kept by being told to stop once more.
        let then = if then == Then::Stay && self.is_leaving() { Then::Leave } else { then };
        let pid = match &mut self.state {
            State::Spawning { .. } => None,
            State::Binding { pid, .. } | State::Ready { pid, .. } | State::Draining { pid, .. } => Some(*pid),
            State::Stopping { then: planned, .. } => {
                *planned = then;
                return Vec::new();
            }
            State::Gone => return Vec::new(),
            State::Backoff { .. } | State::Failed { .. } | State::Ended { .. } | State::Stopped => {
                self.state = if then == Then::Leave { State::Gone } else { State::Stopped };
                return Vec::new();
            }
        };
        self.state = State::Stopping { pid, then, killed: false };
        vec![Action::Stop]
    }

    fn on_retire(&mut self, now: Moment) -> Vec<Action> {
        self.drain(Then::Leave, now)
    }

    fn on_restart(&mut self, now: Moment) -> Vec<Action> {
        self.failures.clear();
        if self.is_alive() { self.drain(Then::Start, now) } else { self.on_start(now) }
    }

    /// Connections are finished first, where there can be any.
    fn drain(&mut self, then: Then, now: Moment) -> Vec<Action> {
        match &mut self.state {
            State::Ready { pid, endpoints, .. } if !endpoints.is_empty() => {
                let until = now + self.rules.drain;
                self.state = State::Draining { pid: *pid, until, then, is_cut: false };
                Vec::new()
            }
            State::Draining { then: planned, .. } => {
                *planned = then;
                Vec::new()
            }
            _ => self.stop(then),
        }
    }

    fn on_kill(&mut self) -> Vec<Action> {
        self.stop(Then::Stay);
        match &mut self.state {
            State::Stopping { killed, .. } => {
                *killed = true;
                vec![Action::Kill]
            }
            _ => Vec::new(),
        }
    }

    fn spawn(&mut self, now: Moment) -> Vec<Action> {
        self.advised = Advised::default();
        self.state = State::Spawning { since: now };
        vec![Action::Spawn]
    }

    fn after_stop(&mut self, then: Then, now: Moment) -> Vec<Action> {
        match then {
            Then::Stay => self.state = State::Stopped,
            Then::Leave => self.state = State::Gone,
            Then::Start => return self.spawn(now),
            // Why was told when it was given up.
            Then::Fail { cause, code } => return self.fail(&cause, true, code, now),
        }
        Vec::new()
    }

    /// It ended without having been told to.
    fn ended_by_itself(&mut self, exit: &Exit, was_ready: bool, now: Moment) -> Vec<Action> {
        let cause: Cause = exit.explain(&self.name, was_ready || self.is_worker()).into();
        let code = exit.code();
        let again = match self.rules.restart {
            Restart::Always => true,
            Restart::OnFailure => code != 0,
            Restart::Never => false,
        };
        if again || self.rules.replaces {
            return self.fail(&cause, false, code, now);
        }
        self.state = State::Ended { cause: cause.clone(), code };
        vec![Action::Tell(News::Ended(cause))]
    }

    fn fail(&mut self, cause: &Cause, is_told: bool, code: u8, now: Moment) -> Vec<Action> {
        while self.failures.front().is_some_and(|first| now - *first > FAILURES_WITHIN) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let times = self.failures.len();
        let cause = cause.clone();
        if self.rules.replaces {
            self.state = State::Failed { cause: cause.clone(), code };
            return vec![Action::Tell(News::NotReplaced { cause })];
        }
        if times >= FAILURES_MAX || self.rules.restart == Restart::Never {
            self.state = State::Failed { cause: cause.clone(), code };
            return vec![Action::Tell(News::Failed { cause, is_told, times })];
        }
        let pause = BACKOFF_FIRST * (1 << (times - 1));
        self.state = State::Backoff { until: now + pause, cause: cause.clone(), code };
        vec![Action::Tell(News::Again { cause, is_told, pause })]
    }

    fn is_worker(&self) -> bool {
        self.rules.readiness == Readiness::AtOnce
    }
}

#[cfg(test)]
mod tests;
