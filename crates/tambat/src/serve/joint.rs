//! What joins many apps and one router: their tables become one, and what the router reports reaches whom it is about.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tambat_model::{AppName, HostPattern, RouteTable, joined, of_app};
use tambat_router::RouterReport;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, watch};

use super::certificates::Keeping;
use crate::daemon::Sayer;
use crate::failure::Failure;
use crate::router_setup::{address_paused, refused_http2, unintroduced};

/// The tables of all apps.
#[derive(Debug)]
pub(crate) struct Tables {
    of_apps: Vec<(AppName, watch::Receiver<Arc<RouteTable>>)>,
    out: watch::Sender<Arc<RouteTable>>,
    changed: Arc<Notify>,
    /// Wants to know which names are served; none: there are no certificates.
    keeping: Option<Keeping>,
}

impl Tables {
    /// Into this one. Needs a runtime.
    pub(crate) fn new(
        of_apps: Vec<(AppName, watch::Receiver<Arc<RouteTable>>)>,
        out: watch::Sender<Arc<RouteTable>>,
        keeping: Option<Keeping>,
    ) -> Self {
        let changed = Arc::<Notify>::default();
        for (_, table) in &of_apps {
            let (mut table, changed) = (table.clone(), Arc::clone(&changed));
            tokio::spawn(async move {
                while table.changed().await.is_ok() {
                    changed.notify_one();
                }
                // It has ended, and its routes with it.
                changed.notify_one();
            });
        }
        Self { of_apps, out, changed, keeping }
    }

    /// Waits until every app has published a table of its own, and publishes them as one.
    pub(crate) async fn first(&mut self) {
        for (_, table) in &mut self.of_apps {
            // One that has ended meanwhile has none to wait for.
            let _ = table.changed().await;
        }
        self.publish();
    }

    /// Publishes them again after every change, for ever.
    pub(crate) async fn run(self) {
        loop {
            self.changed.notified().await;
            self.publish();
        }
    }

    fn publish(&self) {
        let of_running = self.of_apps.iter().filter(|(_, table)| table.has_changed().is_ok());
        let tables: Vec<_> = of_running.map(|(app, table)| (app, table.borrow().clone())).collect();
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
}

/// Whom reports are about.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Where those of an app go, by its name.
    pub(crate) of_apps: BTreeMap<String, UnboundedSender<RouterReport>>,
    /// Whose service port a number is.
    pub(crate) ports: BTreeMap<u16, String>,
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
            // One that is not served any more does not hear it.
            let _ = self.of_apps.get(&app).map(|of_app| of_app.send(report));
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
                self.ports.get(&addr.port()).cloned().map(|app| (app, report.clone())).ok_or(report)
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
        let ports = BTreeMap::from([(5_000, "shop".to_owned())]);
        let public = vec![([0, 0, 0, 0], 80).into()];
        Reports { of_apps: BTreeMap::new(), ports, public, sayer: Voice::new().sayer }
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
