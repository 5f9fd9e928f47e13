//! `cargo xtask deps`: may we link what we link?

use std::path::Path;

use crate::{failure::Failure, metadata::Metadata};

mod bans;
mod duplicates;
mod licence;

/// Licences, banned crates and duplicates, all reported before it fails.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let metadata = Metadata::read(root)?;
    let foreign = metadata.packages.iter().filter(|package| !package.ours).count();
    eprintln!("{foreign} crates besides ours are linked on this platform");
    let duplicates = duplicates::found(&metadata);
    for duplicate in &duplicates {
        eprintln!("more than once: {duplicate}");
    }
    let mut wrong = licence::refused(&metadata);
    wrong.extend(bans::broken(&metadata));
    wrong.extend(duplicates::unexpected(&duplicates));
    for line in &wrong {
        eprintln!("{line}");
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        format!("cannot accept the dependencies: {} of the rules in xtask/src/deps are broken", wrong.len()),
        "each line above says what to do; `cargo tree --invert CRATE` says who brings a crate",
    ))
}
