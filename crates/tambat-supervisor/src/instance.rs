//! The life of one instance: state × event → state + actions. No socket, no process, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use tambat_model::{Cause, Endpoint, InstanceName, Readiness, Restart};

use crate::exit::Exit;
use crate::moment::Moment;
use crate::news::News;
use crate::sight::Sight;

/// So many failures …
pub(crate) const FAILURES_MAX: usize = 5;

/// … within this time make a process *failed*: what fails so often is broken, not unlucky.
pub(crate) const FAILURES_WITHIN: Duration = Duration::from_mins(1);

/// The first pause before a failed instance is started again; each further one is twice as long.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// No pause is longer than this.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

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
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    name: InstanceName,
    rules: Rules,
    state: State,
    failures: VecDeque<Moment>,
    restarts: u32,
}

/// Where it is in its life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// The spawner has been asked.
    Spawning { since: Moment },
    /// It runs; its ports do not answer yet.
    Binding { pid: i32, since: Moment, seen: Sight, again: bool },
    /// It runs and is ready. A worker has no endpoints until it binds its port.
    Ready { pid: i32, endpoints: Vec<Endpoint>, after: Duration },
    /// It takes no new connection.
    Draining { pid: i32, until: Moment },
    /// It was told to stop, and what then.
    Stopping { pid: Option<i32>, then: Then },
    /// It is started again at this moment.
    Backoff { until: Moment, cause: Cause },
    /// It failed too often.
    Failed { cause: Cause, code: u8 },
    /// It came to its end.
    Ended { cause: Cause, code: u8 },
    /// Its user stopped it.
    Stopped,
    /// Nobody needs it any more.
    Gone,
}

/// What follows once a stopped instance has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Then {
    /// It stays stopped.
    Stay,
    /// It is forgotten.
    Leave,
    /// It is started again at once.
    Start,
    /// It counts as a failure.
    Fail { cause: Cause, code: u8 },
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Start it, wherever it is not running.
    Start,
    /// It runs.
    Spawned { pid: i32 },
    /// It could not be started.
    NotSpawned { cause: Cause },
    /// What was seen on its ports.
    Seen(Sight),
    /// It ended, and with it everything it had started.
    Exited(Exit),
    /// A connection to it was refused although it lives.
    Refused,
    /// Its last connection has ended.
    Drained,
    /// The moment of [`Instance::deadline`] has come.
    Elapsed,
    /// Its user wants it stopped.
    Stop,
    /// It is not needed any more: finish the connections, then stop and forget it.
    Retire,
    /// Stop it and start it again.
    Restart,
    /// Now.
    Kill,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start the command, on new instance ports.
    Spawn,
    /// Send the stop signal; the keeper sees to the grace.
    Stop,
    /// Kill the whole tree.
    Kill,
    /// Tell the user.
    Tell(News),
}

/// How eagerly its ports are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It has just been started.
    Boot,
    /// It lives and has let go of its port: a reloader at work.
    Reload,
    /// A worker, which need not bind anything.
    Worker,
}

/// The exit code of what never became ready: the code `timeout(1)` has for it.
pub(crate) const CODE_NOT_READY: u8 = 124;

