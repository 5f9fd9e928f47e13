//! What the supervisor is told, and what it tells.

use tambat_model::{Environment, Gate, InstanceName, InstancePort, ProcessName, Wiring};
use tambat_os::{Signal, WinSize};
use tokio::sync::oneshot;

use crate::news::News;

/// What the supervisor is told.
#[derive(Debug)]
pub enum Command {
    /// The app is built: start it.
    Built,
    /// Make it so many.
    Scale(ProcessName, u16),
    /// Start every instance anew.
    Restart(ProcessName),
    /// Stop every instance.
    Stop(ProcessName),
    /// Hold its connections, or let them through.
    Gate(ProcessName, Gate),
    /// Handles point elsewhere from the next start on.
    Rewire(Wiring),
    /// A live instance, by its generation, refused a connection.
    Refused {
        /// [`tambat_model::InstanceView::generation`].
        run: u32,
    },
    /// A connection began to wait for this process.
    Wanted(ProcessName),
    /// Hand a signal on to every instance.
    Signal(Signal),
    /// The terminal has another size.
    Resize(WinSize),
    /// What does this process find in its environment? `None`: there is no such process.
    Environment(ProcessName, oneshot::Sender<Option<Environment>>),
    /// Stop everything; [`Outcome::Stopped`] follows.
    Shutdown,
    /// Kill everything; [`Outcome::Stopped`] follows.
    Kill,
}

/// How it all ended. Nothing of the app is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its user stopped it.
    Stopped,
    /// Every process came to its end.
    Ended {
        /// The first code that is not 0.
        code: u8,
    },
}

/// Something about an instance that its user is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// Which.
    pub instance: InstanceName,
    /// The first port it was told, where anything of it runs.
    pub port: Option<InstancePort>,
    /// What.
    pub news: News,
}
