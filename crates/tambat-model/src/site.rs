//! By which names each port that speaks HTTP is reached, and who claims what somebody else has.
//!
//! On its machine a process is `PROCESS.APP.localhost`, `web` also `APP.localhost`, and a named port
//! `PORT.PROCESS.APP.localhost`; what `hosts` says comes beside these, and `path` holds for all of them. A process with
//! a `path` also answers below that path at `APP.localhost`, so that several of them are one origin there.

use std::collections::{BTreeMap, BTreeSet};

use crate::draft::{Draft, ProcessDraft, SiteDraft};
use crate::listen::check_listening;
use crate::plan::first_protocol;
use crate::problem::{Place, Problem};
use crate::{AppName, HostPattern, PathPrefix, PortKey, PortName, ProcessName, Protocol, Scheme};

/// The names below this one are this machine's (RFC 6761 §6.3).
const LOCALHOST: &str = "localhost";

/// By which names a port that speaks HTTP is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSite {
    /// Its names on this machine; the one that people visit comes first.
    pub names: Vec<HostPattern>,
    /// Those that `hosts` says, at the listeners that all names share: with `listen`, its names are there.
    pub hosts: Vec<HostPattern>,
    /// The paths it answers to, at all of them.
    pub path: PathPrefix,
    /// Is that prefix removed from what is sent on?
    pub strip: bool,
}

impl PortSite {
    /// All its names, each once.
    pub fn patterns(&self) -> impl Iterator<Item = &HostPattern> {
        let own = |host: &&HostPattern| !self.names.contains(host);
        self.names.iter().chain(self.hosts.iter().filter(own))
    }

    /// Where people on this machine visit it, if the shared listener for this scheme is at this port; none without one.
    pub fn urls(&self, scheme: Scheme, port: Option<u16>) -> Vec<String> {
        let Some(port) = port.map(|port| scheme.port_suffix(port)) else { return Vec::new() };
        let path = if self.path.is_root() { "" } else { self.path.as_str() };
        self.names.iter().map(|name| format!("{scheme}://{name}{port}{path}")).collect()
    }
}

/// A name of this app's as a label of a hostname: lower case, `-` for `_`, none at its ends. None if nothing is left.
pub fn local_label(name: &str) -> Option<String> {
    let label = name.to_ascii_lowercase().replace('_', "-");
    let label = label.trim_matches('-');
    (!label.is_empty()).then(|| label.to_owned())
}

/// By which names each port is reached that speaks HTTP, and what is wrong with that.
pub(crate) fn resolve_sites(draft: &Draft) -> (BTreeMap<PortKey, PortSite>, Vec<Problem>) {
    let mut problems: Vec<Problem> = draft.processes.iter().flat_map(check_written).collect();
    problems.extend(draft.processes.iter().flat_map(check_listening));
    let sites = sites_of(draft);
    let mut claims = Claims { front: front(&draft.name), ..Claims::default() };
    sites.iter().for_each(|site| claims.take_own(site));
    sites.iter().for_each(|site| claims.take_written(site));
    claims.take_fronts(&sites);
    problems.append(&mut claims.problems);
    let resolved = sites.into_iter().map(|site| {
        let names = if draft.manner.has_local_names() { claims.names_of(&site) } else { Vec::new() };
        let hosts = site.hosts.into_iter().map(|(host, _)| host).collect();
        (site.key, PortSite { names, hosts, path: site.path, strip: site.strip })
    });
    (resolved.collect(), problems)
}

/// `APP.localhost`.
fn front(app: &AppName) -> Option<HostPattern> {
    format!("{app}.{LOCALHOST}").parse().ok()
}

/// What is wrong with what one process says of its names, whatever others say.
fn check_written(process: &ProcessDraft) -> Vec<Problem> {
    let name = &process.name;
    let mut problems = Vec::new();
    let first = first_protocol(process);
    let listens = listens(&process.site) || process.ports.first().is_some_and(|port| listens(&port.site));
    for key in written_keys(&process.site) {
        if says_nothing(key, first, listens) {
            let which =
                if process.ports.is_empty() { format!("`{name}`") } else { format!("the first port of `{name}`") };
            let (what, help) = says_nothing_because(key, &which, first);
            problems.push(Problem::error(Place::Key(name.clone(), key), what).help(help));
        } else if process.ports.first().is_some_and(|port| written_keys(&port.site).contains(&key)) {
            let what = format!("`{key}` of the first port of `{name}` is given twice, here and in `ports`");
            problems.push(Problem::error(Place::Key(name.clone(), key), what));
        }
    }
    problems.extend(nothing_to_strip(&process.site, &format!("`{name}`"), &Place::Key(name.clone(), "strip_path")));
    for (nth, port) in process.ports.iter().enumerate() {
        let place = Place::Port(name.clone(), port.name.to_string());
        let which = format!("the port `{}` of `{name}`", port.name);
        let listens = self::listens(&port.site) || (nth == 0 && listens);
        let says_nothing = |key: &&'static str| says_nothing(key, port.protocol, listens);
        if let Some(key) = written_keys(&port.site).into_iter().find(says_nothing) {
            let (what, help) = says_nothing_because(key, &which, port.protocol);
            problems.push(Problem::error(place.clone(), what).help(help));
        }
        problems.extend(nothing_to_strip(&port.site, &which, &place));
    }
    problems
}

