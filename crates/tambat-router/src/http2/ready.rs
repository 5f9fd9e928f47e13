//! Who has work to do in the task of a connection: its codec, and which of its streams.
//!
//! All of them are served in one task, each with a waker of its own. So all streams that have heard of something are served
//! together, what they have to say passes the codec once, and leaves in one piece.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Who is ready for the next turn.
#[derive(Debug)]
pub(super) struct Ready(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The numbers of streams.
    streams: Vec<u32>,
    codec: bool,
    /// The task has its turn, and sees at the end of it who became ready meanwhile.
    is_in_turn: bool,
    task: Option<Waker>,
}

impl Ready {
    /// The codec, which has everything still to do.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { streams: Vec::new(), codec: true, is_in_turn: false, task: None })))
    }

    /// What wakes the codec.
    pub(super) fn codec_waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(CodecPart(Arc::clone(self))))
    }

    /// A turn of this task begins. The streams that are ready are appended, each once.
    pub(super) fn begin(&self, task: &Waker, streams: &mut Vec<u32>) {
        let mut state = self.state();
        state.is_in_turn = true;
        if state.task.as_ref().is_none_or(|there| !there.will_wake(task)) {
            state.task = Some(task.clone());
        }
        streams.append(&mut state.streams);
    }

    /// Is the codec ready? It is asked to work now.
    pub(super) fn take_codec(&self) -> bool {
        std::mem::take(&mut self.state().codec)
    }

    /// The turn is over. Who became ready in it has the next one, and so has what is left.
    pub(super) fn end(&self, is_something_left: bool) {
        let mut state = self.state();
        state.is_in_turn = false;
        if (is_something_left || state.codec || !state.streams.is_empty())
            && let Some(task) = &state.task
        {
            task.wake_by_ref();
        }
    }

    /// An idle connection keeps no memory for this.
    pub(super) fn shrink(&self) {
        let mut state = self.state();
        if state.streams.is_empty() {
            state.streams = Vec::new();
        }
    }

    /// Somebody becomes ready. The task is woken where nobody was before, and it does not have its turn.
    fn add(&self, who: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let is_known = state.is_in_turn || state.codec || !state.streams.is_empty();
        who(&mut state);
        if !is_known && let Some(task) = &state.task {
            task.wake_by_ref();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct CodecPart(Arc<Ready>);

impl Wake for CodecPart {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.add(|state| state.codec = true);
    }
}

/// What wakes one stream after another of those that have its number.
#[derive(Debug)]
pub(super) struct StreamPart {
    ready: Arc<Ready>,
    number: u32,
    is_ready: AtomicBool,
}

impl StreamPart {
    pub(super) fn new(ready: &Arc<Ready>, number: u32) -> Arc<Self> {
        Arc::new(Self { ready: Arc::clone(ready), number, is_ready: AtomicBool::new(false) })
    }

    /// It has its turn: whatever comes from now on is news.
    pub(super) fn is_served(&self) {
        self.is_ready.store(false, Ordering::Release);
    }
}

impl Wake for StreamPart {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            self.ready.add(|state| state.streams.push(self.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[test]
    fn a_task_is_woken_once_for_all_that_are_ready_and_not_in_its_turn() {
        let (ready, task) = (Ready::new(), Arc::new(Task::default()));
        let (waker, woken) = (Waker::from(Arc::clone(&task)), || task.0.load(Ordering::Relaxed));
        let parts: Vec<_> = (0..3).map(|number| StreamPart::new(&ready, number)).collect();
        let streams: Vec<_> = parts.iter().map(|part| Waker::from(Arc::clone(part))).collect();
        let codec = ready.codec_waker();
        let mut turn = Vec::new();
        ready.begin(&waker, &mut turn);
        // A codec that was never asked is ready.
        assert!(turn.is_empty() && ready.take_codec() && !ready.take_codec());
        ready.end(false);
        assert_eq!(woken(), 0);
        for stream in [2, 0, 2] {
            streams[stream].wake_by_ref();
        }
        codec.wake_by_ref();
        assert_eq!(woken(), 1);
        ready.begin(&waker, &mut turn);
        assert_eq!(turn, [2, 0]);
        turn.clear();
        parts[2].is_served();
        // The one has not had its turn yet, the other has something new.
        streams[0].wake_by_ref();
        streams[2].wake_by_ref();
        assert!(ready.take_codec());
        assert_eq!(woken(), 1);
        ready.end(false);
        assert_eq!(woken(), 2);
        ready.begin(&waker, &mut turn);
        assert_eq!(turn, [2]);
        codec.wake_by_ref();
        ready.end(false);
        assert_eq!(woken(), 3);
    }

    #[test]
    fn what_another_thread_says_in_a_turn_is_not_lost() {
        let (ready, task) = (Ready::new(), Arc::new(Task::default()));
        let waker = Waker::from(Arc::clone(&task));
        let (mut turn, mut seen, mut woken) = (Vec::new(), 0, 0);
        let (part, is_over) = (StreamPart::new(&ready, 7), AtomicBool::new(false));
        ready.begin(&waker, &mut turn);
        assert!(ready.take_codec());
        ready.end(false);
        let stream = Waker::from(Arc::clone(&part));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..10_000).for_each(|_| stream.wake_by_ref());
                is_over.store(true, Ordering::Release);
            });
            // It has a turn when it was woken since the last one began, and not otherwise.
            loop {
                let is_last = is_over.load(Ordering::Acquire);
                let now = task.0.load(Ordering::Acquire);
                if now == woken && is_last {
                    break;
                }
                if std::mem::replace(&mut woken, now) != now {
                    ready.begin(&waker, &mut turn);
                    turn.drain(..).for_each(|_| {
                        part.is_served();
                        seen += 1;
                    });
                    ready.end(false);
                }
            }
        });
        ready.begin(&waker, &mut turn);
        assert!(seen > 0 && turn.is_empty(), "{seen} {turn:?} {woken}");
    }
}
