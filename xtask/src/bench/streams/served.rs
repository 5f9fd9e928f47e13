//! What a load has done, and what that has cost its proxy.

use std::time::Duration;

/// Bytes, round trips or connections, and the processor time of the proxy meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) count: u64,
    pub(super) used: Duration,
}

impl Served {
    /// Reads what a load has printed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (count, nanoseconds) = text.trim().split_once(' ')?;
        Some(Self { count: count.parse().ok()?, used: Duration::from_nanos(nanoseconds.parse().ok()?) })
    }

    pub(super) fn print(self) -> String {
        format!("{} {}", self.count, self.used.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let served = Served { count: 7, used: Duration::from_nanos(1_500_000_001) };
        assert_eq!(Served::parse(&served.print()), Some(served));
        for broken in ["", "1", "x 1", "1 x", "1 -1"] {
            assert_eq!(Served::parse(broken), None, "{broken}");
        }
    }
}
