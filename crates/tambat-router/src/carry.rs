//! One stream: bytes both ways, until both have ended.
//!
//! Each direction reads into a buffer that its whole thread shares, and writes from there. Only what could not be
//! written is kept, for as long as it lasts, and nothing more is read meanwhile: that is the back-pressure, and an idle
//! stream owns no memory. A long run of big reads goes on through a pipe of the thread, uncopied.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::listener::ListenerState;
use crate::socket::is_transient;
use crate::splice::{PIPE_BYTES, Pipe};
use crate::transport::Transport;
use crate::worker::Tools;

/// What is read at once at first, and after a write that was not taken whole: what a stalled stream keeps is no more.
const WINDOW_BYTES_MIN: usize = 64 * 1024;

/// So many big reads in a row make a long run, which goes on through a pipe until as many small ones in a row: a pipe is
/// faster for much at once, and slower for messages.
const LONG_RUN_READS: u32 = 8;

/// A read of so much is a big one: where a stream is paced, one segment of its loopback device comes at a time.
const BIG_READ_BYTES_MIN: usize = 32 * 1024;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have ended their direction, and each was told of the other.
    Finished,
    /// One side has broken the connection off: the other must learn that it was no orderly end.
    Broken,
    /// Nothing has moved for as long as the route allows.
    Idle,
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
    /// From the client.
    pub(crate) up_bytes: u64,
    /// From the target.
    pub(crate) down_bytes: u64,
}

/// Carries bytes both ways until both directions have ended, one side breaks off, or nothing has moved for `idle`.
///
/// Cancelling it loses what has been read and not yet written.
pub(crate) async fn carry(
    client: &Transport,
    target: &Transport,
    idle: Option<Duration>,
    leftovers: Leftovers,
    listener: &ListenerState,
    tools: &RefCell<Tools>,
) -> Carried {
    let mut up = Direction::new(client, target, &listener.bytes_in);
    let mut down = Direction::new(target, client, &listener.bytes_out);
    up.brings(leftovers.up);
    down.brings(leftovers.down);
    // A side whose bytes are not being read is not asked for them, and would break off unnoticed.
    let mut client_error = pin!(client.broken());
    let mut target_error = pin!(target.broken());
    let mut deadline = pin!(Deadline::new(idle));
    let mut moved = true;
    let (up, down) = (&mut up, &mut down);
    let end = poll_fn(|cx| {
        {
            let mut tools = tools.borrow_mut();
            moved |= up.pump(cx, tools.ready());
            moved |= down.pump(cx, &mut tools);
        }
        // Each direction's reader and the other's writer are one socket.
        up.broken |= down.refused || (!up.broken && client_error.as_mut().poll(cx).is_ready());
        down.broken |= up.refused || (!down.broken && target_error.as_mut().poll(cx).is_ready());
        if up.is_lost() || down.is_lost() {
            return Poll::Ready(End::Broken);
        }
        if up.ended && down.ended {
            return Poll::Ready(End::Finished);
        }
        deadline.as_mut().poll(cx, std::mem::take(&mut moved)).map(|()| End::Idle)
    })
    .await;
    Carried { end, up_bytes: up.carried, down_bytes: down.carried }
}

/// One direction of a stream.
struct Direction<'a> {
    from: &'a Transport,
    to: &'a Transport,
    bytes: &'a AtomicU64,
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
    /// `from` has ended this direction, and `to` is to be told.
    ending: bool,
    /// The same, and `to` has been told.
    ended: bool,
    /// `from` has broken off; there may be bytes of it left to read.
    broken: bool,
    /// `to` takes no more bytes for ever.
    refused: bool,
    /// All bytes of `from` have been read, and then came an error.
    failed: bool,
}

impl<'a> Direction<'a> {
    fn new(from: &'a Transport, to: &'a Transport, bytes: &'a AtomicU64) -> Self {
        Self {
            from,
            to,
            bytes,
            carried: 0,
            unsent: Vec::new(),
            unsent_at: 0,
            window: WINDOW_BYTES_MIN,
            run: 0,
            pipe: None,
            ending: false,
            ended: false,
            broken: false,
            refused: false,
            failed: false,
        }
    }

    /// What `from` has sent before.
    fn brings(&mut self, bytes: Vec<u8>) {
        self.count(bytes.len());
        self.unsent = bytes;
    }

