//! The names at a shared port as the route table has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use tambat_model::{
    Admission, HostTable, HttpRules, ListedApp, ListedPort, Load, Route, RouteTable, ServicePort, Site, Target, Traffic,
};
use tokio::sync::watch;

use super::message::Now;
use super::registry::{Claim, Member, Registry, Seat};

/// Whose names are served here.
#[derive(Debug, Clone)]
enum Served {
    /// Nobody's: another tambat has the port, or none has it.
    Elsewhere,
    /// Those of all at the port; our own seat is this one. Settled: who was here under the last holder is back, or too late.
    Here { own: Seat, registry: Registry, settled: bool },
}

/// Who has which names, for the route table.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    served: Served,
    /// One more with every change.
    revision: u64,
    /// Nothing changes any more.
    frozen: bool,
}

/// What the newest route table says of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// The names it was made of.
    pub(super) revision: u64,
    /// Our own sites.
    pub(super) claims: Arc<[Claim]>,
}

/// Returns when there is another table; never, once there are none any more. Cancel safe.
pub(super) async fn next_table(published: &mut watch::Receiver<Published>) {
    if published.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The ends of whoever makes route tables.
#[derive(Debug)]
pub(crate) struct NamesInTables {
    names: watch::Receiver<Names>,
    published: watch::Sender<Published>,
    /// What other apps' routes have carried, by seat and process port.
    known: BTreeMap<(Seat, String), (Arc<Traffic>, Arc<Load>)>,
}

impl Names {
    fn new() -> Self {
        Self { served: Served::Elsewhere, revision: 0, frozen: false }
    }

    /// From now on they are served here.
    pub(super) fn open(&mut self, registry: Registry, own: Seat) {
        self.served = Served::Here { own, registry, settled: false };
        self.revision += 1;
    }

    /// Who is missing now is not waited for. The revision with everybody who is there.
    pub(super) fn settle(&mut self) -> u64 {
        if let Served::Here { settled, .. } = &mut self.served {
            *settled = true;
        }
        self.revision += 1;
        self.revision
    }

    /// Who is there; none: it is served elsewhere.
    pub(super) fn registry(&self) -> Option<&Registry> {
        match &self.served {
            Served::Elsewhere => None,
            Served::Here { registry, .. } => Some(registry),
        }
    }

    /// Whoever goes from now on keeps its names here: what is under way to it ends well.
    pub(super) fn freeze(&mut self) {
        self.frozen = true;
    }

    /// How things are for a member; none: that is not settled yet.
    pub(super) fn now(&self, seat: Seat) -> Option<Now> {
        match &self.served {
            Served::Here { registry, settled: true, .. } => Some(Now::of(registry, seat)),
            _ => None,
        }
    }

    /// Changes who is there; `change` says whether it has changed anything.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Registry) -> bool) -> bool {
        let Served::Here { registry, .. } = &mut self.served else { return false };
        let changed = !self.frozen && change(registry);
        self.revision += u64::from(changed);
        changed
    }
}

/// What joins the port and the route tables: for whoever makes these, and for whoever knows the names.
pub(super) fn channel() -> (NamesInTables, watch::Sender<Names>, watch::Receiver<Published>) {
    let (names_out, names) = watch::channel(Names::new());
    let (published_out, published) = watch::channel(Published::default());
    (NamesInTables { names, published: published_out, known: BTreeMap::new() }, names_out, published)
}

impl NamesInTables {
    /// Puts the names of the moment into a table that has our own ones, and says what it has when it is published.
    pub(crate) fn enter(&mut self, table: &mut RouteTable) -> Published {
        let names = self.names.borrow_and_update().clone();
        let ours = own_sites(table);
        if let Served::Here { own, registry, .. } = &names.served {
            self.known.retain(|(seat, _), _| registry.members().any(|(there, _)| there == *seat));
            let (hosts, listed) = self.merge(&ours, *own, registry);
            *table.hosts_mut() = hosts;
            table.list(listed);
        }
        Published { revision: names.revision, claims: ours.into_iter().map(|(claim, _)| claim).collect() }
    }

    /// The table is the router's now.
    pub(crate) fn published(&self, published: Published) {
        self.published.send_if_modified(|last| {
            let changed = *last != published;
            *last = published;
            changed
        });
    }

