//! An app's stay on a server: begun, replaced by other versions of itself, let go of.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use tambat_manifest::Loaded;
use tambat_model::{Gate, Plan, PortKey, ProcessName, World};
use tambat_supervisor::Command;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::joint::Held;
use super::yard::{Coming, Yard};
use crate::daemon::{App, Incoming, Kept, build_beside};
use crate::failure::Failure;
use crate::layers;

/// What is asked of an app's stay.
#[derive(Debug)]
pub(crate) enum Wish {
    /// What a signal asks of it.
    Signal(Incoming),
    /// Its folder is gone: finish what is on its way, and go.
    Leave,
    /// This version takes its place.
    Replace(Box<Loaded>),
}

/// What becomes of a version that is to take another's place.
#[derive(Debug)]
pub(crate) enum News {
    /// It has, as far as the one before is concerned, which has ended.
    Replaced,
    /// It does not, and nothing has changed.
    Kept(Failure),
}

/// How a stay ended.
#[derive(Debug)]
pub(crate) enum End {
    /// A version of it could not be begun.
    NotBegun {
        /// Why.
        failure: Failure,
        /// Has an earlier one run?
        has_run: bool,
    },
    /// It has ended as it was told, or by itself.
    Ended(Result<ExitCode, Failure>),
}

/// How an app begins.
pub(crate) enum Start {
    /// It has been begun.
    Begun(Box<Coming>),
    /// From its files.
    New(Box<Loaded>),
}

/// Runs an app until it is gone, by the name of its folder. Nothing of it is left then, but what was said of it.
pub(crate) async fn stay(
    yard: Arc<Yard>,
    folder: String,
    start: Start,
    mut wishes: UnboundedReceiver<Wish>,
    news: UnboundedSender<(String, News)>,
) -> (String, End) {
    let mut coming = match start {
        Start::Begun(coming) => *coming,
        Start::New(loaded) => match come(&yard, &folder, *loaded).await {
            Ok(coming) => coming,
            Err(failure) => return (folder, End::NotBegun { failure, has_run: false }),
        },
    };
    loop {
        let (plan, (kept, outcome)) = be(&yard, &folder, coming, &mut wishes, &news).await;
        let next = match outcome {
            Outcome::Ended(outcome) => {
                yard.tables.remove(plan.name());
                yard.release(&folder).await;
                return (folder, End::Ended(outcome));
            }
            Outcome::Replaced(next) => next,
        };
        let (name, is_renamed) = (plan.name(), plan.name() != next.plan.name());
        // Who listens for the server hears it before the next one can fail.
        let _ = news.send((folder.clone(), News::Replaced));
        let begun = yard.begin_new(&folder, *next, kept).await;
        if is_renamed || begun.is_err() {
            yard.tables.remove(name);
        }
        coming = match begun {
            Ok(coming) => coming,
            Err(failure) => {
                yard.release(&folder).await;
                return (folder, End::NotBegun { failure, has_run: true });
            }
        };
    }
}

async fn come(yard: &Arc<Yard>, folder: &str, loaded: Loaded) -> Result<Coming, Failure> {
    yard.exchange(folder, &[], loaded.plan.entrances()).await?;
    match yard.begin_new(folder, loaded, Kept::default()).await {
        Ok(coming) => Ok(coming),
        Err(failure) => {
            yard.release(folder).await;
            Err(failure)
        }
    }
}

/// What follows the end of a version.
enum Outcome {
    /// Nothing.
    Ended(Result<ExitCode, Failure>),
    /// This one.
    Replaced(Box<Loaded>),
}

/// A version that may take another's place, and whether it has been built.
type Next = (Box<Loaded>, bool);

