//! What a load tells at its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{figures::float, procfs::Used};

/// Of the measured part of a load: neither its warm-up nor its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Measured {
    /// Whole answers, each with the right status and the right length.
    pub(in super::super) answers: u64,
    /// What their bodies held.
    pub(in super::super) bytes: u64,
    pub(in super::super) time: Duration,
    /// Processor time of the proxy.
    pub(in super::super) used: Used,
    pub(in super::super) p50: Duration,
    pub(in super::super) p99: Duration,
    pub(in super::super) most: Duration,
}

impl Measured {
    /// A line of JSON, times in nanoseconds.
    pub(super) fn print(&self) -> String {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        json!({
            "answers": self.answers,
            "bytes": self.bytes,
            "time": nanoseconds(self.time),
            "processor": nanoseconds(self.used.processor),
            "user": nanoseconds(self.used.user),
            "system": nanoseconds(self.used.system),
            "p50": nanoseconds(self.p50),
            "p99": nanoseconds(self.p99),
            "most": nanoseconds(self.most),
        })
        .to_string()
    }

    /// Reads it back.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let count = |name: &str| value.get(name)?.as_u64();
        let time = |name: &str| count(name).map(Duration::from_nanos);
        Some(Self {
            answers: count("answers")?,
            bytes: count("bytes")?,
            time: time("time")?,
            used: Used { processor: time("processor")?, user: time("user")?, system: time("system")? },
            p50: time("p50")?,
            p99: time("p99")?,
            most: time("most")?,
        })
    }

    /// Of this part of the processor time, for each answer, in microseconds.
    pub(super) fn micros(&self, part: Duration) -> f64 {
        part.as_secs_f64() * 1e6 / float(self.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let measured = Measured {
            answers: 4,
            bytes: 4_096,
            time: Duration::from_secs(2),
            used: Used {
                processor: Duration::from_micros(60),
                user: Duration::ZERO,
                system: Duration::from_micros(50),
            },
            p50: Duration::from_nanos(1),
            p99: Duration::from_nanos(2),
            most: Duration::from_nanos(3),
        };
        assert_eq!(Measured::parse(&measured.print()), Some(measured));
        assert!((measured.micros(measured.used.processor) - 15.0).abs() < 1e-9);
        assert_eq!(Measured::parse("{}"), None);
    }
}
