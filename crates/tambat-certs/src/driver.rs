//! Keeps a [`Store`](crate::Store) up to date: looks at files, drives the ACME CA, publishes what has changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tambat_model::HostPattern;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::acme::{Desk, Done, Request, Routes};
use crate::files::{FilePair, Pairs};
use crate::moment;
use crate::news::Report;
use crate::store::{Status, Store};
use crate::table::Table;

/// Files are looked at so often, and read when two looks have seen the same: a new certificate is served within ten
/// seconds. A look costs two system calls a pair.
pub const FILES_LOOK_EVERY: Duration = Duration::from_secs(5);

/// However far away the next thing to do is, the clock is looked at so often: it may have been set.
const CLOCK_LOOK_EVERY: Duration = Duration::from_mins(1);

/// The driver of a store.
pub struct Driver {
    pub(crate) store: Arc<Store>,
    pub(crate) pairs: Pairs,
    pub(crate) desk: Option<Desk>,
    pub(crate) names: watch::Receiver<Arc<BTreeSet<HostPattern>>>,
    pub(crate) files: watch::Receiver<Arc<Vec<FilePair>>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) report: Report,
}

/// What there is to do.
enum Wake {
    Names,
    Files,
    Look,
    Request(Request),
    Done(Done),
    Tick,
}

impl Driver {
    /// Works until it is dropped. Needs a tokio runtime with time, I/O and, for a DNS hook, processes; it may be a
    /// current-thread one. Orders that run are given up when it is dropped.
    pub async fn run(mut self) {
        let mut look = interval(FILES_LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What was set before this ran has been seen by nobody.
        self.names.mark_changed();
        loop {
            let pause = self.until_next(SystemTime::now());
            // Requests come last: whoever connects makes as many as they like. Names and files come first: what is asked
            // for depends on them. The store lives as long as this, so that neither ever ends.
            let wake = tokio::select! {
                biased;
                Ok(()) = self.files.changed() => Wake::Files,
                Ok(()) = self.names.changed() => Wake::Names,
                _ = look.tick() => Wake::Look,
                done = done(&mut self.desk) => Wake::Done(done),
                Some(request) = self.requests.recv() => Wake::Request(request),
                () = sleep(pause) => Wake::Tick,
            };
            let now = SystemTime::now();
            self.on(wake, now);
            // A sleep that begins anew at each request would never end.
            if self.until_next(now).is_zero() {
                self.on(Wake::Tick, now);
            }
        }
    }

    /// How long nothing is due by itself.
    fn until_next(&self, now: SystemTime) -> Duration {
        let next = self.desk.as_ref().and_then(Desk::next);
        next.map_or(CLOCK_LOOK_EVERY, |at| moment::since(at, now).min(CLOCK_LOOK_EVERY))
    }

    fn on(&mut self, wake: Wake, now: SystemTime) {
        let mut is_changed = false;
        match wake {
            Wake::Names => self.set_routes(now),
            Wake::Files => {
                let files = self.files.borrow_and_update().to_vec();
                self.pairs.set(files, now).iter().for_each(|news| (self.report)(news));
                self.set_routes(now);
                is_changed = true;
            }
            Wake::Look => {
                let (news, changed) = self.pairs.look(now);
                news.iter().for_each(|news| (self.report)(news));
                is_changed = changed || !news.is_empty();
                if changed {
                    self.set_routes(now);
                }
            }
            Wake::Request(request) => match &mut self.desk {
                Some(desk) => desk.request(request, now),
                None => drop(request),
            },
            Wake::Done(done) => {
                if let Some(desk) = &mut self.desk {
                    desk.on_done(done, now);
                }
            }
            Wake::Tick => {
                if let Some(desk) = &mut self.desk {
                    desk.tick(now);
                }
            }
        }
        let desk_changed = self.desk.as_mut().is_some_and(Desk::take_changed);
        if is_changed || desk_changed {
            self.publish(now);
        }
    }

    /// Tells the desk which names it is to look after: those of the routes that no file has a good certificate for.
    fn set_routes(&mut self, now: SystemTime) {
        let names = Arc::clone(&self.names.borrow_and_update());
        let Some(desk) = &mut self.desk else { return };
        let good: Vec<_> =
            self.pairs.certificates().filter(|certificate| certificate.lifetime().contains(now)).collect();
        let is_covered = |pattern: &HostPattern| {
            good.iter().any(|certificate| match pattern {
                HostPattern::Exact(name) => certificate.covers_name(name),
                _ => certificate.covers().contains(pattern),
            })
        };
        let routes = Routes::new(names.iter(), is_covered, desk.has_hook(), desk.has_asker());
        desk.set_routes(routes, now);
    }

    pub(crate) fn publish(&mut self, now: SystemTime) {
        let acme = self.desk.iter().flat_map(Desk::certificates);
        let table = Table::new(self.pairs.certificates(), acme, now);
        let status = Status {
            files: self.pairs.status(),
            acme: self.desk.as_ref().map(Desk::status).unwrap_or_default(),
            ca: self.desk.as_ref().map(Desk::ca_status),
        };
        self.store.set(table, status);
    }
}

async fn done(desk: &mut Option<Desk>) -> Done {
    match desk {
        Some(desk) => desk.done().await,
        None => std::future::pending().await,
    }
}
