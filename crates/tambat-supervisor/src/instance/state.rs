//! Where an instance is in its life, what can happen to it, and what can be done about it.

use tambat_model::{Cause, Endpoint};

use crate::exit::Exit;
use crate::moment::Moment;
use crate::news::News;
use crate::sight::Sight;

/// Where it is in its life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    /// The spawner has been asked.
    Spawning { since: Moment },
    /// It runs; its ports do not answer.
    Binding { pid: i32, since: Moment, seen: Sight, turn: Turn },
    /// It runs and is ready. A worker has no endpoints until it binds its port.
    Ready { pid: i32, endpoints: Vec<Endpoint>, after: std::time::Duration },
    /// It takes no new connection; when those it has have ended it is stopped, and what then. `is_cut`: its streams have had
    /// their time, and are ended.
    Draining { pid: i32, until: Moment, then: Then, is_cut: bool },
    /// It was told to stop, and what then. `killed`: by force, which it had no chance to obey.
    Stopping { pid: Option<i32>, then: Then, killed: bool },
    /// It is started again at this moment.
    Backoff { until: Moment, cause: Cause, code: u8 },
    /// It failed too often.
    Failed { cause: Cause, code: u8 },
    /// It came to its end.
    Ended { cause: Cause, code: u8 },
    /// Its user stopped it.
    Stopped,
    /// Nobody needs it any more.
    Gone,
}

/// Why its ports do not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has just been started, and has a limit.
    Boot,
    /// It was ready, lives and has let go of its port: a reloader at work.
    Reload,
    /// The same for so long that its user was told. It may wait for a change of its files, however long that takes.
    Overdue,
}

/// What follows once a stopped instance has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Then {
    /// It stays stopped.
    Stay,
    /// It is forgotten.
    Leave,
    /// It is started again at once.
    Start,
    /// It counts as a failure.
    Fail { cause: Cause, code: u8 },
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Start it, wherever it is not running.
    Start,
    /// It runs.
    Spawned { pid: i32 },
    /// It could not be started.
    NotSpawned { cause: Cause },
    /// What was seen on its ports.
    Seen(Sight),
    /// It ended, and with it everything it had started.
    Exited(Exit),
    /// A connection to it was refused although it lives.
    Refused,
    /// It takes no connection any more, and has none.
    Drained,
    /// The moment of [`super::Instance::deadline`] has come.
    Elapsed,
    /// Its user wants it stopped.
    Stop,
    /// It is not needed any more: finish the connections, then stop and forget it.
    Retire,
    /// Stop it and start it again.
    Restart,
    /// Now.
    Kill,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start the command, on new instance ports.
    Spawn,
    /// End the streams that it still has.
    Cut,
    /// Send the stop signal; the keeper sees to the grace. Once a run: a keeper takes a second one for "now".
    Stop,
    /// Kill the whole tree.
    Kill,
    /// Tell the user.
    Tell(News),
}

/// How eagerly its ports are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It has just been started.
    Boot,
    /// It lives and has let go of its port.
    Reload,
    /// A worker, which need not bind anything.
    Worker,
}
