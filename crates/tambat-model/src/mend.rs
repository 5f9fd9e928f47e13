//! Why nobody serves a process port now, and what its user can do about it: the two sentences of a browser's page.

use std::sync::Arc;

use crate::world::{Cause, InstanceView, Phase, ProcessView};
use crate::{ClauseId, PortPlan, ProcessName, ProcessPlan};

/// Why, and what to do where there is something to do.
pub(crate) type Told = (Cause, Option<Cause>);

/// Its user holds it.
pub(crate) fn paused(process: &ProcessName) -> Told {
    (format!("{process} is paused").into(), Some(format!("`tambat resume {process}` lets it go on").into()))
}

/// An instance is on its way.
pub(crate) fn coming(instance: &InstanceView, process: &ProcessPlan, port: &PortPlan) -> Told {
    let (name, of) = (&instance.name, &process.name);
    if let Some(ill) = &instance.ill {
        let mend = format!("`tambat logs {of}` shows what it wrote");
        return (format!("{name} is not well: it {ill}").into(), Some(mend.into()));
    }
    match &instance.phase {
        Phase::Backoff { cause } => {
            let mend = format!("`tambat logs {of}` shows what it wrote");
            (format!("{cause}; it is started again in a moment").into(), Some(mend.into()))
        }
        Phase::Binding { port: told, elsewhere: Some(elsewhere), .. } => {
            let told = told.map(|port| format!(" {port}")).unwrap_or_default();
            let (port, clause) = (elsewhere.port, ClauseId::OBEYS_PORT);
            let cause = format!("{name} listens on {port}, not on its PORT{told}: it ignores PORT ({clause})");
            (cause.into(), Some(process.recognised.bind_port(Some(&elsewhere.program)).into()))
        }
        Phase::Ready { .. } => not_bound(instance, process, port),
        phase => (format!("{name} is {}", phase.as_str()).into(), None),
    }
}

/// No instance is there or on its way.
pub(crate) fn absent(process: &ProcessPlan, port: &PortPlan, view: &ProcessView) -> Told {
    let of = &process.name;
    let of_instance = view.instances.iter().rev().find_map(|instance| match &instance.phase {
        Phase::Failed { cause } => {
            let mend = format!("`tambat logs {of}` shows what it wrote; `tambat restart {of}` tries anew");
            Some((Arc::clone(cause), Some(mend.into())))
        }
        Phase::Ended { cause } => {
            Some((Arc::clone(cause), Some(format!("`tambat restart {of}` starts it again").into())))
        }
        Phase::Ready { .. } => Some(not_bound(instance, process, port)),
        _ => None,
    });
    of_instance.unwrap_or_else(|| {
        (format!("{of} is not running").into(), Some(format!("`tambat restart {of}` starts it").into()))
    })
}

/// It runs and counts as ready, and this port of it is not there.
fn not_bound(instance: &InstanceView, process: &ProcessPlan, port: &PortPlan) -> Told {
    let name = &instance.name;
    match &port.name {
        Some(port) => (
            format!("{name} has not bound its port {port} ({})", ClauseId::BINDS_IN_TIME).into(),
            Some(format!("make it listen on the number in the variable {}", port.variable()).into()),
        ),
        None => {
            let cause = format!("{name} has not bound its PORT ({})", ClauseId::BINDS_IN_TIME);
            (cause.into(), Some(process.recognised.bind_port(None).into()))
        }
    }
}
