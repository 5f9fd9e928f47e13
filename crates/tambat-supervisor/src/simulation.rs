//! Random users, programs and clocks against the real machines: what must hold after any story.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tambat_model::{AppName, Draft, Endpoint, Plan, ProcessDraft, ProcessPlan, Protocol, Restart};

use crate::exit::{Exit, How};
use crate::group::{Group, SlotId, Todo};
use crate::instance::{Action, Event, Instance, State, Turn};
use crate::moment::Moment;
use crate::sight::{Sight, Stranger};

/// What the user, the machine or the program does next. `usize` picks among the runs there are.
#[derive(Debug, Clone, Copy)]
enum Step {
    Scale(u16),
    Stop,
    Restart,
    Kill,
    Built,
    /// The keeper of this run says that it started, or that it could not.
    Keeper(usize, bool),
    /// The program ends by itself.
    Ends(usize, u8),
    /// The program obeys, if it was told to stop.
    Obeys(usize),
    /// What is seen on its ports.
    Seen(usize, Look),
    Refused(usize),
    Idle(usize),
    Wait(u64),
}

#[derive(Debug, Clone, Copy)]
enum Look {
    Nobody,
    Wrong,
    Stranger,
    Ready,
}

/// What a keeper knows of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Asked,
    Runs,
    ToldToStop { born: bool },
    Killed,
}

/// One process, and a model of everything around it.
struct Sim {
    group: Group,
    now: Moment,
    stateful: bool,
    /// What runs, or is about to. A run that has ended is in no map: no second one may be in its place before.
    runs: BTreeMap<SlotId, Kept>,
    /// Its user stopped it, and has not wanted it since.
    stopped: bool,
    /// Endless chains of effects are found, not waited for.
    effects: usize,
}

impl Sim {
    fn of(plan: ProcessPlan, desired: u16, building: bool) -> Self {
        let stateful = plan.stateful;
        let group = Group::new(plan, 0, desired, building);
        let mut sim =
            Self { group, now: Moment::default(), stateful, runs: BTreeMap::new(), stopped: false, effects: 0 };
        sim.does(Group::start);
        sim
    }

    fn does(&mut self, what: impl FnOnce(&mut Group, Moment) -> Vec<Todo>) {
        let now = self.now;
        let draining: Vec<SlotId> = self.in_state(|state| matches!(state, State::Draining { .. }));
        let mut closed = self.closed();
        let todo = what(&mut self.group, now);
        for Todo { slot, action, .. } in todo {
            self.effects += 1;
            match action {
                Action::Spawn => {
                    closed.remove(&slot);
                    assert!(!self.stopped, "what its user stopped is not started");
                    assert!(!self.stateful || self.runs.is_empty(), "two on one set of data");
                    assert_eq!(self.runs.insert(slot, Kept::Asked), None, "the one before has not ended");
                }
                Action::Stop => {
                    let kept = self.runs.get_mut(&slot).expect("only what runs is stopped");
                    let born = match kept {
                        Kept::Asked => false,
                        Kept::Runs => true,
                        _ => panic!("a second stop means `now`"),
                    };
                    *kept = Kept::ToldToStop { born };
                }
                Action::Kill => *self.runs.get_mut(&slot).expect("only what runs is killed") = Kept::Killed,
                Action::Cut => assert!(self.runs.contains_key(&slot), "only what runs has streams"),
                Action::Tell(_) => {}
            }
        }
        for slot in draining {
            let back = self.group.instance(slot).is_some_and(|i| matches!(i.state(), State::Ready { .. }));
            assert!(!back, "what drains gets no new role");
        }
        let still = |slot: &SlotId| self.group.instance(*slot).is_none_or(Instance::has_closed);
        assert!(closed.iter().all(still), "what is closed is opened by a new run alone");
        self.holds();
    }

    fn closed(&self) -> BTreeSet<SlotId> {
        self.group.slots().filter(|(_, i)| i.has_closed()).map(|(slot, _)| slot).collect()
    }

    /// What is true at any moment.
    fn holds(&self) {
        for (slot, instance) in self.group.slots() {
            assert_eq!(instance.is_alive(), self.runs.contains_key(&slot), "{instance:?}");
            let by_time = match instance.state() {
                State::Backoff { .. } | State::Draining { .. } => true,
                State::Binding { turn, .. } => *turn != Turn::Overdue,
                _ => false,
            };
            assert_eq!(instance.deadline().is_some(), by_time, "{instance:?}");
        }
        assert!(self.runs.keys().all(|slot| self.group.instance(*slot).is_some()), "what runs is known");
        let settled = |i: &Instance| !i.is_leaving() && !i.replaces();
        for (slot, instance) in self.group.slots().filter(|(_, i)| settled(i)) {
            let twin = |(other, i): (SlotId, &Instance)| other != slot && settled(i) && i.name() == instance.name();
            assert!(!self.group.slots().any(twin), "two of one name");
            assert!(instance.name().number.get() <= self.group.desired(), "one too many");
        }
    }

