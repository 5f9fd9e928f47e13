//! The arrows between the crates of this workspace, held against `crate-graph.txt`.
//!
//! An arrow is a public promise: a new one is its own commit, with its reason, and changes that file.

use std::{collections::BTreeSet, fs, path::Path};

use super::{finding::Finding, tree::Tree};
use crate::{
    failure::Failure,
    metadata::{Kind, Metadata},
};

const FILE: &str = "crate-graph.txt";
const HEADER: &str = "\
# Which crate of this workspace knows which: normal and build dependencies, one arrow a line.
# Held by `cargo xtask tidy`; a new arrow is its own commit, with its reason: `cargo xtask tidy --bless`.
";

pub(super) fn findings(tree: &Tree, metadata: &Metadata) -> Vec<Finding> {
    let Some(text) = tree.text(FILE) else {
        return vec![Finding::of(FILE, "the file is missing", "cargo xtask tidy --bless")];
    };
    let is = arrows(metadata);
    let written: BTreeSet<String> =
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect();
    let new = is.difference(&written).map(|arrow| {
        Finding::of(FILE, format!("`{arrow}` is new"), "take it out, or bless it in a commit of its own that says why")
    });
    let gone = written
        .difference(&is)
        .map(|arrow| Finding::of(FILE, format!("`{arrow}` is there no longer"), "cargo xtask tidy --bless"));
    new.chain(gone).collect()
}

/// Writes the file as the arrows are now.
pub(super) fn bless(root: &Path, metadata: &Metadata) -> Result<(), Failure> {
    let lines: Vec<String> = arrows(metadata).into_iter().collect();
    fs::write(root.join(FILE), format!("{HEADER}\n{}\n", lines.join("\n")))
        .map_err(|error| Failure::new(format!("cannot write {FILE}: {error}"), "may you write there?"))
}

fn arrows(metadata: &Metadata) -> BTreeSet<String> {
    let ours: Vec<&str> = metadata.ours().map(|package| package.name.as_str()).collect();
    let mut arrows = BTreeSet::new();
    for package in metadata.ours() {
        let known = package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
        let known = known.filter(|dependency| ours.contains(&dependency.name.as_str()));
        arrows.extend(known.map(|dependency| format!("{} -> {}", package.name, dependency.name)));
    }
    arrows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::SAMPLE;

    fn found(text: &str) -> Vec<String> {
        let metadata = Metadata::parse(SAMPLE).unwrap();
        findings(&Tree::of(&[(FILE, text)]), &metadata).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_that_is_written_down_is_fine() {
        assert_eq!(found("# why\n\nquay -> rope\n"), Vec::<String>::new());
    }

    #[test]
    fn a_new_arrow_and_one_that_is_gone_are_both_found() {
        let lines = found("rope -> quay\n");
        assert!(lines[0].contains("`quay -> rope` is new"), "{lines:?}");
        assert!(lines[1].contains("`rope -> quay` is there no longer"), "{lines:?}");
    }

    #[test]
    fn what_is_blessed_is_held() {
        let folder = std::env::temp_dir().join(format!("tambat-xtask-graph-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        bless(&folder, &Metadata::parse(SAMPLE).unwrap()).unwrap();
        let text = fs::read_to_string(folder.join(FILE)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found(&text), Vec::<String>::new());
    }
}
