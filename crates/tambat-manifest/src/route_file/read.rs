//! From text to routes, each value parsed where it stands.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use tambat_model::{
    FIRST_BYTE_SERVED, HealthRules, HostPattern, HttpDraft, HttpRules, PathPrefix, Protocol, ProxyProtocol,
    RESPONSE_IDLE_SERVED, STREAM_IDLE_SERVED, Sticky, WAIT_SERVED,
};
use toml_edit::{Document, TableLike};

use super::{CHECKS_MAX, FileRoute, RouteFile, RouterKeys, TARGETS_MAX};
use crate::diagnostic::{Diagnostic, Source};
use crate::http_keys;
use crate::keys::KeyTable;
use crate::manifest::syntax_error;
use crate::reader::{At, Fields, Reader, Wrong};
use crate::text::Text;

/// Those of the tables inside of `[router]`.
const KEYS_OF_ROUTER: [KeyTable; 3] =
    [KeyTable::RouteFileRouterTimeouts, KeyTable::RouteFileRouterTls, KeyTable::RouteFileRouterTlsCertificate];

/// An address is one socket for each thread that accepts.
const LISTEN_MAX: usize = 64;

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
    if listen.is_empty() && listen_tls.is_empty() && !reader.found.has_errors() {
        let span = top.get("listen").map_or(0..0, |at| at.span.clone());
        reader.wrong(span, Wrong::from("nothing says where to listen").help("listen = \"127.0.0.1:8080\""));
    }
    for (addr, span) in &listen_tls {
        if let Some((_, first)) = listen.iter().find(|(other, _)| other == addr && addr.port() != 0) {
            let (here, there) = (reader.spot(span.clone()), reader.spot(first.clone()));
            let title = format!("{addr} cannot be with TLS and without");
            reader.found.push(Diagnostic::error(here, title).and(there).help("keep one of the two"));
        }
    }
    let router = top.get("router").map(|at| read_router(reader, at)).unwrap_or_default();
    if let Some(at) = top.get("listen_tls").filter(|_| router.plan.tls.certificates.is_empty())
        && !reader.found.has_errors()
    {
        let help = "[router.tls]\ncertificates = [{ chain = \"fullchain.pem\", key = \"privkey.pem\" }]";
        reader.wrong(at.whole(), Wrong::from("there is no certificate to listen with").help(help));
    }
    let all = [&listen[..], &listen_tls].concat();
    let routes = top.get("routes").map(|at| read_routes(reader, at, &all)).unwrap_or_default();
    if routes.is_empty() && !reader.found.has_errors() {
        let help = "[routes.shop]\nhosts = \"shop.example\"\ntargets = \"127.0.0.1:3000\"";
        reader.wrong(0..0, Wrong::from("there is no route").help(help));
    }
    let addrs = |all: Vec<(SocketAddr, _)>| all.into_iter().map(|(addr, _)| addr).collect();
    RouteFile { listen: addrs(listen), listen_tls: addrs(listen_tls), router, routes }
}

fn read_router(reader: &mut Reader, at: &At<'_>) -> RouterKeys {
    let Some(table) = reader.table(at) else {
        return RouterKeys::default();
    };
    let fields = reader.fields(table, KeyTable::RouteFileRouter, "in `[router]`");
    let plan = http_keys::router(reader, &fields, KEYS_OF_ROUTER);
    let metrics = fields.get("metrics").and_then(|at| reader.parse(at, |text| address(text, "to listen at")));
    RouterKeys { plan, metrics }
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

fn read_routes(reader: &mut Reader, at: &At<'_>, listen: &[(SocketAddr, Range<usize>)]) -> Vec<FileRoute> {
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

fn read_route(reader: &mut Reader, at: &At<'_>, claims: &mut Claims<'_>) -> Option<FileRoute> {
    if !is_route_name(at.name) {
        let title = format!("`{}` is not the name of a route", at.name.escape_debug());
        let help = format!("it takes letters, digits, `.`, `-` and `_`, at most {NAME_BYTES_MAX} of them");
        reader.wrong(at.key_span.clone(), Wrong::from(title).help(help));
        return None;
    }
    let table = reader.table(at)?;
    let fields = reader.fields(table, KeyTable::RouteFileRoute, &format!("in `[routes.{}]`", at.name));
    let path = fields.get("path").and_then(|at| http_keys::path(reader, at)).unwrap_or_default();
    let hosts = read_hosts(reader, at, &fields, &path, claims);
    let targets = read_targets(reader, at, &fields, claims.listen);
    let limits = fields.get("timeouts").and_then(|at| reader.table(at));
    let limits = limits.map(|table| reader.fields(table, KeyTable::RouteFileTimeouts, "in `timeouts`"));
    let idle = limits.as_ref().and_then(|fields| fields.get("idle")).and_then(|at| reader.duration(at, true));
    let draft = http_keys::http(reader, &fields, limits.as_ref());
    let health = fields.get("health").map(|at| http_keys::health(reader, at, KeyTable::RouteFileHealth));
    let route = FileRoute {
        name: at.name.to_owned(),
        hosts,
        path,
        strip: fields.get("strip_path").and_then(|at| reader.flag(at)).unwrap_or_default(),
        protocol: read_protocol(reader, &fields),
        targets,
        idle: idle.unwrap_or(STREAM_IDLE_SERVED),
        wait: draft.wait.unwrap_or(WAIT_SERVED),
        http: Arc::new(rules(draft, health.as_ref())),
        proxy_protocol: http_keys::proxy_protocol(reader, &fields),
        health: health.unwrap_or_default(),
    };
    let host = route.health_host();
    let checks =
        route.targets.iter().map(|addr| (*addr, route.health.clone(), host.map(str::to_owned), route.spoken()));
    claims.checks.extend(checks);
    Some(route)
}

/// What targets speak. Clients share the connections to one of h2c: no header could say whose they are.
fn read_protocol(reader: &mut Reader, fields: &Fields<'_>) -> Protocol {
    let protocols = [Protocol::Http, Protocol::H2c].map(|protocol| (protocol.as_str(), protocol));
    let protocol = fields.get("protocol").and_then(|at| reader.word(at, &protocols)).unwrap_or(Protocol::Http);
    if let (Protocol::H2c, Some(at)) = (protocol, fields.get("proxy_protocol")) {
        let wrong = Wrong::from("targets that speak h2c get no PROXY header: clients share the connections to them");
        reader.wrong(at.whole(), wrong.help("leave out `proxy_protocol`"));
    }
    protocol
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

/// The route's hostnames; one that another has claimed at this path is an error that names both.
fn read_hosts(
    reader: &mut Reader,
    route: &At<'_>,
    fields: &Fields<'_>,
    path: &PathPrefix,
    claims: &mut Claims<'_>,
) -> Vec<HostPattern> {
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
    for (host, span) in &hosts {
        let claim = Claim { route: Arc::clone(&name), span: span.clone() };
        // The first one stays: a third is held against it, too.
        if let Some(first) = claims.sites.insert((host.clone(), path.clone()), claim) {
            reader.found.push(clash(reader, &first, &name, span, &site(host, path)));
            claims.sites.insert((host.clone(), path.clone()), first);
        }
    }
    hosts.into_iter().map(|(host, _)| host).collect()
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
) -> Vec<SocketAddr> {
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
    targets.into_iter().map(|(addr, _)| addr).collect()
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
