//! What may be said of requests, and of whom: checks of [`crate::Plan::new`].

use crate::draft::ProcessDraft;
use crate::plan::first_protocol;
use crate::problem::{Place, Problem};
use crate::{Draft, Protocol};

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
        first_protocol(process) == Protocol::Http
    } else {
        process.ports.iter().any(|port| port.protocol == Protocol::Http)
    };
    for (key, entry) in said_of_requests(process).into_iter().filter(|_| !speaks_http) {
        let what = format!("`{name}` does not speak http, so `{entry}` says nothing");
        problems.push(error(key, what));
    }
    let Some(health) = &process.health else { return problems };
    let first = first_protocol(process);
    if first == Protocol::None {
        problems.push(error("health", format!("`{name}` has no port, so nobody can ask it how it is")));
    } else if health.path.is_some() && first != Protocol::Http {
        let what = format!("`{name}` does not speak http on its PORT, so `health` has no path to ask");
        problems.push(error("health", what));
    }
    problems
}

/// Each key that says something of requests, and what in it does.
fn said_of_requests(process: &ProcessDraft) -> Vec<(&'static str, &'static str)> {
    let http = &process.http;
    let said = [
        ("timeouts", "first_byte", http.first_byte.is_some()),
        ("timeouts", "response_idle", http.response_idle.is_some()),
        ("timeouts", "wait", http.wait.is_some()),
        ("max_body", "max_body", http.body_bytes_max.is_some()),
        ("headers", "headers", !http.headers.is_empty()),
        ("sticky", "sticky", http.sticky.is_some()),
        ("balance", "balance", http.balance.is_some()),
        ("max_in_flight", "max_in_flight", http.in_flight_max.is_some()),
        ("queue", "queue", http.queue_max.is_some()),
    ];
    said.into_iter().filter(|(.., said)| *said).map(|(key, entry, _)| (key, entry)).collect()
}
