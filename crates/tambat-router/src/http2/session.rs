//! What a connection and its streams have in common.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tambat_wire::http2::{FrameWatch, Reason, Refused, SentWatch};

use super::answers::Answers;
use super::gathered::Gathered;
use super::limits::{DRAINED_BYTES_MAX, FLOOD_DRAINED_BYTES_MAX, LAST_REQUEST_S, READ_A_TURN_BYTES, SEND_BUFFER_BYTES};
use crate::deadlines::Deadline;
use crate::pauses::Offence;
use crate::socket::is_transient;
use crate::transport::Transport;
use crate::worker::Worker;

/// A connection, as its streams know it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) carrier: Rc<Transport>,
    pub(super) worker: Rc<Worker>,
    pub(super) deadline: Deadline,
    pub(super) watch: RefCell<FrameWatch>,
    sent: RefCell<SentWatch>,
    /// What the client was refused since that was last told: how many times, and what at last.
    refused: Cell<Option<(u64, Refused)>>,
    /// What is to be sent, and not yet.
    pub(super) gathered: RefCell<Gathered>,
    /// What is kept of answers.
    pub(super) answers: Answers,
    /// What the client did that ends the connection.
    pub(super) broke: Cell<Option<Reason>>,
    /// What the codec has ended it for.
    ended: Cell<Option<Refused>>,
    /// Its client's address has been told on.
    is_told_on: Cell<bool>,
    /// How much may still be read in this turn.
    turn_bytes: Cell<usize>,
    began: Instant,
    /// How many requests are being served.
    live: Cell<usize>,
    /// How many bytes their heads have.
    heads_bytes: Cell<usize>,
    /// Has there been a request?
    is_used: Cell<bool>,
    /// Since when it has had no request.
    idle_since: Cell<Instant>,
    /// Since when the client has taken nothing of what is to be sent.
    blocked_since: Cell<Option<Instant>>,
    /// How much was on its way to it then.
    on_its_way: Cell<Option<usize>>,
    /// The client was told that it ends as soon as it is idle.
    is_draining: Cell<bool>,
    /// It is being closed, and its deadline is set for that.
    is_closing: Cell<bool>,
}

impl Session {
    pub(super) fn new(carrier: Rc<Transport>, worker: Rc<Worker>) -> Rc<Self> {
        let now = Instant::now();
        let session = Self {
            deadline: worker.deadlines.deadline(),
            carrier,
            worker,
            watch: RefCell::default(),
            sent: RefCell::default(),
            refused: Cell::new(None),
            gathered: RefCell::default(),
            answers: Answers::default(),
            broke: Cell::new(None),
            ended: Cell::new(None),
            is_told_on: Cell::new(false),
            turn_bytes: Cell::new(READ_A_TURN_BYTES),
            began: now,
            live: Cell::new(0),
            heads_bytes: Cell::new(0),
            is_used: Cell::new(false),
            idle_since: Cell::new(now),
            blocked_since: Cell::new(None),
            on_its_way: Cell::new(None),
            is_draining: Cell::new(false),
            is_closing: Cell::new(false),
        };
        session.keep_time();
        Rc::new(session)
    }

