//! `tambat wait`.

use std::path::Path;
use std::process::ExitCode;

use tambat_api::{AppStatus, ProcessStatus};

use super::WaitArgs;
use super::running::{Running, block_on};
use crate::failure::Failure;

/// `tambat wait PROCESS... [--timeout 60s]`.
pub(crate) fn run(dir: &Path, args: &WaitArgs) -> Result<ExitCode, Failure> {
    block_on(async {
        let running = Running::find(dir).await?;
        for name in &args.processes {
            running.process_or_default(Some(name))?;
        }
        until_ready(&running, &args.processes, args.timeout).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Returns when all of these (none named: all that export a port and should run) are ready. Fails as soon as one of
/// them cannot be any more, and when the time is over.
pub(crate) async fn until_ready(
    running: &Running,
    names: &[String],
    limit: std::time::Duration,
) -> Result<(), Failure> {
    let mut lines = running.client.lines(&running.path("watch")).await?;
    let mut last = running.status.clone();
    let watch = async {
        while let Some(status) = lines.next::<AppStatus>().await {
            last = status?;
            let waited: Vec<&ProcessStatus> = waited_for(&last, names).collect();
            if let Some(hopeless) = waited.iter().find(|p| matches!(p.state.as_str(), "failed" | "ended" | "stopped")) {
                return Err(Failure::new(sentence(hopeless)));
            }
            if waited.iter().all(|p| matches!(p.state.as_str(), "ready" | "running")) {
                return Ok(());
            }
        }
        Err(Failure::new(format!("{} has ended", running.status.app)))
    };
    match tokio::time::timeout(limit, watch).await {
        Ok(result) => result,
        Err(_) => {
            let late = waited_for(&last, names).filter(|p| p.state != "ready" && p.state != "running");
            let late: Vec<String> = late.map(sentence).collect();
            Err(Failure::timed_out(format!("after {limit:?}: {}", late.join("; "))))
        }
    }
}

fn waited_for<'a>(status: &'a AppStatus, names: &'a [String]) -> impl Iterator<Item = &'a ProcessStatus> {
    let should_run = |process: &ProcessStatus| !process.worker && process.desired > 0 && !is_replaced(status, process);
    status
        .processes
        .iter()
        .filter(move |process| if names.is_empty() { should_run(process) } else { names.contains(&process.name) })
}

/// Has it stopped because something else was attached in its place? Then nobody needs it.
fn is_replaced(status: &AppStatus, process: &ProcessStatus) -> bool {
    let is_it = |provider: &str| provider.split_once(':').map_or(provider, |(name, _)| name) == process.name;
    let mut uses = status.processes.iter().flat_map(|p| &p.uses).filter(|used| is_it(&used.provider)).peekable();
    process.state == "stopped" && uses.peek().is_some() && uses.all(|used| used.attached)
}

fn sentence(process: &ProcessStatus) -> String {
    let cause = process.cause.as_deref().map(|c| format!(": {c}")).unwrap_or_default();
    let verb = if matches!(process.state.as_str(), "failed" | "ended") { "has" } else { "is" };
    format!("{} {verb} {}{cause}", process.name, process.state)
}
