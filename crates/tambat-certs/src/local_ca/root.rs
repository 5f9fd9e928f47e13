//! The certificate of a CA, which is what people trust.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::certificate::{CertificateError, Lifetime, hexadecimal, lifetime_of, sha256, with_parsed};

/// A CA's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    der: Vec<u8>,
    pem: String,
    subject: String,
    lifetime: Lifetime,
    path: PathBuf,
}

impl Root {
    pub(super) fn read(der: Vec<u8>, path: PathBuf) -> Result<Self, CertificateError> {
        let (subject, lifetime) = with_parsed(&der, |root| (root.subject().to_string(), lifetime_of(root)))?;
        Ok(Self { pem: pem_of(&der), der, subject, lifetime, path })
    }

    /// As PEM, one block, with a last newline.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// As DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER, as trust stores show it: `3A:9F:…`.
    pub fn fingerprint(&self) -> String {
        hexadecimal(&sha256(&self.der)).join(":")
    }

    /// Whose it is: `O=tambat, CN=tambat local CA 3F2A9C01`. No two CAs have the same.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// From when until when it is good.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The last moment at which it is good.
    pub fn not_after(&self) -> SystemTime {
        self.lifetime.not_after
    }

    /// The file that holds the PEM of the newest CA's certificate alone: there once the CA has been opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The system's roots and ours as one PEM text, for programs whose list of roots one file replaces (`SSL_CERT_FILE`). The
/// system's text stays as it is, byte for byte, and ours comes last, once.
pub fn bundle(system: &[u8], root: &Root) -> Vec<u8> {
    let ours = root.pem.as_bytes();
    if system.windows(ours.len()).any(|there| there == ours) {
        return system.to_vec();
    }
    let mut all = system.to_vec();
    if all.last().is_some_and(|last| *last != b'\n') {
        all.push(b'\n');
    }
    all.extend_from_slice(ours);
    all
}

/// RFC 7468 §2: lines of 64.
fn pem_of(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = behind;
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::chain_from_pem;
    use crate::sample;

    fn root() -> Root {
        let made = sample::self_signed(&["x.test"], sample::days(0), sample::days(1));
        let der = chain_from_pem(made.chain.as_bytes()).unwrap()[0].to_vec();
        Root::read(der, "/tmp/root.pem".into()).unwrap()
    }

    #[test]
    fn a_bundle_is_the_systems_text_and_ours_behind_it() {
        let (system, root) = (root(), root());
        for text in [system.pem().to_owned(), system.pem().trim_end().to_owned(), String::new()] {
            let all = bundle(text.as_bytes(), &root);
            assert!(all.starts_with(text.as_bytes()) && all.ends_with(root.pem().as_bytes()));
            let certificates = chain_from_pem(&all).unwrap();
            assert_eq!(certificates.len(), 1 + usize::from(!text.is_empty()));
            assert_eq!(certificates.last().unwrap().as_ref(), root.der());
            assert_eq!(bundle(&all, &root), all, "once is enough");
        }
    }

    #[test]
    fn the_pem_is_that_of_others() {
        let made = sample::self_signed(&["x.test"], sample::days(0), sample::days(1));
        let der = chain_from_pem(made.chain.as_bytes()).unwrap()[0].to_vec();
        assert_eq!(pem_of(&der), made.chain.replace('\r', ""));
    }
}
