//! One stream: bytes both ways, until both have ended.
//!
//! Each direction reads into a buffer that its whole thread shares, and writes from there. Only what could not be
//! written is kept, for as long as it lasts, and nothing more is read meanwhile: that is the back-pressure, and an idle
//! stream owns no memory. A long run of big reads goes on through a pipe of the thread, uncopied; while the pipe
//! cannot be emptied, nobody is woken by what arrives.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tambat_model::{Load, Traffic};
use tambat_wire::websocket::{FrameEnds, GOING_AWAY};

use crate::access::EndedBy;
use crate::cuts::Watched;
use crate::deadlines::Deadline;
use crate::door::Session;
use crate::listener::ListenerState;
use crate::socket::{is_closing, is_transient, receive_unasked, send_unasked};
use crate::splice::{Filled, Pipe};
use crate::transport::Transport;
use crate::worker::{Tools, Worker};

/// What is read at once at first, after a write that was not taken whole, and where there is no room for more: what a
/// stalled stream keeps is no more.
const WINDOW_BYTES_MIN: usize = 64 * 1024;

/// So many big reads in a row make a long run, which goes on through a pipe until as many small ones in a row: a pipe is
/// faster for much at once, and slower for messages.
const LONG_RUN_READS: u32 = 8;

/// A read of so much is a big one: where a stream is paced, one segment of its loopback device comes at a time.
const BIG_READ_BYTES_MIN: usize = 32 * 1024;

/// How long the two sides of a stream that is cut may take to end their direction, too.
const PARTING_MS: u64 = 1_000;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have ended their direction, and each was told of the other.
    Finished,
    /// One side has broken the connection off: the other must learn that it was no orderly end.
    Broken,
    /// Nothing has moved for as long as the route allows.
    Idle,
    /// It has had its time: its target or the whole router is to stop.
    Cut,
}

/// What either side has sent that the other has not got, from before the stream began.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Of the client.
    pub(crate) up: Vec<u8>,
    /// Of the target.
    pub(crate) down: Vec<u8>,
}

/// What was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) end: End,
    /// Who ended it first.
    pub(crate) by: EndedBy,
    /// From the client.
    pub(crate) up_bytes: u64,
    /// From the target.
    pub(crate) down_bytes: u64,
}

/// What a stream goes by.
#[derive(Clone, Copy)]
pub(crate) struct Course<'a> {
    /// For how long nothing may move; none: for ever.
    pub(crate) idle: Option<Duration>,
    pub(crate) listener: &'a ListenerState,
    /// The process port that its bytes are counted for.
    pub(crate) traffic: Option<&'a Traffic>,
    /// Its target's.
    pub(crate) load: &'a Arc<Load>,
    /// What is shown to it of what the target says, as long as it looks.
    pub(crate) session: Option<&'a Session>,
    /// Where the target's frames end; none: it is no WebSocket.
    pub(crate) frames: Option<&'a Frames>,
    pub(crate) worker: &'a Worker,
}

/// Where the frames of a WebSocket's target end.
pub(crate) type Frames = RefCell<FrameEnds>;

impl Course<'_> {
    /// The target has said this.
    fn show(&self, words: &[u8]) {
        if let Some(session) = self.session {
            session.show(words);
        }
        if let Some(frames) = self.frames {
            frames.borrow_mut().on(words);
        }
    }

    /// May the client be told of the end in the place of the target?
    fn may_say_goodbye(&self) -> bool {
        self.frames.is_some_and(|frames| frames.borrow().is_between())
    }

    fn is_cut(&self) -> bool {
        self.load.is_cut() || self.worker.cuts.has(self.listener.kind)
    }

    fn count(&self, up: bool, bytes: usize) {
        let bytes = bytes as u64;
        let (counter, from_client, from_target) =
            if up { (&self.listener.bytes_in, bytes, 0) } else { (&self.listener.bytes_out, 0, bytes) };
        counter.fetch_add(bytes, Ordering::Relaxed);
        if let Some(traffic) = self.traffic {
            traffic.shard(self.worker.number).bytes(from_client, from_target);
        }
    }
}

