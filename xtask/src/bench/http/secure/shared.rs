//! What the connections of a load have in common.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::{ClientSessionMemoryCache, Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject as _},
    version::TLS13,
};

use super::super::{
    offer::{Exchange, Offer, Protocol, Sessions},
    request::{Requests, Shape},
};

/// The host of every request, and the name in the certificate.
pub(super) const NAME: &str = "shop.example";

/// How many sessions a client remembers: those of one name.
const SESSIONS: usize = 1;

/// For all connections.
pub(in super::super) struct Shared {
    pub(super) requests: Requests,
    pub(super) offer: Offer,
    authority: Vec<u8>,
    /// Of each place for a connection where sessions are resumed, else one for all.
    configs: Vec<Arc<ClientConfig>>,
}

impl Shared {
    pub(super) fn new(authority: Vec<u8>, shape: Shape, offer: Offer) -> Self {
        Self { requests: Requests::new(shape), offer, authority, configs: Vec::new() }
    }

    /// What the connection in this place is set up with, and whether there was another before it whose session it resumes.
    pub(super) fn config(&mut self, nth: usize) -> io::Result<(Arc<ClientConfig>, bool)> {
        let resumes = self.offer.sessions == Sessions::Resumed;
        let nth = if resumes { nth } else { 0 };
        if let Some(config) = self.configs.get(nth) {
            return Ok((Arc::clone(config), resumes));
        }
        let config = Arc::new(config(&self.authority, self.offer)?);
        self.configs.push(Arc::clone(&config));
        Ok((config, false))
    }
}

/// Of a client that trusts these certificates, and leaves no choice.
pub(super) fn config(authority: &[u8], offer: Offer) -> io::Result<ClientConfig> {
    let group = match offer.exchange {
        Exchange::X25519 => aws_lc_rs::kx_group::X25519,
        Exchange::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
    };
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority).map_err(|error| invalid(&error))?).map_err(io::Error::other)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn(offer).to_vec()];
    config.resumption = match offer.sessions {
        Sessions::New => Resumption::disabled(),
        Sessions::Resumed => Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS))),
    };
    Ok(config)
}

/// What it must be answered with, too.
pub(super) fn alpn(offer: Offer) -> &'static [u8] {
    match offer.protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2(_) => b"h2",
    }
}

pub(super) fn invalid(why: &impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_string())
}
