//! Small files that are there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// For its user alone: whatever holds a key.
const MODE_PRIVATE: u32 = 0o600;

/// For everybody to read: what handshakes show anyway.
const MODE_SHARED: u32 = 0o644;

/// Makes the folder and what is missing above it, for their user alone.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Puts these bytes in the place of the file's, for its user alone: after a crash at any moment there are the old ones or
/// the new ones.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, MODE_PRIVATE)
}

/// Puts these bytes in the place of the file's, for everybody to read, in one step. Does nothing when they are there
/// already.
///
/// # Errors
///
/// What writing and renaming a file may meet; then the old one is as it was.
pub fn write_shared(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::read(path) {
        Ok(there) if there == bytes => Ok(()),
        _ => replace(path, bytes, MODE_SHARED),
    }
}

/// Makes the file with these bytes, for its user alone; `false`: there is one, and it stays as it is.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let new = beside(path);
    let linked = written(&new, bytes, MODE_PRIVATE).and_then(|()| match fs::hard_link(&new, path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    });
    let _ = fs::remove_file(&new);
    let linked = linked?;
    sync_folder_of(path)?;
    Ok(linked)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = beside(path);
    let replaced = written(&new, bytes, mode).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&new);
    }
    replaced?;
    sync_folder_of(path)
}

/// A name of this thread's own. What a killed process has left under it is overwritten.
fn beside(path: &Path) -> PathBuf {
    let thread: String = format!("{:?}", std::thread::current().id()).chars().filter(char::is_ascii_digit).collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.{}.{thread}", std::process::id()))
}

fn written(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // One that is there keeps its mode: it has to go first.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A rename is on the disk when its folder is.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if dir != Path::new("") => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        private_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        let path = dir.join("key.pem");
        fs::write(beside(&path), "left by a killed one").unwrap();
        write_private(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let shared = dir.join("root.pem");
        write_shared(&shared, b"root").unwrap();
        let first = fs::metadata(&shared).unwrap().modified().unwrap();
        write_shared(&shared, b"root").unwrap();
        assert_eq!(fs::metadata(&shared).unwrap().modified().unwrap(), first);
        assert_eq!(mode(&shared), 0o644);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    }

    #[test]
    fn who_comes_second_makes_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ca.pem");
        assert!(create_private(&path, b"one").unwrap());
        assert!(!create_private(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_could_not_be_replaced_is_as_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("folder");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        assert!(write_private(&path, b"one").is_err());
        assert!(path.join("inside").exists());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
