//! The router: holds the listeners and carries what arrives there to the instances.
//!
//! A listener is a service port, shared by all names, or one of the manifest, where clients may have to tell whom they
//! want. What is no HTTP is carried as a stream: it looks up its [`Route`](tambat_model::Route) in the route table of the
//! moment, by whom it wants there, goes to one of the targets, or waits, its bytes unread in the kernel, until the table has
//! a target for it, or is turned away with the cause, in its own protocol. It keeps the target it began with, whatever the
//! table says later. Of HTTP each request finds its own route and target; see `http`.
//!
//! ```text
//! accept ── connection ─┬── door        at a listener of the manifest: hears how a client begins, and whom it wants
//!                       ├── stream      seek: choice and balance (pure) -> target | wait | refuse | http
//!                       │     ├── dial ── carry        bytes both ways, until both have ended, or it is cut
//!                       │     └── turn_away            the refusal, then a lingering close
//!                       └── http        request after request; see there
//! ```
//!
//! What comes from an address that has flooded the router waits before all that; see `pauses`.
//!
//! Each worker is a thread with a runtime and an event loop of its own. What its connections share is in its [`Rc`]:
//! the newest route table (a look is one atomic load), one buffer to read into, the pool of kept connections, one timer
//! for all deadlines. Nothing of it is locked; between workers a request shares counters and nothing else.
//!
//! What is absent: the router starts and judges no instance (it reports what it saw, see [`RouterReport`]), reads no
//! file, and opens no listener itself: it is given bound ones. What a message means is decided in `tambat-wire`.
//!
//! [`Rc`]: std::rc::Rc

mod accept;
mod access;
mod addresses;
mod arrival;
mod balance;
mod calendar;
mod carry;
mod challenges;
mod choice;
mod connection;
mod cuts;
mod datagram;
mod deadlines;
mod door;
mod h2c;
mod health;
mod http;
mod http2;
mod in_traffic;
mod introduction;
mod listener;
mod looks;
mod pauses;
mod pool;
mod queue;
mod report;
mod router;
mod settings;
mod socket;
mod splice;
mod stream;
mod tables;
mod tls;
mod transport;
mod turn_away;
mod wanted;
mod worker;

pub use access::{AccessFormat, AccessLog, EndedBy};
pub use challenges::Challenges;
pub use datagram::DatagramListener;
pub use health::{Check, Checker, Health, HealthView, QUESTIONS_MAX, REST, Sign, TargetHealth};
pub use listener::{CountersSnapshot, Listener, ListenerKind};
pub use report::RouterReport;
pub use router::Router;
pub use settings::RouterSettings;
pub use tls::{Certificate, Certificates, ClientAuth, HandshakeFailure, Hello, Lookup, TlsError, TlsSettings};
