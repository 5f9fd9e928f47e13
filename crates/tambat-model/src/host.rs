//! Hostnames and path prefixes, each parsed once, and the table that finds a route by them.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Route;

/// A hostname is at most so long (RFC 1035 §2.3.4), without a last dot.
pub const HOSTNAME_BYTES_MAX: usize = 253;

/// One label of it (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Why a text is no hostname or path prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {rule}")]
pub struct HostError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

/// Which hostnames a route answers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This one, in lower case.
    Exact(Box<str>),
    /// Every one below it: `*.shop.example.com`, written without the `*.`.
    Under(Box<str>),
    /// Every one that nobody else answers to: `*`.
    Any,
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let error = |rule| HostError { text: text.to_owned(), what: "a hostname", rule };
        let (name, under) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        if name.contains('*') {
            return Err(error("a `*` may only stand first, before a dot, or alone"));
        }
        if name.contains(':') || name.contains('/') {
            return Err(error("write it without scheme, port and path: shop.example.com"));
        }
        if !name.is_ascii() {
            return Err(error("write it in its ASCII form, which begins with xn--"));
        }
        let is_label = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > HOSTNAME_BYTES_MAX || !name.split('.').all(is_label) {
            return Err(error("its labels, between dots, take a-z, 0-9, `-` and `_`, 63 each and 253 in all at most"));
        }
        let name = name.to_ascii_lowercase().into_boxed_str();
        Ok(if under { Self::Under(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.pad(name),
            Self::Under(name) => f.pad(&format!("*.{name}")),
            Self::Any => f.pad("*"),
        }
    }
}

/// The beginning of the paths that a route answers to: `/`, `/api`. Whole segments: `/api` takes `/api` and `/api/x`,
/// not `/apix`. Without a last slash, but for `/` itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Box<str>);

impl Default for PathPrefix {
    fn default() -> Self {
        Self("/".into())
    }
}

impl PathPrefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Every path?
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// Does it take this path (with or without a query)?
    pub fn takes(&self, path: &str) -> bool {
        self.is_root()
            || path
                .strip_prefix(&*self.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
    }

    /// What is left of a path that it takes when it is removed: never empty, begins with `/`; none where a `/` has to
    /// be put before it (`/api?x` without `/api` is `/?x`). `/api//x` is `/x`: a path that begins with two slashes would
    /// be another host to whoever reads it as a reference (RFC 3986 §4.2).
    pub fn strip<'a>(&self, path: &'a str) -> Stripped<'a> {
        let rest = if self.is_root() { path } else { path.strip_prefix(&*self.0).unwrap_or(path) };
        let behind = rest.trim_start_matches('/');
        if behind.len() < rest.len() {
            Stripped::Whole(&rest[rest.len() - behind.len() - 1..])
        } else {
            Stripped::SlashThen(rest)
        }
    }
}

