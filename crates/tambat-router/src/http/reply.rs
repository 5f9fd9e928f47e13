//! What the router itself answers, and what the client's connection does after it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use tambat_model::{Admission, ErrorCode, HostPattern, ListedApp, ListedPort, Route, RouteTable, Scheme};
use tambat_wire::http1::{
    Answer, Catalogue, CatalogueApp, CatalogueEntry, Fault, Form, Media, MethodKind, RequestHead, Side, write_options,
};

use super::connection::{Connection, Phase};
use super::flow::Unsent;
use crate::access::EndedBy;
use crate::tls::Secured;

/// When a client may try again: what keeps an app from being ready is over in about this time.
const RETRY_AFTER_S: u32 = 1;

/// The hosts at which a shared listener lists what there is.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The end of the names that are served on this machine alone: `web.shop.localhost`.
const LOCAL_SUFFIX: &str = ".localhost";

/// An error that the router itself answers with.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: ErrorCode,
    pub(super) cause: Cow<'static, str>,
    pub(super) mend: Option<String>,
    /// Is the connection closed after it in any case?
    closes: bool,
}

impl Reply {
    pub(super) fn new(code: ErrorCode, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { code, cause: cause.into(), mend: None, closes: false }
    }

    pub(super) fn with_mend(self, mend: Option<&str>) -> Self {
        Self { mend: mend.map(str::to_owned), ..self }
    }

    pub(super) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// The connection was opened for another host.
    pub(super) fn misdirected(head: &RequestHead<'_, '_>, secured: &Secured) -> Self {
        let opened_for = secured.server_name.as_deref().unwrap_or_default();
        let cause =
            format!("this connection was opened for {opened_for}, and its certificate does not cover {}", head.host());
        Self::new(ErrorCode::Misdirected, cause).with_mend(Some("ask again on a connection of its own"))
    }

    /// Nobody answers to this host and path.
    pub(super) fn no_route(head: &RequestHead<'_, '_>) -> Self {
        let path = head.path().split('?').next().unwrap_or_default();
        let cause = match head.host() {
            "" => "the request names no host, by which its process could be found".to_owned(),
            host => format!("no process answers to {host}{path}"),
        };
        let mend = "`tambat routes` lists the hosts and paths there are";
        Self::new(ErrorCode::NoRoute, cause).with_mend(Some(mend))
    }
}

impl Connection {
    /// Answers the request that is being served with an error of the router's own.
    pub(super) fn reply(&mut self, reply: &Reply) {
        self.reply_by(reply, EndedBy::Router);
    }

    /// The same for what went wrong between client and target.
    pub(super) fn reply_fault(&mut self, fault: Fault, target: &tambat_model::Target) {
        let name = &target.name;
        let cause = match (fault.side, fault.code) {
            (Side::Client, _) => Cow::Borrowed(fault.cause),
            (Side::Target, ErrorCode::BadResponse) => {
                format!("the answer of {name} breaks a rule of HTTP/1.1: {}", fault.cause).into()
            }
            (Side::Target, _) => format!("{name}: {}", fault.cause).into(),
        };
        let ended_by = match fault.code {
            ErrorCode::TargetClosed | ErrorCode::BadResponse => EndedBy::Target,
            _ => EndedBy::Router,
        };
        self.reply_by(&Reply::new(fault.code, cause), ended_by);
    }

    fn reply_by(&mut self, reply: &Reply, ended_by: EndedBy) {
        let keeps = !reply.closes && self.may_keep();
        let date = self.worker.clock.date(Instant::now());
        let Some(active) = &self.active else {
            return;
        };
        // Addresses, names of instances and their last words are not for strangers; what was wrong with their own
        // request is.
        let is_told = reply.code.status() < 500 || self.is_of_this_machine();
        let answer = Answer {
            code: reply.code,
            cause: if is_told { &reply.cause } else { reply.code.doc() },
            mend: reply.mend.as_deref().filter(|_| is_told),
            route: active.route.as_ref().map(|route| route.name.as_str()),
            request_id: Some(active.id.as_str()),
            form: Form {
                media: active.media(&self.worker.limits),
                head_only: active.facts.method == MethodKind::Head,
                close: !keeps,
                date: Some(&date),
            },
            retry_after_s: matches!(reply.code.status(), 503 | 429).then_some(RETRY_AFTER_S),
        };
        answer.write(self.outbox.fresh());
        self.open.listener().refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.send_reply(reply.code.status(), Some(reply.code), ended_by, keeps);
    }

