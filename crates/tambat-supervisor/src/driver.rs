//! Acts for the machines: spawns, signals, timers, probes. One task; everything reaches it as a message.

mod launch;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{
    Environment, InstanceName, InstancePort, Layer, Load, Plan, PortName, ProcessName, World, instance_environment,
};
use tambat_os::{Order, Pid, Spawner, WinSize};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::command::{Command, Outcome, Told};
use crate::commons::{Commons, HeldPort};
use crate::group::{Group, SlotId, Todo, without_a_future};
use crate::instance::{Action, Event, Instance, Pace, State};
use crate::moment::Moment;
use crate::news::News;
use crate::run::{OutputLine, Run, RunEvent};
use crate::watcher::{self, Seen, Watch, WatchId};

use view::Shown;

/// How often a draining instance's connections are counted.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// What the supervisor is given.
#[derive(Debug)]
pub struct Setup {
    /// The app.
    pub plan: Arc<Plan>,
    /// How many of each process.
    pub formation: BTreeMap<ProcessName, u16>,
    /// Where handles point.
    pub wiring: tambat_model::Wiring,
    /// The sources of the environment that every process shares.
    pub layers: Vec<Layer>,
    /// Variables of the shell that are not UTF-8: handed on as they are.
    pub raw_env: Vec<(OsString, OsString)>,
    /// The children get a terminal of this size; none: pipes.
    pub terminal: Option<WinSize>,
    /// The app has yet to be built: nothing starts before [`Command::Built`].
    pub building: bool,
    /// The first end of a process ends everything.
    pub exit_on_end: bool,
    /// The end of every process ends nothing: its user may start one again. [`Command::Shutdown`] does.
    pub stays: bool,
    /// What it shares with other supervisors of this tambat.
    pub commons: Arc<Commons>,
}

/// Where the supervisor's words go.
#[derive(Debug)]
pub struct Outlets {
    /// The world, after every change.
    pub world: watch::Sender<Arc<World>>,
    /// What instances write. Bounded: whoever reads slowly slows the app down, and nothing is lost.
    pub lines: Sender<OutputLine>,
    /// What happens to instances.
    pub news: UnboundedSender<Told>,
}

pub(crate) struct Driver {
    setup: Setup,
    spawner: Arc<Spawner>,
    outlets: Outlets,
    groups: Vec<Group>,
    live: HashMap<SlotId, Live>,
    began: Instant,
    next_watch: WatchId,
    runs: UnboundedSender<(SlotId, u32, RunEvent)>,
    watches: UnboundedSender<Watch>,
    end: Option<Outcome>,
    shown: Option<Vec<Shown>>,
    /// When connections of draining instances were counted last.
    counted: Moment,
}

/// What belongs to a machine while something of it runs.
struct Live {
    run: Run,
    keeper: Option<Pid>,
    ports: Vec<(Option<PortName>, InstancePort)>,
    /// The same: no other instance is told them.
    _held: Vec<HeldPort>,
    load: Arc<Load>,
    watching: Option<(Pace, WatchId)>,
}

/// Runs until nothing of the app is left.
pub(crate) async fn run(
    setup: Setup,
    spawner: Arc<Spawner>,
    outlets: Outlets,
    mut commands: UnboundedReceiver<Command>,
) -> Outcome {
    let (runs, mut run_events) = unbounded_channel();
    let (watches, to_watch) = unbounded_channel();
    let (seen, mut sights) = unbounded_channel();
    // It ends when the driver has let go of `watches`.
    tokio::spawn(watcher::run(to_watch, seen));
    let mut driver = Driver::new(setup, spawner, outlets, runs, watches);
    driver.begin();
    loop {
        // On every turn, so that a stream of events puts no deadline off.
        driver.elapsed();
        driver.publish();
        if let Some(outcome) = driver.outcome() {
            return outcome;
        }
        let deadline = driver.deadline();
        let elapsed = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(command) = commands.recv() => driver.command(command),
            Some((slot, run, event)) = run_events.recv() => driver.run_event(slot, run, event),
            Some(Seen { slot, id, sight }) = sights.recv() => driver.seen(slot, id, sight),
            () = elapsed => {}
        }
    }
}

impl Driver {
    fn new(
        setup: Setup,
        spawner: Arc<Spawner>,
        outlets: Outlets,
        runs: UnboundedSender<(SlotId, u32, RunEvent)>,
        watches: UnboundedSender<Watch>,
    ) -> Self {
        let groups = setup.plan.processes().iter().enumerate().map(|(nth, process)| {
            let desired = setup.formation.get(&process.name).copied().unwrap_or(0);
            Group::new(process.clone(), nth, desired, setup.building)
        });
        Self {
            groups: groups.collect(),
            live: HashMap::new(),
            began: Instant::now(),
            next_watch: 0,
            end: None,
            shown: None,
            counted: Moment::default(),
            setup,
            spawner,
            outlets,
            runs,
            watches,
        }
    }

    fn begin(&mut self) {
        self.with_all(Group::start);
    }

