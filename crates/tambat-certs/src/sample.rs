//! Certificates and moments for tests.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};

use crate::certificate::Lifetime;
use crate::moment;

/// So many days after 2026-01-01.
pub(crate) fn days(count: u64) -> SystemTime {
    moment::from_unix(1_767_225_600) + Duration::from_secs(count * 86_400)
}

/// So many hours after 2026-01-01.
pub(crate) fn hours(count: u64) -> SystemTime {
    days(0) + Duration::from_secs(count * 3_600)
}

/// A certificate and its key, as PEM.
pub(crate) struct Made {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// One that nobody has signed.
pub(crate) fn self_signed(names: &[&str], from: SystemTime, until: SystemTime) -> Made {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    crate::sign::set_lifetime(&mut params, Lifetime { not_before: from, not_after: until });
    let key = KeyPair::generate().unwrap();
    Made { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}
