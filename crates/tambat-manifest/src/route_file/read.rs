//! From text to routes, each value parsed where it stands.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use tambat_model::{
    DATAGRAM_IDLE_DEFAULT, FIRST_BYTE_SERVED, HealthRules, HostPattern, HttpDraft, HttpRules, PathPrefix, Protocol,
    ProxyProtocol, RESPONSE_IDLE_SERVED, STREAM_IDLE_SERVED, Sticky, WAIT_SERVED,
};
use toml_edit::{Document, TableLike};

use super::entrances::{self, Spans};
use super::{CHECKS_MAX, FileRoute, RouteFile, RouterKeys, TARGETS_MAX};
use crate::diagnostic::{Diagnostic, Source};
use crate::http_keys;
use crate::keys::KeyTable;
use crate::listen_keys::{self, ListenEntry, router_listen};
use crate::manifest::{parse_protocol, syntax_error};
use crate::reader::{At, Fields, Node, Reader, Wrong};
use crate::text::Text;

/// Those of the tables inside of `[router]`.
const KEYS_OF_ROUTER: [KeyTable; 3] =
    [KeyTable::RouteFileRouterTimeouts, KeyTable::RouteFileRouterTls, KeyTable::RouteFileRouterTlsCertificate];

/// What helps whoever has none.
const CERTIFICATE: &str = "[router.tls]\ncertificates = [{ chain = \"fullchain.pem\", key = \"privkey.pem\" }]";

/// An address is one socket for each thread that accepts.
const LISTEN_MAX: usize = 64;

/// What is said of requests.
const OF_REQUESTS: [&str; 7] = ["path", "strip_path", "max_body", "headers", "https_redirect", "hsts", "sticky"];

/// The name of a route stands in every line of the log and in every metric.
const NAME_BYTES_MAX: usize = 253;

/// Everything that this text says, or everything that is wrong with it.
pub(super) fn read(text: &Text) -> Result<RouteFile, Vec<Diagnostic>> {
    let source = Source::whole(text);
    let document = Document::parse(text.as_str()).map_err(|error| vec![syntax_error(&source, &error)])?;
    let mut reader = Reader::new(source);
    let file = read_file(&mut reader, document.as_table());
    if reader.found.has_errors() { Err(reader.found.in_order()) } else { Ok(file) }
}

fn read_file(reader: &mut Reader, table: &dyn TableLike) -> RouteFile {
    let top = reader.fields(table, KeyTable::RouteFile, "at the top");
    let listen = top.get("listen").map(|at| addresses(reader, at, listeners, LISTEN_MAX)).unwrap_or_default();
    let listen_tls = top.get("listen_tls").map(|at| addresses(reader, at, listeners, LISTEN_MAX)).unwrap_or_default();
    let nowhere = |reader: &mut Reader| {
        let span = top.get("listen").map_or(0..0, |at| at.span.clone());
        reader.wrong(span, Wrong::from("nothing says where to listen").help("listen = \"127.0.0.1:8080\""));
    };
    let is_shared = !(listen.is_empty() && listen_tls.is_empty());
    if !is_shared && !reader.found.has_errors() && !top.get("routes").is_some_and(has_own_listeners) {
        nowhere(reader);
    }
    for (addr, span) in &listen_tls {
        if let Some((_, first)) = listen.iter().find(|(other, _)| other == addr && addr.port() != 0) {
            let (here, there) = (reader.spot(span.clone()), reader.spot(first.clone()));
            let title = format!("{addr} cannot be with TLS and without");
            reader.found.push(Diagnostic::error(here, title).and(there).help("keep one of the two"));
        }
    }
    let (router, entries) = top.get("router").map(|at| read_router(reader, at)).unwrap_or_default();
    let has_certificate = !router.plan.tls.certificates.is_empty();
    if let Some(at) = top.get("listen_tls").filter(|_| !has_certificate)
        && !reader.found.has_errors()
    {
        reader.wrong(at.whole(), Wrong::from("there is no certificate to listen with").help(CERTIFICATE));
    }
    let all = [&listen[..], &listen_tls].concat();
    let routes = top.get("routes").map(|at| read_routes(reader, at, &all)).unwrap_or_default();
    if routes.is_empty() && !reader.found.has_errors() {
        let help = "[routes.shop]\nhosts = \"shop.example\"\ntargets = \"127.0.0.1:3000\"";
        reader.wrong(0..0, Wrong::from("there is no route").help(help));
    }
    if !is_shared && !reader.found.has_errors() && routes.iter().any(|(route, _)| route.listen.is_empty()) {
        nowhere(reader);
    }
    let entrances = entrances::read(reader, &routes, &entries, &all);
    if let Some(plan) = entrances.iter().find(|plan| plan.ends_tls() && !has_certificate)
        && !reader.found.has_errors()
    {
        let listen = routes.iter().flat_map(|(_, spans)| &spans.listen);
        let span = listen.into_iter().find(|(at, _)| *at == plan.at).map_or(0..0, |(_, span)| span.clone());
        let wrong = Wrong::from(format!("there is no certificate for the handshakes that end at {}", plan.at));
        reader.wrong(span, wrong.help(CERTIFICATE));
    }
    let addrs = |all: Vec<(SocketAddr, _)>| all.into_iter().map(|(addr, _)| addr).collect();
    let routes = routes.into_iter().map(|(route, _)| route).collect();
    RouteFile { listen: addrs(listen), listen_tls: addrs(listen_tls), router, routes, entrances }
}

