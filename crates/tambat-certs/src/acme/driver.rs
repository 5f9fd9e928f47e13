//! Does what [`Renewals`] and [`Demand`] decide: loads, orders, asks, and answers those who wait for a certificate.

mod jobs;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::oneshot;

use super::account::Accounts;
use super::ask::{Asker, Decision};
use super::challenge::Challenges;
use super::client::Web;
use super::demand::{self, Demand, Step};
use super::disk::Disk;
use super::failure::{Failure, FailureKind};
use super::hook::Hook;
use super::jitter::Jitter;
use super::order::{Issued, Orders, Wanted};
use super::renewal::{Action, DEMANDED_MAX, Event, Renewals, Why};
use super::routes::Routes;
use super::settings::{AcmeSettings, SettingsError};
use super::status::{AcmeStatus, CaStatus};
use crate::cert_name::CertName;
use crate::certificate::Certificate;
use crate::news::{News, Report};
pub(crate) use jobs::Done;
#[cfg(test)]
pub(super) use jobs::suggestions_of;
use jobs::{Jobs, Suggestion};

/// So many handshakes wait for certificates at once. Each holds a connection open, and most wait for the same few names.
const WAITING_MAX: usize = 1_024;

/// The CA is asked for suggestions about so many certificates in one go.
const WINDOWS_MAX: usize = 100;

/// Somebody waits for a certificate for this name, a hostname in lower case.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) name: Box<str>,
    pub(crate) answer: oneshot::Sender<Option<Arc<Certificate>>>,
}

/// All that has to do with the ACME CA.
pub(crate) struct Desk {
    directory: String,
    orders: Orders,
    disk: Disk,
    asker: Option<Asker>,
    routes: Routes,
    renewals: Renewals,
    demand: Demand,
    certificates: BTreeMap<CertName, Arc<Certificate>>,
    /// The folders of the names that had something on the disk at the beginning: of the others there is nothing to read,
    /// however many somebody connects to.
    kept: HashSet<String>,
    waiting: HashMap<CertName, Vec<oneshot::Sender<Option<Arc<Certificate>>>>>,
    /// Whose suggestions are to be asked for.
    windows: VecDeque<CertName>,
    jobs: Jobs,
    away_since: Option<SystemTime>,
    report: Report,
    is_changed: bool,
}

impl Desk {
    pub(crate) fn new(
        settings: AcmeSettings,
        challenges: Arc<Challenges>,
        report: Report,
    ) -> Result<Self, SettingsError> {
        let settings = Arc::new(settings);
        let (disk, web) = (Disk::new(&settings), Web::secure(settings.roots.as_deref())?);
        let asker = settings.ask.clone().map(|url| Ok(Asker::new(url, Web::any()?))).transpose()?;
        let accounts = Accounts::new(Arc::clone(&settings), disk.clone(), web);
        let hook = settings.dns_hook.as_deref().map(Hook::new);
        Ok(Self {
            directory: settings.directory(),
            orders: Orders { accounts, challenges, offered: settings.offered, hook },
            asker,
            routes: Routes::default(),
            renewals: Renewals::new(Jitter::random()),
            demand: Demand::new(Instant::now()),
            certificates: BTreeMap::new(),
            kept: disk.folders(),
            disk,
            waiting: HashMap::new(),
            windows: VecDeque::new(),
            jobs: Jobs::default(),
            away_since: None,
            report,
            is_changed: false,
        })
    }

    pub(crate) fn has_hook(&self) -> bool {
        self.orders.hook.is_some()
    }

    pub(crate) fn has_asker(&self) -> bool {
        self.asker.is_some()
    }

