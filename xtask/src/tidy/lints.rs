//! Every package takes the lints of the workspace; tambat-os writes them out, since it alone may be unsafe.

use super::{finding::Finding, tree::Tree};

const WRITES_THEM_OUT: &str = "crates/tambat-os/Cargo.toml";

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        let is_package = path.ends_with("Cargo.toml") && text.lines().any(|line| line.trim() == "[package]");
        if !is_package || path.starts_with("fuzz/") {
            continue;
        }
        let required =
            if path == WRITES_THEM_OUT { "undocumented_unsafe_blocks = \"deny\"" } else { "workspace = true" };
        if !lint_lines(text).any(|line| line == required) {
            findings.push(Finding::of(path, "the lints are not those of the house", format!("[lints] {required}")));
        }
    }
    findings
}

/// The lines of the tables `[lints]` and `[lints.…]`.
fn lint_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().map(str::trim).filter(move |line| {
        if line.starts_with('[') {
            inside = line.starts_with("[lints");
        }
        inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        findings(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_package_without_the_lints_is_found() {
        assert_eq!(found("crates/quay/Cargo.toml", "[package]\nname = \"quay\"\n[lints]\nworkspace = true\n"), 0);
        assert_eq!(found("crates/quay/Cargo.toml", "[package]\nversion.workspace = true\n[x]\nworkspace = true\n"), 1);
        assert_eq!(found("Cargo.toml", "[workspace]\n"), 0);
    }

    #[test]
    fn the_crate_that_may_be_unsafe_documents_every_block() {
        assert_eq!(found(WRITES_THEM_OUT, "[package]\n[lints.clippy]\nundocumented_unsafe_blocks = \"deny\"\n"), 0);
        assert_eq!(found(WRITES_THEM_OUT, "[package]\n[lints]\nworkspace = true\n"), 1);
    }
}
