//! A server of many apps, as it is told over its own socket.

use serde::{Deserialize, Serialize};

/// A `tambat serve` that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServeStatus {
    /// The directory of its apps.
    pub dir: String,
    /// Its pid.
    pub pid: i32,
    /// Its version.
    pub version: String,
    /// Where it listens for everybody.
    pub listens: Vec<String>,
    /// Its apps: those that are served, then those that are not.
    pub apps: Vec<ServedApp>,
}

/// An app of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServedApp {
    /// Its name; of one that could not be read, that of its folder.
    pub name: String,
    /// Its directory, where it is served.
    pub dir: Option<String>,
    /// Why it is not served.
    pub cause: Option<String>,
}
