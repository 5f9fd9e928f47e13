//! What a shared listener says of itself at `localhost`: the apps whose names it serves.

use crate::{Cause, HostPattern, PathPrefix, Scheme};

/// An app whose names are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedApp {
    /// Its name.
    pub name: String,
    /// What of it is reached by name.
    pub ports: Vec<ListedPort>,
}

/// One process port of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPort {
    /// Its name, as its app has it: `web`, `chat:admin`.
    pub name: String,
    /// By which names and prefixes it is reached.
    pub sites: Vec<(HostPattern, PathPrefix)>,
    /// Nobody serves it now: why.
    pub cause: Option<Cause>,
}

impl ListedPort {
    /// Where it is visited if the listener for this scheme is at this port: a URL for each name that is one, the shortest
    /// first.
    pub fn urls(&self, scheme: Scheme, port: u16) -> Vec<String> {
        let url = |(host, path): &(HostPattern, PathPrefix)| {
            let HostPattern::Exact(name) = host else { return None };
            let path = if path.is_root() { "" } else { path.as_str() };
            Some(format!("{scheme}://{name}:{port}{path}"))
        };
        let mut urls: Vec<String> = self.sites.iter().filter_map(url).collect();
        urls.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        urls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_can_be_visited_are_urls() {
        let site = |host: &str, path: &str| (host.parse().unwrap(), path.parse().unwrap());
        let sites = vec![site("*.shop.localhost", "/"), site("web.shop.localhost", "/a"), site("shop.localhost", "/")];
        let port = ListedPort { name: "web".to_owned(), sites, cause: None };
        assert_eq!(port.urls(Scheme::Http, 7080), ["http://shop.localhost:7080", "http://web.shop.localhost:7080/a"]);
        assert_eq!(port.urls(Scheme::Https, 7443)[0], "https://shop.localhost:7443");
    }
}
