//! The listeners that routes have of their own, and who is reached there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use tambat_model::{About, Claim, EntrancePlan, Finding, HostPattern, ListenAddr, TlsHandling};

use super::FileRoute;
use crate::diagnostic::{Diagnostic, Spot};
use crate::listen_keys::ListenEntry;
use crate::reader::{Reader, Wrong};

/// What helps whoever has to write `[router] listen`.
const FILE: &str = "this file";

/// Where the parts of a route stand.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub(super) name: Range<usize>,
    pub(super) listen: Vec<(ListenAddr, Range<usize>)>,
    pub(super) tls: Option<Range<usize>>,
    pub(super) hosts: Vec<(HostPattern, Range<usize>)>,
    pub(super) targets: Vec<(SocketAddr, Range<usize>)>,
    /// May targets on this machine be reached from others?
    pub(super) expose: bool,
}

/// The routes of a file with their places.
type Routes<'a> = &'a [(FileRoute, Spans)];

/// Who is reached at each listener that routes ask for, by address. What is wrong with that is told.
pub(super) fn read(
    reader: &mut Reader,
    routes: Routes<'_>,
    entries: &[ListenEntry],
    shared: &[(SocketAddr, Range<usize>)],
) -> Vec<EntrancePlan> {
    let mut by_address: BTreeMap<ListenAddr, Vec<usize>> = BTreeMap::new();
    for (nth, (route, _)) in routes.iter().enumerate() {
        route.listen.iter().for_each(|at| by_address.entry(*at).or_default().push(nth));
    }
    let mut plans: Vec<EntrancePlan> = Vec::new();
    for (at, mut asked) in by_address {
        let mut claims: Vec<Claim> = asked.iter().map(|nth| claim(&routes[*nth], at)).collect();
        let entry = entries.iter().find(|entry| entry.plan.address == at);
        let fallback = entry.and_then(|entry| fallback(reader, routes, entry, (&mut asked, &mut claims)));
        let plan = EntrancePlan::new(at, claims, entry.map(|entry| &entry.plan), fallback);
        let is_spoilt = entry.is_some_and(|entry| entry.plan.fallback.is_some()) && fallback.is_none();
        for found in plan.check(FILE).into_iter().filter(|_| !is_spoilt) {
            let diagnostic = diagnostic(reader, &found, at, &asked, routes, entry);
            reader.found.push(diagnostic);
        }
        room(reader, &plan, &plans, routes, shared);
        plans.push(plan);
    }
    for entry in entries.iter().filter(|entry| plans.iter().all(|plan| plan.at != entry.plan.address)) {
        let wrong = Wrong::from(format!("no route listens at {}, so nobody is reached there", entry.plan.address));
        reader.wrong(entry.address.clone(), wrong.help(format!("in a route: listen = \"{}\"", entry.plan.address)));
    }
    plans
}

fn claim((route, spans): &(FileRoute, Spans), at: ListenAddr) -> Claim {
    let tls = route.tls.unwrap_or_else(|| TlsHandling::unless_said(route.protocol, at));
    // Whoever is on another machine sees that one of ours calls, and takes nobody for local.
    let is_local = route.targets.iter().any(|target| target.ip().is_loopback());
    let sees = route.protocol.carries_client_address() || route.proxy_protocol.is_some();
    Claim {
        who: route.name.clone(),
        protocol: route.protocol,
        tls,
        hosts: spans.hosts.iter().map(|(host, _)| host.clone()).collect(),
        path: route.path.clone(),
        strip: route.strip,
        may_be_exposed: sees || spans.expose || !is_local,
    }
}

