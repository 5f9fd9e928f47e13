//! What takes its time: orders and questions, each a task of its own. All end when this is dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::CertificateIdentifier;
use tokio::task::{Id, JoinSet};

use crate::acme::account::Accounts;
use crate::acme::ask::{Asker, Decision};
use crate::acme::failure::{Failure, FailureKind};
use crate::acme::order::{Issued, Orders, Wanted, failure_of};
use crate::cert_name::CertName;
use crate::certificate::Certificate;
use crate::moment;

/// The tasks.
#[derive(Default)]
pub(super) struct Jobs {
    tasks: JoinSet<Done>,
    /// What is to be said of each if it ends without saying anything: by a panic.
    running: HashMap<Id, Done>,
    suggesting: Option<Id>,
}

/// What came of one.
#[derive(Debug)]
pub(crate) enum Done {
    /// An order.
    Ordered(CertName, Result<Issued, Failure>),
    /// Questions about renewals (RFC 9773).
    Suggested(Vec<(CertName, Option<Suggestion>)>),
    /// The question whether a name may have a certificate.
    Decided(CertName, Decision),
    /// The question whether it may have another one.
    DecidedAgain(Wanted, Decision),
}

/// When the CA suggests to renew, and in how long to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suggestion {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) again: Duration,
}

impl Jobs {
    pub(super) fn order(&mut self, orders: Orders, wanted: Wanted, now: SystemTime) {
        let name = wanted.name.clone();
        let broken = Failure::new(FailureKind::Here, "the order was given up by a mistake in tambat");
        self.start(Done::Ordered(name.clone(), Err(broken)), async move {
            let ordered = orders.order(&wanted, now).await;
            Done::Ordered(name, ordered)
        });
    }

    pub(super) fn decide(&mut self, asker: Asker, name: CertName) {
        self.start(Done::Decided(name.clone(), Decision::Unknown), async move {
            let decision = asker.ask(name.base()).await;
            Done::Decided(name, decision)
        });
    }

    pub(super) fn decide_again(&mut self, asker: Asker, wanted: Wanted) {
        let Wanted { name, failures, replaces } = &wanted;
        let same = Wanted { name: name.clone(), failures: *failures, replaces: replaces.clone() };
        self.start(Done::DecidedAgain(same, Decision::Unknown), async move {
            let decision = asker.ask(wanted.name.base()).await;
            Done::DecidedAgain(wanted, decision)
        });
    }

    pub(super) fn suggest(&mut self, accounts: Accounts, names: Vec<(CertName, Option<Arc<Certificate>>)>) {
        let nothing = names.iter().map(|(name, _)| (name.clone(), None)).collect();
        let id =
            self.start(Done::Suggested(nothing), async move { Done::Suggested(suggestions_of(accounts, names).await) });
        self.suggesting = Some(id);
    }

    /// Are questions about renewals on their way?
    pub(super) fn is_suggesting(&self) -> bool {
        self.suggesting.is_some()
    }

    /// Waits for one to end; for ever while none runs. Nothing is lost when it is dropped.
    pub(super) async fn done(&mut self) -> Done {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
            let (id, done) = match ended {
                Ok((id, done)) => (id, Some(done)),
                Err(broken) => (broken.id(), None),
            };
            if self.suggesting == Some(id) {
                self.suggesting = None;
            }
            let in_place = self.running.remove(&id);
            if let Some(done) = done.or(in_place) {
                return done;
            }
        }
    }

    fn start(&mut self, in_place: Done, job: impl Future<Output = Done> + Send + 'static) -> Id {
        let id = self.tasks.spawn(job).id();
        self.running.insert(id, in_place);
        id
    }
}

/// Asks when these are to be renewed. After a CA that can't be reached the rest is not asked for.
pub(crate) async fn suggestions_of(
    accounts: Accounts,
    names: Vec<(CertName, Option<Arc<Certificate>>)>,
) -> Vec<(CertName, Option<Suggestion>)> {
    let mut all: Vec<(CertName, Option<Suggestion>)> = Vec::new();
    let mut used = accounts.get().await.ok();
    for (name, certificate) in names {
        let asked = match (&used, certificate) {
            (Some(of), Some(certificate)) => {
                suggestion(&of.account, &certificate).await.map_err(|error| failure_of(&error, &of.retry_after).kind)
            }
            _ => Err(FailureKind::Here),
        };
        if asked == Err(FailureKind::Away) {
            used = None;
        }
        all.push((name, asked.ok()));
    }
    all
}

async fn suggestion(
    account: &instant_acme::Account,
    certificate: &Certificate,
) -> Result<Suggestion, instant_acme::Error> {
    let leaf = certificate.leaf().ok_or(instant_acme::Error::Unsupported("a certificate of nothing"))?;
    let id = CertificateIdentifier::try_from(leaf).map_err(|e| instant_acme::Error::Other(e.into()))?;
    let (info, again) = account.renewal_info(&id).await?;
    let at = |seconds| moment::from_unix(seconds);
    let window = info.suggested_window;
    Ok(Suggestion { start: at(window.start.unix_timestamp()), end: at(window.end.unix_timestamp()), again })
}
