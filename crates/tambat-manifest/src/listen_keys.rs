//! `listen`, `tls` and `[router] listen`: who is reached where, in every kind of file.

use std::ops::Range;
use std::time::Duration;

use tambat_model::{ListenAddr, ListenPlan, Opening, TlsHandling};
use toml_edit::Value;

use crate::http_keys::strings;
use crate::keys::KeyTable;
use crate::manifest::not_blank;
use crate::reader::{At, Fields, Node, Reader, Wrong};
use crate::route_file::address;

/// An address is a socket for each of its listeners, and a handle of the operating system.
pub(crate) const LISTEN_MAX: usize = 64;

/// More than a minute nobody waits for a client that says nothing: it holds a place all the time.
const WITHIN_MAX: Duration = Duration::from_mins(1);

/// An entry of `[router] listen`, and where its parts stand.
pub(crate) struct ListenEntry {
    pub(crate) plan: ListenPlan,
    pub(crate) address: Range<usize>,
    pub(crate) fallback: Range<usize>,
}

/// `listen` of a process, a port or a route, each address with its place.
pub(crate) fn listen(reader: &mut Reader, at: &At<'_>) -> Vec<(ListenAddr, Range<usize>)> {
    let entries = strings(reader, at);
    if entries.len() > LISTEN_MAX {
        let title = format!("`{}` takes at most {LISTEN_MAX} addresses, not {}", at.name, entries.len());
        reader.wrong(at.key_span.clone(), title);
        return Vec::new();
    }
    let mut found: Vec<(ListenAddr, Range<usize>)> = Vec::new();
    for at in entries {
        let Some(addr) = reader.parse(&at, parse) else { continue };
        match found.iter().find(|(other, _)| *other == addr) {
            Some(_) => {
                let wrong = Wrong::from(format!("{addr} is there twice"));
                reader.wrong(at.span.clone(), wrong.help("keep one of the two"));
            }
            None => found.push((addr, at.span.clone())),
        }
    }
    found
}

fn parse(text: &str) -> Result<ListenAddr, Wrong> {
    address(text, "to listen at").map(ListenAddr::from)
}

/// `tls` of a process, a port or a route.
pub(crate) fn tls(reader: &mut Reader, fields: &Fields<'_>) -> Option<TlsHandling> {
    let all = [TlsHandling::Terminate, TlsHandling::Passthrough, TlsHandling::Off];
    let words = all.map(|handling| (handling.as_str(), handling));
    fields.get("tls").and_then(|at| reader.word(at, &words))
}

/// `[router] listen`; `keys` are those of an entry in its kind of file. Each address once.
pub(crate) fn router_listen(reader: &mut Reader, at: &At<'_>, keys: KeyTable) -> Vec<ListenEntry> {
    let nodes: Vec<(Node<'_>, Option<Range<usize>>)> = match at.node {
        Node::Value(Value::Array(list)) => list.iter().map(|value| (Node::Value(value), value.span())).collect(),
        Node::Tables(tables) => tables.iter().map(|table| (Node::Table(table), table.span())).collect(),
        _ => {
            let help = "listen = [{ address = \"0.0.0.0:443\", peek = [\"tls\", \"http\"] }]";
            reader.expected(at, Some(help.to_owned()));
            return Vec::new();
        }
    };
    if nodes.len() > LISTEN_MAX {
        let title = format!("`listen` takes at most {LISTEN_MAX} addresses, not {}", nodes.len());
        reader.wrong(at.key_span.clone(), title);
        return Vec::new();
    }
    let mut entries: Vec<ListenEntry> = Vec::new();
    for (node, span) in nodes {
        let span = span.unwrap_or_else(|| at.span.clone());
        let at = At { name: "", kind: "a table", node, span, key_span: at.key_span.clone() };
        let Some(entry) = entry(reader, &at, keys) else { continue };
        match entries.iter().find(|other| other.plan.address == entry.plan.address) {
            Some(_) => {
                let wrong = Wrong::from(format!("{} is there twice", entry.plan.address));
                reader.wrong(entry.address, wrong.help("keep one of the two"));
            }
            None => entries.push(entry),
        }
    }
    entries
}

fn entry(reader: &mut Reader, at: &At<'_>, keys: KeyTable) -> Option<ListenEntry> {
    let table = reader.table(at)?;
    let before = reader.found.errors();
    let fields = reader.fields(table, keys, keys.place());
    for (key, help) in [("address", "address = \"0.0.0.0:443\""), ("peek", "peek = [\"tls\", \"http\"]")] {
        if fields.get(key).is_none() && reader.found.errors() == before {
            let wrong = Wrong::from(format!("this listener has no `{key}`"));
            reader.wrong(at.span.clone(), wrong.help(help));
        }
    }
    let address = fields.get("address").and_then(|at| Some((reader.parse(at, parse)?, at.span.clone())));
    let peek = fields.get("peek").map(|at| peek(reader, at)).unwrap_or_default();
    let within = fields.get("within").and_then(|at| {
        let within = reader.duration(at, true)?;
        if within > WITHIN_MAX {
            reader.wrong(at.span.clone(), format!("`within` is at most {} s", WITHIN_MAX.as_secs()));
        }
        Some(within)
    });
    let fallback = fields.get("fallback").and_then(|at| Some((reader.parse(at, not_blank)?, at.span.clone())));
    let (address, address_span) = address?;
    let (fallback, fallback_span) = fallback.unzip();
    let plan = ListenPlan { address, peek, within, fallback };
    let fallback = fallback_span.unwrap_or_else(|| address_span.clone());
    Some(ListenEntry { plan, address: address_span, fallback })
}

/// `peek`: at least one, each once.
fn peek(reader: &mut Reader, at: &At<'_>) -> Vec<Opening> {
    let words = Opening::ALL.map(|opening| (opening.as_str(), opening));
    let before = reader.found.errors();
    let mut all: Vec<Opening> = Vec::new();
    for element in strings(reader, at) {
        let element = At { name: at.name, ..element };
        let Some(opening) = reader.word(&element, &words) else { continue };
        if all.contains(&opening) {
            let wrong = Wrong::from(format!("\"{opening}\" is there twice")).help("keep one of the two");
            reader.wrong(element.span.clone(), wrong);
        }
        all.push(opening);
    }
    if all.is_empty() && reader.found.errors() == before {
        let wrong = Wrong::from("nothing is looked for, so nobody can be told from anybody");
        reader.wrong(
            at.span.clone(),
            wrong.help("peek = [\"tls\", \"http\", \"ssh\", \"xmpp\", \"postgres\"]: any of these"),
        );
    }
    all
}
