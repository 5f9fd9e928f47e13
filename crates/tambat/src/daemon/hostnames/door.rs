//! The door of a shared port: its lock, which decides who holds the port, and the socket at which the others knock.

use std::io;
use std::path::PathBuf;

use tambat_os::Lock;
use tokio::net::UnixStream;

use super::lines::{Lines, in_time};
use crate::named_socket::NamedSocket;
use crate::sockets::Sockets;

/// Where the lock and the socket of a port are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The lock: who has it holds the port, and notes there where its socket is.
    pub(super) lock: PathBuf,
    /// The socket, if we hold the port. Somebody who was started in another kind of session has another one.
    pub(super) socket: PathBuf,
    /// Its folder.
    pub(super) sockets: Sockets,
}

/// The lock, taken.
#[derive(Debug)]
pub(super) struct Key {
    lock: Lock,
    place: Place,
}

/// The socket, opened by who has the lock. Dropped, it is gone before the lock is.
#[derive(Debug)]
pub(super) struct Door {
    socket: NamedSocket,
    _lock: Lock,
}

impl Place {
    /// Takes the lock; none: another tambat has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<Key>> {
        Ok(Lock::try_exclusive(&self.lock)?.map(|lock| Key { lock, place: self.clone() }))
    }

    /// Knocks at the door of who holds the port.
    pub(super) async fn knock(&self) -> io::Result<Lines> {
        let noted = Lock::note_of_holder(&self.lock)?.filter(|note| !note.is_empty()).map(PathBuf::from);
        let socket = noted.as_ref().unwrap_or(&self.socket);
        let stream = in_time(UnixStream::connect(socket)).await?;
        Lines::with_own_user(stream)
    }
}

impl Key {
    /// Opens the door. What a killed holder has left there is removed.
    pub(super) fn open(self) -> io::Result<Door> {
        let Self { lock, place: Place { socket, sockets, .. } } = self;
        let shown = socket.display().to_string();
        let cannot = |error: io::Error| io::Error::new(error.kind(), format!("cannot open {shown}: {error}"));
        // The folder may have gone since the start.
        let socket = sockets.make().and_then(|()| NamedSocket::open(&sockets, socket)).map_err(cannot)?;
        // Where it cannot be noted, those of this kind of session find it all the same.
        let _ = lock.leave_note(socket.path().to_str().unwrap_or_default());
        Ok(Door { socket, _lock: lock })
    }
}

impl Door {
    /// Who knocks. Cancel safe.
    pub(super) async fn accept(&mut self) -> io::Result<UnixStream> {
        self.socket.accept().await
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Nobody else has opened it: the lock is still held, and goes after this.
        let _ = std::fs::remove_file(self.socket.path());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_holds_and_the_next_opens_the_door_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let of = |session: &str| {
                let runtime = dir.path().join(session);
                std::fs::create_dir(&runtime).unwrap();
                let sockets = Sockets::open(Some(runtime.as_os_str())).unwrap();
                Place { lock: dir.path().join("http-1.lock"), socket: sockets.http_socket(1), sockets }
            };
            let (place, elsewhere) = (of("session"), of("another"));
            std::fs::write(&place.socket, "left by a killed holder").unwrap();
            let mut door = place.try_lock().unwrap().unwrap().open().unwrap();
            assert!(place.try_lock().unwrap().is_none());
            assert_eq!(std::fs::metadata(&place.socket).unwrap().permissions().mode() & 0o777, 0o600);
            for guest in [&place, &elsewhere] {
                let (guest, host) = tokio::join!(guest.knock(), door.accept());
                assert!(guest.is_ok() && host.is_ok());
            }
            drop(door);
            assert!(!place.socket.exists());
            assert!(place.knock().await.is_err());
            place.try_lock().unwrap().unwrap().open().unwrap();
        });
    }
}
