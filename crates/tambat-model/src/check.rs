//! What no app may have, and what its owner is told: the checks of [`crate::Plan::new`].

use std::collections::BTreeMap;

use crate::assign::BASE_STEP;
use crate::check_http::check_http_limits;
use crate::draft::{Draft, PortDraft, ProcessDraft};
use crate::formation::INSTANCES_MAX;
use crate::plan::{Use, first_protocol, is_stateful};
use crate::problem::{Place, Problem};
use crate::site::local_label;
use crate::{ProcessName, Protocol, ProxyProtocol, ServicePort, Transport, VarName};

/// More processes would not find their service ports below 65536, each [`BASE_STEP`] after the other.
const PROCESSES_MAX: usize = 600;

/// More entries of `[resources]` are a list pasted by mistake; each name is compared with each.
const RESOURCES_MAX: usize = 600;

/// More backing services of one process are a list pasted by mistake; each is compared with each.
const USES_MAX: usize = 64;

/// More ports of one process would run into the service ports of the next.
const PORTS_MAX: usize = BASE_STEP as usize;

/// What is too much to be looked at further.
pub(crate) fn check_limits(draft: &Draft) -> Vec<Problem> {
    if draft.processes.len() > PROCESSES_MAX {
        let what = format!("this app has {} processes; there is room for {PROCESSES_MAX}", draft.processes.len());
        return vec![Problem::error(Place::App, what).help("divide it into several apps")];
    }
    if draft.resources.len() > RESOURCES_MAX {
        let what = format!("this app has {} resources; there is room for {RESOURCES_MAX}", draft.resources.len());
        return vec![Problem::error(Place::App, what)];
    }
    let mut problems = Vec::new();
    for process in &draft.processes {
        let lists = [("uses", process.uses.len(), USES_MAX), ("ports", process.ports.len(), PORTS_MAX)];
        for (key, length, most) in lists.into_iter().filter(|(_, length, most)| length > most) {
            let what = format!("`{key}` of `{}` has {length} entries; there is room for {most}", process.name);
            problems.push(Problem::error(Place::Key(process.name.clone(), key), what));
        }
    }
    problems.extend(check_http_limits(draft));
    problems
}

/// Every name once, and each one fit to be a hostname, or its owner is told.
pub(crate) fn check_names(draft: &Draft) -> Vec<Problem> {
    let mut problems = Vec::new();
    if draft.processes.is_empty() {
        problems.push(Problem::error(Place::App, "this app has no process").help("[processes.web]\ncommand = \"…\""));
    }
    for (nth, resource) in draft.resources.iter().enumerate() {
        if draft.resources[..nth].iter().any(|other| other.name == resource.name) {
            let what = format!("there are two resources called `{}`", resource.name);
            problems.push(Problem::error(Place::Resource(resource.name.to_string()), what));
        }
    }
    for (nth, process) in draft.processes.iter().enumerate() {
        if draft.processes[..nth].iter().any(|other| other.name == process.name) {
            let what = format!("there are two processes called `{}`", process.name);
            problems.push(Problem::error(Place::Process(process.name.clone()), what).help("give each its own name"));
        }
        if draft.resources.iter().any(|r| r.name == process.name) {
            let what = format!("`{}` is the name of a process and of a resource", process.name);
            let other = Place::Resource(process.name.to_string());
            problems.push(Problem::error(Place::Process(process.name.clone()), what).clashes_with(other));
        }
        if !process.name.is_hostname_label() {
            let what =
                format!("`{}` cannot stand in a hostname, which takes letters, digits and inner `-`", process.name);
            let problem = Problem::warning(Place::Process(process.name.clone()), what);
            problems.push(match local_label(process.name.as_str()) {
                Some(label) => {
                    problem.help(format!("there it is `{label}`; call it so, and it has one name everywhere"))
                }
                None => problem.help("a name with a letter can"),
            });
        }
    }
    problems
}

