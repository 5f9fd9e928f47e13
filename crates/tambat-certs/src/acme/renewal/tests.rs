use std::collections::{BTreeMap, BTreeSet};

use tambat_model::HostPattern;

use super::*;
use crate::moment;
use crate::sample::days;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn name(text: &str) -> CertName {
    CertName::of(&text.parse().unwrap()).unwrap()
}

fn routes(names: &[&str]) -> Routes {
    let names: Vec<HostPattern> = names.iter().map(|name| name.parse().unwrap()).collect();
    Routes::new(names.iter(), |_| false, true, true)
}

fn lifetime(from: SystemTime, length: Duration) -> Lifetime {
    Lifetime { not_before: moment::earlier(from, HOUR), not_after: moment::later(from, length) }
}

/// A CA, a disk and a clock around the machine.
struct World {
    machine: Renewals,
    now: SystemTime,
    /// What the machine is told as the time.
    clock_is_ahead: Duration,
    disk: BTreeMap<CertName, Lifetime>,
    tried: BTreeMap<CertName, Tried>,
    running: Vec<(SystemTime, CertName)>,
    ca: Ca,
    length: Duration,
    /// (when, name, told that it replaces one)
    orders: Vec<(SystemTime, CertName, bool)>,
    running_max: usize,
}

#[derive(Clone)]
enum Ca {
    Good,
    Away,
    Refuses(&'static str),
    Limits(Duration),
    Suggests { after: Duration, for_so_long: Duration },
}

impl World {
    fn new(names: &[&str], length: Duration) -> Self {
        let mut world = Self {
            machine: Renewals::new(Jitter::seeded(5)),
            now: days(0),
            clock_is_ahead: Duration::ZERO,
            disk: BTreeMap::new(),
            tried: BTreeMap::new(),
            running: Vec::new(),
            ca: Ca::Good,
            length,
            orders: Vec::new(),
            running_max: 0,
        };
        world.on(Event::Routes(routes(names)));
        world
    }

    fn clock(&self) -> SystemTime {
        moment::later(self.now, self.clock_is_ahead)
    }

    fn on(&mut self, event: Event) {
        let actions = self.machine.on(event, self.clock());
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Load(name) => {
                let (lifetime, tried) = (self.disk.get(&name).copied(), self.tried.get(&name).cloned());
                self.on(Event::Found { name, lifetime, tried });
            }
            Action::Order { name, replaces, .. } => {
                self.orders.push((self.now, name.clone(), replaces));
                self.running.push((self.now + Duration::from_secs(5), name));
                self.running_max = self.running_max.max(self.running.len());
            }
            Action::AskWindow(name) => {
                let event = match self.ca {
                    Ca::Suggests { after, for_so_long } => {
                        let start = moment::later(self.disk[&name].not_before, after);
                        Event::Window { name, start, end: moment::later(start, for_so_long), again: 6 * HOUR }
                    }
                    _ => Event::NoWindow { name },
                };
                self.on(event);
            }
            Action::Forget(_) => {}
            Action::Remember { name, tried } => drop(self.tried.insert(name, tried)),
        }
    }

    /// Lets so much time pass, as the driver would: it sleeps until something is due, a minute at most while `ticks`.
    fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        while self.now < end {
            let job = self.running.iter().map(|(at, _)| *at).min();
            let due = self.machine.next().map(|at| {
                let ahead = moment::since(at, self.clock());
                // An hour instead of the driver's minute: years are to pass quickly.
                self.now + ahead.clamp(Duration::from_secs(1), HOUR)
            });
            self.now = [job, due, Some(self.now + HOUR), Some(end)].into_iter().flatten().min().unwrap();
            match self.running.iter().position(|(at, _)| *at <= self.now) {
                Some(at) => {
                    let (_, name) = self.running.swap_remove(at);
                    self.end(name);
                }
                None => self.on(Event::Tick),
            }
        }
    }

    fn end(&mut self, name: CertName) {
        let failed = |kind, retry_after| Failure { kind, retry_after, text: "no".to_owned() };
        let failure = match self.ca {
            Ca::Away => Some(failed(FailureKind::Away, None)),
            Ca::Refuses(refused) if refused == name.base() => Some(failed(FailureKind::Refused, None)),
            Ca::Limits(after) => Some(failed(FailureKind::Limited, Some(after))),
            _ => None,
        };
        if let Some(failure) = failure {
            return self.on(Event::Failed { name, failure });
        }
        let lifetime = lifetime(self.now, self.length);
        self.disk.insert(name.clone(), lifetime);
        self.tried.remove(&name);
        self.on(Event::Issued { name, lifetime });
    }

    /// The moments of the orders for this name, in hours after the beginning.
    fn hours_of(&self, of: &str) -> Vec<u64> {
        let of = self.orders.iter().filter(|(_, name, _)| name.base() == of);
        of.map(|(at, ..)| moment::since(*at, days(0)).as_secs() / 3_600).collect()
    }

    fn held(&self, of: &str) -> Lifetime {
        self.machine.entry(&name(of)).unwrap().lifetime().unwrap()
    }
}