/// Which of those who ask gets whoever is not told; it need not ask for the address.
fn fallback(
    reader: &mut Reader,
    routes: Routes<'_>,
    entry: &ListenEntry,
    (asked, claims): (&mut Vec<usize>, &mut Vec<Claim>),
) -> Option<usize> {
    let name = entry.plan.fallback.as_ref()?;
    let Some(nth) = routes.iter().position(|(route, _)| route.name == *name) else {
        let wrong = Wrong::from(format!("there is no route `{}` to fall back to", name.escape_debug()));
        let names = routes.iter().map(|(route, _)| route.name.as_str());
        reader.wrong(entry.fallback.clone(), wrong.or_meant(name, names));
        return None;
    };
    let (route, _) = &routes[nth];
    if !route.protocol.can_be_fallback() {
        let wrong = Wrong::from(format!("`{name}` speaks {}, so it cannot be the fallback", route.protocol));
        let help = "whoever gets streams of which nothing is known can";
        reader.wrong(entry.fallback.clone(), wrong.help(help));
        return None;
    }
    let known = asked.iter().zip(claims.iter()).position(|(who, claim)| *who == nth && claim.tls == TlsHandling::Off);
    Some(known.unwrap_or_else(|| {
        asked.push(nth);
        let of = claim(&routes[nth], entry.plan.address);
        claims.push(Claim { hosts: Vec::new(), tls: TlsHandling::Off, ..of });
        claims.len() - 1
    }))
}

fn diagnostic(
    reader: &Reader,
    found: &Finding,
    at: ListenAddr,
    asked: &[usize],
    routes: Routes<'_>,
    entry: Option<&ListenEntry>,
) -> Diagnostic {
    let spot = |claim: usize, about: &About| -> Spot {
        let (_, spans) = &routes[asked[claim]];
        let listen = spans.listen.iter().find(|(addr, _)| *addr == at).map(|(_, span)| span);
        let span = match about {
            About::Listen => listen.or(entry.map(|entry| &entry.fallback)),
            About::Tls => spans.tls.as_ref().or(listen),
            About::Hosts => spans.hosts.first().map(|(_, span)| span),
            About::Host(host) => spans.hosts.iter().find(|(known, _)| known == host).map(|(_, span)| span),
        };
        reader.spot(span.unwrap_or(&spans.name).clone())
    };
    let mut diagnostic = Diagnostic::error(spot(found.claim, &found.about), found.what.clone());
    if let Some((claim, about)) = &found.other {
        diagnostic = diagnostic.and(spot(*claim, about));
    }
    diagnostic.help(found.help.clone())
}

/// An address has room for one listener, and a target that is this router is none.
fn room(
    reader: &mut Reader,
    plan: &EntrancePlan,
    others: &[EntrancePlan],
    routes: Routes<'_>,
    shared: &[(SocketAddr, Range<usize>)],
) {
    let span_of = |at: ListenAddr| {
        let all = routes.iter().flat_map(|(_, spans)| &spans.listen);
        all.into_iter().find(|(addr, _)| *addr == at).map_or(0..0, |(_, span)| span.clone())
    };
    let here = span_of(plan.at);
    let shared = shared.iter().filter(|_| plan.has_streams()).find(|(addr, _)| plan.at.takes_room_of(*addr));
    let other = others.iter().find(|other| other.overlaps(plan)).map(|other| (other.at.get(), span_of(other.at)));
    if let Some((addr, there)) = shared.cloned().or(other) {
        let title = format!("{addr} and {} cannot both be listened at", plan.at);
        let diagnostic = Diagnostic::error(reader.spot(here.clone()), title).and(reader.spot(there));
        let help = "one has the other in it, or is it: choose another address, or the same one at both routes";
        reader.found.push(diagnostic.help(help));
    }
    for (route, spans) in routes {
        if let Some((addr, target)) = spans.targets.iter().find(|(addr, _)| *addr == plan.at.get()) {
            let title = format!("the target {addr} of `{}` is this router", route.name);
            let own = reader.spot(here.clone()).label("the router listens here");
            let spot = reader.spot(target.clone()).label("it would send connections to itself");
            reader.found.push(Diagnostic::error(spot, title).and(own));
        }
    }
}
