use std::time::Duration;

use tambat_model::{Draft, Endpoint, Plan, ProcessDraft, Protocol};

use super::*;
use crate::exit::{Exit, How};
use crate::sight::Sight;

/// A process and its clock, told in words: `spawn 0`, `stop 0`, `tell 0 Ready`.
struct Story {
    group: Group,
    now: Moment,
}

fn plan(name: &str, protocol: Option<Protocol>) -> ProcessPlan {
    let process = ProcessDraft { protocol, ..ProcessDraft::new(name.parse().unwrap(), Some("run".to_owned())) };
    let name = tambat_model::AppName::from_directory("shop");
    let draft = Draft { processes: vec![process], ..Draft::new(name, "/".into()) };
    Plan::new(draft).unwrap().0.processes()[0].clone()
}

impl Story {
    fn of(plan: ProcessPlan, desired: u16, building: bool) -> Self {
        Self { group: Group::new(plan, 3, desired, building), now: Moment::default() }
    }

    fn web(desired: u16) -> Self {
        Self::of(plan("web", None), desired, false)
    }

    fn does(&mut self, what: impl FnOnce(&mut Group, Moment) -> Vec<Todo>) -> Vec<String> {
        let now = self.now;
        told(what(&mut self.group, now))
    }

    fn on(&mut self, nth: u64, event: &Event) -> Vec<String> {
        self.does(|group, now| group.on(SlotId { process: 3, nth }, event, now))
    }

    fn spawned(&mut self, nth: u64) -> Vec<String> {
        self.on(nth, &Event::Spawned { pid: 7 })
    }

    fn answers(&mut self, nth: u64) -> Vec<String> {
        let endpoints = vec![Endpoint { port: None, addr: "127.0.0.1:20000".parse().unwrap(), exposed: None }];
        self.on(nth, &Event::Seen(Sight::Ready { endpoints, unreadable: false }))
    }

    fn exits(&mut self, nth: u64, code: u8) -> Vec<String> {
        let how = How::Code(code);
        self.on(nth, &Event::Exited(Exit { how, left_behind: Vec::new(), killed: false, last_lines: Vec::new() }))
    }

