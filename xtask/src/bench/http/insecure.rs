//! In place of `secure.rs` where the feature `tls` is off: `cargo xtask` is built without TLS, its load with it.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use super::{config::Files, load::Load};
use crate::failure::Failure;

const CAUSE: &str = "this program was built without the feature `tls`";

/// Fails.
pub(super) fn certificates(_dir: &Path) -> Result<Files, Failure> {
    Err(Failure::new(format!("cannot make certificates: {CAUSE}"), "run `cargo xtask bench tls`"))
}

/// Fails.
pub(super) fn ask(_authority: &Path, _port: u16, _request: &str) -> io::Result<String> {
    Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
}

/// Fails.
pub(super) fn play(_load: Load, _port: u16, _pids: Vec<u32>, _authority: &Path) -> io::Result<String> {
    Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
}
