//! The TLS of a router alone: certificates from files, which are read again when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tambat_certs::{Driver, FilePair, Store, StoreSettings};
use tambat_model::{ClientAuthPlan, TlsPlan};
use tambat_router::{ClientAuth, TlsSettings};

use crate::certificates::StoreCertificates;
use crate::failure::Failure;

/// What a router alone has for its listeners with TLS.
pub(super) struct Tls {
    /// For those listeners.
    pub(super) settings: Arc<TlsSettings>,
    /// What else the router asks.
    pub(super) certificates: Arc<StoreCertificates>,
    /// To be run.
    pub(super) driver: Driver,
}

/// What the file says of TLS; none: nothing. Files are seen from `dir`. Whoever starts a router is told at once what is
/// wrong with them; later `say` is.
pub(super) fn tls(plan: &TlsPlan, dir: &Path, say: fn(&str)) -> Result<Option<Tls>, Failure> {
    if plan.certificates.is_empty() {
        return Ok(None);
    }
    let now = SystemTime::now();
    let pair =
        |files: &tambat_model::CertificateFiles| FilePair { chain: dir.join(&files.chain), key: dir.join(&files.key) };
    let files: Vec<FilePair> = plan.certificates.iter().map(pair).collect();
    for pair in &files {
        pair.load(now).map_err(|error| Failure::new(error.to_string()))?;
    }
    let report: tambat_certs::Report = Arc::new(move |news| say(&news.to_string()));
    let settings = StoreSettings { files, local: None, acme: None, report };
    let (store, driver) = Store::new(settings, now).map_err(|error| Failure::new(error.to_string()))?;
    let certificates = Arc::new(StoreCertificates::new(store, |_| true));
    let client_auth = plan.client_auth.as_ref().map_or(Ok(ClientAuth::Off), |plan| client_auth(plan, dir))?;
    let settings = TlsSettings::new(Arc::clone(&certificates) as _, client_auth)
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(Some(Tls { settings: Arc::new(settings), certificates, driver }))
}

/// Whether clients need certificates; the CA's file is seen from `dir`.
pub(crate) fn client_auth(plan: &ClientAuthPlan, dir: &Path) -> Result<ClientAuth, Failure> {
    let path = dir.join(&plan.ca);
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new(format!("cannot read the CA of client certificates {}: {why}", path.display()))
    };
    let pem = std::fs::read(&path).map_err(|error| cannot(&error))?;
    ClientAuth::from_pem(&pem, plan.required).map_err(|error| cannot(&error))
}
