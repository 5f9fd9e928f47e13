//! What the certificates that are made here have in common.

use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::certificate::Lifetime;
use crate::moment;

/// A new key: ECDSA over P-256, which everything that speaks TLS knows, and which signs in microseconds.
pub(crate) fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// From when until when it is to be good.
pub(crate) fn set_lifetime(params: &mut CertificateParams, lifetime: Lifetime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(moment::unix(lifetime.not_before));
    params.not_after = epoch + Duration::from_secs(moment::unix(lifetime.not_after));
}

/// `O=tambat, CN=…`.
pub(crate) fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "tambat");
    name.push(DnType::CommonName, common_name);
    name
}
