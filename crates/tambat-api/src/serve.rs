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
    /// The certificates that it has, or wants.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Why the CA is away; none: it was there when it was asked last, or there is none.
    #[serde(default)]
    pub ca_away: Option<String>,
}

/// A certificate that a server has, or wants. Times are seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The name that it is for; of a file, all its names.
    pub name: String,
    /// `file` or `acme`.
    pub origin: String,
    /// From when on it is good; none: there is none yet.
    pub not_before: Option<u64>,
    /// Until when.
    pub not_after: Option<u64>,
    /// When the next one is ordered; none: one is being ordered now, or none will be.
    pub next_order: Option<u64>,
    /// So many orders, or attempts to read the file, have failed in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// An app of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServedApp {
    /// Its name; of one that could not be read, that of its folder.
    pub name: String,
    /// Its directory, where it is served.
    pub dir: Option<String>,
    /// Why it is not served; of one that is, why its files are not what is served.
    pub cause: Option<String>,
}
