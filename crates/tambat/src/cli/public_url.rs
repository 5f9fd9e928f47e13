//! What people elsewhere type to reach a process port: pure, from its status.

use std::net::SocketAddr;

use tambat_api::{ListenStatus, PortStatus};
use tambat_model::{HostPattern, Scheme};

/// Schemes of the same protocol over TLS.
const OVER_TLS: [(&str, &str); 5] =
    [("http", "https"), ("redis", "rediss"), ("mqtt", "mqtts"), ("smtp", "smtps"), ("tcp", "tls")];

/// Where a process port is reached from other machines, the best first.
pub(super) fn public_urls(port: &PortStatus) -> Vec<String> {
    let listens = port.listens.iter().filter_map(|listen| at(port, listen));
    port.published.iter().cloned().chain(listens).collect()
}

/// By a name, or by the address, if one can be said.
fn at(port: &PortStatus, listen: &ListenStatus) -> Option<String> {
    let addr: SocketAddr = listen.address.parse().ok()?;
    if addr.ip().is_loopback() {
        return None;
    }
    let is_exact = |host: &&String| matches!(host.parse(), Ok(HostPattern::Exact(_)));
    let by_address = || Some(SocketAddr::new(addr.ip(), 0)).filter(|addr| !addr.ip().is_unspecified());
    let host = match listen.hosts.iter().find(is_exact) {
        Some(host) => host.clone(),
        None => by_address()?.to_string().trim_end_matches(":0").to_owned(),
    };
    let (scheme, rest) = port.template.split_once("://")?;
    let over_tls = OVER_TLS.iter().find(|(plain, _)| *plain == scheme && listen.tls != "off");
    let scheme = over_tls.map_or(scheme, |(_, over_tls)| over_tls);
    let usual = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme);
    let number = usual.map_or_else(|| format!(":{}", addr.port()), |known| known.port_suffix(addr.port()));
    Some(format!("{scheme}://{}", rest.replace("{host}", &host).replace(":{port}", &number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(template: &str, listens: &[(&str, &str, &[&str])]) -> PortStatus {
        let listens = listens.iter().map(|(address, tls, hosts)| ListenStatus {
            address: (*address).to_owned(),
            tls: (*tls).to_owned(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            fallback: false,
        });
        let empty = serde_json::json!({
            "name": null, "protocol": "", "port": 5000, "addresses": [], "url": "", "template": template,
            "connections": 0, "open": 0, "waiting": 0, "refused": 0, "bytes_in": 0, "bytes_out": 0,
        });
        PortStatus { listens: listens.collect(), ..serde_json::from_value(empty).unwrap() }
    }

    #[test]
    fn a_name_comes_before_an_address_and_tls_is_seen_in_the_scheme() {
        let first = |template: &str, listens: &[(&str, &str, &[&str])]| {
            public_urls(&port(template, listens)).into_iter().next()
        };
        let any = "0.0.0.0:6379";
        for (template, listen, url) in [
            ("redis://{host}:{port}", (any, "terminate", &["*.b.example", "a.example"][..]), "rediss://a.example:6379"),
            ("redis://{host}:{port}/1", (any, "off", &["a.example"]), "redis://a.example:6379/1"),
            ("http://{host}:{port}", ("0.0.0.0:443", "terminate", &["a.example"]), "https://a.example"),
            ("http://{host}:{port}", ("[2001:db8::1]:8080", "off", &[]), "http://[2001:db8::1]:8080"),
            (
                "postgres://me@{host}:{port}/db",
                ("192.0.2.1:5432", "passthrough", &["*"]),
                "postgres://me@192.0.2.1:5432/db",
            ),
            ("udp://{host}:{port}", ("192.0.2.1:53", "off", &[]), "udp://192.0.2.1:53"),
        ] {
            assert_eq!(first(template, &[listen]).as_deref(), Some(url));
        }
        assert_eq!(first("tcp://{host}:{port}", &[("127.0.0.1:7000", "off", &["a.example"]), (any, "off", &[])]), None);
    }

    #[test]
    fn what_a_server_has_published_comes_first() {
        let listens: &[(&str, &str, &[&str])] = &[("192.0.2.1:80", "off", &[])];
        let port =
            PortStatus { published: Some("https://a.example".to_owned()), ..port("http://{host}:{port}", listens) };
        assert_eq!(public_urls(&port), ["https://a.example", "http://192.0.2.1"]);
    }
}
