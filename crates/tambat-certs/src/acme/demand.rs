//! Names that no route writes out and somebody connects to: a machine that decides which of them are asked about and
//! ordered. It is told the time, and knows no socket.
//!
//! Whoever connects chooses the name, so everything here has an end: one question a name at a time, a memory for a no, and
//! two buckets, one for whoever decides and one for the CA.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::ask::Decision;

/// A no is remembered for so long …
const NO_FOR: Duration = Duration::from_mins(10);

/// … and no answer for so long: whoever decides may be starting.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// After an order that failed the next handshake may ask again in so long.
const FAILED_FOR: Duration = Duration::from_mins(5);

/// So many names are remembered; the one that is forgotten first anyway goes for the next.
const REFUSED_MAX: usize = 4_096;

/// Whoever decides is asked about so many names at once …
const ASKS_BURST: u32 = 50;

/// … and about one more each time: 10 a second.
const ASKS_EVERY: Duration = Duration::from_millis(100);

/// The CA is asked for so many certificates at once …
const ORDERS_BURST: u32 = 20;

/// … and for one more each time: 300 in 3 hours, which a well-known CA allows an account.
const ORDERS_EVERY: Duration = Duration::from_secs(36);

/// The machine.
#[derive(Debug)]
pub(crate) struct Demand {
    asking: HashSet<Box<str>>,
    refused: Refused,
    asks: Bucket,
    orders: Bucket,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// Somebody connected to this name, and a route takes it.
    Wanted(&'a str),
    /// The answer about it.
    Decided(&'a str, Decision),
    /// The order failed.
    Failed(&'a str),
}

/// What follows for the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask about it.
    Ask,
    /// It is asked about already: wait.
    Wait,
    /// Order its certificate.
    Order,
    /// There is no certificate for whoever waits.
    Refuse,
}

impl Demand {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            asking: HashSet::new(),
            refused: Refused::default(),
            asks: Bucket::new(ASKS_BURST, ASKS_EVERY, now),
            orders: Bucket::new(ORDERS_BURST, ORDERS_EVERY, now),
        }
    }

    /// Takes in what happened.
    pub(crate) fn on(&mut self, event: Event<'_>, now: Instant) -> Step {
        match event {
            Event::Wanted(name) if self.asking.contains(name) => Step::Wait,
            Event::Wanted(name) => {
                if self.refused.has(name, now) || !self.asks.take(now) {
                    return Step::Refuse;
                }
                self.asking.insert(name.into());
                Step::Ask
            }
            Event::Decided(name, decision) => {
                self.asking.remove(name);
                match decision {
                    Decision::Yes if self.orders.take(now) => Step::Order,
                    // The bucket fills again before long: nothing to remember.
                    Decision::Yes => Step::Refuse,
                    Decision::No => self.refuse(name, now, NO_FOR),
                    Decision::Unknown => self.refuse(name, now, UNKNOWN_FOR),
                }
            }
            Event::Failed(name) => self.refuse(name, now, FAILED_FOR),
        }
    }

    /// Is it being asked about?
    pub(crate) fn is_asking(&self, name: &str) -> bool {
        self.asking.contains(name)
    }

    fn refuse(&mut self, name: &str, now: Instant, length: Duration) -> Step {
        self.refused.add(name, now, now + length);
        Step::Refuse
    }
}

/// The names that get none for now.
#[derive(Debug, Default)]
struct Refused {
    until: HashMap<Box<str>, (Instant, u64)>,
    /// The same by time, to find what is over; the number tells equal moments apart.
    order: BTreeMap<(Instant, u64), Box<str>>,
    next: u64,
}

impl Refused {
    fn has(&self, name: &str, now: Instant) -> bool {
        self.until.get(name).is_some_and(|(until, _)| now < *until)
    }

