//! One certificate with its key, as a handshake needs it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{cipher_suite, sign};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tambat_model::HostPattern;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::moment;

/// A chain of more certificates is somebody's mistake, such as a whole bundle of roots: real ones have 2 to 5, and each
/// travels in every handshake.
pub const CHAIN_CERTIFICATES_MAX: usize = 16;

/// A certificate, its chain and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    covers: Vec<HostPattern>,
    lifetime: Lifetime,
    origin: Origin,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// From files that somebody else looks after.
    File,
    /// From an ACME CA.
    Acme,
    /// From the CA of this machine's user.
    Local,
}

impl Origin {
    /// Is it for a public name? Only the local CA's is not.
    pub fn is_public(self) -> bool {
        !matches!(self, Self::Local)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "file",
            Self::Acme => "acme",
            Self::Local => "local",
        })
    }
}

/// From when until when a certificate is good, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last one.
    pub not_after: SystemTime,
}

impl Lifetime {
    /// Is it good at this moment?
    pub fn contains(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// How long it is in all; zero for one that ends before it begins.
    pub fn length(&self) -> Duration {
        moment::since(self.not_after, self.not_before)
    }

    /// How much of it is left at this moment.
    pub fn left(&self, now: SystemTime) -> Duration {
        moment::since(self.not_after, now)
    }

    /// The moment when two thirds are over: until then a certificate is as good as new, and what is left is time enough
    /// to mend whatever keeps the next one away.
    pub fn two_thirds(&self) -> SystemTime {
        moment::later(self.not_before, self.length() / 3 * 2)
    }
}

/// Why bytes are no certificate that can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No block of this kind in the text.
    #[error("there is no `-----BEGIN CERTIFICATE-----` in it")]
    NoCertificate,
    /// More than [`CHAIN_CERTIFICATES_MAX`].
    #[error("there are more than {CHAIN_CERTIFICATES_MAX} certificates in it, which is no chain")]
    TooMany,
    /// Broken PEM.
    #[error("it is no PEM text: {0}")]
    Pem(&'static str),
    /// Broken DER, or a version or algorithm that nobody reads.
    #[error("it holds no X.509 certificate: {0}")]
    NotX509(String),
    /// No private key in the text.
    #[error("there is no private key in it: {0}")]
    NoKey(&'static str),
    /// A key of a kind that no handshake uses.
    #[error("the private key can't be used: {0}")]
    Key(String),
    /// The key of another certificate.
    #[error("the private key belongs to another certificate")]
    Mismatch,
}

impl Certificate {
    /// Reads a chain, the certificate itself first, and its key.
    ///
    /// # Errors
    ///
    /// When either is broken, or the two do not belong together. Whether it has expired is no error: see
    /// [`Certificate::lifetime`].
    pub fn from_pem(chain: &[u8], key: &[u8], origin: Origin) -> Result<Self, CertificateError> {
        Self::from_parts(chain_from_pem(chain)?, &key_from_pem(key)?, origin)
    }

    /// The same from what PEM holds.
    pub(crate) fn from_parts(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        origin: Origin,
    ) -> Result<Self, CertificateError> {
        let key = sign::any_supported_type(key).map_err(|e| CertificateError::Key(e.to_string()))?;
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        // By the keys themselves: rustls' own comparison refuses certificates with extensions that it does not know.
        let of_key = key.public_key();
        let (covers, lifetime, is_its_key) = with_parsed(leaf, |leaf| {
            let is_its_key = of_key.as_ref().is_none_or(|of_key| leaf.public_key().raw == of_key.as_ref());
            (names_of(leaf), lifetime_of(leaf), is_its_key)
        })?;
        if !is_its_key {
            return Err(CertificateError::Mismatch);
        }
        Ok(Self { key: Arc::new(CertifiedKey::new(chain, key)), covers, lifetime, origin })
    }

    /// Chain and key, for rustls.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The names it is for, in lower case. A [`HostPattern::Under`] stands for one label (RFC 9525 §6.3), not for more, as
    /// it would in a route.
    pub fn covers(&self) -> &[HostPattern] {
        &self.covers
    }

    /// Is it for this name (in lower case, without a last dot)?
    pub fn covers_name(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.covers.iter().any(|pattern| match pattern {
            HostPattern::Exact(exact) => **exact == *name,
            HostPattern::Under(under) => parent == Some(under),
            HostPattern::Any => false,
        })
    }

    /// From when until when it is good.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// The first moment at which it is good.
    pub fn not_before(&self) -> SystemTime {
        self.lifetime.not_before
    }

    /// The last one.
    pub fn not_after(&self) -> SystemTime {
        self.lifetime.not_after
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The certificate itself.
    pub(crate) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.key.cert.first()
    }
}

/// The certificates of a PEM text, in its order. Text between the blocks is skipped (RFC 7468 §2).
pub(crate) fn chain_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let blocks = CertificateDer::pem_slice_iter(text).take(CHAIN_CERTIFICATES_MAX + 1);
    let chain: Vec<_> = blocks.collect::<Result<_, _>>().map_err(|e| CertificateError::Pem(spoken(&e)))?;
    match chain.len() {
        0 => Err(CertificateError::NoCertificate),
        count if count > CHAIN_CERTIFICATES_MAX => Err(CertificateError::TooMany),
        _ => Ok(chain),
    }
}

/// The private key of a PEM text: PKCS #8, PKCS #1 or SEC 1.
pub(crate) fn key_from_pem(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|e| CertificateError::NoKey(spoken(&e)))
}

