//! The part of `tambat.toml` that speaks of routing: names and paths, rules for requests, `[router]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tambat_model::{HostPattern, Place, ProcessDraft, ProcessName, RouterPlan, SiteDraft};

use crate::http_keys;
use crate::keys::KeyTable;
use crate::listen_keys;
use crate::reader::{At, Fields, Reader, Wrong};

/// Where everything stands.
pub(crate) type Places = BTreeMap<Place, Range<usize>>;

/// What a process says of its names, its requests and its health.
pub(crate) fn fill(draft: &mut ProcessDraft, reader: &mut Reader, fields: &Fields<'_>, places: &mut Places) {
    draft.site = read_site(reader, fields, (&draft.name, None), places);
    let timeouts = fields.get("timeouts").and_then(|at| reader.table(at));
    let timeouts = timeouts.map(|table| reader.fields(table, KeyTable::Timeouts, "in `timeouts`"));
    let idle = timeouts.as_ref().and_then(|timeouts| timeouts.get("idle"));
    draft.idle = idle.and_then(|at| reader.duration(at, true));
    let connect = timeouts.as_ref().and_then(|timeouts| timeouts.get("connect"));
    draft.connect = connect.and_then(|at| reader.duration(at, true));
    draft.connections_max = fields.get("max_connections").and_then(|at| http_keys::some(reader, at));
    draft.proxy_protocol = http_keys::proxy_protocol(reader, fields);
    draft.http = http_keys::http(reader, fields, timeouts.as_ref());
    draft.health = fields.get("health").map(|at| http_keys::health(reader, at, KeyTable::Health));
}

/// `hosts`, `path`, `strip_path`, `listen` and `tls`, of a process or of one of its ports.
pub(crate) fn read_site(
    reader: &mut Reader,
    fields: &Fields<'_>,
    (process, port): (&ProcessName, Option<&str>),
    places: &mut Places,
) -> SiteDraft {
    let mut hosts: Vec<HostPattern> = Vec::new();
    let mut seen = BTreeSet::new();
    for (host, span) in fields.get("hosts").map(|at| http_keys::hosts(reader, at)).unwrap_or_default() {
        if !seen.insert(host.clone()) {
            reader.wrong(span, Wrong::from(format!("{host} is there twice")).help("keep one of the two"));
            continue;
        }
        places.insert(Place::Host(process.clone(), port.map(str::to_owned), host.to_string()), span);
        hosts.push(host);
    }
    let mut listen = Vec::new();
    for (addr, span) in fields.get("listen").map(|at| listen_keys::listen(reader, at)).unwrap_or_default() {
        places.insert(Place::Listen(process.clone(), port.map(str::to_owned), addr), span);
        listen.push(addr);
    }
    SiteDraft {
        hosts,
        path: fields.get("path").and_then(|at| http_keys::path(reader, at)),
        strip_path: fields.get("strip_path").and_then(|at| reader.flag(at)),
        listen,
        tls: listen_keys::tls(reader, fields),
    }
}

/// `[router]`.
pub(crate) fn read_router(reader: &mut Reader, at: &At<'_>, places: &mut Places) -> RouterPlan {
    let Some(table) = reader.table(at) else {
        return RouterPlan::default();
    };
    let fields = reader.fields(table, KeyTable::Router, "in `[router]`");
    if let (Some(at), None) = (fields.get("access_log_format"), fields.get("access_log")) {
        let wrong = Wrong::from("nothing says where requests are written down, so their format says nothing");
        reader.wrong(at.whole(), wrong.help("access_log = \"access.log\""));
    }
    let tables = [KeyTable::RouterTimeouts, KeyTable::RouterTls, KeyTable::RouterTlsCertificate];
    let mut plan = http_keys::router(reader, &fields, tables);
    let entries = fields.get("listen").map(|at| listen_keys::router_listen(reader, at, KeyTable::RouterListen));
    for entry in entries.unwrap_or_default() {
        places.insert(Place::RouterListen(entry.plan.address), entry.address);
        places.insert(Place::Fallback(entry.plan.address), entry.fallback);
        plan.listen.push(entry.plan);
    }
    plan
}
