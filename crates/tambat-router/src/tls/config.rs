//! What rustls is told: one configuration for each certificate, made when the certificate is first used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite};
use tambat_model::Protocol;

use super::asked::ACME_PROTOCOL;
use super::settings::{Certificate, ClientAuth, TlsError};

/// What is spoken inside, as far as it is agreed on (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Alpn {
    #[default]
    Http,
    /// Direct TLS to `PostgreSQL`.
    Postgres,
    /// Direct TLS of XMPP's clients and servers (XEP-0368 §3).
    Xmpp,
    /// Nothing is: what a client offers is passed over.
    Nothing,
}

impl Alpn {
    /// In front of an app that speaks this.
    pub(crate) fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::H2c => Self::Http,
            Protocol::Postgres => Self::Postgres,
            Protocol::Xmpp => Self::Xmpp,
            _ => Self::Nothing,
        }
    }

    /// The best first.
    fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http => &[HTTP2_PROTOCOL, b"http/1.1"],
            Self::Postgres => &[b"postgresql"],
            Self::Xmpp => &[b"xmpp-client", b"xmpp-server"],
            Self::Nothing => &[],
        }
    }
}

/// HTTP/2 (RFC 9113 §3.2).
pub(super) const HTTP2_PROTOCOL: &[u8] = b"h2";

/// The cipher suites, in the order in which they are chosen: all of them keep what was said secret for ever (RFC 9325
/// §4.1), and of these AES-128 costs a server's processor the least.
const SUITES: [SupportedCipherSuite; 9] = [
    TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384,
    TLS13_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The configurations of a listener: they differ in the certificate and in what is spoken inside, and resume each other's
/// sessions where the name is the same, which rustls sees to.
#[derive(Debug)]
pub(super) struct Configs {
    base: ServerConfig,
    asks_clients: bool,
    made: Mutex<Made>,
}

/// By the address of the certificate, and by what is spoken. Those of certificates that are gone are swept out when their number has doubled.
#[derive(Debug, Default)]
struct Made {
    configs: HashMap<(usize, Alpn), (Weak<Certificate>, Arc<ServerConfig>)>,
    sweep_at: usize,
}

/// So many configurations are not worth a sweep.
const SWEEP_AT_MIN: usize = 64;

impl Configs {
    pub(super) fn new(client_auth: ClientAuth) -> Result<Self, TlsError> {
        let provider = Arc::new(CryptoProvider { cipher_suites: SUITES.to_vec(), ..default_provider() });
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let asks_clients = !matches!(client_auth, ClientAuth::Off);
        let verifier = |roots| WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let builder = match client_auth {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Optional(roots) => {
                builder.with_client_cert_verifier(verifier(roots).allow_unauthenticated().build()?)
            }
            ClientAuth::Required(roots) => builder.with_client_cert_verifier(verifier(roots).build()?),
        };
        let mut base = builder.with_cert_resolver(Arc::new(Chosen(None)));
        // The keys of tickets change every six hours. A session's name and client certificate are in its ticket.
        base.ticketer = Ticketer::new()?;
        base.session_storage = Arc::new(NoServerSessionStorage {});
        base.ignore_client_order = true;
        // What is sent before the handshake's end can be sent again by others (RFC 8446 §8).
        base.max_early_data_size = 0;
        Ok(Self { base, asks_clients, made: Mutex::default() })
    }

    /// Are clients asked for certificates of theirs?
    pub(super) fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// The one with this certificate, in front of what is spoken so.
    pub(super) fn of(&self, certificate: &Arc<Certificate>, alpn: Alpn) -> Arc<ServerConfig> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::as_ptr(certificate) as usize, alpn);
        if let Some((owner, config)) = made.configs.get(&key)
            && owner.strong_count() > 0
        {
            return Arc::clone(config);
        }
        let config = Arc::new(self.with(certificate, alpn.protocols()));
        if made.configs.len() >= made.sweep_at.max(SWEEP_AT_MIN) {
            made.configs.retain(|_, (owner, _)| owner.strong_count() > 0);
            made.sweep_at = made.configs.len() * 2;
        }
        made.configs.insert(key, (Arc::downgrade(certificate), Arc::clone(&config)));
        config
    }

    /// One for the proof of an ACME challenge with this certificate.
    pub(super) fn of_acme(&self, certificate: &Arc<Certificate>) -> Arc<ServerConfig> {
        Arc::new(self.with(certificate, &[ACME_PROTOCOL]))
    }

    fn with(&self, certificate: &Certificate, protocols: &[&[u8]]) -> ServerConfig {
        let mut config = self.base.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.cert_resolver = Arc::new(Chosen(Some(Arc::clone(&certificate.key))));
        config
    }
}

/// The certificate was chosen before.
#[derive(Debug)]
struct Chosen(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Chosen {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::certificate;
    use super::*;

    #[test]
    fn a_certificate_has_one_configuration_and_leaves_none_behind() {
        let configs = Configs::new(ClientAuth::Off).unwrap();
        let [first, second] = [certificate(&["a.example"]), certificate(&["b.example"])];
        let config = configs.of(&first, Alpn::Http);
        assert!(Arc::ptr_eq(&config, &configs.of(&first, Alpn::Http)));
        assert!(!Arc::ptr_eq(&config, &configs.of(&second, Alpn::Http)));
        assert!(!Arc::ptr_eq(&config, &configs.of(&first, Alpn::Postgres)));
        for _ in 0..4 * SWEEP_AT_MIN {
            configs.of(&Arc::new(Certificate { key: Arc::clone(&first.key), covers: Vec::new() }), Alpn::Http);
        }
        assert!(configs.made.lock().unwrap().configs.len() <= SWEEP_AT_MIN);
        assert!(Arc::ptr_eq(&config, &configs.of(&first, Alpn::Http)));
    }
}
