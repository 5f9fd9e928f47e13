//! What the table of pauses does with a clock of its own: tables, a flood that comes back at once, and whatever may happen.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::table::{
    ADDRESSES_MAX, APART_MS, BREAKS_MAX, BREAKS_PER_S, Entry, Offence, PAUSE_FIRST_MS, PAUSE_MAX_S, PauseTable,
    QUIET_S, WAITING_MAX, WAITING_PER_ADDRESS_MAX,
};

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Almost so long.
fn less(time: Duration) -> Duration {
    time.saturating_sub(ms(1))
}

/// How long this client waits if it comes at `now`, and goes at once; none: it is closed.
fn waits(table: &mut PauseTable, client: IpAddr, now: Instant) -> Option<Duration> {
    match table.arrives(client, now) {
        Entry::Now => Some(Duration::ZERO),
        Entry::At(at) => {
            table.leaves(client);
            Some(at - now)
        }
        Entry::Never => None,
    }
}

fn floods(table: &mut PauseTable, client: IpAddr, now: Instant) -> Option<Duration> {
    table.offends(client, Offence::Flood, now).map(|pause| pause.length)
}

#[test]
fn pauses_double_while_it_goes_on_and_begin_anew_after_a_quiet_minute() {
    let (mut table, start) = (PauseTable::new(), Instant::now());
    let mut now = start;
    let expected_ms = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
    for length in expected_ms.map(ms) {
        assert_eq!(floods(&mut table, A, now), Some(length));
        // One that was there before changes nothing.
        assert_eq!(floods(&mut table, A, now + less(length)), None);
        assert_eq!(waits(&mut table, A, now + ms(1)), Some(less(length)));
        assert_eq!(waits(&mut table, B, now + ms(1)), Some(ms(0)));
        now += length;
        // Who left the last time has its moment yet.
        assert_eq!(waits(&mut table, A, now + ms(APART_MS)), Some(ms(0)));
    }
    now += less(Duration::from_secs(QUIET_S));
    assert_eq!(floods(&mut table, A, now), Some(Duration::from_secs(PAUSE_MAX_S)));
    now += Duration::from_secs(PAUSE_MAX_S + QUIET_S);
    assert_eq!(floods(&mut table, A, now), Some(ms(PAUSE_FIRST_MS)));
}

#[test]
fn it_is_news_when_pauses_become_longer() {
    let (mut table, mut now) = (PauseTable::new(), Instant::now());
    let mut news = Vec::new();
    for _ in 0..10 {
        let pause = table.offends(A, Offence::Flood, now).unwrap();
        news.push(pause.is_news);
        now += pause.length;
    }
    assert_eq!(news, [true, true, true, true, true, true, true, true, false, false]);
}

#[test]
fn those_who_wait_are_let_in_one_after_the_other_and_are_so_many_at_most() {
    let (mut table, now) = (PauseTable::new(), Instant::now());
    floods(&mut table, A, now);
    for nth in 0..u64::from(WAITING_PER_ADDRESS_MAX) {
        assert_eq!(table.arrives(A, now), Entry::At(now + ms(PAUSE_FIRST_MS + nth * APART_MS)));
    }
    assert_eq!(table.arrives(A, now), Entry::Never);
    table.leaves(A);
    let last = now + ms(PAUSE_FIRST_MS + u64::from(WAITING_PER_ADDRESS_MAX) * APART_MS);
    assert_eq!(table.arrives(A, now), Entry::At(last));
    (0..WAITING_PER_ADDRESS_MAX).for_each(|_| table.leaves(A));
    assert_eq!(table.arrives(A, last + ms(APART_MS)), Entry::Now);
    // A pause that begins while some wait changes nothing for them, and whoever comes then waits behind both.
    let mut table = PauseTable::new();
    floods(&mut table, A, now);
    let first = now + ms(PAUSE_FIRST_MS);
    assert_eq!(table.arrives(A, now), Entry::At(first));
    assert_eq!(floods(&mut table, A, first), Some(ms(2 * PAUSE_FIRST_MS)));
    assert_eq!(table.arrives(A, first), Entry::At(first + ms(2 * PAUSE_FIRST_MS)));
}

