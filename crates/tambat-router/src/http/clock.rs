//! What a worker says of itself and of the time in heads: request ids, dates, and its pseudonym in `Via`.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tambat_model::Route;
use tambat_wire::http1::RequestId;

use crate::calendar::date;

/// How long the clock on the wall is read off the monotonic one: it may be set meanwhile.
const ANCHOR_FOR: Duration = Duration::from_secs(1);

/// The wall clock and the random numbers of one worker: neither costs a system call.
#[derive(Debug)]
pub(crate) struct Clock {
    /// A moment on both clocks, milliseconds since 1970 on the one on the wall.
    anchor: Cell<(Instant, u64)>,
    random: Cell<u64>,
    /// The second that was asked for last, since 1970, and its text.
    date: RefCell<(u64, Rc<str>)>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            anchor: Cell::new((Instant::now(), unix_ms())),
            random: Cell::new(os_random()),
            date: RefCell::new((0, http_date(0).into())),
        }
    }

    /// A new id for a request that came at `now`.
    pub(crate) fn request_id(&self, now: Instant) -> RequestId {
        RequestId::new(self.unix_ms(now), u128::from(self.random()) << 64 | u128::from(self.random()))
    }

    /// Bytes that no other request gets.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        (u128::from(self.random()) << 64 | u128::from(self.random())).to_be_bytes()
    }

    /// This moment, as a `Date` field has it (RFC 9110 §5.6.7).
    pub(super) fn date(&self, now: Instant) -> Rc<str> {
        let second = self.unix_ms(now) / 1_000;
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, http_date(second).into());
        }
        Rc::clone(&date.1)
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        let (at, unix) = self.anchor.get();
        let since = now.saturating_duration_since(at);
        if since < ANCHOR_FOR {
            return unix + u64::from(since.subsec_millis());
        }
        let unix = unix_ms();
        self.anchor.set((now, unix));
        unix
    }

    /// `SplitMix64`: nobody is to guess secrets from these, only no two are to be the same.
    fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        mixed(next)
    }
}

/// The router's pseudonyms in `Via` (RFC 9110 §7.6.3), as one worker has them: one for each process port, since a request
/// may well come through the router twice, on its way to two of them. Only one that comes to the same again goes round
/// in a circle.
#[derive(Debug)]
pub(crate) struct Pseudonyms {
    /// Tells the router from others.
    router: u64,
    /// The one that was asked for last, and for whose traffic: as a rule it is asked for again.
    last: RefCell<(usize, Rc<str>)>,
}

impl Pseudonyms {
    /// Those of the router with this number, see [`router_number`].
    pub(crate) fn new(router: u64) -> Self {
        Self { router, last: RefCell::new((0, "".into())) }
    }

    /// For the requests of this route. Its traffic is the same in every table.
    pub(super) fn of(&self, route: &Route) -> Rc<str> {
        let traffic = Arc::as_ptr(&route.traffic) as usize;
        let mut last = self.last.borrow_mut();
        if last.0 != traffic {
            *last = (traffic, format!("tambat-{:016x}", mixed(self.router ^ traffic as u64)).into());
        }
        Rc::clone(&last.1)
    }
}

/// A number for a router that no other one has.
pub(crate) fn router_number() -> u64 {
    os_random()
}

fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// What the standard library seeds its hash maps with.
fn os_random() -> u64 {
    RandomState::new().hash_one(0)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = date(days);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[((month + 11) % 12) as usize]);
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {month} {year:04} {h:02}:{m:02}:{s:02} GMT")
}

#[cfg(test)]
mod tests {
    use tambat_model::{Admission, Protocol};

    use super::*;

    #[test]
    fn dates_are_those_of_the_standard() {
        // RFC 9110 §5.6.7, and the corners of the calendar.
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
        assert_eq!(http_date(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(http_date(1_735_689_599), "Tue, 31 Dec 2024 23:59:59 GMT");
    }

    #[test]
    fn ids_differ_and_know_the_time() {
        let clock = Clock::new();
        let now = Instant::now();
        let ids: Vec<String> =
            (0..1_000).map(|nth| clock.request_id(now + Duration::from_millis(nth * 7)).to_string()).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), ids.len());
        let ms = u64::from_str_radix(&ids[0].replace('-', "")[..12], 16).unwrap();
        assert!(unix_ms().abs_diff(ms) < 60_000, "{}", ids[0]);
    }

    #[test]
    fn each_process_port_has_its_pseudonym_in_every_table() {
        let route = |name: &str| Route::new(name, Protocol::Http, Admission::Serve(Vec::new()));
        let (all, web, api) = (Pseudonyms::new(1), route("web"), route("api"));
        let next = Route { traffic: Arc::clone(&web.traffic), ..route("web") };
        assert_eq!(all.of(&web), Pseudonyms::new(1).of(&next));
        assert_ne!(all.of(&web), all.of(&api));
        assert_ne!(all.of(&web), Pseudonyms::new(2).of(&web));
        assert!(all.of(&web).starts_with("tambat-") && all.of(&web).len() == 23);
    }
}
