//! Metrics in the text form that Prometheus reads (version 0.0.4): pure, from a moment's figures.
//!
//! How many series there are depends on how many processes, listeners and error codes there are, and on nothing that a
//! client sends: requests for hosts that nobody serves are counted together.

mod server;

use std::fmt::Write as _;

use tambat_model::{ErrorCode, LATENCY_BOUNDS_US, TrafficSnapshot};
use tambat_router::{CountersSnapshot, HandshakeFailure};

pub(crate) use server::MetricsListener;

/// The media type of [`render`].
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process that stands for all requests without a route.
const UNROUTED: &str = "";

/// A moment's figures.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By process port: what it has carried, and its targets that are in and out.
    pub(crate) processes: Vec<ProcessFigures>,
    /// Requests that no route was found for.
    pub(crate) unrouted: TrafficSnapshot,
    /// By listener.
    pub(crate) listeners: Vec<(String, CountersSnapshot)>,
    /// Lines of the access log that are lost.
    pub(crate) access_lines_lost: u64,
    /// The certificates of public names.
    pub(crate) certificates: Vec<CertificateFigures>,
    /// Is the CA away? None: there is none.
    pub(crate) ca_away: Option<bool>,
}

/// A certificate's figures.
#[derive(Debug)]
pub(crate) struct CertificateFigures {
    /// The name that it is for.
    pub(crate) name: String,
    /// The last moment at which it is good, in seconds since 1970; none: there is none yet.
    pub(crate) expiry_s: Option<u64>,
    /// How many orders for it have failed.
    pub(crate) failures: u64,
}

/// One process port's figures.
#[derive(Debug, Default)]
pub(crate) struct ProcessFigures {
    /// Its name: `web`, `chat:admin`.
    pub(crate) name: String,
    /// What it has carried.
    pub(crate) traffic: TrafficSnapshot,
    /// How many of its targets are chosen from.
    pub(crate) targets_in: usize,
    /// How many are not.
    pub(crate) targets_out: usize,
}

/// The whole page.
pub(crate) fn render(figures: &Figures) -> String {
    let mut out = String::new();
    let unrouted = std::iter::once((UNROUTED, &figures.unrouted));
    let all: Vec<(String, &TrafficSnapshot)> =
        figures.processes.iter().map(|p| (p.name.as_str(), &p.traffic)).chain(unrouted).map(label).collect();
    requests(&mut out, &all);
    latency(&mut out, &all);
    carried(&mut out, &all);
    targets(&mut out, &figures.processes);
    connections(&mut out, &figures.listeners);
    family(
        &mut out,
        "tambat_access_log_lines_lost_total",
        "counter",
        "Lines of the access log that could not be written.",
    );
    line(&mut out, "tambat_access_log_lines_lost_total", "", figures.access_lines_lost);
    certificates(&mut out, figures);
    out
}

fn label<'a>((name, traffic): (&str, &'a TrafficSnapshot)) -> (String, &'a TrafficSnapshot) {
    (format!("process=\"{}\"", escaped(name)), traffic)
}

fn requests(out: &mut String, all: &[(String, &TrafficSnapshot)]) {
    let name = "tambat_requests_total";
    family(out, name, "counter", "Requests that are over, by process and class of their answer.");
    for (process, traffic) in all {
        for (class, count) in (1..).zip(traffic.answers) {
            line(out, name, &format!("{process},class=\"{class}xx\""), count);
        }
    }
    let name = "tambat_requests_in_flight";
    family(out, name, "gauge", "Requests being served.");
    all.iter().for_each(|(process, traffic)| line(out, name, process, traffic.in_flight()));
    let name = "tambat_errors_total";
    family(
        out,
        name,
        "counter",
        "Requests that the router itself answered with an error or cut off, and streams that it turned away, by its code.",
    );
    for (process, traffic) in all {
        for (code, count) in ErrorCode::ALL.iter().zip(traffic.errors).filter(|(_, count)| *count > 0) {
            line(out, name, &format!("{process},code=\"{code}\""), count);
        }
    }
}