    fn now(&self) -> Moment {
        Moment::after(self.began.elapsed())
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Built if self.end.is_some() => {}
            Command::Built => {
                self.setup.building = false;
                self.with_all(Group::built);
            }
            Command::Scale(name, count) => self.with_group(&name, |g, now| g.scale(count, now)),
            Command::Restart(name) => self.with_group(&name, Group::restart),
            Command::Stop(name) => self.with_group(&name, Group::stop),
            Command::Gate(name, gate) => self.with_group(&name, |g, _| {
                g.set_gate(gate);
                Vec::new()
            }),
            Command::Rewire(wiring) => self.setup.wiring = wiring,
            Command::Refused { run } => self.refused(run),
            Command::Wanted(name) => self.wanted(&name),
            Command::Signal(signal) => self.live.values().for_each(|l| l.run.order(Order::Signal(signal))),
            Command::Resize(size) => {
                self.setup.terminal = self.setup.terminal.map(|_| size);
                self.live.values().for_each(|l| l.run.resize(size));
            }
            Command::Environment(name, answer) => {
                // Whoever asked may have gone away.
                let _ = answer.send(self.environment(&name));
            }
            Command::Shutdown => self.end_all(Outcome::Stopped, Group::stop),
            Command::Kill => self.end_all(Outcome::Stopped, Group::kill),
        }
    }

    fn end_all(&mut self, outcome: Outcome, how: impl Fn(&mut Group, Moment) -> Vec<Todo>) {
        // The first end is the one that counts, however what is left of it is hurried.
        self.end.get_or_insert(outcome);
        self.with_all(how);
    }

    fn with_all(&mut self, change: impl Fn(&mut Group, Moment) -> Vec<Todo>) {
        let now = self.now();
        let todo: Vec<Todo> = self.groups.iter_mut().flat_map(|g| change(g, now)).collect();
        self.act(todo);
    }

    fn with_group(&mut self, name: &ProcessName, change: impl FnOnce(&mut Group, Moment) -> Vec<Todo>) {
        let now = self.now();
        if self.end.is_some() {
            return;
        }
        if let Some(group) = self.groups.iter_mut().find(|g| g.plan().name == *name) {
            let todo = change(group, now);
            self.act(todo);
        }
    }

    fn refused(&mut self, run: u32) {
        let slot = self.live.iter().find(|(_, l)| l.run.id == run).map(|(slot, _)| *slot);
        if let Some(slot) = slot {
            self.on(slot, &Event::Refused);
        }
    }

    /// A connection waits for a process: if it is a worker, look whether it has bound its port by now.
    fn wanted(&mut self, name: &ProcessName) {
        let Some(group) = self.groups.iter().find(|g| g.plan().name == *name) else { return };
        for (slot, _) in group.slots() {
            let Some(live) = self.live.get(&slot) else { continue };
            if let Some((Pace::Worker, id)) = live.watching
                && let Some(watch) = launch::watch(group, slot, live, Pace::Worker, id)
            {
                let _ = self.watches.send(watch);
            }
        }
    }

    fn run_event(&mut self, slot: SlotId, run: u32, event: RunEvent) {
        let Some(live) = self.live.get_mut(&slot).filter(|l| l.run.id == run) else { return };
        match event {
            RunEvent::Started { pid, keeper } => {
                live.keeper = Some(keeper);
                self.on(slot, &Event::Spawned { pid: pid.get() });
            }
            RunEvent::NotStarted { step, errno } => {
                self.forget(slot);
                let cause = format!("cannot {step}: {}", std::io::Error::from_raw_os_error(errno)).into();
                self.on(slot, &Event::NotSpawned { cause });
            }
            RunEvent::Ended(exit) => {
                self.forget(slot);
                let _ = self.watches.send(Watch::End { slot });
                self.on(slot, &Event::Exited(exit));
            }
        }
    }

    /// Nothing of this run is left. Who still has a table that names it is told to look at a newer one.
    fn forget(&mut self, slot: SlotId) {
        if let Some(live) = self.live.remove(&slot) {
            live.load.close();
        }
    }

    fn seen(&mut self, slot: SlotId, id: WatchId, sight: crate::sight::Sight) {
        if self.live.get(&slot).is_some_and(|live| matches!(live.watching, Some((_, of)) if of == id)) {
            self.on(slot, &Event::Seen(sight));
        }
    }

    fn elapsed(&mut self) {
        let now = self.now();
        let counts = now >= self.counted + DRAIN_INTERVAL;
        if counts {
            self.counted = now;
        }
        // Of one that is closed a count of nothing is final.
        let is_idle = |slot| self.live.get(&slot).is_none_or(|l| l.load.is_closed() && l.load.in_flight() == 0);
        let due = |(slot, instance): (SlotId, &Instance)| match instance.deadline()? {
            at if at <= now => Some((slot, Event::Elapsed)),
            _ if counts && matches!(instance.state(), State::Draining { .. }) && is_idle(slot) => {
                Some((slot, Event::Drained))
            }
            _ => None,
        };
        let all: Vec<(SlotId, Event)> = self.instances().filter_map(due).collect();
        for (slot, event) in all {
            self.on(slot, &event);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let of = |instance: &Instance| {
            let deadline = instance.deadline()?;
            let counted = matches!(instance.state(), State::Draining { .. });
            Some(if counted { deadline.min(self.counted + DRAIN_INTERVAL) } else { deadline })
        };
        let next = self.instances().filter_map(|(_, instance)| of(instance)).min()?;
        Some(self.began + next.since_start())
    }

    fn instances(&self) -> impl Iterator<Item = (SlotId, &Instance)> {
        self.groups.iter().flat_map(Group::slots)
    }

    fn on(&mut self, slot: SlotId, event: &Event) {
        let todo = self.decide(slot, event);
        self.act(todo);
        self.follow(slot);
    }

    fn decide(&mut self, slot: SlotId, event: &Event) -> Vec<Todo> {
        let now = self.now();
        let Some(group) = self.groups.get_mut(slot.process) else { return Vec::new() };
        let mut todo = group.on(slot, event, now);
        let ended = matches!(event, Event::Exited(_) | Event::NotSpawned { .. });
        if ended && self.setup.exit_on_end && self.end.is_none() {
            // Of a replacement that failed there is no instance any more: the process goes on.
            if let Some(code) = group.instance(slot).and_then(Instance::end_code) {
                self.end = Some(Outcome::Ended { code });
                todo.iter_mut().for_each(|todo| without_a_future(&mut todo.action));
                todo.extend(self.groups.iter_mut().flat_map(|g| g.stop(now)));
            }
        }
        todo
    }

    /// In order, and what follows from them behind them: an instance is stopped after it was spawned, or not at all.
    fn act(&mut self, todo: Vec<Todo>) {
        let mut queue = VecDeque::from(todo);
        while let Some(Todo { slot, instance, action }) = queue.pop_front() {
            match action {
                Action::Spawn => {
                    if let Err(cause) = self.spawn(slot) {
                        queue.extend(self.decide(slot, &Event::NotSpawned { cause: cause.into() }));
                    }
                }
                Action::Cut => {
                    if let Some(live) = self.live.get(&slot) {
                        live.load.cut();
                    }
                }
                Action::Stop => self.order_stop(slot),
                Action::Kill => {
                    if let Some(live) = self.live.get(&slot) {
                        live.run.order(Order::Kill);
                    }
                }
                Action::Tell(news) => self.tell(slot, instance, news),
            }
            self.follow(slot);
        }
    }

    fn tell(&self, slot: SlotId, instance: InstanceName, news: News) {
        let port = self.live.get(&slot).and_then(|l| l.ports.first()).map(|(_, port)| *port);
        // The terminal may be gone already; the app is stopped all the same.
        let _ = self.outlets.news.send(Told { instance, port, news });
    }

    fn order_stop(&self, slot: SlotId) {
        if let (Some(live), Some(group)) = (self.live.get(&slot), self.groups.get(slot.process)) {
            live.run.order(Order::Stop(launch::stop_spec(group)));
        }
    }

    /// Looks at an instance's ports as eagerly as its state wants.
    fn follow(&mut self, slot: SlotId) {
        let Some(group) = self.groups.get(slot.process) else { return };
        let pace = group.instance(slot).and_then(Instance::watch);
        let Some(live) = self.live.get_mut(&slot) else { return };
        if live.keeper.is_none() || live.watching.map(|(pace, _)| pace) == pace {
            return;
        }
        self.next_watch += 1;
        live.watching = pace.map(|pace| (pace, self.next_watch));
        let begin = pace.and_then(|pace| launch::watch(group, slot, live, pace, self.next_watch));
        let _ = self.watches.send(begin.unwrap_or(Watch::End { slot }));
    }

    fn environment(&self, name: &ProcessName) -> Option<Environment> {
        let group = self.groups.iter().find(|g| g.plan().name == *name)?;
        let live = group.slots().find_map(|(slot, i)| Some((i.name().clone(), self.live.get(&slot)?)));
        let instance = live.as_ref().map(|(name, live)| (name, live.ports.as_slice()));
        Some(instance_environment(&self.setup.plan, &self.setup.wiring, &self.setup.layers, group.plan(), instance))
    }

    /// Is everything over?
    fn outcome(&self) -> Option<Outcome> {
        if let Some(end) = self.end {
            return (!self.groups.iter().any(Group::is_alive)).then_some(end);
        }
        if self.setup.building || self.setup.stays {
            return None;
        }
        let there_are = self.groups.iter().filter(|g| g.slots().next().is_some() && !self.was_replaced(g));
        let codes: Vec<u8> = there_are.map(Group::ended).collect::<Option<_>>()?;
        let code = codes.iter().copied().find(|code| *code != 0).or(codes.first().copied())?;
        Some(Outcome::Ended { code })
    }

    /// Has it stopped because something else was attached in its place? Then nothing waits for it.
    fn was_replaced(&self, group: &Group) -> bool {
        let mut replaced = self.setup.wiring.replaced(&self.setup.plan);
        group.ended().is_none() && !group.is_alive() && replaced.any(|name| *name == group.plan().name)
    }
}
