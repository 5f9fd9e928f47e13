//! Kept-alive connections of one worker to targets, between two requests.
//!
//! Those to a target that is told by a PROXY header whom a connection is for are kept apart: the header holds for all
//! that comes on it, so that only requests of the same client connection may follow.
//!
//! Nobody reads from them: one from which something has come, an unasked answer or the end, is of no use any more
//! (hostile case C10). Whether it has is known without a system call.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tambat_model::{Load, Target};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::deadlines::{Deadline, Deadlines};
use crate::worker::Worker;

/// How many idle connections one worker keeps to one target: as many as requests of that worker are on their way at a
/// time on a busy machine, so that none of them has to connect anew.
const IDLE_PER_TARGET_MAX: usize = 1_024;

/// How often connections are looked for that have been idle for too long, or ended by their target.
pub(crate) const SWEEP_EVERY_S: u64 = 5;

/// The idle connections of one worker.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<Key, Kept, BuildHasherDefault<AddrHasher>>>,
    /// Of one client connection each.
    owned: RefCell<HashMap<u64, Owned>>,
    /// The next owner.
    next: Cell<u64>,
    idle_max: Duration,
    sweep: Deadline,
}

/// Who is at the other end: the address, and the generation that tells an instance from another one that has its
/// address since. Routes that go to one address share its connections.
pub(crate) type Key = (SocketAddr, u32);

/// The idle connections to one target, the one that was used last at the end.
#[derive(Debug)]
struct Kept {
    /// Of the target that was served last: when it is closed they are of no use any more.
    load: Arc<Load>,
    streams: Vec<(TcpStream, Instant)>,
}

impl Pool {
    pub(crate) fn new(deadlines: &Rc<Deadlines>, idle_max: Duration) -> Self {
        let sweep = deadlines.deadline();
        Self { idle: RefCell::default(), owned: RefCell::default(), next: Cell::new(0), idle_max, sweep }
    }

    /// A connection to this target on which nothing has happened; none: there is none.
    pub(crate) fn take(&self, target: &Target) -> Option<TcpStream> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&key(target)).filter(|kept| !kept.load.is_closed())?;
        while let Some((stream, _)) = kept.streams.pop() {
            if is_silent(&stream) {
                return Some(stream);
            }
        }
        None
    }

    /// Keeps a connection on which nothing is to be expected, for the next request.
    pub(crate) fn put(&self, target: &Target, stream: TcpStream, now: Instant) {
        if target.load.is_closed() || !is_quiet(&stream) {
            return;
        }
        self.sweep_soon(now);
        let mut idle = self.idle.borrow_mut();
        let fresh = || Kept { load: Arc::clone(&target.load), streams: Vec::new() };
        let kept = idle.entry(key(target)).or_insert_with(fresh);
        if kept.load.is_closed() {
            kept.load = Arc::clone(&target.load);
        }
        if kept.streams.len() < IDLE_PER_TARGET_MAX {
            kept.streams.push((stream, now));
        }
    }

    /// Before the first one is kept.
    fn sweep_soon(&self, now: Instant) {
        if self.idle.borrow().is_empty() && self.owned.borrow().is_empty() {
            self.sweep.set(now, Some(Duration::from_secs(SWEEP_EVERY_S)));
        }
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

    /// Closes the connections to targets that take nothing new any more: some wait for that before they end.
    pub(crate) fn forget_closed(&self) {
        self.idle.borrow_mut().retain(|_, kept| !kept.load.is_closed());
        self.owned.borrow_mut().retain(|_, owned| !owned.load.is_closed());
    }

    /// Closes all of them. Was there any?
    pub(crate) fn clear(&self) -> bool {
        let was_owned = self.owned.borrow_mut().drain().count() > 0;
        self.idle.borrow_mut().drain().any(|(_, kept)| !kept.streams.is_empty()) || was_owned
    }

    /// Is nothing left?
    fn sweep(&self, now: Instant) -> bool {
        let is_young = |since: &Instant| now.saturating_duration_since(*since) < self.idle_max;
        let mut owned = self.owned.borrow_mut();
        owned.retain(|_, owned| is_young(&owned.since) && is_silent(&owned.stream) && !owned.load.is_closed());
        let mut idle = self.idle.borrow_mut();
        idle.retain(|_, kept| {
            kept.streams.retain(|(stream, since)| is_young(since) && is_silent(stream));
            kept.streams.shrink_to(kept.streams.len() * 2);
            !kept.streams.is_empty() && !kept.load.is_closed()
        });
        idle.is_empty() && owned.is_empty()
    }
}

/// The idle connection that one client connection has for itself: the target was told that it is this one's. Dropped with
/// the client connection.
#[derive(Debug)]
pub(crate) struct Own {
    worker: Rc<Worker>,
    number: u64,
}

