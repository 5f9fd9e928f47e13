//! tambat: apps by the ports they bind.
//!
//! This is the composition root: the only place that knows the supervisor and the router both. `cli` has a file a
//! verb; `daemon` is what `tambat start` runs.

mod cli;
mod daemon;
mod failure;
mod layers;
mod output;
mod sockets;

use std::process::ExitCode;

use tambat_os::Spawner;

/// Verbs that start processes need the spawner, which must be forked before anything else happens.
const STARTING_VERBS: [&str; 2] = ["start", "up"];

fn main() -> ExitCode {
    let starts = std::env::args_os().skip(1).any(|arg| STARTING_VERBS.iter().any(|verb| arg == *verb));
    let spawner = if starts { Spawner::fork().map(Some) } else { Ok(None) };
    let result = match spawner {
        Ok(spawner) => cli::run(spawner),
        Err(error) => Err(failure::Failure::new(format!(
            "cannot fork the spawner: {error}; is the process limit reached (ulimit -u)?"
        ))),
    };
    result.unwrap_or_else(failure::Failure::report)
}