    fn count(&mut self, bytes: usize) {
        count(self.bytes, &mut self.carried, bytes);
    }

    /// Moves bytes until one of the two sockets has to be waited for, or the direction is over. Have any moved?
    fn pump(&mut self, cx: &mut Context<'_>, tools: &mut Tools) -> bool {
        let mut moved = false;
        while !(self.ended || self.refused || self.failed) {
            let step = if self.ending {
                self.end(cx)
            } else if !self.unsent.is_empty() {
                self.send_unsent(cx)
            } else if self.pipe.is_some() {
                self.splice(cx, tools)
            } else {
                self.pass_on(cx, tools)
            };
            match step {
                Poll::Ready(Ok(progress)) => moved |= progress,
                Poll::Ready(Err(_)) => self.failed = true,
                Poll::Pending => break,
            }
        }
        moved
    }

    /// Is the stream over for this direction's sake? When its reader's peer broke off, what it had sent before is
    /// passed on first, unless the other side does not take it.
    fn is_lost(&self) -> bool {
        self.failed || (self.broken && (self.ended || self.refused || self.is_stalled()))
    }

    /// May bytes go from one socket to the other without being seen here?
    fn is_pipeable(&self) -> bool {
        self.from.tcp().is_some() && self.to.tcp().is_some()
    }

