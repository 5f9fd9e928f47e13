//! Why handshakes come to nothing, and how many did.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustls::{Error, PeerMisbehaved};

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandshakeFailure {
    /// It was not over in time.
    Timeout,
    /// The client went away.
    Gone,
    /// What it sent is not TLS.
    NotTls,
    /// There is no certificate for the name it asked for.
    Name,
    /// It speaks nothing that is spoken here (RFC 7301 §3.2).
    Protocol,
    /// It has no version, cipher suite or group in common with us.
    Incompatible,
    /// Its certificate is missing where one is required, or not to be trusted.
    ClientCertificate,
    /// It did not want us: as a rule it does not trust our certificate.
    Alert,
    /// It broke another rule of the protocol.
    Broken,
}

impl HandshakeFailure {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Gone,
        Self::NotTls,
        Self::Name,
        Self::Protocol,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::Alert,
        Self::Broken,
    ];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// As metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Gone => "gone",
            Self::NotTls => "not-tls",
            Self::Name => "unknown-name",
            Self::Protocol => "no-protocol",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client-certificate",
            Self::Alert => "alert",
            Self::Broken => "broken",
        }
    }

    /// What rustls found, in this or in the client's first message.
    pub(super) fn of(error: &Error, in_hello: bool) -> Self {
        match error {
            Error::InvalidMessage(_) if in_hello => Self::NotTls,
            Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName) => Self::Name,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => Self::ClientCertificate,
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Broken,
        }
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The handshakes of a listener. All of it is relaxed: no figure says anything about another.
#[derive(Debug, Default)]
pub(crate) struct HandshakeCounters {
    pub(crate) done: AtomicU64,
    pub(crate) failed: [AtomicU64; HandshakeFailure::ALL.len()],
    pub(crate) under_way: AtomicUsize,
}

impl HandshakeCounters {
    pub(crate) fn count<T>(&self, outcome: &Result<T, HandshakeFailure>) {
        match outcome {
            Ok(_) => self.done.fetch_add(1, Ordering::Relaxed),
            Err(failure) => self.failed[failure.index()].fetch_add(1, Ordering::Relaxed),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_own_counter_and_name() {
        let counters = HandshakeCounters::default();
        for (index, failure) in HandshakeFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure.index(), index);
            counters.count::<()>(&Err(failure));
            assert_eq!(counters.failed[index].load(Ordering::Relaxed), 1);
        }
        counters.count(&Ok(()));
        assert_eq!(counters.done.load(Ordering::Relaxed), 1);
        let mut names = HandshakeFailure::ALL.map(HandshakeFailure::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]));
    }
}
