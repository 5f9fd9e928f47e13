//! Where the control socket of an app is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the control sockets of this user are. The folder goes when its user logs out (`pam_systemd(8)`), or when nobody
/// has touched it for long (`tmpfiles.d(5)`): what has to stay as it is has no place in it.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    /// The folders that have to be there, outermost first: those that are made here, if need be.
    made: Vec<PathBuf>,
    dir: PathBuf,
}

/// Why there is no place for sockets.
#[derive(Debug, thiserror::Error)]
#[error("there is no place for control sockets: {0}")]
pub(crate) struct SocketError(#[from] io::Error);

impl Sockets {
    /// `$XDG_RUNTIME_DIR/tambat`, or `/tmp/tambat-UID/tambat` where that variable is not set or leads to no folder of
    /// ours, as after `su`. Creates nothing; what belongs to somebody else is refused.
    pub(crate) fn find(runtime_dir: Option<&OsStr>) -> Result<Self, SocketError> {
        let given = runtime_dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
        let sockets = match given.filter(|dir| tambat_os::runtime_dir::is_own_dir(dir)) {
            Some(runtime) => Self::below(&runtime, Vec::new()),
            // Anybody may write to `/tmp`, so it matters that this one is ours.
            None => {
                let home = PathBuf::from(format!("/tmp/tambat-{}", tambat_os::runtime_dir::uid()));
                Self::below(&home, vec![home.clone()])
            }
        };
        for dir in &sockets.made {
            match tambat_os::runtime_dir::verify_private(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                verified => verified?,
            }
        }
        Ok(sockets)
    }

    /// The same, made if it is not there, readable by its user alone.
    pub(crate) fn open(runtime_dir: Option<&OsStr>) -> Result<Self, SocketError> {
        let sockets = Self::find(runtime_dir)?;
        sockets.make()?;
        Ok(sockets)
    }

    /// Makes the folder; again, where it has gone meanwhile.
    pub(crate) fn make(&self) -> io::Result<()> {
        self.made.iter().try_for_each(|dir| tambat_os::runtime_dir::private_dir(dir))
    }

    fn below(home: &Path, mut made: Vec<PathBuf>) -> Self {
        let dir = home.join("tambat");
        made.push(dir.clone());
        Self { made, dir }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket of the app in this canonical directory.
    pub(crate) fn socket(&self, app_dir: &Path) -> PathBuf {
        self.dir.join(format!("{}.sock", hash(app_dir)))
    }

    /// A lock beside that socket: it decides who runs where there is no state folder for it, and which router has a file.
    pub(crate) fn lock(&self, app_dir: &Path) -> PathBuf {
        self.dir.join(format!("{}.lock", hash(app_dir)))
    }

    /// The socket at which tambats share this port for names.
    pub(crate) fn http_socket(&self, port: u16) -> PathBuf {
        self.dir.join(format!("{HTTP}{port}.sock"))
    }

    /// A lock beside that socket: it decides who of them holds it where there is no state folder for it.
    pub(crate) fn http_lock(&self, port: u16) -> PathBuf {
        self.dir.join(format!("{HTTP}{port}.lock"))
    }

    /// Every app's socket there is here, of running apps and left behind by dead ones.
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
    fn a_runtime_folder_that_is_not_ours_is_passed_over_and_finding_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mine = Sockets::find(Some(dir.path().as_os_str())).unwrap();
        assert_eq!(mine.dir, dir.path().join("tambat"));
        assert!(!mine.dir.exists());
        mine.make().unwrap();
        std::fs::remove_dir(&mine.dir).unwrap();
        mine.make().unwrap();
        assert!(mine.dir.is_dir());
        for other in ["/nowhere/at/all", "relative", "/proc/self/comm"] {
            let found = Sockets::find(Some(OsStr::new(other))).unwrap();
            assert!(found.dir.starts_with("/tmp"), "{other}: {found:?}");
        }
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("tambat");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = Sockets::find(Some(dir.path().as_os_str())).unwrap_err().to_string();
        let shown = open.display();
        let expected = format!(
            "there is no place for control sockets: cannot use {shown}: others may enter it (mode 0755); run `chmod 700 \
             {shown}`"
        );
        assert_eq!(error, expected);
    }

    #[test]
    fn the_socket_of_a_shared_port_is_no_apps() {
        let sockets = Sockets::below(Path::new("/run"), Vec::new());
        assert!(is_of_app(&sockets.socket(Path::new("/srv/shop"))));
        assert!(!is_of_app(&sockets.lock(Path::new("/srv/shop"))));
        assert!(!is_of_app(&sockets.http_socket(7080)));
    }
}
