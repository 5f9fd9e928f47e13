//! Certificates for the tests of this folder.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::settings::Certificate;

/// One that signs itself and covers these names.
pub(super) fn certificate(names: &[&str]) -> Arc<Certificate> {
    let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let key = CertifiedKey::new(vec![made.cert.der().clone()], any_supported_type(&key).unwrap());
    Arc::new(Certificate { key: Arc::new(key), covers: names.iter().map(|name| name.parse().unwrap()).collect() })
}
