//! `tambat start`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tambat_manifest::Diagnostic;
use tambat_model::{Formation, FormationError, Plan, ProcessName};
use tambat_os::{Pid, Spawner, WinSize};

use super::running::{Running, block_on, sockets};
use super::{LogFormat, StartArgs};
use crate::daemon::{self, AppStart, AskedNames, LocalCa, Look, Start, StateDir};
use crate::failure::Failure;
use crate::layers::Layers;
use crate::local_ca::{self, Opening, Roots};
use crate::run_lock::RunLock;
use crate::sockets::Sockets;
use crate::{dependency_files, layers, output};

/// What a killed tambat has left ends within its grace; nobody waits longer than this for it.
const LAST_RUN_LIMIT: Duration = Duration::from_mins(1);

/// How often a tambat that runs looks whether it has ended: a moment beside the grace of what is stopping there.
const LAST_RUN_PAUSE: Duration = Duration::from_millis(50);

/// `tambat start [PROCESS[=N]...]` and `tambat start -- CMD`.
pub(crate) fn run(dir: &Path, args: &StartArgs, spawner: Option<Spawner>) -> Result<ExitCode, Failure> {
    let spawner = spawner.ok_or_else(|| Failure::new("cannot start: there is no spawner"))?;
    let (plan, warnings) = plan(dir, args)?;
    let mut layers = layers::read(dir, &args.source.env_files, &args.source.env)?;
    let formation = formation(args, &plan)?;
    warn(warnings.iter().chain(&layers.warnings));
    layers.overridden(&plan).iter().for_each(|warning| output::say(warning));
    if args.detach {
        drop(spawner);
        return super::detach::run(dir, &plan, args.timeout);
    }
    if args.detached {
        super::detach::stay()?;
    }
    let names = AskedNames::new(args.ports.http_port, args.ports.https_port, args.ports.strict_port)?;
    let (names, local_ca) = local_ca(names, &mut layers);
    let sockets = sockets()?;
    let state = state(&plan);
    let socket = sockets.socket(plan.dir());
    let lock = lock(state.as_ref(), &sockets, &plan)?;
    await_last_run(&lock, &plan, &spawner)?;
    lock.note(spawner.pid(), &socket);
    let bound = daemon::bind(&plan, &args.ports, layers.port.as_ref(), &args.host, state.as_ref())?;
    let look = look(args, &plan, &formation);
    let terminal = terminal(&look);
    let exit_on_end = args.exit_on_end;
    let published = BTreeMap::new();
    let app = AppStart {
        plan,
        formation,
        layers,
        bound,
        lock,
        socket,
        sockets,
        state,
        published,
        look,
        terminal,
        exit_on_end,
        is_built: false,
        later: std::collections::BTreeSet::new(),
    };
    let start = Start { app, names, local_ca, router: args.router.clone().seen_from(dir) };
    daemon::run(start, spawner)
}

/// The local CA, which instances are told to believe. An app runs without one, too, over http alone; its user is told.
fn local_ca(names: AskedNames, layers: &mut Layers) -> (AskedNames, Option<LocalCa>) {
    match local_ca::open() {
        Ok(Opening { ca, note }) => {
            let say = |line: String| output::say(&format!("tambat: {line}"));
            note.into_iter().for_each(say);
            let roots = Roots::of(ca.root());
            layers.all.extend(roots.layers(&layers.raw, say));
            (names, Some(LocalCa { ca, roots }))
        }
        Err(why) => {
            output::say(&format!("tambat: nothing is served over https from here: {why}"));
            (names.without_https(why), None)
        }
    }
}

/// Where the app's logs and attachments are kept. An app runs without such a place, too.
pub(crate) fn state(plan: &Plan) -> Option<StateDir> {
    let made = StateDir::of(plan.dir()).and_then(|state| match state.create() {
        Ok(()) => Ok(state),
        Err(error) => Err(std::io::Error::new(error.kind(), format!("{}: {error}", state.path().display()))),
    });
    let said = |error: &std::io::Error| output::say(&format!("tambat: logs and attachments are not kept: {error}"));
    made.inspect_err(said).ok()
}

/// What is worth saying, and keeps nothing from starting.
pub(crate) fn warn<'a>(warnings: impl Iterator<Item = &'a Diagnostic>) {
    let color = output::color_on_stderr();
    warnings.for_each(|warning| output::say(&warning.render(color)));
}

fn plan(dir: &Path, args: &StartArgs) -> Result<(Plan, Vec<Diagnostic>), Failure> {
    if args.command.is_empty() {
        let loaded = tambat_manifest::load(dir, args.source.procfile.as_deref())?;
        return Ok((dependency_files::recognising(loaded.plan), loaded.warnings));
    }
    let plan = tambat_manifest::plan_for_command(dir, &shell_words(&args.command))?;
    Ok((dependency_files::recognising(plan), Vec::new()))
}