    fn is_stalled(&self) -> bool {
        !self.unsent.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// One read, one write.
    fn pass_on(&mut self, cx: &mut Context<'_>, tools: &mut Tools) -> Poll<io::Result<bool>> {
        std::task::ready!(self.from.poll_read_ready(cx))?;
        let scratch = &mut tools.buffer;
        let window = self.window.min(scratch.len());
        let received = match self.from.receive(&mut scratch[..window]) {
            // What it has sent before it was cut off has been passed on.
            Ok(0) if self.from.is_truncated() => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => {
                self.ending = true;
                return Poll::Ready(Ok(true));
            }
            Ok(received) => received,
            Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.count(received);
        match self.to.send(&scratch[..received]) {
            Ok(sent) if sent == received => {
                if received == window {
                    self.window = (window * 2).min(scratch.len());
                }
                self.run = if received >= BIG_READ_BYTES_MIN { self.run + 1 } else { 0 };
                if self.run >= LONG_RUN_READS {
                    self.run = LONG_RUN_READS;
                    self.pipe = if self.is_pipeable() { tools.pipes.lend() } else { None };
                }
            }
            Ok(sent) => self.keep(&scratch[sent..received]),
            Err(error) if is_transient(&error) => self.keep(&scratch[..received]),
            Err(_) => self.refused = true,
        }
        Poll::Ready(Ok(true))
    }

    /// Empties the pipe, or else fills it.
    fn splice(&mut self, cx: &mut Context<'_>, tools: &mut Tools) -> Poll<io::Result<bool>> {
        let (Some(pipe), Some(from), Some(to)) = (&mut self.pipe, self.from.tcp(), self.to.tcp()) else {
            self.pipe = None;
            return Poll::Ready(Ok(false));
        };
        if pipe.held() == 0 {
            std::task::ready!(from.poll_read_ready(cx))?;
            match pipe.fill(from, PIPE_BYTES) {
                Ok(0) => self.ending = true,
                Ok(filled) => {
                    count(self.bytes, &mut self.carried, filled);
                    self.run = if filled >= BIG_READ_BYTES_MIN { LONG_RUN_READS } else { self.run.saturating_sub(1) };
                    return Poll::Ready(Ok(true));
                }
                Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        } else {
            std::task::ready!(to.poll_write_ready(cx))?;
            match pipe.drain(to) {
                Ok(()) if pipe.held() > 0 || self.run > 0 => return Poll::Ready(Ok(true)),
                Ok(()) => {}
                Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
                Err(_) => self.refused = true,
            }
        }
        // The run is over.
        if let Some(pipe) = self.pipe.take() {
            tools.pipes.give_back(pipe);
        }
        Poll::Ready(Ok(true))
    }

    fn send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        std::task::ready!(self.to.poll_write_ready(cx))?;
        match self.to.send(&self.unsent[self.unsent_at..]) {
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

    /// `from` has ended its direction: so do we. All it sent before has been sent on, since nothing is read before.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match std::task::ready!(self.to.poll_end(cx)) {
            Ok(()) => self.ended = true,
            Err(_) => self.refused = true,
        }
        Poll::Ready(Ok(true))
    }
}

fn count(all: &AtomicU64, carried: &mut u64, bytes: usize) {
    all.fetch_add(bytes as u64, Ordering::Relaxed);
    *carried += bytes as u64;
}

/// When an idle stream ends. The timer is set again only when it goes off, not at every byte.
struct Deadline {
    idle: Option<Duration>,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(idle: Option<Duration>) -> Self {
        Self { idle, last: Instant::now(), timer: idle.map(|idle| Box::pin(sleep(idle))) }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        let this = &mut *self;
        let (Some(idle), Some(timer)) = (this.idle, &mut this.timer) else {
            return Poll::Pending;
        };
        if moved {
            this.last = Instant::now();
        }
        while timer.as_mut().poll(cx).is_ready() {
            let due = this.last + idle;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::mem::MaybeUninit;
    use std::net::{Ipv4Addr, TcpListener, TcpStream as StdStream};

    use socket2::SockRef;
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::*;

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

    /// Pumps until it is so: a few seconds at most.
    async fn pump_until(d: &mut Direction<'_>, tools: &mut Tools, is_so: impl Fn(&Direction<'_>) -> bool) {
        let pumped = poll_fn(|cx| {
            d.pump(cx, tools);
            if is_so(d) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::time::timeout(Duration::from_secs(10), pumped).await.expect("it becomes so");
    }

    fn tools() -> Tools {
        let mut tools = Tools::default();
        tools.ready();
        tools
    }

    #[tokio::test]
    async fn big_reads_in_a_row_make_a_long_run_and_small_ones_end_it() {
        let ((mut sender, from), (mut receiver, to)) = (connection(), connection());
        let (bytes, mut tools) = (AtomicU64::new(0), tools());
        let mut direction = Direction::new(&from, &to, &bytes);
        let (big, small) = (pattern(BIG_READ_BYTES_MIN), pattern(100));
        let sizes = [vec![&big; LONG_RUN_READS as usize], vec![&small; LONG_RUN_READS as usize], vec![&big]].concat();
        let mut piped = Vec::new();
        for message in sizes {
            let all = bytes.load(Ordering::Relaxed) + message.len() as u64;
            sender.write_all(message).unwrap();
            // A message that comes in two pieces would be two reads.
            let socket = from.tcp().unwrap();
            while socket
                .try_io(Interest::READABLE, || {
                    SockRef::from(socket).peek(&mut vec![MaybeUninit::uninit(); message.len()])
                })
                .is_ok_and(|seen| seen < message.len())
            {}
            pump_until(&mut direction, &mut tools, |d| d.bytes.load(Ordering::Relaxed) == all).await;
            let mut heard = vec![0; message.len()];
            receiver.read_exact(&mut heard).unwrap();
            assert!(heard == *message);
            piped.push(direction.pipe.is_some());
        }
        let turns = LONG_RUN_READS as usize;
        let (before, through) = (vec![false; turns - 1], vec![true; turns]);
        assert_eq!(piped, [before, through, vec![false; 2]].concat());
    }

    #[tokio::test]
    async fn a_long_run_arrives_whole_through_stalls_and_ends() {
        const BYTES: usize = 24 * 1024 * 1024;
        let ((mut sender, from), (mut receiver, to)) = (connection(), connection());
        let (bytes, mut tools) = (AtomicU64::new(0), tools());
        let mut direction = Direction::new(&from, &to, &bytes);
        direction.pipe = tools.pipes.lend();
        let sending = std::thread::spawn(move || sender.write_all(&pattern(BYTES)));
        // Nobody reads: the run comes to rest with bytes in the pipe or in the direction, and stays there.
        pump_until(&mut direction, &mut tools, |d| d.is_stalled() && !d.failed).await;
        let receiving = std::thread::spawn(move || {
            let mut heard = Vec::new();
            receiver.read_to_end(&mut heard).map(|_| heard)
        });
        pump_until(&mut direction, &mut tools, |d| d.ended || d.failed || d.refused).await;
        assert!(direction.ended);
        sending.join().unwrap().unwrap();
        assert!(receiving.join().unwrap().unwrap() == pattern(BYTES));
        assert_eq!(bytes.load(Ordering::Relaxed), BYTES as u64);
    }
}