    /// Returns when there are others; never, once nobody changes them any more. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.names.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The first to come has a name. What each of them has is listed.
    fn merge(&mut self, ours: &[(Claim, Site)], own: Seat, registry: &Registry) -> (HostTable, Vec<ListedApp>) {
        let mut merged = HostTable::default();
        let mut listed = Vec::new();
        let mut names = BTreeSet::new();
        for (seat, member) in registry.members() {
            let app = unique_name(&mut names, member);
            let mut ports: BTreeMap<&str, ListedPort> = BTreeMap::new();
            let mut enter = |claim, site| enter(&mut merged, &mut ports, claim, site);
            if seat == own {
                ours.iter().for_each(|(claim, site)| enter(claim, site.clone()));
            } else {
                member.claims.iter().for_each(|claim| enter(claim, self.site(seat, member, &app, claim)));
            }
            if !ports.is_empty() {
                listed.push(ListedApp { name: app, ports: ports.into_values().collect() });
            }
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        (merged, listed)
    }

    fn site(&mut self, seat: Seat, member: &Member, app: &str, claim: &Claim) -> Site {
        let (traffic, load) = self.known.entry((seat, claim.route.clone())).or_default();
        let name = format!("{app}/{}", claim.route);
        let target = Target { name: name.clone(), generation: 1, addr: claim.addr, load: Arc::clone(load) };
        let admission = Admission::Serve(vec![Arc::new(target)]);
        // Limits, waiting and choice are the business of that app's own router; where it refuses, it has just ended.
        let http = HttpRules { hop_token: Some(Arc::clone(member.token.reveal())), ..HttpRules::default() };
        let traffic = Arc::clone(traffic);
        let route = Route { http: Arc::new(http), traffic, ..Route::new(&name, claim.protocol, admission) };
        Site { path: claim.path.clone(), strip: claim.strip, route: Arc::new(route) }
    }
}

/// What stands for this app in the names of routes, by which they are counted and shown: its own name, with its directory
/// where another app came first with the same.
fn unique_name(names: &mut BTreeSet<String>, member: &Member) -> String {
    let name =
        if names.contains(&member.app) { format!("{} in {}", member.app, member.dir) } else { member.app.clone() };
    names.insert(name.clone());
    name
}

/// Unless who came before has it.
fn enter<'a>(table: &mut HostTable, ports: &mut BTreeMap<&'a str, ListedPort>, claim: &'a Claim, site: Site) {
    if table.insert(claim.host.clone(), site).is_ok() {
        let cause = claim.cause.as_deref().map(Arc::from);
        let new = || ListedPort { name: claim.route.clone(), sites: Vec::new(), cause };
        ports.entry(&claim.route).or_insert_with(new).sites.push((claim.host.clone(), claim.path.clone()));
    }
}

/// The sites of our own app, and what another tambat would know of them: their service ports.
fn own_sites(table: &RouteTable) -> Vec<(Claim, Site)> {
    let ports: BTreeMap<&str, ServicePort> = table.iter().map(|(port, route)| (route.name.as_str(), port)).collect();
    let sites = table.hosts().sites().into_iter().filter_map(|(host, site)| {
        let port = ports.get(site.route.name.as_str())?;
        let claim = Claim {
            host,
            path: site.path.clone(),
            strip: site.strip,
            route: site.route.name.clone(),
            protocol: site.route.protocol,
            addr: (Ipv4Addr::LOCALHOST, port.get()).into(),
            cause: match &site.route.admission {
                Admission::Serve(_) => None,
                Admission::Hold { cause, .. } | Admission::Refuse { cause, .. } => Some(cause.to_string()),
            },
        };
        Some((claim, site.clone()))
    });
    sites.collect()
}

#[cfg(test)]
mod tests {
    use tambat_model::{HostPattern, Protocol};

    use super::super::registry::tests::{claim, member};
    use super::*;

    fn own_table(names: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        let port = ServicePort::try_from(5_000_u16).unwrap();
        let admission = Admission::Refuse { cause: "web.1 exited".into(), mend: None };
        table.insert(port, Route::new("web", Protocol::Http, admission));
        let route = Arc::clone(table.get(port).unwrap());
        for name in names {
            let site = Site { path: "/".parse().unwrap(), strip: true, route: Arc::clone(&route) };
            table.hosts_mut().insert(name.parse().unwrap(), site).unwrap();
        }
        table
    }

    fn shown(table: &RouteTable) -> Vec<String> {
        let show = |(host, site): (HostPattern, &Site)| match &site.route.admission {
            Admission::Serve(targets) => format!("{host}{} {} {}", site.path, site.route.name, targets[0].addr),
            _ => format!("{host}{} {}", site.path, site.route.name),
        };
        table.hosts().sites().into_iter().map(show).collect()
    }

