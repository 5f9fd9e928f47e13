//! What the operator decides about an ACME CA.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Uri;

/// An ACME CA, and how it is used.
#[derive(Debug, Clone)]
pub struct AcmeSettings {
    directory: Uri,
    /// Where account and certificates are kept: a folder for each CA is made in it.
    pub dir: PathBuf,
    /// Whom the CA tells when something is wrong: `mailto:ops@example.com`.
    pub contact: Vec<String>,
    /// Has the operator agreed to the CA's terms? Without it there is no account.
    pub terms_agreed: bool,
    /// The CA's customer that the account belongs to (RFC 8555 §7.3.4).
    pub eab: Option<Eab>,
    /// The command that sets and removes TXT records, for DNS-01: a line for `/bin/sh -c`, called with `present` or
    /// `cleanup`, the record's name and its value. Wildcards need it.
    pub dns_hook: Option<String>,
    /// The roots by which the CA's own server is known, as PEM; none: the system's.
    pub roots: Option<Vec<u8>>,
    /// Who decides whether a name that no route writes out gets a certificate; none: no such name gets one.
    pub ask: Option<AskUrl>,
    /// Which challenges can reach this machine.
    pub offered: Offered,
}

/// Which challenges can reach this machine. Each has its fixed port (RFC 8555 §8.3, RFC 8737 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// HTTP-01: something that answers with [`Store::http_challenge`](crate::Store::http_challenge) listens on port 80.
    pub http01: bool,
    /// TLS-ALPN-01: something that answers with [`Store::alpn_challenge`](crate::Store::alpn_challenge) listens on 443.
    pub tls_alpn01: bool,
}

/// A key that binds the account to a customer of the CA.
#[derive(Clone)]
pub struct Eab {
    key_id: String,
    hmac: Vec<u8>,
}

/// The URL that decides about names: asked with `domain=NAME` in its query, 200 is a yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskUrl(Uri);

/// What can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not the URL of a directory.
    #[error("cannot use `{0}` as an ACME directory: it is a URL that begins with https://")]
    Directory(String),
    /// Not the URL of somebody who decides.
    #[error(
        "cannot ask `{0}` about names: it is a URL that begins with http:// or https://, without user and password"
    )]
    Ask(String),
    /// Not an address that a CA can write to.
    #[error("cannot use `{0}` as a contact: it is written mailto:ops@example.com")]
    Contact(String),
    /// No key. Its text is a secret, and not repeated.
    #[error("cannot use the key of the external account: it is base64url (RFC 4648 §5), as the CA shows it")]
    Hmac,
    /// Roots that are none.
    #[error("cannot use the roots of the ACME CA's server: {0}")]
    Roots(String),
    /// Nothing to ask with.
    #[error("cannot speak TLS with the ACME CA: {0}")]
    Tls(String),
}

impl AcmeSettings {
    /// The CA whose directory this is, with its state below `dir`. Its terms are not agreed to, and both challenges are
    /// offered that need no hook.
    ///
    /// # Errors
    ///
    /// When the URL is none that begins with `https://`.
    pub fn new(directory: &str, dir: PathBuf) -> Result<Self, SettingsError> {
        let url: Option<Uri> = directory.parse().ok().filter(|url: &Uri| url.scheme_str() == Some("https"));
        let directory = url.ok_or_else(|| SettingsError::Directory(directory.to_owned()))?;
        let offered = Offered { http01: true, tls_alpn01: true };
        Ok(Self {
            directory,
            dir,
            contact: Vec::new(),
            terms_agreed: false,
            eab: None,
            dns_hook: None,
            roots: None,
            ask: None,
            offered,
        })
    }

    /// Whom the CA tells when something is wrong.
    ///
    /// # Errors
    ///
    /// When one is not a `mailto:` address.
    pub fn set_contact(&mut self, contact: Vec<String>) -> Result<(), SettingsError> {
        let is_address = |text: &String| text.strip_prefix("mailto:").is_some_and(|address| address.contains('@'));
        match contact.iter().find(|text| !is_address(text)) {
            Some(wrong) => Err(SettingsError::Contact(wrong.clone())),
            None => {
                self.contact = contact;
                Ok(())
            }
        }
    }

    /// The directory's URL.
    pub fn directory(&self) -> String {
        self.directory.to_string()
    }

    pub(crate) fn directory_host(&self) -> &str {
        self.directory.host().unwrap_or_default()
    }
}

impl Eab {
    /// The customer's key id, and the key as the CA shows it: base64url, with or without padding.
    ///
    /// # Errors
    ///
    /// When the key is not base64url.
    pub fn new(key_id: &str, hmac: &str) -> Result<Self, SettingsError> {
        let text = hmac.trim().trim_end_matches('=');
        let hmac = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|key| !key.is_empty()).ok_or(SettingsError::Hmac)?;
        Ok(Self { key_id: key_id.trim().to_owned(), hmac })
    }

    pub(crate) fn key(&self) -> instant_acme::ExternalAccountKey {
        instant_acme::ExternalAccountKey::new(self.key_id.clone(), &self.hmac)
    }
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eab").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl FromStr for AskUrl {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let url: Option<Uri> = text.parse().ok();
        let is_good = |url: &Uri| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        url.filter(is_good).map(Self).ok_or_else(|| SettingsError::Ask(text.to_owned()))
    }
}

impl AskUrl {
    /// The URL that asks about this name, which is a hostname and so needs no escape.
    pub(crate) fn about(&self, name: &str) -> String {
        let joint = match self.0.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        format!("{}{joint}domain={name}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_said_and_secrets_are_not() {
        for bad in ["", "http://ca.example/dir", "ca.example", "https://", "https:// x"] {
            assert!(AcmeSettings::new(bad, "/tmp".into()).is_err(), "{bad}");
        }
        let mut settings = AcmeSettings::new("https://ca.example:14000/dir", "/tmp".into()).unwrap();
        assert_eq!(
            (settings.directory().as_str(), settings.directory_host()),
            ("https://ca.example:14000/dir", "ca.example")
        );
        assert!(settings.set_contact(vec!["mailto:a@b.example".into(), "a@b.example".into()]).is_err());
        assert!(settings.set_contact(vec!["mailto:a@b.example".into()]).is_ok());
        let eab = Eab::new(" kid ", "c2VjcmV0LWtleQ==\n").unwrap();
        assert_eq!((eab.key_id.as_str(), eab.hmac.as_slice()), ("kid", &b"secret-key"[..]));
        assert!(!format!("{eab:?}").contains("115, 101"), "{eab:?}");
        for bad in ["", "=", "not base64!", "a+b/"] {
            let error = Eab::new("kid", bad).unwrap_err().to_string();
            assert!(bad.len() < 2 || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_name_is_asked_about_in_the_query() {
        for (url, asked) in [
            ("http://127.0.0.1:9000/ask", "http://127.0.0.1:9000/ask?domain=a.example"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/?domain=a.example"),
            ("http://h/ask?key=1", "http://h/ask?key=1&domain=a.example"),
            ("https://h/ask?", "https://h/ask?domain=a.example"),
        ] {
            assert_eq!(url.parse::<AskUrl>().unwrap().about("a.example"), asked);
        }
        for bad in ["", "/ask", "ftp://h/", "http://user:secret@h/", "h:9000"] {
            assert!(bad.parse::<AskUrl>().is_err(), "{bad}");
        }
    }
}
