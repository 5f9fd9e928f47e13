//! Why there is no plan.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::{Diagnostic, MANIFEST, PROCFILE};

/// Why a directory's files give no plan. `Display` shows no secret and no colour; for colour, render the diagnostics
/// of [`LoadError::Invalid`] one by one.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory has neither file.
    #[error(
        "cannot find an app in {}: there is no `{MANIFEST}` and no `{PROCFILE}`\n\
         write a `{PROCFILE}` with a line such as `web: npm start`, or run a command as it is: tambat start -- npm start",
        dir.display()
    )]
    NoFiles {
        /// The directory.
        dir: PathBuf,
    },
    /// A file or the directory is there and cannot be read, or a file that was named is not there.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not text.
    #[error("cannot read {}: line {line} is not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// Which.
        path: PathBuf,
        /// The first line that is not, from 1.
        line: usize,
    },
    /// A file is longer than any of its kind.
    #[error("cannot read {}: it has more than {bytes_max} bytes, so it is probably another file", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How long it may be.
        bytes_max: u64,
    },
    /// The command to run without any file is blank.
    #[error("cannot run an empty command: write one after the `--`, as in `tambat start -- npm start`")]
    NoCommand,
    /// What is written there is wrong; the errors come first, then the warnings.
    #[error("{}", render_all(.0))]
    Invalid(Vec<Diagnostic>),
}

fn render_all(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for (nth, diagnostic) in diagnostics.iter().enumerate() {
        let gap = if nth == 0 { "" } else { "\n\n" };
        // Writing to a String cannot fail.
        let _ = write!(out, "{gap}{}", diagnostic.render(false));
    }
    out
}
