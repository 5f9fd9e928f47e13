//! Who runs the app of a directory: one lock in the app's state folder, and what its holder noted there.
//!
//! The folder of sockets is another one in every kind of session, and goes away with the last of them. The lock must
//! not: two tambats with one app are two databases on one set of data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tambat_os::{Lock, Pid};
use tokio::time::Instant;

use crate::daemon::StateDir;
use crate::failure::Failure;
use crate::sockets::Sockets;

/// Who looks at the lock has it for microseconds, and who is just ending lets it go in milliseconds: it is tried for so
/// long.
const TAKE_LIMIT: Duration = Duration::from_millis(200);

/// How often.
const TAKE_PAUSE: Duration = Duration::from_millis(10);

/// Proof that nobody else runs the app. Two versions of it may have it for a while, the one that goes and the one that comes.
#[derive(Debug, Clone)]
pub(crate) struct RunLock {
    lock: Arc<Lock>,
}

/// What the holder of the lock says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunNote {
    /// The tambat.
    pid: Option<i32>,
    /// Its spawner, which may outlive it for a while.
    spawner: Option<i32>,
    /// Its control socket; none where the path is no text.
    socket: Option<String>,
}

impl RunLock {
    /// Takes the lock; `None`: another tambat runs the app. Cancel safe.
    pub(crate) async fn take(
        state: Option<&StateDir>,
        sockets: &Sockets,
        app_dir: &Path,
    ) -> Result<Option<Self>, Failure> {
        let path = state.map_or_else(|| sockets.lock(app_dir), StateDir::lock);
        let began = Instant::now();
        loop {
            let taken = Lock::try_exclusive(&path).map_err(|error| Failure::new(error.to_string()))?;
            if taken.is_some() || began.elapsed() > TAKE_LIMIT {
                return Ok(taken.map(|lock| Self { lock: Arc::new(lock) }));
            }
            tokio::time::sleep(TAKE_PAUSE).await;
        }
    }

    /// What the last holder noted, unless it has ended as it should.
    pub(crate) fn last(&self) -> RunNote {
        RunNote::read(&self.lock.note())
    }

    /// Says who runs the app from now on. A note that cannot be left costs others this knowledge and nothing else.
    pub(crate) fn note(&self, spawner: Pid, socket: &Path) {
        let note = RunNote {
            pid: Some(Pid::own().get()),
            spawner: Some(spawner.get()),
            socket: socket.to_str().map(str::to_owned),
        };
        let _ = self.lock.leave_note(&serde_json::to_string(&note).unwrap_or_default());
    }

    /// Lets it go. Where nobody else has it, nothing of the app is left, so that nobody need wait for anything.
    pub(crate) fn end(self) {
        if let Some(lock) = Arc::into_inner(self.lock) {
            let _ = lock.leave_note("");
        }
    }
}

/// Who runs the app of this canonical directory now; `None`: nobody, as far as can be seen from here. Creates nothing.
pub(crate) fn runner(sockets: &Sockets, app_dir: &Path) -> Option<RunNote> {
    let state = StateDir::of(app_dir).ok().map(|state| state.lock());
    let places = state.into_iter().chain([sockets.lock(app_dir)]);
    let mut noted = places.filter_map(|path| Lock::note_of_holder(&path).ok().flatten());
    noted.next().map(|note| RunNote::read(&note))
}

/// The control sockets of all apps of this user that run, whatever session they were started from; and what dead ones have
/// left in the folder of this one.
pub(crate) fn all_sockets(sockets: &Sockets) -> BTreeSet<PathBuf> {
    let notes = StateDir::all().into_iter().filter_map(|state| Lock::note_of_holder(&state.lock()).ok().flatten());
    notes.filter_map(|note| RunNote::read(&note).socket()).chain(sockets.all()).collect()
}

impl RunNote {
    /// What is no note says nothing.
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// The spawner.
    pub(crate) fn spawner(&self) -> Option<Pid> {
        self.spawner.and_then(Pid::new)
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        self.socket.as_ref().map(PathBuf::from)
    }

    /// It holds the lock, and does not answer.
    pub(crate) fn silent(&self, app_dir: &Path) -> Failure {
        let dir = app_dir.display();
        let Some(pid) = self.pid else {
            return Failure::new(format!("the app in {dir} is just starting or stopping: try again in a moment"));
        };
        let place = self.socket.as_ref().map(|socket| format!(" at {socket}")).unwrap_or_default();
        Failure::new(format!(
            "the app in {dir} runs as pid {pid}, which does not answer{place}: it is just starting or stopping, or the \
             folder of its socket is gone; try again in a moment (`kill {pid}` stops it)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_and_the_end_takes_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = Sockets::open(Some(dir.path().as_os_str())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let take = || runtime.block_on(RunLock::take(None, &sockets, dir.path())).unwrap();
        let first = take().unwrap();
        assert_eq!(first.last(), RunNote::default());
        first.note(Pid::own(), Path::new("/run/x.sock"));
        assert!(take().is_none());
        let runs = runner(&sockets, dir.path()).unwrap();
        assert_eq!((runs.spawner(), runs.socket()), (Some(Pid::own()), Some("/run/x.sock".into())));
        drop(first);
        assert!(runner(&sockets, dir.path()).is_none());
        let after_a_kill = take().unwrap();
        assert_eq!(after_a_kill.last(), runs);
        after_a_kill.end();
        assert_eq!(take().unwrap().last(), RunNote::default());
    }

    #[test]
    fn who_is_silent_is_named() {
        let note = |pid| RunNote { pid, spawner: None, socket: Some("/run/user/7/tambat/x.sock".to_owned()) };
        let said = |pid| note(pid).silent(Path::new("/srv/shop")).to_string();
        insta::assert_snapshot!([said(Some(4711)), said(None)].join("\n"), @"
        the app in /srv/shop runs as pid 4711, which does not answer at /run/user/7/tambat/x.sock: it is just starting or stopping, or the folder of its socket is gone; try again in a moment (`kill 4711` stops it)
        the app in /srv/shop is just starting or stopping: try again in a moment
        ");
    }
}
