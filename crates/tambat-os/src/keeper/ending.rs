//! How an instance ends: the decisions of a keeper, without any process or clock.

use std::time::{Duration, Instant};

use crate::{ExitStatus, Signal, StopSpec};

/// Between two rounds of KILL: new forks are caught, and it is over before anybody notices.
const KILL_ROUND: Duration = Duration::from_millis(20);

/// What is not gone this long after KILL cannot be killed by us: another user's (setuid), or stuck in the kernel.
/// Long enough for the kernel to take down many GiB of memory, which it does before it closes files.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Keeps the arithmetic on instants far from overflow.
const GRACE_MAX: Duration = Duration::from_hours(24 * 365);

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// tambat asks for the end.
    Stop(StopSpec),
    /// tambat passes a signal on.
    Signal(Signal),
    /// tambat wants it dead.
    Kill,
    /// tambat is gone.
    Gone,
    /// The command itself ended.
    CommandEnded(ExitStatus),
    /// Another process of the tree ended.
    OtherEnded,
    /// No child is left, so nothing of the tree is.
    TreeEmpty,
    /// Time passed.
    Time,
}

/// What the driver does about it, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Asks the command's process group to end.
    StopCommand(Signal),
    /// Passes a signal to the command's process group.
    PassOn(Signal),
    /// Writes down what is left of the tree.
    RecordRest,
    /// Asks each process of the tree that was not asked yet to end.
    StopRest(Signal),
    /// KILLs whatever there is.
    KillTree,
    /// Reports the end; the last action.
    Finish { status: ExitStatus, killed: bool },
}

/// Where the end stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    /// The command was asked to end.
    Stopping {
        signal: Signal,
        deadline: Instant,
    },
    /// The command ended, and what goes on of its tree may go on for a while: until this time nobody asks it to end.
    Lingering {
        status: ExitStatus,
        signal: Signal,
        until: Instant,
        deadline: Instant,
        asked: bool,
    },
    /// The command ended, and something of its tree goes on.
    Clearing {
        status: ExitStatus,
        signal: Signal,
        deadline: Instant,
        asked: bool,
    },
    Killing {
        status: Option<ExitStatus>,
        next_round: Instant,
        give_up: Instant,
    },
    Over,
}

#[derive(Debug)]
pub(super) struct Ending {
    state: State,
    /// What counts when tambat does not say.
    default: StopSpec,
    /// How long what is left of the tree may go on unasked.
    linger: Duration,
}

impl Ending {
    pub(super) fn new(default: StopSpec, linger: Duration) -> Self {
        Self { state: State::Running, default, linger }
    }

