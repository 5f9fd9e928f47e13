//! `tambat start --detach`: the same command once more, without the terminal; returns when it is ready.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tambat_api::{Client, ClientError, ProcessStatus};
use tambat_model::Plan;

use super::running::{Running, block_on, sockets};
use super::wait;
use crate::daemon::StateDir;
use crate::failure::Failure;
use crate::output;

/// All that this thread does is wait.
const STACK_BYTES: usize = 64 * 1024;

/// How often the new tambat is looked at until its socket is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// When nothing of the app is left, tambat has its last lines to write and its ports to let go.
const LETTING_GO_LIMIT: Duration = Duration::from_secs(10);

/// Starts the app in the background and waits until it is ready.
pub(crate) fn run(dir: &Path, plan: &Plan, limit: Duration) -> Result<ExitCode, Failure> {
    let sockets = sockets()?;
    if block_on(Running::of_dir(&sockets, plan.dir()))?.is_some() {
        return Err(Failure::new(format!(
            "{} already runs: `tambat ps` shows it, `tambat stop` stops it",
            plan.name()
        )));
    }
    let client = Client::new(sockets.socket(plan.dir()));
    let state = StateDir::of(plan.dir()).map_err(|error| Failure::new(format!("cannot detach: {error}")))?;
    state.create().map_err(|error| Failure::new(format!("cannot detach: {}: {error}", state.path().display())))?;
    let mut words = words(state.path()).map_err(|error| Failure::new(format!("cannot detach: {error}")))?;
    let mut child = spawn(dir, &words)?;
    let ready = block_on(follow(&client, &mut child, &mut words, limit));
    match ready {
        Ok(()) => {
            let status = block_on(async { Ok(client.status().await?) })?;
            let exporters = status.processes.iter().filter(|process| !process.worker);
            let urls: Vec<String> =
                exporters.filter_map(|p| p.ports.first().map(|port| format!("{} at {}", p.name, port.url))).collect();
            let served = if urls.is_empty() { String::new() } else { format!(": {}", urls.join(", ")) };
            output::say(&format!("{} runs in the background as pid {}{served}", status.app, status.pid));
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => Err(failure),
    }
}

/// Where tambat's own words go until it is ready, for whoever waits here: a file without a name, which ends with those
/// who hold it. Two starts have two; `tambat logs` has what is said later.
fn words(state: &Path) -> io::Result<File> {
    let path = state.join(format!("detached.{}.log", std::process::id()));
    // Left behind by a start that was killed between these lines, when its pid was ours.
    let _ = std::fs::remove_file(&path);
    let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The same words without `--detach`, in a session of its own.
fn spawn(dir: &Path, words: &File) -> Result<Child, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot detach: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let log = words.try_clone().map_err(failed)?;
    let mut past_command = false;
    let args = std::env::args_os().skip(1).map(move |arg| {
        past_command |= arg == "--";
        if !past_command && arg == "--detach" { "--detached".into() } else { arg }
    });
    let mut command = Command::new(program);
    command.args(args).current_dir(std::env::current_dir().unwrap_or_else(|_| dir.to_owned()));
    // Standard input ends when this process does, however that comes: see `until_nobody_waits`.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    tambat_os::terminal::keep_other_files();
    command.spawn().map_err(failed)
}

/// For the tambat that stays: leaves the terminal, and lets go of the file of its first words once whoever waits for them
/// has gone. It has no name any more and would grow for ever.
pub(crate) fn stay() -> Result<(), Failure> {
    tambat_os::terminal::leave().map_err(|error| Failure::new(format!("cannot leave the terminal: {error}")))?;
    // Without this thread the words go on being kept: a waste, and no harm.
    let _ = std::thread::Builder::new().name("first words".to_owned()).stack_size(STACK_BYTES).spawn(|| {
        until_nobody_waits();
        let _ = tambat_os::terminal::silence_stderr();
    });
    Ok(())
}

fn until_nobody_waits() {
    // Nothing is ever sent: it is the end, or an error, which is as good.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
}

async fn follow(client: &Client, child: &mut Child, words: &mut File, limit: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let status = loop {
        if let Ok(Some(exit)) = child.try_wait() {
            let said = said(words);
            return Err(Failure::with_code(format!("it ended at once:\n{}", said.trim_end()), code_of(exit)));
        }
        match client.status().await {
            Ok(status) => break status,
            Err(ClientError::NotRunning) => {}
            Err(other) => return Err(other.into()),
        }
        if began.elapsed() > limit {
            return Err(Failure::timed_out(format!("it did not start within {limit:?}")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    let running = Running { client: client.clone(), status };
    let left = limit.saturating_sub(began.elapsed());
    let Err(failure) = wait::until_ready(&running, &[], left).await else { return Ok(()) };
    if goes_on(client, child).await {
        return Err(failure.and(" (it goes on in the background: `tambat logs` shows more, `tambat stop` stops it)"));
    }
    if let Ok(Some(exit)) = child.try_wait()
        && let Some(why) = own_failure(&said(words))
    {
        let more = " (nothing of it runs any more: `tambat logs` shows what it wrote)";
        return Err(Failure::with_code(why, code_of(exit)).and(more));
    }
    Err(failure.and(" (nothing of it runs any more)"))
}

/// What the new tambat has said so far; what cannot be read is as if it had not been said.
fn said(words: &mut File) -> String {
    let mut said = Vec::new();
    let _ = words.rewind().and_then(|()| words.read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
}

/// The failure with which a tambat has ended, such as that of a build: its last line.
fn own_failure(said: &str) -> Option<&str> {
    said.lines().next_back()?.strip_prefix("tambat: ")
}

fn code_of(exit: ExitStatus) -> u8 {
    exit.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Does anything of it still run? Once every process has come to its end, tambat ends too, but not at once.
async fn goes_on(client: &Client, child: &mut Child) -> bool {
    let began = Instant::now();
    let is_over = |p: &ProcessStatus| p.desired == 0 || matches!(p.state.as_str(), "failed" | "ended");
    while let Ok(None) = child.try_wait() {
        // Without an answer it is ending.
        let runs = client.status().await.is_ok_and(|status| !status.processes.iter().all(is_over));
        if runs || began.elapsed() > LETTING_GO_LIMIT {
            return true;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    false
}
