//! From the routes of a file and what is known of their targets to the route table. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use tambat_manifest::FileRoute;
use tambat_model::{Admission, Cause, EntrancePlan, Ledger, Load, Route, RouteTable, Site, Target, Traffic, Transport};
use tambat_router::{Check, Health, HealthView, TargetHealth};

/// Targets are somebody else's: they have one generation.
const GENERATION: u32 = 1;

/// So many targets that are out are named in a cause; more are counted.
const CAUSES_MAX: usize = 3;

/// What outlives a file: counters, and what is in flight at which target.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    ledger: Ledger,
    targets: HashMap<String, Arc<Target>>,
    /// Of each check: was it in when that was said last?
    said: HashMap<Arc<Check>, bool>,
}

/// The routes of a file, with what outlives it.
#[derive(Debug)]
pub(crate) struct Routes {
    all: Vec<Known>,
    entrances: Vec<EntrancePlan>,
    by_name: HashMap<String, usize>,
    /// Each check once, and the targets it is about.
    checks: HashMap<Arc<Check>, Asked>,
}

/// A route, its counters and its targets.
#[derive(Debug)]
struct Known {
    route: FileRoute,
    traffic: Arc<Traffic>,
    targets: Vec<(Arc<Target>, Arc<Check>)>,
}

/// What a check is about.
#[derive(Debug)]
struct Asked {
    /// The first target.
    name: String,
    /// How many there are.
    targets: usize,
}

/// The routes, and what is known of their targets, at one moment.
#[derive(Debug)]
pub(crate) struct Seen {
    routes: Arc<Routes>,
    health: HashMap<Arc<Check>, Health>,
}

impl Memory {
    /// The routes of a file as they are read, and the listeners of their own; what was there before keeps its counters and
    /// what it has in flight.
    pub(crate) fn routes(&mut self, routes: Vec<FileRoute>, entrances: Vec<EntrancePlan>) -> Routes {
        let mut made = Routes {
            entrances,
            all: Vec::with_capacity(routes.len()),
            by_name: routes.iter().zip(0..).map(|(route, nth)| (route.name.clone(), nth)).collect(),
            checks: HashMap::new(),
        };
        let mut before = std::mem::take(&mut self.targets);
        for route in routes {
            let targets: Vec<_> = route.targets.iter().map(|addr| self.target(&mut before, &route, *addr)).collect();
            let traffic = self.ledger.of(&route.name);
            let targets = targets.into_iter().map(|target| (Arc::clone(&target), made.check(&route, &target)));
            let targets = targets.collect();
            made.all.push(Known { route, traffic, targets });
        }
        // Whoever still has an old table looks at the newest one then.
        before.values().for_each(|gone| gone.load.close());
        self.ledger.keep_only(|name| made.by_name.contains_key(name));
        self.said.retain(|check, _| made.checks.contains_key(check));
        made
    }

    fn target(
        &mut self,
        before: &mut HashMap<String, Arc<Target>>,
        route: &FileRoute,
        addr: SocketAddr,
    ) -> Arc<Target> {
        let name = format!("{}/{addr}", route.name);
        let fresh = || Target { name: name.clone(), generation: GENERATION, addr, load: Arc::<Load>::default() };
        let target = before.remove(&name).unwrap_or_else(|| Arc::new(fresh()));
        self.targets.insert(name, Arc::clone(&target));
        target
    }

    /// What is to be said of targets that came in or went out since the last time: at most so many of them by name.
    pub(crate) fn news(&mut self, seen: &Seen, named_max: usize) -> Vec<String> {
        let mut news = BTreeMap::new();
        for (check, health) in &seen.health {
            let before = self.said.insert(Arc::clone(check), health.is_in()).unwrap_or(true);
            if let Some(asked) = seen.routes.checks.get(check).filter(|_| before != health.is_in()) {
                let others =
                    if asked.targets > 1 { format!(" (and {} like it)", asked.targets - 1) } else { String::new() };
                let line = match health.cause() {
                    None => format!("{}{others} is in again", asked.name),
                    Some(cause) => format!("{}{others} is out: it {cause}", asked.name),
                };
                news.insert(asked.name.clone(), line);
            }
        }
        let more = news.len().saturating_sub(named_max);
        let mut lines: Vec<String> = news.into_values().take(named_max).collect();
        if more > 0 {
            lines.push(format!("{more} more targets came in or went out"));
        }
        lines
    }
}

