//! From world to route table, and from the router back to the supervisor.

use std::sync::Arc;
use std::time::Duration;

use tambat_model::{
    ForeignService, Manner, PortKey, RouteTable, ServicePort, Wiring, World, foreign_route, route_table,
};
use tambat_router::{Checker, RouterReport};
use tambat_supervisor::Command;
use tokio::sync::{mpsc, watch};

use super::hostnames::NamesInTables;
use super::{App, foreign, health};
use crate::router_setup::{address_paused, refused_http2, unintroduced};

/// A client that has asked gets its answer in milliseconds.
const LAST_WORDS_MAX: Duration = Duration::from_millis(500);

/// The router does not say when a connection has ended; this is looked at once in the life of an app.
const LAST_WORDS_INTERVAL: Duration = Duration::from_millis(5);

/// Publishes a new table after every change of the world, the health of instances, the wiring, other apps or names.
pub(crate) async fn publish(
    app: Arc<App>,
    tables: watch::Sender<Arc<RouteTable>>,
    mut foreign: watch::Receiver<foreign::Known>,
    mut names: Option<NamesInTables>,
    mut checker: Checker,
) {
    let mut world = app.world.clone();
    let mut rewired = app.rewired.subscribe();
    let mut before = Arc::<World>::default();
    loop {
        let now = Arc::clone(&world.borrow_and_update());
        checker.watch(health::checks(&app.plan, &now));
        let now = health::examined(&app.plan, now, &app.health);
        let known = foreign.borrow_and_update().clone();
        rewired.mark_unchanged();
        let wiring = app.wiring();
        let mut table = route_table(&app.plan, &wiring, &tellable(&app, &wiring, &now), &app.ledger);
        for (provider, held) in &wiring.foreign {
            let seen = known.get(provider);
            let protocol = seen.map_or(foreign::PROTOCOL_UNSEEN, |seen| seen.protocol);
            let service = seen.map_or(ForeignService::NotRunning, |seen| seen.service.clone());
            let hold = foreign::hold(&app.plan, provider);
            let route = foreign_route(&provider.to_string(), protocol, service, hold);
            table.insert(held.port, route);
        }
        let published = names.as_mut().map(|names| names.enter(&mut table));
        if tables.send(Arc::new(table)).is_err() {
            return;
        }
        if let Some((names, published)) = names.as_ref().zip(published) {
            names.published(published);
        }
        health::news(&before, &now).into_iter().for_each(|line| app.sayer.say(line));
        before = now;
        tokio::select! {
            changed = world.changed() => if changed.is_err() { return },
            changed = foreign.changed() => if changed.is_err() { return },
            changed = rewired.changed() => if changed.is_err() { return },
            () = changed(&mut names) => {}
            () = checker.changed() => {}
        }
    }
}

/// Returns when there are others; never, where none are. Cancel safe.
async fn changed(names: &mut Option<NamesInTables>) {
    match names {
        Some(names) => names.changed().await,
        None => std::future::pending().await,
    }
}

/// The world as clients may be told of it: of a process that other machines reach, nothing that it wrote itself. Its user
/// has that from `tambat ps` and `tambat logs`.
fn tellable(app: &App, wiring: &Wiring, world: &Arc<World>) -> Arc<World> {
    // On a server anybody is told.
    let is_reached = |key: &PortKey, port: ServicePort| {
        app.plan.manner() == Manner::Serve
            || is_listened_at_for_others(app, key)
            || app.addresses.get(&port.get()).is_some_and(|all| all.iter().any(|address| !address.ip().is_loopback()))
    };
    let mut told = Arc::clone(world);
    for (key, _) in wiring.service_ports.iter().filter(|(key, port)| is_reached(key, *port)) {
        if let Some(view) = Arc::make_mut(&mut told).processes.get_mut(&key.process) {
            *view = std::mem::take(view).discreet();
        }
    }
    told
}

fn is_listened_at_for_others(app: &App, key: &PortKey) -> bool {
    let of_others = app.plan.entrances().iter().filter(|entrance| !entrance.at.get().ip().is_loopback());
    let name = key.to_string();
    of_others.into_iter().any(|entrance| entrance.claims.iter().any(|claim| claim.who == name))
}

/// Waits until those who waited have been told why nobody serves them any more, but not for one that does not listen.
pub(crate) async fn last_words(app: &App) {
    let ports: Vec<ServicePort> = app.wiring().service_ports.iter().map(|(_, port)| port).collect();
    let is_open = || ports.iter().filter_map(|port| app.router.counters(*port)).any(|counters| counters.open > 0);
    let limit = tokio::time::Instant::now() + LAST_WORDS_MAX;
    while is_open() && tokio::time::Instant::now() < limit {
        tokio::time::sleep(LAST_WORDS_INTERVAL).await;
    }
}

/// Hands on what the router reports: a live instance that refused, a connection that waits.
pub(crate) async fn report(
    app: Arc<App>,
    mut reports: mpsc::UnboundedReceiver<RouterReport>,
    waiting: mpsc::UnboundedSender<ServicePort>,
) {
    while let Some(report) = reports.recv().await {
        match report {
            RouterReport::Refused { generation, .. } => app.command(Command::Refused { run: generation }),
            // An instance of ours is on this machine: it is there or it refuses.
            RouterReport::Unreachable { .. } => {}
            RouterReport::Waiting { port, route } => {
                let wiring = app.wiring();
                let of_ours = wiring.service_ports.iter().find(|(key, p)| Some(*p) == port || key.to_string() == route);
                match (of_ours, port) {
                    (Some((key, _)), _) => app.command(Command::Wanted(key.process.clone())),
                    // The watchers of other apps end with the daemon.
                    (None, Some(port)) => drop(waiting.send(port)),
                    (None, None) => {}
                }
            }
            RouterReport::Unintroduced { peer, cause } => app.sayer.say(unintroduced(peer, &cause)),
            RouterReport::RefusedHttp2 { peer, cause } => app.sayer.say(refused_http2(peer, &cause)),
            RouterReport::AddressPaused { client, pause } => app.sayer.say(address_paused(client, pause)),
            RouterReport::AcceptPaused { addr, cause } => app.sayer.say(format!(
                "cannot take more connections at port {} for now: {cause}; those there are go on (is ulimit -n reached?)",
                addr.port()
            )),
            RouterReport::ListenerLost { addr, cause } => {
                app.sayer.say(format!("port {} is lost: {cause}; start the app again to have it back", addr.port()));
            }
        }
    }
}
