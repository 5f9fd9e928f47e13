use std::fmt::Write;

use tambat_model::{Elsewhere, Endpoint, Recognised};

use super::*;
use crate::exit::How;
use crate::sight::Stranger;

const NOW: Moment = Moment::after(Duration::from_secs(100));
const EARLIER: Moment = Moment::after(Duration::from_secs(90));
const PID: i32 = 7;

fn exporter() -> Rules {
    Rules {
        readiness: Readiness::Protocol(Duration::from_secs(10)),
        restart: Restart::OnFailure,
        drain: Duration::from_secs(2),
        replaces: false,
        recognised: Recognised::default(),
    }
}

fn worker() -> Rules {
    Rules { readiness: Readiness::AtOnce, ..exporter() }
}

fn instance(rules: Rules) -> Instance {
    let name = InstanceName { process: "web".parse().unwrap(), number: 1.try_into().unwrap() };
    Instance::new(name, rules)
}

fn in_state(rules: Rules, state: State) -> Instance {
    Instance { state, ..instance(rules) }
}

fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint { port: None, addr: "127.0.0.1:20000".parse().unwrap(), exposed: None }]
}

fn answered() -> Event {
    Event::Seen(Sight::Ready { endpoints: endpoints(), unreadable: false })
}

fn exit(how: How) -> Exit {
    Exit { how, left_behind: Vec::new(), killed: false, last_lines: Vec::new() }
}

fn exited(code: u8) -> Event {
    Event::Exited(exit(How::Code(code)))
}

fn elsewhere() -> Vec<Elsewhere> {
    vec![Elsewhere { program: "node".to_owned(), pid: PID, port: 3000 }]
}

/// Every event; the first word of those that have several forms is followed by which.
fn events() -> Vec<(&'static str, Event)> {
    let seen = Event::Seen;
    let stranger = Stranger { port: 20_000, who: Some(("nc".to_owned(), 99)) };
    vec![
        ("start", Event::Start),
        ("spawned", Event::Spawned { pid: PID }),
        ("not spawned", Event::NotSpawned { cause: "no".into() }),
        ("seen nobody", seen(Sight::NOTHING)),
        ("seen elsewhere", seen(Sight::Nobody { elsewhere: elsewhere() })),
        ("seen nothing", seen(Sight::Unseen("blind".to_owned()))),
        ("seen stranger", seen(Sight::Stranger(stranger))),
        ("seen not yet", seen(Sight::NotYet("503".to_owned()))),
        ("seen wrong", seen(Sight::Wrong("SSH".to_owned()))),
        ("seen ready", answered()),
        ("seen unreadable", seen(Sight::Ready { endpoints: endpoints(), unreadable: true })),
        ("exited 0", exited(0)),
        ("exited 1", exited(1)),
        ("exited killed", Event::Exited(Exit { killed: true, ..exit(How::Signal(9, "KILL".to_owned())) })),
        ("refused", Event::Refused),
        ("drained", Event::Drained),
        ("elapsed", Event::Elapsed),
        ("stop", Event::Stop),
        ("retire", Event::Retire),
        ("restart", Event::Restart),
        ("kill", Event::Kill),
    ]
}

fn binding(turn: Turn) -> State {
    State::Binding { pid: PID, since: EARLIER, seen: Sight::NOTHING, turn }
}

fn ready(endpoints: Vec<Endpoint>) -> State {
    State::Ready { pid: PID, endpoints, after: Duration::from_secs(1) }
}

fn stopping(then: Then) -> State {
    State::Stopping { pid: Some(PID), then, killed: false }
}

/// Every state, at the very moment at which its time is up.
fn states() -> Vec<State> {
    let cause: Cause = "bad".into();
    vec![
        State::Stopped,
        State::Spawning { since: EARLIER },
        binding(Turn::Boot),
        binding(Turn::Reload),
        binding(Turn::Overdue),
        ready(endpoints()),
        State::Draining { pid: PID, until: NOW, then: Then::Leave, is_cut: false },
        State::Draining { pid: PID, until: NOW, then: Then::Leave, is_cut: true },
        stopping(Then::Stay),
        stopping(Then::Leave),
        stopping(Then::Start),
        stopping(Then::Fail { cause: cause.clone(), code: 3 }),
        State::Stopping { pid: None, then: Then::Stay, killed: true },
        State::Backoff { until: NOW, cause: cause.clone(), code: 3 },
        State::Failed { cause: cause.clone(), code: 3 },
        State::Ended { cause, code: 0 },
        State::Gone,
    ]
}