/// Carries bytes both ways until both directions have ended, one side breaks off, nothing has moved for as long as it may,
/// or it is cut. Then both sides know how it ended.
///
/// Cancelling it loses what has been read and not yet written.
pub(crate) fn carry<'a>(
    client: &'a Transport,
    target: &'a Transport,
    leftovers: Leftovers,
    course: Course<'a>,
) -> impl Future<Output = Carried> + use<'a> {
    // Made outside of the future, which would otherwise keep room for its parts.
    let mut carriage = Carriage::new(client, target, leftovers, course);
    async move {
        let end = poll_fn(|cx| carriage.poll(cx)).await;
        match end {
            End::Finished | End::Idle => {}
            End::Broken => {
                client.reset_on_close();
                target.reset_on_close();
            }
            // Boxed: few streams come to this, and none should be as big as if it did.
            End::Cut => Box::pin(carriage.part()).await,
        }
        let by =
            if matches!(end, End::Idle | End::Cut) { EndedBy::Router } else { carriage.by.unwrap_or(EndedBy::Router) };
        Carried { end, by, up_bytes: carriage.up.carried, down_bytes: carriage.down.carried }
    }
}

/// A stream under way.
struct Carriage<'a> {
    course: Course<'a>,
    up: Direction<'a>,
    down: Direction<'a>,
    deadline: Deadline,
    /// In the last poll what comes from the client was moved first.
    was_up_first: bool,
    /// Who has ended it first.
    by: Option<EndedBy>,
    /// Its target may be cut.
    watched: Option<Watched<'a>>,
}

impl<'a> Carriage<'a> {
    fn new(client: &'a Transport, target: &'a Transport, leftovers: Leftovers, course: Course<'a>) -> Self {
        let (mut up, mut down) = (Direction::new(client, target, true), Direction::new(target, client, false));
        up.brings(leftovers.up, course);
        down.brings(leftovers.down, course);
        let deadline = course.worker.deadlines.deadline();
        deadline.set(Instant::now(), course.idle);
        let watched = Some(course.worker.cuts.watch(course.load));
        Self { course, up, down, deadline, was_up_first: false, by: None, watched }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Self { course, up, down, deadline, was_up_first, .. } = self;
        deadline.wakes(cx.waker());
        if deadline.is_to_look() {
            up.looks();
            down.looks();
        }
        let moved = {
            let mut tools = course.worker.tools.borrow_mut();
            // Whoever is pumped first may have all that the runtime allows in one poll, so they take turns.
            let is_up_first = !std::mem::replace(was_up_first, !*was_up_first);
            let (first, second) = if is_up_first { (&mut *up, &mut *down) } else { (&mut *down, &mut *up) };
            first.is_alone = second.ended;
            let moved = first.pump(cx, tools.ready(), *course);
            second.is_alone = first.ended;
            second.pump(cx, &mut tools, *course) | moved
        };
        // Each direction's reader and the other's writer are one socket.
        up.broken |= down.refused || up.has_broken_off(cx);
        down.broken |= up.refused || down.has_broken_off(cx);
        self.by = self.by.or_else(|| who(up, down));
        if up.is_lost() || down.is_lost() {
            return Poll::Ready(End::Broken);
        }
        if up.ended && down.ended {
            return Poll::Ready(End::Finished);
        }
        if course.is_cut() {
            return Poll::Ready(End::Cut);
        }
        if up.is_short || down.is_short {
            deadline.look_later();
        }
        // Set again at each move, it costs no system call and no timer.
        if moved && course.idle.is_some() {
            deadline.set(Instant::now(), course.idle);
        }
        if deadline.is_reached() { Poll::Ready(End::Idle) } else { Poll::Pending }
    }

    /// Ends a stream that has had its time. A side that has got all there was for it is told that nothing more comes, and
    /// may end in order, too; the other one is to see that something is missing.
    async fn part(&mut self) {
        // Nobody has to wake it any more.
        self.watched = None;
        let limit = Duration::from_millis(PARTING_MS);
        let both = async { tokio::join!(self.up.part(self.course), self.down.part(self.course)) };
        let _ = tokio::time::timeout(limit, both).await;
    }
}

/// Who has ended something, or broken off.
fn who(up: &Direction<'_>, down: &Direction<'_>) -> Option<EndedBy> {
    if up.ending || up.broken || up.failed {
        Some(EndedBy::Client)
    } else if down.ending || down.broken || down.failed {
        Some(EndedBy::Target)
    } else {
        None
    }
}