/// One word is a command line for the shell (`-- 'serve -p $PORT'`); several are words, and stay so.
pub(crate) fn shell_words(words: &[String]) -> String {
    if let [line] = words {
        return line.clone();
    }
    let plain = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
    let is_port = |w: &str| matches!(w, "$PORT" | "${PORT}");
    let quote = |w: &String| if plain(w) || is_port(w) { w.clone() } else { format!("'{}'", w.replace('\'', r"'\''")) };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn formation(args: &StartArgs, plan: &Plan) -> Result<BTreeMap<ProcessName, u16>, Failure> {
    let is_known =
        |word: &String| plan.processes().iter().any(|process| word.split('=').next() == Some(process.name.as_str()));
    let usage = |error: FormationError| {
        let failure = Failure::usage(error.to_string());
        // `tambat start npm start`
        let is_command = args.processes.len() > 1 && !args.processes.iter().any(is_known);
        if is_command && matches!(error, FormationError::Unknown { .. }) {
            return failure
                .and(&format!("; a command stands behind `--`: tambat start -- {}", args.processes.join(" ")));
        }
        failure
    };
    let mut counts =
        Formation::parse(&args.processes, true).map_err(usage)?.resolve(plan, !args.no_deps).map_err(usage)?;
    if let Some(formation) = &args.formation {
        let asked = Formation::parse(&[formation], false).map_err(usage)?.resolve(plan, false).map_err(usage)?;
        for (name, count) in asked {
            if counts.get(&name).is_some_and(|c| *c > 0) {
                counts.insert(name, count);
            }
        }
    }
    if counts.values().all(|count| *count == 0) {
        return Err(Failure::usage(format!("nothing to start: every process of {} has 0 instances", plan.name())));
    }
    Ok(counts)
}

/// Whoever holds the lock runs the app.
pub(crate) fn lock(state: Option<&StateDir>, sockets: &Sockets, plan: &Plan) -> Result<RunLock, Failure> {
    block_on(take_lock(state, sockets, plan))
}

/// The same for a tambat that runs already.
pub(crate) async fn take_lock(state: Option<&StateDir>, sockets: &Sockets, plan: &Plan) -> Result<RunLock, Failure> {
    match RunLock::take(state, sockets, plan.dir()).await? {
        Some(lock) => Ok(lock),
        None => Err(already_runs(sockets, plan).await),
    }
}

async fn already_runs(sockets: &Sockets, plan: &Plan) -> Failure {
    let status = match Running::of_dir(sockets, plan.dir()).await {
        Ok(Some(running)) => running.status,
        Ok(None) => {
            return Failure::new(format!("{} is just starting or stopping: try again in a moment", plan.name()));
        }
        Err(silent) => return silent,
    };
    let exporters = status.processes.iter().filter(|process| !process.worker);
    let url = exporters.flat_map(|p| &p.ports).map(|p| p.url.as_str()).next().unwrap_or("no port");
    Failure::new(format!(
        "{} already runs as pid {}, at {url}: `tambat ps` shows it, `tambat stop` stops it, `tambat restart` restarts a \
         process",
        plan.name(),
        status.pid
    ))
}

/// Two instances on one data directory destroy it: what a killed tambat has left is given the time to end.
pub(crate) fn await_last_run(lock: &RunLock, plan: &Plan, spawner: &Spawner) -> Result<(), Failure> {
    let Some(last) = last_run(lock, plan, spawner) else { return Ok(()) };
    if tambat_os::signals::wait_for_end(last, LAST_RUN_LIMIT) { Ok(()) } else { Err(still_there(plan, last)) }
}

/// The same for a tambat that runs already, and has more to do meanwhile.
pub(crate) async fn last_run_ends(lock: &RunLock, plan: &Plan, spawner: &Spawner) -> Result<(), Failure> {
    let Some(last) = last_run(lock, plan, spawner) else { return Ok(()) };
    let deadline = Instant::now() + LAST_RUN_LIMIT;
    while tambat_os::spawner::is_spawner(last) {
        if Instant::now() > deadline {
            return Err(still_there(plan, last));
        }
        tokio::time::sleep(LAST_RUN_PAUSE).await;
    }
    Ok(())
}

/// The spawner of an earlier run of which something is left.
fn last_run(lock: &RunLock, plan: &Plan, spawner: &Spawner) -> Option<Pid> {
    let is_there = |last: &Pid| *last != spawner.pid() && tambat_os::spawner::is_spawner(*last);
    let last = lock.last().spawner().filter(is_there)?;
    output::say(&format!("tambat: the last run of {} is still stopping (pid {last}): waiting for it", plan.name()));
    Some(last)
}

fn still_there(plan: &Plan, last: Pid) -> Failure {
    let limit = LAST_RUN_LIMIT.as_secs();
    Failure::timed_out(format!(
        "cannot start {}: its last run has not ended within {limit} s (pid {last}): end it, or try again later",
        plan.name()
    ))
}

fn look(args: &StartArgs, plan: &Plan, formation: &BTreeMap<ProcessName, u16>) -> Look {
    let names: Vec<String> = plan.processes().iter().map(|p| p.name.to_string()).collect();
    let instances = formation.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name}.{count}"));
    let columns: Vec<String> = instances.chain(["tambat".to_owned()]).collect();
    let text = args.log_format == LogFormat::Text;
    Look {
        format: args.log_format,
        timestamp: !args.no_timestamp,
        color_out: text && output::color_on_stdout(),
        color_err: text && output::color_on_stderr(),
        tty: text && std::io::stdout().is_terminal(),
        app: None,
        width: Look::width_of(columns.iter().map(String::as_str)),
        names,
    }
}

/// Children get a terminal when we have one: narrower by what stands before their lines.
fn terminal(look: &Look) -> Option<WinSize> {
    let size = tambat_os::terminal::size(std::io::stdout()).filter(|_| look.tty)?;
    Some(look.of_child(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        let words = |words: &[&str]| shell_words(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["serve -p $PORT"]), "serve -p $PORT");
        assert_eq!(words(&["serve", "-p", "$PORT", "a b", "it's"]), r"serve -p $PORT 'a b' 'it'\''s'");
    }
}