/// No two process ports may ask for one service port.
pub(crate) fn check_ports(draft: &Draft) -> Vec<Problem> {
    let mut taken: BTreeMap<ServicePort, (&ProcessName, Place)> = BTreeMap::new();
    let mut problems = Vec::new();
    let places = draft.processes.iter().flat_map(|process| {
        let own = process.port.map(|port| (port, Place::Key(process.name.clone(), "port")));
        let named =
            process.ports.iter().filter_map(|p| Some((p.port?, Place::Port(process.name.clone(), p.name.to_string()))));
        own.into_iter().chain(named).map(move |(port, place)| (port, &process.name, place))
    });
    for (port, name, place) in places {
        match taken.get(&port) {
            Some((other, at)) => {
                let who =
                    if *other == name { format!("two ports of `{name}`") } else { format!("`{other}` and `{name}`") };
                let what = format!("{who} both ask for port {port}");
                problems.push(Problem::error(place, what).clashes_with(at.clone()).help("give each a port of its own"));
            }
            None => {
                taken.insert(port, (name, place));
            }
        }
    }
    problems
}

/// A variable that nobody would see, because a stronger source has it too.
pub(crate) fn check_env(process: &ProcessDraft, uses: &[Use]) -> Vec<Problem> {
    let set_here = |var: &VarName| match var.as_str() {
        "PS" | "TAMBAT_URL" => true,
        "PORT" => first_protocol(process) != Protocol::None,
        _ => process.ports.iter().any(|port| port.name.variable() == *var),
    };
    let mut problems = Vec::new();
    for (var, _) in &process.env {
        let what = if set_here(var) {
            format!("`{var}` in `env` is never seen: tambat sets it itself")
        } else if let Some(used) = uses.iter().find(|used| used.var == *var) {
            format!("`{var}` in `env` is never seen: the handle to `{}` has this name", used.provider)
        } else {
            continue;
        };
        problems.push(Problem::warning(Place::Key(process.name.clone(), "env"), what).help("remove it"));
    }
    problems
}

/// The named ports of a process: each speaks something, and has a variable of its own.
fn check_named_ports(process: &ProcessDraft) -> Vec<Problem> {
    let name = &process.name;
    let place = |port: &PortDraft| Place::Port(name.clone(), port.name.to_string());
    let mut problems = Vec::new();
    for (nth, port) in process.ports.iter().enumerate() {
        if port.protocol == Protocol::None {
            let what = format!("the port `{}` of `{name}` speaks nothing (\"none\"), so it is no port", port.name);
            problems.push(Problem::error(place(port), what).help("\"tcp\" is any stream"));
        }
        let variable = port.name.variable();
        if let Some(other) = process.ports[..nth].iter().find(|other| other.name.variable() == variable) {
            let what = format!("the ports `{}` and `{}` of `{name}` would both be {variable}", other.name, port.name);
            let problem = Problem::error(place(port), what).clashes_with(place(other));
            problems.push(problem.help("give each a name of its own"));
        }
    }
    problems
}

/// What is told of connections, to a process that has none, or twice.
fn check_proxy_protocol(process: &ProcessDraft) -> Option<Problem> {
    let (name, place) = (&process.name, Place::Key(process.name.clone(), "proxy_protocol"));
    let shared = |port: &&PortDraft| port.protocol == Protocol::H2c && port.proxy_protocol.is_some();
    let shared_port = process.ports.iter().find(shared);
    let is_shared = process.proxy_protocol.is_some() && first_protocol(process) == Protocol::H2c;
    if is_shared || shared_port.is_some() {
        let what =
            format!("`{name}` speaks h2c, where clients share a connection, so `proxy_protocol` names none of them");
        let place = shared_port.map_or(place, |port| Place::Port(name.clone(), port.name.to_string()));
        return Some(Problem::error(place, what).help("leave it out: X-Forwarded-For says who the client is"));
    }
    if let Some(place) = line_before_datagrams(process) {
        let what = format!(
            "version 1 of the PROXY protocol is a line before a stream, and `{name}` takes datagrams, which have none"
        );
        return Some(Problem::error(place, what).help("write \"v2\", whose header stands before each datagram"));
    }
    process.proxy_protocol?;
    if first_protocol(process) == Protocol::None {
        let what = format!("`{name}` speaks nothing (protocol = \"none\"), so nobody connects to it");
        return Some(Problem::error(place, what).help("leave out `proxy_protocol`"));
    }
    let is_twice = process.ports.first().is_some_and(|port| port.proxy_protocol.is_some());
    is_twice.then(|| {
        let what = format!("`proxy_protocol` of the first port of `{name}` is given twice, here and in `ports`");
        Problem::error(place, what)
    })
}

