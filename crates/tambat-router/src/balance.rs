//! Which target gets a request or a stream: a pure function of its route, the targets tried before, and its client.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tambat_model::{Admission, Admitted, Balance, Denied, Route, Target};

use crate::choice::{TRIES_MAX, Tried};

/// Which target gets it.
#[derive(Debug)]
pub(crate) enum Choice<'r> {
    /// This one, at which it is counted already.
    Serve(Arc<Target>, Admitted),
    /// All that may be chosen have as much in flight as they may.
    Full,
    /// All that may be chosen have been closed since the table was made: the next one says what follows.
    Replaced,
    /// All that may be chosen were tried.
    Exhausted,
    /// None yet, or none at all: as the table says.
    None(&'r Admission),
}

/// Which target gets a request or stream of this route, that is this client's. `stays_with`: the mark of the target that
/// the client had before.
pub(crate) fn choose<'r>(route: &'r Route, tried: &Tried, stays_with: Option<Mark>, client: IpAddr) -> Choice<'r> {
    let Admission::Serve(targets) = &route.admission else {
        return Choice::None(&route.admission);
    };
    if tried.len() >= TRIES_MAX {
        return Choice::Exhausted;
    }
    if let Some(mark) = stays_with
        && let Some(target) = targets.iter().find(|target| Mark::of(target) == mark && !tried.has(target.addr))
        && let Ok(admitted) = target.load.admit(route.http.in_flight_max)
    {
        return Choice::Serve(Arc::clone(target), admitted);
    }
    among(route, targets, tried, client)
}

fn among<'r>(route: &Route, targets: &[Arc<Target>], tried: &Tried, client: IpAddr) -> Choice<'r> {
    // Where there is no choice, no turn has to be shared with the other workers.
    let turn = if targets.len() > 1 { route.traffic.turn() % targets.len() } else { 0 };
    let from_turn = targets[turn..].iter().chain(&targets[..turn]).filter(|target| !tried.has(target.addr));
    let mut denied = None;
    let mut admit = |target: &Arc<Target>| match target.load.admit(route.http.in_flight_max) {
        Ok(admitted) => Some(Choice::Serve(Arc::clone(target), admitted)),
        Err(why) => {
            // One that is only full may be free in a moment.
            denied = if denied == Some(Denied::Full) { denied } else { Some(why) };
            None
        }
    };
    let served = match route.http.balance {
        Balance::RoundRobin => from_turn.into_iter().find_map(&mut admit),
        Balance::LeastInFlight => {
            // Of equals the first, and that is in turn.
            let least = from_turn.clone().min_by_key(|target| target.load.in_flight());
            least.and_then(&mut admit).or_else(|| from_turn.into_iter().find_map(&mut admit))
        }
        Balance::SourceHash => {
            let mut all: Vec<&Arc<Target>> = from_turn.collect();
            all.sort_by_key(|target| Reverse(weight(client, target)));
            all.into_iter().find_map(&mut admit)
        }
    };
    served.unwrap_or(match denied {
        None => Choice::Exhausted,
        Some(Denied::Full) => Choice::Full,
        Some(Denied::Closed) => Choice::Replaced,
    })
}

/// How much this client is drawn to this target: it goes to the one that draws it most (rendezvous hashing). So when a
/// target goes only its own clients go elsewhere, and a new one gets its share of all. It is the target's name that counts:
/// what is started again keeps its clients.
pub(crate) fn weight(client: IpAddr, target: &Target) -> u64 {
    let address = match client.to_canonical() {
        IpAddr::V4(four) => fnv(&four.octets()),
        IpAddr::V6(six) => fnv(&six.octets()),
    };
    mixed(mixed(Mark::of(target).0) ^ address)
}