    fn in_state(&self, which: impl Fn(&State) -> bool) -> Vec<SlotId> {
        self.group.slots().filter(|(_, i)| which(i.state())).map(|(slot, _)| slot).collect()
    }

    fn on(&mut self, slot: SlotId, event: &Event) {
        self.does(|group, now| group.on(slot, event, now));
    }

    fn nth(&self, nth: usize) -> Option<(SlotId, Kept)> {
        let nth = nth.checked_rem(self.runs.len())?;
        self.runs.iter().nth(nth).map(|(slot, kept)| (*slot, *kept))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Scale(count) => {
                self.stopped = false;
                self.does(|group, now| group.scale(count, now));
            }
            Step::Restart => {
                self.stopped = false;
                self.does(Group::restart);
            }
            Step::Stop => {
                self.does(Group::stop);
                self.stopped = true;
            }
            Step::Kill => {
                self.does(Group::kill);
                // Before the app is built there is nothing to kill, and nothing is said of later.
                self.stopped |= self.group.gate() != tambat_model::Gate::Building;
                assert!(self.runs.values().all(|kept| *kept == Kept::Killed));
            }
            Step::Built if self.group.gate() == tambat_model::Gate::Building => self.does(Group::built),
            Step::Built => {}
            Step::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Step::Keeper(nth, starts) => self.keeper(nth, starts),
            Step::Ends(nth, code) => {
                if let Some((slot, _)) = self.nth(nth) {
                    self.ends(slot, code);
                }
            }
            Step::Obeys(nth) => {
                if let Some((slot, Kept::ToldToStop { .. } | Kept::Killed)) = self.nth(nth) {
                    self.ends(slot, 0);
                }
            }
            Step::Seen(nth, look) => {
                if let Some((slot, Kept::Runs)) = self.nth(nth) {
                    self.on(slot, &Event::Seen(sight(look)));
                }
            }
            Step::Refused(nth) => drop(self.nth(nth).map(|(slot, _)| self.on(slot, &Event::Refused))),
            Step::Idle(nth) => drop(self.nth(nth).map(|(slot, _)| self.on(slot, &Event::Drained))),
        }
    }

    fn keeper(&mut self, nth: usize, starts: bool) {
        let Some((slot, kept)) = self.nth(nth) else { return };
        match kept {
            Kept::Asked | Kept::ToldToStop { born: false } if !starts => {
                self.runs.remove(&slot);
                self.on(slot, &Event::NotSpawned { cause: "no".into() });
            }
            Kept::Asked => {
                self.runs.insert(slot, Kept::Runs);
                self.on(slot, &Event::Spawned { pid: 7 });
            }
            Kept::ToldToStop { born: false } => {
                self.runs.insert(slot, Kept::ToldToStop { born: true });
                self.on(slot, &Event::Spawned { pid: 7 });
            }
            Kept::Runs | Kept::ToldToStop { born: true } | Kept::Killed => {}
        }
    }

    fn ends(&mut self, slot: SlotId, code: u8) {
        self.runs.remove(&slot);
        let exit = Exit { how: How::Code(code), left_behind: Vec::new(), killed: false, last_lines: Vec::new() };
        self.on(slot, &Event::Exited(exit));
    }

    /// Lets time pass as the driver does: from deadline to deadline, each of which must lead on.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut wakes = 0;
        while let Some((slot, at)) = self.next_deadline().filter(|(_, at)| *at <= until) {
            self.now = self.now.max(at);
            let before = self.group.instance(slot).map(|i| i.state().clone());
            self.on(slot, &Event::Elapsed);
            assert_ne!(self.group.instance(slot).map(|i| i.state().clone()), before, "a deadline that leads nowhere");
            wakes += 1;
            assert!(wakes < 1_000, "a busy loop");
        }
        self.now = until;
    }

    fn next_deadline(&self) -> Option<(SlotId, Moment)> {
        self.group.slots().filter_map(|(slot, i)| Some((slot, i.deadline()?))).min_by_key(|(_, at)| *at)
    }

    /// Everything is to end, and every keeper does its duty.
    fn shut_down(&mut self, kills: bool) {
        self.step(Step::Stop);
        if kills {
            self.step(Step::Kill);
        }
        for (slot, kept) in self.runs.clone() {
            assert!(matches!(kept, Kept::ToldToStop { .. } | Kept::Killed), "{slot:?} was told nothing");
            self.ends(slot, 0);
        }
        assert!(!self.group.is_alive() && self.runs.is_empty(), "something is left");
        assert_eq!(self.next_deadline(), None, "something is yet to come");
    }
}

