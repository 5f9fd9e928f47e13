//! Every crate that we depend on has its reason in the table of ARCHITECTURE.md, and every reason its crate.

use std::collections::{BTreeMap, BTreeSet};

use super::{finding::Finding, tree::Tree};
use crate::metadata::Metadata;

const FILE: &str = "ARCHITECTURE.md";
const MANIFEST: &str = "Cargo.toml";

pub(super) fn findings(tree: &Tree, metadata: &Metadata) -> Vec<Finding> {
    let Some(text) = tree.text(FILE) else {
        return vec![Finding::of(FILE, "the file is missing", "it holds the table of dependencies")];
    };
    let direct = direct(metadata);
    let reasons: BTreeMap<&str, usize> = reasons(text).collect();
    let unexplained = direct.iter().filter(|(name, _)| !reasons.contains_key(**name)).map(|(name, by)| {
        let what = format!("no reason for `{name}`, a dependency of {by}");
        Finding::of(FILE, what, format!("add the line: | `{name}` | why |"))
    });
    let unneeded = reasons.iter().filter(|(name, _)| !direct.contains_key(**name)).map(|(name, index)| {
        Finding::at(FILE, *index, format!("a reason for `{name}`, which nobody depends on"), "delete the line")
    });
    let manifest = tree.text(MANIFEST).unwrap_or_default();
    let unused = declared(manifest).filter(|(name, _)| !direct.contains_key(name) && !is_ours(metadata, name));
    let unused = unused.map(|(name, index)| {
        Finding::at(MANIFEST, index, format!("`{name}` is declared, and no member uses it"), "delete the line")
    });
    unexplained.chain(unneeded).chain(unused).collect()
}

/// Each crate of others that a member names, with one member that does.
fn direct(metadata: &Metadata) -> BTreeMap<&str, &str> {
    let ours: BTreeSet<&str> = metadata.ours().map(|package| package.name.as_str()).collect();
    let mut direct = BTreeMap::new();
    for package in metadata.ours() {
        for dependency in package.dependencies.iter().filter(|dependency| !ours.contains(dependency.name.as_str())) {
            direct.entry(dependency.name.as_str()).or_insert(package.name.as_str());
        }
    }
    direct
}

fn is_ours(metadata: &Metadata, name: &str) -> bool {
    metadata.ours().any(|package| package.name == name)
}

/// The rows `` | `crate` | reason | `` of the table under the heading `Dependencies`.
fn reasons(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let section = text.lines().enumerate().skip_while(|(_, line)| *line != "## Dependencies");
    section.filter_map(|(index, line)| {
        let (name, reason) = line.strip_prefix("| `")?.split_once("` |")?;
        (!reason.trim_matches([' ', '|']).is_empty()).then_some((name, index))
    })
}

/// The names in `[workspace.dependencies]`.
fn declared(manifest: &str) -> impl Iterator<Item = (&str, usize)> {
    let table = manifest.lines().enumerate().skip_while(|(_, line)| *line != "[workspace.dependencies]").skip(1);
    let table = table.take_while(|(_, line)| !line.starts_with('['));
    table
        .filter_map(|(index, line)| Some((line.split_once(" = ")?.0, index)))
        .filter(|(name, _)| !name.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::SAMPLE;

    fn found(table: &str, manifest: &str) -> Vec<String> {
        let text = format!("# Architecture\n\n## Dependencies\n\n{table}");
        let tree = Tree::of(&[(FILE, text.as_str()), (MANIFEST, manifest)]);
        findings(&tree, &Metadata::parse(SAMPLE).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_table_with_every_reason_is_fine() {
        let manifest =
            "[workspace.dependencies]\nrope = { path = \"rope\" }\nhemp = \"1\"\ncc = \"1\"\n\n[profile.dev]\nx = 1\n";
        assert_eq!(found("| `hemp` | ropes are made of it |\n| `cc` | builds C |\n", manifest), Vec::<String>::new());
    }

    #[test]
    fn a_missing_reason_names_the_crate_and_who_wants_it() {
        let lines = found("| `cc` | builds C |\n| `hemp` | |\n", "");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("no reason for `hemp`, a dependency of quay"), "{lines:?}");
    }

    #[test]
    fn a_reason_or_a_declaration_without_its_crate_is_found() {
        let table = "| `cc` | builds C |\n| `hemp` | rope |\n| `tar` | seals |\n";
        let lines = found(table, "[workspace.dependencies]\ntar = \"1\"\n");
        assert!(lines[0].starts_with("ARCHITECTURE.md:7: a reason for `tar`"), "{lines:?}");
        assert!(lines[1].starts_with("Cargo.toml:2: `tar` is declared"), "{lines:?}");
    }
}