fn written_keys(site: &SiteDraft) -> Vec<&'static str> {
    let said = [
        ("hosts", !site.hosts.is_empty()),
        ("path", site.path.is_some()),
        ("strip_path", site.strip_path.is_some()),
        ("listen", listens(site)),
        ("tls", site.tls.is_some()),
    ];
    said.into_iter().filter(|(_, said)| *said).map(|(key, _)| key).collect()
}

fn listens(site: &SiteDraft) -> bool {
    !site.listen.is_empty()
}

/// Paths are those of requests, and the listeners that all names share are for HTTP.
fn says_nothing(key: &str, protocol: Protocol, listens: bool) -> bool {
    match key {
        "path" | "strip_path" => !protocol.is_http(),
        "hosts" => !protocol.is_http() && !listens,
        _ => false,
    }
}

fn says_nothing_because(key: &str, which: &str, protocol: Protocol) -> (String, &'static str) {
    if key == "hosts" {
        let what = format!("{which} speaks {protocol} and has no `listen`, so `hosts` says nothing");
        return (what, "listen = \"0.0.0.0:…\"; only names for http and h2c have listeners that all share");
    }
    let what = format!("{which} does not speak http, so `{key}` says nothing");
    (what, "paths are for http and h2c; each entry of `ports` has its own")
}

fn nothing_to_strip(site: &SiteDraft, which: &str, place: &Place) -> Option<Problem> {
    let has_path = site.path.as_ref().is_some_and(|path| !path.is_root());
    (site.strip_path == Some(true) && !has_path).then(|| {
        let what = format!("{which} has no `path`, so `strip_path` has nothing to remove");
        Problem::error(place.clone(), what).help("path = \"/api\", or leave out `strip_path`")
    })
}

/// A port that speaks HTTP, with what was said of its names.
struct Written {
    key: PortKey,
    /// Its names on this machine, in the order in which people are told them.
    own: Vec<HostPattern>,
    /// Those at the shared listeners: with `listen`, its names are elsewhere.
    hosts: Vec<(HostPattern, Place)>,
    /// Does it say no names at all?
    is_bare: bool,
    path: PathPrefix,
    strip: bool,
    /// Where that path is said, or else whose it is.
    place: Place,
}

/// Every port that speaks HTTP, in the files' order. A process that is there twice is told so elsewhere.
fn sites_of(draft: &Draft) -> Vec<Written> {
    let mut sites = Vec::new();
    for (nth, process) in draft.processes.iter().enumerate() {
        if draft.processes[..nth].iter().any(|other| other.name == process.name) {
            continue;
        }
        if process.ports.is_empty() {
            if first_protocol(process).is_http() {
                sites.push(site_of(&draft.name, process, None));
            }
            continue;
        }
        for (nth, port) in process.ports.iter().enumerate() {
            let is_double = process.ports[..nth].iter().any(|other| other.name.variable() == port.name.variable());
            if port.protocol.is_http() && !is_double {
                sites.push(site_of(&draft.name, process, Some(nth)));
            }
        }
    }
    sites
}

