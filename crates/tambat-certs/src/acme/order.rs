//! One order, from its beginning to the certificate (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName};

use super::account::{Accounts, Used, is_unknown_account};
use super::challenge::{Challenges, Kind, Shown, kinds};
use super::client::RetryAfter;
use super::failure::{Failure, FailureKind};
use super::hook::{HOOK_WITHIN, Hook, Verb};
use super::settings::Offered;
use crate::cert_name::CertName;
use crate::certificate::{Certificate, Origin};
use crate::sign;

/// A CA looks from several places, and may try again: some seconds, most often.
const VALIDATED_WITHIN: Duration = Duration::from_mins(2);

/// Signing takes a second; CAs under load take longer.
const ISSUED_WITHIN: Duration = Duration::from_mins(2);

/// The whole order. What is still there then has hung.
const ORDER_WITHIN: Duration =
    Duration::from_secs(VALIDATED_WITHIN.as_secs() + ISSUED_WITHIN.as_secs() + 2 * HOOK_WITHIN.as_secs() + 120);

/// The first look at an order's state; each further one waits twice as long.
const POLL_FIRST: Duration = Duration::from_millis(250);

/// instant-acme sends a request again up to twice when the CA does not like its nonce (RFC 8555 §6.5); this is how often
/// that is begun anew. A CA that tests its clients may reject every second one.
pub(crate) const BAD_NONCE_TRIES: u32 = 8;

/// What all orders share.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) accounts: Accounts,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) offered: Offered,
    pub(crate) hook: Option<Hook>,
}

/// One order.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) name: CertName,
    /// So many orders have failed in a row.
    pub(crate) failures: u32,
    /// The certificate that it replaces, if the CA is to be told (RFC 9773 §5).
    pub(crate) replaces: Option<Arc<Certificate>>,
}

/// What came of an order.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) certificate: Certificate,
    pub(crate) chain: String,
    pub(crate) key: String,
    /// The account was made for it.
    pub(crate) new_account: bool,
}

/// Why an order stopped.
#[derive(Debug)]
pub(crate) enum OrderError {
    Acme(Error),
    Own(Failure),
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        Self::Acme(error)
    }
}

impl From<Failure> for OrderError {
    fn from(failure: Failure) -> Self {
        Self::Own(failure)
    }
}

/// Does a step, and does it again while the CA does not like the nonce.
macro_rules! step {
    ($step:expr) => {{
        let mut tries = 1;
        loop {
            match $step.await {
                Err(error) if tries < BAD_NONCE_TRIES && is_bad_nonce(&error) => tries += 1,
                done => break done,
            }
        }
    }};
}

impl Orders {
    /// Orders a certificate. Bounded in time. What listeners show to the CA is gone when this ends or is dropped; a TXT
    /// record is taken away unless it is dropped.
    pub(crate) async fn order(&self, wanted: &Wanted, now: SystemTime) -> Result<Issued, Failure> {
        let ordered = tokio::time::timeout(ORDER_WITHIN, self.with_account(wanted, now)).await;
        ordered.unwrap_or_else(|_| {
            let text = format!("the order was not done in {} min", ORDER_WITHIN.as_secs() / 60);
            Err(Failure::new(FailureKind::Away, text))
        })
    }

    async fn with_account(&self, wanted: &Wanted, now: SystemTime) -> Result<Issued, Failure> {
        let mut used = self.accounts.get().await?;
        let mut ordered = self.on_account(&used, wanted, now).await;
        if let Err(error) = &ordered
            && is_unknown_account(error)
        {
            self.accounts.forget(&used).await;
            used = self.accounts.get().await?;
            ordered = self.on_account(&used, wanted, now).await;
        }
        ordered.map_err(|error| match error {
            OrderError::Acme(error) => failure_of(&error, &used.retry_after),
            OrderError::Own(failure) => failure,
        })
    }

