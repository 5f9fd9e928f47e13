//! The door of a shared port: its lock, which decides who holds the port, and the socket at which the others knock.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tambat_os::Lock;
use tokio::net::{UnixListener, UnixStream};

use super::lines::{Lines, in_time};

/// Where the lock and the socket of a port are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The lock: who has it holds the port.
    pub(super) lock: PathBuf,
    /// The socket: who listens there holds the port, or has just died.
    pub(super) socket: PathBuf,
}

/// The lock, taken.
#[derive(Debug)]
pub(super) struct Key {
    _lock: Lock,
    socket: PathBuf,
}

/// The socket, opened by who has the lock. Dropped, it is gone before the lock is.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    key: Key,
}

impl Place {
    /// Takes the lock; none: another tambat has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<Key>> {
        Ok(Lock::try_exclusive(&self.lock)?.map(|lock| Key { _lock: lock, socket: self.socket.clone() }))
    }

    /// Knocks at the door of who holds the port.
    pub(super) async fn knock(&self) -> io::Result<Lines> {
        let stream = in_time(UnixStream::connect(&self.socket)).await?;
        Lines::with_own_user(stream)
    }
}

impl Key {
    /// Opens the door. What a killed holder has left there is removed.
    pub(super) fn open(self) -> io::Result<Door> {
        let open = || {
            if let Err(error) = std::fs::remove_file(&self.socket)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let listener = UnixListener::bind(&self.socket)?;
            std::fs::set_permissions(&self.socket, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let shown = self.socket.display();
        let listener = open().map_err(|error| io::Error::new(error.kind(), format!("cannot open {shown}: {error}")))?;
        Ok(Door { listener, key: self })
    }
}

impl Door {
    /// Who knocks. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Nobody else has opened it: the lock is still held, and goes after this.
        let _ = std::fs::remove_file(&self.key.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_and_the_next_opens_the_door_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let place = Place { lock: dir.path().join("http-1.lock"), socket: dir.path().join("http-1.sock") };
            std::fs::write(&place.socket, "left by a killed holder").unwrap();
            let door = place.try_lock().unwrap().unwrap().open().unwrap();
            assert!(place.try_lock().unwrap().is_none());
            assert_eq!(std::fs::metadata(&place.socket).unwrap().permissions().mode() & 0o777, 0o600);
            let (_guest, _host) = tokio::join!(place.knock(), door.accept());
            drop(door);
            assert!(!place.socket.exists());
            assert!(place.knock().await.is_err());
            place.try_lock().unwrap().unwrap().open().unwrap();
        });
    }
}
