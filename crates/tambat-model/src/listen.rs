//! From what an app's files say of `listen` to its listeners, and what is wrong with that.

use std::collections::BTreeMap;

use crate::draft::{Draft, PortDraft, ProcessDraft, SiteDraft};
use crate::entrance::{About, Claim, EntrancePlan, Finding, ListenAddr, ListenPlan, TlsHandling, takes};
use crate::plan::first_protocol;
use crate::problem::{Place, Problem};
use crate::{Manner, PathPrefix, PortKey, Protocol};

/// A process port that is reached at listeners of the manifest, or could be.
struct Written<'a> {
    key: PortKey,
    protocol: Protocol,
    /// What is said of it: by its process, by its entry of `ports`.
    said: [Option<&'a SiteDraft>; 2],
    may_be_exposed: bool,
}

/// The listeners that an app's files ask for, by address, and what is wrong with them.
pub(crate) fn resolve_listeners(draft: &Draft) -> (Vec<EntrancePlan>, Vec<Problem>) {
    let ports: Vec<Written<'_>> = draft.processes.iter().enumerate().flat_map(|at| written(draft, at)).collect();
    let mut problems = Vec::new();
    let mut by_address: BTreeMap<ListenAddr, Vec<(PortKey, Claim)>> = BTreeMap::new();
    for port in &ports {
        for at in port.listen() {
            by_address.entry(at).or_default().push((port.key.clone(), port.claim(at)));
        }
    }
    // Of a server's listeners one may fall back to an app that asks for nothing there.
    for listen in draft.router.listen.iter().filter(|l| draft.manner == Manner::Serve && l.fallback.is_some()) {
        by_address.entry(listen.address).or_default();
    }
    let mut plans = Vec::new();
    for (at, asked) in by_address {
        let (mut keys, mut claims): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let listen = draft.router.listen.iter().find(|listen| listen.address == at);
        let fallback = listen.and_then(|listen| Some((listen, listen.fallback.as_ref()?)));
        let fallback = fallback
            .map_or(Ok(None), |(listen, name)| fallback_of(draft, &ports, listen, name, (&mut keys, &mut claims)));
        let known = *fallback.as_ref().unwrap_or(&None);
        let plan = EntrancePlan::new(at, claims, listen, known);
        match fallback {
            Ok(_) => {
                let found = plan.check(draft.manner.router_file());
                problems.extend(found.into_iter().map(|found| problem(found, at, &keys, &ports)));
            }
            // What else seems wrong may follow from that.
            Err(problem) => problems.push(*problem),
        }
        plans.push((plan, keys));
    }
    problems.extend(overlaps(&plans));
    problems.extend(taken(draft, &plans));
    problems.extend(unasked(draft, &plans));
    (plans.into_iter().map(|(plan, _)| plan).collect(), problems)
}

/// What is wrong with what one process says of its listeners, whatever others say: of its first port in its own words, of
/// each named one in its entry of `ports`.
pub(crate) fn check_listening(process: &ProcessDraft) -> Vec<Problem> {
    let name = &process.name;
    let first = process.ports.first().map(|port| &port.site);
    let listens = !process.site.listen.is_empty() || first.is_some_and(|site| !site.listen.is_empty());
    let mut problems = Vec::new();
    if process.site.tls.is_some() && !listens {
        problems.push(tls_alone(&format!("`{name}`"), Place::Key(name.clone(), "tls")));
    }
    for (nth, port) in process.ports.iter().enumerate() {
        let listens = if nth == 0 { listens } else { !port.site.listen.is_empty() };
        if port.site.tls.is_some() && !listens {
            let place = Place::Port(name.clone(), port.name.to_string());
            problems.push(tls_alone(&format!("the port `{}` of `{name}`", port.name), place));
        }
    }
    problems
}

fn tls_alone(which: &str, place: Place) -> Problem {
    let what = format!("{which} has no `listen`, so `tls` says nothing");
    Problem::error(place, what).help("at the listeners that all names share, TLS ends here")
}