/// One version, from its beginning until nothing of it runs any more. What it had is for the next one.
async fn be(
    yard: &Arc<Yard>,
    folder: &str,
    coming: Coming,
    wishes: &mut UnboundedReceiver<Wish>,
    news: &UnboundedSender<(String, News)>,
) -> (Arc<Plan>, (Kept, Outcome)) {
    let Coming { begun, control, first_table } = coming;
    let (orders, mut asked) = mpsc::unbounded_channel();
    let mut running = begun.attend(control, None);
    let app = Arc::clone(&running.app);
    // Whoever comes in by a listener of its own is told by the table whom they reach.
    let opening = tokio::spawn(open(Arc::clone(yard), folder.to_owned(), first_table));
    let (mut errand, mut is_stopped) = (Errand::None, false);
    let ended = {
        let mut run = std::pin::pin!(running.run(&mut asked));
        loop {
            tokio::select! {
                ended = &mut run => break ended,
                Some(wish) = wishes.recv() => match wish {
                    Wish::Signal(incoming) => {
                        is_stopped |= matches!(incoming, Incoming::Stop(_));
                        // One that has ended needs no telling.
                        let _ = orders.send(incoming);
                    }
                    Wish::Leave => {
                        errand.give_up();
                        errand = Errand::Leaving(tokio::spawn(leave(Arc::clone(yard), folder.to_owned(), Arc::clone(&app))));
                    }
                    Wish::Replace(next) => {
                        errand.give_up();
                        let replacing = replace(Arc::clone(yard), folder.to_owned(), Arc::clone(&app), next);
                        errand = Errand::Replacing(tokio::spawn(replacing));
                    }
                },
                replaced = errand.replacing() => match replaced {
                    Ok(next) => {
                        errand = Errand::Done(next);
                        app.command(Command::Shutdown);
                    }
                    Err(failure) => {
                        errand = Errand::None;
                        let _ = news.send((folder.to_owned(), News::Kept(failure)));
                    }
                },
            }
        }
    };
    opening.abort();
    let (is_built, outcome) = match errand {
        Errand::Done((next, is_built)) if !is_stopped => (is_built, Outcome::Replaced(next)),
        errand => {
            errand.give_up();
            (false, Outcome::Ended(ended))
        }
    };
    running.end().await;
    (Arc::clone(&app.plan), (Kept { is_built, ..yard.clear(&app).await }, outcome))
}

async fn open(yard: Arc<Yard>, folder: String, first_table: tokio::sync::oneshot::Receiver<()>) {
    // One that ends at once has none.
    if first_table.await.is_ok()
        && let Err(failure) = yard.open(Some(&folder)).await
    {
        yard.sayer.say(failure.to_string());
    }
}

/// What is done beside an app that runs.
enum Errand {
    None,
    Leaving(JoinHandle<()>),
    Replacing(JoinHandle<Result<Next, Failure>>),
    /// It has been told to stop, and this is next.
    Done(Next),
}

impl Errand {
    /// Comes back when all is ready for what is to take the place of what runs, or it is known that nothing is; never, where
    /// there is nothing to wait for. Cancel safe.
    async fn replacing(&mut self) -> Result<Next, Failure> {
        match self {
            Self::Replacing(task) => match task.await {
                Ok(replaced) => replaced,
                Err(error) => Err(Failure::new(format!("cannot replace it: {error}"))),
            },
            _ => std::future::pending().await,
        }
    }

    fn give_up(&self) {
        match self {
            Self::Leaving(task) => task.abort(),
            Self::Replacing(task) => task.abort(),
            Self::None | Self::Done(_) => {}
        }
    }
}

/// Nobody new is let in; what is on its way is finished, and the app stopped.
async fn leave(yard: Arc<Yard>, folder: String, app: Arc<App>) {
    yard.tables.leave(app.plan.name());
    yard.release(&folder).await;
    drain(&app, &public(&app.plan)).await;
    drain(&app, &every(&app.plan)).await;
    app.command(Command::Shutdown);
}

/// Has all ready for this version to take the place of what runs: whatever can be wrong with it is found before anything of
/// that is let go of. Whoever comes from then on waits.
async fn replace(yard: Arc<Yard>, folder: String, app: Arc<App>, next: Box<Loaded>) -> Result<Next, Failure> {
    let plan = &next.plan;
    // Two builds in one folder would be in each other's way: the one that is under way is ended first.
    let is_building = app.world.borrow().processes.values().any(|process| process.gate == Gate::Building);
    if !is_building {
        let layers = layers::read(plan.dir(), &[], &[])?;
        build_beside(plan, &layers, &yard.ground.spawner, &app.sayer).await?;
    }
    yard.exchange(&folder, app.plan.entrances(), plan.entrances()).await?;
    let public = public(&app.plan);
    let ports = app.plan.processes().iter().filter(|process| public.contains(&process.name));
    let ports = ports.flat_map(|process| process.ports.iter().map(|port| (process.name.clone(), port.name.clone())));
    let names = ports.map(|(process, port)| PortKey { process, port }.to_string()).collect();
    yard.tables.hold(app.plan.name(), Held::These(names));
    drain(&app, &public).await;
    yard.tables.hold(app.plan.name(), Held::All);
    drain(&app, &every(&app.plan)).await;
    Ok((next, !is_building))
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
    view.desired == 0
        && !view.instances.iter().any(|instance| {
            use tambat_model::Phase::{Binding, Draining, Ready, Spawning};
            matches!(instance.phase, Spawning | Binding { .. } | Ready { .. } | Draining { .. })
        })
}
