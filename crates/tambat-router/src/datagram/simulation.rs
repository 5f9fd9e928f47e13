//! Sessions that come, talk, fall silent and flood, under a clock of the test's own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::session::{Begun, Carried, Ended, Flow, Heard, Rules, SessionId, Why};
use super::table::{KEPT_FOR, Table};

const RULES: Rules = Rules { idle: Duration::from_mins(1), settles: false };
const DNS: Rules = Rules { settles: true, ..RULES };

fn flow(number: u16) -> Flow {
    let client = SocketAddr::from(([192, 0, 2, 1], number));
    Flow { client, dialled: None }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Scene {
    table: Table<u16>,
    now: Instant,
}

impl Scene {
    fn new(max: usize, rules: Rules) -> Self {
        Self { table: Table::new(max, rules), now: Instant::now() }
    }

    /// A client's first datagram; with a target at once.
    fn begin(&mut self, number: u16) -> SessionId {
        self.try_begin(number).unwrap().0
    }

    /// None: there is no room.
    fn try_begin(&mut self, number: u16) -> Option<(SessionId, Option<Ended<u16>>)> {
        assert_eq!(self.table.hear(flow(number), b"1", self.now), Heard::New);
        let begun = self.table.begin(flow(number), b"1", number, false, self.now);
        self.table.verify();
        let Begun::At(id, displaced) = begun else { return None };
        assert_eq!(self.table.place(id, self.now), [Box::from(&b"1"[..])]);
        Some((id, displaced))
    }

    fn hear(&mut self, number: u16) -> Heard {
        self.table.hear(flow(number), b"22", self.now)
    }

    fn after(&mut self, seconds: f64) -> Vec<(u16, Why)> {
        self.now += Duration::from_secs_f64(seconds);
        let over = self.table.expire(self.now);
        self.table.verify();
        over.into_iter().map(|ended| (ended.own, ended.why)).collect()
    }
}

#[test]
fn a_session_goes_on_as_long_as_something_moves_in_either_direction() {
    let mut scene = Scene::new(10, RULES);
    let (asks, answers) = (scene.begin(1), scene.begin(2));
    assert_eq!(scene.after(59.0), []);
    assert_eq!(scene.hear(1), Heard::Send(asks));
    scene.table.answer(answers, 100, scene.now);
    assert_eq!(scene.after(59.9), []);
    let mut over = scene.after(0.1);
    over.sort_by_key(|(number, _)| *number);
    assert_eq!(over, [(1, Why::Idle), (2, Why::Idle)]);
    assert_eq!(scene.table.len(), 0);
    assert_eq!(scene.hear(1), Heard::New);
}

#[test]
fn what_it_has_carried_is_told_at_its_end() {
    let mut scene = Scene::new(10, RULES);
    let id = scene.begin(1);
    scene.hear(1);
    scene.table.answer(id, 1_000, scene.now);
    scene.now += s(7);
    let ended = scene.table.end(id, Why::Refused, scene.now).unwrap();
    let carried = Carried { datagrams_in: 2, datagrams_out: 1, bytes_in: 3, bytes_out: 1_000 };
    assert_eq!((ended.carried, ended.took, ended.flow, ended.why), (carried, s(7), flow(1), Why::Refused));
    assert!(scene.table.end(id, Why::Refused, scene.now).is_none(), "it ends once");
}

#[test]
fn a_question_of_dns_is_over_a_moment_after_its_answer() {
    let mut scene = Scene::new(10, DNS);
    let id = scene.begin(1);
    // A stub resolver asks for both kinds of addresses from one port.
    scene.hear(1);
    scene.table.answer(id, 50, scene.now);
    assert_eq!(scene.after(30.0), [], "the other one is not answered yet");
    scene.table.answer(id, 50, scene.now);
    assert_eq!(scene.after(0.9), []);
    assert_eq!(scene.hear(1), Heard::Send(id), "another question goes on with it");
    assert_eq!(scene.after(59.0), []);
    scene.table.answer(id, 50, scene.now);
    assert_eq!(scene.after(1.0), [(1, Why::Answered)]);
}

#[test]
fn a_flood_displaces_those_that_nobody_knows_and_nobody_who_really_talks() {
    let mut scene = Scene::new(100, RULES);
    let talks = scene.begin(1);
    scene.table.answer(talks, 10, scene.now);
    scene.hear(1);
    for number in 2..=100 {
        scene.begin(number);
    }
    // Longer silent than all of the others, but where it says it is.
    scene.now += s(1);
    for number in 101..10_000 {
        let (_, displaced) = scene.try_begin(number).unwrap();
        let displaced = displaced.unwrap();
        assert_eq!(
            (displaced.own, displaced.why),
            (number - 99, Why::Displaced),
            "the one that was silent for longest"
        );
    }
    assert_eq!((scene.table.len(), scene.hear(1)), (100, Heard::Send(talks)));
}

#[test]
fn one_too_many_for_its_process_takes_the_place_of_one_that_may_be_anybody() {
    let mut scene = Scene::new(100, RULES);
    let talks = scene.begin(1);
    scene.table.answer(talks, 10, scene.now);
    scene.hear(1);
    scene.begin(2);
    let mut one_too_many = |number| {
        assert_eq!(scene.table.hear(flow(number), b"1", scene.now), Heard::New);
        let begun = scene.table.begin(flow(number), b"1", number, true, scene.now);
        scene.table.verify();
        begun
    };
    let Begun::At(third, Some(displaced)) = one_too_many(3) else { panic!("the second makes room") };
    assert_eq!((displaced.own, displaced.why), (2, Why::Displaced));
    scene.table.end(third, Why::Refused, scene.now);
    let mut one_too_many = |number| scene.table.begin(flow(number), b"1", number, true, scene.now);
    assert!(matches!(one_too_many(4), Begun::Full(4)), "nobody makes room who is where it says it is");
    assert_eq!((scene.table.len(), scene.hear(1)), (1, Heard::Send(talks)));
}

#[test]
fn where_all_are_certain_nobody_new_comes_in() {
    let mut scene = Scene::new(3, RULES);
    for number in 1..=3 {
        let id = scene.begin(number);
        scene.table.answer(id, 10, scene.now);
        scene.hear(number);
    }
    assert!(scene.try_begin(4).is_none());
    scene.after(60.0);
    scene.begin(4);
}

#[test]
fn while_it_waits_the_newest_few_are_kept_for_a_bounded_time() {
    let mut scene = Scene::new(10, RULES);
    let Begun::At(id, None) = scene.table.begin(flow(1), b"0", 1, false, scene.now) else { panic!("there is room") };
    for number in 1..=5_u8 {
        assert_eq!(scene.table.hear(flow(1), &[number], scene.now), Heard::Waits(id));
    }
    assert_eq!((scene.table.kept(), scene.table.waiting()), (4, vec![id]));
    scene.now += s(3);
    scene.table.hear(flow(1), &[6], scene.now);
    scene.now += s(2);
    let given_up: Vec<u8> = scene.table.give_up(scene.now).into_iter().map(|(_, bytes)| bytes[0]).collect();
    assert_eq!(given_up, [3, 4, 5]);
    assert!(scene.table.keeps(id));
    let kept: Vec<u8> = scene.table.place(id, scene.now).into_iter().map(|bytes| bytes[0]).collect();
    assert_eq!((kept, scene.table.waiting()), (vec![6], vec![]));
    scene.table.unplace(id, Some(&[7]), scene.now);
    assert_eq!(scene.table.waiting(), [id]);
    scene.now += KEPT_FOR;
    assert!(scene.table.place(id, scene.now).is_empty(), "too old for anybody");
    scene.table.verify();
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    let mut scene = Scene::new(1_000, RULES);
    let big = vec![7; 60_000];
    for number in 0..1_000 {
        assert!(matches!(scene.table.begin(flow(number), &big, number, false, scene.now), Begun::At(_, None)));
    }
    scene.table.verify();
    assert_eq!(scene.table.kept(), 1024 * 1024 / 60_000);
    let (first, _) = scene.table.all().next().unwrap();
    scene.table.end(first, Why::Refused, scene.now);
    scene.table.verify();
}

#[test]
fn whose_target_leaves_goes_on_until_it_is_silent_for_a_moment() {
    let mut scene = Scene::new(10, RULES);
    let (talks, silent, stays) = (scene.begin(1), scene.begin(2), scene.begin(3));
    for id in [talks, silent, stays] {
        scene.table.leave(id, true);
    }
    scene.table.leave(stays, false);
    assert_eq!(scene.after(0.9), []);
    assert_eq!(scene.hear(1), Heard::Send(talks));
    assert_eq!(scene.after(0.9), [(2, Why::Drained)]);
    assert_eq!(scene.after(1.0), [(1, Why::Drained)]);
    assert_eq!(scene.after(55.0), []);
    assert_eq!(scene.after(3.0), [(3, Why::Idle)]);
}

/// What happens in a simulation.
#[derive(Debug, Clone)]
enum Event {
    Hear(u16, u16),
    Answer(u16),
    Refused(u16),
    Leave(u16, bool),
    Place,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..40_u16, 0..3_000_u16).prop_map(|(number, bytes)| Event::Hear(number, bytes)),
        4 => (0..40_u16).prop_map(Event::Answer),
        1 => (0..40_u16).prop_map(Event::Refused),
        1 => (0..40_u16, any::<bool>()).prop_map(|(number, leaving)| Event::Leave(number, leaving)),
        3 => Just(Event::Place),
        3 => (0..8_000_u64).prop_map(Event::Pass),
    ]
}

