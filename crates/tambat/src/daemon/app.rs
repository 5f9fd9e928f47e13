//! An app that runs, as the parts of its daemon share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tambat_model::{Ledger, ListenAddr, Plan, ProcessName, RouteTable, Scheme, Wiring, World};
use tambat_router::{AccessLog, HealthView, Router};
use tambat_supervisor::Command;
use tokio::sync::{mpsc, watch};

use super::hostnames::Pair;
use super::{Look, Sayer, StateDir};
use crate::sockets::Sockets;

/// What the parts of the daemon share.
pub(crate) struct App {
    /// The app.
    pub(crate) plan: Arc<Plan>,
    /// How many of each process were asked for at the start.
    pub(crate) formation: BTreeMap<ProcessName, u16>,
    /// What runs.
    pub(crate) world: watch::Receiver<Arc<World>>,
    /// To the supervisor.
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    /// The router.
    pub(crate) router: Arc<Router>,
    /// What each process port has carried.
    pub(crate) ledger: Ledger,
    /// The newest route table.
    pub(crate) tables: watch::Receiver<Arc<RouteTable>>,
    /// The access log; none: requests are not noted.
    pub(crate) access: Option<AccessLog>,
    /// How the instances are that are asked.
    pub(crate) health: HealthView,
    /// To the user.
    pub(crate) sayer: Sayer,
    /// How lines look.
    pub(crate) look: Look,
    /// What is remembered.
    pub(crate) state: Option<StateDir>,
    /// The addresses of each service port.
    pub(crate) addresses: BTreeMap<u16, Vec<std::net::SocketAddr>>,
    /// Where each listener of its files is.
    pub(super) listens: Mutex<BTreeMap<ListenAddr, std::net::SocketAddr>>,
    /// Others' sockets.
    pub(crate) sockets: Sockets,
    /// The system believes the local CA by itself.
    pub(crate) ca_is_believed: bool,
    /// Where the app's names are served, by this tambat or by another of this user.
    pub(super) name_ports: Mutex<Pair<Option<u16>>>,
    /// Changes whenever handles do.
    pub(crate) rewired: watch::Sender<u64>,
    pub(super) wiring: Mutex<Wiring>,
}

impl App {
    /// Where a listener of its files is.
    pub(crate) fn listens(&self, at: ListenAddr) -> std::net::SocketAddr {
        let listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner);
        listens.get(&at).copied().unwrap_or_else(|| at.get())
    }

    /// From now on they are there.
    pub(crate) fn set_listens(&self, listens: BTreeMap<ListenAddr, std::net::SocketAddr>) {
        *self.listens.lock().unwrap_or_else(PoisonError::into_inner) = listens;
    }

    /// Where the app's names are served, by this tambat or by another of this user; none: nowhere, so far.
    pub(crate) fn name_ports(&self) -> Pair<Option<u16>> {
        *self.name_ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the app's names are served over this scheme at this port. True if that is news.
    pub(crate) fn names_are_at(&self, scheme: Scheme, port: Option<u16>) -> bool {
        let before = {
            let mut ports = self.name_ports.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(ports.get_mut(scheme), port)
        };
        let is_news = before != port;
        if is_news {
            self.rewired.send_modify(|count| *count += 1);
        }
        is_news
    }

    /// Where handles point now.
    pub(crate) fn wiring(&self) -> Wiring {
        self.wiring.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Points handles elsewhere: for the next start of each consumer, and for everybody who shows them.
    pub(crate) fn rewire(&self, change: impl FnOnce(&mut Wiring)) {
        let wiring = {
            let mut wiring = self.wiring.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut wiring);
            wiring.clone()
        };
        self.command(Command::Rewire(wiring));
        self.rewired.send_modify(|count| *count += 1);
    }

    /// Starts anew who has a handle to this provider, as `uses` names it; returns who that is. Who was stopped stays so.
    pub(crate) fn restart_consumers(&self, provider: &str) -> Vec<ProcessName> {
        let world = self.world.borrow().clone();
        let wanted = |name: &ProcessName| world.processes.get(name).is_some_and(tambat_model::ProcessView::is_wanted);
        let consumers: Vec<ProcessName> =
            self.plan.consumers_of(provider).map(|p| p.name.clone()).filter(|name| wanted(name)).collect();
        consumers.iter().for_each(|name| self.command(Command::Restart(name.clone())));
        consumers
    }

    /// Tells the supervisor; one that has ended needs no telling.
    pub(crate) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}
