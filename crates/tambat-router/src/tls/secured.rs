//! What is known of a connection once it has shaken hands.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{ProtocolVersion, ServerConnection};
use tambat_wire::http1::ClientCertificate;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::config::HTTP2_PROTOCOL;
use super::settings::Certificate;

/// What is known of a connection once it has shaken hands.
#[derive(Debug)]
pub(crate) struct Secured {
    /// The name it was opened for, in lower case and without a last dot; none: the client named none.
    pub(crate) server_name: Option<Box<str>>,
    /// What the client has seen.
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) version: TlsVersion,
    /// Who the client has proved to be by its own certificate.
    pub(crate) client: Option<Box<ClientCertificate>>,
    /// Was it agreed that HTTP/2 is spoken inside (RFC 9113 §3.2)?
    pub(crate) is_http2: bool,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

impl Secured {
    pub(super) fn new(tls: &ServerConnection, server_name: Option<Box<str>>, certificate: Arc<Certificate>) -> Self {
        let client = tls.peer_certificates().and_then(<[_]>::first).map(|der| Box::new(client_certificate(der)));
        let is_http2 = tls.alpn_protocol() == Some(HTTP2_PROTOCOL);
        Self { server_name, certificate, version: TlsVersion::of(tls), client, is_http2 }
    }

    /// May a request for this host, in lower case and without a last dot, come here? A connection that was opened for
    /// another name may be used for it where the client has seen a certificate for it (RFC 9110 §7.4, RFC 9113 §9.1.1).
    /// Without a name it was opened for none; a request that names no host (an empty one) is for the one it was opened
    /// for.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        let Some(name) = &self.server_name else {
            return true;
        };
        host.is_empty() || **name == *host || self.certificate.covers(host)
    }
}

impl TlsVersion {
    pub(super) fn of(tls: &ServerConnection) -> Self {
        if tls.protocol_version() == Some(ProtocolVersion::TLSv1_3) { Self::Tls13 } else { Self::Tls12 }
    }

    /// As OpenSSL writes it, and the PROXY protocol with it.
    pub(crate) fn openssl_name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }

    /// As the access log calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// What targets are told of a certificate that was verified.
fn client_certificate(der: &[u8]) -> ClientCertificate {
    // It was read before, by whoever has verified it.
    let subject = X509Certificate::from_der(der).map(|(_, read)| read.subject().to_string()).unwrap_or_default();
    let digest = TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider.hash(der));
    ClientCertificate::new(der, &subject, digest.as_ref().map(AsRef::as_ref).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::testing::certificate;
    use super::*;

    #[test]
    fn a_connection_is_for_its_name_and_for_what_its_certificate_covers_g09() {
        let certificate = certificate(&["a.example", "*.b.example"]);
        let secured = |name: Option<&str>| Secured {
            server_name: name.map(Into::into),
            certificate: Arc::clone(&certificate),
            version: TlsVersion::Tls13,
            client: None,
            is_http2: false,
        };
        for host in ["a.example", "x.b.example", ""] {
            assert!(secured(Some("a.example")).is_for(host), "{host}");
        }
        for host in ["c.example", "b.example", "x.y.b.example"] {
            assert!(!secured(Some("a.example")).is_for(host), "{host}");
            assert!(secured(None).is_for(host), "{host}");
        }
        // A certificate that the client took for another name.
        assert!(secured(Some("c.example")).is_for("c.example"));
    }
}
