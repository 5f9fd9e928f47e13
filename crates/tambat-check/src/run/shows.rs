//! What each start shows, from the time when it listens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::boot::{Booted, boot};
use super::http::{Connection, get};
use super::stage::{How, Stage};
use super::staged::Staged;
use super::{Goal, away, forwarded, load, rude, stop, taken, user};
use crate::observed::{
    Again, Away, Facts, Forwarded, InFlight, Kept, Listener, Look, Reply, Rude, Start, Stop, Taken, Talk, Unseen,
    UserStart,
};

/// A page that makes an app dial its backing services may take so long.
const PAGE_LIMIT: Duration = Duration::from_secs(10);

/// Somebody else who only looks whether a port is free has it for a moment.
const BIND_PATIENCE: Duration = Duration::from_millis(500);

/// How often it is bound in that time.
const BIND_INTERVAL: Duration = Duration::from_millis(20);

/// A start that listens and is asked.
pub(super) struct Up {
    pub(super) staged: Staged,
    pub(super) booted: Booted,
}

/// What the first start shows.
pub(super) struct FirstSeen {
    pub(super) forwarded: Look<Forwarded>,
    pub(super) idle: Look<Reply>,
    pub(super) stop: Look<Stop>,
    pub(super) in_flight: Look<InFlight>,
    pub(super) again: Look<Again>,
    pub(super) listeners: Vec<Listener>,
    pub(super) hidden: Vec<i32>,
    pub(super) facts: Facts,
    pub(super) dialled: BTreeSet<SocketAddr>,
    pub(super) spent: Vec<(u8, Duration)>,
}

/// The first facts of a start that listens.
pub(super) fn facts(start: &Start, up: &Up) -> Facts {
    let bound = start.bound();
    let spoken = bound.and_then(|bound| bound.talks.first()).map(|(_, talk)| talk);
    let (protocol, boot) = match spoken {
        Some(Talk::Speaks { protocol, after, .. }) => (Some(protocol.clone()), Some(*after)),
        Some(Talk::PlainTcp) => (Some("TCP".to_owned()), bound.map(|bound| bound.after)),
        Some(Talk::Datagrams) => (Some("UDP".to_owned()), bound.map(|bound| bound.after)),
        _ => (None, bound.map(|bound| bound.after)),
    };
    let port = up.booted.addr.port();
    let addresses = bound.into_iter().flat_map(|bound| &bound.addrs).map(|ip| (*ip, port).into()).collect();
    Facts { boot, protocol, addresses, ..Facts::default() }
}

/// What is seen of the first start, from its first answer to the start after its end.
pub(super) async fn first_shows(stage: &Stage<'_>, goal: &Goal, tell: &dyn Fn(&str), first: Up) -> FirstSeen {
    let Up { mut staged, booted } = first;
    let wants = |numbers: &[u8]| goal.selection.has_any(numbers);
    let mut spent = Vec::new();
    let mut facts = Facts { memory_at_rest: staged.keeper().and_then(tambat_os::memory_below), ..Facts::default() };

    let began = Instant::now();
    let forwarded = by_public_name(goal, tell, &booted).await;
    spent.push((16, began.elapsed()));

    visit(goal, &booted).await;
    if wants(&[5, 6, 7]) && booted.request.is_known() {
        tell("asking it a thousand times");
        facts.requests = Some(load::requests(&booted.request, booted.addr, "/").await);
        facts.memory_after = staged.keeper().and_then(tambat_os::memory_below);
    }

    let began = Instant::now();
    let idle = if wants(&[7]) {
        tell("PB-07: asking beside 50 silent connections");
        load::idle(&booted.request, booted.addr).await
    } else {
        left_out()
    };
    spent.push((7, began.elapsed()));

    staged.look();
    let sightings = staged.sightings();
    facts.processes = Some(sightings.processes);
    let listeners = sightings.listeners();

    let began = Instant::now();
    let (stop, in_flight) = end_first(stage, goal, tell, &mut staged, &booted, &listeners).await;
    spent.extend([11, 12, 14].map(|number| (number, began.elapsed())));

    let began = Instant::now();
    let port = booted.addr.port();
    let again = if wants(&[13]) { start_again(stage, tell, port).await } else { left_out() };
    spent.push((13, began.elapsed()));

    let (dialled, hidden) = (sightings.dialled, sightings.hidden.into_iter().collect());
    FirstSeen { forwarded, idle, stop, in_flight, again, listeners, hidden, facts, dialled, spent }
}

async fn by_public_name(goal: &Goal, tell: &dyn Fn(&str), booted: &Booted) -> Look<Forwarded> {
    if !goal.selection.has_any(&[16]) {
        return left_out();
    }
    let is_http2 = booted.request.is_http2();
    if !booted.request.is_http() && !is_http2 {
        return Err(Unseen::because("it does not speak HTTP"));
    }
    tell("PB-16: asking by a public name");
    let paths: Vec<&str> = ["/"].into_iter().chain(goal.path.as_deref()).collect();
    forwarded::ask(booted.addr, &paths, is_http2).await
}

/// The page that makes it dial its backing services.
async fn visit(goal: &Goal, booted: &Booted) {
    let Some(path) = goal.path.as_deref().filter(|_| booted.request.is_http()) else { return };
    let visit = async {
        let mut connection = Connection::open(booted.addr).await.ok()?;
        let host = format!("localhost:{}", booted.addr.port());
        connection.send(&get(path, &host, "Connection: close\r\n")).await.ok()?;
        connection.answer().await.ok()
    };
    // What it answers is its own affair.
    let _ = timeout(PAGE_LIMIT, visit).await;
}