impl Routes {
    /// What is to be asked.
    pub(crate) fn checks(&self) -> impl Iterator<Item = Check> {
        self.checks.keys().map(|check| Check::clone(check))
    }

    /// The listeners that they have of their own.
    pub(crate) fn entrances(&self) -> impl Iterator<Item = &EntrancePlan> {
        self.entrances.iter()
    }

    /// Are these the same routes, in the same order, at the same listeners?
    pub(crate) fn are_of(&self, routes: &[FileRoute], entrances: &[EntrancePlan]) -> bool {
        self.all.iter().map(|known| &known.route).eq(routes) && self.entrances == entrances
    }

    /// `3 routes, 5 targets`.
    pub(crate) fn in_words(&self) -> String {
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let targets = self.all.iter().map(|known| known.targets.len()).sum();
        format!("{}, {}", count(self.all.len(), "route"), count(targets, "target"))
    }

    fn check(&mut self, route: &FileRoute, target: &Target) -> Arc<Check> {
        let host = route.health_host().map_or_else(|| target.addr.to_string(), str::to_owned);
        let check =
            Check::new(target.addr, GENERATION, route.health.clone(), route.protocol, &host, route.proxy_protocol);
        if let Some((known, _)) = self.checks.get_key_value(&check) {
            let known = Arc::clone(known);
            self.checks.entry(Arc::clone(&known)).and_modify(|asked| asked.targets += 1);
            return known;
        }
        let check = Arc::new(check);
        // Nobody accepts datagrams, so nobody can be asked for that: such targets are in.
        if !route.protocol.is_over(Transport::Tcp) {
            return check;
        }
        self.checks.insert(Arc::clone(&check), Asked { name: target.name.clone(), targets: 1 });
        check
    }
}

impl Seen {
    /// What is known at this moment.
    pub(crate) fn new(routes: Arc<Routes>, health: &HealthView) -> Self {
        Self { routes, health: health.snapshot() }
    }

    /// The routes by name, and what each has carried.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&str, &Traffic)> {
        self.routes.all.iter().map(|known| (known.route.name.as_str(), &*known.traffic))
    }

    /// The targets of a route, and why each is in or out; empty: there is no such route.
    pub(crate) fn targets(&self, route: &str) -> Vec<TargetHealth> {
        let known = self.routes.by_name.get(route).map(|nth| &self.routes.all[*nth]);
        let of = |(target, check): &(Arc<Target>, Arc<Check>)| TargetHealth {
            name: target.name.clone(),
            addr: target.addr,
            is_in: self.is_in(check),
            reason: self.health.get(check).map(|health| health.reason(&check.rules)).unwrap_or_default(),
        };
        known.map(|known| known.targets.iter().map(of).collect()).unwrap_or_default()
    }

    /// The route table.
    pub(crate) fn table(&self) -> RouteTable {
        let (mut table, mut routes) = (RouteTable::default(), HashMap::new());
        for known in &self.routes.all {
            let route = Arc::new(Route {
                idle: Some(known.route.idle),
                datagram_idle: known.route.datagram_idle,
                connect: known.route.connect,
                connections_max: known.route.connections_max,
                proxy_protocol: known.route.proxy_protocol,
                http: Arc::clone(&known.route.http),
                traffic: Arc::clone(&known.traffic),
                ..Route::new(&known.route.name, known.route.protocol, self.admission(known))
            });
            routes.insert(known.route.name.as_str(), Arc::clone(&route));
            // With listeners of its own, its names are there.
            let shared = known.route.hosts.iter().filter(|_| known.route.listen.is_empty());
            for host in shared {
                let site = Site { path: known.route.path.clone(), strip: known.route.strip, route: Arc::clone(&route) };
                // A file in which two routes claim one name and path does not come to be.
                drop(table.hosts_mut().insert(host.clone(), site));
            }
        }
        for plan in &self.routes.entrances {
            table.set_entrance(plan.at, plan.entrance(|name| routes.get(name).cloned()));
        }
        table
    }

    /// One that nothing is known of is in.
    fn is_in(&self, check: &Arc<Check>) -> bool {
        self.health.get(check).is_none_or(Health::is_in)
    }

    fn admission(&self, known: &Known) -> Admission {
        let serving = known.targets.iter().filter(|(_, check)| self.is_in(check));
        let serving: Vec<Arc<Target>> = serving.map(|(target, _)| Arc::clone(target)).collect();
        if !serving.is_empty() {
            return Admission::Serve(serving);
        }
        let named = known.targets.iter().take(CAUSES_MAX);
        let mut causes: Vec<String> = named
            .filter_map(|(target, check)| {
                let cause: &Cause = self.health.get(check)?.cause()?;
                Some(format!("{} {cause}", target.name))
            })
            .collect();
        let more = known.targets.len().saturating_sub(CAUSES_MAX);
        if more > 0 {
            causes.push(format!("{more} more are out"));
        }
        let addrs: Vec<String> = known.targets.iter().take(CAUSES_MAX).map(|(t, _)| t.addr.to_string()).collect();
        let mend = format!(
            "start what listens at {}, or change `targets` of [routes.{}] in the router's file",
            addrs.join(", "),
            known.route.name
        );
        Admission::Hold { limit: Some(known.route.wait), cause: causes.join("; ").into(), mend: Some(mend.into()) }
    }
}