/// Has any route a listener of its own?
fn has_own_listeners(routes: &At<'_>) -> bool {
    let Node::Table(routes) = routes.node else { return false };
    routes.iter().any(|(_, route)| route.as_table_like().is_some_and(|route| route.contains_key("listen")))
}

fn read_router(reader: &mut Reader, at: &At<'_>) -> (RouterKeys, Vec<ListenEntry>) {
    let Some(table) = reader.table(at) else {
        return (RouterKeys::default(), Vec::new());
    };
    let fields = reader.fields(table, KeyTable::RouteFileRouter, "in `[router]`");
    let mut plan = http_keys::router(reader, &fields, KEYS_OF_ROUTER);
    let entries = fields.get("listen").map(|at| router_listen(reader, at, KeyTable::RouteFileRouterListen));
    let entries = entries.unwrap_or_default();
    plan.listen = entries.iter().map(|entry| entry.plan.clone()).collect();
    let metrics = fields.get("metrics").and_then(|at| reader.parse(at, |text| address(text, "to listen at")));
    (RouterKeys { plan, metrics }, entries)
}

/// What is spoken with a target, and what it is told first.
type Spoken = (Protocol, Option<ProxyProtocol>);

/// What the routes are held against.
struct Claims<'a> {
    listen: &'a [(SocketAddr, Range<usize>)],
    sites: HashMap<(HostPattern, PathPrefix), Claim>,
    checks: HashSet<(SocketAddr, HealthRules, Option<String>, Spoken)>,
}

struct Claim {
    route: Arc<str>,
    span: Range<usize>,
}

fn read_routes(reader: &mut Reader, at: &At<'_>, listen: &[(SocketAddr, Range<usize>)]) -> Vec<(FileRoute, Spans)> {
    let Some(table) = reader.table(at) else {
        return Vec::new();
    };
    let mut claims = Claims { listen, sites: HashMap::new(), checks: HashSet::new() };
    let mut routes = Vec::new();
    for at in Reader::entries(table, "a table") {
        routes.extend(read_route(reader, &at, &mut claims));
    }
    if claims.checks.len() > CHECKS_MAX {
        let title = format!("the routes have {} targets to ask about their health", claims.checks.len());
        let help =
            format!("at most {CHECKS_MAX} addresses can be asked; routes with the same address and `health` are one");
        reader.wrong(at.key_span.clone(), Wrong::from(title).help(help));
    }
    routes
}

