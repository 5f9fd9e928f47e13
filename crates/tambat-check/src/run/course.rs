//! The course of a check: which start shows which clauses, and what may happen at the same time.
//!
//! The first start is alone, so that its boot is its own. If a second one then works beside it, starts do not disturb each
//! other, and what is left to see is seen at the same time; else one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tambat_model::{ClauseId, Protocol, Recognised};
use tambat_os::Spawner;
use tokio::time::Instant;

use super::boot::{Patience, boot};
use super::recorder::Recorders;
use super::shows::{FirstSeen, Up, as_user, facts, first_shows, harass, held, while_away};
use super::stage::{How, Stage};
use super::staged::Staged;
use super::{Goal, Subject, load, stop};
use crate::observed::{
    Asked, Away, Beside, Boot, Facts, Look, Observed, Rude, Start, Taken, Transport, Unseen, UserStart,
};
use crate::text::list;

/// Where others reach it: PB-04.
const OPEN_HOST: &str = "0.0.0.0";

/// Looks at one process.
pub(super) async fn run(subject: &Subject, goal: &Goal, spawner: &Spawner, tell: &dyn Fn(&str)) -> Observed {
    let Some(mut stage) = Stage::new(subject, goal.limits, spawner) else {
        return Observed::nothing(asked_of_nobody(subject, goal));
    };
    let mut observed = Observed::nothing(asked(&stage));
    observed.declared.clone_from(&subject.declared);
    let recorders = Recorders::open(&subject.providers, &stage.keepers).await.ok();
    stage.handles = recorders.as_ref().map(Recorders::handles).unwrap_or_default();
    let mut course = Course { stage: &stage, goal, tell, observed, dialled: BTreeSet::new() };
    Box::pin(course.run()).await;
    stage.clear().await;
    let Course { mut observed, dialled, .. } = course;
    observed.services = match recorders {
        _ if subject.providers.is_empty() => Err(no_service(subject, &observed, &dialled)),
        Some(recorders) => Ok(recorders.services(&dialled)),
        None => Err(Unseen::because("no port could be held for a recorder")),
    };
    observed
}

/// Nothing that is started here stands behind a handle of it. What it dials without any handle is named: in `uses`, it
/// would be judged.
fn no_service(subject: &Subject, observed: &Observed, dialled: &BTreeSet<SocketAddr>) -> Unseen {
    let why = "it uses no backing service that is started here";
    let is_own = |addr: &&SocketAddr| {
        let mut listeners = observed.first.iter().flat_map(|start| &start.listeners);
        listeners.any(|listener| listener.addr.port() == addr.port())
    };
    let others: Vec<&SocketAddr> = dialled.iter().filter(|addr| !is_own(addr)).collect();
    let has_handles = subject.plan.process(&subject.process).is_some_and(|process| !process.uses.is_empty());
    if has_handles || others.is_empty() {
        return Unseen::because(why);
    }
    Unseen::because(format!("{why}, and dialled {}; what `uses` names is judged", list(others)))
}

fn asked(stage: &Stage<'_>) -> Asked {
    let (subject, process) = (stage.subject, stage.process);
    Asked {
        app: subject.plan.name().to_string(),
        process: Some(process.name.to_string()),
        command: tambat_model::redact_all(&process.command),
        recognised: process.recognised.clone(),
        protocol: subject.protocol,
        stateful: process.stateful,
        any_owner: process.any_owner,
        restart: process.restart,
        boot: stage.limits.boot,
        grace: stage.limits.grace,
        signal: stage.signal().name().to_owned(),
        is_running: false,
    }
}

fn asked_of_nobody(subject: &Subject, goal: &Goal) -> Asked {
    Asked {
        app: subject.plan.name().to_string(),
        process: Some(subject.process.to_string()),
        command: String::new(),
        recognised: Recognised::default(),
        protocol: None,
        stateful: false,
        any_owner: false,
        restart: tambat_model::Restart::default(),
        boot: goal.limits.boot,
        grace: goal.limits.grace,
        signal: "TERM".to_owned(),
        is_running: false,
    }
}

struct Course<'a> {
    stage: &'a Stage<'a>,
    goal: &'a Goal,
    tell: &'a dyn Fn(&str),
    observed: Observed,
    /// The addresses to which processes of the app were connected.
    dialled: BTreeSet<SocketAddr>,
}

