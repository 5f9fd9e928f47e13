//! Several apps behind one router: what two of them cannot both have, and their route tables as one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::entrance::{Entrance, EntrancePlan, ListenAddr, takes};
use crate::{Admission, AppName, Cause, HostPattern, PathPrefix, Plan, Route, RouteTable, ServicePort, Site, Target};

/// What stands between an app's name and a name of its own: `shop/web.1`.
const SEPARATOR: char = '/';

/// What this app asks for and another one has: a sentence each, which names both. Empty: they can run beside each other.
pub fn clashes<'a>(plan: &Plan, others: impl IntoIterator<Item = &'a Plan>) -> Vec<String> {
    let mut clashes = Vec::new();
    let (sites, ports) = (sites(plan), ports(plan));
    for other in others {
        if other.name() == plan.name() {
            clashes.push(format!(
                "there are two apps called {}, in {} and in {}: give this one another `name` in tambat.toml",
                plan.name(),
                other.dir().display(),
                plan.dir().display()
            ));
            continue;
        }
        let both =
            |ours: &str, theirs: &str| format!("`{theirs}` of {} and `{ours}` of {} both", other.name(), plan.name());
        for (host, path, theirs) in self::sites(other) {
            if let Some((_, _, ours)) = sites.iter().find(|(h, p, _)| (*h, *p) == (host, path)) {
                let path = if path.is_root() { "" } else { path.as_str() };
                let both = both(ours, &theirs);
                clashes.push(format!("{both} answer at {host}{path}: give one of them another host, or a `path`"));
            }
        }
        clashes.extend(entrance_clashes(plan, other));
        for (port, theirs) in self::ports(other) {
            if let Some((_, ours)) = ports.iter().find(|(p, _)| *p == port) {
                clashes.push(format!("{} ask for port {port}: give each a `port` of its own", both(ours, &theirs)));
            }
        }
    }
    clashes
}

/// Listeners that both apps ask for, where nothing tells their clients apart, or that cannot both be.
fn entrance_clashes(plan: &Plan, other: &Plan) -> Vec<String> {
    let mut clashes = Vec::new();
    for (theirs, ours) in pairs(other.entrances(), plan.entrances()) {
        if theirs.overlaps(ours) {
            clashes.push(format!(
                "{} of {} and {} of {} cannot both be listened at: write the same address at both, or another port",
                theirs.at,
                other.name(),
                ours.at,
                plan.name()
            ));
        }
        if theirs.at != ours.at {
            continue;
        }
        let first = theirs.claims.len();
        let is_of_both = |a: usize, b: usize| (a < first) != (b < first);
        let theirs = theirs.clone().named(|who| name_of(other.name(), who));
        let both = theirs.beside(&ours.clone().named(|who| name_of(plan.name(), who)));
        for found in both.check(plan.manner().router_file()) {
            if found.other.as_ref().is_some_and(|(other, _)| is_of_both(*other, found.claim)) {
                clashes.push(format!("{}: {}", found.what, found.help.replace('\n', " ")));
            }
        }
    }
    for (entrances, ports, whose) in
        [(other.entrances(), self::ports(plan), plan), (plan.entrances(), self::ports(other), other)]
    {
        for (port, at) in ports.iter().flat_map(|(port, _)| entrances.iter().map(move |entrance| (*port, entrance.at)))
        {
            if takes(at, port) {
                let name = whose.name();
                clashes
                    .push(format!("{at} and the service port {port} of {name} are one: give one of them another port"));
            }
        }
    }
    clashes
}

fn pairs<'a>(
    one: &'a [EntrancePlan],
    other: &'a [EntrancePlan],
) -> impl Iterator<Item = (&'a EntrancePlan, &'a EntrancePlan)> {
    one.iter().flat_map(move |first| other.iter().map(move |second| (first, second)))
}

/// Every name and path that an app answers at, and which process port does.
fn sites(plan: &Plan) -> Vec<(&HostPattern, &PathPrefix, String)> {
    let ports = plan.processes().iter().flat_map(|process| process.ports.iter().map(move |port| (process, port)));
    let sites = ports.flat_map(|(process, port)| port.site.iter().map(move |site| (process, port, site)));
    let at = sites.flat_map(|(process, port, site)| {
        let of = port.name.as_ref().map_or_else(|| process.name.to_string(), |name| format!("{}:{name}", process.name));
        site.patterns().map(move |pattern| (pattern, &site.path, of.clone()))
    });
    at.collect()
}

/// Every service port that an app asks for by number, and which process does.
fn ports(plan: &Plan) -> Vec<(ServicePort, String)> {
    let ports = plan.processes().iter().flat_map(|process| process.ports.iter().map(move |port| (process, port)));
    ports.filter_map(|(process, port)| Some((port.service?, process.name.to_string()))).collect()
}