    /// When [`Event::Time`] is due; `None`: never, until something else happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Running | State::Over => None,
            State::Stopping { deadline, .. } | State::Clearing { deadline, .. } => Some(deadline),
            State::Lingering { until, deadline, .. } => Some(until.min(deadline)),
            State::Killing { next_round, give_up, .. } => Some(next_round.min(give_up)),
        }
    }

    pub(super) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Stop(stop) => self.stop(stop, now),
            Event::Signal(signal) => self.signal(signal),
            Event::Kill => self.kill(now),
            Event::Gone => self.gone(now),
            Event::CommandEnded(status) => self.command_ended(status, now),
            Event::OtherEnded => self.other_ended(),
            Event::TreeEmpty => self.tree_empty(),
            Event::Time => self.time(now),
        }
    }

    fn stop(&mut self, stop: StopSpec, now: Instant) -> Vec<Action> {
        match self.state {
            State::Running => {
                self.state = State::Stopping { signal: stop.signal, deadline: after(now, stop.grace) };
                vec![Action::StopCommand(stop.signal)]
            }
            State::Clearing { status, signal, deadline, asked: false } => {
                let deadline = deadline.min(after(now, stop.grace));
                self.state = State::Clearing { status, signal, deadline, asked: true };
                vec![]
            }
            State::Lingering { status, signal, until, deadline, asked: false } => {
                let deadline = deadline.min(after(now, stop.grace));
                self.state = State::Lingering { status, signal, until, deadline, asked: true };
                vec![]
            }
            State::Stopping { .. } | State::Clearing { asked: true, .. } | State::Lingering { asked: true, .. } => {
                self.kill(now)
            }
            State::Killing { .. } | State::Over => vec![],
        }
    }

    fn signal(&self, signal: Signal) -> Vec<Action> {
        match self.state {
            State::Running | State::Stopping { .. } => vec![Action::PassOn(signal)],
            State::Lingering { .. } | State::Clearing { .. } | State::Killing { .. } | State::Over => vec![],
        }
    }

    fn kill(&mut self, now: Instant) -> Vec<Action> {
        let status = match self.state {
            State::Running | State::Stopping { .. } => None,
            State::Lingering { status, .. } | State::Clearing { status, .. } => Some(status),
            State::Killing { .. } | State::Over => return vec![],
        };
        self.state = State::Killing { status, next_round: now + KILL_ROUND, give_up: now + KILL_LIMIT };
        vec![Action::KillTree]
    }

    /// Never longer than tambat itself had allowed.
    fn gone(&mut self, now: Instant) -> Vec<Action> {
        let latest = after(now, self.default.grace);
        // Nobody is left who would want to see what goes by itself.
        self.linger = Duration::ZERO;
        match &mut self.state {
            State::Running => self.stop(self.default, now),
            State::Stopping { deadline, .. } | State::Clearing { deadline, .. } => {
                *deadline = latest.min(*deadline);
                vec![]
            }
            State::Lingering { status, signal, deadline, asked, .. } => {
                let (status, signal, deadline, asked) = (*status, *signal, latest.min(*deadline), *asked);
                self.clear(status, signal, deadline, asked)
            }
            State::Killing { .. } | State::Over => vec![],
        }
    }

    fn command_ended(&mut self, status: ExitStatus, now: Instant) -> Vec<Action> {
        let (signal, deadline, asked) = match &mut self.state {
            State::Running => (self.default.signal, after(now, self.default.grace), false),
            State::Stopping { signal, deadline } => (*signal, *deadline, true),
            State::Killing { status: known, .. } => {
                *known = Some(status);
                return vec![Action::KillTree];
            }
            State::Lingering { .. } | State::Clearing { .. } | State::Over => return vec![],
        };
        if self.linger.is_zero() {
            return self.clear(status, signal, deadline, asked);
        }
        self.state = State::Lingering { status, signal, until: after(now, self.linger), deadline, asked };
        vec![]
    }

    /// Asks all that is left to end.
    fn clear(&mut self, status: ExitStatus, signal: Signal, deadline: Instant, asked: bool) -> Vec<Action> {
        self.state = State::Clearing { status, signal, deadline, asked };
        vec![Action::RecordRest, Action::StopRest(signal)]
    }

    /// Its children are now the keeper's own, and may not have been seen before.
    fn other_ended(&self) -> Vec<Action> {
        match self.state {
            State::Clearing { signal, .. } => vec![Action::StopRest(signal)],
            State::Killing { .. } => vec![Action::KillTree],
            State::Running | State::Stopping { .. } | State::Lingering { .. } | State::Over => vec![],
        }
    }

    fn tree_empty(&mut self) -> Vec<Action> {
        let finish = match self.state {
            State::Lingering { status, .. } | State::Clearing { status, .. } => {
                Action::Finish { status, killed: false }
            }
            State::Killing { status, .. } => Self::finish_killed(status),
            // The command is a child until it is known to have ended.
            State::Running | State::Stopping { .. } | State::Over => return vec![],
        };
        self.state = State::Over;
        vec![finish]
    }

    fn time(&mut self, now: Instant) -> Vec<Action> {
        match &mut self.state {
            State::Stopping { deadline, .. } | State::Clearing { deadline, .. } | State::Lingering { deadline, .. }
                if *deadline <= now =>
            {
                self.kill(now)
            }
            State::Lingering { status, signal, until, deadline, asked } if *until <= now => {
                let (status, signal, deadline, asked) = (*status, *signal, *deadline, *asked);
                self.clear(status, signal, deadline, asked)
            }
            State::Killing { status, give_up, .. } if *give_up <= now => {
                let finish = Self::finish_killed(*status);
                self.state = State::Over;
                vec![Action::RecordRest, finish]
            }
            State::Killing { next_round, .. } if *next_round <= now => {
                *next_round = now + KILL_ROUND;
                vec![Action::KillTree]
            }
            _ => vec![],
        }
    }

    /// A command that not even KILL ended is reported by what was done to it.
    fn finish_killed(status: Option<ExitStatus>) -> Action {
        Action::Finish { status: status.unwrap_or(ExitStatus::Signal(Signal::KILL)), killed: true }
    }
}

