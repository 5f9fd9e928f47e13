//! The URLs by which everybody reaches the apps of a server. Pure.

use std::collections::BTreeMap;

use tambat_model::{HostPattern, Plan, PortKey, Scheme};

/// Where a server serves names.
pub(super) struct Doors<'a> {
    /// By HTTP.
    pub(super) http: u16,
    /// By TLS; none: nowhere.
    pub(super) https: Option<u16>,
    /// Has this name a certificate, or will it have one?
    pub(super) is_certified: &'a dyn Fn(&HostPattern) -> bool,
}

/// The URL of each process port that has a name of its own: the first in `hosts` that can be visited.
pub(super) fn urls(plan: &Plan, doors: &Doors<'_>) -> BTreeMap<PortKey, String> {
    let mut urls = BTreeMap::new();
    for process in plan.processes() {
        for port in &process.ports {
            let Some(site) = &port.site else { continue };
            let Some(host) = site.hosts.iter().find(|host| matches!(host, HostPattern::Exact(_))) else { continue };
            let path = if site.path.is_root() { "" } else { site.path.as_str() };
            let (scheme, number) = match doors.https {
                Some(https) if (doors.is_certified)(host) => (Scheme::Https, https),
                _ => (Scheme::Http, doors.http),
            };
            let key = PortKey { process: process.name.clone(), port: port.name.clone() };
            urls.insert(key, format!("{scheme}://{host}{}{path}", scheme.port_suffix(number)));
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls_of(doors: &Doors<'_>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let manifest = "[processes.web]\ncommand = \"x\"\nhosts = [\"*.shop.example\", \"shop.example\", \"a.example\"]\n\
            [processes.api]\ncommand = \"x\"\nprotocol = \"http\"\nhosts = \"shop.example\"\npath = \"/api\"\n\
            [processes.local]\ncommand = \"x\"\nprotocol = \"http\"\nhosts = \"shop.localhost\"\n\
            [processes.any]\ncommand = \"x\"\nprotocol = \"http\"\nhosts = \"*.b.example\"\n\
            [processes.quiet]\ncommand = \"x\"\nprotocol = \"http\"\n";
        std::fs::write(dir.path().join("tambat.toml"), manifest).unwrap();
        let plan = tambat_manifest::load_served(dir.path(), &[]).unwrap().plan;
        urls(&plan, doors).into_iter().map(|(key, url)| format!("{key} {url}")).collect()
    }

    #[test]
    fn a_process_is_at_its_first_name_by_tls_where_that_has_a_certificate() {
        let is_certified = |host: &HostPattern| host.to_string() == "shop.example";
        assert_eq!(
            urls_of(&Doors { http: 80, https: Some(443), is_certified: &is_certified }),
            ["api https://shop.example/api", "local http://shop.localhost", "web https://shop.example"]
        );
        assert_eq!(
            urls_of(&Doors { http: 8080, https: Some(8443), is_certified: &is_certified }),
            ["api https://shop.example:8443/api", "local http://shop.localhost:8080", "web https://shop.example:8443"]
        );
        assert_eq!(
            urls_of(&Doors { http: 80, https: None, is_certified: &is_certified }),
            ["api http://shop.example/api", "local http://shop.localhost", "web http://shop.example"]
        );
    }
}
