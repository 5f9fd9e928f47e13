//! The route table, put into the API's words: pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use tambat_api::{RouteStatus, RoutesReport, TargetStatus};
use tambat_model::{Admission, Entrance, ListenAddr, Route, RouteTable, TrafficSnapshot};

use crate::output;

/// So many names of one route are shown to people; JSON has all of them.
const NAMES_SHOWN_MAX: usize = 8;

/// The whole table. `others` says of a route which targets it could have, and why each is chosen from or not.
pub(crate) fn report(
    table: &RouteTable,
    unrouted: &TrafficSnapshot,
    others: impl Fn(&Route) -> Vec<TargetStatus>,
) -> RoutesReport {
    let mut routes: BTreeMap<String, RouteStatus> = BTreeMap::new();
    let at_ports = table.iter().map(|(port, route)| (format!("localhost:{port}"), route));
    let sites = table.hosts().sites();
    let at_names = sites.iter().map(|(pattern, site)| (format!("{pattern}{}", site.path), &site.route));
    let at_entrances = table.entrances().flat_map(|(at, entrance)| entrance_lines(at, entrance));
    for (at, route) in at_ports.chain(at_names).chain(at_entrances) {
        routes.entry(route.name.clone()).or_insert_with(|| status(route, &others)).at.push(at);
    }
    RoutesReport { routes: routes.into_values().collect(), unrouted: unrouted.requests }
}

/// Who is reached at a listener of the files, and how a client says so.
fn entrance_lines(at: ListenAddr, entrance: &Entrance) -> Vec<(String, &Arc<Route>)> {
    let tables =
        [("", &entrance.http), ("tls ", &entrance.terminated), ("tls ", &entrance.passed), ("xmpp ", &entrance.xmpp)];
    let named = tables.into_iter().flat_map(|(how, table)| {
        table.sites().into_iter().map(move |(pattern, site)| {
            let path = if site.route.protocol.is_http() { site.path.as_str() } else { "" };
            (format!("{at} {how}{pattern}{path}"), &site.route)
        })
    });
    let others = [(" ssh", &entrance.ssh), ("", &entrance.other), (" udp", &entrance.datagrams)];
    let others = others.into_iter().filter_map(|(how, route)| Some((format!("{at}{how}"), route.as_ref()?)));
    named.chain(others).collect()
}

fn status(route: &Route, others: &impl Fn(&Route) -> Vec<TargetStatus>) -> RouteStatus {
    let (state, cause, mend) = match &route.admission {
        Admission::Serve(_) => ("serves", None, None),
        Admission::Hold { cause, mend, .. } => ("holds", Some(cause), mend.as_ref()),
        Admission::Refuse { cause, mend } => ("refuses", Some(cause), mend.as_ref()),
    };
    let chosen: &[_] = if let Admission::Serve(targets) = &route.admission { targets } else { &[] };
    let mut others = others(route);
    let mut targets: Vec<TargetStatus> = chosen
        .iter()
        .map(|target| {
            let known = others.iter().position(|other| is_same(other, target.addr)).map(|at| others.remove(at));
            TargetStatus {
                name: target.name.clone(),
                address: Some(target.addr.to_string()),
                chosen: true,
                reason: known.map_or_else(|| "ready".to_owned(), |known| known.reason),
                in_flight: target.load.in_flight() as u64,
            }
        })
        .collect();
    targets.append(&mut others);
    let traffic = route.traffic.snapshot();
    RouteStatus {
        process: route.name.clone(),
        protocol: route.protocol.to_string(),
        at: Vec::new(),
        state: state.to_owned(),
        cause: cause.map(ToString::to_string),
        mend: mend.map(ToString::to_string),
        targets,
        requests: traffic.requests,
        in_flight: traffic.in_flight(),
        errors: traffic.errors.iter().sum(),
    }
}

fn is_same(other: &TargetStatus, addr: std::net::SocketAddr) -> bool {
    other.address.as_ref().is_some_and(|address| *address == addr.to_string())
}

