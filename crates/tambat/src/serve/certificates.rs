//! The certificates of a server: from files and from a CA, for the names of its apps.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tambat_api::CertificateStatus;
use tambat_certs::{
    AcmeSettings, AcmeStatus, CertName, Driver, Eab, FilePair, FileStatus, Lifetime, News, Offered, Store,
    StoreSettings,
};
use tambat_manifest::{AcmeKeys, ServeFile};
use tambat_model::HostPattern;
use tambat_router::{ClientAuth, TlsSettings};

use crate::certificates::StoreCertificates;
use crate::daemon::Sayer;
use crate::failure::Failure;
use crate::metrics::CertificateFigures;
use crate::route::client_auth;

/// A key that a CA shows has less than a hundred letters.
const HMAC_BYTES_MAX: u64 = 4_096;

/// Roots: a bundle of all there are has a quarter of this.
const ROOTS_BYTES_MAX: u64 = 1024 * 1024;

/// What a CA gave, in the folder of a server's state.
const ACME_FOLDER: &str = "acme";

/// What a server has for its listener with TLS.
pub(crate) struct Tls {
    /// For the listener.
    pub(crate) settings: Arc<TlsSettings>,
    /// What else the router asks: answers to challenges, and which names are public.
    pub(crate) certificates: Arc<StoreCertificates>,
    /// For whoever looks.
    pub(crate) keeping: Keeping,
    /// To be run.
    pub(crate) driver: Driver,
}

/// What is known of a server's certificates. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    store: Arc<Store>,
    /// How many orders have failed, by name, since the server was started.
    failed: Arc<Mutex<BTreeMap<String, u64>>>,
    /// A CA signs what it may.
    has_ca: bool,
}

/// Does this file call for a listener with TLS?
pub(crate) fn wanted(file: &ServeFile) -> bool {
    file.acme.is_some() || !file.router.plan.tls.certificates.is_empty()
}

/// What the file says of certificates; none: nothing. Files are seen from `dir`, and what the CA gives is kept in `state`.
/// Whoever starts a server is told at once what is wrong with files; later it is said.
pub(crate) fn tls(file: &ServeFile, dir: &Path, state: &Path, sayer: &Sayer) -> Result<Option<Tls>, Failure> {
    if !wanted(file) {
        return Ok(None);
    }
    let (now, plan) = (SystemTime::now(), &file.router.plan.tls);
    let files: Vec<FilePair> = plan
        .certificates
        .iter()
        .map(|files| FilePair { chain: dir.join(&files.chain), key: dir.join(&files.key) })
        .collect();
    for pair in &files {
        pair.load(now).map_err(|error| Failure::new(error.to_string()))?;
    }
    let acme = file.acme.as_ref().map(|keys| acme(keys, dir, state)).transpose()?;
    let has_ca = acme.is_some();
    let failed = Arc::<Mutex<BTreeMap<String, u64>>>::default();
    let (counted, said) = (Arc::clone(&failed), sayer.clone());
    let report: tambat_certs::Report = Arc::new(move |news: &News| {
        if let News::OrderFailed { name, .. } = news {
            let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
            *counted.entry(name.pattern().to_string()).or_default() += 1;
        }
        said.say(news.to_string());
    });
    let settings = StoreSettings { files, local: None, acme, report };
    let (store, driver) = Store::new(settings, now).map_err(|error| Failure::new(error.to_string()))?;
    let certificates = Arc::new(StoreCertificates::new(Arc::clone(&store), |_| true));
    let clients = plan.client_auth.as_ref().map_or(Ok(ClientAuth::Off), |plan| client_auth(plan, dir))?;
    let settings = TlsSettings::new(Arc::clone(&certificates) as _, clients);
    let settings = settings.map_err(|error| Failure::new(error.to_string()))?;
    Ok(Some(Tls { settings: Arc::new(settings), certificates, keeping: Keeping { store, failed, has_ca }, driver }))
}

