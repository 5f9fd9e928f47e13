//! Files that fit a head, and tests in proportion. The length of functions is clippy's (`too_many_lines`).

use super::{
    finding::Finding,
    tree::{Role, Tree},
};

/// Twice what a reader holds; a file that needs more is two nouns.
const FILE_LINES_MAX: usize = 800;

/// Below this the tests can't hold what the code says. The aim is 60.
const TESTS_PERCENT_MIN: usize = 30;

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        if let Role::Production(lines) = file.role
            && lines > FILE_LINES_MAX
        {
            let what = format!("{lines} lines of production code, more than {FILE_LINES_MAX}");
            findings.push(Finding::of(&file.path, what, "find the second noun in it, and give it its own file"));
        }
    }
    let (production, tests) = (production(tree), tests(tree));
    if tests * 100 < production * TESTS_PERCENT_MIN {
        let what =
            format!("{tests} lines of tests for {production} of production code, less than {TESTS_PERCENT_MIN} %");
        findings.push(Finding::of("crates", what, "test what is new"));
    }
    findings
}

/// One line about the whole tree.
pub(super) fn report(tree: &Tree) -> String {
    let mut sizes: Vec<usize> = sizes(tree).collect();
    sizes.sort_unstable();
    let (production, tests) = (production(tree), tests(tree));
    format!(
        "{} files, {production} lines of production code: median {}, p90 {}, max {}; tests {:.2} of it",
        sizes.len(),
        percentile(&sizes, 50),
        percentile(&sizes, 90),
        percentile(&sizes, 100),
        ratio(tests, production),
    )
}

/// `part / whole`, for people.
pub(super) fn ratio(part: usize, whole: usize) -> f64 {
    let exact = |lines: usize| f64::from(u32::try_from(lines).unwrap_or(u32::MAX));
    exact(part) / exact(whole.max(1))
}

/// Lines of production code in the whole tree.
pub(super) fn production(tree: &Tree) -> usize {
    sizes(tree).sum()
}

fn tests(tree: &Tree) -> usize {
    tree.rust().iter().map(super::tree::RustFile::test_lines).sum()
}

fn sizes(tree: &Tree) -> impl Iterator<Item = usize> {
    tree.rust().iter().filter_map(|file| if let Role::Production(lines) = file.role { Some(lines) } else { None })
}

/// The smallest value that so many percent do not exceed; 0 of nothing.
fn percentile(sorted: &[usize], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_as_many_lines_as_it_says_and_no_more() {
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"//\n".repeat(600) + "}\n";
        let tree = |lines: usize| {
            let source = "fn a() {}\n".repeat(lines) + &tests;
            findings(&Tree::of(&[("crates/quay/src/lib.rs", &source)]))
        };
        assert_eq!(tree(FILE_LINES_MAX), []);
        assert!(tree(FILE_LINES_MAX + 1)[0].to_string().contains("801 lines"));
    }

    #[test]
    fn a_tree_with_few_tests_is_found() {
        let tree = |tests: usize| {
            let tests = "fn a() {}\n".repeat(tests);
            let files = [("crates/quay/src/lib.rs", "fn a() {}\n".repeat(100)), ("crates/quay/tests/a.rs", tests)];
            findings(&Tree::of(&files.each_ref().map(|(path, text)| (*path, text.as_str()))))
        };
        assert_eq!(tree(30), []);
        assert_eq!(tree(29).len(), 1);
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        let sizes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        assert_eq!([50, 90, 100].map(|percent| percentile(&sizes, percent)), [5, 9, 10]);
        assert_eq!(percentile(&[], 90), 0);
    }
}