fn sight(look: Look) -> Sight {
    match look {
        Look::Nobody => Sight::NOTHING,
        Look::Wrong => Sight::Wrong("SSH".to_owned()),
        Look::Stranger => Sight::Stranger(Stranger { port: 20_000, who: None }),
        Look::Ready => {
            let endpoint = Endpoint { port: None, addr: "127.0.0.1:20000".parse().unwrap(), exposed: None };
            Sight::Ready { endpoints: vec![endpoint], unreadable: false }
        }
    }
}

fn process(name: &str, protocol: Option<Protocol>) -> ProcessPlan {
    let process = ProcessDraft { protocol, ..ProcessDraft::new(name.parse().unwrap(), Some("run".to_owned())) };
    let name = AppName::from_directory("shop");
    let draft = Draft { processes: vec![process], ..Draft::new(name, "/".into()) };
    Plan::new(draft).unwrap().0.processes()[0].clone()
}

fn plans() -> impl Strategy<Value = ProcessPlan> {
    let kinds = prop_oneof![
        3 => Just(("web", None)),
        2 => Just(("db", Some(Protocol::Redis))),
        2 => Just(("worker", None)),
        1 => Just(("none", Some(Protocol::None))),
    ];
    let restarts = prop_oneof![4 => Just(Restart::OnFailure), 1 => Just(Restart::Always), 1 => Just(Restart::Never)];
    (kinds, restarts).prop_map(|((name, protocol), restart)| ProcessPlan { restart, ..process(name, protocol) })
}

fn steps() -> impl Strategy<Value = Step> {
    let run = || 0..8_usize;
    let look = prop_oneof![
        1 => Just(Look::Nobody), 1 => Just(Look::Wrong), 1 => Just(Look::Stranger), 9 => Just(Look::Ready)
    ];
    let waits = prop_oneof![0..30_u64, 0..3_000_u64, 0..70_000_u64];
    prop_oneof![
        2 => (0..4_u16).prop_map(Step::Scale),
        1 => Just(Step::Stop),
        3 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => Just(Step::Built),
        9 => (run(), prop::bool::weighted(0.9)).prop_map(|(nth, starts)| Step::Keeper(nth, starts)),
        2 => (run(), 0..2_u8).prop_map(|(nth, code)| Step::Ends(nth, code)),
        5 => run().prop_map(Step::Obeys),
        9 => (run(), look).prop_map(|(nth, look)| Step::Seen(nth, look)),
        1 => run().prop_map(Step::Refused),
        1 => run().prop_map(Step::Idle),
        4 => waits.prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(
        plan in plans(), desired in 0..4_u16, building in any::<bool>(), kills in any::<bool>(),
        steps in prop::collection::vec(steps(), 0..80),
    ) {
        let mut sim = Sim::of(plan, desired, building);
        let count = steps.len();
        steps.into_iter().for_each(|step| sim.step(step));
        prop_assert!(sim.effects < 50 * (count + 1), "effects without end");
        sim.shut_down(kills);
    }

    /// Left to itself with programs that work, a process has as many ready instances as there should be, and no other.
    #[test]
    fn whatever_happened_it_comes_to_rest_as_its_user_wants_it(
        plan in plans(), steps in prop::collection::vec(steps(), 0..80), wanted in 1..4_u16,
    ) {
        let mut sim = Sim::of(plan, 1, false);
        steps.into_iter().for_each(|step| sim.step(step));
        sim.step(Step::Scale(wanted));
        sim.step(Step::Restart);
        for _ in 0..20 {
            for nth in 0..sim.runs.len() {
                sim.step(Step::Obeys(nth));
                sim.step(Step::Keeper(nth, true));
                sim.step(Step::Seen(nth, Look::Ready));
            }
            sim.step(Step::Wait(2_500));
        }
        let ready = sim.in_state(|state| matches!(state, State::Ready { .. })).len();
        prop_assert_eq!(ready, usize::from(sim.group.desired()));
        prop_assert_eq!(sim.group.slots().count(), ready, "and nothing else: {:?}", sim.group);
    }
}
