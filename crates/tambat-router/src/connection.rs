//! The life of one connection: a target is found or waited for, then bytes are carried; or it is turned away.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_model::{Admitted, RouteTable};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use crate::carry::{End, Scratch, carry};
use crate::choice::{Choice, Chosen, Hold, Patience, Told, Tried, choose};
use crate::port::{Open, PortState};
use crate::report::RouterReport;
use crate::router::Shared;
use crate::socket::{gone, prepare, reset_on_close};
use crate::turn_away::turn_away;

/// How often the targets are tried again that did not take a connection while the table says that they serve: the
/// table changes as a rule, but a target that comes back before anybody looked changes nothing.
const RETRY_EVERY_MS: u64 = 1_000;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(client: TcpStream, open: Open, shared: Arc<Shared>, scratch: Arc<Scratch>) {
    let port = open.port();
    prepare(&client);
    match (Seeker { client: &client, port, shared: &shared }).seek().await {
        Found::Target { stream, idle, admitted } => {
            if carry(&client, &stream, idle, port, &scratch).await == End::Broken {
                reset_on_close(&client);
                reset_on_close(&stream);
            }
            drop(admitted);
        }
        Found::Nobody(told) => {
            port.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // Boxed: few connections come to this, and none should be as big as if it did.
            Box::pin(turn_away(client, told)).await;
        }
        Found::ClientGone => {}
    }
}

enum Found {
    /// A connection to it, and the proof that it counts this one.
    Target {
        stream: TcpStream,
        idle: Option<Duration>,
        admitted: Admitted,
    },
    Nobody(Told),
    ClientGone,
}

/// A connection in search of its target.
struct Seeker<'a> {
    client: &'a TcpStream,
    port: &'a Arc<PortState>,
    shared: &'a Shared,
}

impl Seeker<'_> {
    async fn seek(&self) -> Found {
        let mut tried = Tried::default();
        loop {
            let choice = choose(&self.shared.tables.borrow(), self.port.number, &self.port.cursor, &tried);
            match choice {
                Choice::Serve(chosen) => {
                    if let Some(found) = self.dial(chosen, &mut tried).await {
                        return found;
                    }
                }
                Choice::Refuse(told) => return Found::Nobody(told),
                // Boxed: as above.
                Choice::Wait(hold) => return Box::pin(self.wait(hold, tried)).await,
            }
        }
    }

    /// The target's side of the connection; none: it was not to be had, and that is noted.
    async fn dial(&self, chosen: Chosen, tried: &mut Tried) -> Option<Found> {
        let addr = chosen.target.addr;
        match dial(addr, self.shared.settings.connect_timeout).await {
            Ok(stream) => Some(Found::Target { stream, idle: chosen.idle, admitted: chosen.admitted }),
            Err(error) => {
                let name = &chosen.target.name;
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    tried.push(addr, format!("{name} refused the connection"));
                    let generation = chosen.target.generation;
                    self.shared.reports.send(RouterReport::Refused { target: name.clone(), generation, addr });
                } else {
                    tried.push(addr, format!("cannot connect to {name}: {error}"));
                }
                None
            }
        }
    }

    /// Waits for a table that has a target for it.
    async fn wait(&self, first: Hold, mut tried: Tried) -> Found {
        let max = self.shared.settings.waiting_max;
        let Some(_waits) = self.port.waits(max) else {
            let cause = format!("{} (and {max} connections wait for it already)", first.told.cause);
            return Found::Nobody(Told { cause, ..first.told });
        };
        self.shared.reports.send(RouterReport::Waiting { port: self.port.number });
        let mut wait = Wait {
            tables: self.shared.tables.clone(),
            patience: Patience::default(),
            gone: Box::pin(gone(self.client)),
        };
        loop {
            let choice = choose(&wait.tables.borrow_and_update(), self.port.number, &self.port.cursor, &tried);
            let hold = match choice {
                Choice::Serve(chosen) => match self.dial(chosen, &mut tried).await {
                    Some(found) => return found,
                    None => continue,
                },
                Choice::Refuse(told) => return Found::Nobody(told),
                Choice::Wait(hold) => hold,
            };
            match wait.until_news(&hold).await {
                News::TryAgain => tried.clear(),
                News::ClientGone => return Found::ClientGone,
                News::TooLate => return Found::Nobody(too_late(&hold)),
            }
        }
    }
}

/// What ends one round of waiting.
enum News {
    TryAgain,
    ClientGone,
    TooLate,
}

struct Wait<G> {
    tables: watch::Receiver<Arc<RouteTable>>,
    patience: Patience,
    gone: G,
}

impl<G: Future<Output = ()> + Unpin> Wait<G> {
    async fn until_news(&mut self, hold: &Hold) -> News {
        let deadline = self.patience.deadline(hold.limit, Instant::now());
        let tables = &mut self.tables;
        tokio::select! {
            biased;
            () = &mut self.gone => News::ClientGone,
            () = change(tables) => News::TryAgain,
            () = until(deadline) => News::TooLate,
            () = sleep(Duration::from_millis(RETRY_EVERY_MS)), if hold.retry => News::TryAgain,
        }
    }
}

/// Ends with the next table; never when there will be none.
async fn change(tables: &mut watch::Receiver<Arc<RouteTable>>) {
    if tables.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn too_late(hold: &Hold) -> Told {
    let waited = hold.limit.unwrap_or_default();
    Told {
        cause: format!("{} (after a wait of {} s)", hold.told.cause, waited.as_secs_f32()),
        protocol: hold.told.protocol,
    }
}

async fn dial(addr: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = timeout(limit, TcpStream::connect(addr)).await.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs_f32()))
    })??;
    prepare(&stream);
    Ok(stream)
}
