//! The route table, as it is said over the socket.

use serde::{Deserialize, Serialize};

/// The route table at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RoutesReport {
    /// One for each process port, by its name.
    pub routes: Vec<RouteStatus>,
    /// Requests on shared listeners that no route was found for.
    pub unrouted: u64,
}

/// What happens to a connection or request that is for one process port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The process port: `web`, `chat:admin`, `billing/api`.
    pub process: String,
    /// What is spoken there.
    pub protocol: String,
    /// Where it is reached: `localhost:5000`, `shop.localhost/`, `*.shop.example.com/api`.
    pub at: Vec<String>,
    /// `serves`, `holds` (connections wait) or `refuses`.
    pub state: String,
    /// Why it does not serve.
    pub cause: Option<String>,
    /// What to do about that.
    pub mend: Option<String>,
    /// Everything that could serve it.
    pub targets: Vec<TargetStatus>,
    /// Requests so far.
    pub requests: u64,
    /// Of these, being served now.
    pub in_flight: u64,
    /// Of these, answered by the router itself with an error, or cut off.
    pub errors: u64,
}

/// An instance port that a route may choose, or why it may not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// `web.1`.
    pub name: String,
    /// Where it is dialled, where that is known.
    pub address: Option<String>,
    /// Is it chosen from?
    pub chosen: bool,
    /// Why, or why not: "ready", "web.1 is draining".
    pub reason: String,
    /// What it serves now: requests, or streams.
    pub in_flight: u64,
}
