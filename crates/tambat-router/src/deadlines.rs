//! The deadlines of one worker's connections: one timer for all of them.
//!
//! Setting a deadline is a store, for it happens several times a request, and hardly any of them is ever reached. What
//! is reached is found by looking at all of them, which happens when the earliest known one has passed, and not twice
//! within [`GRAIN_MS`]: ten thousand of them are looked through in some ten microseconds.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::looks::{LOOK_EVERY_MS, Looks};

/// A deadline is reached at most so much later than it says.
const GRAIN_MS: u64 = 50;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// A deadline that has been reached.
const REACHED: u64 = 0;

/// The deadlines, in milliseconds since some start. Pure.
#[derive(Debug)]
struct Slab {
    at_ms: Vec<u64>,
    free: Vec<usize>,
    /// No deadline is earlier than this.
    earliest_ms: u64,
}

impl Slab {
    fn insert(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.at_ms.push(NEVER);
            self.at_ms.len() - 1
        })
    }

    fn remove(&mut self, index: usize) {
        self.at_ms[index] = NEVER;
        self.free.push(index);
    }

    /// Is it earlier than all others have been?
    fn set(&mut self, index: usize, at_ms: u64) -> bool {
        self.at_ms[index] = at_ms.clamp(REACHED + 1, NEVER);
        let is_earlier = at_ms < self.earliest_ms;
        self.earliest_ms = self.earliest_ms.min(at_ms);
        is_earlier
    }

    /// Marks what has been reached at `now_ms`, and tells of it. Gives when to look again; none: when one is set.
    fn reach(&mut self, now_ms: u64, mut reached: impl FnMut(usize)) -> Option<u64> {
        let mut earliest = NEVER;
        for (index, at_ms) in self.at_ms.iter_mut().enumerate() {
            if *at_ms == REACHED {
                continue;
            }
            if *at_ms <= now_ms {
                *at_ms = REACHED;
                reached(index);
            } else {
                earliest = earliest.min(*at_ms);
            }
        }
        self.earliest_ms = if earliest == NEVER { NEVER } else { earliest.max(now_ms + GRAIN_MS) };
        (self.earliest_ms != NEVER).then_some(self.earliest_ms)
    }
}

/// The deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Deadlines {
    start: Instant,
    slab: RefCell<Slab>,
    wakers: RefCell<Vec<Option<Waker>>>,
    /// There is an earlier one than the sleeper knows of.
    earlier: Notify,
    looks: RefCell<Looks>,
    /// Somebody is to look, and nobody was before.
    noted: Notify,
}

impl Deadlines {
    pub(crate) fn new() -> Rc<Self> {
        let slab = Slab { at_ms: Vec::new(), free: Vec::new(), earliest_ms: NEVER };
        Rc::new(Self {
            start: Instant::now(),
            slab: RefCell::new(slab),
            wakers: RefCell::default(),
            earlier: Notify::new(),
            looks: RefCell::default(),
            noted: Notify::new(),
        })
    }

    /// A deadline that is not set yet.
    pub(crate) fn deadline(self: &Rc<Self>) -> Deadline {
        let index = self.slab.borrow_mut().insert();
        self.looks.borrow_mut().insert(index);
        let mut wakers = self.wakers.borrow_mut();
        if wakers.len() <= index {
            wakers.push(None);
        }
        Deadline { all: Rc::clone(self), index }
    }

    /// Wakes everybody who has a deadline, for news of another kind.
    pub(crate) fn wake_all(&self) {
        self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    /// Wakes those whose deadline is reached. Never ends.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            let next = self.slab.borrow_mut().reach(self.ms(Instant::now()), |index| {
                if let Some(waker) = &self.wakers.borrow()[index] {
                    waker.wake_by_ref();
                }
            });
            match next {
                None => self.earlier.notified().await,
                // Few are earlier than all others: time goes on, and there are only so many lengths.
                Some(at_ms) => {
                    let at = self.start + Duration::from_millis(at_ms);
                    let _ = tokio::time::timeout_at(at.into(), self.earlier.notified()).await;
                }
            }
        }
    }

    /// Wakes those who are to look again. Never ends.
    pub(crate) async fn look_again(self: Rc<Self>) {
        loop {
            self.noted.notified().await;
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            self.looks.borrow_mut().fall_due(|index| {
                if let Some(waker) = &self.wakers.borrow()[index] {
                    waker.wake_by_ref();
                }
            });
        }
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(NEVER)
    }
}

