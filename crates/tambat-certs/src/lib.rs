//! Certificates: which one a handshake gets for a name, and where it comes from.
//!
//! From files that somebody else looks after, and which are read again when they change; from an ACME CA (RFC 8555), for
//! the public names of the route table; from a CA of this machine's user, for local names. A [`Certificate`] says which.
//!
//! A [`Store`] has them all and answers handshakes; its [`Driver`] is a future that whoever has a runtime spawns. Nothing
//! here listens, accepts or knows a route: the store is told the names, and is asked.

mod acme;
mod cert_name;
mod certificate;
mod driver;
mod files;
mod local_ca;
mod moment;
mod news;
#[cfg(test)]
mod sample;
mod sign;
mod store;
mod table;
mod write;

pub use acme::{AcmeSettings, AcmeStatus, AskUrl, CaStatus, Eab, Failure, FailureKind, Offered, SettingsError, kept};
pub use cert_name::CertName;
pub use certificate::{CHAIN_CERTIFICATES_MAX, Certificate, CertificateError, Lifetime, Origin};
pub use driver::{Driver, FILES_LOOK_EVERY};
pub use files::{CERTIFICATE_FILE_BYTES_MAX, FileError, FilePair, FileStatus, LifetimeWarning};
pub use local_ca::{LOCAL_CA_LIFETIME, LocalCa, LocalCaError, Opened, Root, bundle};
pub use news::{News, Report, Severity};
pub use store::{Status, Store, StoreSettings};
pub use write::write_shared;
