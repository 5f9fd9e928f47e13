//! What is kept of an ACME CA: the account, and for each name its certificate and its last failure.
//!
//! ```text
//! DIR/HOST-1a2b3c4d/account.json
//!                   certificates/shop.example.com/certificate.pem     key and chain in one: never one without the other
//!                                                 failed.json
//! ```

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureKind};
use super::renewal::{Pause, Tried};
use super::settings::AcmeSettings;
use super::status::AcmeStatus;
use crate::cert_name::CertName;
use crate::certificate::{Certificate, Origin, hexadecimal, sha256};
use crate::files::CERTIFICATE_FILE_BYTES_MAX;
use crate::{moment, write};

/// The folder of one CA.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    dir: PathBuf,
}

/// As it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    since: u64,
    pause_seconds: u64,
    failures: u32,
    kind: FailedKind,
    text: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FailedKind {
    Refused,
    Limited,
    Here,
}

impl Disk {
    pub(crate) fn new(settings: &AcmeSettings) -> Self {
        let tag = hexadecimal(&sha256(settings.directory().as_bytes())[..4]).concat().to_ascii_lowercase();
        Self { dir: settings.dir.join(format!("{}-{tag}", settings.directory_host())) }
    }

    /// The account, as instant-acme wrote it.
    pub(crate) fn account(&self) -> Result<Option<Vec<u8>>, String> {
        match fs::read(self.account_file()) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("cannot read the ACME account in {}: {e}", self.account_file().display())),
        }
    }

    pub(crate) fn set_account(&self, text: &[u8]) -> Result<(), String> {
        let path = self.account_file();
        let written = write::private_dir(&self.dir).and_then(|()| write::write_private(&path, text));
        written.map_err(|e| format!("cannot write the ACME account to {}: {e}", path.display()))
    }

    /// The CA does not know it any more. It stays beside, since its key may yet be asked for.
    pub(crate) fn drop_account(&self) {
        let _ = fs::rename(self.account_file(), self.dir.join("account-unknown-to-the-ca.json"));
    }

    fn account_file(&self) -> PathBuf {
        self.dir.join("account.json")
    }

    /// The folders of all names that there is something of. What can't be read is as none.
    pub(crate) fn folders(&self) -> HashSet<String> {
        let entries = fs::read_dir(self.dir.join(CERTIFICATES)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// What there is of every name, of every CA that has ever been asked, while nobody looks after it. What can't be read is
    /// as none.
    pub(crate) fn kept(dir: &Path) -> Vec<AcmeStatus> {
        let cas = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| Self { dir: entry.path() });
        let mut all: Vec<AcmeStatus> = cas.flat_map(|disk| disk.statuses()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn statuses(&self) -> Vec<AcmeStatus> {
        let status = |folder: String| {
            let name = CertName::of_folder(&folder);
            let certificate = self.certificate(&name).ok().flatten();
            let tried = self.tried(&name);
            AcmeStatus {
                lifetime: certificate.map(|certificate| certificate.lifetime()),
                ordering: false,
                next_order: None,
                failures: tried.as_ref().map_or(0, |tried| tried.failures),
                last_error: tried.map(|tried| tried.failure.text),
                on_demand: false,
                name,
            }
        };
        self.folders().into_iter().map(status).collect()
    }

    /// The certificate of this name.
    pub(crate) fn certificate(&self, name: &CertName) -> Result<Option<Certificate>, String> {
        let path = self.folder(name).join(CERTIFICATE);
        let cannot =
            |why: String| format!("cannot use the certificate in {}: {why}; a new one is ordered", path.display());
        let text = match read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(cannot(e.to_string())),
        };
        let certificate = Certificate::from_pem(&text, &text, Origin::Acme).map_err(|e| cannot(e.to_string()))?;
        if !certificate.covers().contains(&name.pattern()) {
            return Err(cannot(format!("it is not for {name}")));
        }
        Ok(Some(certificate))
    }

    /// Keeps a certificate, and forgets that there were failures.
    pub(crate) fn set_certificate(&self, name: &CertName, chain: &str, key: &str) -> Result<(), String> {
        let dir = self.folder(name);
        let path = dir.join(CERTIFICATE);
        let text = format!("{key}{chain}");
        let written = write::private_dir(&dir).and_then(|()| write::write_private(&path, text.as_bytes()));
        written.map_err(|e| format!("cannot write the certificate to {}: {e}", path.display()))?;
        let _ = fs::remove_file(dir.join(FAILED));
        Ok(())
    }

    /// The last failure. What can't be read is as none: it only delays.
    pub(crate) fn tried(&self, name: &CertName) -> Option<Tried> {
        let failed: Failed = serde_json::from_slice(&read(&self.folder(name).join(FAILED)).ok()?).ok()?;
        let kind = match failed.kind {
            FailedKind::Refused => FailureKind::Refused,
            FailedKind::Limited => FailureKind::Limited,
            FailedKind::Here => FailureKind::Here,
        };
        let since = moment::later(SystemTime::UNIX_EPOCH, Duration::from_secs(failed.since));
        let pause = Pause { since, length: Duration::from_secs(failed.pause_seconds) };
        Some(Tried { pause, failures: failed.failures, failure: Failure::new(kind, failed.text) })
    }

    /// Writes a failure down.
    pub(crate) fn set_tried(&self, name: &CertName, tried: &Tried) -> Result<(), String> {
        let kind = match tried.failure.kind {
            FailureKind::Limited => FailedKind::Limited,
            FailureKind::Here => FailedKind::Here,
            FailureKind::Refused | FailureKind::Away => FailedKind::Refused,
        };
        let failed = Failed {
            since: moment::unix(tried.pause.since),
            pause_seconds: tried.pause.length.as_secs(),
            failures: tried.failures,
            kind,
            text: tried.failure.text.clone(),
        };
        let dir = self.folder(name);
        let path = dir.join(FAILED);
        let text = serde_json::to_vec_pretty(&failed).map_err(|e| e.to_string())?;
        let written = write::private_dir(&dir).and_then(|()| write::write_private(&path, &text));
        written.map_err(|e| format!("cannot write {}: {e}", path.display()))
    }

    fn folder(&self, name: &CertName) -> PathBuf {
        self.dir.join(CERTIFICATES).join(name.folder())
    }
}

const CERTIFICATES: &str = "certificates";
const CERTIFICATE: &str = "certificate.pem";
const FAILED: &str = "failed.json";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > CERTIFICATE_FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sample::{self, days};

    fn disk(temp: &tempfile::TempDir) -> Disk {
        Disk::new(&AcmeSettings::new("https://ca.example/dir", temp.path().join("acme")).unwrap())
    }

    #[test]
    fn a_certificate_is_kept_with_its_key_for_its_user_alone() {
        let temp = tempfile::tempdir().unwrap();
        let disk = disk(&temp);
        for name in [CertName::Exact("a.example".into()), CertName::Wildcard("a.example".into())] {
            assert!(disk.certificate(&name).unwrap().is_none());
            let made = sample::self_signed(&[&name.to_string()], days(0), days(90));
            let tried = Tried {
                pause: Pause { since: days(1), length: Duration::from_secs(70) },
                failures: 3,
                failure: Failure::new(FailureKind::Limited, "too many"),
            };
            disk.set_tried(&name, &tried).unwrap();
            assert_eq!(disk.tried(&name), Some(tried));
            disk.set_certificate(&name, &made.chain, &made.key).unwrap();
            assert_eq!(disk.tried(&name), None);
            assert_eq!(disk.certificate(&name).unwrap().unwrap().not_after(), days(90));
            let path = disk.folder(&name).join(CERTIFICATE);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read_dir(disk.folder(&name)).unwrap().count(), 1);
        }
        assert_eq!(disk.folders(), ["a.example", "+.a.example"].map(str::to_owned).into());
        let longest = CertName::Wildcard(["a"; 126].join(".").into());
        disk.set_certificate(&longest, "x", "y").unwrap();
    }

    #[test]
    fn what_is_kept_is_seen_while_nobody_looks_after_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("acme");
        assert!(Disk::kept(&dir).is_empty());
        let first = disk(&temp);
        let second = Disk::new(&AcmeSettings::new("https://other.example/dir", dir.clone()).unwrap());
        let wildcard = CertName::Wildcard("a.example".into());
        let made = sample::self_signed(&[&wildcard.to_string()], days(0), days(90));
        first.set_certificate(&wildcard, &made.chain, &made.key).unwrap();
        let failed = CertName::Exact("b.example".into());
        let pause = Pause { since: days(1), length: Duration::from_secs(70) };
        let failure = Failure::new(FailureKind::Limited, "too many");
        second.set_tried(&failed, &Tried { pause, failures: 3, failure }).unwrap();
        first.set_account(b"{}").unwrap();
        let shown = |of: &AcmeStatus| {
            let until = of.lifetime.map(|lifetime| lifetime.not_after == days(90));
            (of.name.to_string(), until, of.failures, of.last_error.clone().unwrap_or_default())
        };
        let kept: Vec<_> = Disk::kept(&dir).iter().map(shown).collect();
        let expected = [("b.example", None, 3, "too many"), ("*.a.example", Some(true), 0, "")];
        assert_eq!(
            kept,
            expected.map(|(name, until, failures, why)| (name.to_owned(), until, failures, why.to_owned()))
        );
    }

    #[test]
    fn what_is_damaged_or_anothers_is_not_used() {
        let temp = tempfile::tempdir().unwrap();
        let disk = disk(&temp);
        let name = CertName::Exact("a.example".into());
        let other = sample::self_signed(&["b.example"], days(0), days(90));
        disk.set_certificate(&name, &other.chain, &other.key).unwrap();
        assert!(disk.certificate(&name).unwrap_err().contains("it is not for a.example"));
        disk.set_certificate(&name, "half", "").unwrap();
        assert!(disk.certificate(&name).unwrap_err().contains("a new one is ordered"));
        fs::write(disk.folder(&name).join(FAILED), "{").unwrap();
        assert_eq!(disk.tried(&name), None);
    }

    #[test]
    fn each_ca_has_its_folder() {
        let of = |url| Disk::new(&AcmeSettings::new(url, "/x".into()).unwrap()).dir;
        assert_ne!(of("https://ca.example/staging"), of("https://ca.example/dir"));
        assert!(of("https://ca.example/dir").to_string_lossy().starts_with("/x/ca.example-"));
    }

    #[test]
    fn an_account_that_the_ca_forgot_is_put_aside() {
        let temp = tempfile::tempdir().unwrap();
        let disk = disk(&temp);
        assert_eq!(disk.account().unwrap(), None);
        disk.set_account(b"{}").unwrap();
        assert_eq!(disk.account().unwrap().unwrap(), b"{}");
        assert_eq!(fs::metadata(disk.account_file()).unwrap().permissions().mode() & 0o777, 0o600);
        disk.drop_account();
        assert_eq!(disk.account().unwrap(), None);
    }
}
