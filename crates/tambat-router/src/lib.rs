//! The router: holds the service ports and carries their connections to the instances.
//!
//! A connection that arrives at a service port looks up its [`Route`](tambat_model::Route) in the route table of the
//! moment. It is carried to one of the targets, round-robin; or it waits, its bytes unread in the kernel, until the
//! table has a target for it; or it is turned away with the cause, in its own protocol. It keeps the target it began
//! with, whatever the table says later.
//!
//! ```text
//! accept ── connection ── choice (pure: table, port, cursor -> target | wait | refuse)
//!                │
//!                ├── dial ── carry        bytes both ways, until both have ended
//!                └── turn_away            the refusal, then a lingering close
//! ```
//!
//! What is absent: the router starts and judges no instance (it reports what it saw, see [`RouterReport`]), reads no
//! file, and opens no listener itself: it is given bound ones. A service port's stream is carried unread, whatever its
//! protocol.

mod accept;
mod access;
mod addresses;
mod carry;
mod choice;
mod connection;
mod deadlines;
mod health;
mod http;
mod listener;
mod pool;
mod report;
mod router;
mod settings;
mod socket;
mod splice;
mod tables;
mod turn_away;
mod worker;

pub use access::{AccessFormat, AccessLog, EndedBy};
pub use health::{Check, Checker, Health, HealthView, QUESTIONS_MAX, REST, Sign, TargetHealth};
pub use listener::{CountersSnapshot, Listener, ListenerKind};
pub use report::RouterReport;
pub use router::Router;
pub use settings::RouterSettings;
