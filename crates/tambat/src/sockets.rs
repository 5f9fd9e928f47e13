//! Where the control socket of an app is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the control sockets of this user are.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    dir: PathBuf,
}

/// Why there is no place for sockets.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for control sockets: {source}", dir.display())]
pub(crate) struct SocketError {
    dir: PathBuf,
    source: io::Error,
}

impl Sockets {
    /// `$XDG_RUNTIME_DIR/tambat`, or `/tmp/tambat-UID/tambat` without that variable. Made if it is not there, readable
    /// by its user alone; one that belongs to somebody else is refused.
    pub(crate) fn open(runtime_dir: Option<&OsStr>) -> Result<Self, SocketError> {
        let runtime = runtime_dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
        let home = runtime.map_or_else(private_home, Ok)?;
        let dir = home.join("tambat");
        private(&dir)?;
        Ok(Self { dir })
    }

    /// The socket of the app in this canonical directory.
    pub(crate) fn socket(&self, app_dir: &Path) -> PathBuf {
        self.dir.join(format!("{}.sock", hash(app_dir)))
    }

    /// The lock that decides who runs the app in this canonical directory.
    pub(crate) fn lock(&self, app_dir: &Path) -> PathBuf {
        self.dir.join(format!("{}.lock", hash(app_dir)))
    }

    /// The socket at which tambats share this port for names.
    pub(crate) fn http_socket(&self, port: u16) -> PathBuf {
        self.dir.join(format!("{HTTP}{port}.sock"))
    }

    /// The lock that decides who of them holds it.
    pub(crate) fn http_lock(&self, port: u16) -> PathBuf {
        self.dir.join(format!("{HTTP}{port}.lock"))
    }

    /// Every app's socket there is, of running apps and left behind by dead ones.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut sockets: Vec<PathBuf> = entries.map(|e| e.path()).filter(|path| is_of_app(path)).collect();
        sockets.sort();
        sockets
    }

    /// The name that stands for this canonical directory in file names.
    pub(crate) fn hash(app_dir: &Path) -> String {
        hash(app_dir)
    }
}

/// What the files of a shared port begin with; no app's do, which begin with hexadecimal digits.
const HTTP: &str = "http-";

fn is_of_app(socket: &Path) -> bool {
    let is_shared = socket.file_name().is_some_and(|name| name.as_bytes().starts_with(HTTP.as_bytes()));
    socket.extension().is_some_and(|end| end == "sock") && !is_shared
}

/// A name for a directory: short enough for a socket's path (108 bytes on Linux), the same in every shell.
fn hash(dir: &Path) -> String {
    // FNV-1a, 64 bits: names a file, guards nothing.
    let hash = dir
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Where there is no runtime directory. Anybody may write to `/tmp`, so it matters that this one is ours.
fn private_home() -> Result<PathBuf, SocketError> {
    let home = PathBuf::from(format!("/tmp/tambat-{}", tambat_os::runtime_dir::uid()));
    private(&home)?;
    Ok(home)
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

    #[test]
    fn the_socket_of_a_shared_port_is_no_apps() {
        let sockets = Sockets { dir: PathBuf::from("/run/tambat") };
        assert!(is_of_app(&sockets.socket(Path::new("/srv/shop"))));
        assert!(!is_of_app(&sockets.lock(Path::new("/srv/shop"))));
        assert!(!is_of_app(&sockets.http_socket(7080)));
    }
}
