//! Licences: an SPDX expression (SPDX specification 3.0, annex B) held against what we accept.

use crate::metadata::{Metadata, Package};

/// What may be linked into a binary that is given away under Apache-2.0 OR MIT.
const ACCEPTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// One line for each package whose licence we cannot accept.
pub(super) fn refused(metadata: &Metadata) -> Vec<String> {
    let verdict = |package: &Package| {
        let cause = match &package.licence {
            None => "it states none".to_owned(),
            Some(expression) => match accepted(expression) {
                Ok(true) => return None,
                Ok(false) => format!("`{expression}` leaves no accepted choice"),
                Err(at) => format!("`{expression}` is no SPDX expression, from `{at}` on"),
            },
        };
        let (name, version) = (&package.name, &package.version);
        Some(format!(
            "cannot accept the licence of {name} {version}: {cause}: take another crate, or argue in licence.rs"
        ))
    };
    metadata.packages.iter().filter_map(verdict).collect()
}

/// Whether some choice that the expression offers consists of accepted licences only.
///
/// # Errors
///
/// The rest of the expression, from the word that cannot stand there.
fn accepted(expression: &str) -> Result<bool, String> {
    // Before SPDX, crates wrote `MIT/Apache-2.0`, and meant a choice.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let verdict = choice(&mut rest);
    match verdict {
        Some(verdict) if rest.is_empty() => Ok(verdict),
        _ => Err(rest.join(" ")),
    }
}

/// `all *("OR" all)`: OR binds weakest. Both sides are always read; only then is one enough.
fn choice(words: &mut &[&str]) -> Option<bool> {
    let mut verdict = all(words)?;
    while taken(words, "OR") {
        verdict |= all(words)?;
    }
    Some(verdict)
}

/// `one *("AND" one)`.
fn all(words: &mut &[&str]) -> Option<bool> {
    let mut verdict = one(words)?;
    while taken(words, "AND") {
        verdict &= one(words)?;
    }
    Some(verdict)
}

/// `"(" choice ")"`, or a licence with its exception.
fn one(words: &mut &[&str]) -> Option<bool> {
    if taken(words, "(") {
        let verdict = choice(words)?;
        return taken(words, ")").then_some(verdict);
    }
    // `+` is "or later": an accepted version is one of them.
    let licence = id(words)?.trim_end_matches('+');
    if taken(words, "WITH") {
        return Some(ACCEPTED.contains(&format!("{licence} WITH {}", id(words)?).as_str()));
    }
    Some(ACCEPTED.contains(&licence))
}

fn id<'a>(words: &mut &[&'a str]) -> Option<&'a str> {
    let (&first, rest) = words.split_first()?;
    if ["AND", "OR", "WITH", "(", ")"].contains(&first) {
        return None;
    }
    *words = rest;
    Some(first)
}

fn taken(words: &mut &[&str], word: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if *first == word => {
            *words = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::SAMPLE;

    #[test]
    fn a_choice_needs_one_side_and_a_sum_needs_both() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only OR MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("Apache-2.0+", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH Classpath-exception-2.0", false),
            ("GPL-2.0-only WITH LLVM-exception", false),
            // AND binds stronger than OR.
            ("MIT OR GPL-3.0-only AND SSPL-1.0", true),
            ("(MIT OR GPL-3.0-only) AND SSPL-1.0", false),
            ("ISC AND (Apache-2.0 OR GPL-3.0-only)", true),
            ("((MIT))", true),
        ] {
            assert_eq!(accepted(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_says_from_where() {
        for (expression, rest) in [
            ("", ""),
            ("MIT OR", ""),
            ("MIT MIT", "MIT"),
            ("(MIT", ""),
            ("MIT)", ")"),
            ("OR MIT", "OR MIT"),
            ("MIT WITH AND", "AND"),
            ("MIT or ISC", "or ISC"),
        ] {
            assert_eq!(accepted(expression), Err(rest.to_owned()), "{expression}");
        }
    }

    #[test]
    fn a_package_without_licence_and_one_with_a_wrong_one_are_named() {
        let lines = refused(&Metadata::parse(SAMPLE).unwrap());
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("hemp 1.0.0: it states none"), "{lines:?}");
        assert!(lines[1].contains("cc 2.0.0: `GPL-3.0-only`"), "{lines:?}");
    }
}
