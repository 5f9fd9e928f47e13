//! `unwrap` and `expect` are arguments with the reader: few, and each with its reason.

use super::{finding::Finding, size, tree::Tree};

const PER_1000_LINES_MAX: usize = 2;
const CALLS: &[&str] = &[".unwrap()", ".expect("];

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let calls = calls(tree);
    if calls.len() * 1000 <= size::production(tree) * PER_1000_LINES_MAX {
        return Vec::new();
    }
    let next = format!("carry the proof in a type, or return the error: {} of them are too many", calls.len());
    calls.into_iter().map(|(path, index)| Finding::at(path, index, "unwrap or expect", next.clone())).collect()
}

/// One line about the whole tree.
pub(super) fn report(tree: &Tree) -> String {
    let (calls, lines) = (calls(tree).len(), size::production(tree));
    format!("{calls} unwrap or expect in production code: {:.1} per 1,000 lines", 1000.0 * size::ratio(calls, lines))
}

fn calls(tree: &Tree) -> Vec<(&str, usize)> {
    let mut calls = Vec::new();
    for file in tree.rust() {
        for (index, line) in file.production() {
            let here = CALLS.iter().map(|call| line.matches(call).count()).sum();
            calls.extend(std::iter::repeat_n((file.path.as_str(), index), here));
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(calls: usize, lines: usize) -> usize {
        let source = "    a.unwrap();\n".repeat(calls) + &"#[expect(x)]\n".repeat(lines - calls);
        findings(&Tree::of(&[("crates/quay/src/lib.rs", &source)])).len()
    }

    #[test]
    fn two_in_a_thousand_lines_pass_and_three_are_all_named() {
        assert_eq!(found(2, 1000), 0);
        assert_eq!(found(3, 1000), 3);
    }

    #[test]
    fn what_tests_and_comments_unwrap_does_not_count() {
        let source = "/// a.unwrap()\nfn a() {}\n#[cfg(test)]\nmod tests {\n    b.unwrap();\n}\n";
        assert_eq!(findings(&Tree::of(&[("crates/quay/src/lib.rs", source)])), []);
    }
}
