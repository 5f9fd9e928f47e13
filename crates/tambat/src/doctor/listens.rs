//! The listeners that apps ask for (`listen`): what there is in their way, and what it means. What is judged is pure.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tambat_manifest::{LoadError, Loaded};
use tambat_model::{HostPattern, ListenAddr, Transport};
use tambat_os::Holder;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::gather::Place;
use super::judge::{Finding, PortHolder, Verdict};
use crate::cli::server_file;
use crate::serve::entries;

/// A resolver that takes longer is as good as none to whoever waits for a page.
const LOOKUP_MS: u64 = 3_000;

/// So many names are looked up: at once, and nobody reads of more.
const NAMES_MAX: usize = 64;

/// What is known of the listeners of apps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listens {
    pub(crate) all: Vec<ListenFact>,
    /// What cannot be read: apps, and the server's file.
    pub(crate) unreadable: Vec<String>,
}

/// A listener that apps ask for.
#[derive(Debug, Clone)]
pub(crate) struct ListenFact {
    pub(crate) at: SocketAddr,
    /// Whom it is for: `shop/cache`.
    pub(crate) who: Vec<String>,
    /// Who has its port.
    pub(crate) holder: Option<PortHolder>,
    /// Why nobody can listen at this address, whatever the port.
    pub(crate) is_elsewhere: bool,
    /// Names that nobody knows, and who is to be reached by each.
    pub(crate) unknown: Vec<(String, String)>,
}

/// A listener as the files have it.
struct Asked {
    who: Vec<String>,
    over: Vec<Transport>,
    /// Names, and who is reached by each.
    names: Vec<(String, String)>,
}

/// Looks at those of the app in the directory, and of a server's apps.
pub(super) async fn gather(place: &Place<'_>, apps: Option<&Path>) -> Listens {
    let mut listens = Listens::default();
    let mut asked = BTreeMap::new();
    match tambat_manifest::load(place.dir, None) {
        Ok(app) => asks(&app, &mut asked),
        Err(LoadError::NoFiles { .. }) => {}
        Err(_) => listens.unreadable.push(place.dir.display().to_string()),
    }
    if let Some(apps) = apps {
        let listen = match server_file(place.dir, place.config, apps) {
            Ok((file, _)) => file.router.plan.listen,
            Err(error) => {
                listens.unreadable.push(error.to_string());
                Vec::new()
            }
        };
        for entry in entries(apps).unwrap_or_default() {
            match tambat_manifest::load_served(&entry.path, &listen) {
                Ok(app) => asks(&app, &mut asked),
                Err(_) => listens.unreadable.push(entry.path.display().to_string()),
            }
        }
    }
    let names = asked.values().flat_map(|asked| asked.names.iter().map(|(name, _)| name.clone()));
    let unknown = unknown(names.collect()).await;
    listens.all = asked.into_iter().map(|(at, asked)| fact(at.get(), asked, &unknown)).collect();
    listens
}

/// Adds what this app asks for.
fn asks(app: &Loaded, all: &mut BTreeMap<ListenAddr, Asked>) {
    // Port 0 is whatever is free.
    for plan in app.plan.entrances().iter().filter(|plan| plan.at.get().port() != 0) {
        let asked =
            all.entry(plan.at).or_insert_with(|| Asked { who: Vec::new(), over: Vec::new(), names: Vec::new() });
        for claim in &plan.claims {
            let who = format!("{}/{}", app.plan.name(), claim.who);
            if !asked.who.contains(&who) {
                asked.who.push(who.clone());
            }
            asked.over.extend(claim.protocol.transports());
            // Nobody asks a resolver about what is reached on this machine alone.
            let names = claim.hosts.iter().filter(|_| !plan.at.get().ip().is_loopback());
            let exact = names.filter(|host| matches!(host, HostPattern::Exact(_)));
            asked.names.extend(exact.map(|host| (host.to_string(), who.clone())));
        }
    }
}

fn fact(at: SocketAddr, asked: Asked, unknown: &[String]) -> ListenFact {
    let holder = asked.over.iter().find_map(|transport| holder(at, *transport));
    let mut names = asked.names;
    names.retain(|(name, _)| unknown.contains(name));
    let bound = TcpListener::bind((at.ip(), 0));
    let is_elsewhere = bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable);
    ListenFact { at, who: asked.who, holder, is_elsewhere, unknown: names }
}

/// Who has the port, at this address or at all of them.
fn holder(at: SocketAddr, transport: Transport) -> Option<PortHolder> {
    let transport = match transport {
        Transport::Tcp => tambat_os::Transport::Tcp,
        Transport::Udp => tambat_os::Transport::Udp,
    };
    let all = tambat_os::listening_over(transport).ok()?;
    let is_of_all = |there: SocketAddr| there.port() == at.port() && there.ip().is_unspecified();
    let there = all.iter().find(|there| ListenAddr::from(at).takes_room_of(there.addr) || is_of_all(there.addr))?;
    Some(match tambat_os::holder_over(transport, at.port()) {
        Some(Holder::Known(info)) => PortHolder::Program { name: info.name, pid: info.pid.get() },
        Some(Holder::Unreadable { .. }) | None => PortHolder::User(there.uid),
    })
}

