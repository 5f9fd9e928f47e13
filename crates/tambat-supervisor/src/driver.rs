//! Acts for the machines: spawns, signals, timers, probes. One task; everything reaches it as a message.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{
    Endpoint, Environment, Gate, InstancePort, InstanceView, Layer, Load, Phase, Plan, PortName, ProcessName,
    ProcessView, Protocol, World, instance_environment, shell_command,
};
use tambat_os::{CommandSpec, Order, Pid, Signal, Spawner, StdioSpec, StopSpec, WinSize};
use tambat_wire::Probe;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::command::{Command, Outcome, Told};
use crate::group::{Group, SLOTS_A_PROCESS, SlotId, Todo};
use crate::instance::{Action, Event, Instance, State};
use crate::moment::Moment;
use crate::news::News;
use crate::ports::PortPool;
use crate::run::{OutputLine, Run, RunEvent};
use crate::watcher::{self, Seen, Watch, WatchedPort};

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
    spawner: Spawner,
    outlets: Outlets,
    groups: Vec<Group>,
    live: HashMap<SlotId, Live>,
    pool: PortPool,
    began: Instant,
    next_run: u32,
    runs: UnboundedSender<(SlotId, u32, RunEvent)>,
    watches: UnboundedSender<Watch>,
    end: Option<Outcome>,
}

/// What belongs to a machine while something of it runs.
struct Live {
    run: Run,
    keeper: Option<Pid>,
    ports: Vec<(Option<PortName>, InstancePort)>,
    load: Arc<Load>,
    watching: Option<crate::instance::Pace>,
}

/// Runs until nothing of the app is left.
pub(crate) async fn run(
    setup: Setup,
    spawner: Spawner,
    outlets: Outlets,
    mut commands: UnboundedReceiver<Command>,
) -> Outcome {
    let (runs, mut run_events) = unbounded_channel();
    let (watches, to_watch) = unbounded_channel();
    let (seen, mut sights) = unbounded_channel();
    let watcher = tokio::spawn(watcher::run(to_watch, seen));
    let mut driver = Driver::new(setup, spawner, outlets, runs, watches);
    driver.begin();
    let outcome = loop {
        driver.publish();
        if let Some(outcome) = driver.outcome() {
            break outcome;
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
            Some(Seen { slot, run, sight }) = sights.recv() => {
                if driver.live.get(&slot).is_some_and(|l| l.run.id == run) {
                    driver.on(slot, &Event::Seen(sight));
                }
            }
            () = elapsed => driver.elapsed(),
        }
    };
    watcher.abort();
    outcome
}

impl Driver {
    fn new(
        setup: Setup,
        spawner: Spawner,
        outlets: Outlets,
        runs: UnboundedSender<(SlotId, u32, RunEvent)>,
        watches: UnboundedSender<Watch>,
    ) -> Self {
        let gate = if setup.building { Gate::Building } else { Gate::Open };
        let groups = (0..).zip(setup.plan.processes()).map(|(nth, process)| {
            let desired = setup.formation.get(&process.name).copied().unwrap_or(0);
            Group::new(process.clone(), desired, gate, SlotId(nth * SLOTS_A_PROCESS))
        });
        let groups = groups.collect();
        let pool = PortPool::new(std::process::id());
        let (live, began) = (HashMap::new(), Instant::now());
        Self { setup, spawner, outlets, groups, live, pool, began, next_run: 1, runs, watches, end: None }
    }

    fn begin(&mut self) {
        if !self.setup.building {
            self.start_all();
        }
    }

    fn start_all(&mut self) {
        let now = self.now();
        let todo: Vec<Todo> = self.groups.iter_mut().flat_map(|g| g.start(now)).collect();
        self.act(todo);
    }

    fn now(&self) -> Moment {
        Moment::after(self.began.elapsed())
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Built => {
                self.setup.building = false;
                self.groups.iter_mut().for_each(|g| g.set_gate(Gate::Open));
                self.start_all();
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
            Command::Signal(signal) => self.live.values().for_each(|l| l.run.order(&Order::Signal(signal))),
            Command::Resize(size) => {
                self.setup.terminal = self.setup.terminal.map(|_| size);
                self.live.values().for_each(|l| l.run.resize(size));
            }
            Command::Environment(name, answer) => {
                // Whoever asked may have gone away.
                let _ = answer.send(self.environment(&name));
            }
            Command::Shutdown => self.shut_down(Group::stop),
            Command::Kill => self.shut_down(Group::kill),
        }
    }

    fn shut_down(&mut self, how: impl Fn(&mut Group, Moment) -> Vec<Todo>) {
        self.end = Some(Outcome::Stopped);
        self.end_all(how);
    }

