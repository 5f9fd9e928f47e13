//! What differs between operating systems is in tambat-os, so porting is a matter of one crate.

use super::{code::has_word, finding::Finding, tree::Tree};

const HOME: &str = "tambat-os";
const WORDS: &[&str] = &["target_os", "target_family", "target_env"];

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().iter().filter(|file| !file.is_of(HOME)) {
        for (index, line) in file.lines() {
            let asks = WORDS.iter().any(|word| has_word(line, word))
                || line.contains("cfg(unix")
                || line.contains("cfg(windows");
            if asks {
                let next = format!("give {HOME} a function that is the same everywhere");
                findings.push(Finding::at(&file.path, index, format!("a platform is asked for outside {HOME}"), next));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found_outside_its_home() {
        let source =
            "#[cfg(target_os = \"linux\")]\nfn a() {}\nif cfg!(target_family = \"unix\") {}\n#[cfg(unix)]\nfn b() {}\n";
        let tree = Tree::of(&[("crates/tambat-os/src/lib.rs", source), ("crates/tambat/src/main.rs", source)]);
        let lines: Vec<String> = findings(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("crates/tambat/src/main.rs:")), "{lines:?}");
    }
}