    /// The time for the watch.
    pub(super) fn passed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.live.get() == 0
    }

    pub(super) fn heads_bytes(&self) -> usize {
        self.heads_bytes.get()
    }

    /// Has the client taken nothing for too long, so that nothing can be told to it any more?
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.get().is_some()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// It is closed in this time, whatever the client does.
    pub(super) fn closes_within(&self, time: Duration) {
        self.is_closing.set(true);
        self.deadline.set(Instant::now(), Some(time));
    }

    /// Was the client told that it ends as soon as it is idle?
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// It was told: what is on its way yet is waited for.
    pub(super) fn drains(&self) {
        self.is_draining.set(true);
        self.idle_since.set(Instant::now());
        self.keep_time();
    }

    /// A request begins.
    pub(super) fn begins(&self, head_bytes: usize) {
        self.is_used.set(true);
        self.live.set(self.live.get() + 1);
        self.heads_bytes.set(self.heads_bytes.get() + head_bytes);
        if self.live.get() == 1 {
            self.keep_time();
        }
    }

    /// A request is over.
    pub(super) fn ends(&self, head_bytes: usize) {
        self.live.set(self.live.get() - 1);
        self.heads_bytes.set(self.heads_bytes.get() - head_bytes);
        if self.is_idle() {
            self.idle_since.set(Instant::now());
            self.keep_time();
        }
    }

    /// The client takes nothing now.
    pub(super) fn blocks(&self) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(Instant::now()));
            self.on_its_way.set(self.carrier.unacknowledged());
            self.keep_time();
        }
    }

    /// Has the client read anything since it was seen to take nothing, or since this was asked last? Its socket says that it
    /// takes more only in large steps, which a slow one needs long for.
    pub(super) fn is_read(&self) -> bool {
        let now = self.carrier.unacknowledged();
        let is_read = self.on_its_way.get().zip(now).is_some_and(|(before, now)| now < before);
        if is_read {
            self.blocked_since.set(Some(Instant::now()));
            self.on_its_way.set(now);
            self.keep_time();
        }
        is_read
    }

    /// The client has taken something.
    pub(super) fn moves(&self) {
        if self.blocked_since.take().is_some() {
            self.keep_time();
        }
    }

    /// Looks at bytes on their way to the client.
    pub(super) fn sees(&self, bytes: &[u8]) {
        self.sent.borrow_mut().look(bytes, |refused| {
            let times = self.refused.get().map_or(0, |(times, _)| times);
            self.refused.set(Some((times + 1, refused)));
            if let Refused::Connection(_) = refused {
                self.ended.set(Some(refused));
            }
        });
    }

    /// A number that becomes smaller with what the client has acknowledged of the answers' bodies, all streams together.
    pub(super) fn unacknowledged(&self) -> usize {
        let sent = usize::try_from(self.sent.borrow().data()).unwrap_or(usize::MAX);
        (usize::MAX / 2).saturating_sub(sent) + self.carrier.unacknowledged().unwrap_or_default()
    }

    /// Does the connection take no more for now, whichever stream's it would be? What is in the codec waits for the socket,
    /// or else what the client takes of all answers together is used up.
    pub(super) fn is_used_up(&self) -> bool {
        let window = self.watch.borrow().takes().saturating_sub(self.sent.borrow().data());
        // Streams whose turn it is have reserved what is left of it.
        self.answers.are_queued() || window < SEND_BUFFER_BYTES as u64
    }

    /// What the client was refused since this was last asked: how many times, and what at last.
    pub(super) fn refused(&self) -> Option<(u64, Refused)> {
        self.refused.take()
    }

    /// What the client's connection is closed for, if it is; told once.
    pub(super) fn offence(&self) -> Option<Offence> {
        let offence = if self.is_flooded()? { Offence::Flood } else { Offence::Break };
        (!self.is_told_on.replace(true)).then_some(offence)
    }

    /// How many requests are being served.
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    /// Is something to be sent?
    pub(super) fn has_gathered(&self) -> bool {
        self.gathered.borrow().left().is_some()
    }

    /// Is it closed for a flood? None: it is not closed for anything that the client has done.
    fn is_flooded(&self) -> Option<bool> {
        match (self.broke.get(), self.ended.get()) {
            // Of one that reads nothing the codec has not got to say so.
            (Some(reason), _) => Some(reason == Reason::EnhanceYourCalm),
            (None, Some(ended)) => Some(ended.is_flood()),
            (None, None) => None,
        }
    }

    /// How much is thrown away of what comes yet.
    pub(super) fn drained_bytes_max(&self) -> usize {
        if self.is_flooded() == Some(true) { FLOOD_DRAINED_BYTES_MAX } else { DRAINED_BYTES_MAX }
    }

    /// Its task has its turn.
    pub(super) fn turn_begins(&self) {
        self.turn_bytes.set(READ_A_TURN_BYTES);
    }

    /// How much may be read now; 0: nothing before the next turn.
    pub(super) fn turn_bytes(&self) -> usize {
        self.turn_bytes.get()
    }

    /// So much was read.
    pub(super) fn has_read(&self, bytes: usize) {
        self.turn_bytes.set(self.turn_bytes.get().saturating_sub(bytes));
    }

    /// Ready when all that was gathered is sent.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered.borrow_mut();
        while let Some(left) = gathered.left() {
            match self.carrier.send(left) {
                Ok(sent) => {
                    gathered.take(sent);
                    self.moves();
                    continue;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.carrier.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.blocks();
                    return Poll::Pending;
                }
            }
        }
        gathered.clear(&self.worker.spare_bytes);
        Poll::Ready(Ok(()))
    }

    /// Sets the deadline of what is waited for. While requests are served, they have their own.
    fn keep_time(&self) {
        if self.is_closing() {
            return;
        }
        let settings = &self.worker.shared.settings;
        match self.blocked_since.get() {
            Some(since) => self.deadline.set(since, Some(settings.body_idle)),
            None if !self.is_idle() => self.deadline.set(self.idle_since.get(), None),
            None if self.is_draining.get() => {
                self.deadline.set(self.idle_since.get(), Some(Duration::from_secs(LAST_REQUEST_S)));
            }
            None if self.is_used.get() => self.deadline.set(self.idle_since.get(), Some(settings.keep_alive_idle)),
            None => self.deadline.set(self.idle_since.get(), Some(settings.head_timeout)),
        }
    }
}
