//! What a CA looks for on this machine to see that a name is ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension};
use rustls::pki_types::PrivateKeyDer;

use super::settings::Offered;
use crate::cert_name::CertName;
use crate::certificate::{Certificate, CertificateError, Lifetime, Origin};
use crate::{moment, sign};

/// The certificate of TLS-ALPN-01 lives as long as an order at most; its lifetime is not looked at (RFC 8737 §3).
const ALPN_LIFETIME: Duration = Duration::from_hours(24);

/// What is shown now: shared by orders, which put it here, and listeners, which show it.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    http: Mutex<HashMap<Box<str>, HttpAnswer>>,
    alpn: Mutex<HashMap<Box<str>, Arc<Certificate>>>,
}

#[derive(Debug)]
struct HttpAnswer {
    host: Box<str>,
    text: String,
}

/// The ways, in the order in which they are tried. HTTP-01 comes first: it works where something in front ends TLS. After a
/// failure the next one has its turn.
const KINDS: [Kind; 3] = [Kind::Http01, Kind::TlsAlpn01, Kind::Dns01];

/// How a CA sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http01,
    TlsAlpn01,
    Dns01,
}

impl Kind {
    pub(crate) fn of_acme(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Dns01 => ChallengeType::Dns01,
        }
    }
}

/// The ways that are open for this name, the one that is to be tried first at the front: after so many failures in a row.
/// A wildcard is shown by DNS alone (RFC 8555 §8.3, RFC 8737 §3).
pub(crate) fn kinds(name: &CertName, offered: Offered, has_hook: bool, failures: u32) -> Vec<Kind> {
    let is_wildcard = matches!(name, CertName::Wildcard(_));
    let is_open = |kind: &Kind| match kind {
        Kind::Http01 => offered.http01 && !is_wildcard,
        Kind::TlsAlpn01 => offered.tls_alpn01 && !is_wildcard,
        Kind::Dns01 => has_hook,
    };
    let mut open: Vec<Kind> = KINDS.into_iter().filter(is_open).collect();
    if !open.is_empty() {
        let turns = failures as usize % open.len();
        open.rotate_left(turns);
    }
    open
}

impl Challenges {
    /// What HTTP-01 answers for this token at this host (RFC 8555 §8.3).
    pub(crate) fn http(&self, host: &str, token: &str) -> Option<String> {
        let http = lock(&self.http);
        http.get(token).filter(|answer| answer.host.eq_ignore_ascii_case(host)).map(|answer| answer.text.clone())
    }

    /// The certificate of TLS-ALPN-01 for this name.
    pub(crate) fn alpn(&self, name: &str) -> Option<Arc<Certificate>> {
        lock(&self.alpn).get(name).cloned()
    }

    /// Shows the answer of HTTP-01 until what comes back is dropped.
    pub(crate) fn show_http(self: &Arc<Self>, host: &str, token: &str, answer: &KeyAuthorization) -> Shown {
        let text = answer.as_str().to_owned();
        lock(&self.http).insert(token.into(), HttpAnswer { host: host.into(), text });
        Shown { challenges: Arc::clone(self), what: What::Http(token.into()) }
    }

    /// Shows the certificate of TLS-ALPN-01 (RFC 8737 §3) until what comes back is dropped.
    pub(crate) fn show_alpn(
        self: &Arc<Self>,
        name: &str,
        digest: &[u8],
        now: SystemTime,
    ) -> Result<Shown, CertificateError> {
        let certificate = alpn_certificate(name, digest, now)?;
        lock(&self.alpn).insert(name.into(), Arc::new(certificate));
        Ok(Shown { challenges: Arc::clone(self), what: What::Alpn(name.into()) })
    }
}

/// Something is shown while this lives.
#[derive(Debug)]
pub(crate) struct Shown {
    challenges: Arc<Challenges>,
    what: What,
}

#[derive(Debug)]
enum What {
    Http(Box<str>),
    Alpn(Box<str>),
}

impl Drop for Shown {
    fn drop(&mut self) {
        match &self.what {
            What::Http(token) => drop(lock(&self.challenges.http).remove(token)),
            What::Alpn(name) => drop(lock(&self.challenges.alpn).remove(name)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn alpn_certificate(name: &str, digest: &[u8], now: SystemTime) -> Result<Certificate, CertificateError> {
    let cannot = |e: rcgen::Error| CertificateError::Key(e.to_string());
    let mut params = CertificateParams::new([name.to_owned()]).map_err(cannot)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let not_before = moment::earlier(now, ALPN_LIFETIME);
    sign::set_lifetime(&mut params, Lifetime { not_before, not_after: moment::later(now, ALPN_LIFETIME) });
    let key = sign::new_key().map_err(cannot)?;
    let certificate = params.self_signed(&key).map_err(cannot)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Certificate::from_parts(vec![certificate.der().clone()], &key, Origin::Acme)
}

#[cfg(test)]
mod tests {
    use super::Kind::{Dns01, Http01, TlsAlpn01};
    use super::*;
    use crate::certificate::with_parsed;
    use crate::sample::days;

    #[test]
    fn ways_take_turns_after_failures() {
        let exact = CertName::Exact("a.example".into());
        let wildcard = CertName::Wildcard("a.example".into());
        let both = Offered { http01: true, tls_alpn01: true };
        let none = Offered { http01: false, tls_alpn01: false };
        for (name, offered, has_hook, failures, ways) in [
            (&exact, both, true, 0, vec![Http01, TlsAlpn01, Dns01]),
            (&exact, both, true, 1, vec![TlsAlpn01, Dns01, Http01]),
            (&exact, both, false, 3, vec![TlsAlpn01, Http01]),
            (&exact, none, true, 5, vec![Dns01]),
            (&exact, none, false, 5, vec![]),
            (&wildcard, both, true, 1, vec![Dns01]),
            (&wildcard, both, false, u32::MAX, vec![]),
        ] {
            assert_eq!(kinds(name, offered, has_hook, failures), ways, "{name} {failures}");
        }
    }

    #[test]
    fn the_certificate_of_tls_alpn_01_is_that_of_its_rfc() {
        let challenges = Arc::new(Challenges::default());
        let digest = [7; 32];
        let shown = challenges.show_alpn("a.example", &digest, days(0)).unwrap();
        let certificate = challenges.alpn("a.example").unwrap();
        assert_eq!(certificate.covers(), ["a.example".parse().unwrap()]);
        let found = with_parsed(certificate.leaf().unwrap(), |leaf| {
            let of_acme = |oid: String| oid == "1.3.6.1.5.5.7.1.31";
            let extension = leaf.extensions().iter().find(|extension| of_acme(extension.oid.to_id_string()));
            extension.map(|extension| (extension.critical, extension.value.to_vec()))
        });
        // An OCTET STRING of 32 bytes.
        assert_eq!(found.unwrap(), Some((true, [&[4, 32][..], &digest].concat())));
        assert!(challenges.alpn("b.example").is_none());
        drop(shown);
        assert!(challenges.alpn("a.example").is_none());
    }
}
