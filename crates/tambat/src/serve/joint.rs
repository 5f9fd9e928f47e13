//! What joins many apps and one router: their tables become one, and what the router reports reaches whom it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tambat_model::{AppName, Cause, HostPattern, RouteTable, beside, held, joined, of_app, unnamed};
use tambat_router::RouterReport;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};

use super::certificates::Keeping;
use crate::daemon::Sayer;
use crate::failure::Failure;
use crate::router_setup::{address_paused, refused_http2, unintroduced};

/// The tables of all apps, published as one after every change. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    of_apps: Arc<Mutex<BTreeMap<AppName, OfApp>>>,
    out: watch::Sender<Arc<RouteTable>>,
    /// Wants to know which names are served; none: there are no certificates.
    keeping: Option<Keeping>,
}

/// The table of one app.
#[derive(Debug)]
struct OfApp {
    table: watch::Receiver<Arc<RouteTable>>,
    /// Of the version that is to take its place, or had it: only its own processes look for something there.
    other: Option<watch::Receiver<Arc<RouteTable>>>,
    is: Is,
}

/// How an app is reached.
#[derive(Debug)]
enum Is {
    /// As its table says, as long as there is somebody who publishes it.
    Served,
    /// By nobody new: its names are nobody's.
    Leaving,
    /// By nobody for now: whoever is for one of these processes waits, even when nobody publishes its table any more.
    Held(Cause, Held),
}

/// Whom clients wait for.
#[derive(Debug)]
pub(crate) enum Held {
    /// These process ports.
    These(BTreeSet<String>),
    /// All of the app.
    All,
}

impl Held {
    fn has(&self, route: &str) -> bool {
        match self {
            Self::These(these) => these.contains(route),
            Self::All => true,
        }
    }
}

impl Tables {
    /// Into this one.
    pub(crate) fn new(out: watch::Sender<Arc<RouteTable>>, keeping: Option<Keeping>) -> Self {
        Self { of_apps: Arc::default(), out, keeping }
    }

    /// Takes in an app as soon as it has a table; until then what was there by its name stays as it is. Comes with news of
    /// that moment: none, where the app has ended before. Needs a runtime.
    pub(crate) fn insert(&self, app: AppName, mut table: watch::Receiver<Arc<RouteTable>>) -> oneshot::Receiver<()> {
        let (tell, first) = oneshot::channel();
        let tables = self.clone();
        tokio::spawn(async move {
            if table.changed().await.is_err() {
                return;
            }
            tables.of_apps().insert(app, OfApp { table: table.clone(), other: None, is: Is::Served });
            tables.publish();
            // Nobody need wait for it.
            let _ = tell.send(());
            while table.changed().await.is_ok() {
                tables.publish();
            }
            // It has ended, and its routes with it.
            tables.publish();
        });
        first
    }

    /// From now on nobody new reaches it by a name.
    pub(crate) fn leave(&self, app: &AppName) {
        self.change(app, Is::Leaving);
    }

    /// From now on who is for one of these waits.
    pub(crate) fn hold(&self, app: &AppName, held: Held) {
        self.change(app, Is::Held(format!("{app} is being replaced by another version").into(), held));
    }

    /// Another version of it runs beside it, and is to take its place. Needs a runtime.
    pub(crate) fn beside(&self, app: &AppName, mut table: watch::Receiver<Arc<RouteTable>>) {
        if let Some(of_app) = self.of_apps().get_mut(app) {
            of_app.other = Some(table.clone());
        }
        let tables = self.clone();
        tokio::spawn(async move {
            while table.changed().await.is_ok() {
                tables.publish();
            }
            tables.publish();
        });
    }