fn describe(state: &State) -> String {
    let after = |at: Moment| format!("{:?}", at - NOW);
    match state {
        State::Spawning { since } if *since == NOW => "SPAWNING anew".to_owned(),
        State::Spawning { .. } => "SPAWNING".to_owned(),
        State::Binding { seen, turn, .. } if *seen == Sight::NOTHING => format!("BINDING {turn:?}"),
        State::Binding { seen, turn, .. } => {
            let text = format!("{seen:?}");
            format!("BINDING {turn:?} ({})", text.split([' ', '(']).next().unwrap())
        }
        State::Ready { endpoints, after, .. } => format!("READY at {} after {after:?}", endpoints.len()),
        State::Draining { until, then, is_cut, .. } => {
            format!("DRAINING{} for {}, then {then:?}", if *is_cut { " by cuts" } else { "" }, after(*until))
        }
        State::Stopping { pid, then, killed } => {
            let then = match then {
                Then::Fail { cause, code } => format!("Fail {code} {cause:.40}"),
                then => format!("{then:?}"),
            };
            let pid = if pid.is_some() { "" } else { " unborn" };
            let killed = if *killed { " by force" } else { "" };
            format!("STOPPING{pid}{killed}, then {then}")
        }
        State::Backoff { until, code, .. } => format!("BACKOFF for {} ({code})", after(*until)),
        State::Failed { code, .. } => format!("FAILED ({code})"),
        State::Ended { code, .. } => format!("ENDED ({code})"),
        State::Stopped => "STOPPED".to_owned(),
        State::Gone => "GONE".to_owned(),
    }
}

fn describe_action(action: &Action) -> String {
    match action {
        Action::Tell(News::StopEnded(exit)) => format!("tell StopEnded{}", if exit.killed { " killed" } else { "" }),
        Action::Tell(news) => {
            let text = format!("{news:?}");
            format!("tell {}", text.split([' ', '(']).next().unwrap())
        }
        action => format!("{action:?}").to_lowercase(),
    }
}