    async fn on_account(&self, used: &Used, wanted: &Wanted, now: SystemTime) -> Result<Issued, OrderError> {
        let identifiers = [Identifier::Dns(wanted.name.to_string())];
        let mut order = step!(begin(&used.account, &identifiers, wanted))?;
        let shown = match self.show(&mut order, wanted, now).await {
            Ok(shown) => shown,
            // The CA may have looked and failed before it answered that it would look.
            Err(error) => return Err(explained(&mut order, error).await),
        };
        let validated = validated(&mut order).await;
        shown.take_away().await;
        validated?;
        let (csr, key) = request_for(&wanted.name)?;
        step!(order.finalize_csr(&csr))?;
        let patience = RetryPolicy::new().initial_delay(POLL_FIRST).timeout(ISSUED_WITHIN);
        let chain = step!(order.poll_certificate(&patience))?;
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), Origin::Acme)
            .map_err(|e| Failure::new(FailureKind::Refused, format!("what the CA sent is no certificate: {e}")))?;
        if !certificate.covers().contains(&wanted.name.pattern()) {
            let text = format!("the CA's certificate is not for {}", wanted.name);
            return Err(Failure::new(FailureKind::Refused, text).into());
        }
        Ok(Issued { certificate, chain, key, new_account: used.is_new })
    }

    /// Shows what the CA looks for, and tells it to look.
    async fn show(&self, order: &mut Order, wanted: &Wanted, now: SystemTime) -> Result<ShownAll, OrderError> {
        let mut all = ShownAll { shown: Vec::new(), records: Vec::new(), hook: self.hook.clone() };
        let shown = self.show_each(order, wanted, now, &mut all).await;
        match shown {
            Ok(()) => Ok(all),
            Err(e) => {
                all.take_away().await;
                Err(e)
            }
        }
    }

    async fn show_each(
        &self,
        order: &mut Order,
        wanted: &Wanted,
        now: SystemTime,
        all: &mut ShownAll,
    ) -> Result<(), OrderError> {
        let ways = kinds(&wanted.name, self.offered, self.hook.is_some(), wanted.failures);
        step!(load_authorizations(order))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let offers = |kind: &Kind| authorization.challenges.iter().any(|c| c.r#type == kind.of_acme());
            let kind = ways.iter().copied().find(offers).ok_or_else(|| no_way(&wanted.name, &ways))?;
            let Some(mut challenge) = authorization.challenge(kind.of_acme()) else {
                return Err(no_way(&wanted.name, &ways).into());
            };
            let answer = challenge.key_authorization();
            let base = wanted.name.base();
            match kind {
                Kind::Http01 => all.shown.push(self.challenges.show_http(base, &challenge.token, &answer)),
                Kind::TlsAlpn01 => {
                    let shown = self.challenges.show_alpn(base, answer.digest().as_ref(), now);
                    all.shown.push(shown.map_err(|e| Failure::new(FailureKind::Here, e.to_string()))?);
                }
                Kind::Dns01 => all.present(format!("_acme-challenge.{base}"), answer.dns_value()).await?,
            }
            step!(challenge.set_ready())?;
        }
        Ok(())
    }
}

/// What is shown to the CA for one order.
struct ShownAll {
    shown: Vec<Shown>,
    /// Names and values of TXT records.
    records: Vec<(String, String)>,
    hook: Option<Hook>,
}

impl ShownAll {
    async fn present(&mut self, name: String, value: String) -> Result<(), Failure> {
        let Some(hook) = self.hook.clone() else { return Ok(()) };
        // It is taken away again even if setting it went wrong: it may have been set all the same.
        self.records.push((name.clone(), value.clone()));
        hook.run(Verb::Present, &name, &value).await.map_err(|text| Failure::new(FailureKind::Here, text))
    }

    /// A record that stays harms nobody, so that nothing hangs on this.
    async fn take_away(self) {
        drop(self.shown);
        if let Some(hook) = self.hook {
            for (name, value) in self.records {
                let _ = hook.run(Verb::Cleanup, &name, &value).await;
            }
        }
    }
}

async fn begin(account: &Account, identifiers: &[Identifier], wanted: &Wanted) -> Result<Order, Error> {
    let new = NewOrder::new(identifiers);
    let replaced = wanted.replaces.as_ref().and_then(|old| CertificateIdentifier::try_from(old.leaf()?).ok());
    account
        .new_order(&match replaced {
            Some(old) => new.replaces(old),
            None => new,
        })
        .await
}

/// Waits until the CA has seen that the name is ours, or says why not.
async fn validated(order: &mut Order) -> Result<(), OrderError> {
    let patience = RetryPolicy::new().initial_delay(POLL_FIRST).timeout(VALIDATED_WITHIN);
    let polled = step!(order.poll_ready(&patience));
    match polled {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => {
            let seen = what_was_seen(order).await.unwrap_or_else(|| "the CA does not say why".to_owned());
            Err(Failure::new(FailureKind::Refused, seen).into())
        }
        Err(e) => Err(explained(order, e.into()).await),
    }
}

/// The order says that it has failed; the challenge says why.
async fn explained(order: &mut Order, error: OrderError) -> OrderError {
    let OrderError::Acme(Error::Api(problem)) = &error else { return error };
    if matches!(kind_of(problem), "badNonce" | "rateLimited" | "accountDoesNotExist") {
        return error;
    }
    match what_was_seen(order).await {
        Some(seen) => Failure::new(FailureKind::Refused, seen).into(),
        None => error,
    }
}

