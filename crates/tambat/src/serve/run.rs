//! A version of an app of a server while it runs.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle;

use super::yard::{Coming, Yard};
use crate::daemon::{App, Attended, Begun, Incoming, answer};
use crate::failure::Failure;
use crate::run_lock::RunLock;

/// A version that runs.
pub(super) struct Run {
    pub(super) app: Arc<App>,
    pub(super) lock: RunLock,
    orders: UnboundedSender<Incoming>,
    task: JoinHandle<(Attended, Result<ExitCode, Failure>)>,
    /// What is done for it until it ends, or another version does it: it is let in and answered for.
    pub(super) helpers: Vec<JoinHandle<()>>,
}

/// How a version ended, and what it still has; none: that is lost.
pub(super) type Ended = (Option<Attended>, Result<ExitCode, Failure>);

impl Run {
    /// Of one that is reached as soon as it has routes.
    pub(super) fn of(yard: &Arc<Yard>, folder: &str, coming: Coming) -> Self {
        let Coming { begun, control, first_table } = coming;
        let mut run = Self::begin(begun);
        run.helpers.push(answer(control, &run.app));
        // Whoever comes in by a listener of its own is told by the table whom they reach.
        run.helpers.push(tokio::spawn(open(Arc::clone(yard), folder.to_owned(), first_table)));
        run
    }

    pub(super) fn begin(begun: Begun) -> Self {
        let (orders, mut asked) = mpsc::unbounded_channel();
        let lock = begun.lock();
        let mut attended = begun.attend(None, None);
        let app = Arc::clone(&attended.app);
        let task = tokio::spawn(async move {
            let outcome = attended.run(&mut asked).await;
            (attended, outcome)
        });
        Self { app, lock, orders, task, helpers: Vec::new() }
    }

    pub(super) fn order(&self, incoming: Incoming) {
        // One that has ended needs no telling.
        let _ = self.orders.send(incoming);
    }

    /// Waits until nothing of it runs any more. Cancel safe; once it has come back, it is not to be called again.
    pub(super) async fn ended(&mut self) -> Ended {
        match (&mut self.task).await {
            Ok((attended, outcome)) => (Some(attended), outcome),
            Err(error) => (None, Err(Failure::new(format!("cannot run it: {error}")))),
        }
    }

    pub(super) fn leave_helpers(&mut self) {
        self.helpers.drain(..).for_each(|helper| helper.abort());
    }

    /// Lets go of everything that was its own. `stays`: another version, which may have its place.
    pub(super) async fn end(mut self, attended: Option<Attended>, stays: Option<&App>) {
        self.leave_helpers();
        if let Some(mut attended) = attended {
            if stays.is_some_and(|stays| stays.plan.dir() == self.app.plan.dir()) {
                attended.leave_socket();
            }
            attended.end().await;
        }
        self.lock.end();
    }
}

async fn open(yard: Arc<Yard>, folder: String, first_table: tokio::sync::oneshot::Receiver<()>) {
    // One that ends at once has none.
    if first_table.await.is_ok()
        && let Err(failure) = yard.open(Some(&folder)).await
    {
        yard.sayer.say(failure.to_string());
    }
}