/// What comes behind what was read.
enum Then {
    /// More, sooner or later, or not even that is known.
    More,
    End,
    Error(io::Error),
}

/// One direction of a stream.
struct Direction<'a> {
    from: &'a Transport,
    to: &'a Transport,
    /// From the client to the target?
    is_up: bool,
    carried: u64,
    /// What was read and could not be written yet, from `unsent_at` on.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// How much is read at once.
    window: usize,
    /// How many big reads in a row there were; through a pipe: how many small ones it still outlives.
    run: u32,
    /// What a long run goes through.
    pipe: Option<Pipe>,
    /// There may be something to read that no event tells of: it stands before or behind urgent data.
    is_behind: bool,
    /// Less was read than might have been. That was all there was, unless there is urgent data: it looks again later.
    is_short: bool,
    /// Nothing has been moved yet, and no event may have told of a socket that was accepted or connected just now.
    is_new: bool,
    /// The other direction has ended.
    is_alone: bool,
    /// `from` has ended this direction, and `to` is to be told.
    ending: bool,
    /// The same, and `to` has been told.
    ended: bool,
    /// `from` has broken off; there may be bytes of it left to read.
    broken: bool,
    /// Ends when it does: there as soon as nobody reads from it.
    breaks_off: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    /// `to` takes no more bytes for ever.
    refused: bool,
    /// All bytes of `from` have been read, and then came an error.
    failed: bool,
}

impl<'a> Direction<'a> {
    fn new(from: &'a Transport, to: &'a Transport, is_up: bool) -> Self {
        Self {
            from,
            to,
            is_up,
            carried: 0,
            unsent: Vec::new(),
            unsent_at: 0,
            window: WINDOW_BYTES_MIN,
            run: 0,
            pipe: None,
            is_behind: false,
            is_short: false,
            is_new: true,
            is_alone: false,
            ending: false,
            ended: false,
            broken: false,
            breaks_off: None,
            refused: false,
            failed: false,
        }
    }

    /// What `from` has sent before.
    fn brings(&mut self, bytes: Vec<u8>, course: Course<'_>) {
        self.count(bytes.len(), course);
        if !self.is_up {
            course.show(&bytes);
        }
        self.unsent = bytes;
    }

    fn count(&mut self, bytes: usize, course: Course<'_>) {
        self.carried += bytes as u64;
        course.count(self.is_up, bytes);
    }

    /// It reads once without having been told that there is something, if its last read was a short one.
    fn looks(&mut self) {
        self.is_behind |= std::mem::take(&mut self.is_short);
    }

    /// Moves bytes until one of the two sockets has to be waited for, or the direction is over. Have any moved?
    fn pump(&mut self, cx: &mut Context<'_>, tools: &mut Tools, course: Course<'_>) -> bool {
        let mut moved = false;
        while !(self.ended || self.refused || self.failed) {
            let step = if self.ending {
                self.end(cx)
            } else if !self.unsent.is_empty() {
                self.send_unsent(cx)
            } else if self.pipe.is_some() {
                self.splice(cx, tools, course)
            } else {
                self.pass_on(cx, tools, course)
            };
            match step {
                Poll::Ready(Ok(progress)) => moved |= progress,
                Poll::Ready(Err(_)) => self.failed = true,
                Poll::Pending => break,
            }
        }
        moved
    }

    /// Has `from` broken off, although nobody asks it for bytes? Whoever does is told by that.
    fn has_broken_off(&mut self, cx: &mut Context<'_>) -> bool {
        if self.broken || !(self.is_stalled() || self.ending || self.ended) {
            return false;
        }
        let from = self.from;
        // Boxed: an idle stream has none.
        let breaks_off = self.breaks_off.get_or_insert_with(|| Box::pin(from.broken()));
        breaks_off.as_mut().poll(cx).is_ready()
    }

    /// Is the stream over for this direction's sake? When its reader's peer broke off, what it had sent before is
    /// passed on first, unless the other side does not take it.
    fn is_lost(&self) -> bool {
        self.failed || (self.broken && (self.ended || self.refused || self.is_stalled()))
    }

    /// May bytes go from one socket to the other without being seen here?
    fn is_pipeable(&self, course: Course<'_>) -> bool {
        let is_seen = !self.is_up && course.session.is_some_and(Session::is_watching);
        !is_seen && self.from.tcp().is_some() && self.to.tcp().is_some()
    }