#[test]
fn all_who_wait_together_are_so_many_at_most() {
    let (mut table, now) = (PauseTable::new(), Instant::now());
    let mut waiting = 0;
    for nth in 0..200_u8 {
        let client = IpAddr::from([10, 0, 0, nth]);
        floods(&mut table, client, now);
        waiting += (0..WAITING_PER_ADDRESS_MAX).filter(|_| table.arrives(client, now) != Entry::Never).count();
    }
    assert_eq!(waiting, WAITING_MAX);
}

#[test]
fn broken_rules_are_a_flood_only_if_there_are_many() {
    let (mut table, mut now) = (PauseTable::new(), Instant::now());
    let breaks = |table: &mut PauseTable, now| table.offends(A, Offence::Break, now).is_some();
    assert!((0..BREAKS_MAX).all(|_| !breaks(&mut table, now)));
    assert_eq!(waits(&mut table, A, now), Some(ms(0)));
    assert!(breaks(&mut table, now));
    assert_eq!(waits(&mut table, A, now), Some(ms(PAUSE_FIRST_MS)));
    // So many come back a second, and no more than there were.
    now += Duration::from_secs(1);
    assert!((0..BREAKS_PER_S).all(|_| !breaks(&mut table, now)) && breaks(&mut table, now));
    now += Duration::from_mins(10);
    assert!((0..BREAKS_MAX).all(|_| !breaks(&mut table, now)) && breaks(&mut table, now));
    // As many as come back are never one.
    let mut table = PauseTable::new();
    for _ in 0..10_000 {
        assert!(!breaks(&mut table, now));
        now += Duration::from_secs(1) / BREAKS_PER_S;
    }
}

#[test]
fn a_network_of_ipv6_is_one_client() {
    let (mut table, now) = (PauseTable::new(), Instant::now());
    let of = |text: &str| text.parse::<IpAddr>().unwrap();
    floods(&mut table, of("2001:db8:1:2::3"), now);
    assert_eq!(waits(&mut table, of("2001:db8:1:2:ffff:ffff:ffff:ffff"), now), Some(ms(PAUSE_FIRST_MS)));
    assert_eq!(waits(&mut table, of("2001:db8:1:3::3"), now), Some(ms(0)));
    // As it arrives at a socket for both.
    floods(&mut table, of("::ffff:192.0.2.1"), now);
    assert_eq!(waits(&mut table, A, now), Some(ms(PAUSE_FIRST_MS)));
    assert_eq!(waits(&mut table, of("::ffff:192.0.2.2"), now), Some(ms(0)));
}

#[test]
fn so_many_addresses_are_known_and_the_quiet_ones_make_room() {
    let (mut table, now) = (PauseTable::new(), Instant::now());
    let nth = |nth: usize| IpAddr::from(u32::try_from(nth).unwrap().to_be_bytes());
    for number in 0..ADDRESSES_MAX {
        assert!(floods(&mut table, nth(number), now).is_some());
    }
    let one_more = nth(ADDRESSES_MAX);
    assert_eq!((floods(&mut table, one_more, now), table.len()), (None, ADDRESSES_MAX));
    assert!(floods(&mut table, nth(7), now + ms(PAUSE_FIRST_MS)).is_some(), "who is known is slowed yet");
    let later = now + ms(PAUSE_FIRST_MS) + Duration::from_secs(QUIET_S);
    assert!(floods(&mut table, one_more, later).is_some());
    assert_eq!(table.len(), 2);
}