#[derive(Debug)]
struct Owned {
    key: Key,
    load: Arc<Load>,
    stream: TcpStream,
    since: Instant,
}

impl Own {
    /// For one more client connection of this worker.
    pub(crate) fn of(worker: &Rc<Worker>) -> Self {
        let number = worker.pool.next.get();
        worker.pool.next.set(number + 1);
        Self { worker: Rc::clone(worker), number }
    }

    /// The connection, if it goes to this target and nothing has happened on it.
    pub(crate) fn take(&self, target: &Target) -> Option<TcpStream> {
        let owned = self.worker.pool.owned.borrow_mut().remove(&self.number)?;
        let is_of_use = owned.key == key(target) && !owned.load.is_closed() && is_silent(&owned.stream);
        is_of_use.then_some(owned.stream)
    }

    /// Keeps a connection on which nothing is to be expected, in place of the one before.
    pub(crate) fn put(&self, target: &Target, stream: TcpStream, now: Instant) {
        if target.load.is_closed() || !is_quiet(&stream) {
            return;
        }
        let pool = &self.worker.pool;
        pool.sweep_soon(now);
        let owned = Owned { key: key(target), load: Arc::clone(&target.load), stream, since: now };
        pool.owned.borrow_mut().insert(self.number, owned);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.worker.pool.owned.borrow_mut().remove(&self.number);
    }
}

pub(crate) fn key(target: &Target) -> Key {
    (target.addr, target.generation)
}

/// Has nothing come from it, as far as its runtime has heard? No system call, and no waker.
fn is_silent(stream: &TcpStream) -> bool {
    stream.try_io(Interest::READABLE, || Ok(())).is_err()
}

