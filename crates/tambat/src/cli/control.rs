//! `tambat restart`, `stop`, `scale`, `pause`, `resume`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tambat_api::{AppStatus, Done, ProcessStatus, Scale};
use tambat_model::Formation;

use super::running::{Running, block_on};
use crate::failure::Failure;
use crate::output;

/// `tambat stop` waits for the end of everything: the longest grace a manifest may ask for is an hour.
const STOP_LIMIT: Duration = Duration::from_hours(1);

/// When nothing of the app is left, tambat has its last lines to write and its ports to let go.
const LETTING_GO_LIMIT: Duration = Duration::from_secs(10);

/// `tambat restart [PROCESS]`.
pub(crate) fn restart(dir: &Path, process: Option<&str>) -> Result<ExitCode, Failure> {
    one(dir, process, "restart")
}

/// `tambat pause` and `tambat resume`.
pub(crate) fn gate(dir: &Path, process: Option<&str>, verb: &str) -> Result<ExitCode, Failure> {
    one(dir, process, verb)
}

/// `tambat stop [PROCESS]`; without a name everything, and it returns when nothing is left.
pub(crate) fn stop(dir: &Path, process: Option<&str>) -> Result<ExitCode, Failure> {
    match process {
        Some(name) => one(dir, Some(name), "stop"),
        None => block_on(stop_all(dir)),
    }
}

/// `tambat scale PROCESS=N...`: checks all before it changes one.
pub(crate) fn scale(dir: &Path, counts: &[String]) -> Result<ExitCode, Failure> {
    Formation::parse(counts, true).map_err(|error| Failure::usage(error.to_string()))?;
    let words = counts.iter().flat_map(|word| word.split(','));
    let pairs = words.map(|word| {
        let split = word.split_once('=').and_then(|(name, count)| Some((name, count.parse().ok()?)));
        split.ok_or_else(|| Failure::usage(format!("`{word}`: write PROCESS=N")))
    });
    let pairs: Vec<(&str, u16)> = pairs.collect::<Result<_, _>>()?;
    block_on(async {
        let running = Running::find(dir).await?;
        for (name, count) in &pairs {
            running.process_or_default(Some(name))?;
            let stateful = running.status.processes.iter().any(|p| p.name == *name && p.stateful);
            if stateful && *count > 1 {
                return Err(Failure::usage(format!(
                    "cannot scale {name} to {count}: it is stateful, and two instances on its data would destroy it"
                )));
            }
        }
        for (name, instances) in pairs {
            let path = running.path(&format!("processes/{name}/scale"));
            let done: Done = running.client.post(&path, &Scale { instances }).await?;
            output::say(&done.done);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn one(dir: &Path, process: Option<&str>, verb: &str) -> Result<ExitCode, Failure> {
    block_on(async {
        let running = Running::find(dir).await?;
        let process = running.process_or_default(process)?;
        let done: Done = running.client.post(&running.path(&format!("processes/{process}/{verb}")), &()).await?;
        output::say(&done.done);
        Ok(ExitCode::SUCCESS)
    })
}

async fn stop_all(dir: &Path) -> Result<ExitCode, Failure> {
    let running = Running::find(dir).await?;
    let mut lines = running.client.lines(&running.path("watch")).await?;
    let done: Done = running.client.post(&running.path("stop"), &()).await?;
    output::say(&done.done);
    // A server goes on without it: there it has stopped when nothing of it runs.
    let is_over = |status: &AppStatus| status.served && !status.processes.iter().any(runs);
    let ended = async {
        while let Some(Ok(status)) = lines.next::<AppStatus>().await {
            if is_over(&status) {
                return;
            }
        }
    };
    match tokio::time::timeout(STOP_LIMIT, ended).await {
        Ok(()) if running.status.served => {
            output::say(&format!("{} has stopped; `tambat restart` starts a process of it again", running.status.app));
            Ok(ExitCode::SUCCESS)
        }
        Ok(()) => {
            // The connection ends before tambat itself does, and with it what it holds: its ports.
            let pid = running.status.pid;
            let ended = |pid| tambat_os::signals::wait_for_end(pid, LETTING_GO_LIMIT);
            if !tambat_os::Pid::new(pid).is_none_or(ended) {
                return Err(Failure::timed_out(format!(
                    "nothing of {} runs, but tambat (pid {pid}) has not ended",
                    running.status.app
                )));
            }
            output::say(&format!("{} has stopped", running.status.app));
            Ok(ExitCode::SUCCESS)
        }
        Err(_) => Err(Failure::timed_out(format!("{} is still stopping", running.status.app))),
    }
}

/// Does anything of it run?
fn runs(process: &ProcessStatus) -> bool {
    process.instances.iter().any(|instance| instance.pid.is_some() || instance.state == "starting")
}