/// FNV-1a, which stays the same over versions of everything.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Every bit of it decides about every bit of the answer (the finalizer of `SplitMix64`).
fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// What a client's cookie says of its target: a short hash of its name, which outlives its restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn of(target: &Target) -> Self {
        Self(fnv(target.name.as_bytes()))
    }

    /// From the value of a cookie; none: it is none of ours.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() == 16)?;
        text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }

    /// Writes a `Set-Cookie` (RFC 6265 §4.1) in place of what is in `out`. It lasts as long as the browser's session.
    pub(crate) fn write_cookie(self, name: &str, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(format!("{name}={:016x}; Path=/; HttpOnly; SameSite=Lax", self.0).as_bytes());
    }
}

impl Tried {
    fn has(&self, addr: SocketAddr) -> bool {
        self.addrs().contains(&addr)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tambat_model::{HttpRules, Protocol};

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn target(number: u16) -> Arc<Target> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 20_000 + number));
        Arc::new(Target { name: format!("web.{number}"), generation: 1, addr, load: Arc::default() })
    }

    fn route(numbers: impl IntoIterator<Item = u16>, rules: HttpRules) -> Route {
        let admission = Admission::Serve(numbers.into_iter().map(target).collect());
        Route { http: Arc::new(rules), ..Route::new("web", Protocol::Http, admission) }
    }

    fn targets(route: &Route) -> &[Arc<Target>] {
        let Admission::Serve(targets) = &route.admission else { panic!("{route:?}") };
        targets
    }

    /// The name of the choice, and what proves it.
    fn chosen(route: &Route, tried: &Tried, stays_with: Option<Mark>) -> (String, Option<Admitted>) {
        match choose(route, tried, stays_with, CLIENT) {
            Choice::Serve(target, admitted) => (target.name.clone(), Some(admitted)),
            other => (format!("{other:?}").split(['(', '{']).next().unwrap().trim().to_owned(), None),
        }
    }

    fn next(route: &Route) -> String {
        chosen(route, &Tried::default(), None).0
    }

    #[test]
    fn turns_go_round_over_tables_because_the_traffic_outlives_them() {
        let mut route = route([1, 2, 3], HttpRules::default());
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.extend((0..4).map(|_| next(&route)));
            route = Route { admission: route.admission.clone(), ..route };
        }
        let expected: Vec<String> = (0..12).map(|turn| format!("web.{}", turn % 3 + 1)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_least_busy_target_is_chosen_and_among_equals_in_turn() {
        let route = route([1, 2, 3], HttpRules { balance: Balance::LeastInFlight, ..HttpRules::default() });
        let held: Vec<_> = (0..3).map(|_| chosen(&route, &Tried::default(), None)).collect();
        let names: Vec<&str> = held.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["web.1", "web.2", "web.3"]);
        let (_first, second) = (&held[0], targets(&route)[1].load.admit(None).unwrap());
        let third = targets(&route)[2].load.admit(None).unwrap();
        assert_eq!(next(&route), "web.1");
        drop((second, third));
    }

    fn led_to(route: &Route, client: u32) -> String {
        match choose(route, &Tried::default(), None, IpAddr::from(client.to_be_bytes())) {
            Choice::Serve(target, _) => target.name.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_is_led_to_its_target_and_who_loses_it_goes_elsewhere_alone() {
        const CLIENTS: u32 = 4_000;
        let rules = HttpRules { balance: Balance::SourceHash, ..HttpRules::default() };
        let [four, three] = [vec![1, 2, 3, 4], vec![4, 1, 3]].map(|numbers| route(numbers, rules.clone()));
        let mut shares = std::collections::BTreeMap::<String, u32>::new();
        for client in 0x0a00_0000..0x0a00_0000 + CLIENTS {
            let before = led_to(&four, client);
            assert_eq!(led_to(&four, client), before);
            let after = led_to(&three, client);
            assert!(after == before || before == "web.2", "{client}: {before}, {after}");
            *shares.entry(before).or_default() += 1;
        }
        // A quarter each, give or take five standard deviations.
        assert!(shares.len() == 4 && shares.values().all(|share| share.abs_diff(CLIENTS / 4) < 140), "{shares:?}");
        // The same client, however its address is written.
        let mapped: IpAddr = "::ffff:10.0.0.7".parse().unwrap();
        let target = target(1);
        assert_eq!(weight(mapped, &target), weight([10, 0, 0, 7].into(), &target));
        assert_ne!(
            weight("2001:db8::1".parse().unwrap(), &target),
            weight("2001:db8:0:1::1".parse().unwrap(), &target)
        );
    }

    #[test]
    fn a_full_target_is_passed_over_until_all_are_full() {
        for balance in [Balance::RoundRobin, Balance::LeastInFlight, Balance::SourceHash] {
            let rules = HttpRules { in_flight_max: NonZeroU32::new(1), balance, ..HttpRules::default() };
            let route = route([1, 2], rules);
            let first = chosen(&route, &Tried::default(), None);
            let second = chosen(&route, &Tried::default(), None);
            assert_ne!(first.0, second.0);
            assert_eq!(next(&route), "Full");
            targets(&route)[0].load.close();
            // The other one may be free in a moment.
            assert_eq!(next(&route), "Full");
            drop((first, second));
            assert_eq!(next(&route), "web.2");
        }
    }

    #[test]
    fn closed_targets_are_passed_over_and_a_swap_is_seen_as_one() {
        let route = route([1, 2], HttpRules::default());
        targets(&route)[0].load.close();
        assert_eq!((next(&route), next(&route)), ("web.2".into(), "web.2".into()));
        targets(&route)[1].load.close();
        assert_eq!(next(&route), "Replaced");
        assert!(targets(&route).iter().all(|target| target.load.in_flight() == 0));
    }

    #[test]
    fn a_second_try_goes_elsewhere_and_a_fourth_nowhere() {
        let route = route([1, 2, 3, 4], HttpRules::default());
        let mut tried = Tried::default();
        let mut seen = Vec::new();
        for _ in 0..TRIES_MAX {
            let (name, _) = chosen(&route, &tried, None);
            let target = targets(&route).iter().find(|target| target.name == name).unwrap();
            tried.push(target.addr, format!("{name} refused the connection"));
            seen.push(name);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), TRIES_MAX);
        assert_eq!(chosen(&route, &tried, None).0, "Exhausted");
        let single = super::tests::route([1], HttpRules::default());
        let mut tried = Tried::default();
        tried.push(targets(&single)[0].addr, String::new());
        assert_eq!(chosen(&single, &tried, None).0, "Exhausted");
    }

    #[test]
    fn a_client_stays_with_its_target_while_that_is_there() {
        let route = route([1, 2, 3], HttpRules::default());
        let mark = Mark::of(&targets(&route)[2]);
        let mut cookie = Vec::new();
        mark.write_cookie("tambat", &mut cookie);
        let value = cookie.strip_prefix(b"tambat=").unwrap().split(|b| *b == b';').next().unwrap();
        assert_eq!(Mark::parse(value), Some(mark));
        for _ in 0..5 {
            assert_eq!(chosen(&route, &Tried::default(), Mark::parse(value)).0, "web.3");
        }
        let mut tried = Tried::default();
        tried.push(targets(&route)[2].addr, String::new());
        assert_ne!(chosen(&route, &tried, Some(mark)).0, "web.3");
        targets(&route)[2].load.close();
        assert_ne!(chosen(&route, &Tried::default(), Some(mark)).0, "web.3");
        for foreign in ["", "web.3", "+123456789abcdef", "0123456789abcdef0", "g123456789abcdef"] {
            assert_eq!(Mark::parse(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn without_targets_the_table_says_what_becomes_of_it() {
        let admission = Admission::Hold { limit: None, cause: "web is paused".into(), mend: None };
        let route = Route::new("web", Protocol::Http, admission);
        assert!(matches!(
            choose(&route, &Tried::default(), None, CLIENT),
            Choice::None(Admission::Hold { cause, .. }) if &**cause == "web is paused"
        ));
    }
}
