//! A start while its backing services are away, which come five seconds later.

use std::time::Duration;

use tambat_model::{PortKey, Restart};
use tokio::time::{Instant, sleep_until};

use super::boot::boot;
use super::recorder::Closed;
use super::stage::{How, Stage};
use crate::observed::{Away, Boot, End, Look, Unseen};

/// For so long nobody answers where its handles lead.
const AWAY: Duration = Duration::from_secs(5);

/// Between an end and the next start, as whoever starts it waits: longer each time, up to the last.
const BACKOFF_MS: [u64; 6] = [100, 200, 400, 800, 1_600, 3_000];

/// So often a supervisor starts what fails before it gives up.
const ENDS_MAX: usize = 12;

/// Starts it so, and again as its `restart` says.
pub(super) async fn start(stage: &Stage<'_>) -> Look<Away> {
    let providers = &stage.subject.providers;
    if providers.is_empty() {
        return Err(Unseen::because("it uses no backing service that is started here"));
    }
    let cannot = |error: std::io::Error| Unseen::because(format!("no port could be held: {error}"));
    let closed = providers.iter().map(Closed::new).collect::<Result<Vec<_>, _>>().map_err(cannot)?;
    let handles: Vec<(PortKey, u16)> = closed.iter().map(Closed::handle).collect();
    let opens = Instant::now() + AWAY;
    let opened = async {
        sleep_until(opens).await;
        closed.into_iter().map(Closed::open).collect::<Result<Vec<_>, _>>()
    };
    let (opened, watched) = tokio::join!(opened, survive(stage, &handles, opens));
    opened.map_err(cannot)?.iter().for_each(tokio::task::JoinHandle::abort);
    let (ends, answers, last_lines) = watched?;
    let vars = providers.iter().map(|provider| provider.var.clone()).collect();
    Ok(Away { vars, away: AWAY, ends, answers, last_lines })
}

type Survived = (Vec<End>, crate::observed::Reply, Vec<String>);

async fn survive(stage: &Stage<'_>, handles: &[(PortKey, u16)], opens: Instant) -> Look<Survived> {
    let mut ends = Vec::new();
    loop {
        let how = How { handles: Some(handles), ..How::default() };
        let mut staged = stage.start(&how).map_err(Unseen::because)?;
        // One that waits for its services has the whole limit once they are there.
        let limit = stage.limits.boot + opens.saturating_duration_since(Instant::now());
        let (mut start, booted) = boot(&mut staged, &stage.patience(limit)).await;
        if let Some(booted) = booted {
            // It is there; and it must still be there when its services are.
            sleep_until(opens + Duration::from_millis(BACKOFF_MS[0])).await;
            if !staged.command_ended() {
                let answer = booted.request.ask(booted.addr, stage.limits.boot).await;
                let last_lines = staged.last_lines().await;
                staged.kill().await;
                return Ok((ends, answer, last_lines));
            }
            let end = staged.kill().await;
            start.boot = Boot::Ended { end, after: staged.began.elapsed(), left: Vec::new() };
            start.last_lines = staged.last_lines().await;
        }
        staged.kill().await;
        let Boot::Ended { end, .. } = start.boot else {
            return Ok((ends, Err("it did not answer".to_owned()), start.last_lines));
        };
        let comes_back = match stage.process.restart {
            Restart::Always => true,
            Restart::OnFailure => end != End::Code(0),
            Restart::Never => false,
        };
        ends.push(end);
        if !comes_back || ends.len() >= ENDS_MAX {
            return Ok((ends, Err("it ended".to_owned()), start.last_lines));
        }
        let pause = BACKOFF_MS[(ends.len() - 1).min(BACKOFF_MS.len() - 1)];
        sleep_until(Instant::now() + Duration::from_millis(pause)).await;
    }
}