#[cfg(test)]
mod tests {
    use tambat_manifest::{RouteFile, Text};
    use tambat_router::Checker;

    use super::*;

    fn file(text: &str) -> Vec<FileRoute> {
        let text = format!("listen = \"127.0.0.1:0\"\n{text}");
        RouteFile::new(&Text::new("routes.toml", text)).unwrap().take_routes()
    }

    fn shop(targets: &str) -> Vec<FileRoute> {
        file(&format!("[routes.shop]\nhosts = [\"shop.example\", \"*.shop.example\"]\ntargets = {targets}\n"))
    }

    /// What becomes of a request for this host: the names of the targets, or the cause of its wait.
    fn admission(table: &RouteTable, host: &str) -> String {
        match table.hosts().find(host, "/").map(|site| &site.route.admission) {
            Some(Admission::Serve(targets)) => {
                targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ")
            }
            Some(Admission::Hold { limit, cause, mend }) => {
                format!("hold {:?}: {cause} / {}", limit.unwrap(), mend.as_ref().unwrap())
            }
            Some(Admission::Refuse { cause, .. }) => format!("refuse: {cause}"),
            None => "no route".to_owned(),
        }
    }

    /// Routes whose targets are asked.
    fn watched(memory: &mut Memory, checker: &mut Checker, routes: Vec<FileRoute>) -> Arc<Routes> {
        let routes = Arc::new(memory.routes(routes, Vec::new()));
        checker.watch(routes.checks());
        routes
    }

    fn fails(checker: &mut Checker, port: u16) {
        checker.unreachable(([127, 0, 0, 1], port).into(), GENERATION, &"refuses connections".into());
    }

    #[test]
    fn a_target_that_is_out_is_not_chosen_and_with_none_in_requests_wait() {
        let (mut memory, mut checker) = (Memory::default(), Checker::new());
        let routes = watched(&mut memory, &mut checker, shop("[\"127.0.0.1:1\", \"127.0.0.1:2\"]"));
        let view = checker.view();
        let look = |host| admission(&Seen::new(Arc::clone(&routes), &view).table(), host);
        assert_eq!(look("shop.example"), "shop/127.0.0.1:1, shop/127.0.0.1:2");
        fails(&mut checker, 1);
        assert_eq!(look("a.shop.example"), "shop/127.0.0.1:2");
        fails(&mut checker, 2);
        assert_eq!(
            look("shop.example"),
            "hold 30s: shop/127.0.0.1:1 refuses connections; shop/127.0.0.1:2 refuses connections / start what listens \
             at 127.0.0.1:1, 127.0.0.1:2, or change `targets` of [routes.shop] in the router's file"
        );
        assert_eq!(look("other.example"), "no route");
        let seen = Seen::new(Arc::clone(&routes), &view);
        let targets = seen.targets("shop");
        assert_eq!((targets.len(), targets[1].name.as_str(), targets[1].is_in), (2, "shop/127.0.0.1:2", false));
        assert!(targets[1].reason.starts_with("refuses connections"), "{}", targets[1].reason);
        assert!(seen.targets("blog").is_empty());
    }