    pub(super) fn reply_options(&mut self) {
        let keeps = self.may_keep();
        let date = self.worker.clock.date(Instant::now());
        let form = Form { media: Media::Json, head_only: false, close: !keeps, date: Some(&date) };
        write_options(form, self.outbox.fresh());
        self.send_reply(204, None, EndedBy::Router, keeps);
    }

    pub(super) fn reply_catalogue(&mut self, table: &RouteTable) {
        let keeps = self.may_keep();
        let date = self.worker.clock.date(Instant::now());
        let Some(active) = &self.active else {
            return;
        };
        let form = Form {
            media: active.media(&self.worker.limits),
            head_only: active.facts.method == MethodKind::Head,
            close: !keeps,
            date: Some(&date),
        };
        catalogue(table, self.scheme(), self.open.port()).write(form, self.outbox.fresh());
        self.send_reply(200, None, EndedBy::Router, keeps);
    }

    /// May another request come after an answer of the router's own? Not when a body is still to come that nobody reads.
    pub(super) fn may_keep(&self) -> bool {
        let Some(active) = &self.active else {
            return false;
        };
        let is_dismissed = self.worker.dismisses(self.open.listener());
        active.facts.keep_alive && active.exchange.request_is_whole() && !is_dismissed
    }

    pub(super) fn send_reply(&mut self, status: u16, code: Option<ErrorCode>, ended_by: EndedBy, keeps: bool) {
        let now = Instant::now();
        let is_whole = self.active.as_ref().is_none_or(|active| active.exchange.request_is_whole());
        self.phase = match (keeps, is_whole) {
            (true, _) => Phase::Idle,
            (false, true) => Phase::Closing,
            (false, false) => Phase::ClosingPatiently,
        };
        if let Some(active) = &mut self.active {
            active.moved = now;
            active.down.passed_on += self.outbox.left().len() as u64;
        }
        self.end(None, status, code, ended_by);
        match self.outbox.send_now(&self.client) {
            Ok(true) => {
                self.outbox = Unsent::default();
                self.await_request(now);
            }
            Ok(false) => self.deadline.set(now, Some(self.worker.shared.settings.body_idle)),
            Err(_) => {
                self.outbox = Unsent::default();
                self.phase = Phase::Closed;
            }
        }
    }
}

/// Is the list of what there is asked for?
pub(super) fn is_for_catalogue(head: &RequestHead<'_, '_>) -> bool {
    let is_read = matches!(head.facts().method, MethodKind::Get | MethodKind::Head);
    is_read && head.path() == "/" && LOCAL_HOSTS.contains(&head.host())
}

/// What a client is told that has as many connections as it may.
pub(crate) fn too_many_connections() -> Vec<u8> {
    let mut out = Vec::new();
    let code = ErrorCode::TooManyConnections;
    let form = Form { close: true, ..Form::default() };
    let cause = "this client address has as many connections open as max_connections allows";
    let retry_after_s = Some(RETRY_AFTER_S);
    Answer { code, cause, mend: None, route: None, request_id: None, form, retry_after_s }.write(&mut out);
    out
}

/// What a shared listener for this scheme lists at this port: the process ports by app, with the names they answer to.
fn catalogue(table: &RouteTable, scheme: Scheme, port: u16) -> Catalogue {
    if !table.listed().is_empty() {
        return Catalogue { apps: table.listed().iter().map(|app| listed_app(app, scheme, port)).collect() };
    }
    let mut apps: BTreeMap<String, Vec<CatalogueEntry>> = BTreeMap::new();
    for (pattern, site) in table.hosts().sites() {
        // The others say no name that could be visited.
        let HostPattern::Exact(host) = pattern else {
            continue;
        };
        let path = if site.path.is_root() { "/" } else { site.path.as_str() };
        let url = format!("{scheme}://{host}:{port}{path}");
        let entries = apps.entry(app_of(&host).to_owned()).or_default();
        match entries.iter_mut().find(|entry| entry.name == site.route.name) {
            Some(entry) => entry.urls.push(url),
            None => entries.push(CatalogueEntry {
                name: site.route.name.clone(),
                urls: vec![url],
                cause: absence(&site.route),
            }),
        }
    }
    let apps = apps.into_iter().map(|(name, entries)| CatalogueApp { name, entries });
    Catalogue { apps: apps.collect() }
}

