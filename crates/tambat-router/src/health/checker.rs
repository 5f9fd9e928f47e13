//! Asks targets how they are, each in its own rhythm, for ever; and listens to what became of connections to them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tambat_model::{Cause, HealthRules, Protocol, ProxyProtocol};
use tambat_wire::{Expect, Probe};
use tokio::task::JoinSet;

use super::ask::ask;
use super::{Health, Sign};

/// How many targets are asked at one moment: each question takes a file descriptor.
pub const QUESTIONS_MAX: usize = 256;

/// 2^64 divided by the golden ratio: multiples of it, modulo 2^64, lie as far from each other as can be, however many
/// there are (Knuth, The Art of Computer Programming, volume 3, §6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// What is asked of one target, and how the answers count. Two that are equal are asked once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    /// Where.
    pub addr: SocketAddr,
    /// Which of those that had this address: [`tambat_model::Target::generation`].
    pub generation: u32,
    /// How often, and what follows from the answers.
    pub rules: HealthRules,
    /// What is asked.
    probe: Probe,
    /// What the connection begins with.
    proxy_protocol: Option<ProxyProtocol>,
}

impl Check {
    /// Of one target: that it accepts a connection, or, where the rules have a path, that it answers 2xx there, asked
    /// for as `host`. One of HTTP/2 without a path is asked as gRPC has it (`grpc.health.v1`). One that is told where
    /// connections come from is told that these are the router's own.
    pub fn new(
        addr: SocketAddr,
        generation: u32,
        rules: HealthRules,
        protocol: Protocol,
        host: &str,
        proxy_protocol: Option<ProxyProtocol>,
    ) -> Self {
        let probe = match (protocol, &rules.path) {
            (Protocol::H2c, path) => Probe::H2c { path: path.clone(), host: host.to_owned() },
            (_, None) => Probe::Accept,
            (_, Some(path)) => Probe::Http { path: path.clone(), host: host.to_owned(), expect: Expect::Success },
        };
        Self { addr, generation, rules, probe, proxy_protocol }
    }
}

/// Asks targets how they are. Nothing moves unless [`Checker::changed`] is awaited; dropping it ends every question.
#[derive(Debug, Default)]
pub struct Checker {
    ids: HashMap<Arc<Check>, Id>,
    watched: HashMap<Id, Watched>,
    by_addr: HashMap<SocketAddr, Vec<Id>>,
    due: BTreeSet<(Instant, Id, Due)>,
    asking: JoinSet<(Id, Sign)>,
    next: u64,
    changed: bool,
    view: HealthView,
}

/// What is known of all targets that are asked, for whoever wants to look. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct HealthView(Arc<Mutex<HashMap<Arc<Check>, Health>>>);

impl HealthView {
    /// What is known of a target; none: it is not asked.
    pub fn get(&self, check: &Check) -> Option<Health> {
        self.known().get(check).cloned()
    }

    /// Is nobody asked?
    pub fn is_empty(&self) -> bool {
        self.known().is_empty()
    }

    /// What is known of all of them at this moment.
    pub fn snapshot(&self) -> HashMap<Arc<Check>, Health> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Arc<Check>, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Id(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// It is asked again.
    Question,
    /// Its rest is over.
    Time,
}

#[derive(Debug)]
struct Watched {
    check: Arc<Check>,
    /// When the last question was due.
    asked: Instant,
}

impl Checker {
    /// One that asks nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on these are asked, and no others. What is known of those that were asked before stays known; others
    /// are in until something speaks against them. Questions are spread over the time between two.
    pub fn watch(&mut self, wanted: impl IntoIterator<Item = Check>) {
        let now = now();
        let mut gone: HashSet<Id> = self.watched.keys().copied().collect();
        for check in wanted {
            if let Some(id) = self.ids.get(&check) {
                gone.remove(id);
            } else {
                self.begin(check, now);
            }
        }
        for id in gone {
            self.end(id);
        }
    }

    /// A connection for a request to this target has failed; why is the end of a sentence that begins with its name.
    pub fn unreachable(&mut self, addr: SocketAddr, generation: u32, cause: &Cause) {
        for id in self.by_addr.get(&addr).cloned().unwrap_or_default() {
            if self.watched.get(&id).is_some_and(|watched| watched.check.generation == generation) {
                self.sign(id, Sign::Unreachable(Arc::clone(cause)));
            }
        }
    }

    /// What is known of the targets, now and later.
    pub fn view(&self) -> HealthView {
        self.view.clone()
    }

    /// How many are asked.
    pub fn count(&self) -> usize {
        self.watched.len()
    }