/// A flood of connections that each come back as soon as they are closed, and need a millisecond to be seen through.
#[test]
fn a_flood_that_comes_back_at_once_is_served_a_few_times_in_a_minute() {
    const HOSTILE: usize = 4;
    let (mut table, start) = (PauseTable::new(), Instant::now());
    let mut served = 0;
    let mut next = [start; HOSTILE];
    // How long the good client that comes from there now and then waits.
    let mut longest = Duration::ZERO;
    for tick in 0..60_000 {
        let now = start + ms(tick);
        for turn in &mut next {
            if *turn > now {
                continue;
            }
            served += 1;
            table.offends(A, Offence::Flood, now);
            *turn = match table.arrives(A, now) {
                // It stands in the queue until then.
                Entry::At(at) => at,
                Entry::Now | Entry::Never => now + ms(1),
            };
            if *turn > now + ms(1) {
                table.leaves(A);
            }
        }
        if tick % 97 == 0 {
            longest = longest.max(waits(&mut table, A, now).unwrap());
        }
    }
    // Seven pauses until they are as long as they get, and five of these.
    assert!((40..=60).contains(&served), "{served}");
    assert!(longest <= Duration::from_secs(PAUSE_MAX_S + 1), "{longest:?}");
}

#[derive(Debug, Clone)]
enum Event {
    Arrives(u8),
    Leaves(u8),
    Offends(u8, bool),
    Passes(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let client = 0..4_u8;
    prop_oneof![
        4 => client.clone().prop_map(Event::Arrives),
        2 => client.clone().prop_map(Event::Leaves),
        3 => (client, any::<bool>()).prop_map(|(client, is_flood)| Event::Offends(client, is_flood)),
        1 => (0..3_000_u64).prop_map(Event::Passes),
        1 => Just(Event::Passes(70_000)),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_nobody_waits_too_long_and_all_is_forgotten(
        events in proptest::collection::vec(event(), 1..400),
    ) {
        let (mut table, mut now) = (PauseTable::new(), Instant::now());
        let mut waiting = [0_u32; 4];
        let mut last_offence = [None; 4];
        let client = |nth: u8| IpAddr::from([198, 51, 100, nth]);
        let longest = Duration::from_secs(PAUSE_MAX_S) + ms(u64::from(WAITING_PER_ADDRESS_MAX) * APART_MS);
        for event in events {
            match event {
                Event::Arrives(nth) => {
                    let entry = table.arrives(client(nth), now);
                    match entry {
                        Entry::Now => {}
                        Entry::At(at) => {
                            waiting[usize::from(nth)] += 1;
                            // Those who left early leave their moments behind.
                            prop_assert!(at > now);
                        }
                        Entry::Never => prop_assert_eq!(waiting[usize::from(nth)], WAITING_PER_ADDRESS_MAX),
                    }
                    if last_offence[usize::from(nth)].is_none() {
                        prop_assert_eq!(entry, Entry::Now);
                    }
                }
                Event::Leaves(nth) if waiting[usize::from(nth)] > 0 => {
                    waiting[usize::from(nth)] -= 1;
                    table.leaves(client(nth));
                }
                Event::Leaves(_) => {}
                Event::Offends(nth, is_flood) => {
                    let offence = if is_flood { Offence::Flood } else { Offence::Break };
                    let pause = table.offends(client(nth), offence, now);
                    last_offence[usize::from(nth)] = Some(now);
                    if let Some(pause) = pause {
                        prop_assert!(pause.length >= ms(PAUSE_FIRST_MS) && pause.length <= Duration::from_secs(PAUSE_MAX_S));
                        match table.arrives(client(nth), now) {
                            Entry::Now => prop_assert!(false, "a pause that has begun is one"),
                            Entry::At(_) => waiting[usize::from(nth)] += 1,
                            Entry::Never => {}
                        }
                    }
                }
                Event::Passes(time) => now += ms(time),
            }
        }
        for nth in 0..4 {
            (0..waiting[usize::from(nth)]).for_each(|_| table.leaves(client(nth)));
        }
        now += longest + Duration::from_secs(QUIET_S) + ms(400 * APART_MS);
        prop_assert_eq!(table.arrives(client(0), now), Entry::Now);
        prop_assert_eq!(table.len(), 0);
    }
}
