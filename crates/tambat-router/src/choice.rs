//! Who serves a connection: a pure function of the route table, whom it wants, and what was tried.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_model::{Admission, Admitted, ErrorCode, Protocol, Route, RouteTable, Target};

use crate::balance;
use crate::listener::ListenerKind;
use crate::wanted::{Found, Wanted};

/// How many targets a connection is offered to in one go: the first and two more.
pub(crate) const TRIES_MAX: usize = 3;

/// How long a connection waits when no target takes it although the table has some: as long as an app is given to
/// become ready.
pub(crate) const UNTAKEN_LIMIT_S: u64 = 60;

/// How long one waits for one of its targets to have less in flight, where nothing else is said.
pub(crate) const FULL_LIMIT_S: u64 = 30;

/// Who serves a connection.
pub(crate) enum Choice {
    /// This target, at which it is counted already: that is the proof.
    Serve(Chosen, Admitted),
    /// Each request on the connection finds its own.
    Http,
    /// Nobody yet.
    Wait(Hold),
    /// Nobody.
    Refuse(Told),
}

/// A target, and the route by which it was found.
pub(crate) struct Chosen {
    pub(crate) route: Arc<Route>,
    pub(crate) target: Arc<Target>,
}

/// How a connection waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// How long at most; none: for ever.
    pub(crate) limit: Option<Duration>,
    /// For what.
    pub(crate) what: What,
    /// What the client is told when the limit has passed.
    pub(crate) told: Told,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A newer table.
    Table,
    /// The same, or that a target is there again of which the table does not know that it was gone.
    TableOrTarget,
    /// One of the targets to have less in flight.
    Room,
}

/// What a client is told, and in which protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) protocol: Protocol,
    /// As metrics and the log call it.
    pub(crate) code: ErrorCode,
    pub(crate) cause: String,
}

/// Which targets did not take this connection.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    addrs: Vec<SocketAddr>,
    /// What the last of them did: `web.1 refused the connection`.
    last: String,
    /// How many of them will never do what this connection needs, as they are.
    hopeless: usize,
}

impl Tried {
    pub(crate) fn push(&mut self, addr: SocketAddr, what: String) {
        self.addrs.push(addr);
        self.last = what;
    }

    /// The same of one that will take no such connection until somebody changes it.
    pub(crate) fn push_hopeless(&mut self, addr: SocketAddr, what: String) {
        self.push(addr, what);
        self.hopeless += 1;
    }

    /// How many there were.
    pub(crate) fn len(&self) -> usize {
        self.addrs.len()
    }

    /// Which.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// What the last of them did.
    pub(crate) fn last(&self) -> &str {
        &self.last
    }

    pub(crate) fn clear(&mut self) {
        self.addrs.clear();
        self.hopeless = 0;
    }
}

/// Who serves a connection at this listener that wants somebody there. There may be a newer table by now: a target that is
/// not there was closed before, and admits nobody, so that whoever closes one and then sees no connection in flight has seen
/// the truth.
pub(crate) fn choose(table: &RouteTable, at: ListenerKind, wanted: &Wanted, tried: &Tried, client: IpAddr) -> Choice {
    let route = match wanted.find(table, at) {
        Found::Route(route) => route,
        Found::NothingYet => {
            let cause = format!("{at} has no route yet");
            let told = Told { protocol: Protocol::Tcp, code: ErrorCode::NoRoute, cause };
            return Choice::Wait(Hold { limit: Some(Duration::from_secs(UNTAKEN_LIMIT_S)), what: What::Table, told });
        }
        Found::Nobody => {
            let cause = format!("nobody is reached so at {at}");
            return Choice::Refuse(Told { protocol: Protocol::Tcp, code: ErrorCode::NoRoute, cause });
        }
    };
    match &route.admission {
        Admission::Serve(_) | Admission::Refuse { .. } if route.protocol.is_http() => Choice::Http,
        Admission::Serve(targets) => serve(route, targets.is_empty(), tried, client),
        Admission::Hold { limit, cause, mend } => Choice::Wait(Hold {
            limit: route.http.wait.or(*limit),
            what: What::Table,
            told: told(route, ErrorCode::NoTarget, &whole(cause, mend.as_deref())),
        }),
        Admission::Refuse { cause, mend } => {
            Choice::Refuse(told(route, ErrorCode::NoTarget, &whole(cause, mend.as_deref())))
        }
    }
}

/// How long a connection has waited under a limit. A wait without one (the app is being built, or paused) does not
/// count: the limit starts when it is over.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// When the wait ends, given the limit of now.
    pub(crate) fn deadline(&mut self, limit: Option<Duration>, now: Instant) -> Option<Instant> {
        self.since = limit.and(self.since).or(limit.map(|_| now));
        // A limit beyond what the clock can say is none.
        self.since.zip(limit).and_then(|(since, limit)| since.checked_add(limit))
    }
}

