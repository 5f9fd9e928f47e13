//! HTTP to an ACME CA and to who decides about names: bounded in time and bytes.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::settings::SettingsError;

/// A CA answers in some seconds; one that is under load may take longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A chain takes 10 KiB, and an answer about an order 2 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

type Https = Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>;

/// The connections to one CA. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    client: Https,
}

impl Web {
    /// By HTTPS alone, to servers that these roots know; none: the system's.
    pub(crate) fn secure(roots: Option<&[u8]>) -> Result<Self, SettingsError> {
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector(roots, true)?) })
    }

    /// By HTTP or HTTPS, to servers that the system's roots know.
    pub(crate) fn any() -> Result<Self, SettingsError> {
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector(None, false)?) })
    }

    /// What this URL answers, by status alone; none: it does not, in so long.
    pub(crate) async fn status(&self, url: &str, within: Duration) -> Option<StatusCode> {
        let request = Request::get(url).body(BodyWrapper::default()).ok()?;
        let answer = tokio::time::timeout(within, self.client.request(request)).await;
        Some(answer.ok()?.ok()?.status())
    }

    /// As instant-acme takes it, for one order.
    pub(crate) fn for_order(&self) -> (OrderClient, RetryAfter) {
        let retry_after = RetryAfter::default();
        (OrderClient { client: self.client.clone(), retry_after: retry_after.clone() }, retry_after)
    }
}

fn connector(roots: Option<&[u8]>, only_https: bool) -> Result<HttpsConnector<HttpConnector>, SettingsError> {
    let tls = |e: rustls::Error| SettingsError::Tls(e.to_string());
    let builder = match roots {
        None => HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(default_provider())
            .map_err(|e| SettingsError::Tls(e.to_string()))?,
        Some(pem) => {
            let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(tls)?
                .with_root_certificates(roots_from_pem(pem)?)
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let builder = if only_https { builder.https_only() } else { builder.https_or_http() };
    Ok(builder.enable_http1().enable_http2().build())
}

fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|e| SettingsError::Roots(e.to_string()))?;
        roots.add(root).map_err(|e| SettingsError::Roots(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(SettingsError::Roots("there is no `-----BEGIN CERTIFICATE-----` among them".to_owned()));
    }
    Ok(roots)
}

/// When the CA last said that it wants to be asked again: instant-acme does not tell where an answer is an error.
#[derive(Debug, Clone, Default)]
pub(crate) struct RetryAfter(Arc<Mutex<Option<Duration>>>);

impl RetryAfter {
    /// What the last answer that was an error said.
    pub(crate) fn get(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, value: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// The client of one order.
pub(crate) struct OrderClient {
    client: Https,
    retry_after: RetryAfter,
}

impl HttpClient for OrderClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = whole(self.client.clone(), request);
        let retry_after = self.retry_after.clone();
        Box::pin(async move {
            let Ok(answer) = tokio::time::timeout(ANSWER_WITHIN, answer).await else {
                return Err(Error::Other(format!("no answer in {} s", ANSWER_WITHIN.as_secs()).into()));
            };
            let answer = answer?;
            let said = answer.parts.headers.get(RETRY_AFTER).filter(|_| !answer.parts.status.is_success());
            retry_after.set(said.and_then(|value| seconds(value.as_bytes())));
            Ok(answer)
        })
    }
}

/// The whole answer: it is read here, where its time and its length are bounded.
async fn whole(client: Https, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
    let answer = client.request(request).await.map_err(|e| Error::Other(causes(&e).into()))?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Error::Other)?.to_bytes();
    Ok(BytesResponse { parts, body: Box::new(body) })
}

/// An error with all that caused it: hyper's own text is "client error (Connect)".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let deeper_text = deeper.to_string();
        // Some repeat what is below them.
        if !text.contains(&deeper_text) {
            let _ = write!(text, ": {deeper_text}");
        }
        cause = deeper.source();
    }
    text
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). As a date it counts for nothing: the pause is then as long as it would be
/// anyway.
fn seconds(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn retry_after_is_read_in_seconds() {
        for (text, read) in [
            ("120", Some(Duration::from_mins(2))),
            (" 5 ", Some(Duration::from_secs(5))),
            ("99999999999999999999999", Some(Duration::MAX)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), read, "{text}");
        }
    }

    #[test]
    fn roots_are_those_that_are_said() {
        let root = sample::self_signed(&["ca.example"], sample::days(0), sample::days(90));
        assert_eq!(roots_from_pem(format!("{0}{0}", root.chain).as_bytes()).unwrap().len(), 2);
        for bad in ["", "no roots", &root.key] {
            assert!(Web::secure(Some(bad.as_bytes())).is_err());
        }
        assert!(Web::secure(Some(root.chain.as_bytes())).is_ok());
        assert!(Web::any().is_ok());
    }
}