    fn add(&mut self, name: &str, now: Instant, until: Instant) {
        if let Some(key) = self.until.remove(name) {
            self.order.remove(&key);
        }
        while self.until.len() >= REFUSED_MAX
            || self.order.first_key_value().is_some_and(|((until, _), _)| *until <= now)
        {
            let Some((_, name)) = self.order.pop_first() else { break };
            self.until.remove(&name);
        }
        let key = (until, self.next);
        self.next += 1;
        self.until.insert(name.into(), key);
        self.order.insert(key, name.into());
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    burst: u32,
    every: Duration,
    /// When the last token that is counted came.
    filled: Instant,
}

impl Bucket {
    fn new(burst: u32, every: Duration, now: Instant) -> Self {
        Self { tokens: burst, burst, every, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let came = now.saturating_duration_since(self.filled).as_nanos() / self.every.as_nanos().max(1);
        let came = u32::try_from(came).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(came).min(self.burst);
        self.filled = if self.tokens == self.burst { now } else { self.filled + self.every * came };
        let has_one = self.tokens > 0;
        self.tokens -= u32::from(has_one);
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_a_name_and_a_memory_for_its_answer() {
        let begin = Instant::now();
        let mut demand = Demand::new(begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(demand.on(Event::Wanted("a"), at(0)), Step::Ask);
        assert_eq!(demand.on(Event::Wanted("a"), at(0)), Step::Wait);
        assert_eq!(demand.on(Event::Decided("a", Decision::Yes), at(1)), Step::Order);
        assert_eq!(demand.on(Event::Failed("a"), at(2)), Step::Refuse);
        assert_eq!(demand.on(Event::Wanted("a"), at(301)), Step::Refuse);
        assert_eq!(demand.on(Event::Wanted("a"), at(303)), Step::Ask);
        assert_eq!(demand.on(Event::Decided("a", Decision::No), at(303)), Step::Refuse);
        assert_eq!(demand.on(Event::Wanted("a"), at(902)), Step::Refuse);
        assert_eq!(demand.on(Event::Wanted("a"), at(904)), Step::Ask);
        assert_eq!(demand.on(Event::Decided("a", Decision::Unknown), at(904)), Step::Refuse);
        assert_eq!(demand.on(Event::Wanted("a"), at(935)), Step::Ask);
    }

    #[test]
    fn a_flood_of_names_asks_few_questions() {
        let begin = Instant::now();
        let mut demand = Demand::new(begin);
        let mut asked = 0;
        // 100,000 names in 100 s, all of which get a no.
        for number in 0..100_000_u64 {
            let (name, now) = (format!("n{number}"), begin + Duration::from_millis(number));
            if demand.on(Event::Wanted(&name), now) == Step::Ask {
                asked += 1;
                demand.on(Event::Decided(&name, Decision::No), now);
            }
        }
        assert!((1_045..=1_055).contains(&asked), "{asked}");
        assert!(demand.asking.is_empty());
    }

    #[test]
    fn the_ca_is_asked_for_few_certificates() {
        let begin = Instant::now();
        let mut demand = Demand::new(begin);
        let ordered = (0..3 * 3_600_u64).filter(|second| {
            let (name, now) = (format!("n{second}"), begin + Duration::from_secs(*second));
            assert_eq!(demand.on(Event::Wanted(&name), now), Step::Ask);
            demand.on(Event::Decided(&name, Decision::Yes), now) == Step::Order
        });
        let ordered = ordered.count();
        assert!((315..=321).contains(&ordered), "{ordered}");
    }

    #[test]
    fn the_memory_has_an_end() {
        let begin = Instant::now();
        let mut refused = Refused::default();
        let mut at = begin;
        for number in 0..3 * REFUSED_MAX {
            at += Duration::from_millis(1);
            refused.add(&format!("n{number}"), at, at + NO_FOR);
        }
        assert_eq!((refused.until.len(), refused.order.len()), (REFUSED_MAX, REFUSED_MAX));
        assert!(!refused.has("n0", at) && refused.has(&format!("n{}", 3 * REFUSED_MAX - 1), at));
        refused.add("x", at + NO_FOR, at + NO_FOR + NO_FOR);
        assert_eq!((refused.until.len(), refused.order.len()), (1, 1));
        refused.add("x", at + NO_FOR, at + NO_FOR + UNKNOWN_FOR);
        assert_eq!((refused.until.len(), refused.order.len()), (1, 1));
    }

    #[test]
    fn a_bucket_counts_parts_of_a_token_and_holds_no_more_than_its_burst() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(2, Duration::from_secs(10), begin);
        let mut taken = |seconds: u64| bucket.take(begin + Duration::from_secs(seconds));
        assert_eq!([taken(0), taken(0), taken(0)], [true, true, false]);
        assert_eq!([taken(9), taken(11), taken(12), taken(20)], [false, true, false, true]);
        assert_eq!([taken(1_000), taken(1_000), taken(1_000)], [true, true, false]);
    }
}