fn serve(route: &Arc<Route>, is_empty: bool, tried: &Tried, client: IpAddr) -> Choice {
    let wait = |limit_s, what, code, cause: &str| {
        let limit = Some(route.http.wait.unwrap_or(Duration::from_secs(limit_s)));
        Choice::Wait(Hold { limit, what, told: told(route, code, cause) })
    };
    match balance::choose(route, tried, None, client) {
        balance::Choice::Serve(target, admitted) => {
            Choice::Serve(Chosen { route: Arc::clone(route), target }, admitted)
        }
        balance::Choice::Full => {
            let cause = "all its instances have as many connections as they may";
            wait(FULL_LIMIT_S, What::Room, ErrorCode::QueueFull, cause)
        }
        // All of them have been closed since: the next table says what follows.
        balance::Choice::Replaced => {
            let cause = "its instances are being replaced";
            wait(UNTAKEN_LIMIT_S, What::TableOrTarget, ErrorCode::NoTarget, cause)
        }
        // To wait would change nothing.
        balance::Choice::Exhausted | balance::Choice::None(_)
            if tried.hopeless > 0 && tried.hopeless == tried.addrs.len() =>
        {
            Choice::Refuse(told(route, ErrorCode::TargetUnreachable, &tried.last))
        }
        balance::Choice::Exhausted | balance::Choice::None(_) => {
            let cause = if is_empty { "it has no instance" } else { &tried.last };
            wait(UNTAKEN_LIMIT_S, What::TableOrTarget, ErrorCode::TargetUnreachable, cause)
        }
    }
}

/// Why, and what can be done about it.
fn whole(cause: &str, mend: Option<&str>) -> String {
    mend.map_or_else(|| cause.to_owned(), |mend| format!("{cause}: {mend}"))
}

fn told(route: &Route, code: ErrorCode, cause: &str) -> Told {
    Told { protocol: route.protocol, code, cause: format!("{} cannot be reached: {cause}", route.name) }
}

#[cfg(test)]
mod tests {
    use tambat_model::{Load, ServicePort, Traffic};

    use super::*;

    fn port() -> ServicePort {
        ServicePort::try_from(5_000_u16).unwrap()
    }

    fn target(number: u16) -> Arc<Target> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 20_000 + number));
        Arc::new(Target { name: format!("web.{number}"), generation: 1, addr, load: Arc::new(Load::default()) })
    }

    fn table(admission: Admission) -> RouteTable {
        let mut table = RouteTable::default();
        table.insert(port(), Route::new("web", Protocol::Tcp, admission));
        table
    }

    fn serves(numbers: impl IntoIterator<Item = u16>) -> RouteTable {
        table(Admission::Serve(numbers.into_iter().map(target).collect()))
    }

    fn choice(table: &RouteTable, tried: &Tried) -> Choice {
        choose(table, ListenerKind::Service(port()), &Wanted::Whoever, tried, [127, 0, 0, 1].into())
    }

    fn chosen(table: &RouteTable, tried: &Tried) -> String {
        match choice(table, tried) {
            Choice::Serve(chosen, _) => chosen.target.name.clone(),
            Choice::Wait(hold) => format!("wait: {}", hold.told.cause),
            Choice::Http => "http".to_owned(),
            Choice::Refuse(told) => format!("refuse: {}", told.cause),
        }
    }

    #[test]
    fn turns_go_round_and_a_new_table_does_not_reset_them() {
        let traffic = Arc::<Traffic>::default();
        let mut seen = Vec::new();
        for _ in 0..3 {
            // Each time another table of the same two.
            let admission = Admission::Serve([1, 2].map(target).to_vec());
            let mut table = RouteTable::default();
            let route = Route::new("web", Protocol::Tcp, admission);
            table.insert(port(), Route { traffic: Arc::clone(&traffic), ..route });
            seen.extend((0..3).map(|_| chosen(&table, &Tried::default())));
        }
        let expected: Vec<String> = (0..9).map(|i| format!("web.{}", i % 2 + 1)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_chosen_target_counts_the_connection_until_the_proof_is_dropped() {
        let table = serves([1]);
        let Choice::Serve(chosen, admitted) = choice(&table, &Tried::default()) else {
            panic!("there is a target");
        };
        let load = Arc::clone(&chosen.target.load);
        assert_eq!(load.in_flight(), 1);
        drop(admitted);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_second_try_goes_elsewhere() {
        let (table, mut tried) = (serves([1, 2, 3, 4]), Tried::default());
        assert_eq!(chosen(&table, &tried), "web.1");
        tried.push(target(1).addr, "web.1 refused the connection".into());
        assert_eq!(chosen(&table, &tried), "web.2");
        tried.push(target(2).addr, "web.2 refused the connection".into());
        assert_eq!(chosen(&table, &tried), "web.3");
        tried.push(target(3).addr, "web.3 refused the connection".into());
        assert_eq!(chosen(&table, &tried), "wait: web cannot be reached: web.3 refused the connection");
        tried.clear();
        assert_eq!(chosen(&table, &tried), "web.4");
    }

    #[test]
    fn without_a_route_or_a_target_it_waits_or_is_refused_with_the_cause() {
        let tried = Tried::default();
        assert_eq!(chosen(&RouteTable::default(), &tried), "wait: port 5000 has no route yet");
        let hold = table(Admission::Hold { limit: None, cause: "web is paused".into(), mend: None });
        assert_eq!(chosen(&hold, &tried), "wait: web cannot be reached: web is paused");
        let refuse = table(Admission::Refuse { cause: "web.1 exited".into(), mend: None });
        assert_eq!(chosen(&refuse, &tried), "refuse: web cannot be reached: web.1 exited");
    }

    #[test]
    fn patience_starts_with_the_first_limit_and_anew_after_a_wait_without_one() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        let mut patience = Patience::default();
        assert_eq!(patience.deadline(None, start), None);
        assert_eq!(patience.deadline(Some(s(60)), start + s(100)), Some(start + s(160)));
        assert_eq!(patience.deadline(Some(s(10)), start + s(105)), Some(start + s(110)));
        assert_eq!(patience.deadline(None, start + s(106)), None);
        assert_eq!(patience.deadline(Some(s(10)), start + s(200)), Some(start + s(210)));
        assert_eq!(patience.deadline(Some(Duration::MAX), start + s(201)), None);
    }
}