impl Instance {
    /// An instance that has not been started.
    pub(crate) fn new(name: InstanceName, rules: Rules) -> Self {
        Self { name, rules, state: State::Stopped, failures: VecDeque::new(), restarts: 0 }
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

    /// Does anything of it run, as far as is known?
    pub(crate) fn is_alive(&self) -> bool {
        use State::{Binding, Draining, Ready, Spawning, Stopping};
        matches!(self.state, Spawning { .. } | Binding { .. } | Ready { .. } | Draining { .. } | Stopping { .. })
    }

    /// Has it been told to end?
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.state, State::Draining { .. } | State::Stopping { .. })
    }

    /// When [`Event::Elapsed`] is due.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Binding { since, .. } => Some(*since + self.rules.readiness.within()),
            State::Draining { until, .. } | State::Backoff { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Are its ports to be looked at, and how eagerly?
    pub(crate) fn watch(&self) -> Option<Pace> {
        match &self.state {
            State::Binding { again: false, .. } => Some(Pace::Boot),
            State::Binding { again: true, .. } => Some(Pace::Reload),
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
            Event::Exited(exit) => self.on_exited(&exit, now),
            Event::Refused => self.on_refused(now),
            Event::Drained => self.on_drained(),
            Event::Elapsed => self.on_elapsed(now),
            Event::Stop => self.on_stop(Then::Stay),
            Event::Retire => self.on_retire(now),
            Event::Restart => self.on_restart(now),
            Event::Kill => self.on_kill(),
        }
    }

    fn on_start(&mut self, now: Moment) -> Vec<Action> {
        match self.state {
            State::Stopped | State::Failed { .. } | State::Ended { .. } | State::Backoff { .. } => {
                self.failures.clear();
                self.spawn(now)
            }
            _ => Vec::new(),
        }
    }

    fn on_spawned(&mut self, pid: i32, now: Moment) -> Vec<Action> {
        let told = Action::Tell(News::Started { pid });
        match &self.state {
            State::Spawning { since } if self.is_worker() => {
                let after = now - *since;
                self.state = State::Ready { pid, endpoints: Vec::new(), after };
                vec![told]
            }
            State::Spawning { since } => {
                self.state =
                    State::Binding { pid, since: *since, seen: Sight::Nobody { elsewhere: Vec::new() }, again: false };
                vec![told]
            }
            State::Stopping { then, .. } => {
                self.state = State::Stopping { pid: Some(pid), then: then.clone() };
                vec![told]
            }
            _ => Vec::new(),
        }
    }

    fn on_not_spawned(&mut self, cause: &Cause, now: Moment) -> Vec<Action> {
        match &self.state {
            State::Spawning { .. } => self.fail(cause, 127, now),
            State::Stopping { then, .. } => {
                let then = then.clone();
                self.after_stop(then, now)
            }
            _ => Vec::new(),
        }
    }

    fn on_seen(&mut self, sight: Sight, now: Moment) -> Vec<Action> {
        match (&mut self.state, sight) {
            (State::Binding { pid, since, again, .. }, Sight::Ready { endpoints, unreadable }) => {
                let (pid, after, again) = (*pid, now - *since, *again);
                self.state = State::Ready { pid, endpoints, after };
                let unreadable = unreadable.then_some(Action::Tell(News::OwnerUnreadable));
                let told = if again { News::ReadyAgain } else { News::Ready { after } };
                unreadable.into_iter().chain([Action::Tell(told)]).collect()
            }
            (State::Ready { endpoints, .. }, Sight::Ready { endpoints: new, .. }) if endpoints.is_empty() => {
                *endpoints = new;
                vec![Action::Tell(News::WorkerBound)]
            }
            (State::Ready { endpoints, .. }, Sight::Nobody { elsewhere })
                if endpoints.is_empty() && !elsewhere.is_empty() =>
            {
                vec![Action::Tell(News::WorkerBoundElsewhere { elsewhere })]
            }
            (State::Binding { pid, .. }, Sight::Stranger(who)) => {
                let cause: Cause = Sight::Stranger(who).explain(&self.name).into();
                let told = Action::Tell(News::Trouble(cause.clone()));
                self.state = State::Stopping { pid: Some(*pid), then: Then::Fail { cause, code: 1 } };
                vec![told, Action::Kill]
            }
            (State::Binding { seen, again, .. }, sight) => {
                let news = (*seen != sight && !*again && sight.is_telling()).then(|| sight.explain(&self.name).into());
                *seen = sight;
                news.map(|cause: Cause| Action::Tell(News::Trouble(cause))).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn on_exited(&mut self, exit: &Exit, now: Moment) -> Vec<Action> {
        match &self.state {
            State::Stopping { then, .. } => {
                let then = then.clone();
                let mut actions = vec![Action::Tell(News::StopEnded(exit.clone()))];
                actions.extend(self.after_stop(then, now));
                actions
            }
            State::Draining { .. } => {
                self.state = State::Gone;
                vec![Action::Tell(News::StopEnded(exit.clone()))]
            }
            State::Spawning { .. } | State::Binding { .. } => self.ended_by_itself(exit, false, now),
            State::Ready { .. } => self.ended_by_itself(exit, true, now),
            _ => Vec::new(),
        }
    }

    fn on_refused(&mut self, now: Moment) -> Vec<Action> {
        match &mut self.state {
            State::Ready { pid, endpoints, .. } if !endpoints.is_empty() => {
                let pid = *pid;
                self.state = if matches!(self.rules.readiness, Readiness::AtOnce) {
                    State::Ready { pid, endpoints: Vec::new(), after: Duration::ZERO }
                } else {
                    State::Binding { pid, since: now, seen: Sight::Nobody { elsewhere: Vec::new() }, again: true }
                };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn on_drained(&mut self) -> Vec<Action> {
        match self.state {
            State::Draining { .. } => self.on_stop(Then::Leave),
            _ => Vec::new(),
        }
    }

    fn on_elapsed(&mut self, now: Moment) -> Vec<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match &self.state {
            State::Binding { pid, seen, .. } => {
                let within = self.rules.readiness.within();
                let cause: Cause =
                    format!("{} was not ready within {within:?}: {}", self.name, seen.explain(&self.name)).into();
                let told = Action::Tell(News::Trouble(cause.clone()));
                self.state = State::Stopping { pid: Some(*pid), then: Then::Fail { cause, code: CODE_NOT_READY } };
                vec![told, Action::Stop]
            }
            State::Draining { .. } => self.on_stop(Then::Leave),
            State::Backoff { .. } => {
                self.restarts += 1;
                self.spawn(now)
            }
            _ => Vec::new(),
        }
    }

    fn on_stop(&mut self, then: Then) -> Vec<Action> {
        match &mut self.state {
            State::Spawning { .. } => {
                self.state = State::Stopping { pid: None, then };
                vec![Action::Stop]
            }
            State::Binding { pid, .. } | State::Ready { pid, .. } | State::Draining { pid, .. } => {
                self.state = State::Stopping { pid: Some(*pid), then };
                vec![Action::Stop]
            }
            State::Stopping { then: planned, .. } => {
                *planned = then;
                Vec::new()
            }
            State::Gone => Vec::new(),
            State::Backoff { .. } | State::Failed { .. } | State::Ended { .. } | State::Stopped => {
                self.state = if then == Then::Leave { State::Gone } else { State::Stopped };
                Vec::new()
            }
        }
    }

    fn on_retire(&mut self, now: Moment) -> Vec<Action> {
        match &self.state {
            State::Ready { pid, endpoints, .. } if !endpoints.is_empty() => {
                self.state = State::Draining { pid: *pid, until: now + self.rules.drain };
                Vec::new()
            }
            State::Draining { .. } => Vec::new(),
            _ => self.on_stop(Then::Leave),
        }
    }

    fn on_restart(&mut self, now: Moment) -> Vec<Action> {
        self.failures.clear();
        if self.is_alive() { self.on_stop(Then::Start) } else { self.on_start(now) }
    }

    fn on_kill(&mut self) -> Vec<Action> {
        let mut actions = self.on_stop(Then::Stay);
        actions.retain(|a| *a != Action::Stop);
        if matches!(self.state, State::Stopping { .. }) {
            actions.push(Action::Kill);
        }
        actions
    }

    fn spawn(&mut self, now: Moment) -> Vec<Action> {
        self.state = State::Spawning { since: now };
        vec![Action::Spawn]
    }

    fn after_stop(&mut self, then: Then, now: Moment) -> Vec<Action> {
        match then {
            Then::Stay => self.state = State::Stopped,
            Then::Leave => self.state = State::Gone,
            Then::Start => return self.spawn(now),
            Then::Fail { cause, code } => return self.fail(&cause, code, now),
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
        if again || (self.rules.replaces && code != 0) {
            return self.fail(&cause, code, now);
        }
        self.state = State::Ended { cause: cause.clone(), code };
        vec![Action::Tell(News::Ended(cause))]
    }

    fn fail(&mut self, cause: &Cause, code: u8, now: Moment) -> Vec<Action> {
        while self.failures.front().is_some_and(|first| now - *first > FAILURES_WITHIN) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let count = self.failures.len();
        if self.rules.replaces || count >= FAILURES_MAX || self.rules.restart == Restart::Never {
            self.state = State::Failed { cause: cause.clone(), code };
            let times = if self.rules.replaces { 1 } else { count };
            return vec![Action::Tell(News::Failed { cause: cause.clone(), times })];
        }
        let doubled = BACKOFF_FIRST.saturating_mul(1 << (count - 1).min(16)).min(BACKOFF_MAX);
        self.state = State::Backoff { until: now + doubled, cause: cause.clone() };
        vec![Action::Tell(News::Again { cause: cause.clone(), pause: doubled })]
    }

    fn is_worker(&self) -> bool {
        self.rules.readiness == Readiness::AtOnce
    }

    /// It has taken the place of the one it replaces.
    pub(crate) fn settle(&mut self) {
        self.rules.replaces = false;
    }
}
