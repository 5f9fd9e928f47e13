//! The streams of a connection, served side by side in its task.
//!
//! One that panics is over, as a connection of HTTP/1.1 would be, and takes no other with it: requests of many may come on
//! one connection. What it has of the connection's it gives back as it is dropped, and its client is told (`INTERNAL_ERROR`).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::ready::{Ready, StreamPart};

/// So many places are kept without a stream: what clients ask for at a time as a rule.
const PLACES_KEPT: usize = 4;

/// The streams that are served.
pub(super) struct Served {
    ready: Arc<Ready>,
    places: Vec<Place>,
    /// The numbers of those that are free.
    free: Vec<u32>,
    /// Those whose turn it is.
    turn: Vec<u32>,
}

/// A place for one stream after another: its waker outlives them.
struct Place {
    part: Arc<StreamPart>,
    waker: Waker,
    stream: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Served {
    pub(super) fn new(ready: &Arc<Ready>) -> Self {
        Self { ready: Arc::clone(ready), places: Vec::new(), free: Vec::new(), turn: Vec::new() }
    }

    /// One more, which has its first turn with [`Self::serve_turn`].
    pub(super) fn add(&mut self, stream: impl Future<Output = ()> + 'static) {
        let number = self.free.pop().unwrap_or_else(|| {
            // There are never so many that they could not be counted.
            let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            let part = StreamPart::new(&self.ready, number);
            self.places.push(Place { waker: Waker::from(Arc::clone(&part)), part, stream: None });
            number
        });
        self.places[number as usize].stream = Some(Box::pin(stream));
        self.turn.push(number);
    }

    /// A turn of this task begins.
    pub(super) fn begin_turn(&mut self, task: &Waker) {
        self.ready.begin(task, &mut self.turn);
    }

    /// Is it the turn of any?
    pub(super) fn has_turn(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Serves those whose turn it is, each once.
    pub(super) fn serve_turn(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        turn.drain(..).for_each(|number| self.serve(number));
        self.turn = turn;
        if self.is_idle() && self.places.len() > PLACES_KEPT {
            *self = Self::new(&self.ready);
            self.ready.shrink();
        }
    }

    /// Is none left?
    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Ready when all of them have come to their end.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.begin_turn(cx.waker());
        self.serve_turn();
        // There is no codec any more, whatever wakes it.
        self.ready.take_codec();
        self.ready.end(false);
        if self.is_idle() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn serve(&mut self, number: u32) {
        // What is woken may be over since, and its place with it.
        let Some(place) = self.places.get_mut(number as usize) else { return };
        place.part.is_served();
        let Some(stream) = &mut place.stream else { return };
        let mut cx = Context::from_waker(&place.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll(&mut cx)));
        if !polled.is_ok_and(|polled| polled.is_pending()) {
            place.stream = None;
            self.free.push(number);
        }
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("places", &self.places.len())
            .field("free", &self.free.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use super::*;

    /// A stream that notes its turns, and is over after so many.
    fn noting(name: usize, turns: usize, seen: &Rc<RefCell<Vec<usize>>>) -> impl Future<Output = ()> + use<> {
        let (seen, mut left) = (Rc::clone(seen), turns);
        poll_fn(move |cx| {
            seen.borrow_mut().push(name);
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            // Woken within its own turn.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn each_has_one_turn_of_each_and_its_place_goes_on() {
        let (ready, seen) = (Ready::new(), Rc::<RefCell<Vec<usize>>>::default());
        let mut served = Served::new(&ready);
        let turn = |served: &mut Served| {
            served.begin_turn(Waker::noop());
            served.serve_turn();
            ready.end(false);
            std::mem::take(&mut *seen.borrow_mut())
        };
        served.add(noting(1, 3, &seen));
        served.add(noting(2, 1, &seen));
        assert_eq!((turn(&mut served), served.is_idle()), (vec![1, 2], false));
        served.add(noting(3, 2, &seen));
        assert_eq!(turn(&mut served), [3, 1]);
        assert_eq!((turn(&mut served), served.is_idle(), served.places.len()), (vec![3, 1], true, 2));
        // Of many places few are kept; who wakes an old one wakes nobody.
        let many = 3 * PLACES_KEPT;
        (0..many).for_each(|name| served.add(noting(name, 1, &seen)));
        let old = served.places[many - 1].waker.clone();
        assert_eq!((turn(&mut served).len(), served.places.len()), (many, 0));
        old.wake();
        assert_eq!(turn(&mut served), [0; 0]);
    }

    #[test]
    fn one_that_panics_is_over_and_the_others_go_on() {
        struct Held(Rc<RefCell<Vec<usize>>>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.borrow_mut().push(7);
            }
        }
        let (ready, seen) = (Ready::new(), Rc::<RefCell<Vec<usize>>>::default());
        let mut served = Served::new(&ready);
        served.add(noting(1, 2, &seen));
        let held = Held(Rc::clone(&seen));
        served.add(async move {
            let _held = held;
            // As a panic, but that nobody is told.
            std::panic::resume_unwind(Box::new(()));
        });
        served.add(noting(2, 1, &seen));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(served.poll_rest(&mut cx).is_pending());
        assert_eq!(std::mem::take(&mut *seen.borrow_mut()), [1, 7, 2]);
        served.add(noting(3, 1, &seen));
        assert!(served.poll_rest(&mut cx).is_ready());
        assert_eq!((&seen.borrow()[..], served.places.len()), (&[3, 1][..], 3));
    }

    #[test]
    fn the_rest_is_served_to_its_end() {
        let (ready, seen) = (Ready::new(), Rc::<RefCell<Vec<usize>>>::default());
        let mut served = Served::new(&ready);
        served.add(noting(1, 3, &seen));
        let mut cx = Context::from_waker(Waker::noop());
        let polls = (0..5).take_while(|_| served.poll_rest(&mut cx).is_pending()).count();
        assert_eq!((polls, &seen.borrow()[..]), (2, &[1, 1, 1][..]));
    }
}
