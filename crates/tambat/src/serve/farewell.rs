//! How a version of an app of a server ends: nobody new is let in, what is on its way is finished, and it is stopped.

use std::collections::BTreeSet;
use std::sync::Arc;

use tambat_model::{Phase, Plan, PortKey, ProcessName, World};
use tambat_supervisor::Command;

use super::change::workers;
use super::joint::Held;
use super::stay::Next;
use super::yard::Yard;
use crate::daemon::App;
use crate::failure::Failure;

/// Nobody new is let in; what is on its way is finished, and the app stopped.
pub(super) async fn leave(yard: Arc<Yard>, folder: String, app: Arc<App>) {
    yard.tables.leave(app.plan.name());
    yard.release(&folder).await;
    drain(&app, &public(&app.plan)).await;
    drain(&app, &every(&app.plan)).await;
    app.command(Command::Shutdown);
}

/// Has all ready for this version to be begun when what runs has stopped: whatever can be wrong with it is found before anything
/// of that is let go of. Whoever comes from then on waits.
pub(super) async fn hold(yard: Arc<Yard>, folder: String, app: Arc<App>, next: Next) -> Result<Next, Failure> {
    yard.exchange(&folder, app.plan.entrances(), next.0.plan.entrances()).await?;
    let public = public(&app.plan);
    yard.tables.hold(app.plan.name(), Held::These(ports_of(&app.plan, &public)));
    drain(&app, &public).await;
    yard.tables.hold(app.plan.name(), Held::All);
    drain(&app, &every(&app.plan)).await;
    Ok(next)
}

/// Another version has taken over: this one does what it has to do to its end, and stops. Where it was the only one to work, the
/// other one begins then.
pub(super) async fn go(yard: Arc<Yard>, before: Arc<App>, app: Arc<App>) {
    let work = async {
        let old = workers(&before.plan);
        old.iter().for_each(|name| before.command(Command::Scale(name.clone(), 0)));
        // What has ended has gone.
        let _ = before.world.clone().wait_for(|world| old.iter().all(|name| is_gone(world, name))).await;
        let wiring = app.wiring();
        let replaced: BTreeSet<&ProcessName> = wiring.replaced(&app.plan).collect();
        for name in workers(&app.plan).iter().filter(|name| !replaced.contains(name)) {
            let count = app.formation.get(name).copied().unwrap_or(0);
            app.command(Command::Scale(name.clone(), count));
        }
        yard.tables.serve(app.plan.name());
    };
    let serve = async {
        let exporters = exporters(&before.plan);
        drain(&before, &public(&before.plan).intersection(&exporters).cloned().collect()).await;
        drain(&before, &exporters).await;
    };
    tokio::join!(work, serve);
    before.command(Command::Shutdown);
}

pub(super) fn exporters(plan: &Plan) -> BTreeSet<ProcessName> {
    &every(plan) - &workers(plan)
}

/// The names of these processes' ports.
pub(super) fn ports_of(plan: &Plan, processes: &BTreeSet<ProcessName>) -> BTreeSet<String> {
    let processes = plan.processes().iter().filter(|process| processes.contains(&process.name));
    let ports =
        processes.flat_map(|process| process.ports.iter().map(|port| (process.name.clone(), port.name.clone())));
    ports.map(|(process, port)| PortKey { process, port }.to_string()).collect()
}

/// The processes that are reached from elsewhere: what they have on its way may need the others.
fn public(plan: &Plan) -> BTreeSet<ProcessName> {
    let listens = |name: &str| plan.entrances().iter().flat_map(|plan| &plan.claims).any(|claim| claim.who == name);
    let is_public = |process: &&tambat_model::ProcessPlan| {
        process.ports.iter().any(|port| {
            let key = PortKey { process: process.name.clone(), port: port.name.clone() };
            port.site.as_ref().is_some_and(|site| !site.hosts.is_empty()) || listens(&key.to_string())
        })
    };
    plan.processes().iter().filter(is_public).map(|process| process.name.clone()).collect()
}

fn every(plan: &Plan) -> BTreeSet<ProcessName> {
    plan.processes().iter().map(|process| process.name.clone()).collect()
}

/// Retires the instances of these, and waits until what they have on their way is finished, or has had its time: the
/// supervisor sees to that.
async fn drain(app: &App, processes: &BTreeSet<ProcessName>) {
    let mut world = app.world.clone();
    processes.iter().for_each(|process| app.command(Command::Scale(process.clone(), 0)));
    // One that has ended has nothing on its way.
    let _ = world.wait_for(|world| processes.iter().all(|process| is_drained(world, process))).await;
}

fn is_drained(world: &World, process: &ProcessName) -> bool {
    let Some(view) = world.processes.get(process) else { return true };
    view.desired == 0 && !view.instances.iter().any(|instance| serves(&instance.phase))
}

/// Does nothing of it run any more, nor will it?
fn is_gone(world: &World, process: &ProcessName) -> bool {
    let Some(view) = world.processes.get(process) else { return true };
    let runs = |phase: &Phase| serves(phase) || matches!(phase, Phase::Stopping { .. });
    view.desired == 0 && !view.instances.iter().any(|instance| runs(&instance.phase))
}

fn serves(phase: &Phase) -> bool {
    use Phase::{Binding, Draining, Ready, Spawning};
    matches!(phase, Spawning | Binding { .. } | Ready { .. } | Draining { .. })
}
