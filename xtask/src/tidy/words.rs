//! The text speaks of the project alone: no path of somebody's machine, no registry by its host.

use super::{finding::Finding, tree::Tree};

/// Written in two pieces, so that this file does not contain what it forbids.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("../", "shared"), "say it here, or point at a file of this tree"),
    (concat!("/wo", "rk/"), "name a path from the root of the repository"),
    (concat!("crates", ".io"), "name the crate; cargo knows where it comes from"),
    (concat!("py", "pi.org"), "name the package; its tool knows where it comes from"),
    (concat!("rubygems", ".org"), "name the package; its tool knows where it comes from"),
    (concat!("registry.", "npmjs"), "name the package; its tool knows where it comes from"),
    (concat!("deb.", "debian"), "name the package; its tool knows where it comes from"),
];

/// Where cargo says that every crate comes from, whatever mirror it was fetched through.
const SOURCE: &str = concat!("source = \"registry+https://github.com/rust-lang/crates", ".io-index\"");

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            if path.ends_with("Cargo.lock") {
                if line.starts_with("source = ") && line != SOURCE {
                    findings.push(Finding::at(path, index, "a crate from somewhere else", "take it from the registry"));
                }
                continue;
            }
            for (word, next) in FORBIDDEN.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(Finding::at(path, index, format!("`{word}` in the text"), *next));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_found() {
        let text = format!("fine\nsee {}DESIGN.md\n", FORBIDDEN[0].0);
        let lines: Vec<String> = findings(&Tree::of(&[("a.md", &text)])).iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("a.md:2:"), "{lines:?}");
    }

    #[test]
    fn the_lock_file_names_the_registry_and_nothing_else() {
        let found = |lock: &str| findings(&Tree::of(&[("Cargo.lock", lock)])).len();
        assert_eq!(found(&format!("name = \"a\"\n{SOURCE}\n")), 0);
        assert_eq!(found("source = \"git+https://example.com/a\"\n"), 1);
    }
}
