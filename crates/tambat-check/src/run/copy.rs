//! A directory's copy, for processes that must not touch the original's data.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use tambat_os::User;

/// More than this is no app but a disk: copying it would take minutes.
const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A directory of dependencies has tens of thousands.
const FILES_MAX: usize = 200_000;

/// What no run of an app needs, and what may be large.
const LEFT_OUT: &str = ".git";

/// A copy of a directory, under the machine's folder for temporary files. It is deleted when dropped.
#[derive(Debug)]
pub struct Copied {
    dir: PathBuf,
}

impl Copied {
    /// Copies files, folders and symbolic links with their modes; sockets, pipes and devices are left out, and so is
    /// `.git`.
    ///
    /// # Errors
    ///
    /// When something cannot be read, or when it is more than 2 GiB or 200,000 files.
    pub fn of(dir: &Path) -> io::Result<Self> {
        Self::within(dir, BYTES_MAX, FILES_MAX)
    }

    /// The same with other limits.
    pub(super) fn within(dir: &Path, bytes: u64, files: usize) -> io::Result<Self> {
        let copied = Self { dir: fresh_dir()? };
        copy_folder(dir, &copied.dir, &mut Budget { bytes, files, copy: copied.dir.clone() })?;
        Ok(copied)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // What cannot be deleted is left to whoever cleans the machine's temporary files.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A folder of one's own, which nobody else can have made.
pub(super) fn fresh_dir() -> io::Result<PathBuf> {
    let random = u64::from_ne_bytes(tambat_os::random::bytes()?);
    let dir = std::env::temp_dir().join(format!("tambat-check-{random:016x}"));
    fs::create_dir(&dir).map_err(|error| cannot("make", &dir, &error))?;
    fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
    dir.canonicalize()
}

/// Gives a folder and everything in it to a user.
pub(super) fn give(dir: &Path, user: User) -> io::Result<()> {
    lchown(dir, Some(user.uid), Some(user.gid))?;
    if dir.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(dir)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

struct Budget {
    bytes: u64,
    files: usize,
    /// The copy itself: the folder for temporary files may lie in the directory.
    copy: PathBuf,
}

fn copy_folder(from: &Path, to: &Path, budget: &mut Budget) -> io::Result<()> {
    for entry in fs::read_dir(from).map_err(|error| cannot("read", from, &error))? {
        let entry = entry?;
        if entry.file_name() == LEFT_OUT {
            continue;
        }
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from == budget.copy {
            continue;
        }
        copy_one(&from, &to, budget).map_err(|error| match error.kind() {
            // It was there a moment ago: an app that runs may delete its own files.
            io::ErrorKind::NotFound => io::Error::other(format!("{} has just gone", from.display())),
            _ => error,
        })?;
    }
    Ok(())
}

fn copy_one(from: &Path, to: &Path, budget: &mut Budget) -> io::Result<()> {
    let found = from.symlink_metadata().map_err(|error| cannot("read", from, &error))?;
    budget.files = budget.files.checked_sub(1).ok_or_else(|| too_much("too many files"))?;
    if found.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if found.is_dir() {
        fs::create_dir(to)?;
        copy_folder(from, to, budget)?;
        return fs::set_permissions(to, found.permissions());
    }
    if found.is_file() {
        budget.bytes = budget.bytes.checked_sub(found.len()).ok_or_else(|| too_much("too many bytes"))?;
        fs::copy(from, to).map_err(|error| cannot("copy", from, &error))?;
    }
    Ok(())
}

fn too_much(what: &str) -> io::Error {
    io::Error::other(format!("it holds {what}"))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn files_links_and_modes_are_copied_and_the_copy_goes_away() {
        let original = tempfile::tempdir().unwrap();
        let path = |name: &str| original.path().join(name);
        fs::create_dir_all(path("data/deep")).unwrap();
        fs::create_dir(path(".git")).unwrap();
        fs::write(path("data/deep/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(path("data/deep/run"), Permissions::from_mode(0o750)).unwrap();
        symlink("data/deep/run", path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();

        let copied = Copied::of(original.path()).unwrap();
        let dir = copied.dir().to_owned();
        assert_eq!(fs::read_to_string(dir.join("link")).unwrap(), "#!/bin/sh\n");
        assert_eq!(fs::read_link(dir.join("link")).unwrap(), Path::new("data/deep/run"));
        assert_eq!(fs::metadata(dir.join("data/deep/run")).unwrap().permissions().mode() & 0o777, 0o750);
        assert!(!dir.join(".git").exists() && !dir.join("socket").exists());
        drop(copied);
        assert!(!dir.exists());
    }

    #[test]
    fn a_copy_within_the_directory_is_not_copied_into_itself() {
        let original = tempfile::tempdir().unwrap();
        fs::write(original.path().join("a"), "x").unwrap();
        let copy = original.path().join("tmp/copy");
        fs::create_dir_all(&copy).unwrap();
        let mut budget = Budget { bytes: 100, files: 100, copy: copy.clone() };
        copy_folder(original.path(), &copy, &mut budget).unwrap();
        assert!(copy.join("a").exists() && copy.join("tmp").exists() && !copy.join("tmp/copy").exists());
    }

    #[test]
    fn too_much_is_refused() {
        let original = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(original.path().join(name), "xx").unwrap();
        }
        let target = tempfile::tempdir().unwrap();
        let mut budget = Budget { bytes: 5, files: 10, copy: target.path().to_owned() };
        let error = copy_folder(original.path(), target.path(), &mut budget).unwrap_err();
        assert!(error.to_string().contains("bytes"), "{error}");
    }
}