fn read_route(reader: &mut Reader, at: &At<'_>, claims: &mut Claims<'_>) -> Option<(FileRoute, Spans)> {
    if !is_route_name(at.name) {
        let title = format!("`{}` is not the name of a route", at.name.escape_debug());
        let help = format!("it takes letters, digits, `.`, `-` and `_`, at most {NAME_BYTES_MAX} of them");
        reader.wrong(at.key_span.clone(), Wrong::from(title).help(help));
        return None;
    }
    let table = reader.table(at)?;
    let fields = reader.fields(table, KeyTable::RouteFileRoute, &format!("in `[routes.{}]`", at.name));
    let path = fields.get("path").and_then(|at| http_keys::path(reader, at)).unwrap_or_default();
    let protocol = read_protocol(reader, &fields);
    let listen = fields.get("listen").map(|at| listen_keys::listen(reader, at)).unwrap_or_default();
    check_shared(reader, at, &fields, protocol);
    let shared = fields.get("listen").is_none().then_some(&path);
    let hosts = read_hosts(reader, at, &fields, shared, claims);
    let targets = read_targets(reader, at, &fields, claims.listen);
    let spans = Spans {
        name: at.key_span.clone(),
        listen: listen.clone(),
        tls: fields.get("tls").map(At::whole),
        hosts: if fields.get("hosts").is_some() { hosts.clone() } else { Vec::new() },
        targets: targets.clone(),
        expose: fields.get("expose").and_then(|at| reader.flag(at)).unwrap_or_default(),
    };
    let limits = fields.get("timeouts").and_then(|at| reader.table(at));
    let limits = limits.map(|table| reader.fields(table, KeyTable::RouteFileTimeouts, "in `timeouts`"));
    let idle = limits.as_ref().and_then(|fields| fields.get("idle")).and_then(|at| reader.duration(at, true));
    let connect = limits.as_ref().and_then(|fields| fields.get("connect")).and_then(|at| reader.duration(at, true));
    let draft = http_keys::http(reader, &fields, limits.as_ref());
    let health = fields.get("health").map(|at| http_keys::health(reader, at, KeyTable::RouteFileHealth));
    let route = FileRoute {
        name: at.name.to_owned(),
        hosts: hosts.into_iter().map(|(host, _)| host).collect(),
        path,
        strip: fields.get("strip_path").and_then(|at| reader.flag(at)).unwrap_or_default(),
        listen: listen.into_iter().map(|(addr, _)| addr).collect(),
        tls: listen_keys::tls(reader, &fields),
        protocol,
        targets: targets.into_iter().map(|(addr, _)| addr).collect(),
        connect,
        connections_max: fields.get("max_connections").and_then(|at| http_keys::some(reader, at)),
        idle: idle.unwrap_or(STREAM_IDLE_SERVED),
        datagram_idle: idle.unwrap_or(DATAGRAM_IDLE_DEFAULT),
        wait: draft.wait.unwrap_or(WAIT_SERVED),
        http: Arc::new(rules(draft, health.as_ref())),
        proxy_protocol: http_keys::proxy_protocol(reader, &fields),
        health: health.unwrap_or_default(),
    };
    let host = route.health_host();
    let checks =
        route.targets.iter().map(|addr| (*addr, route.health.clone(), host.map(str::to_owned), route.spoken()));
    claims.checks.extend(checks);
    Some((route, spans))
}

/// What targets speak. Clients share the connections to one of h2c: no header could say whose they are.
fn read_protocol(reader: &mut Reader, fields: &Fields<'_>) -> Protocol {
    let protocol = fields.get("protocol").and_then(|at| {
        let protocol = reader.parse(at, parse_protocol)?;
        if protocol == Protocol::None {
            let wrong = Wrong::from("whoever speaks nothing (\"none\") is no target");
            reader.wrong(at.span.clone(), wrong.help("\"tcp\" is any stream"));
        }
        Some(protocol)
    });
    let protocol = protocol.unwrap_or(Protocol::Http);
    if let (Protocol::H2c, Some(at)) = (protocol, fields.get("proxy_protocol")) {
        let wrong = Wrong::from("targets that speak h2c get no PROXY header: clients share the connections to them");
        reader.wrong(at.whole(), wrong.help("leave out `proxy_protocol`"));
    }
    protocol
}