/// What is wrong with a PEM text (RFC 7468). Its own bytes are not repeated: they may be a key's.
fn spoken(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end",
        pem::Error::IllegalSectionStart { .. } => "a block begins wrong",
        pem::Error::Base64Decode(_) => "a block holds something else than base64",
        pem::Error::NoItemsFound => "no block of this kind",
        _ => "it is damaged",
    }
}

/// What a certificate says, asked while its bytes are at hand.
pub(crate) fn with_parsed<T>(der: &[u8], ask: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, CertificateError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|e| CertificateError::NotX509(e.to_string()))?;
    Ok(ask(&parsed))
}

/// The DNS names among its subject alternative names; its common name counts for nothing (RFC 9525 §2).
fn names_of(leaf: &X509Certificate<'_>) -> Vec<HostPattern> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let mut covers: Vec<HostPattern> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => name.parse().ok().filter(|pattern| *pattern != HostPattern::Any),
            _ => None,
        })
        .collect();
    covers.sort();
    covers.dedup();
    covers
}

pub(crate) fn lifetime_of(certificate: &X509Certificate<'_>) -> Lifetime {
    let validity = certificate.validity();
    Lifetime {
        not_before: moment::from_unix(validity.not_before.timestamp()),
        not_after: moment::from_unix(validity.not_after.timestamp()),
    }
}

/// SHA-256 of these bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    let hash = match cipher_suite::TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
    };
    hash.hash(bytes).as_ref().to_vec()
}

/// Each byte in two hexadecimal digits, as trust stores show them.
pub(crate) fn hexadecimal(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::sample;

    #[test]
    fn names_and_lifetime_are_read() {
        let made = sample::self_signed(&["B.example", "*.b.example", "b.example"], sample::days(0), sample::days(90));
        let certificate = Certificate::from_pem(made.chain.as_bytes(), made.key.as_bytes(), Origin::File).unwrap();
        let names: Vec<String> = certificate.covers().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["b.example", "*.b.example"]);
        for (name, covered) in [
            ("b.example", true),
            ("a.b.example", true),
            ("a.a.b.example", false),
            ("xb.example", false),
            ("example", false),
        ] {
            assert_eq!(certificate.covers_name(name), covered, "{name}");
        }
        assert_eq!(certificate.not_before(), sample::days(0));
        assert_eq!(certificate.lifetime().two_thirds(), sample::days(60));
        assert!(certificate.lifetime().contains(sample::days(90)));
        assert!(!certificate.lifetime().contains(sample::days(91)));
    }

    #[test]
    fn what_is_no_certificate_is_said() {
        let made = sample::self_signed(&["b.example"], sample::days(0), sample::days(90));
        let other = sample::self_signed(&["b.example"], sample::days(0), sample::days(90));
        let read = |chain: &str, key: &str| {
            Certificate::from_pem(chain.as_bytes(), key.as_bytes(), Origin::File).map(|_| ()).unwrap_err()
        };
        assert_eq!(read("", &made.key), CertificateError::NoCertificate);
        assert_eq!(read(&made.key, &made.key), CertificateError::NoCertificate);
        assert_eq!(read(&made.chain, &other.key), CertificateError::Mismatch);
        assert!(matches!(read(&made.chain, &made.chain), CertificateError::NoKey(_)));
        assert_eq!(read(&made.chain.repeat(CHAIN_CERTIFICATES_MAX + 1), &made.key), CertificateError::TooMany);
        let half = &made.chain[..made.chain.len() / 2];
        assert!(matches!(read(half, &made.key), CertificateError::Pem(_)), "{:?}", read(half, &made.key));
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(read(junk, &made.key), CertificateError::NotX509(_)));
    }

    /// One chain and one key, for all that is made of them below.
    fn made() -> (String, String) {
        let made = sample::self_signed(&["b.example", "*.b.example"], sample::days(0), sample::days(90));
        (made.chain, made.key)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn damaged_files_are_refused_or_read_and_never_more(
            damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
            cut in any::<Index>(),
            of_key in any::<bool>(),
        ) {
            let (mut chain, mut key) = made();
            let text = if of_key { &mut key } else { &mut chain };
            let mut bytes = text.clone().into_bytes();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() * 2).max(bytes.len() / 2));
            let (chain, key) = if of_key { (chain.into_bytes(), bytes) } else { (bytes, key.into_bytes()) };
            if let Ok(read) = Certificate::from_pem(&chain, &key, Origin::File) {
                prop_assert!(read.covers().len() <= 2);
            }
        }

        #[test]
        fn damaged_der_is_refused_or_read_and_never_more(at in any::<Index>(), byte in any::<u8>(), cut in any::<Index>()) {
            let (chain, key) = made();
            let mut der = chain_from_pem(chain.as_bytes()).unwrap()[0].to_vec();
            let at = at.index(der.len());
            der[at] = byte;
            der.truncate(cut.index(der.len() * 4).max(der.len() / 4));
            let key = key_from_pem(key.as_bytes()).unwrap();
            let _ = Certificate::from_parts(vec![CertificateDer::from(der)], &key, Origin::File);
        }
    }

    #[test]
    fn the_hash_is_sha_256() {
        let hex = hexadecimal(&sha256(b"abc")).concat();
        assert_eq!(hex, "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
    }
}
