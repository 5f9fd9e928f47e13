//! The machine under tambat: who listens on a port, spawner, keepers and process trees, signals, ptys, sockets.
//!
//! Three things are found here and nowhere else in the workspace: `unsafe`, `cfg(target_os)`, and knowledge of
//! `/proc`. What is absent: any notion of an app, a process type or a route; any runtime (handles are handed out
//! as `std` and [`std::os::fd::OwnedFd`] types, nonblocking where that is said, and the callers wrap them); any
//! thread; any state of its own.
//!
//! # Nothing outlives tambat
//!
//! [`Spawner::fork`] runs before any thread exists. The spawner forks one *keeper* per instance; the keeper is a
//! child subreaper in a session of its own, and the command is its child. So the instance's tree is the keeper's
//! descendants, double forks and new sessions included, and when the keeper's socket to tambat closes, for
//! whatever reason, all of it is asked to end, given its grace, and killed.

#[cfg(not(target_os = "linux"))]
compile_error!("tambat runs on Linux only: it needs child subreapers, signalfd, memfd and /proc");

pub mod arrivals;
pub mod clock;
pub mod datagrams;
pub mod limits;
pub mod listening;
pub mod lock;
pub mod owner;
pub mod peer;
pub mod ports;
pub mod priority;
pub mod pty;
pub mod queued;
pub mod random;
pub mod rights;
pub mod runtime_dir;
pub mod signals;
pub mod spawner;
pub mod terminal;
pub mod tree;

mod command;
mod context;
mod frame;
mod keeper;
mod pid;
mod protocol;
mod sys;

pub use command::{CommandSpec, StdioSpec, User};
pub use frame::ProtocolError;
pub use listening::{Holder, Listening, Transport, holder_of, holder_over, listening, listening_over};
pub use lock::Lock;
pub use owner::{
    OwnedConnection, OwnedListener, Owner, connections_of, hidden_of, listeners_of, outsiders_on, owner, owner_over,
    udp_listeners_of,
};
pub use pid::Pid;
pub use protocol::{ExitReport, ExitStatus, LEFT_BEHIND_MAX, Order, Report, ReportReader, StopSpec};
pub use signals::{Signal, UnknownSignal};
pub use spawner::{ChildOutput, Keeper, Spawner};
pub use terminal::WinSize;
pub use tree::{ProcessInfo, descendants, group_of, memory_below, process_info};
