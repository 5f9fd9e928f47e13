use std::{
    io,
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot};

use crate::store::Store;

/// How many requests wait for the database before the next ones wait to wait. Each costs a few KiB; a disk does
/// about a hundred commits a second.
const WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&Store) + Send>;

/// Where requests hand in what they want of the book. One thread holds the book, because SQLite blocks: on the disk
/// at every commit, and the server has but one thread of its own.
#[derive(Clone)]
pub(crate) struct Desk {
    jobs: mpsc::Sender<Job>,
}

/// The thread that holds the book is gone: it panicked.
#[derive(Debug)]
pub(crate) struct Closed;

impl Desk {
    /// Starts the thread. It ends when the last copy of the desk is dropped.
    pub(crate) fn open(store: Store) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING_MAX);
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&store);
            }
        })?;
        Ok((Self { jobs }, thread))
    }

    /// Has `job` done, and waits for its result. Dropping the future does not undo it.
    pub(crate) async fn ask<T, F>(&self, job: F) -> Result<T, Closed>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        // Nobody waits for the answer any more when its client went away.
        let job = Box::new(move |store: &Store| drop(answer.send(job(store))));
        self.jobs.send(job).await.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }
}
