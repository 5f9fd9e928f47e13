//! No `static` in production code: state has an owner, and a constant is a `const`.

use super::{code::has_word, finding::Finding, tree::Tree};

/// Files that may, and why.
const ALLOWED: &[(&str, &str)] = &[];

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    findings_but(tree, ALLOWED)
}

fn findings_but(tree: &Tree, allowed: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().iter().filter(|file| !allowed.iter().any(|(path, _)| *path == file.path)) {
        for (index, _) in file.production().filter(|(_, line)| has_word(line, "static")) {
            let next = "hand the state in from its owner, or make it a `const`";
            findings.push(Finding::at(&file.path, index, "a `static` item", next));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn a(b: &'static str) {}\nstatic C: AtomicU8 = AtomicU8::new(0);\n#[cfg(test)]\nmod tests {\n    static D: u8 = 0;\n}\n";

    #[test]
    fn an_item_is_found_a_lifetime_and_a_test_are_not() {
        let findings = findings_but(&Tree::of(&[("crates/quay/src/lib.rs", SOURCE)]), &[]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].to_string().starts_with("crates/quay/src/lib.rs:2:"), "{findings:?}");
    }

    #[test]
    fn a_file_may_argue() {
        let tree = Tree::of(&[("crates/quay/src/lib.rs", SOURCE)]);
        assert_eq!(findings_but(&tree, &[("crates/quay/src/lib.rs", "a signal handler reaches nothing else")]), []);
    }
}
