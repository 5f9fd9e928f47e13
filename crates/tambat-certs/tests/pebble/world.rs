//! One test's CA, servers and store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tambat_certs::{AcmeSettings, Certificate, News, Store, StoreSettings};
use tambat_model::HostPattern;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::answers::{Asked, Server, Shared};
use crate::ca::{Binding, Pebble};

pub(crate) struct World {
    temp: tempfile::TempDir,
    pebble: Pebble,
    shared: Arc<Shared>,
    http: Server,
    _tls: Server,
    heard: Arc<Mutex<Vec<String>>>,
    driver: Option<JoinHandle<()>>,
}

impl World {
    pub(crate) fn start(binding: Binding) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::default());
        let (http, tls) = (Server::http(Arc::clone(&shared)), Server::tls(Arc::clone(&shared)));
        let pebble = Pebble::start(temp.path(), http.port(), tls.port(), binding);
        Self { temp, pebble, shared, http, _tls: tls, heard: Arc::default(), driver: None }
    }

    /// A store with what is kept on the disk; the one before it is at its end.
    pub(crate) fn store(&mut self, change: impl FnOnce(&mut AcmeSettings)) -> Arc<Store> {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
        let mut acme = AcmeSettings::new(&self.pebble.directory(), self.temp.path().join("acme")).unwrap();
        acme.set_contact(vec!["mailto:ops@a.example".to_owned()]).unwrap();
        acme.terms_agreed = true;
        acme.roots = Some(fs::read(self.temp.path().join("root.pem")).unwrap());
        change(&mut acme);
        let heard = Arc::clone(&self.heard);
        let report = Arc::new(move |news: &News| heard.lock().unwrap().push(news.to_string()));
        let settings = StoreSettings { files: Vec::new(), local: None, acme: Some(acme), report };
        let (store, driver) = Store::new(settings, SystemTime::now()).unwrap();
        *self.shared.store.lock().unwrap() = Some(Arc::clone(&store));
        self.driver = Some(tokio::spawn(driver.run()));
        store
    }

    pub(crate) fn names(&self, names: &[&str]) {
        let names: Vec<HostPattern> = names.iter().map(|name| name.parse().unwrap()).collect();
        self.current().set_names(&names);
    }

    fn current(&self) -> Arc<Store> {
        self.shared.store.lock().unwrap().clone().unwrap()
    }

    /// The certificate for this name, as soon as there is one.
    pub(crate) async fn certificate(&self, name: &str, within: Duration) -> Arc<Certificate> {
        let store = self.current();
        self.until(within, || store.find(Some(name)).is_some()).await;
        store.find(Some(name)).unwrap()
    }

    /// Waits until this is so.
    pub(crate) async fn until(&self, within: Duration, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < within, "not within {within:?}: {:?} {}", self.heard(), self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was reported.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// What was asked of the servers here.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn refuse_http(&self) {
        self.shared.refuses_http.store(true, Ordering::Release);
    }

    pub(crate) fn kill_at_next_challenge(&self) {
        *self.shared.victim.lock().unwrap() = Some(self.pebble.pid());
    }

    pub(crate) fn kill_pebble(&mut self) {
        self.pebble.kill();
    }

    pub(crate) fn pebble_has_ended(&mut self) -> bool {
        self.pebble.has_ended()
    }

    pub(crate) fn restart_pebble(&mut self) {
        self.pebble.restart();
    }

    /// A URL that says yes to these names.
    pub(crate) fn ask_url(&self, allowed: &[&str]) -> String {
        *self.shared.allowed.lock().unwrap() = allowed.iter().map(|name| (*name).to_owned()).collect();
        format!("http://127.0.0.1:{}/ask", self.http.port())
    }

    /// A hook that sets and removes TXT records, and writes down what it was called with.
    pub(crate) fn hook(&self) -> String {
        let script = self.temp.path().join("hook.sh");
        let text = format!(
            "#!/bin/sh -e\n\
             case $1 in present) verb=set-txt;; cleanup) verb=clear-txt;; esac\n\
             curl -sf --max-time 10 -d \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" {}/$verb\n\
             echo \"$1 $2. $3\" >>'{}'\n",
            self.pebble.dns_management(),
            self.temp.path().join("hooked").display(),
        );
        fs::write(&script, text).unwrap();
        format!("sh -e '{}'", script.display())
    }

    pub(crate) fn hooked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.temp.path().join("hooked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Fails unless the chain leads to the root that pebble has made for itself.
    pub(crate) async fn is_signed_by_the_ca(&self, certificate: &Certificate) {
        let url = format!("{}/roots/0", self.pebble.management());
        let root = self.temp.path().join("root.pem");
        let mut curl = Command::new("curl");
        curl.args(["-sf", "--max-time", "10", "--cacert"]).arg(root).arg(url);
        let answer = curl.output().await.unwrap();
        assert!(answer.status.success(), "{answer:?}");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&answer.stdout).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let name = match &certificate.covers()[0] {
            HostPattern::Under(under) => format!("x.{under}"),
            exact => exact.to_string(),
        };
        let name = ServerName::try_from(name).unwrap();
        let (leaf, rest) = certificate.key().cert.split_first().unwrap();
        verifier.build().unwrap().verify_server_cert(leaf, rest, &name, &[], UnixTime::now()).unwrap();
    }

    /// Keys are for the user alone, and nothing half-written is left.
    pub(crate) fn kept_for_its_user_alone(&self) {
        let files = files_below(&self.temp.path().join("acme"));
        assert!(files.iter().any(|file| file.ends_with("account.json")), "{files:?}");
        for file in files {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
            assert!(!file.file_name().unwrap().to_string_lossy().starts_with('.'), "{}", file.display());
        }
    }

    pub(crate) fn forget_failures(&self) {
        for file in files_below(&self.temp.path().join("acme")) {
            if file.ends_with("failed.json") {
                fs::remove_file(file).unwrap();
            }
        }
    }

    /// Puts a certificate whose time is nearly over in the place of the one that is kept.
    pub(crate) fn age(&self, name: &str) {
        let file = files_below(&self.temp.path().join("acme")).into_iter().find(|file| {
            file.ends_with("certificate.pem") && file.parent().is_some_and(|parent| parent.ends_with(name))
        });
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        let (day, now) = (Duration::from_hours(24), UnixTime::now().as_secs());
        let today = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
        (params.not_before, params.not_after) = (today - day * 80, today + day * 10);
        let key = KeyPair::generate().unwrap();
        let text = format!("{}{}", key.serialize_pem(), params.self_signed(&key).unwrap().pem());
        fs::write(file.unwrap(), text).unwrap();
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.temp.path().join("pebble.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
