//! The manifest's `build`: before anything is judged, and counted against no limit.

use std::ffi::OsString;

use tambat_model::{Environment, Layer, Plan, redact_all, shell_command};
use tambat_os::{CommandSpec, Signal, Spawner, StdioSpec, StopSpec};

use super::stage::ABANDONED_GRACE;
use super::staged::{Staged, end_of};
use crate::observed::End;
use crate::text::last_words;

/// Runs the plan's `build`, if it has one, in the app's directory and the environment of the shell and the `.env` files.
///
/// # Errors
///
/// When it cannot be started or ends with another code than 0; a sentence.
pub async fn build(
    plan: &Plan,
    layers: &[Layer],
    raw_env: &[(OsString, OsString)],
    spawner: &Spawner,
) -> Result<(), String> {
    let Some(command) = plan.build() else { return Ok(()) };
    let shown = redact_all(command);
    let environment = Environment::compose(layers.iter().filter(|layer| layer.name != "PORT").cloned());
    let known = environment.iter().map(|(name, s)| (OsString::from(name), OsString::from(&s.value)));
    let spec = CommandSpec {
        argv: ["/bin/sh", "-c"].into_iter().map(OsString::from).chain([shell_command(command).into()]).collect(),
        dir: plan.dir().to_owned(),
        env: known.chain(raw_env.iter().cloned()).collect(),
        stdio: StdioSpec::Pipes,
        stop: StopSpec { signal: Signal::TERM, grace: ABANDONED_GRACE },
        linger: std::time::Duration::ZERO,
        user: None,
    };
    let begun = spawner.spawn(&spec).and_then(|keeper| Staged::begin(keeper, Vec::new(), std::sync::Arc::default()));
    let mut staged = begun.map_err(|error| format!("cannot start the build `{shown}`: {error}"))?;
    staged.started().await.map_err(|cause| format!("cannot start the build `{shown}`: {cause}"))?;
    match end_of(staged.over().await) {
        End::Code(0) => Ok(()),
        end => Err(format!(
            "the build `{shown}` failed with {end}: nothing was judged{}",
            last_words(&staged.last_lines().await)
        )),
    }
}