/// What is left of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stripped<'a> {
    /// This.
    Whole(&'a str),
    /// A slash, and then this.
    SlashThen(&'a str),
}

impl FromStr for PathPrefix {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let error = |rule| HostError { text: text.to_owned(), what: "a path prefix", rule };
        if !text.starts_with('/') {
            return Err(error("it begins with `/`"));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&b);
        if !text.bytes().all(plain) {
            return Err(error("it takes what a path of a URL takes (RFC 3986 §3.3), without query and fragment"));
        }
        if !has_one_form(text) {
            return Err(error("`%` stands before two hexadecimal digits, and only for what has to be written so"));
        }
        if text.split('/').any(|segment| segment == "." || segment == "..") || text.contains("//") {
            return Err(error("it has no `.`, `..` or empty segments"));
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        Ok(Self(if text.is_empty() { "/" } else { text }.into()))
    }
}

/// Paths are matched with `%61` decoded to `a`, and none has a `%00` (see the router's rules for targets): a prefix with
/// one of these would never match.
fn has_one_form(path: &str) -> bool {
    path.split('%').skip(1).all(|behind| {
        let digits = behind.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|b| b != 0 && !b.is_ascii_alphanumeric() && !b"-._~".contains(&b))
    })
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One route at a hostname.
#[derive(Debug, Clone)]
pub struct Site {
    /// The paths it answers to.
    pub path: PathPrefix,
    /// Is the prefix removed from what is sent on?
    pub strip: bool,
    /// Where they go.
    pub route: Arc<Route>,
}

/// From hostname and path to route: the exact name wins, then the longest `*.`, then `*`; of one name's prefixes the
/// longest. The order in which they are added never matters.
#[derive(Debug, Clone, Default)]
pub struct HostTable {
    exact: HashMap<Box<str>, Vec<Site>>,
    under: HashMap<Box<str>, Vec<Site>>,
    any: Vec<Site>,
}

impl HostTable {
    /// Adds a site.
    ///
    /// # Errors
    ///
    /// Gives back the site that has this name and prefix already.
    pub fn insert(&mut self, pattern: HostPattern, site: Site) -> Result<(), Arc<Route>> {
        let sites = match pattern {
            HostPattern::Exact(name) => self.exact.entry(name).or_default(),
            HostPattern::Under(name) => self.under.entry(name).or_default(),
            HostPattern::Any => &mut self.any,
        };
        if let Some(there) = sites.iter().find(|there| there.path == site.path) {
            return Err(Arc::clone(&there.route));
        }
        let at = sites.partition_point(|there| there.path.as_str().len() >= site.path.as_str().len());
        sites.insert(at, site);
        Ok(())
    }

    /// The site for this hostname (in lower case, without port and last dot) and path.
    pub fn find(&self, host: &str, path: &str) -> Option<&Site> {
        let of = |sites: &'_ [Site]| sites.iter().position(|site| site.path.takes(path));
        if let Some(sites) = self.exact.get(host)
            && let Some(at) = of(sites)
        {
            return Some(&sites[at]);
        }
        if !self.under.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(sites) = self.under.get(parent)
                    && let Some(at) = of(sites)
                {
                    return Some(&sites[at]);
                }
                rest = parent;
            }
        }
        of(&self.any).map(|at| &self.any[at])
    }

    /// How exact the pattern is by which this hostname would be found: the more exact, the greater; none: by none.
    pub fn rank(&self, host: &str) -> Option<usize> {
        if self.exact.contains_key(host) {
            return Some(usize::MAX);
        }
        let mut parents = std::iter::successors(host.split_once('.'), |(_, rest)| rest.split_once('.'));
        let under = parents.find(|(_, parent)| self.under.contains_key(*parent)).map(|(_, parent)| parent.len());
        under.or((!self.any.is_empty()).then_some(0))
    }

    /// Any site of the most exact pattern by which this hostname is found: where paths say nothing there is one.
    pub fn first(&self, host: &str) -> Option<&Site> {
        let mut parents = std::iter::successors(host.split_once('.'), |(_, rest)| rest.split_once('.'));
        let under = || parents.find_map(|(_, parent)| self.under.get(parent));
        self.exact.get(host).or_else(under).unwrap_or(&self.any).first()
    }

    /// Is any site of this hostname here, whatever its path?
    pub fn knows(&self, host: &str) -> bool {
        self.exact.contains_key(host)
    }

    /// Would a request for this hostname (in lower case, without port and last dot) find a site, at some path?
    pub fn takes(&self, host: &str) -> bool {
        let mut parents = std::iter::successors(host.split_once('.'), |(_, rest)| rest.split_once('.'));
        self.knows(host) || parents.any(|(_, parent)| self.under.contains_key(parent)) || !self.any.is_empty()
    }

    /// Is there no site?
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.under.is_empty() && self.any.is_empty()
    }

    /// All sites with their patterns, sorted by name and prefix.
    pub fn sites(&self) -> Vec<(HostPattern, &Site)> {
        let exact = self.exact.iter().flat_map(|(name, s)| s.iter().map(|s| (HostPattern::Exact(name.clone()), s)));
        let under = self.under.iter().flat_map(|(name, s)| s.iter().map(|s| (HostPattern::Under(name.clone()), s)));
        let any = self.any.iter().map(|site| (HostPattern::Any, site));
        let mut all: Vec<_> = exact.chain(under).chain(any).collect();
        all.sort_by(|a, b| (&a.0, &a.1.path).cmp(&(&b.0, &b.1.path)));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ForeignService, Protocol, foreign_route};

    fn site(name: &str, path: &str) -> Site {
        let route = foreign_route(name, Protocol::Http, ForeignService::NotRunning, Duration::ZERO);
        Site { path: path.parse().unwrap(), strip: false, route: Arc::new(route) }
    }

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn the_most_exact_site_wins_in_any_order() {
        let sites = [
            ("*", "/", "catch-all"),
            ("*.example.com", "/", "below"),
            ("*.shop.example.com", "/", "far below"),
            ("shop.example.com", "/", "shop"),
            ("shop.example.com", "/api", "api"),
            ("shop.example.com", "/api/v2", "v2"),
            ("only.example.com", "/x", "only x"),
        ];
        for turn in 0..sites.len() {
            let mut table = HostTable::default();
            for (host, path, name) in sites.iter().cycle().skip(turn).take(sites.len()) {
                table.insert(pattern(host), site(name, path)).unwrap();
            }
            let find = |host, path| table.find(host, path).map_or("none", |site| site.route.name.as_str()).to_owned();
            assert_eq!(find("shop.example.com", "/"), "shop");
            assert_eq!(find("shop.example.com", "/api?x=1"), "api");
            assert_eq!(find("shop.example.com", "/apis"), "shop");
            assert_eq!(find("shop.example.com", "/api/v2/x"), "v2");
            assert_eq!(find("a.example.com", "/"), "below");
            assert_eq!(find("a.b.shop.example.com", "/"), "far below");
            assert_eq!(find("example.com", "/"), "catch-all");
            assert_eq!(find("only.example.com", "/x/y"), "only x");
            assert_eq!(find("only.example.com", "/"), "below");
            assert_eq!(find("localhost", "/"), "catch-all");
        }
    }

    #[test]
    fn what_is_left_of_a_path_begins_with_one_slash() {
        let left = |prefix: &str, path: &str| match prefix.parse::<PathPrefix>().unwrap().strip(path) {
            Stripped::Whole(rest) => rest.to_owned(),
            Stripped::SlashThen(rest) => format!("/{rest}"),
        };
        for (path, rest) in [
            ("/app", "/"),
            ("/app/", "/"),
            ("/app?x", "/?x"),
            ("/app/x//y", "/x//y"),
            ("/app//evil.example/x", "/evil.example/x"),
            ("/app///?x=//", "/?x=//"),
        ] {
            assert_eq!(left("/app", path), rest, "{path}");
        }
        assert_eq!(left("/", "//x"), "/x");
    }

    #[test]
    fn a_prefix_that_could_never_match_is_none() {
        for good in ["/a%20b", "/%2f", "/%C3%A9", "/x%25y/"] {
            assert!(good.parse::<PathPrefix>().is_ok(), "{good}");
        }
        for bad in ["/%61", "/a%2E", "/%7e", "/%00", "/%", "/a%2", "/%zz", "/%2", "/%+1", "/%%41"] {
            assert!(bad.parse::<PathPrefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_name_and_prefix_belongs_to_one_route() {
        let mut table = HostTable::default();
        table.insert(pattern("a.example"), site("first", "/x")).unwrap();
        let there = table.insert(pattern("A.Example."), site("second", "/x/")).unwrap_err();
        assert_eq!(there.name, "first");
        assert!(table.knows("a.example") && !table.knows("b.example"));
    }

    #[test]
    fn a_hostname_is_taken_if_some_path_of_it_is() {
        let mut table = HostTable::default();
        for (host, path) in [("a.example", "/x"), ("*.b.example", "/y")] {
            table.insert(pattern(host), site("web", path)).unwrap();
        }
        for (host, taken) in [
            ("a.example", true),
            ("x.a.example", false),
            ("b.example", false),
            ("x.b.example", true),
            ("x.y.b.example", true),
            ("example", false),
        ] {
            assert_eq!(table.takes(host), taken, "{host}");
        }
        table.insert(HostPattern::Any, site("rest", "/z")).unwrap();
        assert!(table.takes("example"));
    }

    #[test]
    fn what_is_no_hostname_is_said() {
        for bad in ["", "a..b", "-*", "a.*", "http://a", "a:80", "a/b", "bücher.example", &"a".repeat(64)] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
        let labels = [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 62].concat()].join(".");
        assert!(labels.parse::<HostPattern>().is_err());
        assert!(labels[1..].parse::<HostPattern>().is_ok());
        assert_eq!(pattern("*.Shop.example.COM").to_string(), "*.shop.example.com");
    }

    #[test]
    fn a_prefix_is_whole_segments_and_can_be_removed() {
        let api: PathPrefix = "/api/".parse().unwrap();
        assert_eq!(api.as_str(), "/api");
        assert_eq!(api.strip("/api/x?y"), Stripped::Whole("/x?y"));
        assert_eq!(api.strip("/api?y"), Stripped::SlashThen("?y"));
        assert_eq!(api.strip("/api"), Stripped::SlashThen(""));
        assert_eq!(PathPrefix::default().strip("/x"), Stripped::Whole("/x"));
        for bad in ["", "api", "/a b", "/a?b", "/a/../b", "/a//b", "/\u{e9}"] {
            assert!(bad.parse::<PathPrefix>().is_err(), "{bad}");
        }
    }
}