#[test]
fn five_years_of_ninety_days_each() {
    let mut world = World::new(&["a.example", "b.example", "*.c.example"], 90 * DAY);
    world.pass(5 * 365 * DAY);
    for of in ["a.example", "b.example", "c.example"] {
        let hours = world.hours_of(of);
        assert!((29..=36).contains(&hours.len()), "{of}: {}", hours.len());
        // Two thirds are 60 days, and a twelfth of the lifetime before that is the spread.
        assert!(hours.windows(2).all(|pair| (52 * 24..=60 * 24).contains(&(pair[1] - pair[0]))), "{hours:?}");
    }
    assert_ne!(world.hours_of("a.example"), world.hours_of("b.example"));
    assert!(world.orders.iter().all(|(_, _, replaces)| !replaces), "the CA offers nothing of the kind");
}

#[test]
fn a_ca_that_is_away_for_days_costs_nothing() {
    let names: Vec<String> = (0..50).map(|number| format!("n{number}.example")).collect();
    let mut world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>(), 90 * DAY);
    world.pass(HOUR);
    assert_eq!((world.orders.len(), world.running_max), (50, ORDERS_MAX));
    world.pass(50 * DAY);
    (world.ca, world.running_max) = (Ca::Away, 0);
    world.orders.clear();
    world.pass(25 * DAY);
    // One order at a time, every quarter of an hour.
    let asked = world.orders.len();
    assert!((1_500..=3_800).contains(&asked), "{asked}");
    assert!(world.running_max <= 2, "{}", world.running_max);
    assert!(world.machine.ca().away().is_some_and(|away| away.failures > 1_000));
    assert!(world.tried.is_empty(), "it says nothing about names");
    (world.ca, world.running_max) = (Ca::Good, 0);
    world.pass(HOUR);
    assert!(world.machine.ca().away().is_none());
    for of in &names {
        let held = world.held(of);
        assert!(held.contains(world.now), "{of}");
        assert!(held.two_thirds() > world.now, "{of}");
    }
    assert_eq!(world.running_max, ORDERS_MAX);
}

#[test]
fn a_name_that_is_refused_holds_up_no_other() {
    let mut world = World::new(&["bad.example", "a.example"], 90 * DAY);
    world.ca = Ca::Refuses("bad.example");
    world.pass(HOUR);
    assert_eq!(world.hours_of("a.example"), [0]);
    assert!((3..=5).contains(&world.hours_of("bad.example").len()), "{:?}", world.hours_of("bad.example"));
    world.pass(100 * DAY);
    let tries = world.hours_of("bad.example").len();
    assert!((320..=560).contains(&tries), "four to five a day: {tries}");
    assert_eq!(world.hours_of("a.example").len(), 2);
    let entry = world.machine.entry(&name("bad.example")).unwrap();
    assert_eq!(
        (entry.failures() as usize, entry.failure().map(|failure| failure.kind)),
        (tries, Some(FailureKind::Refused))
    );
    assert_eq!(world.tried[&name("bad.example")].failures as usize, tries);
    world.ca = Ca::Good;
    world.pass(8 * HOUR);
    assert!(world.held("bad.example").contains(world.now));
    assert!(world.tried.is_empty());
    assert_eq!(world.machine.entry(&name("bad.example")).unwrap().failures(), 0);
}

#[test]
fn trouble_on_this_side_says_nothing_about_the_ca() {
    let mut machine = Renewals::new(Jitter::seeded(1));
    let (a, b) = (name("a.example"), name("b.example"));
    machine.on(Event::Routes(routes(&["a.example", "b.example"])), days(0));
    for name in [&a, &b] {
        machine.on(Event::Found { name: name.clone(), lifetime: None, tried: None }, days(0));
    }
    let failed = |name: &CertName, kind| Event::Failed { name: name.clone(), failure: Failure::new(kind, "no") };
    machine.on(failed(&a, FailureKind::Away), days(0));
    machine.on(failed(&b, FailureKind::Here), days(0));
    assert!(machine.ca().is_away());
    assert_eq!(machine.entry(&b).map(Entry::failures), Some(1));
    machine.on(failed(&b, FailureKind::Refused), days(0));
    assert!(!machine.ca().is_away(), "who refuses is there");
}

