//! What the router needs to serve the names of this user's apps over https.

use std::sync::Arc;
use std::time::SystemTime;

use tambat_certs::{LocalCa, Report, Store, StoreSettings};
use tambat_model::RouteTable;
use tambat_router::{ClientAuth, TlsSettings};
use tokio::sync::watch;

use super::Sayer;
use crate::certificates::StoreCertificates;
use crate::failure::Failure;

/// The name of this machine, at which a shared listener lists the apps; no app has it.
const LOCALHOST: &str = "localhost";

/// TLS with certificates of the local CA, for the names that are in the route table when somebody asks.
pub(super) fn settings(
    ca: LocalCa,
    tables: watch::Receiver<Arc<RouteTable>>,
    sayer: &Sayer,
) -> Result<Arc<TlsSettings>, Failure> {
    let cannot = |why: String| Failure::new(format!("cannot serve names over https: {why}"));
    let sayer = sayer.clone();
    let report: Report = Arc::new(move |news| sayer.say(news.to_string()));
    let settings = StoreSettings { files: Vec::new(), local: Some(ca), acme: None, report };
    // With a local CA alone there is nothing to drive.
    let (store, _) = Store::new(settings, SystemTime::now()).map_err(|error| cannot(error.to_string()))?;
    let is_served = move |name: &str| name == LOCALHOST || tables.borrow().hosts().takes(name);
    let certificates = Arc::new(StoreCertificates::new(store, is_served));
    let settings = TlsSettings::new(certificates, ClientAuth::Off).map_err(|error| cannot(error.to_string()))?;
    Ok(Arc::new(settings))
}
