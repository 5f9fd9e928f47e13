//! What a listener's TLS needs to know: which certificate a name gets, and who has to show one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use tambat_model::HostPattern;

use super::config::Configs;

/// Says which certificate a handshake gets. Asked once for each handshake, on a thread of those or on a worker's.
pub trait Certificates: fmt::Debug + Send + Sync {
    /// The certificate for this hello. It must not block for long: handshakes and requests of others wait on
    /// the same thread.
    fn find(&self, hello: &Hello<'_>) -> Lookup;
}

/// What is known of a client before it gets a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The name it asks for (RFC 6066 §3), in lower case and without a last dot; none: it names none, or an address.
    pub server_name: Option<&'a str>,
    /// It asks for the proof of an ACME challenge (RFC 8737): it offers `acme-tls/1` and nothing else.
    pub acme: bool,
}

/// What came of looking for a certificate.
pub enum Lookup {
    /// This one.
    Found(Arc<Certificate>),
    /// It is being got. The handshake's deadline holds for it, too, and the future is dropped then.
    Wait(Pin<Box<dyn Future<Output = Option<Arc<Certificate>>> + Send>>),
    /// There is none for this name: the client is told so (`unrecognized_name`).
    None,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(certificate) => f.debug_tuple("Found").field(certificate).finish(),
            Self::Wait(_) => f.write_str("Wait(..)"),
            Self::None => f.write_str("None"),
        }
    }
}

/// A certificate with its key.
///
/// What is made of one is kept as long as the value is there: give the same `Arc` for the same certificate.
#[derive(Debug)]
pub struct Certificate {
    /// The chain and its key.
    pub key: Arc<CertifiedKey>,
    /// The names it is good for. Unlike a route's, a `*.` stands for one label (RFC 9525 §6.3).
    pub covers: Vec<HostPattern>,
}

impl Certificate {
    /// Is it good for this name, in lower case and without a last dot?
    pub fn covers(&self, host: &str) -> bool {
        self.covers.iter().any(|pattern| match pattern {
            HostPattern::Exact(name) => **name == *host,
            HostPattern::Under(above) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == &**above)
            }
            HostPattern::Any => true,
        })
    }
}

/// Who has to show a certificate of their own (mTLS).
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// Nobody is asked.
    Off,
    /// Clients are asked, and may have none. One that is shown must be signed by one of these.
    Optional(Arc<RootCertStore>),
    /// Only clients with a certificate that is signed by one of these are let in.
    Required(Arc<RootCertStore>),
}

impl ClientAuth {
    /// Clients must have a certificate (or may, where it is not `required`) that is signed by one of this PEM text.
    ///
    /// # Errors
    ///
    /// When there is none in it, or one that cannot be read.
    pub fn from_pem(pem: &[u8], required: bool) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| TlsError::ClientCa(error.to_string()))?)?;
        }
        if roots.is_empty() {
            return Err(TlsError::ClientCa("there is no certificate in it".to_owned()));
        }
        let roots = Arc::new(roots);
        Ok(if required { Self::Required(roots) } else { Self::Optional(roots) })
    }
}

/// Why TLS cannot be had with these settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What is to sign the certificates of clients cannot be read.
    #[error("it is no PEM text with certificates: {0}")]
    ClientCa(String),
    /// No client could ever be let in.
    #[error("cannot check client certificates: {0}")]
    ClientAuth(#[from] rustls::client::VerifierBuilderError),
    /// The cryptography does not work.
    #[error("cannot prepare TLS: {0}")]
    Prepare(#[from] rustls::Error),
}

/// The TLS of a listener. Listeners that share one share their session tickets: a ticket that one gave out resumes at the
/// others. Those with different rules for clients are made apart, and so are their tickets.
#[derive(Debug)]
pub struct TlsSettings {
    pub(super) certificates: Arc<dyn Certificates>,
    pub(super) configs: Configs,
}

impl TlsSettings {
    /// TLS 1.2 and 1.3 with these certificates, for these clients.
    ///
    /// # Errors
    ///
    /// When there are client certificates to be checked and nothing to check them with, or the system gives no random
    /// bytes.
    pub fn new(certificates: Arc<dyn Certificates>, client_auth: ClientAuth) -> Result<Self, TlsError> {
        Ok(Self { certificates, configs: Configs::new(client_auth)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::certificate;
    use super::*;

    #[test]
    fn those_who_sign_for_clients_are_read_from_pem() {
        let made = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        let pem = made.cert.pem();
        let count = |auth: Result<ClientAuth, _>| match auth {
            Ok(ClientAuth::Required(roots) | ClientAuth::Optional(roots)) => roots.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(count(ClientAuth::from_pem(format!("words\n{pem}{pem}").as_bytes(), true)), 2);
        assert!(matches!(ClientAuth::from_pem(pem.as_bytes(), false), Ok(ClientAuth::Optional(_))));
        let said = |pem: &str| ClientAuth::from_pem(pem.as_bytes(), true).unwrap_err().to_string();
        assert_eq!(said(""), "it is no PEM text with certificates: there is no certificate in it");
        assert!(said(&pem.replace('M', "?")).starts_with("it is no PEM text with certificates: "));
        let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(said(empty).starts_with("cannot prepare TLS: "), "{}", said(empty));
    }

    #[test]
    fn a_star_in_a_certificate_is_one_label() {
        let certificate = certificate(&["a.example", "*.b.example"]);
        for (host, is_covered) in [
            ("a.example", true),
            ("x.a.example", false),
            ("x.b.example", true),
            ("b.example", false),
            ("x.y.b.example", false),
            (".b.example", false),
            ("", false),
        ] {
            assert_eq!(certificate.covers(host), is_covered, "{host}");
        }
    }
}
