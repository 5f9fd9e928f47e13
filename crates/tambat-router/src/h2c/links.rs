//! A worker's connections of HTTP/2, by target.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_model::{Load, Target};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::link::{Link, Place};
use super::stream::Stream;
use crate::deadlines::{Deadline, Deadlines};
use crate::pool::{AddrHasher, Key, SWEEP_EVERY_S, key};
use crate::stream::dial;

/// So many connections one worker has to one target at most. Beyond that, streams wait on them for their turn, as the
/// target's own limit has it: it has thousands by then.
const LINKS_PER_TARGET_MAX: usize = 32;

/// The connections of one worker.
#[derive(Debug)]
pub(crate) struct Links {
    targets: RefCell<HashMap<Key, ToTarget, BuildHasherDefault<AddrHasher>>>,
    idle_max: Duration,
    sweep: Deadline,
}

/// Those to one target.
#[derive(Debug)]
struct ToTarget {
    /// Of the target that was served last: when it is closed they are of no use any more.
    load: Arc<Load>,
    links: Vec<Rc<Link>>,
    /// The one that is being dialled: whoever needs one meanwhile waits for it, too.
    dial: Option<Rc<Dial>>,
}

/// A connection that is on its way.
#[derive(Debug, Default)]
struct Dial {
    outcome: OnceCell<Result<(), Failure>>,
    done: Notify,
}

/// Why there is none, for everybody who has waited for it.
#[derive(Debug)]
struct Failure {
    kind: io::ErrorKind,
    errno: Option<i32>,
    said: String,
}

impl Links {
    pub(crate) fn new(deadlines: &Rc<Deadlines>, idle_max: Duration) -> Rc<Self> {
        Rc::new(Self { targets: RefCell::default(), idle_max, sweep: deadlines.deadline() })
    }

    /// A stream on a connection that has room for it; none: there is none.
    pub(crate) fn take(&self, target: &Target) -> Option<Stream> {
        let mut targets = self.targets.borrow_mut();
        let to_target = targets.get_mut(&key(target))?;
        to_target.links.retain(|link| link.is_open());
        // The fullest first, so that those which are not needed become idle.
        let link = to_target.links.iter().filter(|link| link.has_room()).max_by_key(|link| link.streams())?;
        Some(Stream::new(Place::on(link)))
    }

    /// The same; a connection is dialled where there is none, within `limit`. Was the connection there before? `anew`: none
    /// that was there will do, as long as another may be had.
    ///
    /// # Errors
    ///
    /// What the system says, `TimedOut`, or `InvalidData` where no HTTP/2 is spoken.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves a connection on its way to whoever needs one next.
    pub(crate) async fn stream(
        self: &Rc<Self>,
        target: &Target,
        limit: Duration,
        anew: bool,
    ) -> io::Result<(Stream, bool)> {
        let mut has_waited = false;
        loop {
            if (has_waited || !anew)
                && let Some(stream) = self.take(target)
            {
                return Ok((stream, !has_waited));
            }
            let Some(dial) = self.dialled(target, limit) else {
                // As many as there may be, and all are full.
                return self.on_the_emptiest(target).map(|stream| (stream, true)).ok_or_else(no_link);
            };
            dial.wait().await?;
            has_waited = true;
        }
    }

    /// The connection that is on its way; it is begun where none is. None: there are as many as there may be.
    fn dialled(self: &Rc<Self>, target: &Target, limit: Duration) -> Option<Rc<Dial>> {
        let mut targets = self.targets.borrow_mut();
        if targets.is_empty() {
            self.sweep.set(Instant::now(), Some(Duration::from_secs(SWEEP_EVERY_S)));
        }
        let load = || Arc::clone(&target.load);
        let fresh = || ToTarget { load: load(), links: Vec::new(), dial: None };
        let to_target = targets.entry(key(target)).or_insert_with(fresh);
        if to_target.load.is_closed() {
            to_target.load = load();
        }
        if let Some(dial) = &to_target.dial {
            return Some(Rc::clone(dial));
        }
        to_target.links.retain(|link| link.is_open());
        if to_target.links.len() >= LINKS_PER_TARGET_MAX {
            return None;
        }
        let dial = to_target.dial.insert(Rc::default());
        spawn_local(Rc::clone(self).dial(key(target), target.addr, limit, load()));
        Some(Rc::clone(dial))
    }

    async fn dial(self: Rc<Self>, key: Key, addr: std::net::SocketAddr, limit: Duration, load: Arc<Load>) {
        let opened = async { Link::open(dial(addr, None, limit).await?, limit).await }.await;
        let mut targets = self.targets.borrow_mut();
        let fresh = || ToTarget { load, links: Vec::new(), dial: None };
        let to_target = targets.entry(key).or_insert_with(fresh);
        let outcome = opened.map(|link| to_target.links.push(link));
        if let Some(dial) = to_target.dial.take() {
            dial.ends(outcome);
        }
    }

    fn on_the_emptiest(&self, target: &Target) -> Option<Stream> {
        let targets = self.targets.borrow();
        let link = targets.get(&key(target))?.links.iter().min_by_key(|link| link.streams())?;
        Some(Stream::new(Place::on(link)))
    }

    /// Closes what is of no use any more, now and then. Never ends.
    pub(crate) async fn run(&self) {
        loop {
            self.sweep.reached().await;
            let now = Instant::now();
            let every = Duration::from_secs(SWEEP_EVERY_S);
            self.sweep.set(now, (!self.sweep(now)).then_some(every));
        }
    }

    /// Lets go of connections to targets that take nothing new any more: each ends with its last stream.
    pub(crate) fn forget_closed(&self) {
        self.targets.borrow_mut().retain(|_, to_target| to_target.dial.is_some() || !to_target.load.is_closed());
    }

    /// Closes those that are idle. Was there any?
    pub(crate) fn clear(&self) -> bool {
        let mut had_idle = false;
        for to_target in self.targets.borrow_mut().values_mut() {
            let before = to_target.links.len();
            to_target.links.retain(|link| link.idle_since().is_none());
            had_idle |= to_target.links.len() < before;
        }
        had_idle
    }

    /// Is nothing left?
    fn sweep(&self, now: Instant) -> bool {
        let mut targets = self.targets.borrow_mut();
        targets.retain(|_, to_target| {
            let is_young = |since: Instant| now.saturating_duration_since(since) < self.idle_max;
            to_target.links.retain(|link| link.is_open() && link.idle_since().is_none_or(is_young));
            to_target.dial.is_some() || (!to_target.links.is_empty() && !to_target.load.is_closed())
        });
        targets.is_empty()
    }
}

fn no_link() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "it has ended its connections of HTTP/2")
}

impl Dial {
    fn ends(&self, outcome: io::Result<()>) {
        let failed =
            |error: io::Error| Failure { kind: error.kind(), errno: error.raw_os_error(), said: error.to_string() };
        // It ends once.
        drop(self.outcome.set(outcome.map_err(failed)));
        self.done.notify_waiters();
    }

    async fn wait(&self) -> io::Result<()> {
        loop {
            let done = self.done.notified();
            match self.outcome.get() {
                Some(Ok(())) => return Ok(()),
                Some(Err(failure)) => return Err(failure.error()),
                None => done.await,
            }
        }
    }
}

impl Failure {
    fn error(&self) -> io::Error {
        self.errno.map_or_else(|| io::Error::new(self.kind, self.said.clone()), io::Error::from_raw_os_error)
    }
}