/// Where version 1 of the PROXY protocol is asked for although there are datagrams.
fn line_before_datagrams(process: &ProcessDraft) -> Option<Place> {
    let is_line = |protocol: Protocol, version| version == Some(ProxyProtocol::V1) && protocol.is_over(Transport::Udp);
    if is_line(first_protocol(process), process.proxy_protocol) {
        return Some(Place::Key(process.name.clone(), "proxy_protocol"));
    }
    let port = process.ports.iter().find(|port| is_line(port.protocol, port.proxy_protocol))?;
    Some(Place::Port(process.name.clone(), port.name.to_string()))
}

/// What is wrong with a process by itself.
pub(crate) fn check_process(process: &ProcessDraft) -> Vec<Problem> {
    let key = |key| Place::Key(process.name.clone(), key);
    let name = &process.name;
    let mut problems = check_named_ports(process);
    if process.command.as_deref().is_none_or(|c| c.trim().is_empty()) {
        let what = format!("`{name}` has no command, here or in the Procfile");
        problems.push(Problem::error(Place::Process(name.clone()), what).help("command = \"…\""));
    }
    if process.protocol.is_some() && !process.ports.is_empty() {
        let what = format!("`{name}` has `ports`, so each of them has its own protocol");
        problems.push(Problem::error(key("protocol"), what).help("ports = { main = \"http\", admin = \"http\" }"));
    }
    if process.protocol == Some(Protocol::None) && process.port.is_some() {
        problems.push(Problem::error(
            key("port"),
            format!("`{name}` speaks nothing (protocol = \"none\"), so it has no port"),
        ));
    }
    if process.port.is_some() && process.ports.first().is_some_and(|p| p.port.is_some()) {
        let what = format!("the first port of `{name}` is given twice, by `port` and in `ports`");
        problems.push(Problem::error(key("port"), what));
    }
    problems.extend(check_proxy_protocol(process));
    if process.instances.is_some_and(|n| n > INSTANCES_MAX) {
        problems
            .push(Problem::error(key("instances"), format!("`{name}` asks for more than {INSTANCES_MAX} instances")));
    }
    if is_stateful(process) && process.instances.is_some_and(|n| n > 1) {
        let what = format!("`{name}` is stateful: two instances on its data would destroy it");
        problems.push(
            Problem::error(key("instances"), what)
                .help("instances = 1, or stateful = false if its instances share nothing"),
        );
    }
    if process.ready.path.is_some() && !first_protocol(process).is_http() {
        problems.push(Problem::error(key("ready"), format!("`{name}` does not speak http, so it has no path to ask")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol::{H2c, Http, None as Nothing, Postgres, Redis, Tcp, Udp};
    use crate::draft::{ReadyDraft, UseDraft};
    use crate::problem::Severity;
    use crate::sample::{draft, port, problems, process, with_ports};
    use crate::{HealthRules, Plan, ProcessDraft, ProxyProtocol, ResourcePlan};

    #[test]
    fn an_app_without_fault_is_told_nothing() {
        let api = process("api", Some(Http), &["mail", "billing/api"]);
        assert_eq!(problems(vec![process("web", None, &["api"]), api]), Vec::<String>::new());
    }

    #[test]
    fn every_fault_of_a_process_is_found() {
        let web = || process("web", None, &[]);
        let cases: Vec<(ProcessDraft, &str)> = vec![
            (ProcessDraft { command: None, ..web() }, "`web` has no command, here or in the Procfile"),
            (ProcessDraft { command: Some(" ".into()), ..web() }, "`web` has no command, here or in the Procfile"),
            (
                ProcessDraft { protocol: Some(Http), ..with_ports("web", &[("a", Tcp, None)]) },
                "`web` has `ports`, so each of them has its own protocol",
            ),
            (
                ProcessDraft { protocol: Some(Nothing), port: Some(port(1)), ..web() },
                "`web` speaks nothing (protocol = \"none\"), so it has no port",
            ),
            (
                ProcessDraft { port: Some(port(1)), ..with_ports("web", &[("a", Tcp, Some(2))]) },
                "the first port of `web` is given twice, by `port` and in `ports`",
            ),
            (ProcessDraft { instances: Some(1_001), ..web() }, "`web` asks for more than 1000 instances"),
            (
                ProcessDraft { protocol: Some(Redis), instances: Some(2), ..web() },
                "`web` is stateful: two instances on its data would destroy it",
            ),
            (
                ProcessDraft { instances: Some(2), ..with_ports("web", &[("a", Http, None), ("b", Postgres, None)]) },
                "`web` is stateful: two instances on its data would destroy it",
            ),
            (
                ProcessDraft { stateful: Some(true), instances: Some(2), ..web() },
                "`web` is stateful: two instances on its data would destroy it",
            ),
            (
                ProcessDraft {
                    protocol: Some(Tcp),
                    ready: ReadyDraft { path: Some("/".into()), within: None },
                    ..web()
                },
                "`web` does not speak http, so it has no path to ask",
            ),
            (
                with_ports("web", &[("a", Http, None), ("b", Nothing, None)]),
                "the port `b` of `web` speaks nothing (\"none\"), so it is no port",
            ),
            (
                with_ports("web", &[("a-b", Http, None), ("A_B", Http, None)]),
                "the ports `a-b` and `A_B` of `web` would both be PORT_A_B",
            ),
            (
                ProcessDraft { protocol: Some(Nothing), proxy_protocol: Some(ProxyProtocol::V1), ..web() },
                "`web` speaks nothing (protocol = \"none\"), so nobody connects to it",
            ),
            (
                ProcessDraft { protocol: Some(H2c), proxy_protocol: Some(ProxyProtocol::V1), ..web() },
                "`web` speaks h2c, where clients share a connection, so `proxy_protocol` names none of them",
            ),
            (
                {
                    let mut twice = with_ports("web", &[("a", Tcp, None)]);
                    (twice.proxy_protocol, twice.ports[0].proxy_protocol) =
                        (Some(ProxyProtocol::V2), Some(ProxyProtocol::V2));
                    twice
                },
                "`proxy_protocol` of the first port of `web` is given twice, here and in `ports`",
            ),
            (
                with_ports("web", &[("a", Http, Some(7)), ("b", Http, Some(7))]),
                "two ports of `web` both ask for port 7",
            ),
        ];
        for (process, what) in cases {
            assert_eq!(problems(vec![process]), [what]);
        }
    }

    #[test]
    fn what_asks_for_connections_where_there_are_datagrams_is_found() {
        let udp = || process("web", Some(Udp), &[]);
        for (process, what) in [
            (
                ProcessDraft { proxy_protocol: Some(ProxyProtocol::V1), ..udp() },
                "version 1 of the PROXY protocol is a line before a stream, and `web` takes datagrams, which have none",
            ),
            (
                ProcessDraft { health: Some(HealthRules::default()), ..udp() },
                "`web` takes datagrams, and `health` asks by connections",
            ),
        ] {
            assert_eq!(problems(vec![process]), [what]);
        }
    }

    #[test]
    fn what_may_be_is_let_through() {
        let web = || process("web", None, &[]);
        for process in [
            ProcessDraft { instances: Some(0), ..web() },
            ProcessDraft { instances: Some(1_000), ..web() },
            ProcessDraft { protocol: Some(Redis), instances: Some(2), stateful: Some(false), ..web() },
            ProcessDraft { port: Some(port(1)), ..with_ports("web", &[("a", Tcp, None), ("b", Tcp, Some(2))]) },
            ProcessDraft { ready: ReadyDraft { path: Some("/".into()), within: None }, ..web() },
            ProcessDraft { protocol: Some(Udp), proxy_protocol: Some(ProxyProtocol::V2), ..web() },
        ] {
            assert_eq!(problems(vec![process]), Vec::<String>::new());
        }
    }

    #[test]
    fn names_are_there_once_and_fit_for_hostnames() {
        let web = || process("web", None, &[]);
        assert_eq!(problems(vec![]), ["this app has no process"]);
        assert_eq!(problems(vec![web(), web()]), ["there are two processes called `web`"]);
        assert_eq!(problems(vec![process("mail", None, &[])]), ["`mail` is the name of a process and of a resource"]);
        let mut twice = draft(vec![web()]);
        let mail: ResourcePlan = twice.resources[0].clone();
        twice.resources.push(mail);
        assert_eq!(Plan::new(twice).unwrap_err()[0].what, "there are two resources called `mail`");
        let (_, warnings) = Plan::new(draft(vec![process("my_worker-", None, &[])])).unwrap();
        assert_eq!(warnings[0].severity, Severity::Warning);
        assert_eq!(
            warnings[0].help.as_deref(),
            Some("there it is `my-worker`; call it so, and it has one name everywhere")
        );
    }

    #[test]
    fn two_processes_on_one_port_are_both_named() {
        let on = |name, number| ProcessDraft { port: Some(port(number)), ..process(name, None, &[]) };
        let found = Plan::new(draft(vec![on("web", 80), on("api", 81), on("admin", 80)])).unwrap_err();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "`web` and `admin` both ask for port 80");
        assert_eq!(found[0].at, Place::Key(crate::sample::name("admin"), "port"));
        assert_eq!(found[0].other, Some(Place::Key(crate::sample::name("web"), "port")));
    }

    #[test]
    fn a_variable_that_nobody_would_see_is_warned_about() {
        let mut web = process("web", None, &["mail"]);
        web.env = ["PORT", "PS", "TAMBAT_URL", "MAIL_URL", "PORT_ADMIN", "HOST", "A"]
            .map(|var| (var.parse().unwrap(), "x".to_owned()))
            .to_vec();
        let none = ProcessDraft { protocol: Some(Nothing), ..web.clone() };
        assert_eq!(
            problems(vec![web]),
            [
                "`PORT` in `env` is never seen: tambat sets it itself",
                "`PS` in `env` is never seen: tambat sets it itself",
                "`TAMBAT_URL` in `env` is never seen: tambat sets it itself",
                "`MAIL_URL` in `env` is never seen: the handle to `mail` has this name",
            ]
        );
        assert_eq!(problems(vec![none]).len(), 3);
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let web = ProcessDraft { command: None, instances: Some(5_000), ..process("web", None, &["nobody"]) };
        assert_eq!(problems(vec![web, process("my_api", None, &["me"])]).len(), 5);
    }

    #[test]
    fn there_are_limits() {
        let many: Vec<ProcessDraft> = (0..=PROCESSES_MAX).map(|n| process(&format!("p{n}"), None, &[])).collect();
        assert_eq!(problems(many[..PROCESSES_MAX].to_vec()), Vec::<String>::new());
        assert_eq!(problems(many), ["this app has 601 processes; there is room for 600"]);
        let mut resources = draft(vec![process("web", None, &[])]);
        resources.resources = vec![resources.resources[0].clone(); RESOURCES_MAX + 1];
        assert_eq!(Plan::new(resources).unwrap_err()[0].what, "this app has 601 resources; there is room for 600");
        let mut web = process("web", None, &[]);
        web.uses = (0..=USES_MAX).map(|n| UseDraft { var: None, provider: format!("a{n}/x") }).collect();
        assert_eq!(problems(vec![web.clone()]), ["`uses` of `web` has 65 entries; there is room for 64"]);
        web.uses.pop();
        assert_eq!(problems(vec![web]), Vec::<String>::new());
        let names: Vec<String> = (0..=PORTS_MAX).map(|n| format!("p{n}")).collect();
        let ports: Vec<_> = names.iter().map(|name| (name.as_str(), Tcp, None)).collect();
        assert_eq!(
            problems(vec![with_ports("web", &ports)]),
            ["`ports` of `web` has 101 entries; there is room for 100"]
        );
    }
}
