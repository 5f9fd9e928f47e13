//! The accept loop of one listening socket.
//!
//! Each socket is accepted by one worker, which deals the connections out to all of them in turn. Workers that accepted
//! from duplicates of one socket would all be woken by each connection, and whichever is awake most would end up with
//! most of them; and there would be as many pauses to keep when descriptors run out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::port::PortState;
use crate::report::RouterReport;
use crate::router::Shared;

/// How long accepting rests when descriptors or memory have run out: nothing tells when there are some again.
const PAUSE_MS: u64 = 100;

/// How often a pause is reported for one listener.
const PAUSE_REPORT_EVERY_S: u64 = 60;

/// How many connections are accepted in one go, so that a flood of them leaves the streams of this thread their turn.
const BATCH: usize = 64;

/// Accepts connections and deals them out until it is cancelled or the socket is no listener any more.
pub(crate) async fn accept(listener: std::net::TcpListener, port: Arc<PortState>, shared: Arc<Shared>) {
    let cause = match TcpListener::from_std(listener) {
        Ok(listener) => Acceptor { listener, port: &port, shared: &shared, reported: None }.run().await,
        Err(error) => error,
    };
    shared.reports.send(RouterReport::ListenerLost { port: port.number, cause: cause.to_string() });
}

struct Acceptor<'a> {
    listener: TcpListener,
    port: &'a Arc<PortState>,
    shared: &'a Shared,
    reported: Option<Instant>,
}

/// What an error of `accept` means.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// This one connection went away again.
    Passing,
    /// There is nothing to make a connection of.
    Exhausted,
    /// The socket is of no use.
    Fatal,
}

impl Acceptor<'_> {
    async fn run(&mut self) -> io::Error {
        loop {
            for _ in 0..BATCH {
                let max = self.shared.settings.connections_max;
                if self.port.all_open() >= max {
                    self.pause(&format!("{max} connections are open, which is as many as there may be")).await;
                    continue;
                }
                // It may be served on another thread, whose runtime then watches it.
                match self.listener.accept().await.and_then(|(client, _)| client.into_std()) {
                    Ok(client) => self.shared.deal(client, self.port.opened()),
                    Err(error) => match trouble(&error) {
                        Trouble::Passing => {}
                        Trouble::Exhausted => self.pause(&error.to_string()).await,
                        Trouble::Fatal => return error,
                    },
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn pause(&mut self, cause: &str) {
        self.port.accept_pauses.fetch_add(1, Ordering::Relaxed);
        let every = Duration::from_secs(PAUSE_REPORT_EVERY_S);
        if self.reported.is_none_or(|at| at.elapsed() >= every) {
            self.reported = Some(Instant::now());
            let report = RouterReport::AcceptPaused { port: self.port.number, cause: cause.to_owned() };
            self.shared.reports.send(report);
        }
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

/// What is not known (`EMFILE` and its kin have no kind of their own, nor have most errors of the network that accept(2)
/// passes on) is met with a pause: whatever it is, it cannot make the loop spin.
fn trouble(error: &io::Error) -> Trouble {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::InvalidInput | Kind::Unsupported | Kind::NotConnected => Trouble::Fatal,
        Kind::ConnectionAborted | Kind::Interrupted | Kind::ConnectionReset => Trouble::Passing,
        _ => Trouble::Exhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_told_apart() {
        let of = |code| trouble(&io::Error::from_raw_os_error(code));
        // ECONNABORTED, EINTR
        assert_eq!((of(103), of(4)), (Trouble::Passing, Trouble::Passing));
        // EMFILE, ENFILE, ENOBUFS, ENOMEM
        assert_eq!([24, 23, 105, 12].map(of), [const { Trouble::Exhausted }; 4]);
        // EINVAL (no listener any more), EOPNOTSUPP
        assert_eq!((of(22), of(95)), (Trouble::Fatal, Trouble::Fatal));
    }
}