    /// From now on whoever comes reaches the version with this table in place of the one `before`, in one step; who is for one
    /// of the `waiting` waits.
    pub(crate) fn exchange(
        &self,
        before: &AppName,
        app: &AppName,
        table: watch::Receiver<Arc<RouteTable>>,
        waiting: BTreeSet<String>,
    ) {
        {
            let mut of_apps = self.of_apps();
            let other = of_apps.remove(before).map(|of_app| of_app.table);
            of_apps.insert(app.clone(), OfApp { table, other, is: Is::Served });
        }
        if waiting.is_empty() {
            self.publish();
        } else {
            self.hold(app, Held::These(waiting));
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn serve(&self, app: &AppName) {
        self.change(app, Is::Served);
    }

    /// It is the only version again.
    pub(crate) fn alone(&self, app: &AppName) {
        if let Some(of_app) = self.of_apps().get_mut(app) {
            of_app.other = None;
        }
        self.publish();
    }

    /// It is gone.
    pub(crate) fn remove(&self, app: &AppName) {
        self.of_apps().remove(app);
        self.publish();
    }

    fn change(&self, app: &AppName, is: Is) {
        if let Some(of_app) = self.of_apps().get_mut(app) {
            of_app.is = is;
        }
        self.publish();
    }

    /// Publishes them as they are now.
    pub(crate) fn publish(&self) {
        // Under the lock: the last one published is the newest.
        let of_apps = self.of_apps();
        let tables: Vec<(&AppName, Arc<RouteTable>)> = of_apps
            .iter()
            .filter_map(|(app, of_app)| {
                let table = of_app.table.borrow().clone();
                let is_published = of_app.table.has_changed().is_ok();
                let table = match &of_app.is {
                    Is::Served => is_published.then_some(table),
                    Is::Leaving => is_published.then(|| Arc::new(unnamed(&table))),
                    Is::Held(cause, these) => Some(Arc::new(held(&table, cause, |route| these.has(route)))),
                };
                let other = of_app.other.as_ref().filter(|other| other.has_changed().is_ok());
                let both = |table: Arc<RouteTable>| match other {
                    Some(other) => Arc::new(beside(&table, &other.borrow())),
                    None => table,
                };
                Some((app, both(table?)))
            })
            .collect();
        let joined = joined(tables.iter().map(|(app, table)| (*app, &**table)));
        if let Some(keeping) = &self.keeping {
            let mut names: Vec<HostPattern> = joined.hosts().sites().into_iter().map(|(host, _)| host).collect();
            // Those whose handshakes end at listeners of the apps.
            let ended = joined.entrances().flat_map(|(_, entrance)| entrance.terminated.sites());
            names.extend(ended.map(|(host, _)| host));
            keeping.set_names(&names);
        }
        self.out.send_replace(Arc::new(joined));
    }

    fn of_apps(&self) -> MutexGuard<'_, BTreeMap<AppName, OfApp>> {
        self.of_apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is told what. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whom(Arc<Mutex<Addressees>>);

#[derive(Debug, Default)]
struct Addressees {
    /// Where the reports of an app go, by its name.
    of_apps: BTreeMap<String, UnboundedSender<RouterReport>>,
    /// Whose service port a number is.
    ports: BTreeMap<u16, String>,
}

impl Whom {
    /// An app, by its name, and its service ports.
    pub(crate) fn insert(&self, app: &str, out: UnboundedSender<RouterReport>, ports: impl IntoIterator<Item = u16>) {
        let mut all = self.all();
        all.of_apps.insert(app.to_owned(), out);
        all.ports.extend(ports.into_iter().map(|port| (port, app.to_owned())));
    }

    /// It is told nothing any more.
    pub(crate) fn remove(&self, app: &str) {
        let mut all = self.all();
        all.of_apps.remove(app);
        all.ports.retain(|_, of| of != app);
    }

    fn of_port(&self, port: u16) -> Option<String> {
        self.all().ports.get(&port).cloned()
    }

    fn tell(&self, app: &str, report: RouterReport) {
        // One that is not served any more does not hear it.
        let _ = self.all().of_apps.get(app).map(|of_app| of_app.send(report));
    }

    fn all(&self) -> MutexGuard<'_, Addressees> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom reports are about.
#[derive(Debug)]
pub(crate) struct Reports {
    /// The apps.
    pub(crate) whom: Whom,
    /// Where names are served.
    pub(crate) public: Vec<SocketAddr>,
    /// To the server's user.
    pub(crate) sayer: Sayer,
}

impl Reports {
    /// Hands on what the router reports. Comes back when nothing accepts connections for everybody any more.
    pub(crate) async fn run(mut self, mut reports: UnboundedReceiver<RouterReport>) -> Failure {
        while let Some(report) = reports.recv().await {
            let (app, report) = match self.addressed(report) {
                Ok(addressed) => addressed,
                Err(report) => {
                    self.hear(report);
                    if self.public.is_empty() {
                        break;
                    }
                    continue;
                }
            };
            self.whom.tell(&app, report);
        }
        Failure::new("nothing accepts connections any more")
    }

    /// The app that a report is about, and the report as it would be if that app were alone; or it is about none.
    fn addressed(&self, report: RouterReport) -> Result<(String, RouterReport), RouterReport> {
        let split = |name: &str| of_app(name).map(|(app, name)| (app.to_owned(), name.to_owned()));
        match report {
            RouterReport::Refused { target, generation, addr } => match split(&target) {
                Some((app, target)) => Ok((app, RouterReport::Refused { target, generation, addr })),
                None => Err(RouterReport::Refused { target, generation, addr }),
            },
            RouterReport::Unreachable { target, generation, addr, cause } => match split(&target) {
                Some((app, target)) => Ok((app, RouterReport::Unreachable { target, generation, addr, cause })),
                None => Err(RouterReport::Unreachable { target, generation, addr, cause }),
            },
            RouterReport::Waiting { port, route } => match split(&route) {
                Some((app, route)) => Ok((app, RouterReport::Waiting { port, route })),
                None => Err(RouterReport::Waiting { port, route }),
            },
            RouterReport::Unintroduced { .. }
            | RouterReport::RefusedHttp2 { .. }
            | RouterReport::AddressPaused { .. } => Err(report),
            RouterReport::AcceptPaused { addr, .. } | RouterReport::ListenerLost { addr, .. } => {
                self.whom.of_port(addr.port()).map(|app| (app, report.clone())).ok_or(report)
            }
        }
    }

    /// What is about no app.
    fn hear(&mut self, report: RouterReport) {
        match report {
            RouterReport::Unintroduced { peer, cause } => self.sayer.say(unintroduced(peer, &cause)),
            RouterReport::RefusedHttp2 { peer, cause } => self.sayer.say(refused_http2(peer, &cause)),
            RouterReport::AddressPaused { client, pause } => self.sayer.say(address_paused(client, pause)),
            RouterReport::AcceptPaused { addr, cause } => self.sayer.say(format!(
                "cannot take more connections at {addr} for now: {cause}; those there are go on (is ulimit -n reached?)"
            )),
            RouterReport::ListenerLost { addr, cause } => {
                self.public.retain(|public| *public != addr);
                self.sayer.say(format!("{addr} is lost: {cause}; start tambat serve again to have it back"));
            }
            // A target or a route without an app is of a table that is gone.
            RouterReport::Refused { .. } | RouterReport::Unreachable { .. } | RouterReport::Waiting { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Voice;

    fn reports() -> Reports {
        let whom = Whom::default();
        whom.insert("shop", tokio::sync::mpsc::unbounded_channel().0, [5_000]);
        Reports { whom, public: vec![([0, 0, 0, 0], 80).into()], sayer: Voice::new().sayer }
    }

    #[test]
    fn a_report_reaches_its_app_as_if_that_were_alone() {
        let addr = ([127, 0, 0, 1], 20_000).into();
        let refused = |target: &str| RouterReport::Refused { target: target.to_owned(), generation: 3, addr };
        let (app, report) = reports().addressed(refused("shop/web.1")).unwrap();
        assert_eq!((app.as_str(), report), ("shop", refused("web.1")));
        let waiting = |route: &str| RouterReport::Waiting { port: None, route: route.to_owned() };
        let (app, report) = reports().addressed(waiting("shop/billing/api")).unwrap();
        assert_eq!((app.as_str(), report), ("shop", waiting("billing/api")));
        let lost = |port| RouterReport::ListenerLost { addr: ([0, 0, 0, 0], port).into(), cause: "EINVAL".to_owned() };
        assert_eq!(reports().addressed(lost(5_000)).unwrap().0, "shop");
        assert_eq!(reports().addressed(lost(80)).unwrap_err(), lost(80));
    }

    #[tokio::test]
    async fn an_app_is_in_the_table_from_its_first_one_to_its_end_or_as_long_as_it_is_held() {
        use tambat_model::{Admission, Protocol, Route};
        let (out, all) = watch::channel(Arc::default());
        let tables = Tables::new(out, None);
        let shop: AppName = "shop".parse().unwrap();
        let seen = || {
            let table = all.borrow().clone();
            let of = |route: &Route| match &route.admission {
                Admission::Hold { cause, .. } => format!("{} waits: {cause}", route.name),
                _ => route.name.clone(),
            };
            let named = table.hosts().find("shop.example", "/").is_some();
            (table.iter().map(|(_, route)| of(route)).collect::<Vec<_>>().join(", "), named)
        };
        let table = || {
            let refuse = Admission::Refuse { cause: "it is not there".into(), mend: None };
            let route = Arc::new(Route::new("web", Protocol::Http, refuse));
            let mut table = RouteTable::default();
            table.insert(5_000_u16.try_into().unwrap(), (*route).clone());
            let site = tambat_model::Site { path: tambat_model::PathPrefix::default(), strip: false, route };
            table.hosts_mut().insert("shop.example".parse().unwrap(), site).unwrap();
            Arc::new(table)
        };
        let (first, of_shop) = watch::channel(Arc::default());
        let begun = tables.insert(shop.clone(), of_shop);
        assert_eq!(seen(), (String::new(), false));
        first.send(table()).unwrap();
        begun.await.unwrap();
        assert_eq!(seen(), ("shop/web".to_owned(), true));
        tables.hold(&shop, Held::These(BTreeSet::from(["api".to_owned()])));
        assert_eq!(seen(), ("shop/web".to_owned(), true));
        tables.hold(&shop, Held::All);
        let waits = ("shop/web waits: shop is being replaced by another version".to_owned(), true);
        assert_eq!(seen(), waits);
        drop(first);
        tables.publish();
        assert_eq!(seen(), waits);
        let (second, of_shop) = watch::channel(Arc::default());
        let begun = tables.insert(shop.clone(), of_shop);
        second.send(table()).unwrap();
        begun.await.unwrap();
        assert_eq!(seen(), ("shop/web".to_owned(), true));
        tables.leave(&shop);
        assert_eq!(seen(), ("shop/web".to_owned(), false));
        tables.remove(&shop);
        assert_eq!(seen(), (String::new(), false));
    }

    #[test]
    fn a_server_that_nobody_can_reach_any_more_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (out, heard) = tokio::sync::mpsc::unbounded_channel();
        let lost = RouterReport::ListenerLost { addr: ([0, 0, 0, 0], 80).into(), cause: "EINVAL".to_owned() };
        out.send(lost).unwrap();
        let failure = runtime.block_on(reports().run(heard));
        assert_eq!(failure.to_string(), "nothing accepts connections any more");
    }
}
