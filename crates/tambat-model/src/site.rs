//! By which names each port that speaks HTTP is reached, and who claims what somebody else has.
//!
//! On its machine a process is `PROCESS.APP.localhost`, `web` also `APP.localhost`, and a named port
//! `PORT.PROCESS.APP.localhost`; what `hosts` says comes beside these, and `path` holds for all of them. A process with
//! a `path` also answers below that path at `APP.localhost`, so that several of them are one origin there.

use std::collections::BTreeMap;

use crate::draft::{Draft, ProcessDraft, SiteDraft};
use crate::plan::first_protocol;
use crate::problem::{Place, Problem};
use crate::{AppName, HostPattern, PathPrefix, PortKey, PortName, ProcessName, Protocol};

/// The names below this one are this machine's (RFC 6761 §6.3).
const LOCALHOST: &str = "localhost";

/// The port that a URL of `http` need not name.
const PORT_OF_HTTP: u16 = 80;

/// By which names a port that speaks HTTP is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSite {
    /// Its names on this machine; the one that people visit comes first.
    pub names: Vec<HostPattern>,
    /// Those that `hosts` says.
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

    /// Where people on this machine visit it, if the shared listener for HTTP is at this port; none without one.
    pub fn urls(&self, http_port: Option<u16>) -> Vec<String> {
        let Some(port) = http_port else { return Vec::new() };
        let port = if port == PORT_OF_HTTP { String::new() } else { format!(":{port}") };
        let path = if self.path.is_root() { "" } else { self.path.as_str() };
        self.names.iter().map(|name| format!("http://{name}{port}{path}")).collect()
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
    let sites = sites_of(draft);
    let mut claims = Claims { front: front(&draft.name), ..Claims::default() };
    sites.iter().for_each(|site| claims.take_own(site));
    sites.iter().for_each(|site| claims.take_written(site));
    claims.take_fronts(&sites);
    problems.append(&mut claims.problems);
    let resolved = sites.into_iter().map(|site| {
        let names = claims.names_of(&site);
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
    for key in written_keys(&process.site) {
        if first != Protocol::Http {
            let which =
                if process.ports.is_empty() { format!("`{name}`") } else { format!("the first port of `{name}`") };
            let what = format!("{which} does not speak http, so `{key}` says nothing");
            let help = "names are for protocol = \"http\"; each entry of `ports` has its own";
            problems.push(Problem::error(Place::Key(name.clone(), key), what).help(help));
        } else if process.ports.first().is_some_and(|port| written_keys(&port.site).contains(&key)) {
            let what = format!("`{key}` of the first port of `{name}` is given twice, here and in `ports`");
            problems.push(Problem::error(Place::Key(name.clone(), key), what));
        }
    }
    problems.extend(nothing_to_strip(&process.site, &format!("`{name}`"), &Place::Key(name.clone(), "strip_path")));
    for port in &process.ports {
        let place = Place::Port(name.clone(), port.name.to_string());
        let which = format!("the port `{}` of `{name}`", port.name);
        if let Some(key) = written_keys(&port.site).first().filter(|_| port.protocol != Protocol::Http) {
            let what = format!("{which} does not speak http, so `{key}` says nothing");
            problems.push(Problem::error(place.clone(), what));
        }
        problems.extend(nothing_to_strip(&port.site, &which, &place));
    }
    problems
}

fn written_keys(site: &SiteDraft) -> Vec<&'static str> {
    let said =
        [("hosts", !site.hosts.is_empty()), ("path", site.path.is_some()), ("strip_path", site.strip_path.is_some())];
    said.into_iter().filter(|(_, said)| *said).map(|(key, _)| key).collect()
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
    hosts: Vec<(HostPattern, Place)>,
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
            if first_protocol(process) == Protocol::Http {
                sites.push(site_of(&draft.name, process, None));
            }
            continue;
        }
        for (nth, port) in process.ports.iter().enumerate() {
            let is_double = process.ports[..nth].iter().any(|other| other.name.variable() == port.name.variable());
            if port.protocol == Protocol::Http && !is_double {
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
    let mut path = None;
    let mut strip = None;
    let mut place = Place::Process(process.name.clone());
    if is_first {
        let at = |host: &HostPattern| Place::Host(process.name.clone(), None, host.to_string());
        hosts.extend(process.site.hosts.iter().map(|host| (host.clone(), at(host))));
        (path, strip) = (process.site.path.clone(), process.site.strip_path);
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
    }
    let own = own_names(app, &process.name, key.port.as_ref(), is_first);
    Written { key, own, hosts, path: path.unwrap_or_default(), strip: strip.unwrap_or_default(), place }
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
    fronts: Vec<PortKey>,
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
            let bare: Vec<&Written> = all.iter().copied().filter(|site| site.hosts.is_empty()).collect();
            let holder = match (taken, bare.as_slice(), all.as_slice()) {
                (Some(holder), ..) => Some(holder),
                (None, [first, ..], _) | (None, [], [first]) => {
                    self.fronts.push(first.key.clone());
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
