//! tambat: apps by the ports they bind.
//!
//! This is the composition root: the only place that knows the supervisor and the router both. `cli` has a file a
//! verb; `daemon` is what `tambat start` runs, `serve` what `tambat serve` does, and `route` what `tambat route` does.

mod certificates;
mod check;
mod cli;
mod control_socket;
mod daemon;
mod dependency_files;
mod doctor;
mod entrances;
mod failure;
mod layers;
mod local_ca;
mod metrics;
mod named_socket;
mod output;
mod route;
mod router_setup;
mod routes_view;
mod run_lock;
mod serve;
mod sockets;
mod trust;

use std::ffi::OsString;
use std::process::ExitCode;

use tambat_os::Spawner;

/// Verbs that start processes need the spawner, which must be forked before anything else happens.
const STARTING_VERBS: [&str; 4] = ["start", "up", "check", "serve"];

fn main() -> ExitCode {
    let verb = verb(std::env::args_os().skip(1));
    let starts = verb.is_some_and(|verb| STARTING_VERBS.iter().any(|starting| verb == *starting));
    let spawner = if starts { Spawner::fork().map(Some) } else { Ok(None) };
    let result = match spawner {
        Ok(spawner) => cli::run(spawner),
        Err(error) => Err(failure::Failure::new(format!(
            "cannot fork the spawner: {error}; is the process limit reached (ulimit -u)?"
        ))),
    };
    result.unwrap_or_else(failure::Failure::report)
}

/// The first word that is not `-d DIR`: clap parses properly, but only after the spawner has been forked.
fn verb(mut args: impl Iterator<Item = OsString>) -> Option<OsString> {
    loop {
        let arg = args.next()?;
        if arg == "-d" || arg == "--dir" {
            args.next();
        } else if !arg.as_encoded_bytes().starts_with(b"-") {
            return Some(arg);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_is_the_first_word_that_is_no_option() {
        let of = |line: &str| verb(line.split(' ').map(OsString::from)).map(|verb| verb.into_string().unwrap());
        for line in
            ["start web", "-d start start", "--dir=x start", "-dx start", "--dir x start -- npm run", "-d . up start"]
        {
            assert!(["start", "up"].contains(&of(line).unwrap().as_str()), "{line}");
        }
        for line in ["run npm start", "-d start run x", "logs start", "--version", "--dir"] {
            assert!(of(line).is_none_or(|verb| verb != "start"), "{line}");
        }
    }
}