    fn end_all(&mut self, how: impl Fn(&mut Group, Moment) -> Vec<Todo>) {
        let now = self.now();
        let todo: Vec<Todo> = self.groups.iter_mut().flat_map(|g| how(g, now)).collect();
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
        let slots: Vec<SlotId> = group.slots().filter(|(_, i)| i.watch().is_some()).map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(live) = self.live.get_mut(&slot)
                && live.watching == Some(crate::instance::Pace::Worker)
            {
                live.watching = None;
            }
            self.follow(slot);
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
                self.live.remove(&slot);
                let cause = format!("cannot {step}: {}", std::io::Error::from_raw_os_error(errno)).into();
                self.on(slot, &Event::NotSpawned { cause });
            }
            RunEvent::Ended(exit) => {
                self.live.remove(&slot);
                self.end_watch(slot);
                let code = exit.code();
                let by_itself = !self.instances().any(|(id, i)| id == slot && i.is_stopping());
                self.on(slot, &Event::Exited(exit));
                if by_itself && self.setup.exit_on_end && self.end.is_none() {
                    self.end = Some(Outcome::Ended { code });
                    self.end_all(Group::stop);
                }
            }
        }
    }

    fn elapsed(&mut self) {
        let now = self.now();
        let all: Vec<(SlotId, Event)> = self
            .instances()
            .filter_map(|(slot, instance)| match instance.state() {
                State::Draining { .. } if self.live.get(&slot).is_none_or(|l| l.load.in_flight() == 0) => {
                    Some((slot, Event::Drained))
                }
                _ => instance.deadline().filter(|at| *at <= now).map(|_| (slot, Event::Elapsed)),
            })
            .collect();
        for (slot, event) in all {
            self.on(slot, &event);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let now = self.now();
        let of = |instance: &Instance| {
            let deadline = instance.deadline()?;
            let counted = matches!(instance.state(), State::Draining { .. });
            Some(if counted { deadline.min(now + DRAIN_INTERVAL) } else { deadline })
        };
        let next = self.instances().filter_map(|(_, instance)| of(instance)).min()?;
        Some(self.began + next.since_start())
    }

    fn instances(&self) -> impl Iterator<Item = (SlotId, &Instance)> {
        self.groups.iter().flat_map(Group::slots)
    }

    fn on(&mut self, slot: SlotId, event: &Event) {
        let now = self.now();
        if let Some(group) = self.groups.get_mut(group_of(slot)) {
            let todo = group.on(slot, event, now);
            self.act(todo);
        }
        self.follow(slot);
    }

    fn act(&mut self, todo: Vec<Todo>) {
        for (slot, action) in todo {
            match action {
                Action::Spawn => self.spawn(slot),
                Action::Stop => self.order_stop(slot),
                Action::Kill => {
                    if let Some(live) = self.live.get(&slot) {
                        live.run.order(&Order::Kill);
                    }
                }
                Action::Tell(news) => self.tell(slot, news),
            }
            self.follow(slot);
        }
    }

    fn tell(&self, slot: SlotId, news: News) {
        let Some((_, instance)) = self.instances().find(|(id, _)| *id == slot) else { return };
        let port = self.live.get(&slot).and_then(|l| l.ports.first()).map(|(_, port)| *port);
        // The terminal may be gone already; the app is stopped all the same.
        let _ = self.outlets.news.send(Told { instance: instance.name().clone(), port, news });
    }

    fn order_stop(&self, slot: SlotId) {
        if let (Some(live), Some(group)) = (self.live.get(&slot), self.groups.get(group_of(slot))) {
            live.run.order(&Order::Stop(stop_spec(group)));
        }
    }

    /// Looks at an instance's ports as eagerly as its state wants.
    fn follow(&mut self, slot: SlotId) {
        let Some(group) = self.groups.get(group_of(slot)) else { return };
        let pace = group.slots().find(|(id, _)| *id == slot).and_then(|(_, instance)| instance.watch());
        let Some(live) = self.live.get_mut(&slot) else { return };
        let (Some(keeper), true) = (live.keeper, live.watching != pace) else { return };
        live.watching = pace;
        let watch = match pace {
            None => Watch::End { slot },
            Some(pace) => {
                let ports = watched_ports(group, &live.ports);
                if ports.is_empty() {
                    return;
                }
                Watch::Begin { slot, run: live.run.id, keeper, ports, any_owner: group.plan().any_owner, pace }
            }
        };
        let _ = self.watches.send(watch);
    }

    fn end_watch(&self, slot: SlotId) {
        let _ = self.watches.send(Watch::End { slot });
    }

    fn spawn(&mut self, slot: SlotId) {
        let started = self.try_spawn(slot);
        if let Err(cause) = started {
            self.on(slot, &Event::NotSpawned { cause: cause.into() });
        }
    }

    fn try_spawn(&mut self, slot: SlotId) -> Result<(), String> {
        let group = self.groups.get(group_of(slot)).ok_or("there is no such process")?;
        let (_, instance) = group.slots().find(|(id, _)| *id == slot).ok_or("there is no such instance")?;
        let process = group.plan();
        let in_use = |port: u16| self.live.values().any(|l| l.ports.iter().any(|(_, p)| p.get() == port));
        let mut ports = Vec::with_capacity(process.ports.len());
        for port in process.ports.iter().filter(|p| p.protocol != Protocol::None) {
            let number = self
                .pool
                .next(&in_use)
                .ok_or("no port from 20000 to 29999 is free: stop something that listens there")?;
            ports.push((port.name.clone(), number));
        }
        let name = instance.name();
        let environment = instance_environment(
            &self.setup.plan,
            &self.setup.wiring,
            &self.setup.layers,
            process,
            Some((name, &ports)),
        );
        let spec = CommandSpec {
            argv: ["/bin/sh", "-c"]
                .into_iter()
                .map(OsString::from)
                .chain([shell_command(&process.command).into()])
                .collect(),
            dir: self.setup.plan.dir().to_owned(),
            env: os_environment(&environment, &self.setup.raw_env),
            stdio: self.setup.terminal.map_or(StdioSpec::Pipes, StdioSpec::Pty),
            stop: stop_spec(group),
        };
        let keeper = self.spawner.spawn(&spec).map_err(|error| format!("cannot start {name}: {error}"))?;
        let id = self.next_run;
        self.next_run += 1;
        let run = Run::begin(id, slot, name, keeper, &self.outlets.lines, self.runs.clone())
            .map_err(|error| format!("cannot watch {name}: {error}"))?;
        self.live.insert(slot, Live { run, keeper: None, ports, load: Arc::default(), watching: None });
        Ok(())
    }

    fn environment(&self, name: &ProcessName) -> Option<Environment> {
        let group = self.groups.iter().find(|g| g.plan().name == *name)?;
        let live = group.slots().find_map(|(slot, i)| Some((i.name().clone(), self.live.get(&slot)?)));
        let instance = live.as_ref().map(|(name, live)| (name, live.ports.as_slice()));
        Some(instance_environment(&self.setup.plan, &self.setup.wiring, &self.setup.layers, group.plan(), instance))
    }

    fn publish(&self) {
        let processes = self.groups.iter().map(|g| (g.plan().name.clone(), self.view(g))).collect();
        self.outlets.world.send_replace(Arc::new(World { processes }));
    }

    fn view(&self, group: &Group) -> ProcessView {
        let instances = group.slots().map(|(slot, instance)| {
            let live = self.live.get(&slot);
            InstanceView {
                name: instance.name().clone(),
                generation: live.map_or(0, |l| l.run.id),
                restarts: instance.restarts(),
                phase: phase(instance.state(), live),
            }
        });
        ProcessView { gate: group.gate(), desired: group.desired(), instances: instances.collect() }
    }

    /// Is everything over?
    fn outcome(&self) -> Option<Outcome> {
        let code = || {
            let codes = self.groups.iter().filter_map(Group::ended).flatten();
            codes.clone().find(|c| *c != 0).or(codes.into_iter().next()).unwrap_or(0)
        };
        if let Some(end) = self.end {
            return (!self.groups.iter().any(Group::is_alive)).then_some(end);
        }
        if self.setup.building {
            return None;
        }
        let wanted: Vec<&Group> = self.groups.iter().filter(|g| g.slots().next().is_some()).collect();
        let over = !wanted.is_empty() && wanted.iter().all(|g| g.ended().is_some());
        over.then(|| Outcome::Ended { code: code() })
    }
}