    #[test]
    fn our_own_sites_are_claimed_by_their_service_ports() {
        let (mut tables, _names, _) = channel();
        let mut table = own_table(&["shop.localhost"]);
        let published = tables.enter(&mut table);
        assert_eq!(shown(&table), ["shop.localhost/ web"], "served elsewhere: nothing changes");
        let [only] = &*published.claims else { panic!("{published:?}") };
        let expected =
            Claim { strip: true, cause: Some("web.1 exited".to_owned()), ..claim("shop.localhost", "/", 5_000) };
        assert_eq!(*only, expected);
    }

    #[test]
    fn the_sites_of_all_are_in_the_table_and_the_first_has_a_name() {
        let (mut tables, names, _) = channel();
        let mut registry = Registry::new([]);
        let before = vec![claim("shop.localhost", "/", 6_000), claim("old.localhost", "/api", 6_000)];
        registry.join(member("old", "/old", before), None).unwrap();
        let own = registry.join(member("shop", "/shop", vec![]), None).unwrap();
        let after = vec![claim("web.shop.localhost", "/", 7_000), claim("new.localhost", "/", 7_000)];
        let new = registry.join(member("new", "/new", after), None).unwrap();
        names.send_modify(|names| names.open(registry, own));
        let ours = ["shop.localhost", "web.shop.localhost"];
        let mut table = own_table(&ours);
        tables.enter(&mut table);
        let all = [
            "new.localhost/ new/web 127.0.0.1:7000",
            "old.localhost/api old/web 127.0.0.1:6000",
            "shop.localhost/ old/web 127.0.0.1:6000",
            "web.shop.localhost/ web",
        ];
        assert_eq!(shown(&table), all);
        let listed = |table: &RouteTable| {
            let port = |p: &ListedPort| {
                format!("{} {:?} {:?}", p.name, p.urls(tambat_model::Scheme::Http, 80), p.cause.as_deref())
            };
            let app = |app: &ListedApp| (app.name.clone(), app.ports.iter().map(port).collect::<Vec<_>>().join("; "));
            table.listed().iter().map(app).collect::<Vec<_>>()
        };
        let expected = [
            ("new", r#"web ["http://new.localhost:80"] None"#),
            ("old", r#"web ["http://shop.localhost:80", "http://old.localhost:80/api"] None"#),
            ("shop", r#"web ["http://web.shop.localhost:80"] Some("web.1 exited")"#),
        ];
        assert_eq!(listed(&table), expected.map(|(app, ports)| (app.to_owned(), ports.to_owned())));
        let token = &table.hosts().find("new.localhost", "/").unwrap().route.http.hop_token;
        assert_eq!(token.as_ref().unwrap().len(), 32);

        let carried = |table: &RouteTable| Arc::clone(&table.hosts().find("new.localhost", "/").unwrap().route.traffic);
        let mut next = own_table(&ours);
        tables.enter(&mut next);
        assert!(Arc::ptr_eq(&carried(&table), &carried(&next)), "counters outlive a table");

        names.send_modify(|names| {
            names.change(|registry| {
                registry.leave(new);
                true
            });
        });
        let mut last = own_table(&ours);
        tables.enter(&mut last);
        assert_eq!(shown(&last), all[1..]);
        assert_eq!(tables.known.len(), 1);
    }

    #[test]
    fn two_apps_of_one_name_are_counted_each_for_itself() {
        let (mut tables, names, _) = channel();
        let mut registry = Registry::new([]);
        let own = registry.join(member("other", "/other", vec![]), None).unwrap();
        registry.join(member("shop", "/a", vec![claim("a.localhost", "/", 6_000)]), None).unwrap();
        registry.join(member("shop", "/b", vec![claim("b.localhost", "/", 7_000)]), None).unwrap();
        names.send_modify(|names| names.open(registry, own));
        let mut table = own_table(&[]);
        tables.enter(&mut table);
        assert_eq!(
            shown(&table),
            ["a.localhost/ shop/web 127.0.0.1:6000", "b.localhost/ shop in /b/web 127.0.0.1:7000"]
        );
        let listed: Vec<&str> = table.listed().iter().map(|app| app.name.as_str()).collect();
        assert_eq!(listed, ["shop", "shop in /b"]);
    }

    #[test]
    fn only_what_is_new_is_published() {
        let (mut tables, names, mut published) = channel();
        let first = tables.enter(&mut own_table(&["a"]));
        tables.published(first.clone());
        assert!(published.has_changed().unwrap());
        published.mark_unchanged();
        tables.published(first);
        assert!(!published.has_changed().unwrap());
        names.send_modify(|names| names.open(Registry::new([]), Seat::FIRST));
        let second = tables.enter(&mut own_table(&["a"]));
        tables.published(second);
        assert_eq!(published.borrow_and_update().revision, 1);
    }
}
