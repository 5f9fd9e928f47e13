//! What a process port has carried: counters that the router's workers keep and everybody may read.
//!
//! Each worker counts in a shard of its own, so that no two of them write to one cache line. No figure says anything
//! about another: while requests come and go they need not add up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::ErrorCode;

/// The upper bounds of the latency histogram, in microseconds; what takes longer is in one more bucket. Doubling, from
/// a quick answer on the same machine to the longest wait that anybody has.
pub const LATENCY_BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 1_024_000, 4_096_000,
    16_384_000, 65_536_000,
];

/// So many workers have a shard of their own, in which they count without the processor's help: a locked addition costs
/// as much as ten others, and there are seven a request. All beyond share one more.
const SOLE_SHARDS: usize = 7;

/// What a process port has carried.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Each made by the worker that counts there first: most of a hundred thousand routes have carried nothing yet.
    shards: [OnceLock<Box<Counters>>; SOLE_SHARDS + 1],
    /// Whose turn it is among the targets. Kept across route tables, so that a new table skews nothing.
    cursor: AtomicUsize,
    /// How many requests wait for a target.
    waiting: AtomicUsize,
    /// How many streams are open.
    streams: AtomicUsize,
}

impl Traffic {
    /// The shard of this worker (from 0). Nobody but its thread counts there: else counts would be lost.
    pub fn shard(&self, worker: usize) -> Shard<'_> {
        let nth = worker.min(SOLE_SHARDS);
        Shard { counters: self.shards[nth].get_or_init(Box::default), is_shared: nth == SOLE_SHARDS }
    }

    /// One turn among the targets.
    pub fn turn(&self) -> usize {
        self.cursor.fetch_add(1, Ordering::Relaxed)
    }

    /// One more request waits for a target: how many did before it?
    pub fn wait(&self) -> usize {
        self.waiting.fetch_add(1, Ordering::Relaxed)
    }

    /// One of those that [`Self::wait`] counted waits no more.
    pub fn wait_no_more(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// One more stream is open: how many were before it?
    pub fn open_stream(&self) -> usize {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// One of those that [`Self::open_stream`] counted is over.
    pub fn close_stream(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// All shards together.
    pub fn snapshot(&self) -> TrafficSnapshot {
        let mut sum = TrafficSnapshot::default();
        for counters in self.shards.iter().filter_map(OnceLock::get) {
            counters.add_to(&mut sum);
        }
        sum
    }
}

/// One worker's part, or the one that many share.
#[derive(Debug, Clone, Copy)]
pub struct Shard<'a> {
    counters: &'a Counters,
    is_shared: bool,
}

/// On cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counters {
    answers: [AtomicU64; 5],
    latency: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    latency_sum_us: AtomicU64,
    errors: [AtomicU64; ErrorCode::COUNT],
    begun: AtomicU64,
    ended: AtomicU64,
    retries: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    tunnels: AtomicU64,
    streams: AtomicU64,
    streams_ended: AtomicU64,
}

impl Shard<'_> {
    /// A request was routed here.
    pub fn begin(self) {
        self.add(&self.counters.begun, 1);
    }

    /// It was answered with this status (100 to 599) after this time. Called once for each [`Self::begin`].
    pub fn end(self, status: u16, latency: Duration) {
        let counters = self.counters;
        self.add(&counters.ended, 1);
        if let Some(class) = usize::from(status / 100).checked_sub(1).and_then(|class| counters.answers.get(class)) {
            self.add(class, 1);
        }
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.add(&counters.latency[LATENCY_BOUNDS_US.partition_point(|bound| *bound < us)], 1);
        self.add(&counters.latency_sum_us, us);
    }

    /// The router itself answered a request, or cut it off; or it turned a stream away, or ended it.
    pub fn error(self, code: ErrorCode) {
        self.add(&self.counters.errors[code.index()], 1);
    }

    /// A request was sent again.
    pub fn retry(self) {
        self.add(&self.counters.retries, 1);
    }

    /// A connection was upgraded.
    pub fn tunnel(self) {
        self.add(&self.counters.tunnels, 1);
    }

    /// A stream was taken on: a target is sought for it.
    pub fn stream(self) {
        self.add(&self.counters.streams, 1);
    }

    /// It is over. Called once for each [`Self::stream`].
    pub fn stream_ended(self) {
        self.add(&self.counters.streams_ended, 1);
    }

    /// Bytes received from clients, and from targets.
    pub fn bytes(self, from_client: u64, from_target: u64) {
        self.add(&self.counters.bytes_in, from_client);
        self.add(&self.counters.bytes_out, from_target);
    }

    fn add(self, counter: &AtomicU64, more: u64) {
        if self.is_shared {
            counter.fetch_add(more, Ordering::Relaxed);
        } else {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        }
    }
}