#[test]
fn a_restart_does_not_try_what_has_just_failed() {
    let mut world = World::new(&["bad.example", "good.example"], 90 * DAY);
    world.ca = Ca::Refuses("bad.example");
    world.pass(DAY);
    let before = world.hours_of("bad.example").len();
    for _ in 0..20 {
        world.machine = Renewals::new(Jitter::random());
        world.running.clear();
        world.on(Event::Routes(routes(&["bad.example", "good.example"])));
        world.pass(Duration::from_mins(1));
    }
    assert!(world.hours_of("bad.example").len() <= before + 1);
    assert_eq!(world.hours_of("good.example"), [0]);
}

#[test]
fn too_many_orders_wait_as_long_as_the_ca_says() {
    let mut world = World::new(&["a.example", "b.example", "c.example"], 90 * DAY);
    world.ca = Ca::Limits(30 * HOUR);
    world.pass(29 * HOUR);
    assert_eq!(world.orders.len(), 3, "{:?}", world.orders);
    world.ca = Ca::Good;
    world.pass(4 * HOUR);
    for of in ["a.example", "b.example", "c.example"] {
        assert!(world.held(of).contains(world.now));
    }
}

#[test]
fn what_the_ca_suggests_is_done() {
    let mut world = World::new(&["a.example"], 90 * DAY);
    world.ca = Ca::Suggests { after: 20 * DAY, for_so_long: DAY };
    world.pass(100 * DAY);
    let hours = world.hours_of("a.example");
    assert!(hours.windows(2).all(|pair| (19 * 24..=21 * 24 + 2).contains(&(pair[1] - pair[0]))), "{hours:?}");
    assert!(hours.len() >= 5, "{hours:?}");
    // A certificate is revoked: the window of the one that is there lies in the past.
    assert!(world.orders.iter().skip(1).all(|(_, _, replaces)| *replaces));
    let before = world.hours_of("a.example").len();
    world.ca = Ca::Suggests { after: Duration::ZERO, for_so_long: Duration::from_secs(1) };
    world.pass(7 * HOUR);
    assert!(world.hours_of("a.example").len() > before, "asked within six hours");
}

#[test]
fn a_suggestion_beyond_reason_counts_for_less() {
    // After the end of the certificate: a tenth of the lifetime is left.
    let mut world = World::new(&["a.example"], 90 * DAY);
    world.ca = Ca::Suggests { after: 900 * DAY, for_so_long: DAY };
    world.pass(180 * DAY);
    let hours = world.hours_of("a.example");
    assert!(hours.windows(2).all(|pair| (80 * 24..=81 * 24 + 2).contains(&(pair[1] - pair[0]))), "{hours:?}");
    assert_eq!(hours.len(), 3);
    // A window that ends before it begins is as none.
    let mut world = World::new(&["a.example"], 90 * DAY);
    world.pass(HOUR);
    world.on(Event::Window { name: name("a.example"), start: days(9), end: days(9), again: HOUR });
    world.pass(51 * DAY);
    assert_eq!(world.hours_of("a.example").len(), 1);
}

#[test]
fn the_moment_in_a_window_is_chosen_once() {
    let mut world = World::new(&["a.example"], 90 * DAY);
    world.pass(HOUR);
    let suggest = |world: &mut World| {
        world.on(Event::Window { name: name("a.example"), start: days(30), end: days(40), again: HOUR });
        world.machine.entry(&name("a.example")).unwrap().order_at().unwrap()
    };
    let first = suggest(&mut world);
    assert!((days(30)..days(40)).contains(&first));
    for _ in 0..50 {
        assert_eq!(suggest(&mut world), first);
        world.on(Event::NoWindow { name: name("a.example") });
        assert_eq!(world.machine.entry(&name("a.example")).unwrap().order_at(), Some(first));
    }
}

#[test]
fn a_clock_that_jumps_orders_no_flood() {
    let mut world = World::new(&["a.example", "b.example"], 90 * DAY);
    world.pass(10 * DAY);
    world.orders.clear();
    // Ten years ahead: everything seems expired, and what is issued seems so, too.
    world.clock_is_ahead = 3_650 * DAY;
    world.pass(DAY);
    let flood = world.orders.len();
    assert!((2..=20).contains(&flood), "{flood}");
    let said = world.machine.entry(&name("a.example")).unwrap().failure().unwrap().text.clone();
    assert!(said.contains("clock"), "{said}");
    // And back: no pause lies years ahead.
    world.clock_is_ahead = Duration::ZERO;
    world.pass(30 * DAY);
    world.orders.clear();
    world.pass(40 * DAY);
    assert_eq!(world.orders.len(), 2, "{:?}", world.orders);
    // The same while the CA is away.
    (world.ca, world.clock_is_ahead) = (Ca::Away, 3_650 * DAY);
    world.pass(DAY);
    (world.ca, world.clock_is_ahead) = (Ca::Good, Duration::ZERO);
    world.pass(61 * DAY);
    assert!(world.held("a.example").contains(world.now) && world.machine.ca().away().is_none());
}

