//! Numbers that differ from machine to machine, so that many that run tambat do not all ask a CA at the same second. They
//! keep no secret.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A sequence of numbers that its seed decides.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

/// A part of a whole, in 65,536ths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part(u16);

impl Part {
    /// So much of it.
    pub(crate) fn of(self, whole: Duration) -> Duration {
        whole / (u32::from(u16::MAX) + 1) * u32::from(self.0)
    }
}

impl Jitter {
    /// Always the same numbers.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Others at each call.
    pub(crate) fn random() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// A part, each as likely as any other.
    pub(crate) fn part(&mut self) -> Part {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [high, low, ..] = (mixed ^ (mixed >> 31)).to_be_bytes();
        Part(u16::from_be_bytes([high, low]))
    }

    /// Between three quarters of this and five quarters.
    pub(crate) fn around(&mut self, duration: Duration) -> Duration {
        (duration / 4 * 3).saturating_add(self.part().of(duration / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_spread_over_the_whole() {
        let mut jitter = Jitter::seeded(1);
        let whole = Duration::from_secs(65_536);
        let parts: Vec<u64> = (0..1_000).map(|_| jitter.part().of(whole).as_secs()).collect();
        for quarter in 0..4 {
            let in_it = parts.iter().filter(|part| **part / 16_384 == quarter).count();
            assert!((200..300).contains(&in_it), "{quarter}: {in_it}");
        }
        for _ in 0..1_000 {
            let around = jitter.around(Duration::from_secs(100));
            assert!((75..=125).contains(&around.as_secs()), "{around:?}");
        }
        assert_ne!(Jitter::random().part(), Jitter::random().part());
    }
}
