//! What pebble never says: limits, suggestions, pages of a proxy.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::driver::suggestions_of;
use super::failure::FailureKind;
use super::fake_ca::{Answer, FakeCa};
use crate::cert_name::CertName;
use crate::certificate::{Certificate, Origin};
use crate::moment;

fn directory(url: &str, more: &str) -> String {
    format!(r#"{{"newNonce":"{url}/nonce","newAccount":"{url}/account","newOrder":"{url}/order"{more}}}"#)
}

fn not_found() -> Answer {
    Answer("404 Not Found", String::new())
}

#[tokio::test]
async fn too_many_is_a_limit_with_its_time() {
    let ca = FakeCa::new(|line, url| match line {
        "GET /dir" => Answer("200 OK", directory(url, "")),
        "HEAD /nonce" => Answer("200 OK\r\nReplay-Nonce: abc", String::new()),
        "POST /account" => Answer(
            "429 Too Many Requests\r\nRetry-After: 7200",
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many\u001b[31m accounts\n here"}"#.into(),
        ),
        _ => not_found(),
    });
    let failure = ca.accounts.get().await.map(|_| ()).unwrap_err();
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::Limited, Some(Duration::from_hours(2))));
    assert_eq!(failure.text, "cannot make an account with the CA: the CA says: too many accounts  here (rateLimited)");
    assert_eq!(ca.disk.account().unwrap(), None);
    assert_eq!(ca.asked().last().map(String::as_str), Some("POST /account"));
}

#[tokio::test]
async fn a_proxys_page_and_no_answer_mean_that_the_ca_is_away() {
    for say in [
        (|_, _| Answer("502 Bad Gateway\r\nRetry-After: 30", "<html>down".into())) as fn(&str, &str) -> Answer,
        |_, _| Answer("200 OK", "x".repeat(2 * 1024 * 1024)),
        |line, url| match line {
            "GET /dir" => Answer("200 OK", directory(url, "")),
            "HEAD /nonce" => Answer("200 OK\r\nReplay-Nonce: abc", String::new()),
            _ => Answer("503 Busy", r#"{"type":"about:blank","status":503}"#.into()),
        },
    ] {
        let ca = FakeCa::new(say);
        let failure = ca.accounts.get().await.map(|_| ()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Away, "{failure}");
        assert!(!failure.text.contains('\n') && failure.text.chars().count() < 500, "{failure}");
    }
}

/// A certificate with an authority key identifier, as CAs make them.
fn signed(name: &str) -> Arc<Certificate> {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let chain = params.signed_by(&key, &issuer).unwrap().pem();
    Arc::new(Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes(), Origin::Acme).unwrap())
}

#[tokio::test]
async fn suggestions_are_asked_for_by_the_name_that_the_rfc_gives_certificates() {
    let ca = FakeCa::new(|line, url| {
        if line == "GET /dir" {
            return Answer("200 OK", directory(url, &format!(r#","renewalInfo":"{url}/renew""#)));
        }
        if line.starts_with("GET /renew/") {
            return Answer(
                "200 OK\r\nRetry-After: 21600",
                r#"{"suggestedWindow":{"start":"2026-01-02T04:00:00Z","end":"2026-01-03T04:00:00Z"}}"#.into(),
            );
        }
        not_found()
    });
    let key = KeyPair::generate().unwrap().serialize_der();
    let key = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, key);
    let url = ca.url();
    let account = format!(r#"{{"id":"{url}/account/1","key_pkcs8":"{key}","directory":"{url}/dir"}}"#);
    ca.disk.set_account(account.as_bytes()).unwrap();
    let (name, gone) = (CertName::Exact("a.example".into()), CertName::Exact("b.example".into()));
    let names = vec![(name.clone(), Some(signed("a.example"))), (gone.clone(), None)];
    let all = suggestions_of(ca.accounts.clone(), names).await;
    let (of_name, suggestion) = &all[0];
    let suggestion = suggestion.unwrap();
    assert_eq!((of_name, moment::minute(suggestion.start)), (&name, "2026-01-02 04:00 UTC".to_owned()));
    assert_eq!(moment::minute(suggestion.end), "2026-01-03 04:00 UTC");
    assert!((21_590..=21_600).contains(&suggestion.again.as_secs()), "{:?}", suggestion.again);
    assert!(matches!(&all[1], (name, None) if *name == gone));
    // Two base64url texts with a dot between (RFC 9773 §4.1).
    let asked = ca.asked();
    let id = asked.last().unwrap().strip_prefix("GET /renew/").unwrap();
    assert_eq!(id.split('.').filter(|part| part.len() > 20).count(), 2, "{id}");
}

#[tokio::test]
async fn a_ca_without_suggestions_is_no_trouble() {
    let ca = FakeCa::new(|line, url| match line {
        "GET /dir" => Answer("200 OK", directory(url, "")),
        _ => not_found(),
    });
    let key = KeyPair::generate().unwrap().serialize_der();
    let key = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, key);
    let url = ca.url();
    let account = format!(r#"{{"id":"{url}/account/1","key_pkcs8":"{key}","directory":"{url}/dir"}}"#);
    ca.disk.set_account(account.as_bytes()).unwrap();
    let names = vec![(CertName::Exact("a.example".into()), Some(signed("a.example")))];
    assert!(suggestions_of(ca.accounts.clone(), names).await[0].1.is_none());
}
