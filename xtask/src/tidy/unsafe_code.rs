//! `unsafe` stands in tambat-os and nowhere else, tests included.

use super::{code::has_word, finding::Finding, tree::Tree};

const HOME: &str = "tambat-os";

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().iter().filter(|file| !file.is_of(HOME)) {
        for (index, _) in file.lines().filter(|(_, line)| has_word(line, "unsafe")) {
            let next = format!("give {HOME} a safe function that does it, and call that");
            findings.push(Finding::at(&file.path, index, format!("unsafe code outside {HOME}"), next));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_outside_its_home_and_only_as_code() {
        let tree = Tree::of(&[
            ("crates/tambat-os/src/lib.rs", "unsafe { a() }\n"),
            ("crates/tambat/src/main.rs", "// unsafe\n#![forbid(unsafe_code)]\n"),
            ("crates/tambat/tests/it/main.rs", "fn a() {\n    unsafe { b() }\n}\n"),
        ]);
        let findings: Vec<String> = findings(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("crates/tambat/tests/it/main.rs:2: unsafe code"), "{findings:?}");
    }
}