/// The route tables of several apps as one. Every route and target has its app's name before its own, by which it is
/// noted, counted and reported; [`of_app`] tells the two apart again. The first to claim a name and path has it.
pub fn joined<'a>(tables: impl IntoIterator<Item = (&'a AppName, &'a RouteTable)>) -> RouteTable {
    let mut joined = Joining::default();
    tables.into_iter().for_each(|(app, table)| joined.take_in(table, |route| route_of(app, route)));
    joined.table()
}

/// An app that is leaving: what its service ports had they have, and nobody reaches it by a name or at a listener of its own.
#[must_use]
pub fn unnamed(table: &RouteTable) -> RouteTable {
    let mut unnamed = RouteTable::default();
    table.iter().for_each(|(port, route)| unnamed.insert(port, (**route).clone()));
    unnamed
}

/// An app that is being replaced: whoever is for one of `which` waits, for as long as that takes.
#[must_use]
pub fn held(table: &RouteTable, cause: &Cause, which: impl Fn(&str) -> bool) -> RouteTable {
    let mut held = Joining::default();
    held.take_in(table, |route| {
        let admission = if which(&route.name) {
            Admission::Hold { limit: None, cause: Arc::clone(cause), mend: None }
        } else {
            route.admission.clone()
        };
        Route { admission, ..route.clone() }
    });
    held.table()
}

/// Two versions of an app: whoever comes reaches `first`, and the other one only at service ports that `first` has not, where
/// its own processes look for each other.
#[must_use]
pub fn beside(first: &RouteTable, other: &RouteTable) -> RouteTable {
    let mut both = Joining::default();
    both.take_in(&unnamed(other), Route::clone);
    both.take_in(first, Route::clone);
    both.table()
}

/// Tables that become one.
#[derive(Default)]
struct Joining {
    table: RouteTable,
    entrances: BTreeMap<ListenAddr, Entrance>,
}

impl Joining {
    /// Takes in all of a table, each of its routes as `change` has it. The first to claim something has it.
    fn take_in(&mut self, table: &RouteTable, change: impl Fn(&Route) -> Route) {
        let mut known: HashMap<*const Route, Arc<Route>> = HashMap::new();
        let mut changed =
            |route: &Arc<Route>| Arc::clone(known.entry(Arc::as_ptr(route)).or_insert_with(|| Arc::new(change(route))));
        for (port, route) in table.iter() {
            self.table.insert(port, (*changed(route)).clone());
        }
        for (host, site) in table.hosts().sites() {
            let site = Site { path: site.path.clone(), strip: site.strip, route: changed(&site.route) };
            // Apps that claim what another one has are not served: see `clashes`.
            drop(self.table.hosts_mut().insert(host, site));
        }
        for (at, entrance) in table.entrances() {
            self.entrances.entry(at).or_default().take_in(entrance, &mut changed);
        }
    }

    fn table(self) -> RouteTable {
        let Self { mut table, entrances } = self;
        entrances.into_iter().for_each(|(at, entrance)| table.set_entrance(at, entrance));
        table
    }
}

/// The app, and the name within it, of a name in [`joined`] tables; none: it is of no app.
pub fn of_app(name: &str) -> Option<(&str, &str)> {
    name.split_once(SEPARATOR)
}

fn route_of(app: &AppName, route: &Route) -> Route {
    let admission = match &route.admission {
        Admission::Serve(targets) => {
            let named =
                |target: &Arc<Target>| Arc::new(Target { name: name_of(app, &target.name), ..(**target).clone() });
            Admission::Serve(targets.iter().map(named).collect())
        }
        other => other.clone(),
    };
    Route { name: name_of(app, &route.name), admission, ..route.clone() }
}