    fn up(mut self) -> Self {
        self.does(Group::start);
        for nth in 0..u64::from(self.group.desired) {
            self.spawned(nth);
            self.answers(nth);
        }
        self
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn state(&self) -> String {
        let one = |(slot, i): (SlotId, &Instance)| {
            let text = format!("{:?}", i.state());
            let replaces = if i.replaces() { "*" } else { "" };
            format!("{}={}{replaces} {}", slot.nth, i.name(), text.split([' ', '{']).next().unwrap())
        };
        self.group.slots().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn told(todo: Vec<Todo>) -> Vec<String> {
    let one = |todo: Todo| match todo.action {
        Action::Tell(news) => {
            let text = format!("{news:?}");
            format!("tell {} {}", todo.slot.nth, text.split([' ', '(']).next().unwrap())
        }
        action => format!("{action:?} {}", todo.slot.nth).to_lowercase(),
    };
    todo.into_iter().map(one).collect()
}

/// The load of each run by its number, closed as far as a publication would have it.
struct Loads([Load; 3]);

impl Loads {
    fn closed(&self, story: &Story) -> [bool; 3] {
        story.group.close_loads(|slot| self.0.get(usize::try_from(slot.nth).unwrap()));
        self.0.each_ref().map(Load::is_closed)
    }
}

#[test]
fn a_load_is_closed_when_its_run_takes_nothing_new_any_more_and_never_for_a_reload() {
    let loads = Loads(Default::default());
    let mut web = Story::web(1).up();
    assert_eq!(loads.closed(&web), [false; 3]);
    web.on(0, &Event::Refused);
    assert_eq!((web.state().as_str(), loads.closed(&web)), ("0=web.1 Binding", [false; 3]), "it reloads");
    web.answers(0);
    web.does(Group::restart);
    web.spawned(1);
    assert_eq!(loads.closed(&web), [false; 3], "the old one goes on until the new one is ready");
    web.answers(1);
    assert_eq!(web.state(), "0=web.1 Draining, 1=web.1 Ready");
    assert_eq!(loads.closed(&web), [true, false, false]);
    web.does(Group::stop);
    assert_eq!(loads.closed(&web), [true, true, false]);
    web.exits(0, 0);
    web.exits(1, 0);
    assert_eq!(loads.closed(&web), [true, true, false]);

    let loads = Loads(Default::default());
    let mut web = Story::web(2).up();
    web.exits(0, 1);
    assert_eq!(loads.closed(&web), [true, false, false], "it crashed");
    web.does(Group::kill);
    assert_eq!(loads.closed(&web), [true, true, false]);
}

#[test]
fn as_many_are_started_as_there_should_be() {
    let mut web = Story::web(2);
    assert_eq!(web.does(Group::start), ["spawn 0", "spawn 1"]);
    assert_eq!(web.does(Group::start), Vec::<String>::new());
    assert_eq!(web.state(), "0=web.1 Spawning, 1=web.2 Spawning");
    assert_eq!(Story::web(0).does(Group::start), Vec::<String>::new());
    assert_eq!(Story::web(0).group.ended(), None);
}

#[test]
fn scaling_up_adds_and_scaling_down_drains() {
    let mut web = Story::web(1).up();
    assert_eq!(web.does(|g, now| g.scale(3, now)), ["spawn 1", "spawn 2"]);
    web.spawned(1);
    web.answers(1);
    assert_eq!(web.does(|g, now| g.scale(1, now)), ["stop 2"], "only who serves drains");
    assert_eq!(web.state(), "0=web.1 Ready, 1=web.2 Draining, 2=web.3 Stopping");
    web.wait(1);
    assert_eq!(web.on(1, &Event::Drained), ["stop 1"]);
    assert_eq!(web.exits(1, 0), ["tell 1 StopEnded"]);
    web.exits(2, 0);
    assert_eq!(web.state(), "0=web.1 Ready");
}

#[test]
fn who_is_on_the_way_out_does_not_count_when_it_is_wanted_again() {
    let mut web = Story::web(1).up();
    assert_eq!(web.does(|g, now| g.scale(0, now)), Vec::<String>::new());
    assert_eq!(web.does(|g, now| g.scale(1, now)), ["spawn 1"]);
    assert_eq!(web.state(), "0=web.1 Draining, 1=web.1 Spawning");
    web.exits(0, 0);
    assert_eq!(web.state(), "1=web.1 Spawning");

    let mut db = Story::of(plan("db", Some(Protocol::Redis)), 1, false).up();
    db.does(|g, now| g.scale(0, now));
    assert_eq!(db.does(|g, now| g.scale(1, now)), Vec::<String>::new(), "never two on one set of data");
    db.wait(1);
    assert_eq!(db.on(0, &Event::Drained), ["stop 0"]);
    assert_eq!(db.exits(0, 0), ["tell 0 StopEnded", "spawn 0"]);
}

#[test]
fn a_stateful_process_has_one_instance_whatever_is_asked() {
    let mut db = Story::of(plan("db", Some(Protocol::Redis)), 5, false);
    assert_eq!(db.does(Group::start), ["spawn 0"]);
    assert_eq!(db.does(|g, now| g.scale(2, now)), Vec::<String>::new());
    assert_eq!(db.group.desired(), 1);
}

#[test]
fn what_is_stopped_stays_so_until_it_is_wanted() {
    let mut web = Story::web(2).up();
    assert_eq!(web.does(Group::stop), ["stop 0", "stop 1"]);
    web.exits(0, 0);
    assert_eq!((web.state().as_str(), web.group.ended()), ("0=web.1 Stopped, 1=web.2 Stopping", None));
    assert_eq!(web.does(|g, now| g.scale(2, now)), ["spawn 0"]);
    assert_eq!(web.exits(1, 0), ["tell 1 StopEnded", "spawn 1"], "asked for while it stopped");
    web.does(Group::stop);
    web.exits(0, 0);
    web.exits(1, 0);
    assert_eq!(web.does(Group::restart), ["spawn 0", "spawn 1"]);
    web.does(Group::stop);
    assert_eq!(web.does(|g, now| g.scale(1, now)), Vec::<String>::new());
    web.exits(0, 0);
    web.exits(1, 0);
    assert_eq!(web.state(), "0=web.1 Spawning");
}

#[test]
fn a_restart_overlaps_and_the_new_one_takes_over_when_it_is_ready() {
    let mut web = Story::web(1).up();
    assert_eq!(web.does(Group::restart), ["spawn 1"]);
    assert_eq!(web.spawned(1), ["tell 1 Started"]);
    assert_eq!(web.state(), "0=web.1 Ready, 1=web.1* Binding");
    assert_eq!(web.answers(1), ["tell 1 Ready"]);
    assert_eq!(web.state(), "0=web.1 Draining, 1=web.1 Ready");
    web.wait(2);
    assert_eq!(web.on(0, &Event::Elapsed), ["cut 0"]);
    web.wait(1);
    assert_eq!(web.on(0, &Event::Elapsed), ["stop 0"]);
    assert_eq!(web.exits(0, 0), ["tell 0 StopEnded"]);
    assert_eq!(web.state(), "1=web.1 Ready");
    assert_eq!(web.exits(1, 1), ["tell 1 Again"], "it is like any other now");
}

#[test]
fn a_replacement_has_one_try_and_the_old_one_goes_on() {
    type End = fn(&mut Story) -> Vec<String>;
    let ends: [(End, &[&str]); 4] = [
        (|web| web.exits(1, 1), &["tell 1 NotReplaced"]),
        (|web| web.exits(1, 0), &["tell 1 NotReplaced"]),
        (|web| web.on(1, &Event::NotSpawned { cause: "no".into() }), &["tell 1 NotReplaced"]),
        (
            |web| {
                web.spawned(1);
                web.wait(60);
                assert_eq!(web.on(1, &Event::Elapsed), ["tell 1 Trouble", "stop 1"]);
                web.exits(1, 0)
            },
            &["tell 1 StopEnded", "tell 1 NotReplaced"],
        ),
    ];
    for (end, expected) in ends {
        let mut web = Story::web(1).up();
        web.does(Group::restart);
        assert_eq!(end(&mut web), expected);
        assert_eq!(web.state(), "0=web.1 Ready");
        assert_eq!(web.does(Group::restart), ["spawn 2"], "it can be tried again");
    }
}

#[test]
fn what_must_not_overlap_is_stopped_first() {
    for (name, protocol) in [("db", Some(Protocol::Redis)), ("worker", None)] {
        let mut one = Story::of(plan(name, protocol), 1, false).up();
        assert_eq!(one.does(Group::restart), Vec::<String>::new(), "what is open is finished first");
        one.wait(1);
        assert_eq!(one.on(0, &Event::Drained), ["stop 0"]);
        assert_eq!(one.exits(0, 0), ["tell 0 StopEnded", "spawn 0"]);
    }
    let mut web = Story::web(1);
    web.does(Group::start);
    web.spawned(0);
    assert_eq!(web.does(Group::restart), ["stop 0"], "one that serves nobody has nothing to go on with");
}

#[test]
fn the_old_one_may_end_while_its_replacement_is_on_its_way() {
    let mut web = Story::web(1).up();
    web.does(Group::restart);
    web.spawned(1);
    assert_eq!(web.exits(0, 1), ["tell 0 Trouble"], "it is not the one that is started again");
    assert_eq!(web.state(), "1=web.1 Binding");
    assert_eq!(web.exits(1, 1), ["tell 1 Again"], "no old one goes on: it gets more than one try");
}

#[test]
fn a_second_restart_starts_the_replacement_anew() {
    let mut web = Story::web(1).up();
    web.does(Group::restart);
    web.spawned(1);
    assert_eq!(web.does(Group::restart), ["stop 1"], "it may know nothing of what has changed since");
    assert_eq!(web.exits(1, 0), ["tell 1 StopEnded", "spawn 1"]);
    assert_eq!(web.state(), "0=web.1 Ready, 1=web.1* Spawning");
}

#[test]
fn a_restart_while_an_older_one_drains_leaves_that_alone() {
    let mut web = Story::web(1).up();
    web.does(Group::restart);
    web.spawned(1);
    web.answers(1);
    assert_eq!(web.does(Group::restart), ["spawn 2"]);
    assert_eq!(web.state(), "0=web.1 Draining, 1=web.1 Ready, 2=web.1* Spawning");
    web.exits(0, 0);
    assert_eq!(web.state(), "1=web.1 Ready, 2=web.1* Spawning", "the one that drained was not what 2 replaces");
    web.spawned(2);
    web.answers(2);
    web.exits(1, 0);
    assert_eq!(web.state(), "2=web.1 Ready");
}

#[test]
fn stopping_ends_the_one_that_drains_too_and_for_good() {
    let mut web = Story::web(1).up();
    web.does(Group::restart);
    web.spawned(1);
    web.answers(1);
    assert_eq!(web.does(Group::stop), ["stop 0", "stop 1"]);
    web.exits(0, 0);
    web.exits(1, 0);
    assert_eq!(web.state(), "1=web.1 Stopped");
    assert_eq!(web.does(Group::restart), ["spawn 1"]);
}

#[test]
fn stopping_while_a_replacement_is_on_its_way_leaves_one_stopped() {
    for order in [[0, 1], [1, 0]] {
        let mut web = Story::web(1).up();
        web.does(Group::restart);
        assert_eq!(web.does(Group::stop), ["stop 0", "stop 1"]);
        order.into_iter().for_each(|nth| drop(web.exits(nth, 0)));
        assert!(web.state().ends_with("=web.1 Stopped"), "{}", web.state());
        assert_eq!(web.group.slots().count(), 1);
    }
}

#[test]
fn scaling_down_takes_the_replacement_with_it() {
    let mut web = Story::web(2).up();
    web.does(Group::restart);
    assert_eq!(web.does(|g, now| g.scale(1, now)), ["stop 3"]);
    assert_eq!(web.state(), "0=web.1 Ready, 1=web.2 Draining, 2=web.1* Spawning, 3=web.2 Stopping");
    web.exits(1, 0);
    web.exits(3, 0);
    assert_eq!(web.state(), "0=web.1 Ready, 2=web.1* Spawning");
}

#[test]
fn a_restart_of_none_starts_one() {
    let mut web = Story::web(0);
    assert_eq!(web.does(Group::restart), ["spawn 0"]);
    assert_eq!(web.group.desired(), 1);
    web.exits(0, 0);
    assert_eq!(web.group.ended(), Some(0));
    assert_eq!(web.does(Group::restart), ["spawn 0"]);
}

#[test]
fn it_has_ended_when_each_instance_has_and_the_first_code_that_is_not_0_counts() {
    let mut web = Story::web(3).up();
    web.exits(0, 0);
    assert_eq!(web.group.ended(), None);
    for second in 0..5 {
        web.wait(second);
        web.on(1, &Event::Elapsed);
        web.exits(1, 9);
    }
    assert_eq!(web.group.ended(), None);
    web.exits(2, 0);
    assert_eq!(web.group.ended(), Some(9));
    assert!(!web.group.is_alive());
}

#[test]
fn who_has_come_to_its_end_starts_again_when_it_is_wanted() {
    let mut never = plan("web", None);
    never.restart = tambat_model::Restart::Never;
    for code in [0, 9] {
        let mut web = Story::of(never.clone(), 2, false).up();
        web.exits(0, code);
        assert!(web.group.ended().is_none() && !web.group.instance(SlotId { process: 3, nth: 0 }).unwrap().is_alive());
        assert_eq!(web.does(|g, now| g.scale(2, now)), ["spawn 0"], "code {code}; the other one is left alone");
        assert_eq!(web.state(), "0=web.1 Spawning, 1=web.2 Ready");
        web.exits(0, code);
        assert_eq!(web.does(|g, now| g.scale(0, now)), Vec::<String>::new(), "code {code}: it is not wanted");
        assert_eq!(web.state(), "1=web.2 Draining");
    }
    let mut broken = Story::web(1).up();
    for second in 0..5 {
        broken.wait(second);
        broken.on(0, &Event::Elapsed);
        broken.exits(0, 9);
    }
    assert_eq!(broken.state(), "0=web.1 Failed");
    assert_eq!(broken.does(|g, now| g.scale(1, now)), ["spawn 0"]);
    assert_eq!(broken.exits(0, 9), ["tell 0 Again"], "its failures are forgotten");
}

#[test]
fn nothing_starts_before_the_app_is_built() {
    let building = || Story::of(plan("web", None), 1, true);
    let nothing = Vec::<String>::new();
    let mut web = building();
    assert_eq!(web.does(Group::start), nothing);
    assert_eq!(web.does(|g, now| g.scale(2, now)), nothing);
    assert_eq!(web.does(Group::restart), nothing);
    assert_eq!(web.group.gate(), Gate::Building);
    assert_eq!(web.does(Group::built), ["spawn 0", "spawn 1"]);
    assert_eq!(web.group.gate(), Gate::Open);

    let mut stopped = building();
    stopped.does(Group::stop);
    assert_eq!(stopped.does(Group::built), nothing);
    assert_eq!(stopped.does(|g, now| g.scale(1, now)), ["spawn 0"]);

    let mut wanted = building();
    wanted.does(Group::stop);
    wanted.does(Group::restart);
    assert_eq!(wanted.does(Group::built), ["spawn 0"]);
}

#[test]
fn pausing_and_building_know_nothing_of_each_other() {
    let mut web = Story::of(plan("web", None), 1, true);
    web.group.set_gate(Gate::Paused);
    assert_eq!(web.group.gate(), Gate::Building);
    web.group.set_gate(Gate::Building);
    web.does(Group::built);
    assert_eq!(web.group.gate(), Gate::Paused);
    web.group.set_gate(Gate::Open);
    assert_eq!(web.group.gate(), Gate::Open);

    let mut early = Story::of(plan("web", None), 1, true);
    early.group.set_gate(Gate::Open);
    assert_eq!(early.group.gate(), Gate::Building, "there is nothing yet to let connections through to");
}

#[test]
fn who_has_no_port_is_not_waited_for() {
    let mut none = plan("none", Some(Protocol::None));
    none.ready = Readiness::Path("/healthz".to_owned(), Duration::from_secs(1));
    let mut none = Story::of(none, 1, false);
    none.does(Group::start);
    none.spawned(0);
    assert_eq!(none.state(), "0=none.1 Ready");
}