    #[test]
    fn many_that_are_out_are_counted() {
        let (mut memory, mut checker) = (Memory::default(), Checker::new());
        let five: Vec<String> = (1..=5).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let routes = watched(&mut memory, &mut checker, shop(&format!("[{}]", five.join(","))));
        (1..=5).for_each(|port| fails(&mut checker, port));
        let told = admission(&Seen::new(routes, &checker.view()).table(), "shop.example");
        assert!(told.contains("shop/127.0.0.1:3 refuses connections; 2 more are out / start"), "{told}");
    }

    #[test]
    fn what_stays_in_the_file_keeps_what_it_had() {
        let (mut memory, mut checker) = (Memory::default(), Checker::new());
        let before = watched(&mut memory, &mut checker, shop("[\"127.0.0.1:1\", \"127.0.0.1:2\"]"));
        let load = |routes: &Routes, nth: usize| Arc::clone(&routes.all[0].targets[nth].0.load);
        let in_flight = load(&before, 0).admit(None).unwrap();
        before.all[0].traffic.shard(0).begin();
        fails(&mut checker, 1);
        assert!(before.are_of(&shop("[\"127.0.0.1:1\", \"127.0.0.1:2\"]"), &[]));
        let new = shop("[\"127.0.0.1:3\", \"127.0.0.1:1\"]");
        assert!(!before.are_of(&new, &[]));
        let after = watched(&mut memory, &mut checker, new);
        assert!(Arc::ptr_eq(&load(&before, 0), &load(&after, 1)) && load(&after, 1).in_flight() == 1);
        assert!(load(&before, 1).is_closed() && !load(&after, 0).is_closed() && !load(&after, 1).is_closed());
        assert_eq!(after.all[0].traffic.snapshot().requests, 1);
        assert_eq!(
            admission(&Seen::new(Arc::clone(&after), &checker.view()).table(), "shop.example"),
            "shop/127.0.0.1:3"
        );
        drop(in_flight);
        let other = file("[routes.blog]\ntargets = \"127.0.0.1:1\"\n");
        let other = watched(&mut memory, &mut checker, other);
        assert!(load(&after, 0).is_closed() && load(&after, 1).is_closed());
        // It is asked as before, so what is known of it holds for the new route, too.
        assert!(admission(&Seen::new(other, &checker.view()).table(), "any").starts_with("hold"));
        let back = watched(&mut memory, &mut checker, shop("\"127.0.0.1:1\""));
        assert_eq!(back.all[0].traffic.snapshot().requests, 0, "it was gone, so this is another one");
    }

    #[test]
    fn who_came_in_or_went_out_is_said_once() {
        let (mut memory, mut checker) = (Memory::default(), Checker::new());
        let routes = file(
            "[routes.a]\nhosts = \"a\"\ntargets = \"127.0.0.1:1\"\n[routes.b]\nhosts = \"b\"\ntargets = \"127.0.0.1:1\"\n\
             [routes.c]\nhosts = \"c\"\ntargets = [\"127.0.0.1:2\", \"127.0.0.1:3\"]\n",
        );
        let routes = watched(&mut memory, &mut checker, routes);
        let view = checker.view();
        let mut news = |named| memory.news(&Seen::new(Arc::clone(&routes), &view), named);
        assert!(news(5).is_empty());
        (1..=3).for_each(|port| fails(&mut checker, port));
        let said = news(2);
        assert_eq!(
            said,
            [
                "a/127.0.0.1:1 (and 1 like it) is out: it refuses connections",
                "c/127.0.0.1:2 is out: it refuses connections",
                "1 more targets came in or went out"
            ]
        );
        assert!(news(5).is_empty());
    }
}
