//! What is kept of the answers to one client, all streams together.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use bytes::Buf;

use super::limits::{KEPT_BYTES, QUEUED_BYTES_MAX, READ_BYTES_MAX, READ_BYTES_MIN};
use super::session::Session;

/// What is kept of the answers to one client.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// In the codec.
    queued: Cell<usize>,
    /// Before it, because no window is open.
    kept: Cell<usize>,
    /// Who waits for less to be in the codec.
    waiting: RefCell<Vec<Waker>>,
}

impl Answers {
    /// How many bytes more the codec is given, by all streams together.
    pub(super) fn room(&self) -> usize {
        QUEUED_BYTES_MAX.saturating_sub(self.queued.get())
    }

    /// Is there anything in the codec?
    pub(super) fn are_queued(&self) -> bool {
        self.queued.get() > 0
    }

    /// Wakes this one when there is room again.
    pub(super) fn wakes(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|there| there.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// How much is read of an answer of which it is not known yet whether its client takes it: less, the more is kept.
    pub(super) fn window(&self) -> usize {
        (KEPT_BYTES.saturating_sub(self.kept.get()) / 4).clamp(READ_BYTES_MIN, READ_BYTES_MAX)
    }

    /// A stream keeps so much now, and so much before.
    pub(super) fn keeps(&self, now: usize, before: usize) {
        self.kept.set(self.kept.get() + now - before);
    }

    fn queues(&self, bytes: usize) {
        self.queued.set(self.queued.get() + bytes);
    }

    fn unqueues(&self, bytes: usize) {
        self.queued.set(self.queued.get() - bytes);
        if self.queued.get() <= QUEUED_BYTES_MAX / 2 && !self.waiting.borrow().is_empty() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// A piece of an answer in the codec. It is counted until the codec has done with it.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    at: usize,
    session: Rc<Session>,
}

impl Piece {
    pub(super) fn new(bytes: Vec<u8>, session: &Rc<Session>) -> Self {
        session.answers.queues(bytes.len());
        Self { bytes, at: 0, session: Rc::clone(session) }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn advance(&mut self, count: usize) {
        self.at = self.bytes.len().min(self.at + count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.session.answers.unqueues(self.bytes.len());
    }
}
