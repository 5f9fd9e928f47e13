//! From name to certificate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tambat_model::HostPattern;

use crate::certificate::Certificate;

/// The certificates of files and of ACME CAs by name: built whole, never changed.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<Box<str>, Arc<Certificate>>,
    /// By what stands behind the `*.`.
    wildcard: HashMap<Box<str>, Arc<Certificate>>,
    /// For who says no name.
    nameless: Option<Arc<Certificate>>,
}

impl Table {
    /// Of these, the better ones first: of two for one name the first one counts, unless it has expired and the other has
    /// not. The first of `files` serves who says no name.
    pub(crate) fn new<'a>(
        files: impl Iterator<Item = &'a Arc<Certificate>>,
        acme: impl Iterator<Item = &'a Arc<Certificate>>,
        now: SystemTime,
    ) -> Self {
        let mut files = files.peekable();
        let mut table = Self { nameless: files.peek().map(|first| Arc::clone(first)), ..Self::default() };
        for certificate in files.chain(acme) {
            for pattern in certificate.covers() {
                let (names, name) = match pattern {
                    HostPattern::Exact(name) => (&mut table.exact, name),
                    HostPattern::Under(name) => (&mut table.wildcard, name),
                    HostPattern::Any => continue,
                };
                let is_better = |there: &Arc<Certificate>| now > there.not_after() && now <= certificate.not_after();
                if names.get(name).is_none_or(is_better) {
                    names.insert(name.clone(), Arc::clone(certificate));
                }
            }
        }
        table
    }

    /// The certificate for this name (in lower case, without a last dot): an exact one before a wildcard.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(wildcard)
    }

    /// The one for who says no name.
    pub(crate) fn nameless(&self) -> Option<&Arc<Certificate>> {
        self.nameless.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Origin;
    use crate::sample::{self, days};

    fn certificate(names: &[&str], until: u64, origin: Origin) -> Arc<Certificate> {
        let made = sample::self_signed(names, days(0), days(until));
        Arc::new(Certificate::from_pem(made.chain.as_bytes(), made.key.as_bytes(), origin).unwrap())
    }

    #[test]
    fn exact_names_win_then_files_then_the_first() {
        let file = certificate(&["*.example.com", "shop.example.com"], 90, Origin::File);
        let second = certificate(&["shop.example.com", "other.example.com"], 90, Origin::File);
        let acme = certificate(&["api.example.com"], 90, Origin::Acme);
        let same = certificate(&["shop.example.com"], 90, Origin::Acme);
        let table = Table::new([&file, &second].into_iter(), [&acme, &same].into_iter(), days(1));
        for (name, found) in [
            ("shop.example.com", Some(&file)),
            ("other.example.com", Some(&second)),
            ("api.example.com", Some(&acme)),
            ("web.example.com", Some(&file)),
            ("a.web.example.com", None),
            ("example.com", None),
            ("com", None),
        ] {
            assert!(table.find(name).map(Arc::as_ptr) == found.map(Arc::as_ptr), "{name}");
        }
        assert!(Arc::ptr_eq(table.nameless().unwrap(), &file));
    }

    #[test]
    fn one_that_has_expired_gives_way_only_to_one_that_has_not() {
        let (old, new) = (certificate(&["a.example"], 10, Origin::File), certificate(&["a.example"], 90, Origin::Acme));
        let find = |files: &[&Arc<Certificate>], acme: &[&Arc<Certificate>], day| {
            let table = Table::new(files.iter().copied(), acme.iter().copied(), days(day));
            Arc::clone(table.find("a.example").unwrap())
        };
        assert!(Arc::ptr_eq(&find(&[&old], &[&new], 9), &old));
        assert!(Arc::ptr_eq(&find(&[&old], &[&new], 11), &new));
        assert!(Arc::ptr_eq(&find(&[&old], &[], 11), &old), "better than nothing: its owner sees what is wrong");
        assert!(Arc::ptr_eq(&find(&[&old], &[&new], 91), &old));
    }
}
