//! Which certificates the route table calls for.

use std::collections::BTreeSet;

use tambat_model::HostPattern;

use crate::cert_name::CertName;

/// The names of the route table, as ACME sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// Certificates that are ordered before anybody connects.
    pub(crate) named: BTreeSet<CertName>,
    /// Names that match one of these get theirs when somebody connects, if that is allowed.
    open: Vec<HostPattern>,
}

impl Routes {
    /// From the names of the routes. `covered`: a file has the certificate. `has_hook`: wildcards can be ordered.
    /// `has_asker`: somebody decides about the names that no route writes out.
    pub(crate) fn new<'a>(
        names: impl Iterator<Item = &'a HostPattern>,
        covered: impl Fn(&HostPattern) -> bool,
        has_hook: bool,
        has_asker: bool,
    ) -> Self {
        let mut routes = Self::default();
        for pattern in names.filter(|pattern| !covered(pattern)) {
            match CertName::of(pattern) {
                Some(name @ CertName::Exact(_)) => drop(routes.named.insert(name)),
                Some(name @ CertName::Wildcard(_)) if has_hook => drop(routes.named.insert(name)),
                _ => {}
            }
            // A wildcard's certificate holds for one label (RFC 9525 §6.3), and its route for any number of them.
            if has_asker && matches!(pattern, HostPattern::Under(_) | HostPattern::Any) {
                routes.open.push(pattern.clone());
            }
        }
        routes
    }

    /// May this name have a certificate when somebody connects?
    pub(crate) fn is_open(&self, name: &CertName) -> bool {
        let CertName::Exact(name) = name else { return false };
        self.open.iter().any(|pattern| match pattern {
            HostPattern::Any => true,
            HostPattern::Under(under) => name.strip_suffix(&**under).is_some_and(|rest| rest.ends_with('.')),
            HostPattern::Exact(exact) => exact == name,
        })
    }

    /// Which certificate of those that are ordered anyway is for this name?
    pub(crate) fn named_for(&self, name: &str) -> Option<CertName> {
        let exact = CertName::Exact(name.into());
        let wildcard = || Some(CertName::Wildcard(name.split_once('.')?.1.into()));
        [Some(exact), wildcard()].into_iter().flatten().find(|name| self.named.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(names: &[&str], covered: &[&str], has_hook: bool, has_asker: bool) -> Routes {
        let names: Vec<HostPattern> = names.iter().map(|name| name.parse().unwrap()).collect();
        let is_covered = |pattern: &HostPattern| covered.contains(&pattern.to_string().as_str());
        Routes::new(names.iter(), is_covered, has_hook, has_asker)
    }

    fn text(routes: &Routes) -> (Vec<String>, Vec<String>) {
        let named = routes.named.iter().map(ToString::to_string).collect();
        (named, routes.open.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn written_names_are_ordered_and_others_are_open_if_somebody_decides() {
        let names = ["a.example", "*.b.example", "*", "web.localhost", "c.example"];
        let of = |has_hook, has_asker| text(&routes(&names, &["c.example"], has_hook, has_asker));
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(of(false, false), (strings(&["a.example"]), strings(&[])));
        assert_eq!(of(true, false), (strings(&["a.example", "*.b.example"]), strings(&[])));
        assert_eq!(of(true, true), (strings(&["a.example", "*.b.example"]), strings(&["*.b.example", "*"])));
        assert_eq!(of(false, true), (strings(&["a.example"]), strings(&["*.b.example", "*"])));
    }

    #[test]
    fn a_name_is_open_where_a_route_takes_it() {
        let some = routes(&["*.b.example", "a.example"], &[], false, true);
        for (name, open) in [
            ("x.b.example", true),
            ("x.y.b.example", true),
            ("b.example", false),
            ("xb.example", false),
            ("a.example", false),
        ] {
            assert_eq!(some.is_open(&CertName::Exact(name.into())), open, "{name}");
        }
        let hooked = routes(&["*.b.example", "a.example"], &[], true, true);
        assert_eq!(hooked.named_for("x.b.example"), Some(CertName::Wildcard("b.example".into())));
        assert_eq!(hooked.named_for("a.example"), Some(CertName::Exact("a.example".into())));
        assert_eq!(hooked.named_for("x.y.b.example"), None);
    }
}