/// Tells it to stop, where that is wanted with a request under way.
async fn end_first(
    stage: &Stage<'_>,
    goal: &Goal,
    tell: &dyn Fn(&str),
    staged: &mut Staged,
    booted: &Booted,
    listeners: &[Listener],
) -> (Look<Stop>, Look<InFlight>) {
    if staged.command_ended() {
        let why = || Unseen::because("it ended by itself before it was told to stop");
        staged.kill().await;
        return (Err(why()), Err(why()));
    }
    let under_way = if !goal.selection.has_any(&[12]) {
        left_out()
    } else if !booted.request.is_http() && !booted.request.is_http2() {
        Err(Unseen::because("it does not speak HTTP"))
    } else {
        tell("PB-12: telling it to stop in the middle of a request");
        stop::begin(booted.addr, goal.slow.as_deref(), booted.request.is_http2()).await
    };
    if !goal.selection.has_any(&[11, 12, 14]) {
        staged.end(stage.signal()).await;
        return (left_out(), left_out());
    }
    tell("PB-11: telling it to stop");
    let stopped = stop::stop(staged, stage.stop_spec(), listeners);
    match under_way {
        Ok(Ok(under_way)) => {
            let (stop, in_flight) = tokio::join!(stopped, under_way.finish(stage.limits.grace));
            (Ok(stop), in_flight)
        }
        Ok(Err(early)) => (Ok(stopped.await), Ok(early)),
        Err(unseen) => (Ok(stopped.await), Err(unseen)),
    }
}

/// On the port that it has just left. What fails is tried once more: whoever looks whether a port is free has it for a
/// moment, and what lingers in the kernel lingers for a minute.
async fn start_again(stage: &Stage<'_>, tell: &dyn Fn(&str), port: u16) -> Look<Again> {
    tell("PB-13: starting it again on the same port");
    let bind = bind(port).await;
    let how = How { port: Some(port), ..How::default() };
    let mut tries = 0;
    loop {
        let mut staged = stage.start(&how).map_err(Unseen::because)?;
        let (start, _) = boot(&mut staged, &stage.patience(stage.limits.boot)).await;
        staged.end(stage.signal()).await;
        tries += 1;
        if start.bound().is_some() || tries > 1 {
            return Ok(Again { bind, start });
        }
    }
}

async fn bind(port: u16) -> Result<(), Kept> {
    let deadline = Instant::now() + BIND_PATIENCE;
    loop {
        match tambat_os::ports::bind_service(port, &[std::net::Ipv4Addr::UNSPECIFIED.into()], &[]) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(kept(port, &error)),
            Err(_) => sleep(BIND_INTERVAL).await,
        }
    }
}

fn kept(port: u16, error: &std::io::Error) -> Kept {
    match tambat_os::holder_of(port) {
        _ if error.kind() != std::io::ErrorKind::AddrInUse => Kept::Other(error.to_string()),
        Some(tambat_os::Holder::Known(info)) => Kept::By(format!("{} (pid {})", info.name, info.pid)),
        Some(tambat_os::Holder::Unreadable { uid }) => Kept::By(format!("a process of user {uid}")),
        None => Kept::Lingering,
    }
}

/// Rude clients for a second start, which ends with them.
pub(super) async fn harass(
    stage: &Stage<'_>,
    goal: &Goal,
    tell: &dyn Fn(&str),
    second: Option<Up>,
) -> (Look<Vec<Rude>>, Duration) {
    let began = Instant::now();
    let Some(Up { mut staged, booted }) = second else {
        return (Err(Unseen::because("a second start did not come to listen on its PORT")), Duration::ZERO);
    };
    let rude = if goal.selection.has_any(&[8]) {
        tell("PB-08: sending rude clients");
        Ok(rude::harass(Some(&mut staged), &booted.request, booted.addr).await)
    } else {
        left_out()
    };
    let took = began.elapsed();
    staged.end(stage.signal()).await;
    (rude, took)
}

pub(super) async fn held(
    stage: &Stage<'_>,
    goal: &Goal,
    tell: &dyn Fn(&str),
    usual: &BTreeSet<u16>,
) -> (Look<Taken>, Duration) {
    let began = Instant::now();
    if !goal.selection.has_any(&[9]) {
        return (left_out(), Duration::ZERO);
    }
    tell("PB-09: starting it on a port that is taken");
    let taken = taken::start(stage, usual).await;
    (taken, began.elapsed())
}

pub(super) async fn as_user(stage: &Stage<'_>, goal: &Goal, tell: &dyn Fn(&str)) -> (Look<UserStart>, Duration) {
    let began = Instant::now();
    if !goal.selection.has_any(&[17]) {
        return (left_out(), Duration::ZERO);
    }
    tell("PB-17: starting it as a user without privileges");
    let user = user::start(stage).await;
    (user, began.elapsed())
}

pub(super) async fn while_away(stage: &Stage<'_>, goal: &Goal, tell: &dyn Fn(&str)) -> (Look<Away>, Duration) {
    let began = Instant::now();
    if !goal.selection.has_any(&[18]) {
        return (left_out(), Duration::ZERO);
    }
    tell("PB-18: starting it while what it uses is away");
    let away = away::start(stage).await;
    (away, began.elapsed())
}

fn left_out<T>() -> Look<T> {
    Err(Unseen::because("nobody asked for it"))
}
