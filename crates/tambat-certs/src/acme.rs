//! Certificates from an ACME CA (RFC 8555): what is wanted, when the next one is due, and how it is got.
//!
//! Decided in [`renewal`] and [`demand`], which know neither the CA nor a clock; done in [`driver`].

use std::path::Path;

mod account;
mod ask;
mod challenge;
mod client;
mod demand;
mod disk;
mod driver;
mod failure;
#[cfg(test)]
mod fake_ca;
mod hook;
mod jitter;
mod order;
mod renewal;
mod routes;
mod settings;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use challenge::Challenges;
pub(crate) use driver::{Desk, Done, Request};
pub use failure::{Failure, FailureKind};
pub(crate) use routes::Routes;
pub use settings::{AcmeSettings, AskUrl, Eab, Offered, SettingsError};
pub use status::{AcmeStatus, CaStatus};

/// What a CA has given and refused before, as it was kept in the folder of [`AcmeSettings::new`]: for whoever asks how things
/// are while nobody looks after them. By name; what can't be read is left out.
pub fn kept(dir: &Path) -> Vec<AcmeStatus> {
    disk::Disk::kept(dir)
}
