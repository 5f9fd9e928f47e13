//! Instances: one pure state machine, and the driver that acts for it.
//!
//! `Instance` decides what happens to one running copy of a process, `Group` to all copies of one; neither knows a
//! socket, a process or a clock. The driver behind [`Supervisor`] turns their actions into spawns, signals, timers and
//! probes, and publishes the [`tambat_model::World`]. What is absent: routes, terminals, files, the control API.

mod ask;
mod child_output;
mod command;
mod commons;
mod driver;
mod exit;
mod group;
mod instance;
mod keeper_socket;
mod line;
mod moment;
mod news;
mod ports;
mod run;
mod sight;
#[cfg(test)]
mod simulation;
mod watcher;

use std::sync::Arc;

use tambat_os::Spawner;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

pub use child_output::{ChildStream, LineReader};
pub use command::{Command, Outcome, Told};
pub use commons::Commons;
pub use driver::{Outlets, Setup};
pub use exit::{Exit, How};
pub use keeper_socket::KeeperSocket;
pub use news::News;
pub use run::{OutputLine, Stream};

/// A running supervisor.
#[derive(Debug)]
pub struct Supervisor {
    commands: UnboundedSender<Command>,
    task: JoinHandle<Outcome>,
}

impl Supervisor {
    /// Starts the app on the current runtime. Ends when nothing of it is left, see [`Supervisor::outcome`].
    pub fn start(setup: Setup, spawner: Arc<Spawner>, outlets: Outlets) -> Self {
        let (commands, received) = unbounded_channel();
        let task = tokio::spawn(driver::run(setup, spawner, outlets, received));
        Self { commands, task }
    }

    /// Where commands go. Sending after the end does nothing.
    pub fn commands(&self) -> UnboundedSender<Command> {
        self.commands.clone()
    }

    /// Waits for the end. Cancel safe: dropping the future ends nothing.
    pub async fn outcome(&mut self) -> Outcome {
        // The task ends by itself only; a panic in it has been printed and everything dropped, which ends the app.
        (&mut self.task).await.unwrap_or(Outcome::Ended { code: 70 })
    }
}
