//! `tambat check`.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use tambat_check::report::{self, Colour};
use tambat_check::{Goal, Limits, Report, Selection, Url};
use tambat_os::{Pid, Spawner};
use tokio::signal::unix::{SignalKind, signal};

use super::running::block_on;
use super::start::{shell_words, warn};
use super::{CheckArgs, CheckFormat};
use crate::check::{self, Checks};
use crate::dependency_files::recognising;
use crate::failure::{CODE_NOT_SO, CODE_SIGNALLED, Failure};
use crate::{layers, output};

/// `tambat check [PROCESS]`, `tambat check -- CMD` and `tambat check --url URL`.
pub(crate) fn run(dir: &Path, args: &CheckArgs, spawner: Option<Spawner>) -> Result<ExitCode, Failure> {
    let spawner = spawner.ok_or_else(|| Failure::new("cannot check: there is no spawner"))?;
    let reports = match &args.url {
        Some(url) => interruptible(&[spawner.pid()], of_url(url, args))?,
        None => of_app(dir, args, &spawner)?,
    };
    let reports = match reports {
        Ended::Done(reports) => reports?,
        Ended::Interrupted(code) => return Ok(ExitCode::from(code)),
    };
    write(&reports, args);
    let is_good = reports.iter().all(|report| report.is_good(args.strict));
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(CODE_NOT_SO) })
}

fn of_app(dir: &Path, args: &CheckArgs, spawner: &Spawner) -> Result<Ended<Vec<Report>>, Failure> {
    let is_command = !args.command.is_empty();
    let (plan, warnings) = if is_command {
        (recognising(tambat_manifest::plan_for_command(dir, &shell_words(&args.command))?), Vec::new())
    } else {
        let loaded = tambat_manifest::load(dir, args.source.procfile.as_deref())?;
        (recognising(loaded.plan), loaded.warnings)
    };
    let layers = layers::read(dir, &args.source.env_files, &args.source.env)?;
    warn(warnings.iter().chain(&layers.warnings));
    layers.overridden(&plan).iter().for_each(|warning| output::say(warning));
    let names: Vec<_> = check::chosen(&plan, args.process.as_deref())?.iter().map(|p| p.name.clone()).collect();
    // What each of them uses runs under a spawner of its own: all are forked before there is a thread.
    let fork = |name: &tambat_model::ProcessName| {
        let uses = plan.process(name).is_some_and(|process| !process.uses.is_empty());
        uses.then(Spawner::fork).transpose()
    };
    let forked = names.iter().map(fork).collect::<std::io::Result<Vec<_>>>();
    let forked = forked.map_err(|error| Failure::new(format!("cannot fork a spawner: {error}")))?;
    let pids: Vec<Pid> = forked.iter().flatten().map(Spawner::pid).chain([spawner.pid()]).collect();
    let goals = names.iter().map(|name| goal(args, plan.process(name).map(|p| p.ready.within()))).collect::<Vec<_>>();
    let work = async {
        tambat_check::build(&plan, &layers.all, &layers.raw, spawner).await.map_err(Failure::new)?;
        let mut checks = Checks { plan: plan.clone(), undeclared: is_command, layers, goal: &goals[0], spawner };
        let mut reports = Vec::with_capacity(names.len());
        for ((name, goal), providers) in names.iter().zip(&goals).zip(forked) {
            checks.goal = goal;
            let Some(process) = plan.process(name) else { continue };
            let progress = Progress::of(name.as_str());
            reports.push(check::process(&checks, process, providers, &|step| progress.tell(step)).await?);
        }
        Ok(reports)
    };
    interruptible(&pids, work)
}

async fn of_url(url: &Url, args: &CheckArgs) -> Result<Vec<Report>, Failure> {
    let goal = goal(args, None);
    let progress = Progress::of("the URL");
    let observed = tambat_check::check_url(url, &goal, &|step| progress.tell(step)).await.map_err(Failure::new)?;
    Ok(vec![Report::new(&observed, &goal.selection)])
}

fn goal(args: &CheckArgs, within: Option<std::time::Duration>) -> Goal {
    const BOOT_DEFAULT: std::time::Duration = std::time::Duration::from_mins(1);
    Goal {
        selection: Selection::new(args.only.clone(), args.skip.clone()),
        limits: Limits { boot: args.boot.or(within).unwrap_or(BOOT_DEFAULT), grace: args.grace },
        slow: args.slow.clone(),
        path: args.path.clone(),
    }
}

/// How a piece of work ended.
enum Ended<T> {
    /// By itself.
    Done(Result<T, Failure>),
    /// By a signal: the exit code.
    Interrupted(u8),
}

/// Does it unless a signal comes first. Then whatever was started is ended, and this returns when nothing of it is left.
fn interruptible<T>(spawners: &[Pid], work: impl Future<Output = Result<T, Failure>>) -> Result<Ended<T>, Failure> {
    block_on(async {
        let watch = |kind| signal(kind).map_err(|error| Failure::new(format!("cannot watch signals: {error}")));
        let (mut int, mut term, mut hup) =
            (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?, watch(SignalKind::hangup())?);
        let interrupted = async {
            tokio::select! {
                _ = int.recv() => SignalKind::interrupt(),
                _ = term.recv() => SignalKind::terminate(),
                _ = hup.recv() => SignalKind::hangup(),
            }
        };
        let kind = {
            let work = std::pin::pin!(work);
            tokio::select! {
                done = work => return Ok(Ended::Done(done)),
                kind = interrupted => kind,
            }
        };
        // The work is dropped: its keepers end what they keep.
        check::nothing_left(spawners).await;
        let number = u8::try_from(kind.as_raw_value()).unwrap_or(0);
        Ok(Ended::Interrupted(CODE_SIGNALLED.saturating_add(number)))
    })
}

fn write(reports: &[Report], args: &CheckArgs) {
    let format = if args.json { CheckFormat::Json } else { args.format };
    let colour = if output::color_on_stdout() { Colour::Yes } else { Colour::No };
    match format {
        CheckFormat::Text => output::print(&joined(reports, |report| report::text(report, colour))),
        CheckFormat::Json => reports.iter().for_each(|report| output::print(&report::json(report))),
        CheckFormat::Junit => output::print(report::junit(reports).trim_end()),
        CheckFormat::Markdown => output::print(&joined(reports, report::markdown)),
    }
}

fn joined(reports: &[Report], write: impl Fn(&Report) -> String) -> String {
    reports.iter().map(write).collect::<Vec<_>>().join("\n\n").trim_end().to_owned()
}

/// What is being done, on one line of a terminal, which goes away with it.
struct Progress<'a> {
    name: &'a str,
    is_terminal: bool,
    is_shown: Cell<bool>,
}

impl<'a> Progress<'a> {
    fn of(name: &'a str) -> Self {
        Self { name, is_terminal: std::io::stderr().is_terminal(), is_shown: Cell::new(false) }
    }

    fn tell(&self, step: &str) {
        const COLUMNS: usize = 79;
        if self.is_terminal {
            let line: String = format!("checking {}: {step}...", self.name).chars().take(COLUMNS).collect();
            self.is_shown.set(true);
            write_line(&format!("\r\u{1b}[K{line}"));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.is_shown.get() {
            write_line("\r\u{1b}[K");
        }
    }
}

/// A terminal that is gone needs no words.
fn write_line(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
