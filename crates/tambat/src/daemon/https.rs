//! What the router needs where TLS ends here: for the names of this user's apps, and at the listeners of an app's files.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tambat_certs::{Driver, FilePair, LocalCa, Report, Store, StoreSettings};
use tambat_model::{HostPattern, Plan, RouteTable, TlsHandling, TlsPlan};
use tambat_router::{ClientAuth, TlsSettings};
use tokio::sync::watch;

use super::Sayer;
use crate::certificates::StoreCertificates;
use crate::failure::Failure;
use crate::route::client_auth;

/// The name of this machine, at which a shared listener lists the apps; no app has it.
const LOCALHOST: &str = "localhost";

/// What an app has where TLS ends here.
pub(super) struct Tls {
    /// For the names of this user's apps; none: there is no local CA.
    pub(super) names: Option<Arc<TlsSettings>>,
    /// For the listeners of the app's files; none: there is nothing that says who we are.
    pub(super) entrances: Option<Arc<TlsSettings>>,
    /// To be run.
    pub(super) driver: Driver,
    store: Arc<Store>,
}

impl Tls {
    /// Names whose handshakes end at listeners of this app and that no certificate is for: a sentence each.
    pub(super) fn nameless(&self, plan: &Plan) -> Vec<String> {
        let claims = plan.entrances().iter().flat_map(|plan| plan.claims.iter().map(move |claim| (plan.at, claim)));
        let ended = claims.filter(|(_, claim)| claim.tls == TlsHandling::Terminate);
        let names = ended.flat_map(|(at, claim)| claim.hosts.iter().map(move |host| (at, host)));
        let unknown = names.filter_map(|(at, host)| match host {
            HostPattern::Exact(name) if self.store.find(Some(name)).is_none() => Some((at, name)),
            _ => None,
        });
        let said = unknown.map(|(at, name)| {
            format!(
                "{name} has no certificate, so its clients are refused at {at}: name one in [router.tls]; those below \
                 .localhost and .test have one by themselves"
            )
        });
        said.collect()
    }
}

/// TLS with the certificates of `[router.tls]`, whose files are seen from `dir`, and of the local CA, for the names that
/// are in the route table when somebody asks. Whoever starts an app is told at once what is wrong with files.
pub(super) fn settings(
    ca: Option<LocalCa>,
    (plan, dir): (&TlsPlan, &Path),
    tables: watch::Receiver<Arc<RouteTable>>,
    sayer: &Sayer,
) -> Result<Tls, Failure> {
    let cannot = |why: String| Failure::new(format!("cannot serve names over https: {why}"));
    let (now, has_ca) = (SystemTime::now(), ca.is_some());
    let pair =
        |files: &tambat_model::CertificateFiles| FilePair { chain: dir.join(&files.chain), key: dir.join(&files.key) };
    let files: Vec<FilePair> = plan.certificates.iter().map(pair).collect();
    for pair in &files {
        pair.load(now).map_err(|error| Failure::new(error.to_string()))?;
    }
    let has_any = has_ca || !files.is_empty();
    let sayer = sayer.clone();
    let report: Report = Arc::new(move |news| sayer.say(news.to_string()));
    let settings = StoreSettings { files, local: ca, acme: None, report };
    let (store, driver) = Store::new(settings, now).map_err(|error| cannot(error.to_string()))?;
    let is_served = move |name: &str| {
        let table = tables.borrow();
        let mut entrances = table.entrances();
        name == LOCALHOST || table.hosts().takes(name) || entrances.any(|(_, entrance)| entrance.terminated.takes(name))
    };
    let certificates = Arc::new(StoreCertificates::new(Arc::clone(&store), is_served));
    let with = |clients| {
        let settings = TlsSettings::new(Arc::clone(&certificates) as _, clients);
        settings.map(Arc::new).map_err(|error| cannot(error.to_string()))
    };
    let names = has_ca.then(|| with(ClientAuth::Off)).transpose()?;
    let clients = plan.client_auth.as_ref().map_or(Ok(ClientAuth::Off), |plan| client_auth(plan, dir))?;
    let entrances = has_any.then(|| with(clients)).transpose()?;
    Ok(Tls { names, entrances, driver, store })
}
