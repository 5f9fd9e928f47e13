//! Which target a session goes to: a pure function of the route, the client and who has refused.

use std::cmp::Reverse;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use tambat_model::{Admission, Admitted, Balance, Protocol, Route, Target, Transport};

use crate::balance;

/// Which target a session goes to.
#[derive(Debug)]
pub(super) enum Place {
    /// To this one, at which it is counted already.
    At(Arc<Target>, Admitted),
    /// To none yet.
    Wait,
    /// To none.
    Nobody,
}

/// Is there anything for datagrams behind this route?
pub(super) fn takes_datagrams(route: &Route) -> bool {
    route.protocol.is_over(Transport::Udp)
}

/// Is each datagram a question that has one answer?
pub(super) fn settles(route: &Route) -> bool {
    route.protocol == Protocol::Dns
}

/// Which target the session of this client goes to; none of those that `has_refused`. A client keeps its target as long as
/// that is there, and no other is moved when one comes or goes: each target has a weight for each client, the greatest
/// wins (rendezvous hashing). `hasher` has a key that nobody knows, lest somebody choose his port by it.
///
/// There may be a newer table by now, as for streams: a target that is not there was closed before, and admits nobody.
pub(super) fn place(
    route: &Route,
    client: SocketAddr,
    hasher: &impl BuildHasher,
    has_refused: impl Fn(&Target) -> bool,
) -> Place {
    let targets = match &route.admission {
        Admission::Serve(targets) => targets,
        Admission::Hold { .. } => return Place::Wait,
        Admission::Refuse { .. } => return Place::Nobody,
    };
    let mut left: Vec<&Arc<Target>> = targets.iter().filter(|target| !has_refused(target)).collect();
    left.sort_by_cached_key(|target| {
        let load = if route.http.balance == Balance::LeastInFlight { target.load.in_flight() } else { 0 };
        let weight = match route.http.balance {
            // By the address alone, as streams are, so that both of one client go to one target.
            Balance::SourceHash => balance::weight(client.ip().to_canonical(), target),
            Balance::RoundRobin | Balance::LeastInFlight => weight(client, target, hasher),
        };
        (load, Reverse(weight))
    });
    let admit = |target: &Arc<Target>| Some((Arc::clone(target), target.load.admit(route.http.in_flight_max).ok()?));
    match left.into_iter().find_map(admit) {
        Some((target, admitted)) => Place::At(target, admitted),
        // They have been closed since, or refuse for now: the next table says what follows.
        None => Place::Wait,
    }
}

/// By the target's name: one that was started anew has the clients that it had.
fn weight(client: SocketAddr, target: &Target, hasher: &impl BuildHasher) -> u64 {
    let mut state = hasher.build_hasher();
    client.hash(&mut state);
    target.name.hash(&mut state);
    state.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use tambat_model::{HttpRules, Load};

    use super::*;

    type Fixed = BuildHasherDefault<DefaultHasher>;

    fn target(number: u16) -> Arc<Target> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 20_000 + number));
        Arc::new(Target { name: format!("dns.{number}"), generation: 1, addr, load: Arc::new(Load::default()) })
    }

    fn route(numbers: &[u16]) -> Route {
        Route::new("dns", Protocol::Udp, Admission::Serve(numbers.iter().map(|number| target(*number)).collect()))
    }

    fn client(number: u16) -> SocketAddr {
        ([192, 0, 2, 7], number).into()
    }

    fn placed(route: &Route, number: u16, refused: &[&str]) -> Option<String> {
        let has_refused = |target: &Target| refused.contains(&target.name.as_str());
        match place(route, client(number), &Fixed::default(), has_refused) {
            Place::At(target, _) => Some(target.name.clone()),
            Place::Wait | Place::Nobody => None,
        }
    }

    #[test]
    fn clients_are_spread_and_only_those_of_a_target_that_has_gone_are_moved() {
        let (all, fewer) = (route(&[1, 2, 3, 4]), route(&[1, 2, 4]));
        let mut share: BTreeMap<String, usize> = BTreeMap::new();
        for number in 1..=4_000 {
            let before = placed(&all, number, &[]).unwrap();
            let after = placed(&fewer, number, &[]).unwrap();
            assert!(before == "dns.3" || before == after);
            assert_eq!(placed(&all, number, &["dns.3"]).unwrap(), after, "one that refuses is as good as gone");
            *share.entry(before).or_default() += 1;
        }
        assert!(share.len() == 4 && share.values().all(|share| (850..1_150).contains(share)), "{share:?}");
    }

    #[test]
    fn the_least_loaded_where_that_is_asked_for() {
        let http = Arc::new(HttpRules { balance: Balance::LeastInFlight, ..HttpRules::default() });
        let route = Route { http, ..route(&[1, 2]) };
        let held: Vec<Place> =
            (0..10).map(|number| place(&route, client(number), &Fixed::default(), |_| false)).collect();
        let Admission::Serve(targets) = &route.admission else { panic!("{route:?}") };
        assert_eq!(targets.iter().map(|target| target.load.in_flight()).collect::<Vec<_>>(), [5, 5]);
        drop(held);
        assert_eq!(targets[0].load.in_flight(), 0);
    }

    #[test]
    fn by_the_source_all_ports_of_a_client_have_one_target() {
        let http = Arc::new(HttpRules { balance: Balance::SourceHash, ..HttpRules::default() });
        let route = Route { http, ..route(&[1, 2, 3]) };
        let first = placed(&route, 1, &[]);
        assert!(first.is_some() && (2..100).all(|number| placed(&route, number, &[]) == first));
    }

    #[test]
    fn who_is_closed_or_refuses_is_waited_for_and_who_is_given_up_is_not() {
        let route = route(&[1, 2]);
        assert_eq!(placed(&route, 1, &["dns.1", "dns.2"]), None);
        let Admission::Serve(targets) = &route.admission else { panic!("{route:?}") };
        targets.iter().for_each(|target| target.load.close());
        assert!(matches!(place(&route, client(1), &Fixed::default(), |_| false), Place::Wait));
        let refuse = Admission::Refuse { cause: "dns.1 exited".into(), mend: None };
        let refused = Route::new("dns", Protocol::Dns, refuse);
        assert!(matches!(place(&refused, client(1), &Fixed::default(), |_| false), Place::Nobody));
    }
}
