//! Fifty processes: how long until all are ready, and what they cost while nothing happens.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Bench,
    boot::Runner,
    figures::{Table, float, median, ms, range},
    process::{Running, first_200, pause, refused},
    procfs,
    report::{Bar, Bound, Report},
};
use crate::failure::Failure;

const PROCESSES: u16 = 50;

const ROUNDS: usize = 3;

/// After all are ready: allocators and caches have come to rest then.
const SETTLE: Duration = Duration::from_secs(3);

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(12);

const MEMORY_MIB_MAX: f64 = 25.0;

const WAKE_UPS_A_SECOND_MAX: f64 = 1.0;

/// What a runner itself costs while its processes idle.
struct Idle {
    processes: usize,
    memory: procfs::Memory,
    wake_ups: f64,
    processor: Duration,
}

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let (mut procfile, mut manifest) = (String::new(), String::new());
    for nth in 1..=PROCESSES {
        // Writing to a string cannot fail.
        let _ = writeln!(procfile, "p{nth}: exec {}", bench.role_line("app"));
        let _ = writeln!(manifest, "[processes.p{nth}]\nprotocol = \"http\"");
    }
    let dir = bench.app("fifty", &[("Procfile", &procfile), ("tambat.toml", &manifest)])?;
    let mut times = [const { Vec::new() }; Runner::ALL.len()];
    let mut costs = [const { None }; Runner::ALL.len()];
    for round in 0..=ROUNDS {
        for (nth, runner) in Runner::ALL.into_iter().enumerate() {
            let (time, running) = start(bench, runner, &dir)?;
            // The first round only brings what is on disk into memory.
            if round > 0 {
                times[nth].push(ms(time));
            }
            if let (true, [Running { .. }]) = (round == ROUNDS && runner != Runner::Alone, &running[..]) {
                costs[nth] = Some(idle(&running[0])?);
            }
            runner.settle();
            running.into_iter().try_for_each(Running::stop)?;
            (0..PROCESSES).try_for_each(|nth| refused(port(nth)))?;
        }
    }
    print(report, &times, &costs);
    if let Some(tambat) = &costs[1] {
        let mib = float(tambat.memory.pss) / 1024.0;
        let what = "memory of tambat with 50 idle processes (PSS)";
        report.judge(Bar { what: what.to_owned(), bound: Bound::AtMost(MEMORY_MIB_MAX), seen: mib, unit: "MiB" });
        let what = "wake-ups of tambat while 50 processes idle";
        let bound = Bound::AtMost(WAKE_UPS_A_SECOND_MAX);
        report.judge(Bar { what: what.to_owned(), bound, seen: tambat.wake_ups, unit: "a second" });
    }
    Ok(())
}

fn port(nth: u16) -> u16 {
    5_000 + 100 * nth
}

/// Starts them all, and waits until each has answered. Alone they are as many programs, started one after the other
/// without waiting.
fn start(bench: &Bench, runner: Runner, dir: &Path) -> Result<(Duration, Vec<Running>), Failure> {
    let begun = Instant::now();
    let count = if runner == Runner::Alone { PROCESSES } else { 1 };
    let all = (0..count).map(|nth| {
        let mut command = runner.command(bench, dir);
        if runner == Runner::Alone {
            command.env("PORT", port(nth).to_string());
        }
        Running::start(command)
    });
    let running = all.collect::<Result<Vec<_>, _>>()?;
    (0..PROCESSES).try_for_each(|nth| first_200(port(nth)))?;
    Ok((begun.elapsed(), running))
}

fn idle(runner: &Running) -> Result<Idle, Failure> {
    pause(SETTLE);
    let pids = procfs::own_processes(runner.pid())?;
    let processor = || pids.iter().map(|pid| procfs::processor_time(*pid)).sum::<Result<Duration, Failure>>();
    let (sleeps, used, begun) = (procfs::sleeps(&pids), processor()?, Instant::now());
    pause(IDLE);
    let wake_ups = float(procfs::sleeps(&pids) - sleeps) / begun.elapsed().as_secs_f64();
    let processor = processor()?.saturating_sub(used);
    Ok(Idle { processes: pids.len(), memory: procfs::memory(&pids)?, wake_ups, processor })
}

fn print(report: &Report, times: &[Vec<f64>], costs: &[Option<Idle>]) {
    let mut table = Table::new(&["", "all ready, median ms", "least–most"]);
    for (runner, times) in Runner::ALL.into_iter().zip(times) {
        let name = if runner == Runner::Alone { "the apps alone" } else { runner.name() };
        table.row(vec![name.to_owned(), format!("{:.0}", median(times)), range(times, 0)]);
    }
    report.say(&format!("### {PROCESSES} processes, started at once, {ROUNDS} rounds in turns\n\n{table}"));
    let processor = format!("processor time in {} s, ms", IDLE.as_secs());
    let head = ["the runner's own processes", "number", "PSS, MiB", "RSS, MiB", "wake-ups a second", &processor];
    let mut table = Table::new(&head);
    for (runner, cost) in Runner::ALL.into_iter().zip(costs) {
        let Some(cost) = cost else { continue };
        table.row(vec![
            runner.name().to_owned(),
            cost.processes.to_string(),
            format!("{:.1}", float(cost.memory.pss) / 1024.0),
            format!("{:.1}", float(cost.memory.rss) / 1024.0),
            format!("{:.2}", cost.wake_ups),
            format!("{:.0}", ms(cost.processor)),
        ]);
    }
    report.say(&format!("While they idle:\n\n{table}"));
}
