//! Latencies, counted in buckets that are never wider than a 64th of what they hold.

use std::time::Duration;

/// 2^6 buckets for each power of two.
const PARTS_BITS: u32 = 6;
const PARTS: u64 = 1 << PARTS_BITS;

/// All that fits in 64 bits of nanoseconds.
const BUCKETS: usize = ((64 - PARTS_BITS as usize) + 1) << PARTS_BITS;

/// How often which latency was seen.
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    most: Duration,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, most: Duration::ZERO }
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.most = self.most.max(latency);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The latency that so many of a thousand do not exceed, at most a 64th too long; zero of none.
    pub(super) fn permille(&self, permille: u64) -> Duration {
        let rank = (self.total * permille).div_ceil(1_000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(Duration::ZERO, |bucket| Duration::from_nanos(upper(bucket)).min(self.most))
    }

    /// Exactly.
    pub(super) fn most(&self) -> Duration {
        self.most
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let exponent = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(PARTS_BITS + 1);
    let part = nanoseconds >> exponent;
    let bucket = (u64::from(exponent) << PARTS_BITS) + part;
    usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest that is counted there.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let exponent = (bucket >> PARTS_BITS).saturating_sub(1);
    let part = bucket - (exponent << PARTS_BITS);
    debug_assert!(part < 2 * PARTS, "a bucket has one spelling");
    ((part + 1) << exponent).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_a_bucket_that_is_hardly_wider() {
        let mut last = 0;
        for shift in 0..64_u32 {
            for near in [0, 1, 7] {
                let value = (1_u64 << shift).saturating_add(near << shift.saturating_sub(3));
                let (bucket, upper) = (bucket(value), upper(bucket(value)));
                assert!(bucket < BUCKETS && upper >= value, "{value} {bucket} {upper}");
                assert!(upper - value <= value / PARTS, "{value} {upper}");
                if near == 0 {
                    assert!(bucket >= last, "{value}");
                    last = bucket;
                }
            }
        }
    }

    #[test]
    fn percentiles_are_found_and_never_past_the_longest() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.permille(990), Duration::ZERO);
        (1..=1_000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let p50 = histogram.permille(500);
        assert!(p50 >= Duration::from_micros(500) && p50 < Duration::from_micros(509), "{p50:?}");
        assert_eq!(histogram.permille(1_000), Duration::from_millis(1));
        assert_eq!(histogram.most(), Duration::from_millis(1));
        histogram.clear();
        assert_eq!(histogram.most(), Duration::ZERO);
    }
}