/// One deadline of one task.
#[derive(Debug)]
pub(crate) struct Deadline {
    all: Rc<Deadlines>,
    index: usize,
}

impl Deadline {
    /// Who is woken when it is reached: a task says so once.
    pub(crate) fn wakes(&self, waker: &Waker) {
        let mut wakers = self.all.wakers.borrow_mut();
        let slot = &mut wakers[self.index];
        if slot.as_ref().is_none_or(|there| !there.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// So long from `now` on; none: there is none.
    pub(crate) fn set(&self, now: Instant, after: Option<Duration>) {
        let at_ms = match after {
            // A millisecond up, so that it is never reached early.
            Some(after) => now.checked_add(after).map_or(NEVER, |at| self.all.ms(at).saturating_add(1)),
            None => NEVER,
        };
        if self.all.slab.borrow_mut().set(self.index, at_ms) {
            self.all.earlier.notify_one();
        }
    }

    /// Has it been reached? It stays so until it is set again.
    pub(crate) fn is_reached(&self) -> bool {
        self.all.slab.borrow().at_ms[self.index] == REACHED
    }

    /// Its task is to be woken once more, within [`LOOK_EVERY_MS`], to look for what no event tells of.
    pub(crate) fn look_later(&self) {
        if self.all.looks.borrow_mut().note(self.index) {
            self.all.noted.notify_one();
        }
    }

    /// Is it to look now? It is asked once.
    pub(crate) fn is_to_look(&self) -> bool {
        self.all.looks.borrow_mut().take(self.index)
    }

    /// Ends when it is reached. The task that waits so is the one that is woken. Cancelling it changes nothing.
    pub(crate) async fn reached(&self) {
        poll_fn(|cx| {
            self.wakes(cx.waker());
            if self.is_reached() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.all.slab.borrow_mut().remove(self.index);
        self.all.wakers.borrow_mut()[self.index] = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    fn slab() -> Slab {
        Slab { at_ms: Vec::new(), free: Vec::new(), earliest_ms: NEVER }
    }

    fn reach(slab: &mut Slab, now_ms: u64) -> (Vec<usize>, Option<u64>) {
        let mut reached = Vec::new();
        let next = slab.reach(now_ms, |index| reached.push(index));
        (reached, next)
    }

    #[test]
    fn each_is_reached_once_and_the_next_look_is_at_the_earliest() {
        let mut slab = slab();
        assert_eq!(reach(&mut slab, 5), (vec![], None));
        let [a, b, c] = [slab.insert(), slab.insert(), slab.insert()];
        // The sleeper is told of what is earlier than all others, and of nothing else.
        assert!(slab.set(a, 1_000) && !slab.set(b, 2_000) && slab.set(c, 500));
        assert_eq!(reach(&mut slab, 499), (vec![], Some(499 + GRAIN_MS)));
        assert_eq!(reach(&mut slab, 1_000), (vec![a, c], Some(2_000)));
        assert_eq!(reach(&mut slab, 1_001), (vec![], Some(2_000)));
        // Put off while nobody looks: the look at the old time finds nothing.
        assert!(!slab.set(b, 9_000));
        assert_eq!(reach(&mut slab, 2_000), (vec![], Some(9_000)));
        slab.remove(b);
        assert_eq!(reach(&mut slab, 9_000), (vec![], None));
        assert_eq!(slab.insert(), b);
        assert_eq!(reach(&mut slab, 9_999), (vec![], None));
    }

    #[tokio::test]
    async fn a_task_is_woken_at_its_deadline_and_not_before() {
        let local = tokio::task::LocalSet::new();
        let all = Deadlines::new();
        local.spawn_local(Rc::clone(&all).run());
        let (far, near) = (all.deadline(), all.deadline());
        let reached = local.run_until(async {
            let start = Instant::now();
            far.set(start, Some(Duration::from_hours(1)));
            // The sleeper sleeps for an hour by now.
            tokio::task::yield_now().await;
            near.set(start, Some(Duration::from_millis(20)));
            poll_fn(|cx| {
                near.wakes(cx.waker());
                if near.is_reached() { Poll::Ready(start.elapsed()) } else { Poll::Pending }
            })
            .await
        });
        let after = tokio::time::timeout(Duration::from_secs(10), reached).await.expect("it is reached");
        assert!(after >= Duration::from_millis(20) && !far.is_reached(), "{after:?}");
        near.set(Instant::now(), None);
        assert!(!near.is_reached());
    }
}
