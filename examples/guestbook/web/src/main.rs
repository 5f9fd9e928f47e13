//! The page of the guestbook. Its entries are another process, known by the handle `ENTRIES_URL` alone.

mod app;
mod client;
mod guard;
mod page;

use std::{error::Error, process::ExitCode};

use crate::client::Entries;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "where it listens and why it cannot are for the reader of the terminal")]
async fn main() -> ExitCode {
    let served = async {
        let entries = Entries::at(&tambat_app::resource("ENTRIES_URL")?)?;
        let bound = tambat_app::Port::from_env()?.bind().await?;
        eprintln!("listening on {}", bound.local_addr());
        bound.serve(app::router(entries)).await?;
        Ok::<(), Box<dyn Error>>(())
    };
    match served.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guestbook-web: {error}");
            ExitCode::FAILURE
        }
    }
}
