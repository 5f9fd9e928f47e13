//! From the spawn of a runner to the first 200 of a trivial app.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    Bench,
    figures::{Table, median, ms, range},
    process::{Running, first_200, pause, refused},
    report::{Bar, Bound, Report},
};
use crate::failure::Failure;

/// Of each runner, in turns, after one that is not counted: what is on disk has been read then.
const ROUNDS: usize = 21;

/// Where the app is reached.
const PORT: u16 = 5_000;

const HONCHO_SETTLES: Duration = Duration::from_millis(300);

const OVERHEAD_MS_MAX: f64 = 15.0;

/// Who runs the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    Alone,
    Tambat,
    Foreman,
    Honcho,
}

impl Runner {
    pub(super) const ALL: [Self; 4] = [Self::Alone, Self::Tambat, Self::Foreman, Self::Honcho];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Alone => "the app alone",
            Self::Tambat => "tambat start",
            Self::Foreman => "foreman start",
            Self::Honcho => "honcho start",
        }
    }

    /// Until it can be stopped: a TERM that honcho gets before it has noted its children's pids reaches none of them,
    /// and no later one does either.
    pub(super) fn settle(self) {
        if self == Self::Honcho {
            pause(HONCHO_SETTLES);
        }
    }

    /// The command that runs the app in `dir`; of a lone app, the app itself.
    pub(super) fn command(self, bench: &Bench, dir: &Path) -> Command {
        match self {
            Self::Alone => {
                let mut app = bench.role("app", &[]);
                app.env("PORT", PORT.to_string());
                app
            }
            Self::Tambat => bench.tambat_start(dir),
            Self::Foreman | Self::Honcho => {
                let program = if self == Self::Foreman { Path::new("foreman") } else { &bench.honcho };
                let mut start = Command::new(program);
                start.args(["start", "-p", &PORT.to_string()]).current_dir(dir).env_remove("PORT");
                start
            }
        }
    }
}

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let dir = bench.app("one", &[("Procfile", &format!("web: exec {}\n", bench.role_line("app")))])?;
    for runner in Runner::ALL {
        once(bench, runner, &dir)?;
    }
    let mut times = [const { Vec::new() }; Runner::ALL.len()];
    let mut more = Vec::new();
    for _ in 0..ROUNDS {
        for (runner, times) in Runner::ALL.into_iter().zip(&mut times) {
            times.push(ms(once(bench, runner, &dir)?));
        }
        let last = |of: &Vec<f64>| of.last().copied().unwrap_or(f64::NAN);
        more.push(last(&times[1]) - last(&times[0]));
    }
    let alone = median(&times[0]);
    let mut table = Table::new(&["", "median, ms", "least–most", "more than the app alone"]);
    for (runner, times) in Runner::ALL.into_iter().zip(&times) {
        let median = median(times);
        table.row(vec![
            runner.name().to_owned(),
            format!("{median:.1}"),
            range(times, 1),
            if runner == Runner::Alone { String::new() } else { format!("{:.1}", median - alone) },
        ]);
    }
    let rounds: Vec<String> = more.iter().map(|more| format!("{more:.1}")).collect();
    report.say(&format!("### Time to the first 200, {ROUNDS} rounds in turns\n\n{table}"));
    report.say(&format!("tambat over the app alone, round by round, ms: {}\n", rounds.join(", ")));
    let what = "time that tambat adds to the app's own boot";
    report.judge(Bar { what: what.to_owned(), bound: Bound::AtMost(OVERHEAD_MS_MAX), seen: median(&more), unit: "ms" });
    Ok(())
}

fn once(bench: &Bench, runner: Runner, dir: &Path) -> Result<Duration, Failure> {
    let command = runner.command(bench, dir);
    let begun = Instant::now();
    let running = Running::start(command)?;
    first_200(PORT)?;
    let time = begun.elapsed();
    runner.settle();
    running.stop()?;
    refused(PORT)?;
    Ok(time)
}
