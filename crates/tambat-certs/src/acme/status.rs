//! What is known of the certificates of an ACME CA, for whoever asks how things are.

use std::time::SystemTime;

use crate::cert_name::CertName;
use crate::certificate::Lifetime;

/// One name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeStatus {
    /// The name.
    pub name: CertName,
    /// From when until when its certificate is good; none: it has none yet.
    pub lifetime: Option<Lifetime>,
    /// An order runs now.
    pub ordering: bool,
    /// When the next one begins; none while one runs, or when there will be none.
    pub next_order: Option<SystemTime>,
    /// So many have failed in a row, the CA's own troubles not counted.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// It is there because somebody connected to it, not because a route writes it out.
    pub on_demand: bool,
}

/// The CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaStatus {
    /// Its directory.
    pub directory: String,
    /// Since when it is away, and why it seems so; none: it was there when it was asked last.
    pub away: Option<(SystemTime, String)>,
}