fn site_of(app: &AppName, process: &ProcessDraft, nth: Option<usize>) -> Written {
    let port = nth.and_then(|nth| process.ports.get(nth));
    let is_first = nth.is_none_or(|nth| nth == 0);
    let key = PortKey { process: process.name.clone(), port: port.map(|port| port.name.clone()) };
    let mut hosts = Vec::new();
    let (mut path, mut strip, mut has_listen) = (None, None, false);
    let mut place = Place::Process(process.name.clone());
    if is_first {
        let at = |host: &HostPattern| Place::Host(process.name.clone(), None, host.to_string());
        hosts.extend(process.site.hosts.iter().map(|host| (host.clone(), at(host))));
        (path, strip) = (process.site.path.clone(), process.site.strip_path);
        has_listen = listens(&process.site);
        if path.is_some() {
            place = Place::Key(process.name.clone(), "path");
        }
    }
    if let Some(port) = port {
        let at = |host: &HostPattern| Place::Host(process.name.clone(), Some(port.name.to_string()), host.to_string());
        hosts.extend(port.site.hosts.iter().map(|host| (host.clone(), at(host))));
        if path.is_none() {
            place = Place::Port(process.name.clone(), port.name.to_string());
        }
        (path, strip) = (path.or_else(|| port.site.path.clone()), strip.or(port.site.strip_path));
        has_listen |= listens(&port.site);
    }
    let own = own_names(app, &process.name, key.port.as_ref(), is_first);
    let is_bare = hosts.is_empty();
    if has_listen {
        hosts.clear();
    }
    let (path, strip) = (path.unwrap_or_default(), strip.unwrap_or_default());
    Written { key, own, hosts, is_bare, path, strip, place }
}

fn own_names(app: &AppName, process: &ProcessName, port: Option<&PortName>, is_first: bool) -> Vec<HostPattern> {
    let Some(label) = local_label(process.as_str()) else { return Vec::new() };
    let front = (is_first && process.is_web()).then(|| format!("{app}.{LOCALHOST}"));
    let of_process = is_first.then(|| format!("{label}.{app}.{LOCALHOST}"));
    let of_port = port.and_then(|port| Some(format!("{}.{label}.{app}.{LOCALHOST}", local_label(port.as_str())?)));
    front.into_iter().chain(of_process).chain(of_port).filter_map(|name| name.parse().ok()).collect()
}

/// Who answers where.
#[derive(Default)]
struct Claims {
    front: Option<HostPattern>,
    /// Whose name on this machine it is.
    own: BTreeMap<HostPattern, (PortKey, Place)>,
    taken: BTreeMap<(HostPattern, PathPrefix), (PortKey, Place)>,
    /// Who answers at `APP.localhost` because of its path.
    fronts: BTreeSet<PortKey>,
    problems: Vec<Problem>,
}

impl Claims {
    /// The names that a port has on this machine by itself.
    fn take_own(&mut self, site: &Written) {
        for name in &site.own {
            if let Some((other, at)) = self.own.get(name) {
                let who = both(&site.key, other);
                let whole = Place::Process(site.key.process.clone());
                let problem = Problem::error(whole, format!("{who} would both be {name}")).clashes_with(at.clone());
                self.problems.push(problem.help("give one of them another name"));
                continue;
            }
            let owner = (site.key.clone(), Place::Process(site.key.process.clone()));
            self.own.insert(name.clone(), owner.clone());
            self.taken.insert((name.clone(), site.path.clone()), owner);
        }
    }

    /// Those that `hosts` says.
    fn take_written(&mut self, site: &Written) {
        for (host, place) in &site.hosts {
            let of_other = |owner: &&(PortKey, Place)| owner.0 != site.key && self.front.as_ref() != Some(host);
            if let Some((other, at)) = self.own.get(host).filter(of_other) {
                let what = format!("{host} is the name that `{other}` has on this machine");
                let problem = Problem::error(place.clone(), what).clashes_with(at.clone());
                self.problems.push(problem.help("remove it, or choose another"));
                continue;
            }
            match self.taken.get(&(host.clone(), site.path.clone())) {
                Some((other, _)) if *other == site.key => {}
                Some((other, at)) => {
                    let what = format!("{} both answer at {host}{}", both(&site.key, other), shown(&site.path));
                    let problem = Problem::error(place.clone(), what).clashes_with(at.clone());
                    self.problems.push(problem.help("give one of them another host, or a `path` of its own"));
                }
                None => {
                    self.taken.insert((host.clone(), site.path.clone()), (site.key.clone(), place.clone()));
                }
            }
        }
    }