#[test]
fn short_lives_are_renewed_in_time_and_the_shortest_not_in_a_loop() {
    let mut world = World::new(&["a.example"], 6 * DAY);
    world.pass(60 * DAY);
    assert!((14..=18).contains(&world.hours_of("a.example").len()), "{:?}", world.hours_of("a.example"));
    let mut world = World::new(&["a.example"], Duration::from_secs(10));
    world.pass(HOUR);
    assert!(world.orders.len() <= 61, "{}", world.orders.len());
}

#[test]
fn names_come_and_go_with_the_routes() {
    let mut machine = Renewals::new(Jitter::seeded(1));
    let on = |machine: &mut Renewals, event| machine.on(event, days(0));
    let actions = on(&mut machine, Event::Routes(routes(&["a.example", "*.b.example", "*"])));
    assert_eq!(actions, [Action::Load(name("a.example")), Action::Load(name("*.b.example"))]);
    let found = Event::Found { name: name("a.example"), lifetime: None, tried: None };
    let order = Action::Order { name: name("a.example"), replaces: false, failures: 0, ask: false };
    assert_eq!(on(&mut machine, found), [order]);
    assert_eq!(on(&mut machine, Event::Demanded(name("x.example"))), [Action::Load(name("x.example"))]);
    assert_eq!(on(&mut machine, Event::Demanded(name("x.example"))), [], "one order a name");
    // `*` is gone, and with it what it had allowed.
    let actions = on(&mut machine, Event::Routes(routes(&["a.example"])));
    assert_eq!(actions, [Action::Forget(name("x.example")), Action::Forget(name("*.b.example"))]);
    // What ends for a name that is gone changes nothing.
    let late = Event::Issued { name: name("x.example"), lifetime: lifetime(days(0), DAY) };
    assert_eq!(on(&mut machine, late), []);
    assert_eq!(machine.entries().count(), 1);
}

#[test]
fn a_demanded_name_is_asked_about_again_and_ends_with_its_certificate() {
    let mut machine = Renewals::new(Jitter::seeded(1));
    let x = name("x.example");
    machine.on(Event::Routes(routes(&["*"])), days(0));
    machine.on(Event::Demanded(x.clone()), days(0));
    machine.on(Event::Found { name: x.clone(), lifetime: None, tried: None }, days(0));
    machine.on(Event::Issued { name: x.clone(), lifetime: lifetime(days(0), 90 * DAY) }, days(0));
    machine.on(Event::NoWindow { name: x.clone() }, days(0));
    let actions = machine.on(Event::Tick, days(61));
    assert!(matches!(&actions[..], [Action::AskWindow(_), ..] | [Action::Order { ask: true, .. }]), "{actions:?}");
    machine.on(Event::Denied(x.clone()), days(61));
    assert_eq!(machine.on(Event::Tick, days(89)), []);
    assert!(machine.entry(&x).is_some());
    assert_eq!(machine.on(Event::Tick, days(91)), [Action::Forget(x.clone())]);
    // One that has none yet is forgotten when its order fails: whoever wants it asks again.
    machine.on(Event::Demanded(x.clone()), days(91));
    machine.on(Event::Found { name: x.clone(), lifetime: None, tried: None }, days(91));
    machine.on(Event::Failed { name: x.clone(), failure: Failure::new(FailureKind::Refused, "no") }, days(91));
    assert!(machine.entry(&x).is_none());
}

#[test]
fn the_machine_sleeps_until_something_is_due() {
    let mut machine = Renewals::new(Jitter::seeded(1));
    assert_eq!(machine.next(), None);
    machine.on(Event::Routes(routes(&["a.example"])), days(0));
    assert_eq!(machine.next(), None, "the disk is being read");
    let held = lifetime(days(0), 90 * DAY);
    machine.on(Event::Found { name: name("a.example"), lifetime: Some(held), tried: None }, days(0));
    assert!((days(52)..=days(60)).contains(&machine.next().unwrap()), "the CA is being asked for its suggestion");
    machine.on(Event::NoWindow { name: name("a.example") }, days(0));
    assert_eq!(machine.next(), Some(days(0) + 6 * HOUR));
    let names: BTreeSet<String> = machine.entries().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names.len(), 1);
}