/// What follows from each event in each state. An event that changes nothing and asks for nothing is not in the list.
fn table(rules: &Rules, states: Vec<State>) -> String {
    let mut table = String::new();
    for state in states {
        let _ = writeln!(table, "{}", describe(&state));
        for (name, event) in events() {
            let mut instance = in_state(rules.clone(), state.clone());
            let actions: Vec<String> = instance.on(event, NOW).iter().map(describe_action).collect();
            if instance.state != state || !actions.is_empty() {
                let to = if instance.state == state { "-".to_owned() } else { describe(&instance.state) };
                let _ =
                    writeln!(table, "    {}", format!("{name}: {to}; {}", actions.join(", ")).trim_end_matches("; "));
            }
        }
    }
    table
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table is the test")]
fn what_follows_from_each_event_in_each_state() {
    insta::assert_snapshot!(table(&exporter(), states()), @"
    STOPPED
        start: SPAWNING anew; spawn
        retire: GONE
        restart: SPAWNING anew; spawn
    SPAWNING
        spawned: BINDING Boot; tell Started
        not spawned: BACKOFF for 250ms (127); tell Again
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        stop: STOPPING unborn, then Stay; stop
        retire: STOPPING unborn, then Leave; stop
        restart: STOPPING unborn, then Start; stop
        kill: STOPPING unborn by force, then Stay; kill
    BINDING Boot
        seen elsewhere: BINDING Boot (Nobody); tell Trouble
        seen nothing: BINDING Boot (Unseen); tell Trouble
        seen stranger: STOPPING by force, then Fail 1 on web.1's PORT 20000 listens nc (pid 99; tell Trouble, kill
        seen not yet: BINDING Boot (NotYet)
        seen wrong: BINDING Boot (Wrong); tell Trouble
        seen ready: READY at 1 after 10s; tell Ready
        seen unreadable: READY at 1 after 10s; tell OwnerUnreadable, tell Ready
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        elapsed: STOPPING, then Fail 124 web.1 was not ready within 10s: nothing ; tell Trouble, stop
        stop: STOPPING, then Stay; stop
        retire: STOPPING, then Leave; stop
        restart: STOPPING, then Start; stop
        kill: STOPPING by force, then Stay; kill
    BINDING Reload
        seen elsewhere: BINDING Reload (Nobody)
        seen nothing: BINDING Reload (Unseen)
        seen stranger: STOPPING by force, then Fail 1 on web.1's PORT 20000 listens nc (pid 99; tell Trouble, kill
        seen not yet: BINDING Reload (NotYet)
        seen wrong: BINDING Reload (Wrong)
        seen ready: READY at 1 after 10s; tell ReadyAgain
        seen unreadable: READY at 1 after 10s; tell ReadyAgain
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        elapsed: BINDING Overdue; tell Trouble
        stop: STOPPING, then Stay; stop
        retire: STOPPING, then Leave; stop
        restart: STOPPING, then Start; stop
        kill: STOPPING by force, then Stay; kill
    BINDING Overdue
        seen elsewhere: BINDING Overdue (Nobody)
        seen nothing: BINDING Overdue (Unseen)
        seen stranger: STOPPING by force, then Fail 1 on web.1's PORT 20000 listens nc (pid 99; tell Trouble, kill
        seen not yet: BINDING Overdue (NotYet)
        seen wrong: BINDING Overdue (Wrong)
        seen ready: READY at 1 after 10s; tell ReadyAgain
        seen unreadable: READY at 1 after 10s; tell ReadyAgain
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        stop: STOPPING, then Stay; stop
        retire: STOPPING, then Leave; stop
        restart: STOPPING, then Start; stop
        kill: STOPPING by force, then Stay; kill
    READY at 1 after 1s
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        refused: BINDING Reload
        stop: STOPPING, then Stay; stop
        retire: DRAINING for 2s, then Leave
        restart: DRAINING for 2s, then Start
        kill: STOPPING by force, then Stay; kill
    DRAINING for 0ns, then Leave
        exited 0: GONE; tell StopEnded
        exited 1: GONE; tell StopEnded
        exited killed: GONE; tell StopEnded killed
        drained: STOPPING, then Leave; stop
        elapsed: DRAINING by cuts for 500ms, then Leave; cut
        stop: STOPPING, then Leave; stop
        restart: DRAINING for 0ns, then Start
        kill: STOPPING by force, then Leave; kill
    DRAINING by cuts for 0ns, then Leave
        exited 0: GONE; tell StopEnded
        exited 1: GONE; tell StopEnded
        exited killed: GONE; tell StopEnded killed
        drained: STOPPING, then Leave; stop
        elapsed: STOPPING, then Leave; stop
        stop: STOPPING, then Leave; stop
        restart: DRAINING by cuts for 0ns, then Start
        kill: STOPPING by force, then Leave; kill
    STOPPING, then Stay
        start: STOPPING, then Start
        not spawned: STOPPED
        exited 0: STOPPED; tell StopEnded
        exited 1: STOPPED; tell StopEnded
        exited killed: STOPPED; tell StopEnded killed
        retire: STOPPING, then Leave
        restart: STOPPING, then Start
        kill: STOPPING by force, then Stay; kill
    STOPPING, then Leave
        not spawned: GONE
        exited 0: GONE; tell StopEnded
        exited 1: GONE; tell StopEnded
        exited killed: GONE; tell StopEnded killed
        restart: STOPPING, then Start
        kill: STOPPING by force, then Leave; kill
    STOPPING, then Start
        not spawned: SPAWNING anew; spawn
        exited 0: SPAWNING anew; tell StopEnded, spawn
        exited 1: SPAWNING anew; tell StopEnded, spawn
        exited killed: SPAWNING anew; tell StopEnded killed, spawn
        stop: STOPPING, then Stay
        retire: STOPPING, then Leave
        kill: STOPPING by force, then Stay; kill
    STOPPING, then Fail 3 bad
        not spawned: BACKOFF for 250ms (3); tell Again
        exited 0: BACKOFF for 250ms (3); tell StopEnded, tell Again
        exited 1: BACKOFF for 250ms (3); tell StopEnded, tell Again
        exited killed: BACKOFF for 250ms (3); tell StopEnded killed, tell Again
        stop: STOPPING, then Stay
        retire: STOPPING, then Leave
        restart: STOPPING, then Start
        kill: STOPPING by force, then Stay; kill
    STOPPING unborn by force, then Stay
        start: STOPPING unborn by force, then Start
        spawned: STOPPING by force, then Stay; tell Started
        not spawned: STOPPED
        exited 0: STOPPED; tell StopEnded
        exited 1: STOPPED; tell StopEnded
        exited killed: STOPPED; tell StopEnded
        retire: STOPPING unborn by force, then Leave
        restart: STOPPING unborn by force, then Start
        kill: -; kill
    BACKOFF for 0ns (3)
        start: SPAWNING anew; spawn
        elapsed: SPAWNING anew; spawn
        stop: STOPPED
        retire: GONE
        restart: SPAWNING anew; spawn
        kill: STOPPED
    FAILED (3)
        start: SPAWNING anew; spawn
        stop: STOPPED
        retire: GONE
        restart: SPAWNING anew; spawn
        kill: STOPPED
    ENDED (0)
        start: SPAWNING anew; spawn
        stop: STOPPED
        retire: GONE
        restart: SPAWNING anew; spawn
        kill: STOPPED
    GONE
    ");
}

#[test]
fn what_follows_in_the_life_of_a_worker() {
    let states = vec![State::Spawning { since: EARLIER }, ready(Vec::new()), ready(endpoints())];
    insta::assert_snapshot!(table(&worker(), states), @"
    SPAWNING
        spawned: READY at 0 after 10s; tell Started
        not spawned: BACKOFF for 250ms (127); tell Again
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        stop: STOPPING unborn, then Stay; stop
        retire: STOPPING unborn, then Leave; stop
        restart: STOPPING unborn, then Start; stop
        kill: STOPPING unborn by force, then Stay; kill
    READY at 0 after 1s
        seen elsewhere: -; tell WorkerBoundElsewhere
        seen ready: READY at 1 after 1s; tell WorkerBound
        seen unreadable: READY at 1 after 1s; tell WorkerBound
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        stop: STOPPING, then Stay; stop
        retire: STOPPING, then Leave; stop
        restart: STOPPING, then Start; stop
        kill: STOPPING by force, then Stay; kill
    READY at 1 after 1s
        exited 0: ENDED (0); tell Ended
        exited 1: BACKOFF for 250ms (1); tell Again
        exited killed: BACKOFF for 250ms (137); tell Again
        refused: READY at 0 after 1s
        stop: STOPPING, then Stay; stop
        retire: DRAINING for 2s, then Leave
        restart: DRAINING for 2s, then Start
        kill: STOPPING by force, then Stay; kill
    ");
}

#[test]
fn what_follows_in_the_life_of_a_replacement() {
    let rules = Rules { replaces: true, restart: Restart::Always, ..exporter() };
    let fail = Then::Fail { cause: "bad".into(), code: 3 };
    let states = vec![State::Spawning { since: EARLIER }, binding(Turn::Boot), stopping(fail)];
    insta::assert_snapshot!(table(&rules, states), @"
    SPAWNING
        spawned: BINDING Boot; tell Started
        not spawned: FAILED (127); tell NotReplaced
        exited 0: FAILED (0); tell NotReplaced
        exited 1: FAILED (1); tell NotReplaced
        exited killed: FAILED (137); tell NotReplaced
        stop: STOPPING unborn, then Stay; stop
        retire: STOPPING unborn, then Leave; stop
        restart: STOPPING unborn, then Start; stop
        kill: STOPPING unborn by force, then Stay; kill
    BINDING Boot
        seen elsewhere: BINDING Boot (Nobody); tell Trouble
        seen nothing: BINDING Boot (Unseen); tell Trouble
        seen stranger: STOPPING by force, then Fail 1 on web.1's PORT 20000 listens nc (pid 99; tell Trouble, kill
        seen not yet: BINDING Boot (NotYet)
        seen wrong: BINDING Boot (Wrong); tell Trouble
        seen ready: READY at 1 after 10s; tell Ready
        seen unreadable: READY at 1 after 10s; tell OwnerUnreadable, tell Ready
        exited 0: FAILED (0); tell NotReplaced
        exited 1: FAILED (1); tell NotReplaced
        exited killed: FAILED (137); tell NotReplaced
        elapsed: STOPPING, then Fail 124 web.1 was not ready within 10s: nothing ; tell Trouble, stop
        stop: STOPPING, then Stay; stop
        retire: STOPPING, then Leave; stop
        restart: STOPPING, then Start; stop
        kill: STOPPING by force, then Stay; kill
    STOPPING, then Fail 3 bad
        not spawned: FAILED (3); tell NotReplaced
        exited 0: FAILED (3); tell StopEnded, tell NotReplaced
        exited 1: FAILED (3); tell StopEnded, tell NotReplaced
        exited killed: FAILED (3); tell StopEnded killed, tell NotReplaced
        stop: STOPPING, then Stay
        retire: STOPPING, then Leave
        restart: STOPPING, then Start
        kill: STOPPING by force, then Stay; kill
    ");
}

fn fails(instance: &mut Instance, at: Moment) -> Vec<Action> {
    let spawned = instance.on(Event::Elapsed, at);
    assert!(spawned.is_empty() || spawned == [Action::Spawn]);
    instance.on(Event::Spawned { pid: PID }, at);
    instance.on(exited(1), at)
}

fn at(seconds: f64) -> Moment {
    Moment::after(Duration::from_secs_f64(seconds))
}

#[test]
fn each_pause_is_twice_as_long_and_the_fifth_failure_is_the_last() {
    let mut web = instance(exporter());
    assert_eq!(web.on(Event::Start, at(0.0)), [Action::Spawn]);
    let mut now = at(0.0);
    for (nth, pause) in [(1, 250), (2, 500), (3, 1_000), (4, 2_000)] {
        let pause = Duration::from_millis(pause);
        let told = fails(&mut web, now);
        assert!(matches!(&told[..], [Action::Tell(News::Again { pause: p, .. })] if *p == pause), "{told:?}");
        assert_eq!(web.deadline(), Some(now + pause));
        assert_eq!(web.on(Event::Elapsed, now + pause.mul_f32(0.99)), [], "not before its time");
        assert_eq!(web.restarts(), nth - 1);
        now = now + pause;
    }
    let told = fails(&mut web, now);
    assert!(matches!(&told[..], [Action::Tell(News::Failed { times: 5, .. })]), "{told:?}");
    assert_eq!((web.restarts(), web.deadline(), web.end_code()), (4, None, Some(1)));
    // Its user tries anew: the count begins again.
    assert_eq!(web.on(Event::Restart, now), [Action::Spawn]);
    assert!(matches!(&fails(&mut web, now)[..], [Action::Tell(News::Again { pause, .. })] if *pause == BACKOFF_FIRST));
}

#[test]
fn failures_of_more_than_a_minute_ago_are_forgotten() {
    let mut web = instance(exporter());
    web.on(Event::Start, at(0.0));
    for nth in 0..20 {
        let told = fails(&mut web, at(f64::from(nth) * 15.1));
        assert!(matches!(&told[..], [Action::Tell(News::Again { .. })]), "{nth}: {told:?}");
    }
    let mut web = instance(exporter());
    web.on(Event::Start, at(0.0));
    let last = (0..5).map(|nth| fails(&mut web, at(f64::from(nth) * 15.0))).last().unwrap();
    assert!(matches!(&last[..], [Action::Tell(News::Failed { times: 5, .. })]), "within it: {last:?}");
}

#[test]
fn what_follows_an_end_is_as_restart_says() {
    let after = |restart, code, ready: bool| {
        let mut web = instance(Rules { restart, ..exporter() });
        web.on(Event::Start, at(0.0));
        web.on(Event::Spawned { pid: PID }, at(0.0));
        if ready {
            web.on(answered(), at(1.0));
        }
        web.on(exited(code), NOW);
        let (State::Backoff { cause, .. } | State::Failed { cause, .. } | State::Ended { cause, .. }) = web.state()
        else {
            panic!("{web:?}")
        };
        format!("{}: {cause}", describe(web.state()))
    };
    let table = [Restart::OnFailure, Restart::Always, Restart::Never]
        .into_iter()
        .flat_map(|restart| [(restart, 0, true), (restart, 1, true), (restart, 0, false)])
        .map(|(restart, code, ready)| format!("{restart:?} {code} -> {}\n", after(restart, code, ready)));
    insta::assert_snapshot!(table.collect::<String>(), @"
    OnFailure 0 -> ENDED (0): web.1 exited with code 0
    OnFailure 1 -> BACKOFF for 250ms (1): web.1 exited with code 1
    OnFailure 0 -> ENDED (0): web.1 exited with code 0 before it was ready; a port-bound process stays in the foreground and serves
    Always 0 -> BACKOFF for 250ms (0): web.1 exited with code 0
    Always 1 -> BACKOFF for 250ms (1): web.1 exited with code 1
    Always 0 -> BACKOFF for 250ms (0): web.1 exited with code 0 before it was ready; a port-bound process stays in the foreground and serves
    Never 0 -> ENDED (0): web.1 exited with code 0
    Never 1 -> ENDED (1): web.1 exited with code 1
    Never 0 -> ENDED (0): web.1 exited with code 0 before it was ready; a port-bound process stays in the foreground and serves
    ");
}

#[test]
fn what_is_not_ready_in_time_is_stopped_and_counts_as_failed() {
    let mut web = instance(exporter());
    web.on(Event::Start, at(0.0));
    web.on(Event::Spawned { pid: PID }, at(1.0));
    assert_eq!(web.deadline(), Some(at(10.0)), "from when it was asked for");
    web.on(Event::Seen(Sight::NotYet("it answers 503".to_owned())), at(2.0));
    assert_eq!(web.on(Event::Elapsed, at(9.9)), []);
    let told = web.on(Event::Elapsed, at(10.0));
    let cause = "web.1 was not ready within 10s: it listens on its PORT and is not ready: it answers 503";
    assert_eq!(told, [Action::Tell(News::Trouble(cause.into())), Action::Stop]);
    assert_eq!(web.deadline(), None, "the keeper sees to the grace");
    let told = web.on(exited(0), at(11.0));
    assert!(matches!(&told[1..], [Action::Tell(News::Again { cause: c, .. })] if **c == *cause), "{told:?}");
    assert_eq!(web.end_code(), Some(CODE_NOT_READY));
}

#[test]
fn a_reloader_may_take_as_long_as_its_user_does() {
    let mut web = in_state(exporter(), ready(endpoints()));
    assert_eq!(web.on(Event::Refused, at(50.0)), []);
    assert_eq!((web.watch(), web.deadline()), (Some(Pace::Reload), Some(at(60.0))));
    let told = web.on(Event::Elapsed, at(60.0));
    assert!(matches!(&told[..], [Action::Tell(News::Trouble(_))]), "told, and let live: {told:?}");
    assert_eq!((web.watch(), web.deadline()), (Some(Pace::Reload), None));
    assert_eq!(web.on(answered(), at(9_000.0)), [Action::Tell(News::ReadyAgain)]);
    assert_eq!(web.watch(), None);
    web.on(Event::Refused, at(9_001.0));
    let told = web.on(exited(1), at(9_002.0));
    assert!(matches!(&told[..], [Action::Tell(News::Again { cause, .. })] if **cause == *"web.1 exited with code 1"));
}

#[test]
fn a_strangers_port_is_told_and_another_one_taken() {
    let mut web = in_state(exporter(), binding(Turn::Boot));
    let stranger = Stranger { port: 20_000, who: Some(("nc".to_owned(), 99)) };
    let told = web.on(Event::Seen(Sight::Stranger(stranger)), NOW);
    assert!(matches!(&told[..], [Action::Tell(News::Trouble(cause)), Action::Kill] if cause.contains("nc (pid 99)")));
    let killed = Exit { killed: true, ..exit(How::Signal(9, "KILL".to_owned())) };
    let told = web.on(Event::Exited(killed), NOW);
    let [Action::Tell(News::StopEnded(end)), Action::Tell(News::Again { .. })] = &told[..] else { panic!("{told:?}") };
    assert!(!end.killed, "it was given no time to stop, so it has not overstayed it");
    assert_eq!(web.on(Event::Elapsed, NOW + BACKOFF_FIRST), [Action::Spawn]);
}

#[test]
fn trouble_on_the_way_is_told_when_it_changes() {
    let mut web = in_state(exporter(), binding(Turn::Boot));
    let wrong = |text: &str| Event::Seen(Sight::Wrong(text.to_owned()));
    let tells = |actions: Vec<Action>| matches!(&actions[..], [Action::Tell(News::Trouble(_))]);
    assert!(tells(web.on(wrong("a"), EARLIER)));
    assert!(!tells(web.on(wrong("a"), EARLIER)));
    assert!(tells(web.on(wrong("b"), EARLIER)));
}

#[test]
fn a_worker_that_listens_is_advised_once_a_run() {
    let mut web = in_state(worker(), ready(Vec::new()));
    let strayed = || Event::Seen(Sight::Nobody { elsewhere: elsewhere() });
    assert_eq!(web.watch(), Some(Pace::Worker));
    assert_eq!(web.on(strayed(), NOW).len(), 1);
    assert_eq!(web.on(strayed(), NOW), []);
    assert_eq!(web.on(answered(), NOW), [Action::Tell(News::WorkerBound)]);
    assert_eq!(web.watch(), None);
    web.on(Event::Refused, NOW);
    assert_eq!(web.watch(), Some(Pace::Worker));
    assert_eq!(web.on(answered(), NOW), []);
    assert!(matches!(web.state(), State::Ready { endpoints, .. } if endpoints.len() == 1));
    web.on(Event::Restart, NOW);
    web.on(exited(0), NOW);
    web.on(Event::Spawned { pid: PID }, NOW);
    assert_eq!(web.on(strayed(), NOW).len(), 1, "another run");
}

#[test]
fn who_is_stopped_while_being_spawned_is_stopped_all_the_same() {
    for (event, order) in [(Event::Stop, Action::Stop), (Event::Kill, Action::Kill), (Event::Retire, Action::Stop)] {
        let mut web = instance(exporter());
        web.on(Event::Start, NOW);
        assert_eq!(web.on(event.clone(), NOW), [order]);
        assert_eq!(web.on(Event::Spawned { pid: PID }, NOW), [Action::Tell(News::Started { pid: PID })]);
        assert_eq!(web.on(answered(), NOW), [], "whatever its ports say");
        web.on(exited(0), NOW);
        let expected = if matches!(event, Event::Retire) { State::Gone } else { State::Stopped };
        assert_eq!(*web.state(), expected);
    }
    let mut web = instance(exporter());
    web.on(Event::Start, NOW);
    web.on(Event::Stop, NOW);
    assert_eq!(web.on(Event::NotSpawned { cause: "no".into() }, NOW), []);
    assert_eq!(*web.state(), State::Stopped);
}

#[test]
fn the_last_word_counts_while_it_stops() {
    let then = |events: &[Event]| {
        let mut web = in_state(exporter(), ready(endpoints()));
        let orders = events.iter().flat_map(|e| web.on(e.clone(), NOW)).filter(|a| *a == Action::Stop).count();
        assert!(orders <= 1, "a second stop signal means `now`");
        web.on(exited(0), NOW);
        web.state().clone()
    };
    let spawning = State::Spawning { since: NOW };
    assert_eq!(then(&[Event::Stop, Event::Start]), spawning);
    assert_eq!(then(&[Event::Restart, Event::Stop]), State::Stopped);
    assert_eq!(then(&[Event::Restart, Event::Kill]), State::Stopped);
    assert_eq!(then(&[Event::Stop, Event::Restart]), spawning);
    assert_eq!(then(&[Event::Stop, Event::Retire]), State::Gone);
    assert_eq!(then(&[Event::Retire, Event::Stop]), State::Gone);
    assert_eq!(then(&[Event::Retire, Event::Kill]), State::Gone);
    assert_eq!(then(&[Event::Retire, Event::Restart]), spawning);
}

#[test]
fn who_drains_is_stopped_with_its_last_connection_or_at_the_limit() {
    let mut web = in_state(exporter(), ready(endpoints()));
    assert_eq!(web.on(Event::Retire, NOW), []);
    assert_eq!(web.deadline(), Some(NOW + Duration::from_secs(2)));
    assert_eq!(web.on(Event::Drained, NOW), [Action::Stop]);
    let mut busy = in_state(exporter(), ready(endpoints()));
    busy.on(Event::Retire, NOW);
    let limit = NOW + Duration::from_secs(2);
    assert_eq!(busy.on(Event::Elapsed, limit), [Action::Cut]);
    assert_eq!(busy.on(Event::Elapsed, limit), []);
    assert_eq!(busy.on(Event::Elapsed, limit + CUT), [Action::Stop]);
}
