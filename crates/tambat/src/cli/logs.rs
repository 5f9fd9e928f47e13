//! `tambat logs`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tambat_api::LogRecord;

use super::running::{Running, block_on, encode, up_to_app};
use super::{LogFormat, LogsArgs};
use crate::daemon::{Look, Past, StateDir};
use crate::failure::Failure;
use crate::output;

/// What stands before lines of nobody's: tambat's own, and the build's.
const SOURCES: [&str; 2] = ["tambat", "build"];

/// How often it is looked whether anybody still reads.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// `tambat logs [PROCESS] [-f]`. What an app wrote in its last run can be read when it does not run any more.
pub(crate) fn run(dir: &Path, args: &LogsArgs) -> Result<ExitCode, Failure> {
    let ended = block_on(async {
        let running = match Running::find(dir).await {
            Ok(running) => running,
            Err(failure) if args.follow => return Err(failure),
            Err(failure) => return Ok(Some(failure)),
        };
        if let Some(of) = args.process.as_ref().filter(|of| !SOURCES.contains(&of.as_str())) {
            running.process_or_default(Some(of.split_once('.').map_or(of.as_str(), |(process, _)| process)))?;
        }
        let of = args.process.as_deref().map(|p| format!("&process={}", encode(p))).unwrap_or_default();
        let path = running.path(&format!("logs?lines={}&follow={}{of}", args.lines, args.follow));
        let look = look(args, running.status.processes.iter().map(|p| p.name.clone()).collect());
        let mut lines = running.client.lines(&path).await?;
        loop {
            let record = tokio::select! {
                record = lines.next::<LogRecord>() => record,
                () = reader_gone() => None,
            };
            let Some(record) = record else { return Ok(None) };
            if !show(&look, &record?) {
                return Ok(None);
            }
        }
    })?;
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => last_run(dir, args, failure),
    }
}

/// `tambat logs -f | head` ends when head does, also when no more lines come.
async fn reader_gone() {
    while !tambat_os::terminal::reader_has_gone(std::io::stdout()) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn last_run(dir: &Path, args: &LogsArgs, failure: Failure) -> Result<ExitCode, Failure> {
    let wanted = |record: &LogRecord| args.process.as_deref().is_none_or(|of| crate::daemon::is_of(record, of));
    let folders = up_to_app(dir).filter_map(|dir| StateDir::of(dir).ok());
    let Some(records) =
        folders.map(|state| Past::open(state.path()).tail(args.lines, wanted)).find(|records| !records.is_empty())
    else {
        return Err(failure);
    };
    output::say("tambat: it does not run; these are the last lines that it wrote");
    let look = look(args, Vec::new());
    let _ = records.iter().all(|record| show(&look, record));
    Ok(ExitCode::SUCCESS)
}

fn look(args: &LogsArgs, names: Vec<String>) -> Look {
    let color = output::color_on_stdout();
    Look {
        format: if args.json { LogFormat::Json } else { LogFormat::Text },
        timestamp: true,
        color_out: color,
        color_err: color,
        tty: std::io::IsTerminal::is_terminal(&std::io::stdout()),
        app: None,
        width: Look::width_of(names.iter().map(String::as_str)) + 2,
        names,
    }
}

/// Facts, all of them: here the lines of tambat itself go to standard output too. False when nobody reads any more.
fn show(look: &Look, record: &LogRecord) -> bool {
    output::try_print(look.render(record).trim_end_matches('\n')).is_ok()
}