fn latency(out: &mut String, all: &[(String, &TrafficSnapshot)]) {
    let name = "tambat_request_duration_seconds";
    family(out, name, "histogram", "From a request's first byte to the end of its answer.");
    for (process, traffic) in all {
        let mut below = 0;
        for (bound, count) in LATENCY_BOUNDS_US.iter().zip(traffic.latency) {
            below += count;
            line(out, &format!("{name}_bucket"), &format!("{process},le=\"{}\"", seconds(*bound)), below);
        }
        let count: u64 = traffic.latency.iter().sum();
        line(out, &format!("{name}_bucket"), &format!("{process},le=\"+Inf\""), count);
        line(out, &format!("{name}_sum"), process, seconds(traffic.latency_sum_us));
        line(out, &format!("{name}_count"), process, count);
    }
}

/// A figure of a process, its name and what it says.
type Figure = (&'static str, &'static str, fn(&TrafficSnapshot) -> u64);

fn carried(out: &mut String, all: &[(String, &TrafficSnapshot)]) {
    let figures: [Figure; 5] = [
        ("tambat_received_bytes_total", "Bytes received from clients: heads and bodies, and streams.", |t| t.bytes_in),
        ("tambat_sent_bytes_total", "Bytes sent to clients: heads and bodies, and streams.", |t| t.bytes_out),
        ("tambat_streams_total", "Streams taken on: connections that carry no requests.", |t| t.streams),
        ("tambat_retries_total", "Requests that were sent again, to another connection.", |t| t.retries),
        ("tambat_upgrades_total", "Connections that became tunnels, such as WebSockets.", |t| t.tunnels),
    ];
    for (name, says, figure) in figures {
        family(out, name, "counter", says);
        all.iter().for_each(|(process, traffic)| line(out, name, process, figure(traffic)));
    }
    let name = "tambat_streams_open";
    family(out, name, "gauge", "Streams that are open, those among them that wait for a target.");
    all.iter().for_each(|(process, traffic)| line(out, name, process, traffic.streams_open()));
}

fn targets(out: &mut String, processes: &[ProcessFigures]) {
    let name = "tambat_targets";
    family(out, name, "gauge", "Targets by process: those chosen from (in), and the others (out).");
    for process in processes {
        let (label, _) = label((&process.name, &process.traffic));
        line(out, name, &format!("{label},state=\"in\""), process.targets_in);
        line(out, name, &format!("{label},state=\"out\""), process.targets_out);
    }
}

