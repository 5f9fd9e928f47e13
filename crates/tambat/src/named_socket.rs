//! A unix socket of this user's, which comes back when its folder has gone.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::sockets::Sockets;

/// How often it is looked whether the socket's name is still there: soon enough for whoever has just logged in again, and
/// seldom enough for an idle tambat to let the machine sleep. Nothing tells: a file system that is unmounted lazily, as
/// logind does it, takes its names along without an event.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A socket, open.
#[derive(Debug)]
pub(crate) struct NamedSocket {
    sockets: Sockets,
    path: PathBuf,
    listener: UnixListener,
    look: Interval,
}

impl NamedSocket {
    /// Binds it. What a killed tambat left there is removed: whoever calls this holds the lock, so nobody serves it. Needs
    /// a runtime.
    pub(crate) fn open(sockets: &Sockets, path: PathBuf) -> io::Result<Self> {
        let listener = bind(&path)?;
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { sockets: sockets.clone(), path, listener, look })
    }

    /// Its name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Who connects. Its folder may go away meanwhile, with the session that it was for: the socket comes back as soon as
    /// it can. Cancel safe.
    pub(crate) async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return accepted.map(|(stream, _)| stream),
                _ = self.look.tick() => self.return_if_gone(),
            }
        }
    }

    /// A folder that is not there yet is one to wait for.
    fn return_if_gone(&mut self) {
        let gone = std::fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if gone && let Ok(listener) = self.sockets.make().and_then(|()| bind(&self.path)) {
            self.listener = listener;
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