fn acme(keys: &AcmeKeys, dir: &Path, state: &Path) -> Result<AcmeSettings, Failure> {
    let wrong = |error: tambat_certs::SettingsError| Failure::usage(error.to_string());
    let mut settings = AcmeSettings::new(&keys.directory, state.join(ACME_FOLDER)).map_err(wrong)?;
    settings.set_contact(keys.contact.clone()).map_err(wrong)?;
    // Without it the file is refused.
    settings.terms_agreed = true;
    settings.offered = Offered { http01: keys.challenges.http01, tls_alpn01: keys.challenges.tls_alpn01 };
    settings.dns_hook.clone_from(&keys.dns_hook);
    settings.ask = keys.ask.as_ref().map(|ask| ask.parse()).transpose().map_err(wrong)?;
    settings.roots = keys.roots.as_ref().map(|file| read(&dir.join(file), ROOTS_BYTES_MAX)).transpose()?;
    if let Some(eab) = &keys.eab {
        let key = read(&dir.join(&eab.hmac_file), HMAC_BYTES_MAX)?;
        settings.eab = Some(Eab::new(&eab.key_id, &String::from_utf8_lossy(&key)).map_err(wrong)?);
    }
    Ok(settings)
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() as u64 > bytes_max {
        let shown = path.display();
        return Err(Failure::usage(format!("cannot read {shown}: it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

impl Keeping {
    /// These names are served now: those of them that a CA signs get certificates.
    pub(crate) fn set_names<'a>(&self, names: impl IntoIterator<Item = &'a HostPattern>) {
        self.store.set_names(names);
    }

    /// Has this name a certificate, or is one ordered for it?
    pub(crate) fn will_serve(&self, host: &HostPattern) -> bool {
        let HostPattern::Exact(name) = host else { return false };
        self.store.find(Some(name)).is_some() || (self.has_ca && CertName::of(host).is_some())
    }

    /// Each certificate that is there, or wanted.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        let status = self.store.status();
        status.files.iter().map(of_file).chain(status.acme.iter().map(of_acme)).collect()
    }

    /// Why the CA is away; none: it is not.
    pub(crate) fn ca_away(&self) -> Option<String> {
        let status = self.store.status();
        status.ca.as_ref().and_then(|ca| ca.away.as_ref()).map(|(_, why)| why.clone())
    }

    /// The figures of each, for metrics.
    pub(crate) fn figures(&self) -> Vec<CertificateFigures> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = |of: CertificateStatus| {
            let failures = failed.get(&of.name).copied().unwrap_or(0);
            CertificateFigures { name: of.name, expiry_s: of.not_after, failures }
        };
        self.status().into_iter().map(figures).collect()
    }
}

/// What a CA has given and refused the server whose state is here, while that does not run.
pub(crate) fn kept(state: &Path) -> Vec<CertificateStatus> {
    tambat_certs::kept(&state.join(ACME_FOLDER)).iter().map(of_acme).collect()
}

fn of_file(of: &FileStatus) -> CertificateStatus {
    let names = of.served.as_ref().map(|(names, _)| names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let name = names.map_or_else(|| of.pair.chain.display().to_string(), |names| names.join(", "));
    let (not_before, not_after) = times(of.served.as_ref().map(|(_, lifetime)| *lifetime));
    CertificateStatus {
        name,
        origin: "file".to_owned(),
        not_before,
        not_after,
        next_order: None,
        failures: u32::from(of.error.is_some()),
        last_error: of.error.clone(),
    }
}

fn of_acme(of: &AcmeStatus) -> CertificateStatus {
    let (not_before, not_after) = times(of.lifetime);
    CertificateStatus {
        name: of.name.to_string(),
        origin: "acme".to_owned(),
        not_before,
        not_after,
        next_order: of.next_order.map(seconds),
        failures: of.failures,
        last_error: of.last_error.clone(),
    }
}

fn times(lifetime: Option<Lifetime>) -> (Option<u64>, Option<u64>) {
    (lifetime.map(|of| seconds(of.not_before)), lifetime.map(|of| seconds(of.not_after)))
}

/// Since 1970; what was before is 0.
fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use tambat_manifest::Text;

    use super::*;
    use crate::daemon::Voice;

    fn refused(text: &str, dir: &Path) -> String {
        let file = ServeFile::new(&Text::new("serve.toml", text)).unwrap();
        let Err(failure) = tls(&file, dir, dir, &Voice::new().sayer) else { panic!("{text}") };
        failure.to_string().replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn nothing_said_is_no_tls_and_what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(tls(&ServeFile::default(), dir.path(), dir.path(), &Voice::new().sayer).unwrap().is_none());
        std::fs::write(dir.path().join("eab.key"), "not base64!").unwrap();
        let acme = "[router.acme]\nterms_agreed = true\n";
        let eab = refused(&format!("{acme}eab = {{ key_id = \"7\", hmac_file = \"eab.key\" }}\n"), dir.path());
        assert!(eab.contains("base64url") && !eab.contains("not base64"), "{eab}");
        let roots = refused(&format!("{acme}roots = \"nowhere.pem\"\n"), dir.path());
        assert!(roots.starts_with("cannot read DIR/nowhere.pem: "), "{roots}");
        let files = "[router.tls]\ncertificates = [{ chain = \"c.pem\", key = \"k.pem\" }]\n";
        assert!(refused(files, dir.path()).starts_with("cannot read DIR/"), "{}", refused(files, dir.path()));
    }
}