/// The ports of a process. One that is there twice is told so elsewhere.
fn written<'a>(draft: &'a Draft, (nth, process): (usize, &'a ProcessDraft)) -> Vec<Written<'a>> {
    if draft.processes[..nth].iter().any(|other| other.name == process.name) {
        return Vec::new();
    }
    let of = |port: Option<&'a PortDraft>, nth: usize| {
        let protocol = port.map_or_else(|| first_protocol(process), |port| port.protocol);
        let told = port.and_then(|port| port.proxy_protocol).or(process.proxy_protocol.filter(|_| nth == 0));
        Written {
            key: PortKey { process: process.name.clone(), port: port.map(|port| port.name.clone()) },
            protocol,
            said: [(nth == 0).then_some(&process.site), port.map(|port| &port.site)],
            may_be_exposed: protocol.carries_client_address() || process.expose || told.is_some(),
        }
    };
    if process.ports.is_empty() {
        return vec![of(None, 0)];
    }
    let is_double = |at: usize, port: &PortDraft| process.ports[..at].iter().any(|other| other.name == port.name);
    let named = process.ports.iter().enumerate().filter(|(nth, port)| !is_double(*nth, port));
    named.map(|(nth, port)| of(Some(port), nth)).collect()
}

impl Written<'_> {
    fn sites(&self) -> impl Iterator<Item = &SiteDraft> {
        self.said.iter().copied().flatten()
    }

    fn listen(&self) -> Vec<ListenAddr> {
        let mut all: Vec<ListenAddr> = self.sites().flat_map(|site| site.listen.iter().copied()).collect();
        all.sort();
        all.dedup();
        all
    }

    fn claim(&self, at: ListenAddr) -> Claim {
        let tls = self.sites().find_map(|site| site.tls);
        self.claim_with(tls.unwrap_or_else(|| TlsHandling::unless_said(self.protocol, at)))
    }

    fn claim_with(&self, tls: TlsHandling) -> Claim {
        let path: Option<&PathPrefix> = self.sites().find_map(|site| site.path.as_ref());
        Claim {
            who: self.key.to_string(),
            protocol: self.protocol,
            tls,
            hosts: self.sites().flat_map(|site| site.hosts.iter().cloned()).collect(),
            path: path.cloned().unwrap_or_default(),
            strip: self.sites().find_map(|site| site.strip_path).unwrap_or_default(),
            may_be_exposed: self.may_be_exposed,
        }
    }

    /// Where that part of what it says stands.
    fn place(&self, at: ListenAddr, about: &About) -> Place {
        let process = self.key.process.clone();
        let port = self.key.port.as_ref().map(ToString::to_string);
        // What the process says of its first port stands with the process.
        let by_process = |says: &dyn Fn(&SiteDraft) -> bool| self.said[0].is_some_and(says);
        match about {
            About::Listen => {
                let port = port.filter(|_| !by_process(&|site| site.listen.contains(&at)));
                Place::Listen(process, port, at)
            }
            About::Tls | About::Hosts => {
                let key = if *about == About::Tls { "tls" } else { "hosts" };
                let says = |site: &SiteDraft| if key == "tls" { site.tls.is_some() } else { !site.hosts.is_empty() };
                match port.filter(|_| !by_process(&says)) {
                    Some(port) => Place::Port(process, port),
                    None => Place::Key(process, key),
                }
            }
            About::Host(host) => {
                let port = port.filter(|_| !by_process(&|site| site.hosts.contains(host)));
                Place::Host(process, port, host.to_string())
            }
        }
    }
}