proptest! {
    /// Whatever happens: the table keeps its bounds, ends what is silent in time and nothing else, and loses nobody.
    #[test]
    fn whatever_happens_it_keeps_its_bounds(
        events in proptest::collection::vec(event(), 1..300), settles: bool, max in 1..20_usize,
    ) {
        let rules = Rules { idle: s(20), settles };
        let mut scene = Scene::new(max, rules);
        let mut ids: HashMap<u16, SessionId> = HashMap::new();
        let mut moved: HashMap<u16, Instant> = HashMap::new();
        for event in events {
            let now = scene.now;
            match event {
                Event::Hear(number, bytes) => {
                    let datagram = vec![0; usize::from(bytes)];
                    match scene.table.hear(flow(number), &datagram, now) {
                        Heard::New => {
                            prop_assert!(!ids.contains_key(&number), "a session is not forgotten");
                            if let Begun::At(id, displaced) = scene.table.begin(flow(number), &datagram, number, false, now) {
                                if let Some(displaced) = displaced {
                                    prop_assert!(ids.remove(&displaced.own).is_some());
                                }
                                ids.insert(number, id);
                                moved.insert(number, now);
                            }
                        }
                        Heard::Send(id) | Heard::Waits(id) => {
                            prop_assert_eq!(ids.get(&number), Some(&id));
                            moved.insert(number, now);
                        }
                    }
                }
                Event::Answer(number) => if let Some(id) = ids.get(&number) {
                    scene.table.answer(*id, 100, now);
                    moved.insert(number, now);
                },
                Event::Refused(number) => if let Some(id) = ids.get(&number) {
                    scene.table.unplace(*id, Some(b"x"), now);
                },
                Event::Leave(number, leaving) => if let Some(id) = ids.get(&number) {
                    scene.table.leave(*id, leaving);
                },
                Event::Place => for id in scene.table.waiting() {
                    prop_assert!(scene.table.place(id, now).len() <= 4);
                },
                Event::Pass(ms) => {
                    scene.now += Duration::from_millis(ms);
                    for ended in scene.table.expire(scene.now) {
                        let silent = scene.now - moved[&ended.own];
                        prop_assert!(silent >= s(1), "{:?} after {silent:?}", ended.why);
                        prop_assert!(ended.why != Why::Idle || silent >= s(20));
                        prop_assert!(ids.remove(&ended.own).is_some());
                    }
                    scene.table.give_up(scene.now);
                }
            }
            scene.table.verify();
            prop_assert_eq!(scene.table.len(), ids.len());
        }
        // In the end all of them go: none is behind somebody who holds it up for ever.
        scene.now += s(20);
        scene.table.expire(scene.now);
        prop_assert_eq!(scene.table.len(), 0);
        prop_assert_eq!(scene.table.kept(), 0);
    }
}