/// A figure of a listener, its name, its type and what it says.
type ListenerFigure = (&'static str, &'static str, &'static str, fn(&CountersSnapshot) -> u64);

fn connections(out: &mut String, listeners: &[(String, CountersSnapshot)]) {
    let figures: [ListenerFigure; 7] = [
        ("tambat_connections_total", "counter", "Connections accepted.", |c| c.connections),
        ("tambat_connections_open", "gauge", "Connections open.", |c| c.open as u64),
        ("tambat_connections_waiting", "gauge", "Connections or requests that wait for a target.", |c| {
            c.waiting as u64
        }),
        ("tambat_connections_paused_total", "counter", "Connections that waited for their address had flooded.", |c| {
            c.paused
        }),
        ("tambat_accept_pauses_total", "counter", "How often accepting paused for want of room.", |c| c.accept_pauses),
        ("tambat_tls_handshakes_total", "counter", "TLS handshakes that came to their end.", |c| c.handshakes),
        ("tambat_tls_handshakes_under_way", "gauge", "TLS handshakes that are under way.", |c| {
            c.handshakes_under_way as u64
        }),
    ];
    for (name, kind, says, figure) in figures {
        family(out, name, kind, says);
        for (listener, counters) in listeners {
            line(out, name, &format!("listener=\"{}\"", escaped(listener)), figure(counters));
        }
    }
    let name = "tambat_tls_handshake_failures_total";
    family(out, name, "counter", "TLS handshakes that came to nothing, and why.");
    for (listener, counters) in listeners {
        for cause in HandshakeFailure::ALL {
            let labels = format!("listener=\"{}\",cause=\"{cause}\"", escaped(listener));
            line(out, name, &labels, counters.handshakes_failed[cause.index()]);
        }
    }
}

/// A server without any shows none.
fn certificates(out: &mut String, figures: &Figures) {
    let label = |of: &CertificateFigures| format!("name=\"{}\"", escaped(&of.name));
    if !figures.certificates.is_empty() {
        let name = "tambat_certificate_expiry_seconds";
        family(out, name, "gauge", "When a certificate expires, in seconds since 1970.");
        for of in &figures.certificates {
            of.expiry_s.iter().for_each(|expiry| line(out, name, &label(of), expiry));
        }
        let name = "tambat_certificate_renewal_failures_total";
        family(out, name, "counter", "Orders of certificates that have failed, the CA's own troubles not counted.");
        figures.certificates.iter().for_each(|of| line(out, name, &label(of), of.failures));
    }
    if let Some(away) = figures.ca_away {
        let name = "tambat_certificate_ca_away";
        family(out, name, "gauge", "Is the CA away? Then the certificates that are there go on.");
        line(out, name, "", u8::from(away));
    }
}

fn family(out: &mut String, name: &str, kind: &str, says: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "# HELP {name} {says}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tambat_model::Traffic;

    use super::*;

    fn figures() -> Figures {
        let web = Traffic::default();
        for (status, ms) in [(200, 1), (200, 3), (502, 900)] {
            web.shard(0).begin();
            web.shard(0).end(status, Duration::from_millis(ms));
        }
        web.shard(1).begin();
        web.shard(1).error(ErrorCode::TargetClosed);
        web.shard(1).bytes(100, 2_000);
        let traffic = web.snapshot();
        let mut counters = CountersSnapshot { connections: 7, open: 2, handshakes: 5, ..CountersSnapshot::default() };
        counters.handshakes_failed[HandshakeFailure::Name.index()] = 3;
        Figures {
            processes: vec![ProcessFigures { name: "shop\"/web".to_owned(), traffic, targets_in: 2, targets_out: 1 }],
            listeners: vec![("localhost:7080".to_owned(), counters)],
            certificates: vec![
                CertificateFigures { name: "shop.example".to_owned(), expiry_s: Some(1_800_000_000), failures: 2 },
                CertificateFigures { name: "new.example".to_owned(), expiry_s: None, failures: 1 },
            ],
            ca_away: Some(true),
            ..Figures::default()
        }
    }

    #[test]
    fn figures_stand_where_they_belong() {
        let page = render(&figures());
        for expected in [
            "tambat_tls_handshakes_total{listener=\"localhost:7080\"} 5",
            "tambat_tls_handshake_failures_total{listener=\"localhost:7080\",cause=\"unknown-name\"} 3",
            "tambat_requests_total{process=\"shop\\\"/web\",class=\"2xx\"} 2",
            "tambat_requests_total{process=\"shop\\\"/web\",class=\"5xx\"} 1",
            "tambat_requests_total{process=\"\",class=\"4xx\"} 0",
            "tambat_requests_in_flight{process=\"shop\\\"/web\"} 1",
            "tambat_errors_total{process=\"shop\\\"/web\",code=\"target-closed\"} 1",
            "tambat_request_duration_seconds_bucket{process=\"shop\\\"/web\",le=\"0.001\"} 1",
            "tambat_request_duration_seconds_bucket{process=\"shop\\\"/web\",le=\"0.004\"} 2",
            "tambat_request_duration_seconds_bucket{process=\"shop\\\"/web\",le=\"+Inf\"} 3",
            "tambat_request_duration_seconds_sum{process=\"shop\\\"/web\"} 0.904",
            "tambat_request_duration_seconds_count{process=\"shop\\\"/web\"} 3",
            "tambat_received_bytes_total{process=\"shop\\\"/web\"} 100",
            "tambat_sent_bytes_total{process=\"shop\\\"/web\"} 2000",
            "tambat_targets{process=\"shop\\\"/web\",state=\"out\"} 1",
            "tambat_connections_open{listener=\"localhost:7080\"} 2",
            "tambat_access_log_lines_lost_total 0",
            "tambat_certificate_expiry_seconds{name=\"shop.example\"} 1800000000",
            "tambat_certificate_renewal_failures_total{name=\"shop.example\"} 2",
            "tambat_certificate_renewal_failures_total{name=\"new.example\"} 1",
            "tambat_certificate_ca_away 1",
        ] {
            assert!(page.lines().any(|line| line == expected), "{expected}\n{page}");
        }
    }

    #[test]
    fn the_page_keeps_the_form() {
        let page = render(&figures());
        let mut family = String::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                rest.split(' ').next().unwrap().clone_into(&mut family);
            } else if !line.starts_with("# HELP ") {
                assert!(line.starts_with(&family), "{line} stands with {family}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}
