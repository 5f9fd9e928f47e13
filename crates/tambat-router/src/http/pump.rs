//! One exchange on its sockets: what the engine asks for is read, what it says is sent, and who keeps it waiting for too
//! long is told.
//!
//! An ordinary exchange takes two turns: the request has been read, and is sent; the answer is read and sent. That is
//! two receives and two sends. Nothing is read for a direction whose bytes are not taken: that is the back-pressure.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tambat_model::{ErrorCode, HttpRules};
use tambat_wire::http1::{After, Fault, Over, ResponseRules, Side, Taken, Waiting};

use super::active::{Active, Broken, Limit, Upstream};
use super::flow::{Read, WINDOW_BYTES};
use super::inbox::Inbox;
use crate::deadlines::Deadline;
use crate::transport::Transport;
use crate::worker::{Tools, Worker};

/// What answers say of their way (RFC 9110 §7.6.3). Nobody looks for circles there.
const VIA: &str = "tambat";

/// So much is read ahead of requests that come before their turn, so that a client that goes away is noticed.
const READ_AHEAD_BYTES_MAX: usize = WINDOW_BYTES;

/// Why an exchange does not come to its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// Somebody is to blame.
    Fault(Fault),
    /// The kept connection had ended when it was used: the request is sent again, on a fresh one.
    Retry,
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// An exchange with everything it works with, for one turn.
pub(super) struct Pump<'a> {
    pub(super) active: &'a mut Active,
    pub(super) upstream: &'a mut Upstream,
    pub(super) client: &'a Rc<Transport>,
    pub(super) inbox: &'a mut Inbox,
    pub(super) worker: &'a Worker,
    pub(super) tools: &'a mut Tools,
    pub(super) deadline: &'a Deadline,
    pub(super) now: Now,
}

/// Which way bytes have moved in a turn. What is read ahead of the next request is none of these.
#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    /// Of the request: from the client, or to the target.
    up: bool,
    /// Of the answer: from the target, or to the client.
    down: bool,
}

/// The moment of a turn: the clock is read when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Now(Option<Instant>);