/// Has nothing come from it, really? After a read that has filled its buffer, or a run through a pipe, the runtime does
/// not know.
fn is_quiet(stream: &TcpStream) -> bool {
    if is_silent(stream) {
        return true;
    }
    let mut byte = [MaybeUninit::uninit()];
    let peeked = stream.try_io(Interest::READABLE, || SockRef::from(stream).peek(&mut byte));
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Addresses of targets are nobody's to choose who would want them to collide, so that mixing them is enough.
#[derive(Debug, Default)]
pub(crate) struct AddrHasher(u64);

impl Hasher for AddrHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        // The multiplier of FxHash; the high bits are the mixed ones, and the map looks at both ends.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95).rotate_left(26);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener, TcpStream as StdStream};
    use std::task::Poll;

    use super::*;

    fn target() -> (TcpListener, Target) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, Target { name: "web.1".into(), generation: 1, addr, load: Arc::default() })
    }

    async fn connect(listener: &TcpListener) -> (TcpStream, StdStream) {
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ours, listener.accept().unwrap().0)
    }

    fn pool() -> Pool {
        Pool::new(&Deadlines::new(), Duration::from_secs(50))
    }

    /// Until the runtime has heard of it.
    async fn heard(pool: &Pool, addr: SocketAddr) {
        let heard = poll_fn(|cx| {
            if pool.idle.borrow()[&(addr, 1)].streams.iter().all(|(stream, _)| !is_silent(stream)) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("it is heard");
    }

    #[tokio::test]
    async fn when_room_is_needed_all_are_closed() {
        let (listener, target) = target();
        let (pool, (ours, mut theirs)) = (pool(), connect(&listener).await);
        assert!(!pool.clear());
        pool.put(&target, ours, Instant::now());
        assert!(pool.clear() && !pool.clear() && pool.take(&target).is_none());
        assert_eq!(std::io::Read::read(&mut theirs, &mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn the_last_one_that_is_silent_is_taken() {
        let (listener, target) = target();
        let (pool, now) = (pool(), Instant::now());
        let (first, _first) = connect(&listener).await;
        let (second, _second) = connect(&listener).await;
        let (at, last) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        pool.put(&target, first, now);
        pool.put(&target, second, now);
        assert_eq!(pool.take(&target).unwrap().local_addr().unwrap(), last);
        assert_eq!(pool.take(&target).unwrap().local_addr().unwrap(), at);
        assert!(pool.take(&target).is_none());
    }

    #[tokio::test]
    async fn one_that_has_spoken_or_ended_is_not_taken_c10() {
        let (listener, target) = target();
        let pool = pool();
        let (spoken, mut speaker) = connect(&listener).await;
        let (ended, ender) = connect(&listener).await;
        pool.put(&target, spoken, Instant::now());
        pool.put(&target, ended, Instant::now());
        speaker.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        drop(ender);
        heard(&pool, target.addr).await;
        assert!(pool.take(&target).is_none());
    }

    #[tokio::test]
    async fn one_to_a_target_that_is_gone_or_another_is_not_taken() {
        let (listener, target) = target();
        let (pool, now) = (pool(), Instant::now());
        let (stream, _kept) = connect(&listener).await;
        pool.put(&target, stream, now);
        let successor = Target { load: Arc::default(), generation: 2, ..target.clone() };
        assert!(pool.take(&successor).is_none());
        target.load.close();
        pool.forget_closed();
        assert!(pool.idle.borrow().is_empty() && pool.take(&target).is_none());
        let (stream, _kept) = connect(&listener).await;
        pool.put(&target, stream, now);
        assert!(pool.idle.borrow().is_empty());
    }

    #[tokio::test]
    async fn routes_to_one_address_share_its_connections() {
        let (listener, target) = target();
        let other = Target { name: "other".into(), load: Arc::default(), ..target.clone() };
        let (pool, now) = (pool(), Instant::now());
        for (from, to) in [(&target, &other), (&other, &target)] {
            let (stream, _kept) = connect(&listener).await;
            pool.put(from, stream, now);
            assert!(pool.take(to).is_some());
        }
        // One of them is taken out: what the other leaves then is kept.
        let (stream, _kept) = connect(&listener).await;
        pool.put(&target, stream, now);
        target.load.close();
        pool.forget_closed();
        assert!(pool.take(&other).is_none());
        let (stream, _kept) = connect(&listener).await;
        pool.put(&other, stream, now);
        pool.forget_closed();
        assert!(pool.take(&other).is_some());
    }

    #[tokio::test]
    async fn a_sweep_closes_the_old_and_the_ended_and_says_whether_any_are_left() {
        let (listener, target) = target();
        let (pool, now) = (pool(), Instant::now());
        let (old, _old) = connect(&listener).await;
        pool.put(&target, old, now);
        heard_nothing(&pool, now);
        let (young, ender) = connect(&listener).await;
        let later = now + Duration::from_secs(50);
        pool.put(&target, young, later);
        assert!(!pool.sweep(later));
        assert_eq!(pool.idle.borrow()[&key(&target)].streams.len(), 1);
        drop(ender);
        heard(&pool, target.addr).await;
        assert!(pool.sweep(later));
    }

    fn heard_nothing(pool: &Pool, now: Instant) {
        assert!(!pool.sweep(now + Duration::from_secs(49)));
    }

    #[tokio::test]
    async fn what_is_one_clients_is_nobody_elses() {
        let ((listener, target), worker) = (target(), Worker::with(Arc::default()));
        let (mine, yours) = (Own::of(&worker), Own::of(&worker));
        let (stream, _kept) = connect(&listener).await;
        mine.put(&target, stream, Instant::now());
        assert!(yours.take(&target).is_none() && worker.pool.take(&target).is_none());
        assert!(mine.take(&target).is_some() && mine.take(&target).is_none());
        // One to another target is of no use, nor is one that has ended, or whose target takes nothing new.
        let other = Target { generation: 2, load: Arc::default(), ..target.clone() };
        let (stream, mut theirs) = connect(&listener).await;
        mine.put(&target, stream, Instant::now());
        assert!(mine.take(&other).is_none());
        assert_eq!(std::io::Read::read(&mut theirs, &mut [0]).unwrap(), 0);
        let (stream, theirs) = connect(&listener).await;
        drop(theirs);
        stream.readable().await.unwrap();
        mine.put(&target, stream, Instant::now());
        assert!(mine.take(&target).is_none());
        let (stream, _kept) = connect(&listener).await;
        mine.put(&target, stream, Instant::now());
        target.load.close();
        worker.pool.forget_closed();
        assert!(worker.pool.owned.borrow().is_empty());
    }

    #[tokio::test]
    async fn what_is_one_clients_goes_with_it_or_with_age() {
        let ((listener, target), worker) = (target(), Worker::with(Arc::default()));
        let (mine, now) = (Own::of(&worker), Instant::now());
        let (first, mut theirs) = connect(&listener).await;
        mine.put(&target, first, now);
        let (second, mut others) = connect(&listener).await;
        mine.put(&target, second, now);
        assert_eq!(std::io::Read::read(&mut theirs, &mut [0]).unwrap(), 0, "there is one at a time");
        assert!(!worker.pool.sweep(now + Duration::from_secs(49)));
        assert!(worker.pool.sweep(now + Duration::from_secs(50)));
        assert_eq!(std::io::Read::read(&mut others, &mut [0]).unwrap(), 0);
        let (third, mut theirs) = connect(&listener).await;
        mine.put(&target, third, now);
        assert!(worker.pool.clear() && !worker.pool.clear());
        assert_eq!(std::io::Read::read(&mut theirs, &mut [0]).unwrap(), 0);
        let (fourth, mut theirs) = connect(&listener).await;
        mine.put(&target, fourth, now);
        drop(mine);
        assert_eq!(std::io::Read::read(&mut theirs, &mut [0]).unwrap(), 0);
    }
}