fn name_of(app: &AppName, name: &str) -> String {
    format!("{app}{SEPARATOR}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol::{Http, Tcp};
    use crate::draft::SiteDraft;
    use crate::sample::{draft, port, process, with_ports};
    use crate::{Draft, Manner, ProcessDraft, Protocol};

    fn app(name: &str, processes: Vec<ProcessDraft>) -> Plan {
        let dir = format!("/srv/{name}-dir").into();
        let draft = Draft { name: name.parse().unwrap(), dir, manner: Manner::Serve, ..draft(processes) };
        Plan::new(draft).unwrap().0
    }

    fn web(hosts: &[&str], path: Option<&str>) -> ProcessDraft {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let site = SiteDraft { hosts, path: path.map(|path| path.parse().unwrap()), ..SiteDraft::default() };
        ProcessDraft { site, ..process("web", Some(Http), &[]) }
    }

    #[test]
    fn what_two_apps_cannot_both_have_names_both() {
        let shop = app("shop", vec![web(&["shop.example", "*.shop.example"], None)]);
        let blog = app("blog", vec![web(&["blog.example", "*.shop.example"], None)]);
        assert_eq!(
            clashes(&blog, [&shop]),
            [
                "`web` of shop and `web` of blog both answer at *.shop.example: give one of them another host, or a `path`"
            ]
        );
        let api = app("api", vec![web(&["shop.example"], Some("/api"))]);
        assert!(clashes(&api, [&shop, &blog]).is_empty(), "a path of its own");
        let cache = ProcessDraft { port: Some(port(6379)), ..process("cache", Some(Tcp), &[]) };
        let (one, two) =
            (app("one", vec![cache.clone()]), app("two", vec![with_ports("x", &[("y", Tcp, Some(6379))])]));
        assert_eq!(
            clashes(&two, [&one]),
            ["`cache` of one and `x` of two both ask for port 6379: give each a `port` of its own"]
        );
    }

    #[test]
    fn two_apps_of_one_name_are_told_apart_by_their_folders() {
        let (first, again) =
            (app("shop", vec![web(&["a.example"], None)]), app("shop", vec![web(&["a.example"], None)]));
        assert_eq!(
            clashes(&again.in_dir("/srv/other".into()), [&first]),
            ["there are two apps called shop, in /srv/shop-dir and in /srv/other: give this one another `name` in \
              tambat.toml"]
        );
    }

    fn table(host: &str, number: u16) -> RouteTable {
        let mut table = RouteTable::default();
        let addr = ([127, 0, 0, 1], number).into();
        let target = Target { name: "web.1".to_owned(), generation: 1, addr, load: Arc::default() };
        let route = Route::new("web", Protocol::Http, Admission::Serve(vec![Arc::new(target)]));
        table.insert(port(number), route);
        let route = Arc::clone(table.get(port(number)).unwrap());
        let site = Site { path: PathPrefix::default(), strip: false, route };
        table.hosts_mut().insert(host.parse().unwrap(), site).unwrap();
        table
    }

    #[test]
    fn joined_routes_and_targets_have_their_apps_names_and_their_own_counters() {
        let (shop, blog) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let (one, two) = (table("shop.example", 5000), table("blog.example", 5100));
        let joined = joined([(&shop, &one), (&blog, &two)]);
        assert_eq!(
            joined.iter().map(|(port, route)| (port.get(), route.name.as_str())).collect::<Vec<_>>(),
            [(5000, "shop/web"), (5100, "blog/web")]
        );
        let route = &joined.hosts().find("blog.example", "/").unwrap().route;
        let Admission::Serve(targets) = &route.admission else { panic!("{route:?}") };
        assert_eq!((route.name.as_str(), targets[0].name.as_str()), ("blog/web", "blog/web.1"));
        let before = &two.hosts().find("blog.example", "/").unwrap().route;
        assert!(Arc::ptr_eq(&route.traffic, &before.traffic));
        assert!(joined.listed().is_empty() && joined.hosts().find("other.example", "/").is_none());
        assert_eq!(of_app("shop/billing/api"), Some(("shop", "billing/api")));
        assert_eq!(of_app("web"), None);
    }

    #[test]
    fn of_two_versions_one_is_reached_and_the_other_has_what_is_left_of_the_service_ports() {
        let (first, mut other) = (table("shop.example", 5000), table("old.example", 5000));
        let api = Route::new("api", Http, Admission::Refuse { cause: "it is not there".into(), mend: None });
        other.insert(5100_u16.try_into().unwrap(), api);
        let both = beside(&first, &other);
        assert!(both.hosts().find("old.example", "/").is_none());
        let routes: Vec<(u16, &str)> = both.iter().map(|(port, route)| (port.get(), route.name.as_str())).collect();
        assert_eq!(routes, [(5000, "web"), (5100, "api")]);
        let by_name = &both.hosts().find("shop.example", "/").unwrap().route;
        assert!(Arc::ptr_eq(&by_name.traffic, &both.iter().next().unwrap().1.traffic));
        assert!(Arc::ptr_eq(&by_name.traffic, &first.iter().next().unwrap().1.traffic));
    }

    #[test]
    fn an_app_that_leaves_has_no_names_and_one_that_is_replaced_has_those_wait_who_are_for_it() {
        let table = table("shop.example", 5000);
        let unnamed = unnamed(&table);
        assert!(unnamed.hosts().find("shop.example", "/").is_none());
        assert!(matches!(unnamed.iter().next().unwrap().1.admission, Admission::Serve(_)));
        let cause: Cause = "shop is being replaced".into();
        for (held, is_held) in
            [(held(&table, &cause, |name| name == "web"), true), (held(&table, &cause, |_| false), false)]
        {
            let (by_port, by_name) =
                (held.iter().next().unwrap().1, &held.hosts().find("shop.example", "/").unwrap().route);
            for route in [by_port, by_name] {
                let waits = matches!(&route.admission, Admission::Hold { limit: None, cause, .. } if **cause == *"shop is being replaced");
                assert_eq!(waits, is_held, "{route:?}");
            }
        }
    }
}