/// Who gets those that are not told: one of those that ask for the address, or one more. None: another app has it.
fn fallback_of(
    draft: &Draft,
    ports: &[Written<'_>],
    listen: &ListenPlan,
    name: &str,
    (keys, claims): (&mut Vec<PortKey>, &mut Vec<Claim>),
) -> Result<Option<usize>, Box<Problem>> {
    let place = || Place::Fallback(listen.address);
    let is_it = |key: &PortKey| key.to_string() == name || (key.process.as_str() == name && is_first(draft, key));
    let Some(port) = ports.iter().find(|port| is_it(&port.key)) else {
        if draft.manner == Manner::Serve {
            return Ok(None);
        }
        let what = format!("there is no process port `{name}` to fall back to");
        return Err(Box::new(Problem::error(place(), what).help("fallback = \"PROCESS\" or \"PROCESS:PORT\"")));
    };
    if !port.protocol.can_be_fallback() {
        let what = format!("`{name}` speaks {}, so it cannot be the fallback", port.protocol);
        return Err(Box::new(Problem::error(place(), what).help("whoever gets streams of which nothing is known can")));
    }
    let known =
        keys.iter().zip(claims.iter()).position(|(key, claim)| *key == port.key && claim.tls == TlsHandling::Off);
    Ok(Some(known.unwrap_or_else(|| {
        keys.push(port.key.clone());
        claims.push(Claim { hosts: Vec::new(), ..port.claim_with(TlsHandling::Off) });
        claims.len() - 1
    })))
}

fn is_first(draft: &Draft, key: &PortKey) -> bool {
    let process = draft.processes.iter().find(|process| process.name == key.process);
    process.is_some_and(|process| process.ports.first().map(|port| &port.name) == key.port.as_ref())
}

fn problem(found: Finding, at: ListenAddr, keys: &[PortKey], ports: &[Written<'_>]) -> Problem {
    let place =
        |claim: usize, about: &About| {
            let port = ports.iter().find(|port| port.key == keys[claim]);
            port.map_or(Place::App, |port| {
                if port.listen().contains(&at) { port.place(at, about) } else { Place::Fallback(at) }
            })
        };
    let problem = Problem::error(place(found.claim, &found.about), found.what).help(found.help);
    match &found.other {
        Some((claim, about)) => problem.clashes_with(place(*claim, about)),
        None => problem,
    }
}

fn listen_place(plan: &EntrancePlan, keys: &[PortKey]) -> Place {
    let first = keys.first().map(|key| (key.process.clone(), key.port.as_ref().map(ToString::to_string)));
    first.map_or(Place::App, |(process, port)| Place::Listen(process, port, plan.at))
}

/// Addresses of which one has another one in it.
fn overlaps(plans: &[(EntrancePlan, Vec<PortKey>)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (nth, (later, keys)) in plans.iter().enumerate() {
        if let Some((earlier, others)) = plans[..nth].iter().find(|(earlier, _)| earlier.overlaps(later)) {
            let what = format!("{} and {} cannot both be listened at: one has the other in it", earlier.at, later.at);
            let problem = Problem::error(listen_place(later, keys), what).clashes_with(listen_place(earlier, others));
            problems.push(problem.help("write the same address at both, or another port"));
        }
    }
    problems
}

/// A service port is held on loopback, so its number is free at no address that has that in it.
fn taken(draft: &Draft, plans: &[(EntrancePlan, Vec<PortKey>)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for process in &draft.processes {
        let own = process.port.map(|port| (port, Place::Key(process.name.clone(), "port")));
        let named = process.ports.iter();
        let named = named.filter_map(|p| Some((p.port?, Place::Port(process.name.clone(), p.name.to_string()))));
        for (port, place) in own.into_iter().chain(named) {
            if let Some((plan, keys)) = plans.iter().find(|(plan, _)| takes(plan.at, port)) {
                let what = format!("{} and the service port {port} of `{}` are one", plan.at, process.name);
                let problem = Problem::error(place, what).clashes_with(listen_place(plan, keys));
                problems.push(problem.help("without `port` it gets a service port by its position"));
            }
        }
    }
    problems
}

/// Entries of `[router] listen` at whose address nobody asks to be reached. On a server somebody may come.
fn unasked(draft: &Draft, plans: &[(EntrancePlan, Vec<PortKey>)]) -> Vec<Problem> {
    if draft.manner == Manner::Serve {
        return Vec::new();
    }
    let is_asked = |listen: &&ListenPlan| plans.iter().any(|(plan, _)| plan.at == listen.address);
    let unasked = draft.router.listen.iter().filter(|listen| !is_asked(listen));
    let problem = |listen: &ListenPlan| {
        let what = format!("no process listens at {}, so nobody is reached there", listen.address);
        let help = format!("in a process: listen = \"{}\"", listen.address);
        Problem::error(Place::RouterListen(listen.address), what).help(help)
    };
    unasked.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol::{Dns, H2c, Http, Mqtt, Mysql, Postgres, Redis, Smtp, Ssh, Tcp, Tls, Udp, Xmpp};
    use crate::entrance::{ByServerName, Opening};
    use crate::sample::{draft, name, port, process, with_ports};
    use crate::{Ledger, Plan, ProxyProtocol, RouteTable, Wiring, World, route_table};

    const HERE: &str = "127.0.0.1:7000";

    fn at(text: &str) -> ListenAddr {
        text.parse().unwrap()
    }

    /// A process that speaks this and is reached at [`HERE`].
    fn here(text: &str, protocol: Protocol, tls: Option<TlsHandling>, hosts: &[&str]) -> ProcessDraft {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let site = SiteDraft { hosts, listen: vec![at(HERE)], tls, ..SiteDraft::default() };
        ProcessDraft { site, ..process(text, Some(protocol), &[]) }
    }

    fn ends(text: &str, protocol: Protocol, hosts: &[&str]) -> ProcessDraft {
        here(text, protocol, Some(TlsHandling::Terminate), hosts)
    }

    fn passes(text: &str, protocol: Protocol, hosts: &[&str]) -> ProcessDraft {
        here(text, protocol, Some(TlsHandling::Passthrough), hosts)
    }

    fn off(text: &str, protocol: Protocol) -> ProcessDraft {
        here(text, protocol, None, &[])
    }

    fn peeking(processes: Vec<ProcessDraft>, peek: &[Opening], fallback: Option<&str>) -> Draft {
        let mut draft = draft(processes);
        let fallback = fallback.map(str::to_owned);
        draft.router.listen = vec![ListenPlan { address: at(HERE), peek: peek.to_vec(), within: None, fallback }];
        draft
    }

    fn told(draft: Draft) -> Vec<Problem> {
        Plan::new(draft).map_or_else(|problems| problems, |(_, warnings)| warnings)
    }

    fn whats(draft: Draft) -> Vec<String> {
        told(draft).into_iter().map(|problem| problem.what).collect()
    }

    fn table(draft: Draft) -> RouteTable {
        let (plan, _) =
            Plan::new(draft).map_err(|problems| problems.into_iter().map(|p| p.what).collect::<Vec<_>>()).unwrap();
        let mut wiring = Wiring::default();
        let keys = plan.processes().iter().flat_map(|process| {
            process.ports.iter().map(|port| PortKey { process: process.name.clone(), port: port.name.clone() })
        });
        for (key, number) in keys.collect::<Vec<_>>().into_iter().zip(5000..) {
            wiring.service_ports.insert(key, port(number));
        }
        route_table(&plan, &wiring, &World::default(), &Ledger::default())
    }

    /// Who is reached at [`HERE`]: by what it looks for, and in which table.
    fn reached(draft: Draft) -> String {
        let table = table(draft);
        let entrance = table.entrance(at(HERE)).unwrap();
        let openings = entrance.openings.iter().map(|o| o.as_str()).collect::<Vec<_>>().join(" ");
        let of = |what: &str, table: &crate::HostTable| {
            let sites = table.sites().into_iter().map(|(host, site)| {
                let path = if site.path.is_root() { "" } else { site.path.as_str() };
                format!("{what} {host}{path}={}", site.route.name)
            });
            sites.collect::<Vec<_>>()
        };
        let mut all = vec![format!("[{openings}]")];
        all.extend(of("http", &entrance.http));
        all.extend(of("terminated", &entrance.terminated));
        all.extend(of("passed", &entrance.passed));
        all.extend(of("xmpp", &entrance.xmpp));
        for (what, route) in [("ssh", &entrance.ssh), ("other", &entrance.other), ("datagrams", &entrance.datagrams)] {
            all.extend(route.iter().map(|route| format!("{what}={}", route.name)));
        }
        all.join(", ")
    }

    #[test]
    fn each_protocol_comes_in_by_its_own_way() {
        let cases = [
            (off("web", Http), "[], http *=web"),
            (here("web", H2c, None, &["a.example"]), "[], http a.example=web"),
            (ends("web", Http, &["a.example"]), "[tls], terminated a.example=web"),
            (off("chat", Xmpp), "[xmpp], xmpp *=chat"),
            (ends("chat", Xmpp, &["chat.example"]), "[tls xmpp], terminated chat.example=chat, xmpp chat.example=chat"),
            (passes("chat", Xmpp, &["chat.example"]), "[tls], passed chat.example=chat"),
            (ends("db", Postgres, &["db.example"]), "[tls postgres], terminated db.example=db"),
            (passes("db", Postgres, &["db.example"]), "[tls postgres], passed db.example=db"),
            (ends("cache", Redis, &["c.example"]), "[tls], terminated c.example=cache"),
            (ends("cache", Redis, &[]), "[tls], terminated *=cache"),
            (passes("mq", Mqtt, &["mq.example"]), "[tls], passed mq.example=mq"),
            (here("app", Tls, None, &["app.example"]), "[tls], passed app.example=app"),
            (here("app", Tls, Some(TlsHandling::Off), &[]), "[], other=app"),
            (off("cache", Redis), "[], other=cache"),
            (off("shell", Ssh), "[], other=shell"),
            (off("names", Dns), "[], other=names, datagrams=names"),
            (ends("names", Dns, &[]), "[tls], terminated *=names"),
            (off("game", Udp), "[], datagrams=game"),
        ];
        for (process, expected) in cases {
            assert_eq!(reached(draft(vec![process.clone()])), expected, "{process:?}");
        }
    }

    #[test]
    fn several_are_told_apart_by_their_names() {
        let redis = [ends("one", Redis, &["one.example"]), passes("two", Redis, &["two.example"])];
        assert_eq!(reached(draft(redis.to_vec())), "[tls], terminated one.example=one, passed two.example=two");
        let mixed = vec![ends("web", Http, &[]), ends("mq", Mqtt, &["mq.example"])];
        assert_eq!(reached(draft(mixed)), "[tls], terminated mq.example=mq, terminated *=web");
        let chats = vec![
            here("a", Xmpp, None, &["a.example"]),
            ends("b", Xmpp, &["b.example"]),
            passes("c", Xmpp, &["c.example"]),
        ];
        assert_eq!(
            reached(draft(chats)),
            "[tls xmpp], terminated b.example=b, passed c.example=c, xmpp a.example=a, xmpp b.example=b"
        );
        let mut api = off("api", Http);
        api.site.path = Some("/api".parse().unwrap());
        assert_eq!(reached(draft(vec![off("web", Http), api])), "[], http *=web, http */api=api");
    }

    #[test]
    fn a_peeking_listener_has_several_ways_in() {
        let all = || {
            let web = here("web", Http, None, &["w.example"]);
            vec![web, ends("tls", Http, &["w.example"]), off("shell", Ssh), off("relay", Smtp)]
        };
        let peek = [Opening::Http, Opening::Tls, Opening::Ssh];
        let expected = "[tls http ssh], http w.example=web, terminated w.example=tls, ssh=shell, other=relay";
        assert_eq!(reached(peeking(all(), &peek, Some("relay"))), expected);
        // Who gets the others need not ask for the address, and may have ports by name.
        let mut chat = with_ports("chat", &[("greet", Smtp, None), ("other", Tcp, None)]);
        chat.expose = true;
        let web = || off("web", Http);
        let expected = "[http], http *=web, other=chat:other";
        assert_eq!(reached(peeking(vec![web(), chat.clone()], &[Opening::Http], Some("chat:other"))), expected);
        let expected = "[http], http *=web, other=chat:greet";
        assert_eq!(reached(peeking(vec![web(), chat], &[Opening::Http], Some("chat"))), expected);
        let ssh = peeking(vec![web(), off("shell", Ssh)], &[Opening::Http, Opening::Ssh], Some("shell"));
        assert_eq!(reached(ssh), "[http ssh], http *=web, ssh=shell, other=shell");
        let both = peeking(vec![ends("cache", Redis, &[])], &[Opening::Tls], Some("cache"));
        assert_eq!(reached(both), "[tls], terminated *=cache, other=cache");
    }

    #[test]
    fn by_name_the_most_exact_one_is_found() {
        let processes = vec![ends("web", Http, &["*"]), passes("app", Tls, &["app.example"])];
        let table = table(draft(processes));
        let entrance = table.entrance(at(HERE)).unwrap();
        let Some(ByServerName::Passed(site)) = entrance.by_server_name("app.example") else { panic!("{entrance:?}") };
        assert_eq!(site.route.name, "app");
        assert!(matches!(entrance.by_server_name("x.example"), Some(ByServerName::Terminated(_))));
    }

    #[test]
    fn what_cannot_be_told_apart_is_an_error_that_names_both() {
        let cases: Vec<(Vec<ProcessDraft>, &str)> = vec![
            (
                vec![off("one", Redis), off("two", Mysql)],
                "a client at 127.0.0.1:7000 could want `one` or `two`, and nothing that it begins with tells",
            ),
            (
                vec![off("one", Udp), off("two", Dns)],
                "a datagram at 127.0.0.1:7000 could be for `one` or for `two`: nothing in it says whom it is for",
            ),
            (
                vec![off("web", Http), ends("app", Http, &["a.example"])],
                "clients of `web` and of `app` begin in different ways, and nothing says that 127.0.0.1:7000 is for both",
            ),
            (
                vec![off("web", Http), off("relay", Smtp)],
                "clients of `web` and of `relay` begin in different ways, and nothing says that 127.0.0.1:7000 is for both",
            ),
            (
                vec![ends("db", Postgres, &["a.example"]), ends("cache", Redis, &["b.example"])],
                "clients of `db` and of `cache` begin in different ways, and nothing says that 127.0.0.1:7000 is for both",
            ),
            (
                vec![off("chat", Xmpp), ends("web", Http, &[])],
                "clients of `chat` and of `web` begin in different ways, and nothing says that 127.0.0.1:7000 is for both",
            ),
            (
                vec![ends("one", Redis, &["a.example", "b.example"]), ends("two", Mqtt, &["b.example"])],
                "`one` and `two` both answer at b.example at 127.0.0.1:7000",
            ),
            (
                vec![ends("one", Redis, &["a.example"]), passes("two", Redis, &["a.example"])],
                "`one` and `two` both answer at a.example at 127.0.0.1:7000",
            ),
            (
                vec![ends("one", Xmpp, &["a.example"]), ends("two", Xmpp, &["a.example"])],
                "`one` and `two` both answer at a.example at 127.0.0.1:7000",
            ),
            (
                vec![ends("one", Redis, &["a.example"]), ends("two", Redis, &[])],
                "`one` and `two` are told apart at 127.0.0.1:7000 by their names, and `two` says none",
            ),
            (
                vec![ends("one", Redis, &[]), ends("two", Redis, &[])],
                "`two` and `one` are told apart at 127.0.0.1:7000 by their names, and `one` says none",
            ),
            (vec![off("one", Http), off("two", Http)], "`one` and `two` both answer at * at 127.0.0.1:7000"),
        ];
        for (processes, what) in cases {
            let shown = format!("{processes:?}");
            let found = told(draft(processes));
            assert_eq!(found.iter().map(|p| p.what.as_str()).collect::<Vec<_>>(), [what], "{shown}");
            assert!(found[0].other.is_some() && found[0].help.is_some(), "{found:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_one_alone_is_told() {
        let named = |process: ProcessDraft, host: &str| ProcessDraft {
            site: SiteDraft { hosts: vec![host.parse().unwrap()], ..process.site.clone() },
            ..process
        };
        let cases = [
            (
                ends("app", Tls, &[]),
                "`app` speaks TLS itself (protocol = \"tls\"): if the handshake ended here, it would wait for another one",
                Place::Key(name("app"), "tls"),
            ),
            (
                passes("web", Http, &[]),
                "`web` speaks http without TLS, so no handshake can pass through to it",
                Place::Key(name("web"), "tls"),
            ),
            (
                ends("game", Udp, &[]),
                "`game` speaks udp, and datagrams have no TLS here",
                Place::Key(name("game"), "tls"),
            ),
            (
                ends("db", Mysql, &[]),
                "`db` speaks mysql, whose clients wait for its greeting before they begin with TLS: none would be heard at \
                 127.0.0.1:7000",
                Place::Key(name("db"), "tls"),
            ),
            (
                passes("relay", Smtp, &[]),
                "`relay` speaks smtp, and greets its clients before any TLS: no handshake can pass through to it",
                Place::Key(name("relay"), "tls"),
            ),
            (
                passes("shell", Ssh, &[]),
                "`shell` speaks ssh, and greets its clients before any TLS: no handshake can pass through to it",
                Place::Key(name("shell"), "tls"),
            ),
            (
                named(off("cache", Redis), "c.example"),
                "`cache` speaks redis, which names no host in plain text, so `hosts` says nothing",
                Place::Key(name("cache"), "hosts"),
            ),
            (
                off("none", Protocol::None),
                "`none` speaks nothing (protocol = \"none\"), so nobody reaches it at 127.0.0.1:7000",
                Place::Listen(name("none"), None, at(HERE)),
            ),
        ];
        for (process, what, place) in cases {
            let found = told(draft(vec![process]));
            assert_eq!(found.iter().map(|p| (p.what.as_str(), &p.at)).collect::<Vec<_>>(), [(what, &place)]);
        }
        // Wrapped in TLS by their clients, all of SSH and SMTP can come in.
        for fine in [ends("shell", Ssh, &[]), ends("relay", Smtp, &["m.example"])] {
            assert_eq!(whats(draft(vec![fine])), Vec::<String>::new());
        }
        let lone = SiteDraft { tls: Some(TlsHandling::Terminate), ..SiteDraft::default() };
        let mut ports = with_ports("chat", &[("a", Redis, None), ("b", Redis, None)]);
        ports.ports[1].site = lone.clone();
        assert_eq!(whats(draft(vec![ports])), ["the port `b` of `chat` has no `listen`, so `tls` says nothing"]);
        let lone = ProcessDraft { site: lone, ..process("cache", Some(Redis), &[]) };
        assert_eq!(whats(draft(vec![lone])), ["`cache` has no `listen`, so `tls` says nothing"]);
    }

    #[test]
    fn who_cannot_see_its_clients_is_exposed_on_purpose() {
        let everywhere = |process: ProcessDraft| {
            let site = SiteDraft { listen: vec![at("0.0.0.0:7000")], ..process.site.clone() };
            ProcessDraft { site, ..process }
        };
        let found = told(draft(vec![everywhere(off("cache", Redis))]));
        let what = "at 0.0.0.0:7000 `cache` is reached from other machines, and cannot see from which: Redis' protected \
                    mode would take every client for a local one";
        assert_eq!(found[0].what, what);
        for fine in [
            ProcessDraft { expose: true, ..everywhere(off("cache", Redis)) },
            ProcessDraft { proxy_protocol: Some(ProxyProtocol::V2), ..everywhere(off("cache", Redis)) },
            everywhere(off("web", Http)),
            everywhere(ends("web", H2c, &[])),
        ] {
            assert_eq!(whats(draft(vec![fine])), Vec::<String>::new());
        }
        assert_eq!(whats(draft(vec![everywhere(off("game", Udp))])).len(), 1);
        // Also for who is only fallen back to.
        let mut hidden = draft(vec![everywhere(off("web", Http)), process("relay", Some(Smtp), &[])]);
        let (address, fallback) = (at("0.0.0.0:7000"), Some("relay".to_owned()));
        hidden.router.listen = vec![ListenPlan { address, peek: vec![Opening::Http], within: None, fallback }];
        let found = told(hidden);
        assert!(found[0].what.starts_with("at 0.0.0.0:7000 `relay` is reached from other machines"), "{found:?}");
        assert_eq!(found[0].at, Place::Fallback(address));
    }

    #[test]
    fn what_a_peeking_listener_does_not_look_for_is_told() {
        let web = || off("web", Http);
        let cases = [
            (
                peeking(vec![web(), ends("app", Http, &["a.example"])], &[Opening::Http], None),
                "clients of `app` begin with a handshake (\"tls\"), which is not looked for at 127.0.0.1:7000",
            ),
            (
                peeking(vec![web(), off("relay", Smtp)], &[Opening::Http], None),
                "nothing tells clients of `relay` at 127.0.0.1:7000",
            ),
            (
                peeking(vec![web(), off("relay", Smtp), off("db", Mysql)], &[Opening::Http], Some("relay")),
                "`db` and `relay` cannot be told apart at 127.0.0.1:7000, where the second one is the fallback",
            ),
            (peeking(vec![web()], &[Opening::Http], Some("relay")), "there is no process port `relay` to fall back to"),
            (peeking(vec![web()], &[Opening::Http], Some("web")), "`web` speaks http, so it cannot be the fallback"),
            (
                peeking(vec![process("web", Some(Http), &[])], &[Opening::Http], None),
                "no process listens at 127.0.0.1:7000, so nobody is reached there",
            ),
        ];
        for (draft, what) in cases {
            assert_eq!(whats(draft), [what]);
        }
    }

    #[test]
    fn addresses_that_cannot_both_be_are_told() {
        let also = |text: &str, address: &str| {
            let process = off(text, Http);
            ProcessDraft { site: SiteDraft { listen: vec![at(address)], ..process.site.clone() }, ..process }
        };
        assert_eq!(
            whats(draft(vec![off("a", Http), also("b", "0.0.0.0:7000")])),
            ["0.0.0.0:7000 and 127.0.0.1:7000 cannot both be listened at: one has the other in it"]
        );
        for fine in ["[::]:7000", "192.0.2.1:7000", "0.0.0.0:7001"] {
            assert_eq!(whats(draft(vec![off("a", Http), also("b", fine)])), Vec::<String>::new(), "{fine}");
        }
        let taken = ProcessDraft { port: Some(port(7000)), ..also("web", "[::]:7000") };
        assert_eq!(whats(draft(vec![taken])), ["[::]:7000 and the service port 7000 of `web` are one"]);
        let apart = ProcessDraft { port: Some(port(7000)), ..also("web", "192.0.2.1:7000") };
        assert_eq!(whats(draft(vec![apart])), Vec::<String>::new());
    }

    #[test]
    fn with_a_listener_of_its_own_a_name_is_served_there_alone() {
        let web = here("web", Http, None, &["shop.example"]);
        let table = table(draft(vec![web]));
        assert!(table.hosts().find("shop.example", "/").is_none());
        assert!(table.hosts().find("web.shop.localhost", "/").is_some(), "this machine's names are where they were");
        assert!(table.entrance(at(HERE)).unwrap().http.find("shop.example", "/").is_some());
        assert_eq!(table.entrances().count(), 1);
        let (a, b) = (here("a", Http, None, &["x.example"]), process("b", Some(Http), &[]));
        let b = ProcessDraft { site: SiteDraft { hosts: vec!["x.example".parse().unwrap()], ..b.site.clone() }, ..b };
        assert_eq!(whats(draft(vec![a, b])), Vec::<String>::new(), "not at one address");
    }

    #[test]
    fn where_https_is_handshakes_end_unless_said_otherwise() {
        let of = |protocol, address: &str| TlsHandling::unless_said(protocol, at(address));
        assert_eq!(of(Http, "0.0.0.0:443"), TlsHandling::Terminate);
        assert_eq!(of(Redis, "0.0.0.0:443"), TlsHandling::Terminate);
        assert_eq!(of(Http, "0.0.0.0:8443"), TlsHandling::Off);
        assert_eq!(
            (of(Tls, "0.0.0.0:443"), of(Tls, "0.0.0.0:1")),
            (TlsHandling::Passthrough, TlsHandling::Passthrough)
        );
        assert_eq!((of(Mysql, "0.0.0.0:443"), of(Smtp, "0.0.0.0:25")), (TlsHandling::Off, TlsHandling::Off));
        assert_eq!((of(Ssh, "0.0.0.0:443"), of(Udp, "0.0.0.0:443")), (TlsHandling::Off, TlsHandling::Off));
    }

    #[test]
    fn the_lines_to_write_are_those_that_are_missing() {
        let help = |processes: Vec<ProcessDraft>| told(draft(processes))[0].help.clone().unwrap();
        assert_eq!(
            help(vec![off("web", Http), ends("app", Http, &["a.example"]), off("relay", Smtp)]),
            "give each an address of its own; or, in tambat.toml:\n[[router.listen]]\naddress = \"127.0.0.1:7000\"\npeek = \
             [\"tls\", \"http\"]\nfallback = \"relay\""
        );
        let both = vec![off("web", Http), off("shell", Ssh)];
        let help = help(both.clone());
        assert!(help.ends_with("peek = [\"http\", \"ssh\"]"), "{help}");
        // And they do it.
        assert_eq!(whats(peeking(both, &[Opening::Http, Opening::Ssh], None)), Vec::<String>::new());
    }
}