impl Counters {
    fn add_to(&self, sum: &mut TrafficSnapshot) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        sum.answers.iter_mut().zip(&self.answers).for_each(|(sum, counter)| *sum += get(counter));
        sum.latency.iter_mut().zip(&self.latency).for_each(|(sum, counter)| *sum += get(counter));
        sum.errors.iter_mut().zip(&self.errors).for_each(|(sum, counter)| *sum += get(counter));
        sum.latency_sum_us += get(&self.latency_sum_us);
        sum.requests += get(&self.begun);
        sum.ended += get(&self.ended);
        sum.retries += get(&self.retries);
        sum.bytes_in += get(&self.bytes_in);
        sum.bytes_out += get(&self.bytes_out);
        sum.tunnels += get(&self.tunnels);
        sum.streams += get(&self.streams);
        sum.streams_ended += get(&self.streams_ended);
    }
}

/// What a process port had carried at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrafficSnapshot {
    /// Requests routed to it.
    pub requests: u64,
    /// Of these, answered or cut off.
    pub ended: u64,
    /// Answers by class: 1xx (upgrades), 2xx, 3xx, 4xx, 5xx.
    pub answers: [u64; 5],
    /// Answers by latency: one for each of [`LATENCY_BOUNDS_US`], and those that took longer.
    pub latency: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// All latencies together, µs.
    pub latency_sum_us: u64,
    /// The router's own errors, in the order of [`ErrorCode::ALL`].
    pub errors: [u64; ErrorCode::COUNT],
    /// Requests sent again.
    pub retries: u64,
    /// Upgraded connections.
    pub tunnels: u64,
    /// Streams for it that were taken on: connections that carry no requests.
    pub streams: u64,
    /// Of these, those that are over.
    pub streams_ended: u64,
    /// Bytes received from clients: heads and bodies, and what streams carry.
    pub bytes_in: u64,
    /// Bytes received from targets.
    pub bytes_out: u64,
}

impl TrafficSnapshot {
    /// Requests being served now.
    pub fn in_flight(&self) -> u64 {
        self.requests.saturating_sub(self.ended)
    }

    /// Streams that are open now, those among them that wait for a target.
    pub fn streams_open(&self) -> u64 {
        self.streams.saturating_sub(self.streams_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_without_requests_costs_little() {
        assert!(size_of::<Traffic>() <= 256 && Traffic::default().shards[0].get().is_none());
    }

    #[test]
    fn where_many_share_a_shard_none_is_lost() {
        let traffic = Traffic::default();
        std::thread::scope(|scope| {
            for worker in [SOLE_SHARDS - 1, SOLE_SHARDS, SOLE_SHARDS + 1, SOLE_SHARDS + 9] {
                let traffic = &traffic;
                scope.spawn(move || (0..20_000).for_each(|_| traffic.shard(worker).begin()));
            }
        });
        assert_eq!(traffic.snapshot().requests, 80_000);
    }

    #[test]
    fn shards_add_up() {
        let traffic = Traffic::default();
        for worker in 0..20 {
            traffic.shard(worker).begin();
        }
        traffic.shard(0).end(200, Duration::from_micros(250));
        traffic.shard(1).end(504, Duration::from_secs(100));
        traffic.shard(1).error(ErrorCode::FirstByteTimeout);
        traffic.shard(2).bytes(3, 4);
        traffic.shard(3).stream();
        traffic.shard(3).stream();
        traffic.shard(3).stream_ended();
        let sum = traffic.snapshot();
        assert_eq!((sum.requests, sum.in_flight()), (20, 18));
        assert_eq!(sum.answers, [0, 1, 0, 0, 1]);
        assert_eq!((sum.latency[0], sum.latency[LATENCY_BOUNDS_US.len()]), (1, 1));
        assert_eq!(sum.errors[ErrorCode::FirstByteTimeout.index()], 1);
        assert_eq!((sum.bytes_in, sum.bytes_out), (3, 4));
        assert_eq!((sum.streams, sum.streams_open()), (2, 1));
    }
}
