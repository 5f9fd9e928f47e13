//! Two versions of one crate: compiled twice, linked twice, and their types do not fit each other.

use std::{collections::BTreeMap, fmt};

use crate::metadata::Metadata;

/// Those that we live with, and until when.
const EXPECTED: &[(&str, &str)] = &[
    ("syn", "tracing's macros, which tonic asks for in an example of tambat-app, until they are built with syn 3"),
    (
        "getrandom",
        "ring's, which rustls and rcgen name as another choice than aws-lc: it is in Cargo.lock, nobody links it",
    ),
    ("untrusted", "aws-lc-rs has ring's way of checking signatures, with the older one, until it lets go of that"),
];

/// One crate in several versions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    name: String,
    versions: Vec<String>,
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.versions.join(", "))
    }
}

/// Every crate that is there more than once, by name.
pub(super) fn found(metadata: &Metadata) -> Vec<Duplicate> {
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().push(package.version.clone());
    }
    let several = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    several.map(|(name, versions)| Duplicate { name: name.to_owned(), versions }).collect()
}

/// One line for each that nobody argued for, and for each argument that is no longer needed.
pub(super) fn unexpected(found: &[Duplicate]) -> Vec<String> {
    judge(found, EXPECTED)
}

fn judge(found: &[Duplicate], expected: &[(&str, &str)]) -> Vec<String> {
    let surplus = found.iter().filter(|duplicate| !expected.iter().any(|(name, _)| *name == duplicate.name));
    let stale = expected.iter().filter(|(name, _)| !found.iter().any(|duplicate| duplicate.name == *name));
    let surplus = surplus.map(|duplicate| {
        format!("cannot accept {duplicate}: one version is enough: `cargo update`, or argue in duplicates.rs")
    });
    let stale = stale.map(|(name, _)| format!("{name} is there only once now: delete its line in duplicates.rs"));
    surplus.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::SAMPLE;

    #[test]
    fn a_crate_in_two_versions_is_listed_with_both() {
        let found = found(&Metadata::parse(SAMPLE).unwrap());
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["cc 1.0.0, 2.0.0"]);
    }

    #[test]
    fn an_argument_holds_as_long_as_it_is_needed() {
        let found = [Duplicate { name: "cc".to_owned(), versions: vec!["1".to_owned(), "2".to_owned()] }];
        assert!(judge(&found, &[])[0].starts_with("cannot accept cc 1, 2"));
        assert_eq!(judge(&found, &[("cc", "until the next release of hemp")]), Vec::<String>::new());
        assert!(judge(&[], &[("cc", "until the next release of hemp")])[0].contains("only once now"));
    }
}