impl Course<'_> {
    fn wants(&self, numbers: &[u8]) -> bool {
        self.goal.selection.has_any(numbers)
    }

    async fn run(&mut self) {
        (self.tell)("starting it");
        let began = Instant::now();
        let first = self.attempt(&How::default()).await;
        self.spent(&[1, 2, 5, 6], began);
        match first {
            Err(cause) => self.observed.first = Err(Unseen::because(cause)),
            Ok((start, Err(staged))) => self.down(start, staged, "it did not come to listen on its PORT").await,
            Ok((start, Ok(up))) if self.observed.asked.protocol == Some(Protocol::Udp) => {
                self.down(start, up.staged, "it takes datagrams, and there are no connections to it").await;
            }
            Ok((start, Ok(up))) => Box::pin(self.up(start, up)).await,
        }
    }

    /// Starts it and waits until it listens. What ends early, or finds its port taken, is started once more on another
    /// port: somebody else may have wanted the first one.
    async fn attempt(&self, how: &How<'_>) -> Result<(Start, Result<Up, Staged>), String> {
        self.attempt_with(how, &self.stage.patience(self.goal.limits.boot)).await
    }

    async fn attempt_with(
        &self,
        how: &How<'_>,
        patience: &Patience<'_>,
    ) -> Result<(Start, Result<Up, Staged>), String> {
        let (mut start, mut outcome) = self.attempt_once(how, patience).await?;
        if matches!(start.boot, Boot::Ended { .. } | Boot::Foreign(_)) {
            if let Err(staged) = &mut outcome {
                staged.kill().await;
            }
            (start, outcome) = self.attempt_once(how, patience).await?;
        }
        Ok((start, outcome))
    }

    async fn attempt_once(
        &self,
        how: &How<'_>,
        patience: &Patience<'_>,
    ) -> Result<(Start, Result<Up, Staged>), String> {
        let mut staged = self.stage.start(how)?;
        let (start, booted) = boot(&mut staged, patience).await;
        Ok((
            start,
            match booted {
                Some(booted) => Ok(Up { staged, booted }),
                None => Err(staged),
            },
        ))
    }

    /// Nothing can be asked of it by connections: `why`. Does it stop when told, and where it does not listen on its
    /// `PORT`, does it listen where it did at the next start?
    async fn down(&mut self, start: Start, mut staged: Staged, why: &'static str) {
        let is_bound = start.bound().is_some();
        let elsewhere: Vec<u16> =
            start.elsewhere().map(|listener| listener.addr.port()).filter(|_| !is_bound).collect();
        let unseen = || Unseen::because(why);
        if staged.is_over() {
            self.observed.stop = Err(Unseen::because("it ended by itself"));
        } else if self.wants(&[11, 14]) {
            (self.tell)("PB-11: telling it to stop");
            let began = Instant::now();
            self.observed.stop = Ok(stop::stop(&mut staged, self.stage.stop_spec(), &start.listeners).await);
            self.spent(&[11, 14], began);
        } else {
            staged.kill().await;
        }
        drop(staged);
        self.observed.second = Err(unseen());
        if !elsewhere.is_empty() && self.wants(&[2, 3]) {
            (self.tell)("PB-03: starting it with another PORT");
            let began = Instant::now();
            let patience = Patience { enough: &elsewhere, ..self.stage.patience(self.goal.limits.boot) };
            if let Ok((second, outcome)) = self.attempt_once(&How::default(), &patience).await {
                self.observed.second = Ok(second);
                let mut staged = outcome.map_or_else(|staged| staged, |up| up.staged);
                staged.end(self.stage.signal()).await;
            }
            self.spent(&[3], began);
        }
        let observed = &mut self.observed;
        observed.first = Ok(start);
        observed.open = Err(unseen());
        observed.beside = Err(unseen());
        observed.idle = Err(unseen());
        observed.rude = Err(unseen());
        observed.in_flight = Err(unseen());
        observed.again = Err(unseen());
        observed.taken = Err(unseen());
        observed.forwarded = Err(unseen());
        observed.user = Err(unseen());
        observed.away = Err(unseen());
    }

    async fn up(&mut self, start: Start, first: Up) {
        let usual: BTreeSet<u16> =
            start.elsewhere().filter(|l| l.transport == Transport::Tcp).map(|l| l.addr.port()).collect();
        self.observed.facts = facts(&start, &first);
        let start_port = [start.port];
        let second = if self.observed.asked.stateful { None } else { self.beside(&first).await };
        let (stage, goal, tell) = (self.stage, self.goal, self.tell);
        let of_first = first_shows(stage, goal, tell, first);
        let of_taken = held(stage, goal, tell, &usual);
        let of_user = as_user(stage, goal, tell);
        let of_away = while_away(stage, goal, tell);
        if second.is_some() {
            let of_second = harass(stage, goal, tell, second);
            let (one, two, three, four, five) = tokio::join!(of_first, of_second, of_taken, of_user, of_away);
            self.take_first(start, one);
            self.take_rude(two);
            self.take_others(three, five, four);
        } else {
            let one = of_first.await;
            self.take_first(start, one);
            let second = self.alone(start_port).await;
            let disobeys = self.observed.second.as_ref().is_ok_and(|second| disobeys(second, &start_port));
            let rude = harass(stage, goal, tell, second).await;
            self.take_rude(rude);
            if disobeys {
                // Every further start would say the same.
                let why = || Unseen::because("it does not listen on another PORT: PB-03 has that");
                let none = Duration::ZERO;
                return self.take_others((Err(why()), none), (Err(why()), none), (Err(why()), none));
            }
            let (taken, away) = (of_taken.await, of_away.await);
            let user = of_user.await;
            self.take_others(taken, away, user);
        }
    }

    /// A second one while the first one runs, told to listen where others reach it.
    async fn beside(&mut self, first: &Up) -> Option<Up> {
        if !self.wants(&[3, 4, 8, 10]) {
            return None;
        }
        (self.tell)("PB-10: starting a second one beside it");
        let began = Instant::now();
        let attempt = self.attempt(&How { host: Some(OPEN_HOST), ..How::default() }).await;
        let (mut second, mut outcome) = attempt.ok()?;
        self.observed.open = Ok(second.clone());
        if let Err(staged) = &mut outcome {
            // Perhaps HOST means something else to it.
            staged.kill().await;
            (second, outcome) = self.attempt(&How::default()).await.ok()?;
        }
        let first_answers = first.booted.request.ask(first.booted.addr, load::ANSWER_LIMIT).await;
        let first_answers = match first_answers {
            Err(_) if first.staged.command_ended() => Err("it has ended".to_owned()),
            other => other,
        };
        self.spent(&[3, 4, 10], began);
        self.observed.beside = Ok(Beside { second: second.clone(), first_answers, alone: None });
        match outcome {
            Ok(up) => {
                self.observed.second = Ok(second);
                Some(up)
            }
            Err(mut staged) => {
                staged.kill().await;
                None
            }
        }
    }

    /// The second one, when the first one is gone.
    async fn alone(&mut self, first_port: [u16; 1]) -> Option<Up> {
        if !self.wants(&[3, 4, 8, 10]) {
            return None;
        }
        (self.tell)("PB-03: starting it with another PORT");
        let began = Instant::now();
        let patience = Patience { enough: &first_port, ..self.stage.patience(self.goal.limits.boot) };
        let open = How { host: Some(OPEN_HOST), ..How::default() };
        let (mut second, mut outcome) = self.attempt_with(&open, &patience).await.ok()?;
        self.observed.open = Ok(second.clone());
        if let Err(staged) = &mut outcome
            && !disobeys(&second, &first_port)
        {
            // Perhaps HOST means something else to it.
            staged.kill().await;
            (second, outcome) = self.attempt_with(&How::default(), &patience).await.ok()?;
        }
        if let Ok(beside) = &mut self.observed.beside {
            beside.alone = Some(second.clone());
        }
        self.observed.second = Ok(second);
        self.spent(&[3, 4], began);
        match outcome {
            Ok(up) => Some(up),
            Err(mut staged) => {
                staged.kill().await;
                None
            }
        }
    }

    fn take_first(&mut self, start: Start, seen: FirstSeen) {
        let observed = &mut self.observed;
        // What it opened later counts, too.
        observed.first = Ok(Start { listeners: seen.listeners, hidden: seen.hidden, ..start });
        (observed.forwarded, observed.idle) = (seen.forwarded, seen.idle);
        (observed.stop, observed.in_flight, observed.again) = (seen.stop, seen.in_flight, seen.again);
        observed.facts = Facts {
            memory_at_rest: seen.facts.memory_at_rest,
            memory_after: seen.facts.memory_after,
            requests: seen.facts.requests,
            processes: seen.facts.processes,
            stop: observed.stop.as_ref().ok().filter(|stop| !stop.killed).map(|stop| stop.took),
            ..std::mem::take(&mut observed.facts)
        };
        self.dialled.extend(seen.dialled);
        for (number, took) in seen.spent {
            add(&mut observed.spent, number, took);
        }
    }

    fn take_rude(&mut self, (rude, took): (Look<Vec<Rude>>, Duration)) {
        self.observed.rude = rude;
        self.observed.spent.insert(ClauseId::RUDE_CLIENTS, took);
    }

    fn take_others(
        &mut self,
        (taken, took_taken): (Look<Taken>, Duration),
        (away, took_away): (Look<Away>, Duration),
        (user, took_user): (Look<UserStart>, Duration),
    ) {
        (self.observed.taken, self.observed.user, self.observed.away) = (taken, user, away);
        for (number, took) in [(9, took_taken), (17, took_user), (18, took_away)] {
            add(&mut self.observed.spent, number, took);
        }
    }

    fn spent(&mut self, numbers: &[u8], since: Instant) {
        for number in numbers {
            add(&mut self.observed.spent, *number, since.elapsed());
        }
    }
}

fn add(spent: &mut BTreeMap<ClauseId, Duration>, number: u8, took: Duration) {
    if let Some(id) = ClauseId::new(number) {
        *spent.entry(id).or_default() += took;
    }
}

/// It listens where it did at another start.
fn disobeys(start: &Start, ports: &[u16]) -> bool {
    start.bound().is_none() && start.elsewhere().any(|listener| ports.contains(&listener.addr.port()))
}
