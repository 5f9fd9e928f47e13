//! The route table: from a service port to the instances that may serve it. Rebuilt whole on every change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::world::{Cause, Gate, InstanceView, Load, Phase, ProcessView, World};
use crate::{Plan, PortKey, PortPlan, ProcessPlan, Protocol, Role, ServicePort, Wiring};

/// From service port to route.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: BTreeMap<ServicePort, Arc<Route>>,
}

/// What happens to a connection that arrives at a service port.
#[derive(Debug, Clone)]
pub struct Route {
    /// The process port it is for, as people name it: `web`, `chat:admin`, `billing/api`.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// A stream on which nothing moves for so long is closed; none: never.
    pub idle: Option<Duration>,
    /// Who may serve it.
    pub admission: Admission,
}

/// Who may serve a connection now.
#[derive(Debug, Clone)]
pub enum Admission {
    /// One of these, at least one.
    Serve(Vec<Target>),
    /// Nobody yet: it waits for so long at most (none: for ever).
    Hold {
        /// How long a connection may wait.
        limit: Option<Duration>,
        /// What it waits for: "web.1 has not bound its port yet".
        cause: Cause,
    },
    /// Nobody: it is told why.
    Refuse {
        /// Why.
        cause: Cause,
    },
}

/// An instance port that a route may choose.
#[derive(Debug, Clone)]
pub struct Target {
    /// The instance, as people name it: `web.1`, or `billing/api` for another app's service port.
    pub name: String,
    /// How often an instance of this name has been started, from 1: tells a report on an old one from the new one.
    pub generation: u32,
    /// Where it is dialled.
    pub addr: SocketAddr,
    /// Its connections.
    pub load: Arc<Load>,
}

impl RouteTable {
    /// The route of this service port.
    pub fn get(&self, port: ServicePort) -> Option<&Arc<Route>> {
        self.routes.get(&port)
    }

    /// Sets the route of this service port.
    pub fn insert(&mut self, port: ServicePort, route: Route) {
        self.routes.insert(port, Arc::new(route));
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (ServicePort, &Arc<Route>)> {
        self.routes.iter().map(|(port, route)| (*port, route))
    }
}

/// The routes of an app's own process ports, as things are now.
pub fn route_table(plan: &Plan, wiring: &Wiring, world: &World) -> RouteTable {
    let mut table = RouteTable::default();
    let unknown = ProcessView::default();
    for (process, port) in plan.processes().iter().flat_map(|p| p.ports.iter().map(move |port| (p, port))) {
        let key = PortKey { process: process.name.clone(), port: port.name.clone() };
        let Some(number) = wiring.service_ports.get(&key) else {
            continue;
        };
        let view = world.processes.get(&process.name).unwrap_or(&unknown);
        let admission = admission(process, port, view);
        table.insert(number, Route { name: key.to_string(), protocol: port.protocol, idle: process.idle, admission });
    }
    table
}

/// The route to a process of another app, while that app's service port is known or while it is not.
pub fn foreign_route(
    name: &str,
    protocol: Protocol,
    service: Option<(SocketAddr, Arc<Load>)>,
    hold: Duration,
) -> Route {
    let admission = match service {
        Some((addr, load)) => Admission::Serve(vec![Target { name: name.to_owned(), generation: 1, addr, load }]),
        None => Admission::Hold {
            limit: Some(hold),
            cause: format!("{name} is not running: start it with `tambat start` in its directory").into(),
        },
    };
    Route { name: name.to_owned(), protocol, idle: None, admission }
}

fn admission(process: &ProcessPlan, port: &PortPlan, view: &ProcessView) -> Admission {
    match view.gate {
        Gate::Open => {}
        Gate::Building => {
            return Admission::Hold { limit: None, cause: "the app is still being built".into() };
        }
        Gate::Paused => {
            return Admission::Hold { limit: None, cause: format!("{} is paused", process.name).into() };
        }
    }
    let targets: Vec<Target> = view.instances.iter().filter_map(|instance| target(instance, port)).collect();
    if !targets.is_empty() {
        return Admission::Serve(targets);
    }
    let limit = Some(process.ready.within());
    if let Some(coming) = view.instances.iter().find(|i| is_coming(&i.phase, process.role)) {
        return Admission::Hold { limit, cause: coming_cause(coming, port) };
    }
    Admission::Refuse { cause: absence(process, port, view) }
}

fn target(instance: &InstanceView, port: &PortPlan) -> Option<Target> {
    let Phase::Ready { endpoints, load, .. } = &instance.phase else {
        return None;
    };
    let endpoint = endpoints.iter().find(|e| e.port == port.name)?;
    Some(Target {
        name: instance.name.to_string(),
        generation: instance.generation,
        addr: endpoint.addr,
        load: Arc::clone(load),
    })
}

/// A worker that runs may bind its port yet; others are waited for until they are ready or given up.
fn is_coming(phase: &Phase, role: Role) -> bool {
    match phase {
        Phase::Spawning
        | Phase::Binding { .. }
        | Phase::Backoff { .. }
        | Phase::Draining { .. }
        | Phase::Stopping { .. } => true,
        Phase::Ready { .. } => role == Role::Worker,
        Phase::Failed { .. } | Phase::Ended { .. } | Phase::Stopped => false,
    }
}

fn coming_cause(instance: &InstanceView, port: &PortPlan) -> Cause {
    let name = &instance.name;
    match (&instance.phase, &port.name) {
        (Phase::Backoff { cause }, _) => format!("{cause}; it is started again in a moment").into(),
        (Phase::Ready { .. }, Some(port)) => format!("{name} has not bound its port {port}").into(),
        (Phase::Ready { .. }, None) => format!("{name} has not bound its PORT").into(),
        (phase, _) => format!("{name} is {}", phase.as_str()).into(),
    }
}

fn absence(process: &ProcessPlan, port: &PortPlan, view: &ProcessView) -> Cause {
    let of_instance = view.instances.iter().rev().find_map(|instance| match &instance.phase {
        Phase::Failed { cause } | Phase::Ended { cause } => Some(Arc::clone(cause)),
        Phase::Ready { .. } => Some(coming_cause(instance, port)),
        _ => None,
    });
    of_instance.unwrap_or_else(|| {
        format!("{0} is not running: `tambat scale {0}=1` or `tambat restart {0}` starts it", process.name).into()
    })
}