fn listed_app(app: &ListedApp, scheme: Scheme, port: u16) -> CatalogueApp {
    let entry = |of: &ListedPort| CatalogueEntry {
        name: of.name.clone(),
        urls: of.urls(scheme, port),
        cause: of.cause.as_ref().map(ToString::to_string),
    };
    CatalogueApp { name: app.name.clone(), entries: app.ports.iter().map(entry).collect() }
}

/// `shop` of `web.shop.localhost` and `shop.localhost`; names of another kind say none.
fn app_of(host: &str) -> &str {
    let local = host.strip_suffix(LOCAL_SUFFIX).unwrap_or_default();
    local.rsplit('.').next().unwrap_or_default()
}

fn absence(route: &Route) -> Option<String> {
    match &route.admission {
        Admission::Serve(_) => None,
        Admission::Hold { cause, .. } | Admission::Refuse { cause, .. } => Some(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tambat_model::{PathPrefix, Protocol, Site};

    use super::*;

    #[test]
    fn the_catalogue_lists_names_by_app_and_why_nobody_serves_them() {
        let mut table = RouteTable::default();
        let mut add = |host: &str, path: &str, name: &str, cause: Option<&str>| {
            let admission = match cause {
                None => Admission::Serve(Vec::new()),
                Some(cause) => Admission::Refuse { cause: cause.into(), mend: None },
            };
            let route = Arc::new(Route::new(name, Protocol::Http, admission));
            let site = Site { path: path.parse::<PathPrefix>().unwrap(), strip: false, route };
            table.hosts_mut().insert(host.parse().unwrap(), site).unwrap();
        };
        add("web.shop.localhost", "/", "web", None);
        add("shop.localhost", "/", "web", None);
        add("api.shop.localhost", "/v1", "api", Some("api.1 exited"));
        add("*.shop.localhost", "/", "web", None);
        add("example.com", "/", "site", None);
        let list = catalogue(&table, Scheme::Http, 7_080);
        let apps: Vec<_> = list.apps.iter().map(|app| (app.name.as_str(), app.entries.len())).collect();
        assert_eq!(apps, [("", 1), ("shop", 2)]);
        let shop = &list.apps[1].entries;
        assert_eq!((shop[0].name.as_str(), shop[0].cause.as_deref()), ("api", Some("api.1 exited")));
        assert_eq!(shop[0].urls, ["http://api.shop.localhost:7080/v1"]);
        assert_eq!(shop[1].urls, ["http://shop.localhost:7080/", "http://web.shop.localhost:7080/"]);
    }

    #[test]
    fn where_apps_are_listed_the_catalogue_is_that_list() {
        let site = |host: &str| (host.parse().unwrap(), PathPrefix::default());
        let port = |name: &str, sites, cause: Option<&str>| {
            let (name, cause) = (name.to_owned(), cause.map(Into::into));
            ListedPort { name, sites, cause }
        };
        let ports = vec![
            port("api", vec![site("api.shop.localhost")], Some("api.1 exited")),
            port("web", vec![site("web.shop.localhost"), site("shop.localhost")], None),
        ];
        let mut table = RouteTable::default();
        table.list(vec![ListedApp { name: "shop".to_owned(), ports }]);
        let list = catalogue(&table, Scheme::Http, 7_080);
        let [shop] = &*list.apps else { panic!("{list:?}") };
        assert_eq!((shop.name.as_str(), shop.entries[0].cause.as_deref()), ("shop", Some("api.1 exited")));
        assert_eq!(shop.entries[1].urls, ["http://shop.localhost:7080", "http://web.shop.localhost:7080"]);
    }

    #[test]
    fn who_has_too_many_connections_is_told_when_to_come_again_f6() {
        let told = String::from_utf8(too_many_connections()).unwrap();
        assert!(told.starts_with("HTTP/1.1 429 ") && told.contains("\r\nRetry-After: 1\r\n"), "{told}");
        assert!(told.contains("\r\nConnection: close\r\n"), "{told}");
    }
}