impl Now {
    pub(super) fn get(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}

impl Pump<'_> {
    /// Ready when the exchange is over and everything is sent, or when it has come to nothing.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Over, Halt>> {
        let turn = self.turn(cx);
        if turn.is_ready() {
            self.active.moved = self.now.get();
            self.active.up.give_back(self.client, &mut self.tools.pipes);
            self.active.down.give_back(&self.upstream.stream, &mut self.tools.pipes);
        }
        turn
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Over, Halt>> {
        // Before a byte of the request is sent nothing is an answer to it. Afterwards the answer comes first: when it is
        // complete, nobody has to be asked whether the client is still there.
        let is_sent = self.active.up.unsent.is_begun();
        let mut moved = Moved::default();
        if is_sent {
            moved.down = self.down(cx)?;
        } else {
            moved.up = self.up(cx)?;
        }
        if !self.is_complete() {
            if is_sent {
                moved.up = self.up(cx)?;
            } else {
                moved.down = self.down(cx)?;
            }
        }
        if let Some(over) = self.active.exchange.over().filter(|_| self.is_complete()) {
            // A target that has answered before it took the whole request waits for the rest: whatever else came on its
            // connection would be read as that.
            let target = if self.active.up.is_clear() { over.target } else { After::Close };
            return Poll::Ready(Ok(Over { target, ..over }));
        }
        self.keep_time(moved).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault.into())))
    }

    /// Has the client got all of its answer?
    fn is_complete(&self) -> bool {
        self.active.exchange.over().is_some() && self.active.down.is_clear()
    }

    /// May bytes go from one side to the other without being seen here?
    fn is_pipeable(&self) -> bool {
        self.client.tcp().is_some() && self.upstream.stream.tcp().is_some()
    }

    fn passable_from_client(&self) -> u64 {
        if self.is_pipeable() { self.active.exchange.passable_from_client() } else { 0 }
    }

    /// Moves the request on until somebody has to be waited for. Has anything moved?
    fn up(&mut self, cx: &mut Context<'_>) -> Result<bool, Halt> {
        let mut moved = false;
        loop {
            if !self.active.up.is_clear() {
                let before = self.active.up.waiting();
                match self.active.up.poll_clear(cx, self.client, &self.upstream.stream) {
                    Poll::Pending => return Ok(moved || self.active.up.waiting() < before),
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(_)) => self.target_takes_no_more()?,
                }
                continue;
            }
            let step = if !self.active.exchange.wants_client() {
                self.watch_client(cx)?;
                return Ok(moved);
            } else if self.inbox.has_news() {
                self.body_of_inbox()?;
                Poll::Ready(())
            } else if self.active.up.is_long_run(self.passable_from_client(), self.client, &mut self.tools.pipes) {
                self.splice_up(cx)?
            } else {
                self.body_from_client(cx)?
            };
            if step.is_pending() {
                return Ok(moved);
            }
            moved = true;
        }
    }

    /// More of the request's body.
    fn body_from_client(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Halt> {
        let received = match self.active.up.poll_read(cx, self.client, &mut self.tools.buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(Read::Bytes(received))) => received,
            Poll::Ready(Ok(Read::End)) => return Ok(Poll::Ready(self.active.exchange.client_closed()?)),
            Poll::Ready(Err(_)) => return Ok(Poll::Ready(self.active.exchange.client_failed()?)),
        };
        self.tools.out.clear();
        let taken = if self.inbox.is_empty() {
            self.active.exchange.from_client(&self.tools.buffer[..received], &mut self.tools.out)?
        } else {
            // The beginning of these bytes came before.
            self.inbox.push(&self.tools.buffer[..received]);
            return Ok(Poll::Ready(self.body_of_inbox()?));
        };
        self.inbox.push(&self.tools.buffer[taken.used..received]);
        self.mark_seen();
        let sent = self.active.up.pass_on(&self.upstream.stream, &mut self.tools.out, &self.tools.buffer[taken.raw]);
        Ok(Poll::Ready(self.sent_up(sent)?))
    }

    /// The same from what was read before its turn.
    fn body_of_inbox(&mut self) -> Result<(), Halt> {
        self.tools.out.clear();
        let Taken { used, raw } = self.active.exchange.from_client(self.inbox.bytes(), &mut self.tools.out)?;
        let raw = &self.inbox.bytes()[raw];
        let sent = self.active.up.pass_on(&self.upstream.stream, &mut self.tools.out, raw);
        self.inbox.take(used);
        self.mark_seen();
        self.sent_up(sent)
    }

    /// What a body had no use for is its own beginning of something, or the next request: nobody has seen that one.
    fn mark_seen(&mut self) {
        if self.active.exchange.wants_client() {
            self.inbox.mark_seen();
        }
    }

    fn splice_up(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Halt> {
        let passable = self.passable_from_client();
        match self.active.up.poll_fill(cx, self.client, passable) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => self.active.exchange.client_closed()?,
            Poll::Ready(Ok(filled)) => self.active.exchange.passed_from_client(filled as u64),
            Poll::Ready(Err(_)) => self.active.exchange.client_failed()?,
        }
        Ok(Poll::Ready(()))
    }

    /// While the answer is waited for: has the client gone? What it sends meanwhile is its next request.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Halt> {
        while !self.inbox.has_ended() && self.inbox.len() < READ_AHEAD_BYTES_MAX {
            // It counts with the next request.
            let before = self.active.up.received;
            let read = self.active.up.poll_read(cx, self.client, &mut self.tools.buffer);
            self.active.up.received = before;
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(Read::Bytes(received))) => self.inbox.push(&self.tools.buffer[..received]),
                Poll::Ready(Ok(Read::End)) => {
                    self.inbox.end();
                    // What it has asked for before its end is answered yet.
                    if self.inbox.is_empty() {
                        self.active.exchange.client_closed()?;
                    }
                }
                Poll::Ready(Err(_)) => {
                    self.inbox.end();
                    self.active.exchange.client_failed()?;
                }
            }
        }
        if self.inbox.has_ended() {
            self.watch_half_closed(cx)?;
        }
        Ok(())
    }

    /// A client that sends no more may wait for its answer, or be gone altogether. That shows as an error: of what is
    /// sent to it, or of what its system is asked now and then.
    fn watch_half_closed(&mut self, cx: &mut Context<'_>) -> Result<(), Halt> {
        let client = self.client;
        let broken = self.active.broken.get_or_insert_with(|| Broken::new(Rc::clone(client)));
        if broken.poll(cx).is_ready() {
            self.active.broken = None;
            self.active.exchange.client_failed()?;
        }
        Ok(())
    }

    fn sent_up(&mut self, sent: io::Result<()>) -> Result<(), Halt> {
        sent.or_else(|_| self.target_takes_no_more())
    }

    /// The target has closed its side or broken off. If nothing at all was sent, nothing has been lost.
    fn target_takes_no_more(&mut self) -> Result<(), Halt> {
        // What waits is the request from its beginning as long as nothing was passed on behind it; later it is the middle
        // of a body, which a fresh connection would take for a request.
        let is_the_beginning = self.active.up.passed_on == 0;
        let nothing_was_sent =
            is_the_beginning && !self.active.up.unsent.is_clear() && !self.active.up.unsent.is_begun();
        if self.upstream.is_reused && (nothing_was_sent || self.active.exchange.may_retry()) {
            return Err(Halt::Retry);
        }
        self.retry_unprocessed()?;
        self.active.up.clear(self.client);
        self.active.exchange.target_stopped_reading();
        Ok(())
    }

    /// Moves the answer on until somebody has to be waited for. Has anything moved?
    fn down(&mut self, cx: &mut Context<'_>) -> Result<bool, Halt> {
        let mut moved = false;
        loop {
            if !self.active.down.is_clear() {
                let before = self.active.down.waiting();
                match self.active.down.poll_clear(cx, &self.upstream.stream, self.client) {
                    Poll::Pending => return Ok(moved || self.active.down.waiting() < before),
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(_)) => self.client_takes_no_more()?,
                }
                continue;
            }
            let passable = if self.is_pipeable() { self.active.exchange.passable_from_target() } else { 0 };
            let step = if !self.active.exchange.wants_target() {
                return Ok(moved);
            } else if self.active.down.is_long_run(passable, &self.upstream.stream, &mut self.tools.pipes) {
                self.splice_down(cx, passable)?
            } else {
                self.answer_from_target(cx)?
            };
            if step.is_pending() {
                self.client.rests();
                return Ok(moved);
            }
            moved = true;
        }
    }

    /// Of what a stream gets little more is read than it takes: many share one connection, and what they keep is bounded.
    fn answer_from_target(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Halt> {
        let window = self.client.window().unwrap_or(WINDOW_BYTES).min(self.tools.buffer.len());
        let read = self.active.down.poll_read(cx, &self.upstream.stream, &mut self.tools.buffer[..window]);
        self.tools.out.clear();
        match read {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(Read::Bytes(received))) => {
                if self.active.first_byte.is_none() {
                    self.active.first_byte = Some(self.now.get().saturating_duration_since(self.active.started));
                }
                if self.active.held.is_empty() {
                    self.answer_bytes(received)?;
                } else {
                    self.answer_held(received)?;
                }
            }
            Poll::Ready(Ok(Read::End)) => {
                let ended = self.active.exchange.target_closed(&mut self.tools.out);
                ended.map_err(|fault| self.retry_or(fault))?;
                let sent = self.active.down.pass_on(self.client, &mut self.tools.out, &[]);
                sent.or_else(|_| self.client_takes_no_more())?;
            }
            Poll::Ready(Err(_)) => {
                self.retry_unprocessed()?;
                let failed = self.active.exchange.target_failed();
                failed.map_err(|fault| self.retry_or(fault))?;
            }
        }
        Ok(Poll::Ready(()))
    }

    /// A target of HTTP/2 may say that it has not looked at a request: then even one that does harm twice is sent again, as
    /// long as all that was sent of it is still there, and nothing of an answer has belied it.
    fn retry_unprocessed(&self) -> Result<(), Halt> {
        let is_all_there = self.active.up.passed_on == 0 && self.active.exchange.nothing_came();
        let is_unprocessed = matches!(&self.upstream.stream, Transport::H2c(stream) if stream.is_unprocessed());
        if self.upstream.is_reused && is_unprocessed && is_all_there { Err(Halt::Retry) } else { Ok(()) }
    }

    /// Bytes of the answer, at the beginning of the buffer.
    fn answer_bytes(&mut self, received: usize) -> Result<(), Halt> {
        let now = self.now.get();
        let bytes = &self.tools.buffer[..received];
        let taken = from_target(self.active, self.client, self.worker, now, bytes, &mut self.tools.out)?;
        self.active.held.extend_from_slice(&bytes[taken.used..]);
        let sent = self.active.down.pass_on(self.client, &mut self.tools.out, &bytes[taken.raw]);
        sent.or_else(|_| self.client_takes_no_more())
    }

    /// The same behind those that made no sense without them.
    fn answer_held(&mut self, received: usize) -> Result<(), Halt> {
        let mut held = std::mem::take(&mut self.active.held);
        held.extend_from_slice(&self.tools.buffer[..received]);
        let taken = from_target(self.active, self.client, self.worker, self.now.get(), &held, &mut self.tools.out)?;
        let sent = self.active.down.pass_on(self.client, &mut self.tools.out, &held[taken.raw]);
        held.drain(..taken.used);
        self.active.held = held;
        sent.or_else(|_| self.client_takes_no_more())
    }

    fn splice_down(&mut self, cx: &mut Context<'_>, passable: u64) -> Result<Poll<()>, Halt> {
        match self.active.down.poll_fill(cx, &self.upstream.stream, passable) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => self.active.exchange.target_closed(&mut self.tools.out)?,
            Poll::Ready(Ok(filled)) => self.active.exchange.passed_from_target(filled as u64),
            Poll::Ready(Err(_)) => self.active.exchange.target_failed()?,
        }
        Ok(Poll::Ready(()))
    }

    fn client_takes_no_more(&mut self) -> Result<(), Halt> {
        self.active.down.lose(&self.upstream.stream);
        self.inbox.end();
        Ok(self.active.exchange.client_failed()?)
    }

    /// Only of a connection that was idle before is it no news that it has ended.
    fn retry_or(&self, fault: Fault) -> Halt {
        if self.upstream.is_reused && self.active.exchange.may_retry() { Halt::Retry } else { Halt::Fault(fault) }
    }

    /// Sets the deadline of what is waited for, or says who has let it pass.
    fn keep_time(&mut self, moved: Moved) -> Option<Fault> {
        let limit = self.limit();
        let has_moved = limit.is_some_and(|limit| match limit {
            Limit::ClientTakes => moved.down,
            // A target may answer before it has read the whole request (RFC 9112 §9.3): while that comes, it is busy.
            Limit::Response => moved.down || moved.up,
            Limit::RequestBody => moved.up,
            Limit::FirstByte => moved.up || moved.down,
        });
        if !has_moved && limit == self.active.limit {
            let reached = limit.filter(|_| self.deadline.is_reached())?;
            if reached != Limit::ClientTakes || !self.client_has_taken() {
                return Some(reached.fault());
            }
        }
        if limit == Some(Limit::ClientTakes) {
            self.active.on_its_way = self.client.unacknowledged();
        }
        // A request that has just been sent was read in this moment.
        let is_first = self.active.limit.is_none() && self.active.first_byte.is_none();
        if !is_first {
            self.active.moved = self.now.get();
        }
        self.active.limit = limit;
        self.deadline.set(self.active.moved, limit.and_then(|limit| self.length(limit)));
        None
    }

    /// Has the client read anything that was sent before? Its socket says that it takes more only in large steps, which
    /// a slow one needs long for, and streams have to wait for each other.
    fn client_has_taken(&self) -> bool {
        let before = self.active.on_its_way;
        let has_taken = before.zip(self.client.unacknowledged()).is_some_and(|(before, now)| now < before);
        has_taken && self.client.waits_its_turn()
    }

    fn limit(&self) -> Option<Limit> {
        if !self.active.down.is_clear() {
            return Some(Limit::ClientTakes);
        }
        match self.active.exchange.waiting() {
            Waiting::FirstByte | Waiting::RequestBody if !self.active.up.is_clear() => Some(Limit::FirstByte),
            Waiting::FirstByte => Some(Limit::FirstByte),
            Waiting::RequestBody => Some(Limit::RequestBody),
            Waiting::Response => Some(Limit::Response),
            Waiting::Tunnel | Waiting::Nothing => None,
        }
    }

    fn length(&self, limit: Limit) -> Option<Duration> {
        let rules = self.active.route.as_ref().map(|route| &route.http);
        match limit {
            Limit::ClientTakes | Limit::RequestBody => Some(self.worker.shared.settings.body_idle),
            Limit::FirstByte => rules.and_then(|rules| rules.first_byte),
            Limit::Response => rules.and_then(|rules| rules.response_idle),
        }
    }
}

