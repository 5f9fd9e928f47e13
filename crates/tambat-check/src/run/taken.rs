//! A start on a port that somebody else has: tambat itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::stage::{How, Stage};
use super::staged::{Staged, end_of};
use crate::observed::{Look, Taken, Transport, Unseen};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Another port counts when it is still open after this.
const ELSEWHERE_PATIENCE: Duration = Duration::from_millis(500);

/// Starts it on a port that is held. `usual`: the ports that it opens beside its own when all is well.
pub(super) async fn start(stage: &Stage<'_>, usual: &BTreeSet<u16>) -> Look<Taken> {
    let cannot = |error: std::io::Error| Unseen::because(format!("no port could be held: {error}"));
    let port = stage.free_port().map_err(cannot)?;
    let _held = hold(port).map_err(cannot)?;
    let mut staged = stage.start(&How { port: Some(port), ..How::default() }).map_err(Unseen::because)?;
    staged.started().await.map_err(Unseen::because)?;
    let deadline = staged.began + stage.limits.boot;
    let mut elsewhere_since: Option<Instant> = None;
    loop {
        if staged.command_ended() {
            return Ok(ended(&mut staged).await);
        }
        staged.look();
        let other = staged.sightings().listeners().into_iter().find(|listener| {
            let number = listener.addr.port();
            let is_told = staged.told.iter().any(|told| told.number == number);
            listener.transport == Transport::Tcp && !is_told && !usual.contains(&number)
        });
        if let Some(other) = other {
            let since = *elsewhere_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= ELSEWHERE_PATIENCE {
                staged.kill().await;
                return Ok(Taken::Elsewhere(other));
            }
        }
        if Instant::now() >= deadline {
            let after = staged.began.elapsed();
            staged.kill().await;
            return Ok(Taken::Running(after));
        }
        sleep(INTERVAL).await;
    }
}

async fn ended(staged: &mut Staged) -> Taken {
    let after = staged.began.elapsed();
    if !staged.is_over() {
        staged.order(tambat_os::Order::Kill);
    }
    let end = end_of(staged.over().await);
    Taken::Ended { end, after, last_lines: staged.last_lines().await }
}

/// Everywhere, so that no address of this machine is left to bind.
fn hold(port: u16) -> std::io::Result<Vec<TcpListener>> {
    let hosts: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    // A machine without IPv6 has no second one.
    let (v4, v6) = hosts.split_at(1);
    tambat_os::ports::bind_service(port, v4, v6)
}