    /// The certificates that there are.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.certificates.values()
    }

    /// Has anything changed that is served or shown since this was asked last?
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// When something is due by itself.
    pub(crate) fn next(&self) -> Option<SystemTime> {
        self.renewals.next()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: SystemTime) {
        self.on(Event::Tick, now);
    }

    /// The route table is another one.
    pub(crate) fn set_routes(&mut self, routes: Routes, now: SystemTime) {
        if routes != self.routes {
            self.routes = routes.clone();
            self.on(Event::Routes(routes), now);
        }
    }

    /// Somebody waits for a certificate.
    pub(crate) fn request(&mut self, request: Request, now: SystemTime) {
        let Request { name, answer } = request;
        let known = self.routes.named_for(&name);
        let Some(cert_name) = known.or_else(|| self.open(&name)) else {
            let _ = answer.send(None);
            return;
        };
        if !self.certificates.contains_key(&cert_name) && self.renewals.entry(&cert_name).is_none() {
            self.demanded(&cert_name, now);
        }
        if self.waiting.values().map(Vec::len).sum::<usize>() < WAITING_MAX {
            self.waiting.entry(cert_name.clone()).or_default().push(answer);
        }
        self.answer(&cert_name, now);
    }

    /// Waits for a job to end; for ever while none runs.
    pub(crate) async fn done(&mut self) -> Done {
        self.jobs.done().await
    }

    /// A job has ended.
    pub(crate) fn on_done(&mut self, done: Done, now: SystemTime) {
        match done {
            Done::Ordered(name, Ok(issued)) => self.on_issued(name, issued, now),
            Done::Ordered(name, Err(failure)) => self.on_failed(name, failure, now),
            Done::Suggested(all) => {
                for (name, suggestion) in all {
                    self.on(window_event(name, suggestion), now);
                }
            }
            Done::Decided(name, decision) => self.on_decided(&name, decision, now),
            Done::DecidedAgain(wanted, decision) => self.on_decided_again(wanted, decision, now),
        }
    }

    /// What is known of each name.
    pub(crate) fn status(&self) -> Vec<AcmeStatus> {
        let status = self.renewals.entries().map(|(name, entry)| AcmeStatus {
            name: name.clone(),
            lifetime: entry.lifetime(),
            ordering: entry.is_ordering(),
            next_order: entry.order_at(),
            failures: entry.failures(),
            last_error: entry.failure().map(ToString::to_string),
            on_demand: entry.why == Why::Demanded,
        });
        status.collect()
    }

    /// What is known of the CA.
    pub(crate) fn ca_status(&self) -> CaStatus {
        let away = self.renewals.ca().away().map(|away| (away.since, away.failure.to_string()));
        CaStatus { directory: self.directory.clone(), away }
    }

    /// The certificate for a name that no route writes out but one takes.
    fn open(&self, name: &str) -> Option<CertName> {
        let name = CertName::of(&name.parse().ok()?)?;
        self.routes.is_open(&name).then_some(name)
    }

    /// Somebody wants a name that has neither certificate nor order.
    fn demanded(&mut self, name: &CertName, now: SystemTime) {
        let is_good = |kept: &Certificate| kept.lifetime().contains(now);
        if self.kept.remove(&name.folder()) && matches!(self.disk.certificate(name), Ok(Some(kept)) if is_good(&kept)) {
            // It was allowed when it was ordered, and is good until it expires.
            self.on(Event::Demanded(name.clone()), now);
            return;
        }
        if self.demand.on(demand::Event::Wanted(name.base()), Instant::now()) == Step::Ask
            && let Some(asker) = self.asker.clone()
        {
            let name = name.clone();
            self.jobs.decide(asker, name);
        }
    }

    fn on_decided(&mut self, name: &CertName, decision: Decision, now: SystemTime) {
        let step = self.demand.on(demand::Event::Decided(name.base(), decision), Instant::now());
        let has_room =
            || self.renewals.entries().filter(|(_, entry)| entry.why == Why::Demanded).count() < DEMANDED_MAX;
        if step == Step::Order && self.routes.is_open(name) && has_room() {
            self.on(Event::Demanded(name.clone()), now);
        }
        self.answer(name, now);
    }

    fn on_decided_again(&mut self, wanted: Wanted, decision: Decision, now: SystemTime) {
        match decision {
            Decision::Yes => self.jobs.order(self.orders.clone(), wanted, now),
            Decision::No => self.on(Event::Denied(wanted.name), now),
            Decision::Unknown => {
                let text = "whoever decides about names on demand did not answer";
                self.on_failed(wanted.name, Failure::new(FailureKind::Here, text), now);
            }
        }
    }

    fn on_issued(&mut self, name: CertName, issued: Issued, now: SystemTime) {
        let Issued { certificate, chain, key, new_account } = issued;
        if new_account {
            (self.report)(&News::AccountMade { directory: self.directory.clone() });
        }
        if let Err(error) = self.disk.set_certificate(&name, &chain, &key) {
            (self.report)(&News::Disk { error });
        }
        let lifetime = certificate.lifetime();
        (self.report)(&News::Issued { name: name.clone(), until: lifetime.not_after });
        if self.renewals.entry(&name).is_some() {
            self.certificates.insert(name.clone(), Arc::new(certificate));
        }
        self.on(Event::Issued { name, lifetime }, now);
    }

    fn on_failed(&mut self, name: CertName, failure: Failure, now: SystemTime) {
        let served_until = self.certificates.get(&name).map(|served| served.not_after());
        let was_demanded = self.renewals.entry(&name).is_some_and(|entry| entry.why == Why::Demanded);
        if was_demanded && served_until.is_none() {
            self.demand.on(demand::Event::Failed(name.base()), Instant::now());
        }
        self.on(Event::Failed { name: name.clone(), failure: failure.clone() }, now);
        if failure.kind != FailureKind::Away {
            let again = self.renewals.entry(&name).and_then(super::renewal::Entry::order_at);
            (self.report)(&News::OrderFailed { name, failure, again, served_until });
        }
    }

    /// Tells the machine, and does what it says.
    fn on(&mut self, event: Event, now: SystemTime) {
        self.is_changed = true;
        let mut todo: VecDeque<Action> = self.renewals.on(event, now).into();
        while let Some(action) = todo.pop_front() {
            if let Some(event) = self.act(action, now) {
                todo.extend(self.renewals.on(event, now));
            }
        }
        self.ask_windows();
        self.tell_of_ca();
        self.answer_all(now);
    }

    fn act(&mut self, action: Action, now: SystemTime) -> Option<Event> {
        match action {
            Action::Load(name) => return Some(self.load(name)),
            Action::Order { name, replaces, failures, ask } => {
                let replaces = self.certificates.get(&name).filter(|_| replaces).cloned();
                let wanted = Wanted { name, failures, replaces };
                match self.asker.clone().filter(|_| ask) {
                    Some(asker) => self.jobs.decide_again(asker, wanted),
                    None => self.jobs.order(self.orders.clone(), wanted, now),
                }
            }
            Action::AskWindow(name) => self.windows.push_back(name),
            Action::Forget(name) => drop(self.certificates.remove(&name)),
            Action::Remember { name, tried } => {
                if let Err(error) = self.disk.set_tried(&name, &tried) {
                    (self.report)(&News::Disk { error });
                }
            }
        }
        None
    }

    fn load(&mut self, name: CertName) -> Event {
        let certificate = self.disk.certificate(&name).unwrap_or_else(|error| {
            (self.report)(&News::Disk { error });
            None
        });
        let lifetime = certificate.as_ref().map(Certificate::lifetime);
        if let Some(certificate) = certificate {
            self.certificates.insert(name.clone(), Arc::new(certificate));
        }
        let tried = self.disk.tried(&name);
        Event::Found { name, lifetime, tried }
    }

    /// One job asks for many suggestions, one after another.
    fn ask_windows(&mut self) {
        if self.windows.is_empty() || self.jobs.is_suggesting() {
            return;
        }
        let count = self.windows.len().min(WINDOWS_MAX);
        let of = |name: CertName| (name.clone(), self.certificates.get(&name).cloned());
        let names: Vec<_> = self.windows.drain(..count).map(of).collect();
        self.jobs.suggest(self.orders.accounts.clone(), names);
    }

    /// Says once that the CA is away, and once that it is back.
    fn tell_of_ca(&mut self) {
        match (self.renewals.ca().away(), self.away_since) {
            (Some(away), None) => {
                self.away_since = Some(away.since);
                let (directory, failure) = (self.directory.clone(), away.failure.clone());
                (self.report)(&News::CaAway { directory, failure });
            }
            (None, Some(since)) => {
                self.away_since = None;
                (self.report)(&News::CaBack { directory: self.directory.clone(), since });
            }
            _ => {}
        }
    }

    fn answer_all(&mut self, now: SystemTime) {
        let names: Vec<CertName> = self.waiting.keys().cloned().collect();
        for name in names {
            self.answer(&name, now);
        }
    }

    /// Gives the certificate of this name to whoever waits for it, if it is there, and nothing if none is on its way.
    fn answer(&mut self, name: &CertName, now: SystemTime) {
        let Some(mut waiting) = self.waiting.remove(name) else { return };
        let served = self.certificates.get(name);
        if served.is_none() && (self.renewals.is_coming(name, now) || self.demand.is_asking(name.base())) {
            // Those whose handshake is over are not counted any more.
            waiting.retain(|answer| !answer.is_closed());
            if !waiting.is_empty() {
                self.waiting.insert(name.clone(), waiting);
            }
            return;
        }
        for answer in waiting {
            let _ = answer.send(served.cloned());
        }
    }
}

fn window_event(name: CertName, suggestion: Option<Suggestion>) -> Event {
    match suggestion {
        Some(Suggestion { start, end, again }) => Event::Window { name, start, end, again },
        None => Event::NoWindow { name },
    }
}
