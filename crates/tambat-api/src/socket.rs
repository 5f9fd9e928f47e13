//! Where the control socket of an app is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the control sockets of this user are.
#[derive(Debug, Clone)]
pub struct Sockets {
    dir: PathBuf,
}

/// Why there is no place for sockets.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for control sockets: {source}", dir.display())]
pub struct SocketError {
    dir: PathBuf,
    source: io::Error,
}

impl Sockets {
    /// `$XDG_RUNTIME_DIR/tambat`, or `/tmp/tambat-UID/tambat` without that variable. Made if it is not there, readable
    /// by its user alone; one that belongs to somebody else is refused.
    pub fn open(runtime_dir: Option<&OsStr>) -> Result<Self, SocketError> {
        let dir = match runtime_dir.filter(|d| Path::new(d).is_absolute()) {
            Some(runtime) => {
                let dir = Path::new(runtime).join("tambat");
                private(&dir)?;
                dir
            }
            None => {
                let home = PathBuf::from(format!("/tmp/tambat-{}", tambat_os::runtime_dir::uid()));
                private(&home)?;
                let dir = home.join("tambat");
                private(&dir)?;
                dir
            }
        };
        Ok(Self { dir })
    }

    /// The socket of the app in this canonical directory.
    pub fn socket(&self, app_dir: &Path) -> PathBuf {
        self.dir.join(format!("{}.sock", hash(app_dir)))
    }

    /// The lock that decides who runs the app in this canonical directory.
    pub fn lock(&self, app_dir: &Path) -> PathBuf {
        self.dir.join(format!("{}.lock", hash(app_dir)))
    }

    /// The socket of the app in this directory or the nearest one above it, if there is one.
    pub fn search(&self, from: &Path) -> Option<PathBuf> {
        from.ancestors().map(|dir| self.socket(dir)).find(|socket| socket.exists())
    }

    /// Every socket there is, of running apps and left behind by dead ones.
    pub fn all(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut sockets: Vec<PathBuf> =
            entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "sock")).collect();
        sockets.sort();
        sockets
    }
}

/// A name for a directory: short enough for a socket's path (108 bytes on Linux), the same in every shell.
pub(crate) fn hash(dir: &Path) -> String {
    // FNV-1a, 64 bits: names a file, guards nothing.
    let hash = dir.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

impl Sockets {
    /// The name that stands for this canonical directory in file names.
    pub fn hash(app_dir: &Path) -> String {
        hash(app_dir)
    }
}

fn private(dir: &Path) -> Result<(), SocketError> {
    tambat_os::runtime_dir::private_dir(dir).map_err(|source| SocketError { dir: dir.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_directory_never_changes() {
        assert_eq!(hash(Path::new("/srv/shop")), hash(Path::new("/srv/shop")));
        assert_ne!(hash(Path::new("/srv/shop")), hash(Path::new("/srv/shop2")));
        assert_eq!(hash(Path::new("/")).len(), 16);
    }
}
