//! The local CA of this user: where it is, and which programs are told to believe it.
//!
//! All tambats of a user have one CA, so that whoever holds the port for https can say who any app is. It lies in the
//! state folder. Instances are told of it in their environment: Node.js adds roots to its own, and what goes by OpenSSL's
//! variable has one file of roots for all, so that file has the system's, too.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tambat_certs::{LocalCa, Opened, Root};
use tambat_model::{Layer, Source};

use crate::daemon::StateDir;

/// Where the system's roots are, all in one file: Debian, Arch Linux and Gentoo; Fedora and its older kin; openSUSE; Alpine.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The roots of a system take a quarter of this; more is no file of roots.
const BUNDLE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The system's roots and ours.
const BUNDLE: &str = "bundle.pem";

/// What root's processes are told to believe lies in a folder of this name, where those that become another user can read
/// it: nobody enters root's home. No secret is in it.
const SHARED_FOLDER: &str = "tambat-roots";

/// Where that is, unless `XDG_STATE_HOME` says where state is kept.
const SHARED_HOME: &str = "/var/lib";

/// For everybody to enter and to read.
const SHARED_MODE: u32 = 0o755;

/// Adds to the roots that Node.js has built in.
const OF_NODE: &str = "NODE_EXTRA_CA_CERTS";

/// What OpenSSL, Python, Ruby, PHP, Go and curl read in place of the system's roots.
const OF_OPENSSL: &str = "SSL_CERT_FILE";

/// How often it is looked whether the system's roots have changed: an update of them may take so long to arrive.
const REFRESH_INTERVAL: Duration = Duration::from_mins(1);

/// The folder of the CA.
///
/// # Errors
///
/// When nobody knows where this user's state is kept.
pub(crate) fn dir() -> io::Result<PathBuf> {
    Ok(StateDir::home()?.join("ca"))
}

/// The CA of this user, at hand.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What signs.
    pub(crate) ca: LocalCa,
    /// What its user should know; nothing most often.
    pub(crate) note: Option<String>,
}

/// The CA, made if there is none.
///
/// # Errors
///
/// In words for its user.
pub(crate) fn open() -> Result<Opening, String> {
    let dir = dir().map_err(|error| error.to_string())?;
    let (ca, opened) = LocalCa::open(&dir, SystemTime::now()).map_err(|error| error.to_string())?;
    let note = match opened {
        Opened::Found | Opened::Made => None,
        Opened::Replaced { .. } => Some(
            "the local CA has expired, and there is a new one: `tambat trust` has browsers believe that, too"
                .to_owned(),
        ),
    };
    Ok(Opening { ca, note })
}

/// The roots that instances are told to believe.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    root: Root,
    /// The system's; none: nowhere that is known.
    system: Option<PathBuf>,
    /// Where both are put, and a copy of ours where that is elsewhere than the CA.
    folder: PathBuf,
}