fn after(now: Instant, grace: Duration) -> Instant {
    now + grace.min(GRACE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: StopSpec = StopSpec { signal: Signal::TERM, grace: Duration::from_secs(5) };
    const QUICK: StopSpec = StopSpec { signal: Signal::INT, grace: Duration::from_secs(1) };
    const OK: ExitStatus = ExitStatus::Code(0);

    /// A virtual clock, an ending, and what it does.
    struct Story {
        ending: Ending,
        now: Instant,
    }

    impl Story {
        fn new() -> Self {
            Self::lingering(Duration::ZERO)
        }

        fn lingering(linger: Duration) -> Self {
            Self { ending: Ending::new(DEFAULT, linger), now: Instant::now() }
        }

        fn on(&mut self, event: Event) -> Vec<Action> {
            self.ending.on(event, self.now)
        }

        /// Moves the clock to the next deadline, and says how far that was.
        fn wait(&mut self) -> (Duration, Vec<Action>) {
            let due = self.ending.wake_at().expect("something is due");
            let waited = due.saturating_duration_since(self.now);
            self.now = due;
            (waited, self.on(Event::Time))
        }
    }

    #[test]
    fn a_command_that_ends_by_itself_with_nothing_left() {
        let mut story = Story::new();
        assert_eq!(story.ending.wake_at(), None, "an idle keeper never wakes up");
        story.on(Event::CommandEnded(ExitStatus::Code(3)));
        assert_eq!(story.on(Event::TreeEmpty), [Action::Finish { status: ExitStatus::Code(3), killed: false }]);
        assert_eq!(story.ending.wake_at(), None);
    }

    #[test]
    fn a_command_that_went_to_the_background_is_cleared_with_the_default_stop() {
        let mut story = Story::new();
        let told = [Action::RecordRest, Action::StopRest(Signal::TERM)];
        assert_eq!(story.on(Event::CommandEnded(OK)), told);
        assert_eq!(story.on(Event::OtherEnded), [Action::StopRest(Signal::TERM)], "newly adopted ones are told too");
        assert_eq!(story.wait(), (DEFAULT.grace, vec![Action::KillTree]));
        assert_eq!(story.on(Event::OtherEnded), [Action::KillTree]);
        assert_eq!(story.on(Event::TreeEmpty), [Action::Finish { status: OK, killed: true }]);
    }

    #[test]
    fn the_grace_counts_from_the_first_stop_for_all_of_the_tree() {
        let mut story = Story::new();
        assert_eq!(story.on(Event::Stop(QUICK)), [Action::StopCommand(Signal::INT)]);
        story.now += Duration::from_millis(700);
        assert_eq!(story.on(Event::CommandEnded(OK)), [Action::RecordRest, Action::StopRest(Signal::INT)]);
        assert_eq!(story.wait(), (Duration::from_millis(300), vec![Action::KillTree]));
    }

    #[test]
    fn a_command_that_ignores_the_signal_is_killed_after_the_grace() {
        let mut story = Story::new();
        story.on(Event::Stop(QUICK));
        assert_eq!(story.on(Event::Time), [], "early");
        assert_eq!(story.wait(), (QUICK.grace, vec![Action::KillTree]));
        let killed = ExitStatus::Signal(Signal::KILL);
        assert_eq!(story.on(Event::CommandEnded(killed)), [Action::KillTree]);
        assert_eq!(story.on(Event::TreeEmpty), [Action::Finish { status: killed, killed: true }]);
    }

    #[test]
    fn the_second_stop_kills_and_so_does_kill() {
        for first in [Event::Stop(QUICK), Event::Gone] {
            let mut story = Story::new();
            story.on(first);
            assert_eq!(story.on(Event::Stop(QUICK)), [Action::KillTree]);
            assert_eq!(story.on(Event::Stop(QUICK)), [], "already at it");
        }
        assert_eq!(Story::new().on(Event::Kill), [Action::KillTree]);

        let mut background = Story::new();
        background.on(Event::CommandEnded(OK));
        assert_eq!(background.on(Event::Stop(QUICK)), [], "nobody had asked before");
        assert_eq!(background.ending.wake_at(), Some(background.now + QUICK.grace));
        assert_eq!(background.on(Event::Stop(QUICK)), [Action::KillTree]);
    }

    #[test]
    fn what_is_left_may_go_by_itself_for_a_while() {
        let (linger, rest) = (Duration::from_millis(300), Duration::from_millis(700));
        let mut quick = Story::lingering(linger);
        quick.on(Event::Stop(QUICK));
        assert_eq!(quick.on(Event::CommandEnded(OK)), [], "nobody is asked");
        assert_eq!(quick.on(Event::OtherEnded), []);
        assert_eq!(quick.on(Event::TreeEmpty), [Action::Finish { status: OK, killed: false }]);

        let mut slow = Story::lingering(linger);
        slow.on(Event::Stop(QUICK));
        slow.on(Event::CommandEnded(OK));
        assert_eq!(slow.wait(), (linger, vec![Action::RecordRest, Action::StopRest(Signal::INT)]));
        assert_eq!(slow.wait(), (rest, vec![Action::KillTree]), "the grace counts from the stop");

        for (event, told) in [
            (Event::Kill, vec![Action::KillTree]),
            (Event::Gone, vec![Action::RecordRest, Action::StopRest(Signal::INT)]),
            (Event::Stop(QUICK), vec![Action::KillTree]),
        ] {
            let mut cut_short = Story::lingering(linger);
            cut_short.on(Event::Stop(QUICK));
            cut_short.on(Event::CommandEnded(OK));
            assert_eq!(cut_short.on(event), told, "{event:?}");
        }

        let mut alone = Story::lingering(linger);
        alone.on(Event::Gone);
        let told = [Action::RecordRest, Action::StopRest(Signal::TERM)];
        assert_eq!(alone.on(Event::CommandEnded(OK)), told, "nobody looks any more");

        let mut long = Story::lingering(Duration::MAX);
        long.on(Event::Stop(QUICK));
        long.on(Event::CommandEnded(OK));
        assert_eq!(long.wait(), (QUICK.grace, vec![Action::KillTree]), "never longer than the grace");

        let mut background = Story::lingering(linger);
        background.on(Event::CommandEnded(OK));
        assert_eq!(background.on(Event::Stop(QUICK)), [], "nobody had asked before");
        assert_eq!(background.wait(), (linger, vec![Action::RecordRest, Action::StopRest(Signal::TERM)]));
    }

    #[test]
    fn when_tambat_is_gone_nothing_takes_longer_than_the_default_grace() {
        let mut story = Story::new();
        assert_eq!(story.on(Event::Gone), [Action::StopCommand(Signal::TERM)]);
        assert_eq!(story.wait(), (DEFAULT.grace, vec![Action::KillTree]));

        let mut patient = Story::new();
        patient.on(Event::Stop(StopSpec { signal: Signal::TERM, grace: Duration::MAX }));
        assert_eq!(patient.on(Event::Gone), []);
        assert_eq!(patient.wait().0, DEFAULT.grace);

        let mut hurried = Story::new();
        hurried.on(Event::Stop(QUICK));
        hurried.on(Event::Gone);
        assert_eq!(hurried.wait().0, QUICK.grace, "nor longer than was asked for");
    }

    #[test]
    fn what_cannot_be_killed_is_named_and_given_up() {
        let mut story = Story::new();
        story.on(Event::Kill);
        let began = story.now;
        let last = loop {
            let (_, actions) = story.wait();
            if actions != [Action::KillTree] {
                break actions;
            }
        };
        let status = ExitStatus::Signal(Signal::KILL);
        assert_eq!(last, [Action::RecordRest, Action::Finish { status, killed: true }]);
        assert_eq!(story.now - began, KILL_LIMIT);
    }

    #[test]
    fn signals_are_passed_on_while_there_is_a_command() {
        let mut story = Story::new();
        assert_eq!(story.on(Event::Signal(Signal::USR1)), [Action::PassOn(Signal::USR1)]);
        story.on(Event::Stop(QUICK));
        assert_eq!(story.on(Event::Signal(Signal::USR1)), [Action::PassOn(Signal::USR1)]);
        story.on(Event::CommandEnded(OK));
        assert_eq!(story.on(Event::Signal(Signal::USR1)), []);
    }

    #[test]
    fn after_the_end_nothing_happens() {
        let mut story = Story::new();
        story.on(Event::CommandEnded(OK));
        story.on(Event::TreeEmpty);
        for event in [
            Event::Stop(QUICK),
            Event::Signal(Signal::USR1),
            Event::Kill,
            Event::Gone,
            Event::CommandEnded(OK),
            Event::OtherEnded,
            Event::TreeEmpty,
            Event::Time,
        ] {
            assert_eq!(story.on(event), [], "{event:?}");
        }
    }
}
