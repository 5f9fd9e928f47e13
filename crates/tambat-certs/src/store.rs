//! All certificates: whoever shakes hands asks here, and a driver keeps it up to date.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tambat_model::HostPattern;
use tokio::sync::{mpsc, oneshot, watch};

use crate::acme::{AcmeSettings, AcmeStatus, CaStatus, Challenges, Desk, Request, SettingsError};
use crate::certificate::Certificate;
use crate::driver::Driver;
use crate::files::{FilePair, FileStatus, Pairs};
use crate::local_ca::{Leafs, LocalCa, Root};
use crate::news::Report;
use crate::table::Table;

/// So many handshakes may ask for a certificate before the driver looks; more go without.
const REQUESTS_MAX: usize = 256;

/// Where certificates come from.
pub struct StoreSettings {
    /// Files that somebody else looks after, in the order in which they count.
    pub files: Vec<FilePair>,
    /// The CA of this machine's user.
    pub local: Option<LocalCa>,
    /// An ACME CA.
    pub acme: Option<AcmeSettings>,
    /// Is told what a user should know. Called by [`Store::new`] and by the driver; it must not block.
    pub report: Report,
}

/// The certificates. Handshakes ask it from any thread; it waits for nothing longer than for another thread to read or
/// swap a pointer, and, for a local name that is new, to sign.
#[derive(Debug)]
pub struct Store {
    table: RwLock<Arc<Table>>,
    local: Option<Leafs>,
    challenges: Arc<Challenges>,
    status: RwLock<Arc<Status>>,
    names: watch::Sender<Arc<BTreeSet<HostPattern>>>,
    files: watch::Sender<Arc<Vec<FilePair>>>,
    /// None: there is no ACME CA.
    requests: Option<mpsc::Sender<Request>>,
}

/// How things are, for `doctor` and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Of the files, in their order.
    pub files: Vec<FileStatus>,
    /// Of the names that have or want a certificate of the ACME CA, by name.
    pub acme: Vec<AcmeStatus>,
    /// Of the ACME CA.
    pub ca: Option<CaStatus>,
}

impl Store {
    /// A store, and the driver that keeps it up to date: it is to be spawned for files and for an ACME CA, and may be
    /// dropped for a local CA alone. Files are read now; what is wrong with them is reported, and is no error.
    ///
    /// # Errors
    ///
    /// When the ACME CA can't be spoken to with these settings.
    pub fn new(settings: StoreSettings, now: SystemTime) -> Result<(Arc<Self>, Driver), SettingsError> {
        let StoreSettings { files, local, acme, report } = settings;
        let challenges = Arc::new(Challenges::default());
        let desk = acme.map(|acme| Desk::new(acme, Arc::clone(&challenges), Arc::clone(&report))).transpose()?;
        let mut pairs = Pairs::default();
        pairs.set(files.clone(), now).iter().for_each(|news| report(news));
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let store = Arc::new(Self {
            table: RwLock::default(),
            local: local.map(Leafs::new),
            challenges,
            status: RwLock::default(),
            names: watch::Sender::new(Arc::default()),
            files: watch::Sender::new(Arc::new(files)),
            requests: desk.as_ref().map(|_| requests),
        });
        let mut driver = Driver {
            names: store.names.subscribe(),
            files: store.files.subscribe(),
            store: Arc::clone(&store),
            pairs,
            desk,
            requests: asked,
            report,
        };
        driver.publish(now);
        Ok((store, driver))
    }

    /// The certificate for this name (in lower case, without a last dot), or for whoever says no name. An exact name counts
    /// before a wildcard; files count before the ACME CA, and both before the local CA.
    ///
    /// Without a name it is that of the first pair of files, else the local CA's for `localhost`, 127.0.0.1 and `::1`.
    pub fn find(&self, name: Option<&str>) -> Option<Arc<Certificate>> {
        let table = self.table();
        let there = match name {
            Some(name) => table.find(name),
            None => table.nameless(),
        };
        there.cloned().or_else(|| self.local.as_ref()?.find(name, SystemTime::now()))
    }

    /// What to do for a name that [`find`](Self::find) has nothing for: none if no certificate can come; else a future that
    /// waits for one that is being ordered, or that has whoever decides asked about the name and orders it. It ends with
    /// nothing when none comes now. It may take minutes, so that whoever waits sets a limit; dropping it harms nothing, and
    /// the order goes on.
    pub fn obtain(&self, name: &str) -> Option<impl Future<Output = Option<Arc<Certificate>>> + Send + use<>> {
        let requests = self.requests.as_ref().filter(|_| is_routed(&self.names.borrow(), name))?;
        let (answer, answered) = oneshot::channel();
        requests.try_send(Request { name: name.into(), answer }).ok()?;
        Some(async move { answered.await.ok().flatten() })
    }

    /// What `GET /.well-known/acme-challenge/TOKEN` is answered with at this host (without a port), on port 80, before any
    /// app is asked (RFC 8555 §8.3).
    pub fn http_challenge(&self, host: &str, token: &str) -> Option<String> {
        self.challenges.http(host, token)
    }

    /// The certificate for a handshake that offers `acme-tls/1` and nothing else by ALPN (RFC 8737 §3). No such handshake
    /// may get another one.
    pub fn alpn_challenge(&self, name: &str) -> Option<Arc<Certificate>> {
        self.challenges.alpn(name)
    }

    /// These are the public names of the route table now. Certificates are ordered for those that are written out, but for
    /// those that a file covers, and for wildcards if there is a DNS hook; for others only on demand.
    pub fn set_names<'a>(&self, names: impl IntoIterator<Item = &'a HostPattern>) {
        let names: BTreeSet<HostPattern> = names.into_iter().cloned().collect();
        self.names.send_if_modified(|there| {
            let is_new = **there != names;
            if is_new {
                *there = Arc::new(names);
            }
            is_new
        });
    }

    /// These are the files now. Those that were there keep what was read of them.
    pub fn set_files(&self, files: Vec<FilePair>) {
        self.files.send_if_modified(|there| {
            let is_new = **there != files;
            if is_new {
                *there = Arc::new(files);
            }
            is_new
        });
    }

    /// How things are.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The certificate of the local CA.
    pub fn local_root(&self) -> Option<&Root> {
        self.local.as_ref().map(|local| local.ca().root())
    }

    pub(crate) fn set(&self, table: Table, status: Status) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        *self.status.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(status);
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Does a route take this name?
fn is_routed(names: &BTreeSet<HostPattern>, name: &str) -> bool {
    let parents = std::iter::successors(name.split_once('.'), |(_, parent)| parent.split_once('.'));
    names.contains(&HostPattern::Exact(name.into()))
        || names.contains(&HostPattern::Any)
        || parents.into_iter().any(|(_, parent)| names.contains(&HostPattern::Under(parent.into())))
}

#[cfg(test)]
mod tests;