    /// A port with a path answers below it at `APP.localhost`, too, where nobody else does. Of several with that path,
    /// one that has no `hosts` means it; those that have some are told apart by them and do without.
    fn take_fronts(&mut self, sites: &[Written]) {
        let Some(front) = self.front.clone() else { return };
        let mut wanting: BTreeMap<&PathPrefix, Vec<&Written>> = BTreeMap::new();
        for site in sites.iter().filter(|site| !site.path.is_root() && !site.own.contains(&front)) {
            wanting.entry(&site.path).or_default().push(site);
        }
        for (path, all) in wanting {
            let taken = self.taken.get(&(front.clone(), path.clone())).cloned();
            let bare: Vec<&Written> = all.iter().copied().filter(|site| site.is_bare).collect();
            let holder = match (taken, bare.as_slice(), all.as_slice()) {
                (Some(holder), ..) => Some(holder),
                (None, [first, ..], _) | (None, [], [first]) => {
                    self.fronts.insert(first.key.clone());
                    Some((first.key.clone(), first.place.clone()))
                }
                (None, ..) => None,
            };
            let Some((holder, at)) = holder else { continue };
            for site in bare.iter().filter(|site| site.key != holder) {
                let what = format!("{} both answer at {front}{path}", both(&site.key, &holder));
                let problem = Problem::error(site.place.clone(), what).clashes_with(at.clone());
                self.problems.push(problem.help("give one of them another `path`, or `hosts` of its own"));
            }
        }
    }

    fn names_of(&self, site: &Written) -> Vec<HostPattern> {
        let front = self.front.iter().filter(|_| self.fronts.contains(&site.key));
        front.chain(&site.own).cloned().collect()
    }
}

/// Two process ports in words, the earlier one first.
fn both(later: &PortKey, earlier: &PortKey) -> String {
    if later.process == earlier.process {
        return format!("two ports of `{}`", later.process);
    }
    format!("`{earlier}` and `{later}`")
}