impl Roots {
    /// Of this CA, on this machine.
    pub(crate) fn of(root: &Root) -> Self {
        let system = SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file());
        let folder = (tambat_os::runtime_dir::uid() == 0).then(|| {
            let said = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            said.unwrap_or_else(|| SHARED_HOME.into()).join(SHARED_FOLDER)
        });
        Self::with(root, system, folder)
    }

    /// Of the CA that is there already; none: there is none.
    pub(crate) fn existing() -> Option<Self> {
        let roots = LocalCa::roots(&dir().ok()?).ok()?;
        let newest = roots.first().filter(|root| root.not_after() > SystemTime::now() && root.path().is_file())?;
        Some(Self::of(newest))
    }

    /// `folder`: where others than the CA's user are to read them; none: nobody else has to.
    fn with(root: &Root, system: Option<PathBuf>, folder: Option<PathBuf>) -> Self {
        let folder = folder.unwrap_or_else(|| root.path().parent().unwrap_or(Path::new("/")).to_owned());
        Self { root: root.clone(), system, folder }
    }

    fn bundle(&self) -> PathBuf {
        self.folder.join(BUNDLE)
    }

    /// Our root alone.
    fn own(&self) -> PathBuf {
        self.folder.join(self.root.path().file_name().unwrap_or_default())
    }

    /// Does the system believe our root by itself?
    pub(crate) fn is_in_system(&self) -> bool {
        self.system
            .as_deref()
            .and_then(|path| read(path).ok())
            .is_some_and(|all| crate::trust::holds(&all, self.root.pem()))
    }

    /// Puts our root where it is to be read.
    ///
    /// # Errors
    ///
    /// In words for its user.
    fn share(&self) -> Result<(), String> {
        let own = self.own();
        if own == self.root.path() {
            return Ok(());
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(SHARED_MODE).create(&self.folder);
        // Whatever the umask says.
        let open = || std::fs::set_permissions(&self.folder, std::fs::Permissions::from_mode(SHARED_MODE));
        made.and_then(|()| open())
            .and_then(|()| tambat_certs::write_shared(&own, self.root.pem().as_bytes()))
            .map_err(|error| format!("cannot write {}: {error}", own.display()))
    }

    /// Puts the system's roots and ours into one file. True if that is of use: there are roots of the system's.
    ///
    /// # Errors
    ///
    /// In words for its user.
    fn refresh(&self) -> Result<bool, String> {
        let Some(system) = &self.system else { return Ok(false) };
        let bundle = self.bundle();
        let all =
            read(system).map_err(|error| format!("cannot read the system's roots in {}: {error}", system.display()))?;
        let all = tambat_certs::bundle(&all, &self.root);
        tambat_certs::write_shared(&bundle, &all)
            .map_err(|error| format!("cannot write {}: {error}", bundle.display()))?;
        Ok(true)
    }

    /// What instances find in their environment where nothing else says whom to believe. Brings the file with the
    /// system's roots up to date; where that cannot be done, `say` is told, and it is not among what they find. Of what is
    /// in `raw`, the shell's variables that are no text, nothing is said.
    pub(crate) fn layers(&self, raw: &[(OsString, OsString)], mut say: impl FnMut(String)) -> Vec<Layer> {
        let own = self.share().map_or_else(
            |why| {
                say(format!("{why}; processes that become another user cannot read the local CA's root"));
                self.root.path().to_owned()
            },
            |()| self.own(),
        );
        let bundle = self.bundle();
        let has_bundle = self.refresh().unwrap_or_else(|why| {
            say(format!("{why}; so {OF_OPENSSL} is not set"));
            false
        });
        let node = Some((OF_NODE, own.as_path()));
        let openssl = has_bundle.then_some((OF_OPENSSL, bundle.as_path()));
        let is_said = |name: &str| raw.iter().any(|(said, _)| said == name);
        let told = node.into_iter().chain(openssl).filter(|(name, _)| !is_said(name));
        // A path that is no text cannot be a value of one.
        let layer = |(name, path): (&str, &Path)| {
            Some(Layer { source: Source::LocalCa, name: name.to_owned(), value: path.to_str()?.to_owned() })
        };
        told.filter_map(layer).collect()
    }

    /// Makes the file anew whenever the system's roots have changed. Until it is aborted; `say` is told of what goes wrong,
    /// once for each change.
    pub(crate) async fn keep(self, say: impl Fn(String)) {
        let Some(system) = self.system.clone() else { return };
        let state = || std::fs::metadata(&system).ok().as_ref().map(identity);
        let mut known = state();
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            let now = state();
            if now.is_some() && now != known {
                known = now;
                if let Err(why) = self.refresh() {
                    say(format!("{why}; programs that go by {OF_OPENSSL} believe the roots of before"));
                }
            }
        }
    }
}

