//! What may be said of requests, and of whom: checks of [`crate::Plan::new`].

use crate::draft::ProcessDraft;
use crate::plan::first_protocol;
use crate::problem::{Place, Problem};
use crate::{Draft, Protocol, Transport};

/// More hostnames of one port are a list pasted by mistake: a wildcard, or a server of its own, is meant.
const HOSTS_MAX: usize = 1_000;

/// What is too much to be looked at further.
pub(crate) fn check_http_limits(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |place: Place, of: &str, length: usize, most: usize| {
        if length > most {
            problems.push(Problem::error(place, format!("{of} has {length} entries; there is room for {most}")));
        }
    };
    for process in &draft.processes {
        let name = &process.name;
        check(Place::Key(name.clone(), "hosts"), &format!("`hosts` of `{name}`"), process.site.hosts.len(), HOSTS_MAX);
        for port in &process.ports {
            let place = Place::Port(name.clone(), port.name.to_string());
            check(place, &format!("`hosts` of the port `{}`", port.name), port.site.hosts.len(), HOSTS_MAX);
        }
    }
    problems
}

/// What is said of the requests of a process that gets none.
pub(crate) fn check_http(process: &ProcessDraft) -> Vec<Problem> {
    let mut problems = Vec::new();
    let name = &process.name;
    let error = |key, what: String| {
        let help = "leave it out, or say protocol = \"http\" if that is what it speaks";
        Problem::error(Place::Key(name.clone(), key), what).help(help)
    };
    let speaks_http = if process.ports.is_empty() {
        first_protocol(process).is_http()
    } else {
        process.ports.iter().any(|port| port.protocol.is_http())
    };
    for (key, entry) in said_of_requests(process).into_iter().filter(|_| !speaks_http) {
        let what = format!("`{name}` does not speak http, so `{entry}` says nothing");
        problems.push(error(key, what));
    }
    let first = first_protocol(process);
    let has_streams = |protocol: Protocol| !protocol.is_http() && protocol != Protocol::None;
    let of_ports = process.ports.iter().any(|port| has_streams(port.protocol));
    if process.connections_max.is_some() && !of_ports && !(process.ports.is_empty() && has_streams(first)) {
        let what = format!("`{name}` has no port for streams, so `max_connections` says nothing");
        let help = "max_in_flight = …: how many requests an instance has at a time";
        problems.push(Problem::error(Place::Key(name.clone(), "max_connections"), what).help(help));
    }
    problems.extend(unused_waits(process));
    let of_all = [
        ("timeouts", process.http.wait.is_some()),
        ("balance", process.http.balance.is_some()),
        ("max_in_flight", process.http.in_flight_max.is_some()),
        ("queue", process.http.queue_max.is_some()),
    ];
    for (key, _) in of_all.into_iter().filter(|(_, said)| *said && first == Protocol::None) {
        problems.push(error(key, format!("`{name}` speaks nothing, so `{key}` says nothing")));
    }
    let Some(health) = &process.health else { return problems };
    if first == Protocol::None {
        problems.push(error("health", format!("`{name}` has no port, so nobody can ask it how it is")));
    } else if !first.is_over(Transport::Tcp) {
        let what = format!("`{name}` takes datagrams, and `health` asks by connections");
        let help = "leave it out: an instance of which the port is gone is left out by itself";
        problems.push(Problem::error(Place::Key(name.clone(), "health"), what).help(help));
    } else if health.path.is_some() && !first.is_http() {
        let what = format!("`{name}` does not speak http on its PORT, so `health` has no path to ask");
        problems.push(error("health", what));
    }
    problems
}

/// What is said of connections of a process that takes datagrams alone: nobody connects to it, and what waits for it waits
/// for a time of its own. It is said, and no more: it was written for a reason that still holds elsewhere.
fn unused_waits(process: &ProcessDraft) -> Vec<Problem> {
    let takes_streams = |protocol: Protocol| protocol != Protocol::Udp;
    let (first, mut others) = (first_protocol(process), process.ports.iter().map(|port| port.protocol));
    if takes_streams(first) || others.any(takes_streams) {
        return Vec::new();
    }
    let said = [("connect", process.connect.is_some()), ("wait", process.http.wait.is_some())];
    let warning = |(entry, _): (&str, bool)| {
        let what = format!("`{}` takes datagrams alone, so `timeouts.{entry}` says nothing", process.name);
        Problem::warning(Place::Key(process.name.clone(), "timeouts"), what).help("leave it out")
    };
    said.into_iter().filter(|(_, said)| *said).map(warning).collect()
}

