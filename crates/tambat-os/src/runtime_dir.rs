//! Directories that only their user can look into.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use crate::context::cannot;

/// The effective user id of this process.
pub fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// What this machine calls itself (`hostname(7)`), so that files in a home that several machines share can be told apart.
/// `None` where that cannot be read, or is no name.
pub fn host_name() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = text.trim_end();
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    (is_plain && !name.is_empty()).then(|| name.to_owned())
}

/// Makes sure that `path` is a directory that is ours alone: created 0700 when missing (its parent must exist),
/// else verified to be a real directory (no symbolic link), owned by us, without any permission for group or
/// others. Under a shared parent such as `/tmp` somebody else may have been there first; the error is a whole sentence,
/// which says what was found and how to mend it.
pub fn private_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(cannot(format!("create the directory {}", path.display()), e))
        }
        Ok(()) | Err(_) => verify_private(path),
    }
}

/// Is this, links followed, a directory of ours? Others may enter it.
pub fn is_own_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == uid())
}

/// What [`private_dir`] makes sure of, without creating anything: `NotFound` where there is nothing.
pub fn verify_private(path: &Path) -> io::Result<()> {
    let shown = path.display();
    let found = fs::symlink_metadata(path).map_err(|e| cannot(format!("look at {shown}"), e))?;
    let mode = found.mode() & 0o7777;
    if found.is_symlink() {
        Err(refused(format!("cannot use {shown}: it is a symbolic link; remove it")))
    } else if !found.is_dir() {
        Err(refused(format!("cannot use {shown}: it is not a directory; remove it")))
    } else if found.uid() != uid() {
        Err(refused(format!(
            "cannot use {shown}: it belongs to user {}, not to us ({}); have it removed, or set XDG_RUNTIME_DIR to another directory of yours",
            found.uid(),
            uid()
        )))
    } else if mode & 0o077 != 0 {
        Err(refused(format!("cannot use {shown}: others may enter it (mode {mode:04o}); run `chmod 700 {shown}`")))
    } else {
        Ok(())
    }
}

fn refused(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn created_private_and_accepted_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        private_dir(&path).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        assert!(is_own_dir(&path));
    }

    #[test]
    fn this_machine_has_a_name() {
        let name = std::process::Command::new("uname").arg("-n").output().unwrap();
        assert_eq!(host_name().unwrap(), String::from_utf8(name.stdout).unwrap().trim());
    }

    #[test]
    fn verifying_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        assert_eq!(verify_private(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!path.exists() && !is_own_dir(&path));
        private_dir(&path).unwrap();
        verify_private(&path).unwrap();
    }

    #[test]
    fn refused_when_open_a_link_a_file_or_without_a_parent() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o750)).unwrap();
        assert!(private_dir(&open).unwrap_err().to_string().contains("chmod 700"));

        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        assert!(private_dir(&link).unwrap_err().to_string().contains("symbolic link"));

        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(private_dir(&file).unwrap_err().to_string().contains("not a directory"));

        assert_eq!(private_dir(&dir.path().join("a/b")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn refused_when_somebody_else_owns_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("theirs");
        fs::create_dir(&path).unwrap();
        // Only root can give a directory away; everybody else finds root's own directories.
        let theirs = if uid() == 0 {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            path
        } else {
            "/proc/1".into()
        };
        assert!(private_dir(&theirs).unwrap_err().to_string().contains("belongs to user"));
        assert!(!is_own_dir(&theirs));
    }
}