    /// Asks, until a target has come in or gone out, or is out for another reason. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            self.start_due();
            if std::mem::take(&mut self.changed) {
                return;
            }
            let next = self.next_due();
            let sleep = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(answer) = self.asking.join_next() => {
                    self.answered(answer);
                    while let Some(answer) = self.asking.try_join_next() {
                        self.answered(answer);
                    }
                }
                () = sleep => {}
            }
        }
    }

    fn begin(&mut self, check: Check, now: Instant) {
        let (id, check) = (Id(self.next), Arc::new(check));
        self.next += 1;
        let first = now + phase(id, check.rules.every);
        self.ids.insert(Arc::clone(&check), id);
        self.by_addr.entry(check.addr).or_default().push(id);
        self.due.insert((first, id, Due::Question));
        self.view.known().insert(Arc::clone(&check), Health::default());
        self.watched.insert(id, Watched { check, asked: first });
    }

    /// What is due for it finds nobody, nor does the answer to a question that is out.
    fn end(&mut self, id: Id) {
        let Some(watched) = self.watched.remove(&id) else {
            return;
        };
        self.ids.remove(&watched.check);
        self.view.known().remove(&watched.check);
        if let Some(ids) = self.by_addr.get_mut(&watched.check.addr) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_addr.remove(&watched.check.addr);
            }
        }
    }

    /// The next moment at which something can be done: while as many questions are out as may, only an answer helps.
    fn next_due(&self) -> Option<Instant> {
        let is_full = self.asking.len() >= QUESTIONS_MAX;
        self.due.iter().find(|(_, _, due)| *due == Due::Time || !is_full).map(|(at, _, _)| *at)
    }

    fn start_due(&mut self) {
        let now = now();
        let mut put_off = Vec::new();
        while let Some(entry) = self.due.first().copied().filter(|(at, _, _)| *at <= now) {
            self.due.remove(&entry);
            let (at, id, due) = entry;
            let Some(watched) = self.watched.get_mut(&id) else {
                continue;
            };
            match due {
                Due::Time => self.sign(id, Sign::Time),
                Due::Question if self.asking.len() < QUESTIONS_MAX => {
                    watched.asked = at;
                    let check = Arc::clone(&watched.check);
                    self.asking.spawn(async move {
                        (id, ask(check.addr, check.proxy_protocol, &check.probe, check.rules.within).await)
                    });
                }
                Due::Question => put_off.push(entry),
            }
        }
        self.due.extend(put_off);
    }

    /// Takes an answer, and sees to the next question: never two at a time, and none is made up for.
    fn answered(&mut self, answer: Result<(Id, Sign), tokio::task::JoinError>) {
        let Ok((id, sign)) = answer else {
            return;
        };
        if let Some(watched) = self.watched.get(&id) {
            let next = (watched.asked + watched.check.rules.every).max(now());
            self.due.insert((next, id, Due::Question));
            self.sign(id, sign);
        }
    }

    fn sign(&mut self, id: Id, sign: Sign) {
        let Some(watched) = self.watched.get(&id) else {
            return;
        };
        let mut known = self.view.known();
        let Some(health) = known.get_mut(&watched.check) else {
            return;
        };
        let cause = health.cause().cloned();
        *health = std::mem::take(health).on(sign, &watched.check.rules, now());
        self.changed |= cause.as_ref() != health.cause();
        if let Some(due) = health.due() {
            self.due.insert((due, id, Due::Time));
        }
    }
}

/// Where in the time between two questions the first one lies.
fn phase(id: Id, every: Duration) -> Duration {
    // The upper half as a fraction: no time between two questions is so long that this is not exact enough.
    let fraction = id.0.wrapping_mul(GOLDEN) >> 32;
    every.mul_f64(f64::from(u32::try_from(fraction).unwrap_or(u32::MAX)) / f64::from(u32::MAX))
}

