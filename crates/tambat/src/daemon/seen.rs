//! The app's routes and metrics, gathered for whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;

use tambat_api::{RoutesReport, TargetStatus};
use tambat_model::{Admission, InstanceView, Phase, PortName, Route};
use tambat_router::AccessLog;

use super::{App, health};
use crate::metrics::{self, Figures, ProcessFigures};
use crate::routes_view;

/// The route table as it is now.
pub(crate) fn routes(app: &App) -> RoutesReport {
    let table = app.tables.borrow().clone();
    routes_view::report(&table, &app.router.unrouted().snapshot(), |route| instances(app, route))
}

/// The metrics as they are now.
pub(crate) fn metrics(app: &App) -> String {
    metrics::render(&Figures {
        processes: figures(app),
        unrouted: app.router.unrouted().snapshot(),
        listeners: app.router.listener_counters(),
        access_lines_lost: app.access.as_ref().map_or(0, AccessLog::lost),
        ..Figures::default()
    })
}

/// The figures of each process port of an app.
pub(crate) fn figures(app: &App) -> Vec<ProcessFigures> {
    let table = app.tables.borrow().clone();
    let mut routes: Vec<&Route> = table.iter().map(|(_, route)| &**route).collect();
    let sites = table.hosts().sites();
    routes.extend(sites.iter().map(|(_, site)| &*site.route));
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    routes.dedup_by(|a, b| a.name == b.name);
    routes.into_iter().map(|route| process(app, route)).collect()
}

fn process(app: &App, route: &Route) -> ProcessFigures {
    let targets_in = if let Admission::Serve(targets) = &route.admission { targets.len() } else { 0 };
    let others = instances(app, route).len();
    ProcessFigures {
        name: route.name.clone(),
        traffic: route.traffic.snapshot(),
        targets_in,
        targets_out: others.saturating_sub(targets_in),
    }
}

/// Every instance of the process, with why it is not chosen from.
fn instances(app: &App, route: &Route) -> Vec<TargetStatus> {
    let (process, port) = match route.name.split_once(':') {
        Some((process, port)) => (process, Some(port)),
        None => (route.name.as_str(), None),
    };
    let world = health::examined(&app.plan, Arc::clone(&app.world.borrow()), &app.health);
    let view = world.processes.iter().find(|(name, _)| name.as_str() == process).map(|(_, view)| view);
    view.into_iter().flat_map(|view| &view.instances).map(|instance| target(instance, port)).collect()
}

fn target(instance: &InstanceView, port: Option<&str>) -> TargetStatus {
    let (address, in_flight) = match &instance.phase {
        Phase::Ready { endpoints, load, .. } => {
            let endpoint = endpoints.iter().find(|e| e.port.as_ref().map(PortName::as_str) == port);
            (endpoint.map(|e| e.addr), load.in_flight())
        }
        _ => (None, 0),
    };
    let reason = match &instance.phase {
        Phase::Ready { .. } if address.is_none() => "it has not bound this port".to_owned(),
        Phase::Ready { .. } => instance.ill.as_ref().map_or_else(|| "ready".to_owned(), |ill| format!("it {ill}")),
        Phase::Backoff { cause } | Phase::Failed { cause } | Phase::Ended { cause } => cause.to_string(),
        phase => phase.as_str().to_owned(),
    };
    TargetStatus {
        name: instance.name.to_string(),
        address: address.as_ref().map(SocketAddr::to_string),
        chosen: false,
        reason,
        in_flight: in_flight as u64,
    }
}