/// Which process a slot belongs to.
fn group_of(slot: SlotId) -> usize {
    (slot.0 / SLOTS_A_PROCESS) as usize
}

fn stop_spec(group: &Group) -> StopSpec {
    let stop = &group.plan().stop;
    StopSpec { signal: stop.signal.parse().unwrap_or(Signal::TERM), grace: stop.grace }
}

fn watched_ports(group: &Group, ports: &[(Option<PortName>, InstancePort)]) -> Vec<WatchedPort> {
    let plans = group.plan().ports.iter().zip(ports);
    plans
        .filter_map(|(plan, (name, port))| {
            let probe = probe(group, plan.protocol, port.get(), name == &group.plan().ports[0].name);
            Some(WatchedPort { name: name.clone(), port: port.get(), probe: probe? })
        })
        .collect()
}

/// The path that the manifest names is the first port's.
fn probe(group: &Group, protocol: Protocol, port: u16, is_first: bool) -> Option<Probe> {
    let path = match &group.plan().ready {
        tambat_model::Readiness::Path(path, _) if is_first => Some(path.as_str()),
        _ => None,
    };
    Probe::for_protocol(protocol, path, &format!("localhost:{port}"))
}

fn os_environment(environment: &Environment, raw: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let known = environment.iter().map(|(name, setting)| (OsString::from(name), OsString::from(&setting.value)));
    known.chain(raw.iter().cloned()).collect()
}

fn phase(state: &State, live: Option<&Live>) -> Phase {
    match state {
        State::Spawning { .. } | State::Stopping { pid: None, .. } => Phase::Spawning,
        State::Binding { pid, .. } => {
            Phase::Binding { pid: *pid, port: live.and_then(|l| l.ports.first()).map(|(_, port)| port.get()) }
        }
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
