//! An app's stay on a server: begun, replaced by other versions of itself, let go of.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tambat_manifest::Loaded;
use tambat_model::{Admission, Gate, Route};
use tambat_supervisor::Command;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::change::{Arrival, arrival, in_the_way, workers};
use super::farewell::{exporters, go, hold, leave, ports_of};
use super::run::{Ended, Run};
use super::yard::{Coming, Ends, Yard};
use crate::daemon::{App, Attended, Incoming, Kept, answer, build_beside};
use crate::failure::Failure;
use crate::layers;

/// A table follows its world at once, unless a health check says that somebody is not well: that is not waited for.
const REACHED_LIMIT: Duration = Duration::from_secs(5);

/// What is asked of an app's stay.
#[derive(Debug)]
pub(crate) enum Wish {
    /// What a signal asks of it.
    Signal(Incoming),
    /// Its folder is gone: finish what is on its way, and go.
    Leave,
    /// This version takes its place.
    Replace(Box<Loaded>),
    /// Its files say something else by now: that version is not to take its place, unless it has begun to.
    Withdraw,
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
    let coming = match start {
        Start::Begun(coming) => *coming,
        Start::New(loaded) => match come(&yard, &folder, *loaded).await {
            Ok(coming) => coming,
            Err(failure) => return (folder, End::NotBegun { failure, has_run: false }),
        },
    };
    let mut run = Run::of(&yard, &folder, coming);
    loop {
        let (attended, outcome) = be(&yard, &folder, &mut run, &mut wishes, &news).await;
        let app = Arc::clone(&run.app);
        let (next, is_built) = match outcome {
            Outcome::Ended(outcome) => {
                run.end(attended, None).await;
                yard.clear(&app).await;
                yard.tables.remove(app.plan.name());
                yard.release(&folder).await;
                return (folder, End::Ended(outcome));
            }
            Outcome::TakenOver(fresh) => {
                run.end(attended, Some(&fresh.app)).await;
                yard.part(&app, &fresh.app);
                yard.sayer.say(format!("the old version of {folder} has ended"));
                let _ = news.send((folder.clone(), News::Replaced));
                run = *fresh;
                continue;
            }
            Outcome::Replaced(next) => next,
        };
        run.end(attended, None).await;
        let kept = Kept { is_built, ..yard.clear(&app).await };
        let (name, is_renamed) = (app.plan.name(), app.plan.name() != next.plan.name());
        // Who listens for the server hears it before the next one can fail.
        let _ = news.send((folder.clone(), News::Replaced));
        let begun = yard.begin_new(&folder, *next, kept).await;
        if is_renamed || begun.is_err() {
            yard.tables.remove(name);
        }
        run = match begun {
            Ok(coming) => Run::of(&yard, &folder, coming),
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
    /// This one is to be begun.
    Replaced(Next),
    /// This one, which everybody reaches already.
    TakenOver(Box<Run>),
}

/// A version that may take another's place, and whether it has been built.
pub(super) type Next = (Box<Loaded>, bool);

/// One version, until nothing of it runs any more.
async fn be(
    yard: &Arc<Yard>,
    folder: &str,
    run: &mut Run,
    wishes: &mut UnboundedReceiver<Wish>,
    news: &UnboundedSender<(String, News)>,
) -> (Option<Attended>, Outcome) {
    let (mut errand, mut is_stopped) = (Errand::None, false);
    let kept = |failure| {
        let _ = news.send((folder.to_owned(), News::Kept(failure)));
        Errand::None
    };
    let (attended, ended) = loop {
        tokio::select! {
            ended = run.ended() => break ended,
            Some(wish) = wishes.recv() => match wish {
                Wish::Signal(incoming) => {
                    is_stopped |= matches!(incoming, Incoming::Stop(_));
                    run.order(incoming);
                    errand.order(incoming);
                }
                Wish::Leave => {
                    errand.give_up();
                    let leaving = leave(Arc::clone(yard), folder.to_owned(), Arc::clone(&run.app));
                    errand = Errand::Leaving(tokio::spawn(leaving));
                }
                Wish::Replace(next) => {
                    errand.give_up();
                    errand = Errand::Preparing(tokio::spawn(prepare(Arc::clone(yard), Arc::clone(&run.app), next)));
                }
                Wish::Withdraw => errand = errand.withdraw().unwrap_or_else(kept),
            },
            // Nothing new is begun then.
            step = errand.step(), if !is_stopped => {
                errand = follow(yard, folder, run, errand, step).await.unwrap_or_else(kept);
            }
        }
    };
    let outcome = match errand {
        Errand::Going(fresh, going) => {
            // It sees that this one has ended.
            let _ = going.await;
            Outcome::TakenOver(fresh)
        }
        Errand::Done(next) if !is_stopped => Outcome::Replaced(next),
        Errand::Coming(fresh, _) | Errand::Failing(fresh, _) => {
            fresh.app.command(Command::Shutdown);
            fail(yard, *fresh, &run.app, wishes).await;
            Outcome::Ended(ended)
        }
        errand => {
            errand.give_up();
            Outcome::Ended(ended)
        }
    };
    (attended, outcome)
}

/// What follows a step of what is done beside the version that runs; or the next one does not take its place, and nothing has
/// changed.
async fn follow(yard: &Arc<Yard>, folder: &str, run: &mut Run, errand: Errand, step: Step) -> Result<Errand, Failure> {
    match (errand, step) {
        (_, Step::Prepared(next)) => {
            let (next, is_built) = next?;
            // One that is still being built serves nobody yet.
            if !is_built || in_the_way(&run.app.plan, &next.plan).is_some() {
                let holding = hold(Arc::clone(yard), folder.to_owned(), Arc::clone(&run.app), (next, is_built));
                return Ok(Errand::Holding(tokio::spawn(holding)));
            }
            let (begun, ends) = yard.begin_beside(*next, (&run.app, &run.lock)).await?;
            Ok(Errand::Coming(Box::new(Run::begin(begun)), ends))
        }
        (_, Step::Held(next)) => {
            let next = next?;
            run.app.command(Command::Shutdown);
            Ok(Errand::Done(next))
        }
        (Errand::Coming(mut fresh, ends), Step::Arrived(Ok(()))) => {
            let waiting = ports_of(&fresh.app.plan, &workers(&fresh.app.plan));
            match yard.take_over(folder, &run.app, (&fresh.app, &ends), waiting).await {
                Ok(control) => {
                    if fresh.app.plan.dir() == run.app.plan.dir() {
                        run.leave_helpers();
                    }
                    fresh.helpers.push(answer(control, &fresh.app));
                    yard.sayer.say(format!(
                        "the new version of {folder} has taken over; the old one finishes what it has on its way"
                    ));
                    let going = go(Arc::clone(yard), Arc::clone(&run.app), Arc::clone(&fresh.app));
                    Ok(Errand::Going(fresh, tokio::spawn(going)))
                }
                Err(failure) => Ok(failing(fresh, failure)),
            }
        }
        (Errand::Coming(fresh, _), Step::Arrived(Err(failure))) => Ok(failing(fresh, failure)),
        (Errand::Coming(fresh, _), Step::Ended((attended, outcome))) => {
            part(yard, *fresh, attended, &run.app).await;
            Err(outcome.err().unwrap_or_else(|| Failure::new("its new version has ended")))
        }
        (Errand::Failing(fresh, failure), Step::Ended((attended, _))) => {
            part(yard, *fresh, attended, &run.app).await;
            Err(failure)
        }
        // There are no other steps of it.
        (errand, _) => Ok(errand),
    }
}

fn failing(fresh: Box<Run>, failure: Failure) -> Errand {
    fresh.app.command(Command::Shutdown);
    Errand::Failing(fresh, failure)
}

/// A version that did not take another's place has ended.
async fn part(yard: &Yard, fresh: Run, attended: Option<Attended>, stays: &App) {
    let app = Arc::clone(&fresh.app);
    fresh.end(attended, Some(stays)).await;
    yard.part(&app, stays);
}

/// The same, once it has.
async fn fail(yard: &Yard, mut fresh: Run, stays: &App, wishes: &mut UnboundedReceiver<Wish>) {
    let attended = loop {
        tokio::select! {
            (attended, _) = fresh.ended() => break attended,
            Some(wish) = wishes.recv() => if let Wish::Signal(incoming) = wish {
                fresh.order(incoming);
            },
        }
    };
    part(yard, fresh, attended, stays).await;
}

/// What is done beside a version that runs.
enum Errand {
    None,
    Leaving(JoinHandle<()>),
    /// The next one is built.
    Preparing(JoinHandle<Result<Next, Failure>>),
    /// Whoever comes waits for the next one.
    Holding(JoinHandle<Result<Next, Failure>>),
    /// It has been told to stop, and this is next.
    Done(Next),
    /// The next one runs, and is not reached yet.
    Coming(Box<Run>, Ends),
    /// The same, and is not going to be.
    Failing(Box<Run>, Failure),
    /// The next one is reached, and this one is let go.
    Going(Box<Run>, JoinHandle<()>),
}

/// What happens beside a version that runs.
enum Step {
    Prepared(Result<Next, Failure>),
    Held(Result<Next, Failure>),
    Arrived(Result<(), Failure>),
    Ended(Ended),
}

impl Errand {
    /// Comes back with what happens next; never, where nothing does. Cancel safe.
    async fn step(&mut self) -> Step {
        match self {
            Self::Preparing(task) => Step::Prepared(joined(task).await),
            Self::Holding(task) => Step::Held(joined(task).await),
            Self::Coming(fresh, _) => {
                let app = Arc::clone(&fresh.app);
                tokio::select! {
                    ended = fresh.ended() => Step::Ended(ended),
                    arrived = arrives(&app) => Step::Arrived(arrived),
                }
            }
            Self::Failing(fresh, _) => Step::Ended(fresh.ended().await),
            Self::None | Self::Leaving(_) | Self::Done(_) | Self::Going(..) => std::future::pending().await,
        }
    }

    /// Hands a signal on to the next version, where that runs.
    fn order(&self, incoming: Incoming) {
        if let Self::Coming(fresh, _) | Self::Failing(fresh, _) | Self::Going(fresh, _) = self {
            fresh.order(incoming);
        }
    }

    /// The next version is not wanted any more, where it is not too late for that.
    fn withdraw(self) -> Result<Self, Failure> {
        let failure = || Failure::new("its files have changed again");
        match self {
            Self::Preparing(task) => {
                task.abort();
                Err(failure())
            }
            Self::Coming(fresh, _) => Ok(failing(fresh, failure())),
            later => Ok(later),
        }
    }

    fn give_up(&self) {
        match self {
            Self::Leaving(task) | Self::Going(_, task) => task.abort(),
            Self::Preparing(task) | Self::Holding(task) => task.abort(),
            Self::None | Self::Done(_) | Self::Coming(..) | Self::Failing(..) => {}
        }
    }
}

async fn joined<T>(task: &mut JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    task.await.unwrap_or_else(|error| Err(Failure::new(format!("cannot replace it: {error}"))))
}

/// Builds the next version, where this one is not being built: two builds in one folder would be in each other's way, so that
/// the one that is under way is ended first.
async fn prepare(yard: Arc<Yard>, app: Arc<App>, next: Box<Loaded>) -> Result<Next, Failure> {
    let plan = &next.plan;
    let is_building = app.world.borrow().processes.values().any(|process| process.gate == Gate::Building);
    if !is_building {
        let layers = layers::read(plan.dir(), &[], &[])?;
        build_beside(plan, &layers, &yard.ground.spawner, &app.sayer).await?;
    }
    Ok((next, !is_building))
}

/// Waits until this version, which nobody reaches yet, can take another one's place, or it is known that it cannot. Cancel safe.
async fn arrives(app: &App) -> Result<(), Failure> {
    let mut world = app.world.clone();
    loop {
        let arrival = arrival(&app.plan, &world.borrow_and_update());
        match arrival {
            Arrival::Ready => break,
            Arrival::Failed(cause) => return Err(Failure::new(format!("its new version does not get ready: {cause}"))),
            Arrival::Coming => {}
        }
        if world.changed().await.is_err() {
            // It has ended, which is told with its reason.
            std::future::pending::<()>().await;
        }
    }
    // Its table is made from its world, and from what its health checks say.
    let desired = |name: &str| {
        world.borrow().processes.iter().any(|(process, view)| process.as_str() == name && view.desired > 0)
    };
    let is_wanted = |route: &Route| desired(route.name.split_once(':').map_or(&*route.name, |(process, _)| process));
    let is_reached = |route: &Route| matches!(route.admission, Admission::Serve(_));
    let exporters = ports_of(&app.plan, &exporters(&app.plan));
    let mut tables = app.tables.clone();
    let reached = tables.wait_for(|table| {
        let mut own = table.iter().filter(|(_, route)| exporters.contains(&route.name) && is_wanted(route));
        own.all(|(_, route)| is_reached(route))
    });
    match tokio::time::timeout(REACHED_LIMIT, async { reached.await.is_ok() }).await {
        Ok(true) => Ok(()),
        Ok(false) => std::future::pending().await,
        Err(_) => Err(Failure::new("its new version is ready, but its health checks say that it is not well")),
    }
}
