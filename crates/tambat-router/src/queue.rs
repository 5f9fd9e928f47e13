//! The requests and streams that wait because all targets of their route have as much in flight as they may.
//!
//! Whoever ends a request of such a route wakes the one that has waited longest, on whatever worker it is. Routes
//! without a limit have no queue, and nobody looks for one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use tambat_model::{Admitted, Route, Traffic};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How many requests wait for one process port where nothing else is said: some seconds' worth of a busy one.
const QUEUE_MAX: usize = 1_024;

/// The queues of a router, by process port.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<HashMap<usize, Arc<Queue>>>);

/// The queues that one worker has come across.
#[derive(Debug, Default)]
pub(crate) struct KnownQueues(RefCell<HashMap<usize, Arc<Queue>>>);

/// What waits for one process port.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Whose address is the key, so that nobody else gets it.
    traffic: Arc<Traffic>,
    waiting: AtomicUsize,
    freed: Arc<Notify>,
}

impl KnownQueues {
    /// The queue of this route; none: it needs none.
    pub(crate) fn of(&self, route: &Route, all: &Queues) -> Option<Arc<Queue>> {
        route.http.in_flight_max?;
        let key = Arc::as_ptr(&route.traffic) as usize;
        let mut known = self.0.borrow_mut();
        if !known.contains_key(&key) {
            known.retain(|_, queue| !queue.is_forsaken());
        }
        Some(Arc::clone(known.entry(key).or_insert_with(|| all.of(key, &route.traffic))))
    }
}

impl Queues {
    fn of(&self, key: usize, traffic: &Arc<Traffic>) -> Arc<Queue> {
        let fresh = || Queue { traffic: Arc::clone(traffic), waiting: AtomicUsize::new(0), freed: Arc::default() };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, queue| !queue.is_forsaken());
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(fresh())))
    }
}

impl Queue {
    /// Does anybody wait? Who comes now comes after them.
    pub(crate) fn is_waited_in(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Is its route in no table any more, and no request on its way there?
    fn is_forsaken(&self) -> bool {
        Arc::strong_count(&self.traffic) == 1
    }

    /// One more waits, behind all others; none: as many do as may.
    pub(crate) fn enter(self: &Arc<Self>, route: &Route) -> Option<Ticket> {
        let max = route.http.queue_max.map_or(QUEUE_MAX, |max| max.get() as usize);
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        // Who frees a target after this sees it, or else this one sees that the target is free.
        fence(Ordering::SeqCst);
        let mut ticket =
            Ticket { queue: Arc::clone(self), place: Box::pin(self.place()), is_first: before == 0, is_served: false };
        ticket.stand();
        Some(ticket)
    }

    /// A place at the end.
    fn place(&self) -> OwnedNotified {
        Arc::clone(&self.freed).notified_owned()
    }

    /// A request of this route has ended, and is counted at its target no more.
    fn released(&self) {
        fence(Ordering::SeqCst);
        if self.is_waited_in() {
            self.freed.notify_one();
        }
    }
}

/// A request or stream, counted at its target until this is dropped. Then the next one that waits is woken.
#[derive(Debug)]
pub(crate) struct Counted {
    admitted: Option<Admitted>,
    queue: Option<Arc<Queue>>,
}

impl Counted {
    pub(crate) fn new(admitted: Admitted, queue: Option<&Arc<Queue>>) -> Self {
        Self { admitted: Some(admitted), queue: queue.map(Arc::clone) }
    }

    /// The target was not to be had: nobody is woken, for those who wait would fare no better, and would wake each other
    /// for ever.
    pub(crate) fn for_nothing(mut self) {
        self.queue = None;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Whoever is woken finds room.
        self.admitted = None;
        if let Some(queue) = &self.queue {
            queue.released();
        }
    }
}

/// A request that waits.
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    /// Kept however often it looks for a target meanwhile.
    place: Pin<Box<OwnedNotified>>,
    is_first: bool,
    is_served: bool,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("is_first", &self.is_first).finish_non_exhaustive()
    }
}

impl Ticket {
    /// Did nobody wait when it came? Then something may have been freed just before, of which nobody was told.
    pub(crate) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Takes its place: until then it is told of nothing.
    fn stand(&mut self) {
        self.place.as_mut().enable();
    }

    /// Ends when a target is free and it is this one's turn. It stands at the end again then, for somebody may come
    /// before it. Cancelling it keeps the place.
    pub(crate) async fn freed(&mut self) {
        self.place.as_mut().await;
        self.place.set(self.queue.place());
        self.stand();
    }

    /// It has its target.
    pub(crate) fn served(mut self) {
        self.is_served = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
        // It may have been woken and have left all the same: the turn goes to the next.
        if !self.is_served {
            self.queue.released();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tambat_model::{Admission, HttpRules, Protocol};

    use super::*;

    fn route(queue_max: u32) -> Route {
        let rules = HttpRules {
            in_flight_max: NonZeroU32::new(1),
            queue_max: NonZeroU32::new(queue_max),
            ..Default::default()
        };
        let admission = Admission::Serve(Vec::new());
        Route { http: Arc::new(rules), ..Route::new("web", Protocol::Http, admission) }
    }

    async fn is_woken(ticket: &mut Ticket) -> bool {
        tokio::time::timeout(Duration::from_millis(20), ticket.freed()).await.is_ok()
    }

    #[tokio::test]
    async fn who_frees_a_target_wakes_the_one_that_has_waited_longest() {
        let (all, known, route) = (Queues::default(), KnownQueues::default(), route(3));
        let queue = known.of(&route, &all).unwrap();
        assert!(Arc::ptr_eq(&queue, &KnownQueues::default().of(&route, &all).unwrap()));
        assert!(known.of(&Route::new("api", Protocol::Http, route.admission.clone()), &all).is_none());
        queue.released();
        assert!(!queue.is_waited_in());
        let [mut first, mut second, mut third] = std::array::from_fn(|_| queue.enter(&route).unwrap());
        assert!(first.is_first() && !second.is_first() && queue.enter(&route).is_none());
        // Looking in vain now and then costs nobody its place; who was woken before it looked stays woken.
        assert!(!is_woken(&mut second).await && !is_woken(&mut first).await);
        queue.released();
        assert!(!is_woken(&mut third).await && !is_woken(&mut second).await && is_woken(&mut first).await);
        first.served();
        queue.released();
        assert!(is_woken(&mut second).await && !is_woken(&mut third).await);
        // It leaves without having used it: the turn is the next one's.
        drop(second);
        assert!(is_woken(&mut third).await && !is_woken(&mut third).await);
        third.served();
        assert!(!queue.is_waited_in());
    }

    #[tokio::test]
    async fn a_target_that_was_not_to_be_had_wakes_nobody() {
        let (all, known, route) = (Queues::default(), KnownQueues::default(), route(1));
        let queue = known.of(&route, &all).unwrap();
        let mut ticket = queue.enter(&route).unwrap();
        let counted = || Counted { admitted: None, queue: Some(Arc::clone(&queue)) };
        counted().for_nothing();
        assert!(!is_woken(&mut ticket).await);
        drop(counted());
        assert!(is_woken(&mut ticket).await);
    }

    #[test]
    fn a_queue_goes_with_its_route() {
        let (all, known) = (Queues::default(), KnownQueues::default());
        for _ in 0..100 {
            // In its own table each, one after the other.
            assert!(known.of(&route(1), &all).is_some());
        }
        // The newest, and one before it that went unnoticed by then.
        assert!(known.0.borrow().len() <= 2 && all.0.lock().unwrap().len() <= 2);
    }
}