/// The listeners that all share are for HTTP; what is said of requests says nothing of others.
fn check_shared(reader: &mut Reader, route: &At<'_>, fields: &Fields<'_>, protocol: Protocol) {
    let name = route.name;
    if fields.get("listen").is_none() {
        if let Some(at) = fields.get("tls") {
            let wrong = Wrong::from(format!("`{name}` has no `listen`, so `tls` says nothing"));
            reader.wrong(
                at.whole(),
                wrong.help("where all share a listener, it is the one of `listen` or of `listen_tls`"),
            );
        }
        if let Some(at) = fields.get("protocol").filter(|_| !protocol.is_http()) {
            let wrong = Wrong::from(format!("`{name}` speaks {protocol} and has no `listen`, so nobody reaches it"));
            reader
                .wrong(at.whole(), wrong.help("listen = \"0.0.0.0:…\"; listeners that all share are for http and h2c"));
        }
    }
    if protocol.is_http() {
        if let Some(at) = fields.get("max_connections") {
            let wrong = Wrong::from(format!("`{name}` speaks {protocol}, so it is requests that are limited"));
            reader.wrong(at.whole(), wrong.help("max_in_flight = …: how many requests a target has at a time"));
        }
        return;
    }
    for key in OF_REQUESTS {
        if let Some(at) = fields.get(key) {
            let wrong = Wrong::from(format!("`{name}` does not speak http, so `{key}` says nothing"));
            reader.wrong(at.whole(), wrong.help("leave it out, or say protocol = \"http\" if that is what it speaks"));
        }
    }
    let asks_path = fields.get("health").and_then(|at| match at.node {
        Node::Value(value) => value.as_inline_table().map(|table| table.contains_key("path")),
        Node::Table(table) => Some(table.contains_key("path")),
        Node::Tables(_) => None,
    });
    if let Some(at) = fields.get("health").filter(|_| asks_path == Some(true)) {
        let wrong = Wrong::from(format!("`{name}` does not speak http, so `health` has no path to ask"));
        reader.wrong(at.whole(), wrong.help("health = {}: it must accept a connection"));
    }
}

/// The targets are somebody else's: when all refuse, nobody here knows that one comes back.
fn rules(draft: HttpDraft, health: Option<&HealthRules>) -> HttpRules {
    let headers: Vec<_> = draft.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    HttpRules {
        first_byte: Some(draft.first_byte.unwrap_or(FIRST_BYTE_SERVED)),
        response_idle: Some(draft.response_idle.unwrap_or(RESPONSE_IDLE_SERVED)),
        wait: Some(draft.wait.unwrap_or(WAIT_SERVED)),
        waits_when_refused: false,
        body_bytes_max: draft.body_bytes_max,
        https_headers: draft.hsts.map(|hsts| hsts.added_to(&headers)),
        headers,
        https_redirect: draft.https_redirect.into(),
        health_path: health.and_then(|health| health.path.clone()),
        sticky: draft.sticky.map(|cookie| Sticky { cookie: cookie.to_string() }),
        balance: draft.balance.unwrap_or_default(),
        in_flight_max: draft.in_flight_max,
        queue_max: draft.queue_max,
        hop_token: None,
    }
}

/// The route's hostnames. Where it is at the listeners that all share, one that another has claimed there at this path is
/// an error that names both.
fn read_hosts(
    reader: &mut Reader,
    route: &At<'_>,
    fields: &Fields<'_>,
    path: Option<&PathPrefix>,
    claims: &mut Claims<'_>,
) -> Vec<(HostPattern, Range<usize>)> {
    let hosts = match fields.get("hosts") {
        None => vec![(HostPattern::Any, route.key_span.clone())],
        Some(at) => {
            let before = reader.found.errors();
            let hosts = http_keys::hosts(reader, at);
            if hosts.is_empty() && reader.found.errors() == before {
                let wrong = Wrong::from(format!("`{}` answers to no hostname", route.name));
                reader.wrong(at.span.clone(), wrong.help("for all that nobody else claims, leave out `hosts`"));
            }
            hosts
        }
    };
    let name: Arc<str> = route.name.into();
    let Some(path) = path else { return hosts };
    for (host, span) in &hosts {
        let claim = Claim { route: Arc::clone(&name), span: span.clone() };
        // The first one stays: a third is held against it, too.
        if let Some(first) = claims.sites.insert((host.clone(), path.clone()), claim) {
            reader.found.push(clash(reader, &first, &name, span, &site(host, path)));
            claims.sites.insert((host.clone(), path.clone()), first);
        }
    }
    hosts
}

fn clash(reader: &Reader, first: &Claim, second: &str, span: &Range<usize>, site: &str) -> Diagnostic {
    let (here, there) = (reader.spot(span.clone()), reader.spot(first.span.clone()));
    if &*first.route == second {
        return Diagnostic::error(here, format!("`{site}` is there twice")).and(there).help("keep one of the two");
    }
    let title = format!("`{site}` is claimed by `{}` and by `{second}`", first.route);
    Diagnostic::error(here.label(format!("by `{second}`")), title)
        .and(there.label(format!("by `{}`", first.route)))
        .help("one hostname and path belongs to one route: give one of them a `path`")
}

fn site(host: &HostPattern, path: &PathPrefix) -> String {
    if path.is_root() { host.to_string() } else { format!("{host}{path}") }
}

