//! The file of a server (`serve.toml` of `tambat serve`): its router, and the CA that its certificates come from.

mod keys;
mod read;

use std::path::Path;

use crate::{Diagnostic, LoadError, RouterKeys, Text};

pub use keys::SERVE_FILE_KEYS;

/// The CA that is asked where the file does not say one: Let's Encrypt.
pub const ACME_DIRECTORY_DEFAULT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// What a server's file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServeFile {
    /// `[router]`. Files in it are seen from where this file is.
    pub router: RouterKeys,
    /// `[router.acme]`; none: no CA is asked for anything.
    pub acme: Option<AcmeKeys>,
}

impl ServeFile {
    /// The keys of which another one says something else.
    pub fn differs(&self, other: &Self) -> Vec<&'static str> {
        let (own, its) = (&self.router.plan, &other.router.plan);
        let all = [
            ("router.workers", own.workers == its.workers),
            ("router.trusted", own.trusted == its.trusted),
            ("router.proxy_protocol", own.proxy_peers == its.proxy_peers),
            ("router.max_connections", own.connections_max == its.connections_max),
            ("router.access_log", own.access_log == its.access_log),
            ("router.access_log_format", own.access_log_format == its.access_log_format),
            ("router.metrics", self.router.metrics == other.router.metrics),
            ("router.timeouts", own.timeouts == its.timeouts),
            ("router.tls", own.tls == its.tls),
            ("router.listen", own.listen == its.listen),
            ("router.acme", self.acme == other.acme),
        ];
        all.into_iter().filter(|(_, is_same)| !is_same).map(|(key, _)| key).collect()
    }
}

/// `[router.acme]`: the operator has agreed to the CA's terms. Files are seen from where this file is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcmeKeys {
    /// The CA, by the URL of its directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// Whom it tells when something is wrong: `mailto:` URLs.
    pub contact: Vec<String>,
    /// The customer of the CA that the account belongs to.
    pub eab: Option<EabKeys>,
    /// How the CA may see that a name is ours.
    pub challenges: AcmeChallenges,
    /// The command that sets TXT records, for wildcards.
    pub dns_hook: Option<String>,
    /// The file, PEM, with the roots by which the CA's own server is known; none: the system's.
    pub roots: Option<String>,
    /// The URL that decides about names that no route writes out.
    pub ask: Option<String>,
}

/// How a CA may see that a name is ours, beside TXT records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcmeChallenges {
    /// By a request to port 80 (RFC 8555 §8.3).
    pub http01: bool,
    /// By a handshake at port 443 (RFC 8737).
    pub tls_alpn01: bool,
}

/// `eab` of `[router.acme]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EabKeys {
    /// The CA's name for the customer.
    pub key_id: String,
    /// The file with the key.
    pub hmac_file: String,
}

impl ServeFile {
    /// Reads this file; where there is none, nothing is said.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or for everything that is wrong with it at once.
    pub fn load(path: &Path) -> Result<Option<Self>, LoadError> {
        let Some(text) = Text::read(path)? else { return Ok(None) };
        Self::new(&text).map(Some).map_err(LoadError::Invalid)
    }

    /// What this text says.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn new(text: &Text) -> Result<Self, Vec<Diagnostic>> {
        read::read(text)
    }
}
