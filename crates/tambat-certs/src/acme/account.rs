//! The account with the CA: made when the first order needs it, and kept.

use std::sync::Arc;

use instant_acme::{Account, AccountCredentials, Error, NewAccount};
use tokio::sync::Mutex;

use super::client::Web;
use super::disk::Disk;
use super::failure::{Failure, FailureKind};
use super::order::{BAD_NONCE_TRIES, OrderError, failure_of, is_bad_nonce};
use super::settings::AcmeSettings;

/// The account, shared by all orders.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    settings: Arc<AcmeSettings>,
    disk: Disk,
    web: Web,
    /// Held while one is made or put aside, lest two orders make two.
    making: Arc<Mutex<()>>,
}

/// The account as one order uses it.
pub(crate) struct Used {
    pub(crate) account: Account,
    /// When the CA wants to be asked again, where its last answer was an error.
    pub(crate) retry_after: super::client::RetryAfter,
    /// It was made for this.
    pub(crate) is_new: bool,
}

impl Accounts {
    pub(crate) fn new(settings: Arc<AcmeSettings>, disk: Disk, web: Web) -> Self {
        Self { settings, disk, web, making: Arc::default() }
    }

    /// The account, made if there is none.
    pub(crate) async fn get(&self) -> Result<Used, Failure> {
        let _making = self.making.lock().await;
        let Some(kept) = self.disk.account().map_err(own)? else { return self.make().await };
        let credentials: AccountCredentials = serde_json::from_slice(&kept).map_err(|e| {
            own(format!("cannot read the ACME account: {e}; move account.json away and a new one is made"))
        })?;
        let (client, retry_after) = self.web.for_order();
        let builder = Account::builder_with_http(Box::new(client));
        let account = builder.from_credentials(credentials).await.map_err(|e| failure_of(&e, &retry_after))?;
        Ok(Used { account, retry_after, is_new: false })
    }

    async fn make(&self) -> Result<Used, Failure> {
        if !self.settings.terms_agreed {
            let text = format!(
                "the terms of the CA at {} are not agreed to: read them, and say terms_agreed = true",
                self.settings.directory()
            );
            return Err(own(text));
        }
        let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let eab = self.settings.eab.as_ref().map(super::settings::Eab::key);
        let mut tries = 1;
        let (account, credentials, retry_after) = loop {
            let (client, retry_after) = self.web.for_order();
            let builder = Account::builder_with_http(Box::new(client));
            match builder.create(&new, self.settings.directory(), eab.as_ref()).await {
                Ok((account, credentials)) => break (account, credentials, retry_after),
                Err(e) if tries < BAD_NONCE_TRIES && is_bad_nonce(&e) => tries += 1,
                Err(e) => {
                    let failure = failure_of(&e, &retry_after);
                    let text = format!("cannot make an account with the CA: {}", failure.text);
                    return Err(Failure { text, ..failure });
                }
            }
        };
        let text = serde_json::to_vec_pretty(&credentials).map_err(|e| own(e.to_string()))?;
        self.disk.set_account(&text).map_err(own)?;
        Ok(Used { account, retry_after, is_new: true })
    }

    /// The CA does not know this account any more: the next order makes another one.
    pub(crate) async fn forget(&self, used: &Used) {
        let _making = self.making.lock().await;
        // Another order may have made a new one in the meantime.
        let is_it =
            self.disk.account().ok().flatten().is_some_and(|text| {
                serde_json::from_slice::<Kept>(&text).is_ok_and(|kept| kept.id == used.account.id())
            });
        if is_it {
            self.disk.drop_account();
        }
    }
}

/// The part of the credentials that tells accounts apart.
#[derive(serde::Deserialize)]
struct Kept {
    id: String,
}

/// Does the CA say that it does not know the account (RFC 8555 §6.7)?
pub(crate) fn is_unknown_account(error: &OrderError) -> bool {
    let OrderError::Acme(Error::Api(problem)) = error else { return false };
    problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
}

/// Something on this side: waiting longer and longer is all that helps.
fn own(text: String) -> Failure {
    Failure::new(FailureKind::Here, text)
}
