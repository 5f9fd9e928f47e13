//! What a process of `tambat.toml` and a route of a router's file may both say about requests.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use tambat_model::{
    AccessLogFormat, Balance, CookieName, FieldName, FieldValue, HealthRules, HostPattern, Hsts, HttpDraft, Network,
    PathPrefix, ProxyProtocol, RouterPlan, RouterTimeouts, Trusted,
};
use toml_edit::Value;

use crate::keys::KeyTable;
use crate::manifest::{not_blank, parse_path};
use crate::reader::{At, Fields, Node, Reader, Wrong};
use crate::tls_keys;

/// So many fields of one's own are added to every answer of a route; more is a page's worth, and costs at each one.
const HEADERS_MAX: usize = 64;

/// Each client's address is held against all of them.
const NETWORKS_MAX: usize = 256;

/// More threads than this no machine has cores for.
const WORKERS_MAX: u16 = 256;

/// More answers in a row than this say nothing more, and take minutes.
const HEALTH_ANSWERS_MAX: u32 = 100;

/// A target that is asked more often than this has little else to do.
const HEALTH_EVERY_MIN: Duration = Duration::from_millis(50);

/// One text or a list of them.
pub(crate) fn strings<'a>(reader: &mut Reader, at: &At<'a>) -> Vec<At<'a>> {
    match at.node {
        Node::Value(Value::Array(list)) => list
            .iter()
            .map(|value| {
                let span = value.span().unwrap_or_else(|| at.span.clone());
                At { name: "", kind: "a string", node: Node::Value(value), span, key_span: at.key_span.clone() }
            })
            .collect(),
        Node::Value(Value::String(_)) => vec![At { name: "", kind: "a string", ..at.clone() }],
        _ => {
            reader.expected(at, None);
            Vec::new()
        }
    }
}

/// `hosts`, each with its place.
pub(crate) fn hosts(reader: &mut Reader, at: &At<'_>) -> Vec<(HostPattern, Range<usize>)> {
    let mut hosts = Vec::new();
    for at in strings(reader, at) {
        if let Some(host) = reader.parse(&at, host) {
            hosts.push((host, at.span));
        }
    }
    hosts
}

/// A URL, or a host with its port, has a host in it that was meant.
fn host(text: &str) -> Result<HostPattern, Wrong> {
    text.parse::<HostPattern>().map_err(|error| {
        let wrong = Wrong::from(error);
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let named = authority.split_once(':').map_or(authority, |(host, _)| host);
        match named.parse::<HostPattern>() {
            Ok(meant) => wrong.help(format!("did you mean \"{meant}\"?")),
            Err(_) => wrong,
        }
    })
}

/// `path`.
pub(crate) fn path(reader: &mut Reader, at: &At<'_>) -> Option<PathPrefix> {
    reader.parse(at, |text| {
        text.parse::<PathPrefix>().map_err(|error| {
            let help = (!text.starts_with('/') && !text.is_empty())
                .then(|| format!("{} = \"/{}\"", at.name, text.escape_debug()));
            match help {
                Some(help) => Wrong::from(error).help(help),
                None => Wrong::from(error),
            }
        })
    })
}

/// What holds for requests: all of it but `timeouts.idle`, which holds for any stream.
pub(crate) fn http(reader: &mut Reader, fields: &Fields<'_>, timeouts: Option<&Fields<'_>>) -> HttpDraft {
    let get = |name| fields.get(name);
    let mut limit = |name| timeouts.and_then(|fields| fields.get(name)).and_then(|at| reader.duration(at, true));
    let (first_byte, response_idle, wait) = (limit("first_byte"), limit("response_idle"), limit("wait"));
    HttpDraft {
        first_byte,
        response_idle,
        wait,
        body_bytes_max: get("max_body").and_then(|at| reader.size(at)),
        headers: get("headers").map(|at| headers(reader, at)).unwrap_or_default(),
        https_redirect: get("https_redirect").and_then(|at| reader.flag(at)),
        hsts: get("hsts").and_then(|at| reader.parse(at, |text| Ok(text.parse::<Hsts>()?))),
        sticky: get("sticky").and_then(|at| sticky(reader, at)),
        balance: get("balance").and_then(|at| balance(reader, at)),
        in_flight_max: get("max_in_flight").and_then(|at| some(reader, at)),
        queue_max: get("queue").and_then(|at| some(reader, at)),
    }
}

/// `[router]`; the keys are those that its kind of file has for its `timeouts`, its `tls`, and the certificates there.
pub(crate) fn router(
    reader: &mut Reader,
    fields: &Fields<'_>,
    [limits, tls, certificate]: [KeyTable; 3],
) -> RouterPlan {
    let get = |name| fields.get(name);
    let formats = [("json", AccessLogFormat::Json), ("text", AccessLogFormat::Text)];
    RouterPlan {
        workers: get("workers").and_then(|at| {
            reader.number(at, |n| u16::try_from(n).ok().filter(|n| *n <= WORKERS_MAX).and_then(|n| n.try_into().ok()))
        }),
        trusted: get("trusted").map(|at| networks(reader, at)).unwrap_or_default(),
        proxy_peers: get("proxy_protocol").map(|at| networks(reader, at)).unwrap_or_default(),
        connections_max: get("max_connections").and_then(|at| some(reader, at)),
        access_log: get("access_log").and_then(|at| reader.parse(at, not_blank)),
        access_log_format: get("access_log_format").and_then(|at| reader.word(at, &formats)).unwrap_or_default(),
        timeouts: get("timeouts").map(|at| router_timeouts(reader, at, limits)).unwrap_or_default(),
        tls: get("tls").map(|at| tls_keys::tls(reader, at, tls, certificate)).unwrap_or_default(),
        // Whoever reads it notes where its parts stand.
        listen: Vec::new(),
    }
}