/// Those of these names that the resolver does not know.
async fn unknown(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    let mut lookups = JoinSet::new();
    for name in names.into_iter().take(NAMES_MAX) {
        lookups.spawn(async move {
            let within = Duration::from_millis(LOOKUP_MS);
            let is_known = matches!(timeout(within, lookup_host((name.as_str(), 0))).await, Ok(Ok(_)));
            (!is_known).then_some(name)
        });
    }
    lookups.join_all().await.into_iter().flatten().collect()
}

/// What it means. `unprivileged_start`: the first port that needs no right that we do not have; none: all are.
pub(super) fn judge(listens: &Listens, unprivileged_start: Option<u16>) -> Vec<Finding> {
    let unreadable = listens.unreadable.iter().map(|what| {
        let seen = format!("cannot look at listeners that {what} may ask for: it cannot be read");
        Finding::bad("app", Verdict::Note, seen, "`tambat plan` there, or `tambat serve`, says what is wrong with it")
    });
    let listens = listens.all.iter().flat_map(|fact| of_one(fact, unprivileged_start));
    unreadable.chain(listens).collect()
}

fn of_one(fact: &ListenFact, unprivileged_start: Option<u16>) -> Vec<Finding> {
    let ListenFact { at, who, .. } = fact;
    let (id, who, port) = (format!("listen {at}"), who.join(", "), at.port());
    let mut findings = Vec::new();
    let mut wrong = |seen: String, fix: String| findings.push(Finding::bad(id.clone(), Verdict::Wrong, seen, fix));
    let other = "or choose another address in `listen`";
    match &fact.holder {
        Some(PortHolder::Program { name, .. }) if name == "tambat" => {}
        Some(PortHolder::Program { name, pid }) => wrong(
            format!("{name} (pid {pid}) listens at port {port}, which is to be for {who}"),
            format!("end it (kill {pid}, or the service that runs it), {other}"),
        ),
        Some(PortHolder::User(uid)) => wrong(
            format!("a process of user {uid} listens at port {port}, which is to be for {who}"),
            format!("`sudo ss -lntup 'sport = :{port}'` says who it is: end it, {other}"),
        ),
        None => {}
    }
    if fact.is_elsewhere {
        wrong(
            format!("this machine has no address {}, where {who} is to be reached", at.ip()),
            "change `listen`".to_owned(),
        );
    }
    if unprivileged_start.is_some_and(|first| port < first) {
        let fix = format!("sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}, {other}");
        wrong(format!("port {port}, which is to be for {who}, needs a right that we do not have"), fix);
    }
    findings.extend(fact.unknown.iter().map(|(name, who)| {
        let seen = format!("no resolver knows {name}, by which {who} is to be reached");
        let fix = "let its DNS say where this machine is; or name one in `hosts` that is known";
        Finding::bad(id.clone(), Verdict::Note, seen, fix)
    }));
    if findings.is_empty() {
        let seen = match &fact.holder {
            Some(_) => format!("tambat listens at port {port}, which is for {who}"),
            None => format!("nobody listens at port {port}, which is to be for {who}"),
        };
        findings.push(Finding::fine(id, seen));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(at: &str) -> ListenFact {
        let who = vec!["shop/cache".to_owned()];
        ListenFact { at: at.parse().unwrap(), who, holder: None, is_elsewhere: false, unknown: Vec::new() }
    }

    fn told(fact: ListenFact, unprivileged_start: Option<u16>) -> Vec<String> {
        let listens = Listens { all: vec![fact], unreadable: Vec::new() };
        let findings = judge(&listens, unprivileged_start);
        findings.iter().map(|of| format!("{:?} {}", of.verdict, of.seen)).collect()
    }

    #[test]
    fn what_is_in_the_way_of_a_listener_is_told() {
        let held = |holder| ListenFact { holder: Some(holder), ..fact("0.0.0.0:6379") };
        let program = |name: &str| PortHolder::Program { name: name.to_owned(), pid: 12 };
        assert_eq!(
            told(fact("0.0.0.0:6379"), Some(1_024)),
            ["Fine nobody listens at port 6379, which is to be for shop/cache"]
        );
        assert_eq!(told(held(program("tambat")), None), ["Fine tambat listens at port 6379, which is for shop/cache"]);
        assert_eq!(
            told(held(program("redis-server")), None),
            ["Wrong redis-server (pid 12) listens at port 6379, which is to be for shop/cache"]
        );
        assert_eq!(
            told(held(PortHolder::User(7)), None),
            ["Wrong a process of user 7 listens at port 6379, which is to be for shop/cache"]
        );
        let unknown = vec![("a.example".to_owned(), "shop/cache".to_owned())];
        assert_eq!(
            told(ListenFact { is_elsewhere: true, unknown, ..fact("192.0.2.1:25") }, Some(1_024)),
            [
                "Wrong this machine has no address 192.0.2.1, where shop/cache is to be reached",
                "Wrong port 25, which is to be for shop/cache, needs a right that we do not have",
                "Note no resolver knows a.example, by which shop/cache is to be reached",
            ]
        );
        let listens = Listens { all: Vec::new(), unreadable: vec!["/srv/shop".to_owned()] };
        let found = judge(&listens, None);
        assert_eq!(found[0].seen, "cannot look at listeners that /srv/shop may ask for: it cannot be read");
    }
}