/// What changes when a file is written or replaced.
fn identity(of: &Metadata) -> (u64, u64, i64, i64) {
    (of.ino(), of.len(), of.mtime(), of.mtime_nsec())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > BUNDLE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has {bytes} bytes")));
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(dir: &Path) -> Root {
        LocalCa::open(&dir.join("ca"), SystemTime::now()).unwrap().0.root().clone()
    }

    fn shown(layers: &[Layer]) -> Vec<String> {
        layers.iter().map(|layer| format!("{} {}", layer.name, layer.source)).collect()
    }

    #[test]
    fn the_bundle_follows_the_systems_roots() {
        let temp = tempfile::tempdir().unwrap();
        let root = root(temp.path());
        let system = temp.path().join("system.pem");
        std::fs::write(&system, "# one\n").unwrap();
        let roots = Roots::with(&root, Some(system.clone()), None);
        assert_eq!(roots.refresh(), Ok(true));
        let bundle = || std::fs::read_to_string(temp.path().join("ca/bundle.pem")).unwrap();
        assert_eq!(bundle(), format!("# one\n{}", root.pem()));
        assert!(!roots.is_in_system());
        std::fs::write(&system, format!("# two\n{}", root.pem())).unwrap();
        assert_eq!(roots.refresh(), Ok(true));
        assert_eq!(bundle(), format!("# two\n{}", root.pem()));
        assert!(roots.is_in_system());
    }

    #[test]
    fn a_change_is_seen_after_a_while_and_what_goes_wrong_is_said() {
        let temp = tempfile::tempdir().unwrap();
        let system = temp.path().join("system.pem");
        std::fs::write(&system, "# one\n").unwrap();
        let roots = Roots::with(&root(temp.path()), Some(system.clone()), None);
        roots.refresh().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (said, says) = std::sync::mpsc::channel();
        runtime.block_on(async {
            let keeping = tokio::spawn(roots.keep(move |line| said.send(line).unwrap()));
            let pass = || tokio::time::sleep(REFRESH_INTERVAL + Duration::from_secs(1));
            pass().await;
            std::fs::write(&system, "# two, and longer\n").unwrap();
            pass().await;
            let bundle = temp.path().join("ca/bundle.pem");
            assert!(std::fs::read_to_string(&bundle).unwrap().starts_with("# two, and longer\n"));
            std::fs::remove_file(&bundle).unwrap();
            std::fs::create_dir(&bundle).unwrap();
            std::fs::write(bundle.join("in the way"), "").unwrap();
            std::fs::write(&system, "# three\n").unwrap();
            pass().await;
            pass().await;
            keeping.abort();
        });
        let all: Vec<String> = says.try_iter().collect();
        assert!(all.len() == 1 && all[0].starts_with("cannot write ") && all[0].contains("SSL_CERT_FILE"), "{all:?}");
    }

    #[test]
    fn what_roots_processes_believe_lies_where_all_can_read_it() {
        let temp = tempfile::tempdir().unwrap();
        let (system, folder) = (temp.path().join("system.pem"), temp.path().join("a/tambat-roots"));
        std::fs::write(&system, "# one\n").unwrap();
        let root = root(temp.path());
        let roots = Roots::with(&root, Some(system), Some(folder.clone()));
        let layers = roots.layers(&[], |line| panic!("{line}"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o755);
        for (layer, text) in layers.iter().zip([root.pem().to_owned(), format!("# one\n{}", root.pem())]) {
            let path = Path::new(&layer.value);
            assert_eq!((path.parent(), mode(path)), (Some(folder.as_path()), 0o644));
            assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        }
        // Where nothing can be put there, the file beside the CA is better than none.
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "in the way").unwrap();
        let mut said = Vec::new();
        let layers = roots.layers(&[], |line| said.push(line));
        assert_eq!(layers[0].value, root.path().to_str().unwrap());
        assert!(said.len() == 2 && said[0].starts_with("cannot write ") && layers.len() == 1, "{said:?}");
    }

    #[test]
    fn programs_are_told_where_nobody_tells_them() {
        let temp = tempfile::tempdir().unwrap();
        let system = temp.path().join("system.pem");
        let roots = Roots::with(&root(temp.path()), Some(system.clone()), None);
        let mut said = Vec::new();
        assert_eq!(shown(&roots.layers(&[], |line| said.push(line))), ["NODE_EXTRA_CA_CERTS local CA"]);
        assert!(
            said[0].starts_with("cannot read the system's roots in ") && said[0].ends_with("is not set"),
            "{said:?}"
        );
        std::fs::write(&system, "# one\n").unwrap();
        let silent = |line: String| panic!("{line}");
        assert_eq!(shown(&roots.layers(&[], silent)), ["NODE_EXTRA_CA_CERTS local CA", "SSL_CERT_FILE local CA"]);
        let raw = [(OsString::from("NODE_EXTRA_CA_CERTS"), OsString::from("/theirs"))];
        assert_eq!(shown(&roots.layers(&raw, silent)), ["SSL_CERT_FILE local CA"]);
        let without_system = Roots::with(&root(temp.path()), None, None);
        assert_eq!(shown(&without_system.layers(&[], silent)), ["NODE_EXTRA_CA_CERTS local CA"]);
    }
}