fn read_targets(
    reader: &mut Reader,
    route: &At<'_>,
    fields: &Fields<'_>,
    listen: &[(SocketAddr, Range<usize>)],
) -> Vec<(SocketAddr, Range<usize>)> {
    let Some(at) = fields.get("targets") else {
        if !reader.found.has_errors() {
            let wrong = Wrong::from(format!("`{}` has no targets", route.name));
            reader.wrong(route.key_span.clone(), wrong.help("targets = [\"127.0.0.1:3000\"]"));
        }
        return Vec::new();
    };
    let before = reader.found.errors();
    let targets = addresses(reader, at, |text| target(text).map(|addr| vec![addr]), TARGETS_MAX);
    if targets.is_empty() && reader.found.errors() == before {
        let wrong = Wrong::from(format!("`{}` has no targets", route.name));
        reader.wrong(at.span.clone(), wrong.help("targets = [\"127.0.0.1:3000\"]"));
    }
    for (addr, span) in &targets {
        if let Some((_, own)) = listen.iter().find(|(own, _)| own == addr) {
            let here = reader.spot(span.clone()).label("it would send requests to itself");
            let there = reader.spot(own.clone()).label("the router listens here");
            let title = format!("the target {addr} of `{}` is this router", route.name);
            reader.found.push(Diagnostic::error(here, title).and(there));
        }
    }
    targets
}

/// Addresses with their places; one that is there twice is an error.
fn addresses(
    reader: &mut Reader,
    at: &At<'_>,
    parse: impl Fn(&str) -> Result<Vec<SocketAddr>, Wrong>,
    most: usize,
) -> Vec<(SocketAddr, Range<usize>)> {
    let mut found: Vec<(SocketAddr, Range<usize>)> = Vec::new();
    let entries = http_keys::strings(reader, at);
    if entries.len() > most {
        reader
            .wrong(at.key_span.clone(), format!("`{}` takes at most {most} addresses, not {}", at.name, entries.len()));
        return found;
    }
    for at in entries {
        for addr in reader.parse(&at, &parse).unwrap_or_default() {
            // Any port twice is two ports.
            match found.iter().find(|(other, _)| *other == addr && addr.port() != 0) {
                Some((_, first)) => {
                    let (here, there) = (reader.spot(at.span.clone()), reader.spot(first.clone()));
                    reader.found.push(Diagnostic::error(here, format!("{addr} is there twice")).and(there));
                }
                None => found.push((addr, at.span.clone())),
            }
        }
    }
    found
}

/// `localhost` is what it resolves to everywhere: both loopback addresses.
fn listeners(text: &str) -> Result<Vec<SocketAddr>, Wrong> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        let hosts = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        // Any port at both would be two ports.
        let hosts = if port == 0 { &hosts[..1] } else { &hosts[..] };
        return Ok(hosts.iter().map(|host| SocketAddr::new(*host, port)).collect());
    }
    address(text, "to listen at").map(|addr| vec![addr])
}

/// Where a target is dialled.
fn target(text: &str) -> Result<SocketAddr, Wrong> {
    let addr = match text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        Some(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        None => address(text, "of a target")?,
    };
    if addr.port() == 0 {
        return Err(Wrong::from(format!("`{text}` has no port to dial")).help("ports are 1 to 65535"));
    }
    if addr.ip().is_unspecified() {
        let loopback = if addr.is_ipv4() { "127.0.0.1" } else { "[::1]" };
        let wrong = Wrong::from(format!("`{}` can be listened at, but not dialled", addr.ip()));
        return Err(wrong.help(format!("on this machine: \"{loopback}:{}\"", addr.port())));
    }
    Ok(addr)
}

pub(crate) fn address(text: &str, what: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let wrong = Wrong::from(format!("`{}` is not an address {what}", text.escape_debug()));
    Err(if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        wrong.help(format!("with its host: \"127.0.0.1:{port}\""))
    } else if let Ok(ip) = text.parse::<IpAddr>() {
        wrong.help(format!("with its port: \"{}\"", SocketAddr::new(ip, 8080)))
    } else if text.starts_with("http://") || text.starts_with("https://") {
        wrong.help("without scheme and path: \"127.0.0.1:3000\"")
    } else {
        wrong.help(
            "write IP:PORT, such as \"127.0.0.1:3000\" or \"[::1]:3000\"; of names only `localhost` is known here",
        )
    })
}

fn is_route_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