    fn is_stalled(&self) -> bool {
        !self.unsent.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// One read, one write.
    fn pass_on(&mut self, cx: &mut Context<'_>, tools: &mut Tools, course: Course<'_>) -> Poll<io::Result<bool>> {
        // What a client begins with is there as a rule by now.
        let is_first = std::mem::take(&mut self.is_new) && self.is_up && self.from.tcp().is_some();
        if !(self.is_behind || is_first) {
            match self.from.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.to.rests();
                    return Poll::Pending;
                }
            }
        }
        let scratch = &mut tools.buffer;
        let window = self.window().min(scratch.len());
        let (received, then) = match self.receive(&mut scratch[..window], is_first) {
            // What it has sent before it was cut off has been passed on.
            Ok((0, _)) if self.from.is_truncated() => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok((0, _)) => {
                self.ending = true;
                return Poll::Ready(Ok(true));
            }
            Ok(received) => received,
            Err(error) if is_transient(&error) => {
                self.is_behind = false;
                return Poll::Ready(Ok(false));
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.count(received, course);
        if !self.is_up {
            course.show(&scratch[..received]);
        }
        let is_last = matches!(then, Then::End);
        match self.send(&scratch[..received], is_last) {
            Ok(sent) if sent == received && is_last => self.ending = true,
            Ok(sent) if sent == received => {
                if received == window {
                    self.window = (window * 2).min(scratch.len());
                }
                self.run = if received >= BIG_READ_BYTES_MIN { self.run + 1 } else { 0 };
                if self.run >= LONG_RUN_READS {
                    self.run = LONG_RUN_READS;
                    self.pipe = if self.is_pipeable(course) { tools.pipes.lend() } else { None };
                    if let (Some(frames), Some(_), false) = (course.frames, &self.pipe, self.is_up) {
                        // What goes through a pipe is not seen.
                        frames.borrow_mut().lose();
                    }
                }
            }
            Ok(sent) => self.keep(&scratch[sent..received]),
            Err(error) if is_transient(&error) => self.keep(&scratch[..received]),
            Err(_) => self.refused = true,
        }
        if let Then::Error(error) = then {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(true))
    }

    /// How much is to be read at once. More than the least only if it can be written: the kernel's word costs little beside
    /// so many bytes, and what it does not take is kept.
    fn window(&self) -> usize {
        let window = self.to.window().unwrap_or(self.window);
        let is_too_much = window > WINDOW_BYTES_MIN && !self.to.has_room_for(window);
        if is_too_much { WINDOW_BYTES_MIN } else { window }
    }

    /// Takes what has arrived, and says what comes then, as far as that is known. (0: the end.)
    fn receive(&mut self, into: &mut [u8], is_first: bool) -> io::Result<(usize, Then)> {
        self.is_short = false;
        let Some(from) = self.from.tcp() else {
            return Ok((self.from.receive(into)?, Then::More));
        };
        let may_end = self.to.tcp().is_some() && is_closing(from);
        let received = if self.is_behind || is_first { receive_unasked(from, into) } else { self.from.receive(into) }?;
        if received == 0 || received == into.len() {
            return Ok((received, Then::More));
        }
        self.is_short = true;
        if !may_end {
            return Ok((received, Then::More));
        }
        match receive_unasked(from, &mut into[received..]) {
            Ok(0) => Ok((received, Then::End)),
            Ok(more) => Ok((received + more, Then::More)),
            Err(error) if is_transient(&error) => Ok((received, Then::More)),
            Err(error) => Ok((received, Then::Error(error))),
        }
    }

    fn send(&self, bytes: &[u8], is_last: bool) -> io::Result<usize> {
        match self.to.tcp() {
            // It has taken all there was before, so that there is room, or else it has just been connected.
            Some(to) => send_unasked(to, bytes, is_last),
            None => self.to.send(bytes),
        }
    }

    /// Empties the pipe, or else fills it.
    fn splice(&mut self, cx: &mut Context<'_>, tools: &mut Tools, course: Course<'_>) -> Poll<io::Result<bool>> {
        let (Some(pipe), Some(from), Some(to)) = (&mut self.pipe, self.from.tcp(), self.to.tcp()) else {
            self.pipe = None;
            return Poll::Ready(Ok(false));
        };
        if pipe.held() == 0 {
            let looks = std::mem::take(&mut self.is_behind);
            if !looks {
                std::task::ready!(from.poll_read_ready(cx))?;
            }
            let filled = if looks { pipe.look(from) } else { pipe.fill_all(from) };
            // Before urgent data it stops, or finds nothing: it looks again.
            self.is_short = !looks || matches!(filled, Ok(Filled::Bytes(_)));
            match filled {
                Ok(Filled::End) => self.ending = true,
                Ok(Filled::Urgent) => self.is_behind = true,
                Ok(Filled::Bytes(filled)) => {
                    self.carried += filled as u64;
                    course.count(self.is_up, filled);
                    self.run = if filled >= BIG_READ_BYTES_MIN { LONG_RUN_READS } else { self.run.saturating_sub(1) };
                    return Poll::Ready(Ok(true));
                }
                Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        } else {
            std::task::ready!(to.poll_write_ready(cx))?;
            match pipe.drain(from, to) {
                Ok(()) if pipe.held() > 0 || self.run > 0 => return Poll::Ready(Ok(true)),
                Ok(()) => {}
                Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
                Err(_) => self.refused = true,
            }
        }
        self.end_run(tools);
        Poll::Ready(Ok(true))
    }

    /// The long run is over.
    fn end_run(&mut self, tools: &mut Tools) {
        self.run = 0;
        if let Some(pipe) = self.give_up_pipe() {
            tools.pipes.give_back(pipe);
        }
    }

    fn give_up_pipe(&mut self) -> Option<Pipe> {
        let mut pipe = self.pipe.take()?;
        self.from.tcp().into_iter().for_each(|from| pipe.unhush(from));
        Some(pipe)
    }

    fn send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let is_new = std::mem::take(&mut self.is_new) && self.to.tcp().is_some();
        if !is_new {
            std::task::ready!(self.to.poll_write_ready(cx))?;
        }
        match self.send(&self.unsent[self.unsent_at..], false) {
            Ok(sent) => self.unsent_at += sent,
            Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
            Err(_) => {
                self.unsent = Vec::new();
                self.refused = true;
            }
        }
        if self.unsent_at == self.unsent.len() {
            self.unsent = Vec::new();
        }
        Poll::Ready(Ok(true))
    }

    fn keep(&mut self, rest: &[u8]) {
        self.unsent = rest.to_vec();
        self.unsent_at = 0;
        self.window = WINDOW_BYTES_MIN;
    }

    /// Tells `to` how it ends, and throws away what `from` still sends until that ends, too: unread bytes would make a reset
    /// of the close. The client of a WebSocket is told in its own words (RFC 6455 §7.4.1), where the target is not in the
    /// middle of a word.
    async fn part(&mut self, course: Course<'_>) {
        let is_over = self.is_stalled() || self.ending || self.ended;
        if !self.is_up && !is_over && course.may_say_goodbye() && self.to.send_all(&GOING_AWAY).await.is_err() {
            return;
        }
        if self.is_stalled() {
            self.to.reset_on_close();
            // Its bytes are lost, and what comes now is thrown away.
            drop(self.give_up_pipe());
        } else if poll_fn(|cx| self.to.poll_end(cx)).await.is_err() {
            return;
        }
        poll_fn(|cx| {
            let mut tools = course.worker.tools.borrow_mut();
            let buffer = &mut tools.ready().buffer;
            loop {
                if std::task::ready!(self.from.poll_read_ready(cx)).is_err() {
                    return Poll::Ready(());
                }
                match self.from.receive(buffer) {
                    Ok(0) => return Poll::Ready(()),
                    Ok(_) => {}
                    Err(error) if is_transient(&error) => {}
                    Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// `from` has ended its direction: so do we. All it sent before has been sent on, since nothing is read before.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.is_alone && self.to.tcp().is_some() {
            // Both have said all they had to say: it is closed next, and nothing tells more.
            self.ended = true;
            return Poll::Ready(Ok(true));
        }
        match std::task::ready!(self.to.poll_end(cx)) {
            Ok(()) => self.ended = true,
            Err(_) => self.refused = true,
        }
        Poll::Ready(Ok(true))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::mem::MaybeUninit;
    use std::net::{Ipv4Addr, TcpListener, TcpStream as StdStream};
    use std::os::fd::AsFd as _;
    use std::pin::pin;
    use std::rc::Rc;

    use nix::poll::{PollFd, PollFlags, PollTimeout};
    use socket2::SockRef;
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::*;
    use crate::listener::ListenerKind;

    /// Two ends of a connection, the second for the runtime of this thread.
    fn connection() -> (StdStream, Transport) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours, Transport::Tcp(TcpStream::from_std(theirs).unwrap()))
    }

    fn pattern(bytes: usize) -> Vec<u8> {
        // A prime period, so that nothing that moves in pages goes unnoticed.
        (0..65_537).map(|i| u8::try_from(i % 251).unwrap()).cycle().take(bytes).collect()
    }

    /// Of a stream that may take its time.
    fn course<'a>(listener: &'a ListenerState, load: &'a Arc<Load>, worker: &'a Worker) -> Course<'a> {
        Course { idle: None, listener, traffic: None, load, session: None, frames: None, worker }
    }

    /// Pumps until it is so: a few seconds at most.
    async fn pump_until(d: &mut Direction<'_>, worker: &Worker, is_so: impl Fn(&Direction<'_>) -> bool) {
        pump_frames_until(d, worker, None, is_so).await;
    }

