//! The entries of the guestbook: an HTTP API over one SQLite file.

mod api;
mod desk;
mod entry;
mod store;

use std::{env, error::Error, path::PathBuf, process::ExitCode};

use crate::{desk::Desk, store::Store};

/// Where the entries are unless `ENTRIES_DB` says otherwise: in the app's directory, which is the current one.
const DATABASE_DEFAULT: &str = "data/entries.sqlite";

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "where it listens and why it cannot are for the reader of the terminal")]
async fn main() -> ExitCode {
    let started = async {
        let bound = tambat_app::Port::from_env()?.bind().await?;
        eprintln!("listening on {}", bound.local_addr());
        serve(bound).await
    };
    match started.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guestbook-entries: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(bound: tambat_app::Bound) -> Result<(), Box<dyn Error>> {
    let database = env::var_os("ENTRIES_DB").map_or_else(|| PathBuf::from(DATABASE_DEFAULT), PathBuf::from);
    let (desk, thread) = Desk::open(Store::open(&database)?)?;
    bound.serve(api::router(desk)).await?;
    // Every handle on the desk went with the connections, so the thread ends, and closes the file properly.
    thread.join().map_err(|_| "the thread that holds the database panicked")?;
    Ok(())
}
