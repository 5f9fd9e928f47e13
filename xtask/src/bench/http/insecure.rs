//! In place of `secure.rs` where the feature `tls` is off: `cargo xtask` is built without TLS, its load with it.

use std::{
    io::{self, ErrorKind, Read, Write},
    path::Path,
};

use super::{config::Files, load::Load, talk::Ends};
use crate::failure::Failure;

const CAUSE: &str = "this program was built without the feature `tls`";

/// Fails.
pub(in super::super) fn certificates(_dir: &Path) -> Result<Files, Failure> {
    Err(Failure::new(format!("cannot make certificates: {CAUSE}"), "run `cargo xtask bench tls`"))
}

/// Fails.
pub(super) fn ask(_authority: &Path, _port: u16, _request: &str) -> io::Result<String> {
    Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
}

/// Fails.
pub(super) fn play(_load: Load, _ends: Ends, _pids: Vec<u32>, _authority: &Path) -> io::Result<String> {
    Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
}

/// What there is none of.
pub(in super::super) struct Stream;

impl Read for Stream {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
    }
}

impl Write for Stream {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
    }
}

/// Fails.
pub(in super::super) fn stream(_authority: &Path, _port: u16) -> io::Result<Stream> {
    Err(io::Error::new(ErrorKind::Unsupported, CAUSE))
}