    async fn pump_frames_until(
        d: &mut Direction<'_>,
        worker: &Worker,
        frames: Option<&Frames>,
        is_so: impl Fn(&Direction<'_>) -> bool,
    ) {
        let listener = ListenerState::new(ListenerKind::Shared, Arc::default());
        let load = Arc::default();
        let course = Course { frames, ..course(&listener, &load, worker) };
        let pumped = poll_fn(|cx| {
            d.pump(cx, worker.tools.borrow_mut().ready(), course);
            if is_so(d) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::time::timeout(Duration::from_secs(10), pumped).await.expect("it becomes so");
    }

    #[tokio::test]
    async fn big_reads_in_a_row_make_a_long_run_and_small_ones_end_it() {
        let ((mut sender, from), (mut receiver, to)) = (connection(), connection());
        let worker = Worker::with(Arc::default());
        let mut direction = Direction::new(&from, &to, false);
        let (mut big, small, frames) = (pattern(BIG_READ_BYTES_MIN), pattern(100), Frames::default());
        // Each of them is a whole frame of a WebSocket (RFC 6455 §5.2).
        big[..4].copy_from_slice(&[0x82, 126, 0x7f, 0xfc]);
        let sizes = [vec![&big; LONG_RUN_READS as usize], vec![&small; LONG_RUN_READS as usize], vec![&big]].concat();
        let mut piped = Vec::new();
        for message in sizes {
            let all = direction.carried + message.len() as u64;
            sender.write_all(message).unwrap();
            // A message that comes in two pieces would be two reads.
            let socket = from.tcp().unwrap();
            while socket
                .try_io(Interest::READABLE, || {
                    SockRef::from(socket).peek(&mut vec![MaybeUninit::uninit(); message.len()])
                })
                .is_ok_and(|seen| seen < message.len())
            {}
            pump_frames_until(&mut direction, &worker, Some(&frames), |d| d.carried == all).await;
            let mut heard = vec![0; message.len()];
            receiver.read_exact(&mut heard).unwrap();
            assert!(heard == *message);
            piped.push(direction.pipe.is_some());
            assert_eq!(frames.borrow().is_between(), !piped.contains(&true), "what was not seen may end anywhere");
        }
        let turns = LONG_RUN_READS as usize;
        let (before, through) = (vec![false; turns - 1], vec![true; turns]);
        assert_eq!(piped, [before, through, vec![false; 2]].concat());
    }

    /// A read ends before what is urgent, and of what stands behind it no event tells: all of it had come before.
    #[tokio::test]
    async fn what_stands_behind_urgent_data_is_looked_for() {
        let ((mut client, from), (mut target, to)) = (connection(), connection());
        let (worker, listener, load) =
            (Worker::with(Arc::default()), ListenerState::new(ListenerKind::Shared, Arc::default()), Arc::default());
        let course = course(&listener, &load, &worker);
        for mut said_by in [&client, &target] {
            said_by.write_all(b"before").unwrap();
            assert_eq!(SockRef::from(said_by).send_out_of_band(b"!").unwrap(), 1);
            said_by.write_all(b"behind").unwrap();
        }
        for socket in [&from, &to].map(|transport| transport.tcp().unwrap()) {
            SockRef::from(socket).set_out_of_band_inline(true).unwrap();
            socket.readable().await.unwrap();
        }
        let looking = tokio::task::LocalSet::new();
        looking.spawn_local(Rc::clone(&worker.deadlines).look_again());
        let carried = looking.run_until(async {
            let mut carriage = Carriage::new(&from, &to, Leftovers::default(), course);
            poll_fn(|cx| {
                assert!(carriage.poll(cx).is_pending());
                if carriage.up.carried + carriage.down.carried == 26 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            // Nothing has come since: nobody looks any more.
            assert!(!(carriage.up.is_short || carriage.down.is_short));
        });
        tokio::time::timeout(Duration::from_secs(10), carried).await.expect("all of it is carried");
        for hearer in [&mut client, &mut target] {
            let mut heard = [0; 13];
            hearer.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"before!behind");
        }
    }

    /// Leaves so much of what the runtime allows in the poll of a task, and then polls.
    async fn poll_with(left: usize, mut polled: impl FnMut(&mut Context<'_>)) {
        let spend = |cx: &mut Context<'_>| pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready();
        // The poll after this has all that is allowed.
        tokio::task::yield_now().await;
        let all =
            poll_fn(|cx| Poll::Ready(std::iter::repeat_with(|| spend(cx)).take_while(|was_left| *was_left).count()));
        let all = all.await;
        tokio::task::yield_now().await;
        let once = poll_fn(|cx| {
            assert!((left..all).all(|_| spend(cx)));
            polled(cx);
            Poll::Ready(())
        });
        once.await;
    }

    #[tokio::test]
    async fn a_direction_that_takes_all_a_poll_allows_leaves_the_next_one_to_the_other() {
        let ((mut client, from), (mut target, to)) = (connection(), connection());
        let (worker, listener, load) =
            (Worker::with(Arc::default()), ListenerState::new(ListenerKind::Shared, Arc::default()), Arc::default());
        let course = course(&listener, &load, &worker);
        let mut carriage = Carriage::new(&from, &to, Leftovers::default(), course);
        target.write_all(b"down").unwrap();
        for _ in 0..3 {
            client.write_all(b"up").unwrap();
            for transport in [&from, &to] {
                transport.tcp().unwrap().readable().await.unwrap();
            }
            poll_with(1, |cx| assert!(carriage.poll(cx).is_pending())).await;
            if carriage.down.carried > 0 {
                break;
            }
        }
        assert_eq!((carriage.up.carried > 0, carriage.down.carried), (true, 4));
    }

    /// Until so much can be read from it.
    fn wait_for(from: &Transport, bytes: usize) {
        let socket = SockRef::from(from.tcp().unwrap());
        while socket.peek(&mut vec![MaybeUninit::uninit(); bytes]).is_ok_and(|seen| seen < bytes) {
            std::thread::yield_now();
        }
    }

    /// Does it tell of what has arrived?
    fn tells(from: &Transport, within: PollTimeout) -> bool {
        nix::poll::poll(&mut [PollFd::new(from.tcp().unwrap().as_fd(), PollFlags::POLLIN)], within).unwrap() == 1
    }

    /// Brings a long run to rest: its target takes no more, the pipe holds something, and all that was sent is read.
    async fn stall(direction: &mut Direction<'_>, worker: &Worker, sender: &mut StdStream) {
        // The kernel would let them grow to many megabytes.
        SockRef::from(direction.to.tcp().unwrap()).set_send_buffer_size(BIG_READ_BYTES_MIN).unwrap();
        direction.pipe = worker.tools.borrow_mut().pipes.lend();
        direction.run = LONG_RUN_READS;
        let message = vec![b'x'; BIG_READ_BYTES_MIN];
        while !direction.is_stalled() {
            let all = direction.carried + message.len() as u64;
            sender.write_all(&message).unwrap();
            wait_for(direction.from, message.len());
            pump_until(direction, worker, |d| d.carried == all).await;
        }
    }

    #[tokio::test]
    async fn whoever_sends_to_a_full_target_wakes_nobody_until_it_takes_more() {
        let ((mut sender, from), (mut receiver, to)) = (connection(), connection());
        let worker = Worker::with(Arc::default());
        let mut direction = Direction::new(&from, &to, true);
        stall(&mut direction, &worker, &mut sender).await;
        let held = usize::try_from(direction.carried).unwrap();
        sender.write_all(&[b'y'; 100]).unwrap();
        wait_for(&from, 100);
        assert!(!tells(&from, PollTimeout::ZERO));
        let receiving = std::thread::spawn(move || {
            let mut heard = vec![0; held + 100];
            receiver.read_exact(&mut heard).map(|()| heard)
        });
        pump_until(&mut direction, &worker, |d| d.carried == held as u64 + 100 && !d.is_stalled()).await;
        let heard = receiving.join().unwrap().unwrap();
        assert!(heard[..held].iter().all(|byte| *byte == b'x') && heard[held..] == [b'y'; 100]);
        sender.write_all(b"more").unwrap();
        assert!(tells(&from, PollTimeout::from(10_000_u16)));
    }

    #[tokio::test]
    async fn a_sender_to_a_full_target_that_breaks_off_is_seen_at_once() {
        let ((mut sender, from), (_receiver, to)) = (connection(), connection());
        let worker = Worker::with(Arc::default());
        let mut direction = Direction::new(&from, &to, true);
        stall(&mut direction, &worker, &mut sender).await;
        SockRef::from(&sender).set_linger(Some(Duration::ZERO)).unwrap();
        drop(sender);
        let seen = poll_fn(|cx| if direction.has_broken_off(cx) { Poll::Ready(()) } else { Poll::Pending });
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("it is seen");
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_leaves_its_source_as_it_was() {
        let ((mut sender, from), (receiver, to)) = (connection(), connection());
        let worker = Worker::with(Arc::default());
        let mut direction = Direction::new(&from, &to, true);
        stall(&mut direction, &worker, &mut sender).await;
        sender.write_all(b"nobody reads this").unwrap();
        wait_for(&from, 17);
        assert!(!tells(&from, PollTimeout::ZERO));
        drop(receiver);
        pump_until(&mut direction, &worker, |d| d.refused).await;
        assert!(direction.pipe.is_none() && tells(&from, PollTimeout::ZERO));
    }

    #[tokio::test]
    async fn what_was_said_before_the_end_is_passed_on_and_so_is_how_it_ended() {
        for is_orderly in [true, false] {
            let ((mut sender, from), (mut receiver, to)) = (connection(), connection());
            let worker = Worker::with(Arc::default());
            let mut direction = Direction::new(&from, &to, true);
            sender.write_all(b"farewell").unwrap();
            SockRef::from(&sender).set_linger((!is_orderly).then_some(Duration::ZERO)).unwrap();
            drop(sender);
            // All of it is there, and known to be, before anything is read.
            while !is_closing(from.tcp().unwrap()) {
                tokio::task::yield_now().await;
            }
            pump_until(&mut direction, &worker, |_| true).await;
            assert_eq!((direction.ended, direction.failed, direction.carried), (is_orderly, !is_orderly, 8));
            let mut heard = [0; 8];
            receiver.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"farewell");
        }
    }

    #[tokio::test]
    async fn a_long_run_arrives_whole_through_stalls_and_ends() {
        const BYTES: usize = 24 * 1024 * 1024;
        let ((mut sender, from), (mut receiver, to)) = (connection(), connection());
        let worker = Worker::with(Arc::default());
        let mut direction = Direction::new(&from, &to, true);
        direction.pipe = worker.tools.borrow_mut().pipes.lend();
        let sending = std::thread::spawn(move || sender.write_all(&pattern(BYTES)));
        // Nobody reads: the run comes to rest with bytes in the pipe or in the direction, and stays there.
        pump_until(&mut direction, &worker, |d| d.is_stalled() && !d.failed).await;
        let receiving = std::thread::spawn(move || {
            let mut heard = Vec::new();
            receiver.read_to_end(&mut heard).map(|_| heard)
        });
        pump_until(&mut direction, &worker, |d| d.ended || d.failed || d.refused).await;
        assert!(direction.ended);
        sending.join().unwrap().unwrap();
        assert!(receiving.join().unwrap().unwrap() == pattern(BYTES));
        assert_eq!(direction.carried, BYTES as u64);
    }
}