/// A prefix behind a hostname: nothing, if it is every path.
fn shown(path: &PathPrefix) -> &str {
    if path.is_root() { "" } else { path.as_str() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::Protocol::{Http, Redis, Tcp};
    use crate::sample::{draft, name, plan, problems, process, with_ports};
    use crate::{Admission, HostTable, Plan, Problem, Route, Site};

    fn sited(process: ProcessDraft, hosts: &[&str], path: Option<&str>) -> ProcessDraft {
        ProcessDraft { site: site(hosts, path), ..process }
    }

    fn site(hosts: &[&str], path: Option<&str>) -> SiteDraft {
        SiteDraft {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            path: path.map(|path| path.parse().unwrap()),
            ..SiteDraft::default()
        }
    }

    fn http(name: &str) -> ProcessDraft {
        process(name, Some(Http), &[])
    }

    /// Where each port that speaks HTTP is reached: `web: shop.localhost web.shop.localhost`, and where else.
    fn reached(plan: &Plan) -> Vec<String> {
        let ports = plan.processes().iter().flat_map(|p| p.ports.iter().map(move |port| (&p.name, port)));
        let one = |(process, port): (&ProcessName, &crate::PortPlan)| {
            let key = PortKey { process: process.clone(), port: port.name.clone() };
            let site = port.site.as_ref()?;
            let names = site.patterns().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            Some(format!("{key}: {names}{}", if site.path.is_root() { "" } else { site.path.as_str() }))
        };
        ports.filter_map(one).collect()
    }

    fn whole(processes: Vec<ProcessDraft>) -> Vec<Problem> {
        Plan::new(draft(processes)).map_or_else(|problems| problems, |(_, warnings)| warnings)
    }

    #[test]
    fn every_port_that_speaks_http_has_its_names() {
        let plan = plan(vec![
            http("web"),
            http("API_v2"),
            process("cache", Some(Redis), &[]),
            process("worker", None, &[]),
            with_ports("chat", &[("c2s", Tcp, None), ("Admin_x", Http, None)]),
            with_ports("site", &[("main", Http, None), ("admin", Http, None)]),
        ]);
        assert_eq!(
            reached(&plan),
            [
                "web: shop.localhost web.shop.localhost",
                "API_v2: api-v2.shop.localhost",
                "chat:Admin_x: admin-x.chat.shop.localhost",
                "site:main: site.shop.localhost main.site.shop.localhost",
                "site:admin: admin.site.shop.localhost",
            ]
        );
    }

    #[test]
    fn without_web_nobody_is_the_app_unless_its_user_says_who() {
        assert_eq!(reached(&plan(vec![http("api")])), ["api: api.shop.localhost"]);
        let tcp = process("web", Some(Tcp), &[]);
        assert_eq!(reached(&plan(vec![tcp, http("api")])), ["api: api.shop.localhost"]);
        let front = sited(http("api"), &["shop.localhost"], None);
        assert_eq!(reached(&plan(vec![front])), ["api: api.shop.localhost shop.localhost"]);
    }

    #[test]
    fn a_path_holds_for_all_names_and_gives_one_at_the_apps() {
        let api = sited(http("api"), &["shop.example.com"], Some("/api"));
        assert_eq!(
            reached(&plan(vec![http("web"), api.clone()])),
            ["web: shop.localhost web.shop.localhost", "api: shop.localhost api.shop.localhost shop.example.com/api",]
        );
        // Those that are told apart by their hosts do without; one that has none means it.
        let other = sited(http("other"), &["other.example.com"], Some("/api"));
        assert_eq!(
            reached(&plan(vec![api.clone(), other.clone()])),
            ["api: api.shop.localhost shop.example.com/api", "other: other.shop.localhost other.example.com/api"]
        );
        let bare = sited(http("bare"), &[], Some("/api"));
        assert_eq!(reached(&plan(vec![api, other, bare]))[2], "bare: shop.localhost bare.shop.localhost/api");
    }

    #[test]
    fn hosts_of_a_process_are_its_first_ports() {
        let mut chat = sited(with_ports("chat", &[("a", Http, None), ("b", Http, None)]), &["chat.example"], None);
        chat.ports[1].site = site(&["admin.example"], Some("/b"));
        assert_eq!(
            reached(&plan(vec![chat])),
            [
                "chat:a: chat.shop.localhost a.chat.shop.localhost chat.example",
                "chat:b: shop.localhost b.chat.shop.localhost admin.example/b",
            ]
        );
    }

    #[test]
    fn one_host_and_path_belongs_to_one_port_and_both_are_named() {
        let a = || sited(http("a"), &["x.example", "*"], None);
        let found = whole(vec![a(), sited(http("b"), &["*.example", "X.example"], None)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "`a` and `b` both answer at x.example");
        assert_eq!(found[0].at, Place::Host(name("b"), None, "x.example".to_owned()));
        assert_eq!(found[0].other, Some(Place::Host(name("a"), None, "x.example".to_owned())));
        assert_eq!(problems(vec![a(), sited(http("b"), &["*"], None)]), ["`a` and `b` both answer at *"]);
        assert_eq!(problems(vec![a(), sited(http("b"), &["x.example"], Some("/b"))]), Vec::<String>::new());
        let twins = |path| vec![sited(http("a"), &["x.e"], Some("/p")), sited(http("b"), &["x.e"], Some(path))];
        assert_eq!(problems(twins("/p/")), ["`a` and `b` both answer at x.e/p"]);
        let mut ports = with_ports("chat", &[("a", Http, None), ("b", Http, None)]);
        ports.ports.iter_mut().for_each(|port| port.site = site(&["x.e"], None));
        assert_eq!(problems(vec![ports]), ["two ports of `chat` both answer at x.e"]);
    }

    #[test]
    fn a_name_on_this_machine_belongs_to_its_process() {
        assert_eq!(
            problems(vec![http("web"), sited(http("api"), &["web.shop.localhost"], Some("/x"))]),
            ["web.shop.localhost is the name that `web` has on this machine"]
        );
        assert_eq!(
            problems(vec![sited(http("api"), &["shop.localhost"], None), http("web")]),
            ["`web` and `api` both answer at shop.localhost"]
        );
        assert_eq!(
            problems(vec![http("web"), sited(http("api"), &["shop.localhost"], Some("/x"))]),
            Vec::<String>::new()
        );
        assert_eq!(problems(vec![sited(http("api"), &["api.shop.localhost"], None)]), Vec::<String>::new());
        let twins = problems(vec![http("my_api"), http("my-api")]);
        assert_eq!(twins[1], "`my_api` and `my-api` would both be my-api.shop.localhost");
        let workers = vec![process("my_job", None, &[]), process("my-job", None, &[])];
        assert_eq!(problems(workers).len(), 1, "who speaks no http has no name");
    }

    #[test]
    fn two_paths_that_are_one_are_told() {
        let at = |name, path| sited(http(name), &[], Some(path));
        let found = whole(vec![http("web"), at("a", "/api"), at("b", "/api/")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "`a` and `b` both answer at shop.localhost/api");
        assert_eq!(found[0].at, Place::Key(name("b"), "path"));
        assert_eq!(found[0].other, Some(Place::Key(name("a"), "path")));
        assert_eq!(
            problems(vec![at("web", "/api"), at("a", "/api")]),
            ["`web` and `a` both answer at shop.localhost/api"]
        );
    }

    #[test]
    fn names_are_for_those_who_speak_http() {
        let cache = process("cache", Some(Redis), &[]);
        assert_eq!(
            problems(vec![sited(cache, &["c.example"], Some("/c"))]),
            [
                "`cache` speaks redis and has no `listen`, so `hosts` says nothing",
                "`cache` does not speak http, so `path` says nothing",
            ]
        );
        let mut chat = sited(with_ports("chat", &[("c2s", Tcp, None), ("admin", Http, None)]), &["c.example"], None);
        chat.ports[0].site = site(&[], Some("/x"));
        assert_eq!(
            problems(vec![chat]),
            [
                "the first port of `chat` speaks tcp and has no `listen`, so `hosts` says nothing",
                "the port `c2s` of `chat` does not speak http, so `path` says nothing",
            ]
        );
        let mut twice = sited(with_ports("chat", &[("a", Http, None)]), &["c.example"], None);
        twice.ports[0].site = site(&["d.example"], None);
        assert_eq!(problems(vec![twice]), ["`hosts` of the first port of `chat` is given twice, here and in `ports`"]);
    }

    #[test]
    fn without_a_path_there_is_nothing_to_strip() {
        let strip = |path: Option<&str>| {
            let site = SiteDraft { strip_path: Some(true), ..site(&[], path) };
            problems(vec![ProcessDraft { site, ..http("web") }])
        };
        let nothing = ["`web` has no `path`, so `strip_path` has nothing to remove"];
        assert_eq!(
            (strip(None).as_slice(), strip(Some("/")).as_slice()),
            (&nothing.map(String::from)[..], &nothing.map(String::from)[..])
        );
        assert_eq!(strip(Some("/x")), Vec::<String>::new());
    }

    #[test]
    fn people_are_told_urls_if_somebody_listens_there() {
        let api = plan(vec![sited(http("api"), &["x.example"], Some("/api"))]);
        let site = api.processes()[0].ports[0].site.as_ref().unwrap();
        let urls = |port| site.urls(Scheme::Http, port);
        assert_eq!(urls(Some(7080)), ["http://shop.localhost:7080/api", "http://api.shop.localhost:7080/api"]);
        assert_eq!(urls(Some(80))[1], "http://api.shop.localhost/api");
        assert_eq!(urls(None), Vec::<String>::new());
        assert_eq!(site.urls(Scheme::Https, Some(443))[1], "https://api.shop.localhost/api");
    }

    /// A process with a few of few hosts and one of few paths: likely to clash with another one.
    fn any_process(name: &'static str) -> impl Strategy<Value = ProcessDraft> {
        let hosts = ["a.example", "*.example", "*", "shop.localhost", "api.shop.localhost", "x.api.shop.localhost"];
        let hosts = proptest::sample::subsequence(hosts.to_vec(), 0..3);
        let path = proptest::option::of(proptest::sample::select(vec!["/", "/a", "/a/b"]));
        let kind = proptest::sample::select(vec![0_u8, 1, 2]);
        (hosts, path, kind).prop_map(move |(hosts, path, kind)| match kind {
            0 => sited(http(name), &hosts, path),
            1 => sited(with_ports(name, &[("x", Http, None), ("y", Http, None)]), &hosts, path),
            _ => {
                let mut process = with_ports(name, &[("x", Http, None), ("y", Http, None)]);
                process.ports[1].site = site(&hosts, path);
                process
            }
        })
    }

    proptest! {
        #[test]
        fn in_a_plan_nobody_claims_what_somebody_else_has(
            web in any_process("web"), api in any_process("api"), other in any_process("a_pi")
        ) {
            let Ok((plan, _)) = Plan::new(draft(vec![web, api, other])) else { return Ok(()) };
            let mut table = HostTable::default();
            for port in plan.processes().iter().flat_map(|process| &process.ports) {
                let site = port.site.as_ref().unwrap();
                for pattern in site.patterns() {
                    let route = Arc::new(Route::new("x", Http, Admission::Serve(Vec::new())));
                    let at = Site { path: site.path.clone(), strip: site.strip, route };
                    prop_assert!(table.insert(pattern.clone(), at).is_ok(), "{pattern}{}", site.path);
                }
            }
        }
    }

    #[test]
    fn a_label_takes_what_a_name_has() {
        for (name, label) in [("web", Some("web")), ("My_Api", Some("my-api")), ("_x-", Some("x")), ("_-", None)] {
            assert_eq!(local_label(name).as_deref(), label);
        }
        assert_eq!(reached(&plan(vec![http("__")])), ["__: "]);
    }
}