/// For people: a route, and below it where it is reached and what may serve it.
pub(crate) fn show(report: &RoutesReport) -> String {
    let mut text = String::new();
    for route in &report.routes {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{} ({}) {}", route.process, route.protocol, route.state);
        if let Some(cause) = &route.cause {
            let _ = write!(text, ": {cause}");
        }
        if let Some(mend) = &route.mend {
            let _ = write!(text, "\n  {mend}");
        }
        let (shown, rest) = route.at.split_at(route.at.len().min(NAMES_SHOWN_MAX));
        shown.iter().for_each(|at| text.push_str(&format!("\n  at {at}")));
        if !rest.is_empty() {
            let _ = write!(text, "\n  and at {} more names (--json has all)", rest.len());
        }
        if !route.targets.is_empty() {
            let rows: Vec<Vec<String>> = route.targets.iter().map(row).collect();
            output::table(&rows).lines().for_each(|line| text.push_str(&format!("\n  {line}")));
        }
    }
    if report.unrouted > 0 {
        let _ = write!(text, "\n\n{} requests were for names that nobody has", report.unrouted);
    }
    text
}

fn row(target: &TargetStatus) -> Vec<String> {
    vec![
        target.name.clone(),
        if target.chosen { "in" } else { "out" }.to_owned(),
        target.address.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{} in flight", target.in_flight),
        target.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use tambat_model::{Protocol, Site, Target};

    use super::*;

    fn table() -> RouteTable {
        let mut table = RouteTable::default();
        let target = |number: u16| {
            let addr = ([127, 0, 0, 1], 20_000 + number).into();
            Arc::new(Target { name: format!("web.{number}"), generation: 1, addr, load: Arc::default() })
        };
        let web = Arc::new(Route::new("web", Protocol::Http, Admission::Serve(vec![target(1), target(2)])));
        let refuse = Admission::Refuse {
            cause: "api.1 exited with code 1".into(),
            mend: Some("`tambat logs api` shows what it wrote".into()),
        };
        table.insert(5_000_u16.try_into().unwrap(), (*web).clone());
        table.insert(5_100_u16.try_into().unwrap(), Route::new("api", Protocol::Http, refuse));
        for name in ["shop.localhost", "web.shop.localhost"] {
            let site = Site { path: "/".parse().unwrap(), strip: false, route: Arc::clone(&web) };
            table.hosts_mut().insert(name.parse().unwrap(), site).unwrap();
        }
        let mut entrance = Entrance { other: Some(Arc::clone(&web)), ..Entrance::default() };
        let site = Site { path: "/".parse().unwrap(), strip: false, route: web };
        entrance.terminated.insert("a.example".parse().unwrap(), site).unwrap();
        table.set_entrance("0.0.0.0:7443".parse().unwrap(), entrance);
        table
    }

    #[test]
    fn each_target_is_in_or_out_and_it_says_why() {
        let others = |route: &Route| {
            let out = |name: &str, port: u16, reason: &str| TargetStatus {
                name: name.to_owned(),
                address: Some(format!("127.0.0.1:{port}")),
                chosen: false,
                reason: reason.to_owned(),
                in_flight: 1,
            };
            // The first is chosen.
            if route.name == "web" {
                vec![out("web.2", 20_002, "ready for long"), out("web.3", 20_003, "draining")]
            } else {
                vec![]
            }
        };
        let unrouted = TrafficSnapshot { requests: 3, ..TrafficSnapshot::default() };
        let report = report(&table(), &unrouted, others);
        insta::assert_snapshot!(show(&report), @r"
        api (http) refuses: api.1 exited with code 1
          `tambat logs api` shows what it wrote
          at localhost:5100

        web (http) serves
          at localhost:5000
          at shop.localhost/
          at web.shop.localhost/
          at 0.0.0.0:7443 tls a.example/
          at 0.0.0.0:7443
          web.1  in   127.0.0.1:20001  0 in flight  ready
          web.2  in   127.0.0.1:20002  0 in flight  ready for long
          web.3  out  127.0.0.1:20003  1 in flight  draining

        3 requests were for names that nobody has
        ");
    }
}
