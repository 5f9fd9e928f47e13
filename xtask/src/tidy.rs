//! `cargo xtask tidy`: sentences of ARCHITECTURE.md and CONTRIBUTING.md that a program can check.
//!
//! Each check is a pure function from what was read to findings, in a file of its own.

use std::path::Path;

use crate::{failure::Failure, metadata::Metadata};
use finding::Finding;
use tree::Tree;

mod code;
mod crate_graph;
mod dependencies;
mod finding;
mod links;
mod lints;
mod platform;
mod purity;
mod size;
mod statics;
mod tree;
mod unsafe_code;
mod unwraps;
mod words;

/// What to do when the arrows between crates are not those of `crate-graph.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Graph {
    /// They are a finding.
    Held,
    /// The file is written anew: the arrow is meant, and its commit says why.
    Blessed,
}

/// The checks that need nothing but the files of the tree.
const CHECKS: &[fn(&Tree) -> Vec<Finding>] = &[
    unsafe_code::findings,
    statics::findings,
    platform::findings,
    purity::findings,
    size::findings,
    unwraps::findings,
    lints::findings,
    links::findings,
    words::findings,
];

/// Runs every check, prints every finding, and then fails if there was one.
pub(crate) fn check(root: &Path, graph: Graph) -> Result<(), Failure> {
    let metadata = Metadata::read(root)?;
    if graph == Graph::Blessed {
        crate_graph::bless(root, &metadata)?;
    }
    let tree = Tree::read(root)?;
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    findings.extend(crate_graph::findings(&tree, &metadata));
    findings.extend(dependencies::findings(&tree, &metadata));
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    eprintln!("{}\n{}", size::report(&tree), unwraps::report(&tree));
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        format!("cannot call this tree tidy: {} findings", findings.len()),
        "each line above is FILE:LINE: what: what to do; the rules are in xtask/src/tidy",
    ))
}