/// What the CA saw when it looked.
async fn what_was_seen(order: &mut Order) -> Option<String> {
    step!(load_authorizations(order)).ok()?;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if step!(refreshed(&mut authorization)).is_err() {
            continue;
        }
        let problem =
            authorization.challenges.iter().find_map(|challenge| Some((challenge, challenge.error.as_ref()?)));
        if let Some((challenge, problem)) = problem {
            let detail = problem.detail.as_deref().unwrap_or("no detail");
            let way = match challenge.r#type {
                instant_acme::ChallengeType::Http01 => "HTTP-01",
                instant_acme::ChallengeType::TlsAlpn01 => "TLS-ALPN-01",
                instant_acme::ChallengeType::Dns01 => "DNS-01",
                _ => "its challenge",
            };
            return Some(format!("the CA could not see by {way} that the name is served here: {}", one_line(detail)));
        }
    }
    None
}

async fn refreshed(authorization: &mut instant_acme::AuthorizationHandle<'_>) -> Result<(), Error> {
    authorization.refresh().await.map(|_| ())
}

/// Gets all authorizations, which the order keeps: going through them asks for nothing any more. Where one fails all have
/// to be gone through anew, since instant-acme skips it the next time.
async fn load_authorizations(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

/// The request for this name, and the new key as PEM.
fn request_for(name: &CertName) -> Result<(Vec<u8>, String), Failure> {
    let cannot = |e: rcgen::Error| Failure::new(FailureKind::Here, format!("cannot make a key or a request: {e}"));
    let key = sign::new_key().map_err(cannot)?;
    let mut params = CertificateParams::new([name.to_string()]).map_err(cannot)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(cannot)?;
    Ok((request.der().to_vec(), key.serialize_pem()))
}

fn no_way(name: &CertName, ways: &[Kind]) -> Failure {
    let text = match (name, ways) {
        (CertName::Wildcard(_), []) => "a wildcard is shown to the CA by DNS, and there is no dns_hook".to_owned(),
        (_, []) => "the CA can't reach this machine: it takes port 80, port 443 or a dns_hook".to_owned(),
        _ => "the CA takes none of the challenges that are possible here".to_owned(),
    };
    Failure::new(FailureKind::Here, text)
}

pub(crate) fn is_bad_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if kind_of(problem) == "badNonce")
}

/// The last part of `urn:ietf:params:acme:error:rateLimited` (RFC 8555 §6.7).
fn kind_of(problem: &instant_acme::Problem) -> &str {
    problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default()
}

/// Whose matter an error is.
pub(crate) fn failure_of(error: &Error, retry_after: &RetryAfter) -> Failure {
    let said = retry_after.get();
    match error {
        Error::Api(problem) => {
            let is_out_of_order = problem.status.is_some_and(|status| status >= 500);
            let kind = match kind_of(problem) {
                "rateLimited" => FailureKind::Limited,
                "serverInternal" | "badNonce" => FailureKind::Away,
                _ if is_out_of_order => FailureKind::Away,
                _ => FailureKind::Refused,
            };
            Failure { kind, retry_after: said, text: one_line(&format!("the CA says: {}", spoken(problem))) }
        }
        Error::Timeout(at) => {
            let asked = at.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            let text = "the CA took too long to look or to sign".to_owned();
            Failure { kind: FailureKind::Refused, retry_after: asked, text }
        }
        Error::Crypto | Error::KeyRejected | Error::Unsupported(_) => {
            Failure::new(FailureKind::Here, one_line(&error.to_string()))
        }
        // No answer, or one that is none: a proxy's page, say.
        _ => {
            let text = one_line(&format!("the CA can't be reached: {error}"));
            Failure { kind: FailureKind::Away, retry_after: said, text }
        }
    }
}

fn spoken(problem: &instant_acme::Problem) -> String {
    let details = problem.subproblems.iter().map(|sub| sub.detail.as_deref());
    let all: Vec<&str> = std::iter::once(problem.detail.as_deref()).chain(details).flatten().collect();
    let kind = kind_of(problem);
    if all.is_empty() { kind.to_owned() } else { format!("{} ({kind})", all.join("; ")) }
}

/// Text of others is cut after so much.
const TEXT_CHARS_MAX: usize = 400;

/// Text that others have written, fit for a terminal and a log: one line, of bounded length.
fn one_line(text: &str) -> String {
    let line = tambat_model::plain(&text.replace(['\n', '\r'], " "));
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