/// The runtime's clock, which tests may move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    fn check(addr: SocketAddr, path: Option<&str>) -> Check {
        let rules =
            HealthRules { path: path.map(str::to_owned), every: Duration::from_millis(20), ..HealthRules::default() };
        Check::new(addr, 1, rules, Protocol::Http, "shop.example", None)
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    /// Waits for a change after which the target is in, or out.
    async fn until(checker: &mut Checker, check: &Check, is_in: bool) {
        let change = async {
            while checker.view().get(check).unwrap().is_in() != is_in {
                checker.changed().await;
            }
        };
        timeout(LIMIT, change).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_does_not_listen_goes_out_and_comes_back() {
        let (listener, addr) = listener().await;
        let (mut checker, check) = (Checker::new(), check(addr, None));
        checker.watch([check.clone()]);
        assert!(checker.view().get(&check).unwrap().is_in());
        drop(listener);
        until(&mut checker, &check, false).await;
        assert_eq!(checker.view().get(&check).unwrap().reason(&check.rules), "refuses connections");
        let _listener = TcpListener::bind(addr).await.unwrap();
        until(&mut checker, &check, true).await;
        assert_eq!(checker.view().get(&check).unwrap().reason(&check.rules), "answers");
    }

    #[tokio::test]
    async fn a_path_must_answer_2xx() {
        let (listener, addr) = listener().await;
        let (mut checker, check) = (Checker::new(), check(addr, Some("/healthz")));
        checker.watch([check.clone()]);
        let serve = async {
            let mut statuses = ["503 Busy"; 3].into_iter().chain(std::iter::repeat("204 Fine"));
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                let head = String::from_utf8_lossy(&request[..read]).into_owned();
                assert!(head.starts_with("GET /healthz HTTP/1.1\r\nHost: shop.example\r\n"), "{head}");
                let status = statuses.next().unwrap();
                stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
            }
        };
        let look = async {
            until(&mut checker, &check, false).await;
            let reason = checker.view().get(&check).unwrap().reason(&check.rules);
            assert!(reason.contains("503 Busy"), "{reason}");
            until(&mut checker, &check, true).await;
        };
        tokio::select! {
            () = look => {}
            () = serve => {}
        }
    }

    #[tokio::test]
    async fn one_that_takes_a_connection_and_says_nothing_is_out() {
        let (_listener, addr) = listener().await;
        let mut check = check(addr, Some("/"));
        check.rules.within = Duration::from_millis(50);
        let mut checker = Checker::new();
        checker.watch([check.clone()]);
        until(&mut checker, &check, false).await;
        assert_eq!(checker.view().get(&check).unwrap().reason(&check.rules), "gave no answer within 50ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_connection_puts_it_out_for_its_rest_and_only_its_own_generation() {
        let mut check = check(([127, 0, 0, 1], 1).into(), None);
        // So seldom that no question comes between.
        check.rules.every = Duration::from_hours(1);
        let mut other = check.clone();
        other.generation = 2;
        let mut checker = Checker::new();
        // The first is asked at once; the two of this test are not.
        let first = Check { addr: ([127, 0, 0, 1], 2).into(), ..check.clone() };
        checker.watch([first, check.clone(), other.clone()]);
        checker.unreachable(check.addr, 1, &"refused the connection".into());
        timeout(LIMIT, checker.changed()).await.unwrap();
        assert!(!checker.view().get(&check).unwrap().is_in() && checker.view().get(&other).unwrap().is_in());
        let start = tokio::time::Instant::now();
        until(&mut checker, &check, true).await;
        let rested = start.elapsed();
        assert!(rested >= super::super::REST && rested < super::super::REST * 2, "{rested:?}");
    }

    #[tokio::test]
    async fn what_is_known_survives_a_new_list_and_equal_ones_are_one() {
        let (mut checker, here) = (Checker::new(), check(([127, 0, 0, 1], 1).into(), None));
        let mut elsewhere = here.clone();
        elsewhere.addr.set_port(2);
        checker.watch([here.clone(), here.clone()]);
        assert_eq!(checker.count(), 1);
        checker.unreachable(here.addr, 1, &"refused the connection".into());
        checker.watch([elsewhere.clone(), here.clone()]);
        assert!(!checker.view().get(&here).unwrap().is_in() && checker.view().get(&elsewhere).unwrap().is_in());
        checker.watch([elsewhere.clone()]);
        assert_eq!((checker.count(), checker.view().get(&here)), (1, None));
        checker.watch([here.clone()]);
        assert!(checker.view().get(&here).unwrap().is_in(), "it is a new one");
    }

    #[test]
    fn questions_are_spread_over_the_time_between_two() {
        const TARGETS: u64 = 1_000;
        let every = Duration::from_secs(2);
        let mut slots: BTreeMap<u128, u32> = BTreeMap::new();
        for id in 0..TARGETS {
            let at = phase(Id(id), every);
            assert!(at <= every);
            *slots.entry(at.as_millis() / 20).or_default() += 1;
        }
        // A hundred slots of 20 ms, ten targets in each if they were spread evenly.
        assert!(slots.len() >= 100 && slots.values().all(|targets| (5..=15).contains(targets)), "{slots:?}");
    }
}
