//! The addresses whose connections were closed for a flood: who pauses, for how long, and when those who wait get in. Pure:
//! the time is an argument.
//!
//! A pause begins with an offence and is over by itself. Another offence after it begins one that is twice as long; one
//! within it begins none, for that connection was there before. Who has been quiet for a minute is forgotten.
//!
//! Connections that come meanwhile wait, each for a moment of its own behind the pause, so that those of a flood do not all
//! begin at once. It is told when they come and never changes: whatever others of the same address do, a client that has
//! done nothing waits only once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The first pause: a client that was closed by mistake hardly notices it, and a flood that begins anew at once is slowed
/// to a few connections from some thousand.
pub(super) const PAUSE_FIRST_MS: u64 = 100;

/// The longest one: then a flood costs nothing any more, and whoever shares its address still gets in while a browser
/// waits.
pub(super) const PAUSE_MAX_S: u64 = 10;

/// Who has done nothing for so long after a pause begins with the first one again: addresses change hands.
pub(super) const QUIET_S: u64 = 60;

/// How far apart those who have waited are let in: the work that one flood makes before it is closed is a small part of
/// it.
pub(super) const APART_MS: u64 = 20;

/// So many connections of one address wait: several browsers behind it, with their six each. A descriptor each, and what
/// the kernel keeps of what they send.
pub(super) const WAITING_PER_ADDRESS_MAX: u32 = 32;

/// So many wait of all addresses together: as many as may wait for targets at one listener.
pub(super) const WAITING_MAX: usize = 4_096;

/// So many addresses are known at a time: some 2 MiB. Whoever floods from more of them has each closed, as ever, but not
/// slowed.
pub(super) const ADDRESSES_MAX: usize = 16_384;

/// So many connections may be closed at once for breaking a rule otherwise: a client that is wrong tries again now and
/// then, and who tests all rules may wait a little in between.
pub(super) const BREAKS_MAX: u32 = 50;

/// So many of them come back a second.
pub(super) const BREAKS_PER_S: u32 = 5;

/// How often addresses that are to be forgotten are looked for, in all of them.
const SWEEP_EVERY_S: u64 = 10;

/// The same while there is no room for another one.
const SWEEP_FULL_EVERY_S: u64 = 1;

/// How many bits of an IPv6 address tell one client from another: a network of so many is what a single one gets, and it
/// uses the rest as it likes (RFC 6177, RFC 8981).
const IPV6_PREFIX_BITS: u32 = 64;

/// Why a connection was closed on its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offence {
    /// It was a flood.
    Flood,
    /// It broke a rule. Only many of these are a flood.
    Break,
}

/// What becomes of a connection that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is served.
    Now,
    /// It is served from then on, and [`PauseTable::leaves`] is told when it waits no more.
    At(Instant),
    /// As many wait as may.
    Never,
}

/// A pause has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) length: Duration,
    /// Is it longer than all that this address had since it was last forgotten?
    pub(super) is_news: bool,
}

#[derive(Debug)]
struct Address {
    /// How many pauses there have been since it was last quiet.
    pauses: u32,
    /// When the last of them is over.
    ends: Instant,
    /// The first moment behind it that nobody waits for.
    next: Instant,
    waiting: u32,
    /// How many breaks are left, as of then.
    breaks: u32,
    filled: Instant,
}

/// What is known of addresses.
#[derive(Debug)]
pub(super) struct PauseTable {
    addresses: HashMap<IpAddr, Address>,
    waiting: usize,
    swept: Option<Instant>,
}

impl PauseTable {
    pub(super) fn new() -> Self {
        Self { addresses: HashMap::new(), waiting: 0, swept: None }
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// A connection of this client has come.
    pub(super) fn arrives(&mut self, client: IpAddr, now: Instant) -> Entry {
        self.sweep(now, SWEEP_EVERY_S);
        let Some(address) = self.addresses.get_mut(&one_client(client)) else { return Entry::Now };
        let at = address.ends.max(address.next);
        if at <= now {
            return Entry::Now;
        }
        if address.waiting >= WAITING_PER_ADDRESS_MAX || self.waiting >= WAITING_MAX {
            return Entry::Never;
        }
        address.next = at + Duration::from_millis(APART_MS);
        address.waiting += 1;
        self.waiting += 1;
        Entry::At(at)
    }

    /// One of its connections waits no more, whatever became of it.
    pub(super) fn leaves(&mut self, client: IpAddr) {
        if let Some(address) = self.addresses.get_mut(&one_client(client)) {
            address.waiting -= 1;
            self.waiting -= 1;
        }
    }

    /// One of its connections was closed for this. Does a pause begin?
    pub(super) fn offends(&mut self, client: IpAddr, offence: Offence, now: Instant) -> Option<Pause> {
        let client = one_client(client);
        if !self.addresses.contains_key(&client) && self.addresses.len() >= ADDRESSES_MAX {
            self.sweep(now, SWEEP_FULL_EVERY_S);
            if self.addresses.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        let address = self.addresses.entry(client).or_insert_with(|| Address::new(now));
        if address.is_quiet(now) {
            address.pauses = 0;
        }
        match offence {
            Offence::Break if address.affords_break(now) => None,
            Offence::Break | Offence::Flood => address.pause(now),
        }
    }

    /// Forgets those who have been quiet, where that was not done just before.
    fn sweep(&mut self, now: Instant, every_s: u64) {
        let every = Duration::from_secs(every_s);
        if self.swept.is_none_or(|last| now.saturating_duration_since(last) >= every) {
            self.swept = Some(now);
            self.addresses.retain(|_, address| !address.is_forgotten(now));
        }
    }
}

impl Address {
    fn new(now: Instant) -> Self {
        Self { pauses: 0, ends: now, next: now, waiting: 0, breaks: BREAKS_MAX, filled: now }
    }

    fn pause(&mut self, now: Instant) -> Option<Pause> {
        if now < self.ends {
            return None;
        }
        let length = |pauses: u32| {
            let doubled = PAUSE_FIRST_MS.saturating_mul(1_u64.checked_shl(pauses).unwrap_or(u64::MAX));
            Duration::from_millis(doubled).min(Duration::from_secs(PAUSE_MAX_S))
        };
        let (last, new) = (self.pauses.checked_sub(1).map(length), length(self.pauses));
        self.pauses = self.pauses.saturating_add(1);
        self.ends = now + new;
        Some(Pause { length: new, is_news: last != Some(new) })
    }

    /// May it break one more rule?
    fn affords_break(&mut self, now: Instant) -> bool {
        self.breaks = self.breaks_left(now);
        self.filled = self.filled.max(now);
        let affords = self.breaks > 0;
        self.breaks = self.breaks.saturating_sub(1);
        affords
    }

    fn breaks_left(&self, now: Instant) -> u32 {
        let passed_ms = now.saturating_duration_since(self.filled).as_millis();
        let earned = u32::try_from(passed_ms * u128::from(BREAKS_PER_S) / 1_000).unwrap_or(u32::MAX);
        self.breaks.saturating_add(earned).min(BREAKS_MAX)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.pauses == 0 || now.saturating_duration_since(self.ends) >= Duration::from_secs(QUIET_S)
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.waiting == 0 && self.is_quiet(now) && self.breaks_left(now) == BREAKS_MAX
    }
}

/// The address that stands for a client.
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}
