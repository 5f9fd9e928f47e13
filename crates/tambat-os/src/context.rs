use std::io;

use nix::errno::Errno;

/// Says what was being done when `error` happened: "cannot WHAT: CAUSE", with what to try where the limit on open
/// files was the cause. Keeps the kind, so that callers can still match on it.
pub(crate) fn cannot(what: impl std::fmt::Display, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    let hint = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => "; this process may open no more files: raise `ulimit -n`",
        Some(Errno::ENFILE) => "; the machine may open no more files: raise fs.file-max",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot {what}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_stays_and_the_limit_on_files_gets_a_hint() {
        let refused = cannot("read x", Errno::EACCES);
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(refused.to_string().starts_with("cannot read x: Permission denied"));
        assert!(cannot("open a pipe", Errno::EMFILE).to_string().contains("ulimit -n"));
    }
}