fn from_target(
    active: &mut Active,
    client: &Transport,
    worker: &Worker,
    now: Instant,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<Taken, Fault> {
    let date = worker.clock.date(now);
    let rules = ResponseRules {
        via: VIA,
        date: &date,
        request_id: active.id.as_bytes(),
        headers: active.route.as_ref().map_or(&[], |route| headers(&route.http, client)),
        set_cookie: (!active.cookie.is_empty()).then_some(&active.cookie),
        keep_alive_allowed: !worker.is_draining.get(),
        limits: &worker.limits,
    };
    active.exchange.from_target(bytes, &rules, out)
}

/// The fields that answers get, by the way this client came.
fn headers<'r>(rules: &'r HttpRules, client: &Transport) -> &'r [(String, String)] {
    rules.https_headers.as_ref().filter(|_| client.secured().is_some()).unwrap_or(&rules.headers)
}

impl Limit {
    fn fault(self) -> Fault {
        let (side, code, cause) = match self {
            Self::ClientTakes => (Side::Client, ErrorCode::ClientStalled, "the client did not take its answer in time"),
            Self::RequestBody => (Side::Client, ErrorCode::BodyTimeout, "the request's body came to a standstill"),
            Self::FirstByte => {
                (Side::Target, ErrorCode::FirstByteTimeout, "the target did not begin its answer in time")
            }
            Self::Response => (Side::Target, ErrorCode::ResponseTimeout, "the target's answer came to a standstill"),
        };
        Fault { side, code, cause }
    }
}
