//! Who runs: one flock(2) per app directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

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

    /// Leaves a note for whoever asks who holds the lock, and for its next holder. An empty one takes the last away.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a note of more than [`NOTE_BYTES_MAX`]; and what writing to a file may meet.
    pub fn leave_note(&self, note: &str) -> io::Result<()> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.set_len(0)?;
        self.file.write_all_at(note.as_bytes(), 0)
    }

    /// The note that this holder or the last one left; empty where there is none, or what is there is no text.
    pub fn note(&self) -> String {
        note_of(&self.file)
    }

    /// The note of who holds the lock at `path` now; `None`: nobody does. Changes nothing and creates nothing, but whoever
    /// wants the lock in this very moment does not get it, and has to try again.
    ///
    /// # Errors
    ///
    /// What opening a file may meet, but for its not being there: then nobody holds it.
    pub fn note_of_holder(path: &Path) -> io::Result<Option<String>> {
        let what = || format!("look at the lock {}", path.display());
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(cannot(what(), e)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(note_of(&file))),
            Err(TryLockError::Error(e)) => Err(cannot(what(), e)),
        }
    }
}

/// A few numbers and a path, which has 4096 bytes at most (`PATH_MAX`, limits.h).
pub const NOTE_BYTES_MAX: usize = 8 * 1024;

fn note_of(file: &File) -> String {
    let mut text = vec![0; NOTE_BYTES_MAX];
    let read = file.read_at(&mut text, 0).unwrap_or(0);
    text.truncate(read);
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.lock");
        let first = Lock::try_exclusive(&path).unwrap().expect("nobody holds it");
        assert_eq!(first.note(), "");
        first.leave_note("a longer one").unwrap();
        first.leave_note("here").unwrap();
        assert_eq!(first.note(), "here");
        assert!(first.leave_note(&"x".repeat(NOTE_BYTES_MAX + 1)).is_err());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        assert_eq!(Lock::note_of_holder(&path).unwrap().as_deref(), Some("here"));
        drop(first);
        assert_eq!(Lock::note_of_holder(&path).unwrap(), None, "nobody holds it");
        let second = Lock::try_exclusive(&path).unwrap().expect("the first has let it go");
        assert_eq!(second.note(), "here", "taking the lock changes nothing in the file");
        second.leave_note("").unwrap();
        assert_eq!(Lock::note_of_holder(&path).unwrap().as_deref(), Some(""));
    }

    #[test]
    fn looking_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.lock");
        assert_eq!(Lock::note_of_holder(&path).unwrap(), None);
        assert!(!path.exists());
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
