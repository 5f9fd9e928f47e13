//! Who runs: one flock(2) per app directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::Pid;
use crate::context::cannot;

/// Held while it lives; the kernel lets it go when the process ends in any way. The file holds no more than
/// [`Lock::leave_note`] writes, and it is never removed: removing a lock file lets two hold "the" lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock at `path` (created 0600 when missing; a symbolic link there is refused) or returns `None` at
    /// once when another process, or this one, holds it.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let what = || format!("lock {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|e| cannot(what(), e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(cannot(what(), e)),
        }
    }

    /// Leaves a note for whoever holds the lock next: which process may outlive this one for a while.
    pub fn leave_note(&self, pid: Pid) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(pid.to_string().as_bytes(), 0)
    }

    /// The note that the last holder left; the process may have ended long ago, and its number be another's.
    pub fn note(&self) -> Option<Pid> {
        let mut text = [0; NOTE_BYTES_MAX];
        let read = self.file.read_at(&mut text, 0).ok()?;
        Pid::new(std::str::from_utf8(&text[..read]).ok()?.trim().parse().ok()?)
    }
}

/// A pid has ten digits at most.
const NOTE_BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.lock");
        let first = Lock::try_exclusive(&path).unwrap().expect("nobody holds it");
        assert_eq!(first.note(), None);
        first.leave_note(Pid::new(1_234_567).unwrap()).unwrap();
        first.leave_note(Pid::own()).unwrap();
        assert_eq!(first.note(), Some(Pid::own()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(first);
        let second = Lock::try_exclusive(&path).unwrap().expect("the first has let it go");
        assert_eq!(second.note(), Some(Pid::own()), "taking the lock changes nothing in the file");
    }

    #[test]
    fn a_link_or_a_missing_directory_is_an_error_that_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(Lock::try_exclusive(&link).unwrap_err().to_string().contains("link"));
        let missing = dir.path().join("no/such");
        let error = Lock::try_exclusive(&missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("no/such"), "{error}");
    }
}