/// Each key that says something of requests, and what in it does.
fn said_of_requests(process: &ProcessDraft) -> Vec<(&'static str, &'static str)> {
    let http = &process.http;
    let said = [
        ("timeouts", "first_byte", http.first_byte.is_some()),
        ("timeouts", "response_idle", http.response_idle.is_some()),
        ("max_body", "max_body", http.body_bytes_max.is_some()),
        ("headers", "headers", !http.headers.is_empty()),
        ("https_redirect", "https_redirect", http.https_redirect.is_some()),
        ("hsts", "hsts", http.hsts.is_some()),
        ("sticky", "sticky", http.sticky.is_some()),
    ];
    said.into_iter().filter(|(.., said)| *said).map(|(key, entry, _)| (key, entry)).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::Protocol::{Http, None as Nothing, Redis, Tcp};
    use crate::draft::{HttpDraft, SiteDraft};
    use crate::sample::{plan, problems, process, with_ports};
    use crate::{Balance, HealthRules, HttpsRedirect, Severity, Sticky};

    /// All that can be said of requests.
    fn everything() -> HttpDraft {
        let some = NonZeroU32::new(7);
        let second = Some(Duration::from_secs(1));
        HttpDraft {
            first_byte: second,
            response_idle: second,
            wait: second,
            body_bytes_max: Some(1),
            headers: vec![("X-A".parse().unwrap(), "b".parse().unwrap())],
            https_redirect: Some(true),
            hsts: "1d".parse().ok(),
            sticky: Some(crate::CookieName::tambat()),
            balance: Some(Balance::LeastInFlight),
            in_flight_max: some,
            queue_max: some,
        }
    }

    #[test]
    fn what_is_said_of_requests_reaches_the_rules() {
        let plan =
            plan(vec![ProcessDraft { http: everything(), ..process("web", None, &[]) }, process("b", None, &[])]);
        let (rules, unsaid) = (&plan.processes()[0].http, &plan.processes()[1].http);
        let second = Some(Duration::from_secs(1));
        assert_eq!((rules.first_byte, rules.response_idle, rules.wait), (second, second, second));
        assert_eq!((rules.body_bytes_max, rules.balance), (Some(1), Balance::LeastInFlight));
        assert_eq!(rules.headers, [("X-A".to_owned(), "b".to_owned())]);
        assert_eq!((rules.https_redirect, unsaid.https_redirect), (HttpsRedirect::Always, HttpsRedirect::WherePublic));
        let https = [("X-A", "b"), ("Strict-Transport-Security", "max-age=86400")];
        assert_eq!(rules.https_headers, Some(https.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()));
        assert_eq!(rules.sticky, Some(Sticky { cookie: "tambat".to_owned() }));
        assert_eq!((rules.in_flight_max, rules.queue_max), (NonZeroU32::new(7), NonZeroU32::new(7)));
        assert!(unsaid.waits_when_refused && rules.waits_when_refused, "they are instances of ours");
        assert_eq!((unsaid.first_byte, unsaid.response_idle, unsaid.wait), (None, None, None));
    }

    #[test]
    fn who_gets_no_requests_has_no_rules_for_them() {
        let said = problems(vec![ProcessDraft { http: everything(), ..process("cache", Some(Redis), &[]) }]);
        let entries = ["first_byte", "response_idle", "max_body", "headers", "https_redirect", "hsts", "sticky"];
        assert_eq!(said, entries.map(|entry| format!("`cache` does not speak http, so `{entry}` says nothing")));
        let admin = with_ports("chat", &[("c2s", Tcp, None), ("admin", Http, None)]);
        assert_eq!(problems(vec![ProcessDraft { http: everything(), ..admin }]), Vec::<String>::new());
    }

    #[test]
    fn nobody_connects_to_who_takes_datagrams_alone() {
        let second = Some(Duration::from_secs(1));
        let said = |protocol| {
            let http = HttpDraft { wait: second, ..HttpDraft::default() };
            let problems = check_http(&ProcessDraft { connect: second, http, ..process("x", Some(protocol), &[]) });
            problems.into_iter().map(|problem| (problem.severity, problem.what)).collect::<Vec<_>>()
        };
        let expected = ["connect", "wait"]
            .map(|entry| (Severity::Warning, format!("`x` takes datagrams alone, so `timeouts.{entry}` says nothing")));
        assert_eq!(said(Protocol::Udp), expected);
        assert_eq!((said(Protocol::Dns), said(Tcp)), (vec![], vec![]));
    }

    #[test]
    fn only_what_can_answer_is_asked_how_it_is() {
        let asked = |protocol, path: Option<&str>| {
            let health = HealthRules { path: path.map(str::to_owned), ..HealthRules::default() };
            problems(vec![ProcessDraft { health: Some(health), ..process("x", Some(protocol), &[]) }])
        };
        assert_eq!(asked(Http, Some("/healthz")), Vec::<String>::new());
        assert_eq!(asked(Redis, None), Vec::<String>::new());
        let no_path = "`x` does not speak http on its PORT, so `health` has no path to ask";
        assert_eq!(asked(Redis, Some("/healthz")), [no_path]);
        assert_eq!(asked(Nothing, None), ["`x` has no port, so nobody can ask it how it is"]);
    }

    #[test]
    fn there_is_room_for_so_many_hosts() {
        let hosts = |count: usize| (0..count).map(|n| format!("h{n}.example").parse().unwrap()).collect();
        let web = |count| {
            let site = SiteDraft { hosts: hosts(count), ..SiteDraft::default() };
            problems(vec![ProcessDraft { site, ..process("web", None, &[]) }])
        };
        assert_eq!(web(HOSTS_MAX), Vec::<String>::new());
        assert_eq!(web(HOSTS_MAX + 1), ["`hosts` of `web` has 1001 entries; there is room for 1000"]);
    }
}