fn router_timeouts(reader: &mut Reader, at: &At<'_>, keys: KeyTable) -> RouterTimeouts {
    let Some(table) = reader.table(at) else {
        return RouterTimeouts::default();
    };
    let fields = reader.fields(table, keys, keys.place());
    let mut limit = |name| fields.get(name).and_then(|at| reader.duration(at, true));
    RouterTimeouts {
        head: limit("head"),
        body_idle: limit("body_idle"),
        keep_alive: limit("keep_alive"),
        connect: limit("connect"),
    }
}

/// `trusted`, and `proxy_protocol` of the router.
fn networks(reader: &mut Reader, at: &At<'_>) -> Trusted {
    let entries = strings(reader, at);
    if entries.len() > NETWORKS_MAX {
        reader.wrong(at.key_span.clone(), format!("at most {NETWORKS_MAX} networks can be named"));
    }
    entries.iter().filter_map(|at| reader.parse(at, |text| Ok(text.parse::<Network>()?))).collect()
}

/// `proxy_protocol` of whoever is told by it.
pub(crate) fn proxy_protocol(reader: &mut Reader, fields: &Fields<'_>) -> Option<ProxyProtocol> {
    let versions = [ProxyProtocol::V1, ProxyProtocol::V2].map(|version| (version.as_str(), version));
    fields.get("proxy_protocol").and_then(|at| reader.word(at, &versions))
}

/// `max_in_flight` and `queue`: at least one.
pub(crate) fn some(reader: &mut Reader, at: &At<'_>) -> Option<NonZeroU32> {
    reader.number(at, |number| u32::try_from(number).ok().and_then(NonZeroU32::new))
}

/// `sticky`: `true`, `false` or the name of a cookie.
pub(crate) fn sticky(reader: &mut Reader, at: &At<'_>) -> Option<CookieName> {
    match at.node {
        Node::Value(Value::Boolean(flag)) => flag.value().then(CookieName::tambat),
        Node::Value(Value::String(_)) => reader.parse(at, |text| Ok(text.parse::<CookieName>()?)),
        _ => {
            reader.expected(at, None);
            None
        }
    }
}

/// `balance`.
pub(crate) fn balance(reader: &mut Reader, at: &At<'_>) -> Option<Balance> {
    let words = [
        ("round-robin", Balance::RoundRobin),
        ("least-in-flight", Balance::LeastInFlight),
        ("source-hash", Balance::SourceHash),
    ];
    reader.word(at, &words)
}

/// `headers`: the fields that answers get; an empty value removes one.
pub(crate) fn headers(reader: &mut Reader, at: &At<'_>) -> Vec<(FieldName, FieldValue)> {
    let Some(table) = reader.table(at) else {
        return Vec::new();
    };
    let entries = Reader::entries(table, "a string");
    if entries.len() > HEADERS_MAX {
        reader.wrong(at.key_span.clone(), format!("at most {HEADERS_MAX} fields can be added to an answer"));
        return Vec::new();
    }
    let mut headers: Vec<(FieldName, FieldValue)> = Vec::new();
    for at in entries {
        let name = at.name.parse::<FieldName>().map_err(|error| reader.wrong(at.key_span.clone(), error)).ok();
        let value = reader.parse(&at, |text| Ok(text.parse::<FieldValue>()?));
        match &name {
            Some(name) if headers.iter().any(|(other, _)| other == name) => {
                let title = format!("the field `{name}` is there twice: names of fields do not tell case");
                reader.wrong(at.key_span.clone(), Wrong::from(title).help("keep one of the two"));
            }
            _ => headers.extend(name.zip(value)),
        }
    }
    headers
}

/// `health`.
pub(crate) fn health(reader: &mut Reader, at: &At<'_>, keys: KeyTable) -> HealthRules {
    let usual = HealthRules::default();
    let Some(table) = reader.table(at) else {
        return usual;
    };
    let fields = reader.fields(table, keys, "in `health`");
    let path = fields.get("path").and_then(|at| reader.parse(at, parse_path));
    let every = fields.get("every").and_then(|at| {
        let every = reader.duration(at, true)?;
        if every >= HEALTH_EVERY_MIN {
            return Some(every);
        }
        reader.wrong(at.span.clone(), format!("`every` is at least {} ms", HEALTH_EVERY_MIN.as_millis()));
        None
    });
    let within = fields.get("within").and_then(|at| reader.duration(at, true));
    let mut answers = |name| fields.get(name).and_then(|at| answers(reader, at));
    let (up, down) = (answers("up"), answers("down"));
    HealthRules {
        path,
        every: every.unwrap_or(usual.every),
        within: within.unwrap_or(usual.within),
        up: up.unwrap_or(usual.up),
        down: down.unwrap_or(usual.down),
    }
}

fn answers(reader: &mut Reader, at: &At<'_>) -> Option<NonZeroU32> {
    let most = HEALTH_ANSWERS_MAX;
    reader.number(at, |number| u32::try_from(number).ok().filter(|number| *number <= most).and_then(NonZeroU32::new))
}
