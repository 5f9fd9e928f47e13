//! Looks at the machine. Changes nothing: that a folder can be written to is tried with a file that goes away again.

use std::fs::{self, OpenOptions};
use std::net::Ipv6Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tambat_api::{CertificateStatus, Client, ServeStatus};
use tambat_os::Holder;

use super::judge::{Facts, FolderFact, PortFact, PortHolder, Unusable, ports};
use super::listens;
use crate::cli::sockets_there;
use crate::daemon::StateDir;
use crate::run_lock::runner;
use crate::trust::{self, Machine, Named, RootName, Todo, Wish};

/// Where it looks.
pub(crate) struct Place<'a> {
    /// Where an app may be.
    pub(crate) dir: &'a Path,
    /// Where a server's apps are, or would be.
    pub(crate) apps: Option<&'a Path>,
    /// The server's file, if it is not the one beside them.
    pub(crate) config: Option<&'a Path>,
}

/// Looks at everything.
pub(crate) async fn gather(place: &Place<'_>) -> Facts {
    let apps = place.apps;
    let canonical = apps.and_then(|apps| apps.canonicalize().ok());
    Facts {
        ports: ports().map(|port| PortFact { port, holder: holder(port) }).collect(),
        unprivileged_start: tambat_os::ports::unprivileged_start(),
        may_bind_privileged: tambat_os::ports::may_bind_privileged(),
        files: tambat_os::limits::nofile().ok(),
        folders: vec![sockets_folder(), state_folder()],
        has_ipv6_loopback: std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(),
        local_ca: local_ca(),
        has_apps: canonical.is_some(),
        server: match &canonical {
            Some(apps) => server(apps).await,
            None => None,
        },
        listens: listens::gather(place, canonical.as_deref()).await,
        kept: canonical.as_deref().and_then(kept).unwrap_or_default(),
        apps: canonical.or_else(|| apps.map(Path::to_owned)),
        now_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    }
}

fn holder(port: u16) -> Option<PortHolder> {
    Some(match tambat_os::holder_of(port)? {
        Holder::Known(info) => PortHolder::Program { name: info.name, pid: info.pid.get() },
        Holder::Unreadable { uid } => PortHolder::User(uid),
    })
}

fn sockets_folder() -> FolderFact {
    let found = sockets_there().map_err(|failure| parted(&failure.to_string()));
    let state = found.and_then(|sockets| usable(sockets.dir()));
    FolderFact { id: "runtime-folder", what: "control sockets", state }
}

fn state_folder() -> FolderFact {
    let fix = "set XDG_STATE_HOME to a folder of yours".to_owned();
    let home = StateDir::home().map_err(|error| Unusable { why: error.to_string(), fix });
    FolderFact { id: "state-folder", what: "logs and what is remembered", state: home.and_then(|home| usable(&home)) }
}

/// What to do stands at the end of a sentence of ours.
fn parted(sentence: &str) -> Unusable {
    let (why, fix) = sentence.rsplit_once("; ").unwrap_or((sentence, "set XDG_RUNTIME_DIR to a folder of yours"));
    Unusable { why: why.to_owned(), fix: fix.to_owned() }
}

/// The folder, and whether it is there; or why it cannot be written to, and what to do.
fn usable(dir: &Path) -> Result<(PathBuf, bool), Unusable> {
    let Some(there) = dir.ancestors().find(|ancestor| ancestor.exists()) else {
        return Ok((dir.to_owned(), false));
    };
    let probe = there.join(format!(".tambat-doctor-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe) {
        Ok(_) => {
            let _ = fs::remove_file(&probe);
            Ok((dir.to_owned(), there == dir))
        }
        Err(error) => {
            let shown = there.display();
            let fix = format!("`sudo chown \"$USER\" {shown}` makes it yours");
            Err(Unusable { why: format!("cannot write to {shown}: {error}"), fix })
        }
    }
}

/// The stores of roots, and how many of them lack the newest root of the local CA. Makes none.
fn local_ca() -> Option<(usize, usize)> {
    let roots = tambat_certs::LocalCa::roots(&crate::local_ca::dir().ok()?).ok()?;
    let root = roots.first()?;
    let (machine, name) = (Machine::here(), RootName::of(root));
    let named = Named { name: name.clone(), file: root.path().to_owned() };
    let found = trust::look(&machine, &name, root.pem());
    let certutil = machine.program("certutil");
    let todo = found.iter().map(|found| trust::task(found, &named, Wish::Trust, certutil.as_deref()).todo);
    Some((found.len(), todo.filter(|todo| *todo != Todo::Nothing).count()))
}

/// The server of these apps, if it runs and answers.
async fn server(apps: &Path) -> Option<ServeStatus> {
    let sockets = sockets_there().ok()?;
    let noted = runner(&sockets, apps).and_then(|note| note.socket());
    for socket in [Some(sockets.socket(apps)), noted].into_iter().flatten() {
        if let Ok(status) = Client::new(socket).get("/serve").await {
            return Some(status);
        }
    }
    None
}

/// What the server of these apps has kept of its CA.
fn kept(apps: &Path) -> Option<Vec<CertificateStatus>> {
    let state = StateDir::of(apps).ok()?;
    Some(crate::serve::kept_certificates(state.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_tried_and_nothing_is_left_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b");
        assert_eq!(usable(&missing), Ok((missing.clone(), false)));
        assert_eq!(usable(dir.path()), Ok((dir.path().to_owned(), true)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let error = usable(Path::new("/proc/self/nowhere")).unwrap_err();
        assert!(error.why.starts_with("cannot write to /proc/"), "{error:?}");
        let Unusable { why, fix } = parted("cannot use x: others may enter it; run `chmod 700 x`");
        assert_eq!((why.as_str(), fix.as_str()), ("cannot use x: others may enter it", "run `chmod 700 x`"));
    }
}
