//! A stream: its target is found or waited for, then bytes are carried both ways; or its client is turned away.

mod seek;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tambat_model::{ErrorCode, Protocol, Route, Traffic};

use crate::access::{EndedBy, How, StreamRecord};
use crate::arrival::Arrival;
use crate::carry::{Carried, Course, End, Leftovers, carry};
use crate::choice::Told;
use crate::connection::serve_http;
use crate::door::{Session, say_last};
use crate::listener::Open;
use crate::tls::alerts;
use crate::transport::Transport;
use crate::turn_away::turn_away;
use crate::wanted::Wanted;
use crate::worker::Worker;

use seek::{Found, Seeker};
pub(crate) use seek::{RETRY_EVERY_MS, change, dial, until};

/// Serves a connection that wants somebody at its listener: a stream, or one that waits to learn what it is. `before`: what
/// its client has sent already.
pub(crate) async fn serve(
    wanted: Wanted,
    client: Transport,
    before: Vec<u8>,
    arrival: Arrival,
    open: Open,
    worker: Rc<Worker>,
) {
    let listener = open.listener();
    let seeker = Seeker { client: &client, arrival: &arrival, wanted: &wanted, listener, worker: &worker };
    let story = Story::begin(seeker.route(), &worker);
    let found = match &story.too_many {
        // Boxed: it is over soon, and what carries takes less.
        None => Box::pin(seeker.seek()).await,
        Some(told) => Found::Nobody(Told::clone(told)),
    };
    match found {
        Found::Target(upstream) => {
            // Boxed: few streams have one.
            let session = is_session(&wanted, &upstream.route)
                .then(|| Box::new(Session::new(upstream.target.addr, &worker.shared.cancels)));
            let course = Course {
                idle: upstream.route.idle,
                listener,
                traffic: Some(&upstream.route.traffic),
                load: &upstream.target.load,
                session: session.as_deref(),
                worker: &worker,
            };
            let leftovers = Leftovers { up: before, down: Vec::new() };
            let carried = carry(&client, &upstream.stream, leftovers, course).await;
            let teller = Teller { arrival: &arrival, open: &open, client: &client, wanted: &wanted, story: &story };
            teller.carried(&upstream.route, &upstream.target.name, carried);
        }
        Found::Http(told) => {
            drop(story);
            serve_http(client, before, arrival, open, worker, told);
        }
        Found::Nobody(told) => {
            listener.refused.fetch_add(1, Ordering::Relaxed);
            let teller = Teller { arrival: &arrival, open: &open, client: &client, wanted: &wanted, story: &story };
            teller.refused(&told);
            drop(story);
            // Boxed: few connections come to this, and none should be as big as if it did.
            if wanted.is_passed() {
                Box::pin(say_last(&client, &alerts::INTERNAL_ERROR, &worker)).await;
            } else {
                Box::pin(turn_away(client, before, told)).await;
            }
        }
        Found::ClientGone => {
            Teller { arrival: &arrival, open: &open, client: &client, wanted: &wanted, story: &story }.gone();
        }
    }
}

/// Is it a session of `PostgreSQL` that can be looked into, so that its queries can be cancelled?
fn is_session(wanted: &Wanted, route: &Route) -> bool {
    route.protocol == Protocol::Postgres && matches!(wanted, Wanted::Terminated(_))
}

/// Notes and counts that a connection was refused before it was known whose it is. `name`: what it has said.
pub(crate) fn refuse(arrival: &Arrival, open: &Open, worker: &Worker, name: Option<&str>, code: ErrorCode) {
    let listener = open.listener();
    listener.refused.fetch_add(1, Ordering::Relaxed);
    worker.shared.unrouted.shard(worker.number).error(code);
    if let Some(access) = &worker.access {
        access.record_stream(&StreamRecord {
            client: arrival.peer.ip().to_canonical(),
            listener: listener.kind,
            name,
            route: None,
            target: None,
            bytes_in: 0,
            bytes_out: 0,
            took: Duration::ZERO,
            ended_by: EndedBy::Router,
            how: How::Refused,
            code: Some(code),
            tls: None,
        });
    }
}

/// A stream, counted with its process port until this is dropped.
struct Story {
    began: Instant,
    worker: Rc<Worker>,
    /// Those of its route; none: it had none when it began, and is counted with none.
    traffic: Option<Arc<Traffic>>,
    /// There are as many as may be.
    too_many: Option<Box<Told>>,
}

impl Story {
    fn begin(route: Option<Arc<Route>>, worker: &Rc<Worker>) -> Self {
        let mut story = Self { began: Instant::now(), worker: Rc::clone(worker), traffic: None, too_many: None };
        if let Some(route) = route.filter(|route| !route.protocol.is_http()) {
            route.traffic.shard(worker.number).stream();
            let before = route.traffic.open_stream();
            story.too_many = route.connections_max.filter(|max| before >= max.get() as usize).map(|max| {
                let cause = format!("{} has {max} connections, which is as many as it may", route.name);
                Box::new(Told { protocol: route.protocol, code: ErrorCode::TooManyConnections, cause })
            });
            story.traffic = Some(Arc::clone(&route.traffic));
        }
        story
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if let Some(traffic) = &self.traffic {
            traffic.shard(self.worker.number).stream_ended();
            traffic.close_stream();
        }
    }
}

/// What is known of a stream when it is over.
struct Teller<'a> {
    arrival: &'a Arrival,
    open: &'a Open,
    client: &'a Transport,
    wanted: &'a Wanted,
    story: &'a Story,
}

impl Teller<'_> {
    fn carried(&self, route: &Route, target: &str, carried: Carried) {
        let how = match carried.end {
            End::Finished => How::Fin,
            End::Broken => How::Reset,
            End::Idle => How::Idle,
            End::Cut => How::Drained,
        };
        let (route, target) = (Some(&*route.name), Some(target));
        let (bytes_in, bytes_out, ended_by) = (carried.up_bytes, carried.down_bytes, carried.by);
        self.note(&StreamRecord { route, target, bytes_in, bytes_out, ended_by, how, ..self.record() });
    }

    fn refused(&self, told: &Told) {
        let worker = &self.story.worker;
        let traffic = self.story.traffic.as_ref().unwrap_or(&worker.shared.unrouted);
        traffic.shard(worker.number).error(told.code);
        let table = worker.tables.newest();
        let route = self.wanted.route(&table, self.open.listener().kind).map(|route| route.name.as_str());
        self.note(&StreamRecord { route, code: Some(told.code), ..self.record() });
    }

    fn gone(&self) {
        let table = self.story.worker.tables.newest();
        let route = self.wanted.route(&table, self.open.listener().kind).map(|route| route.name.as_str());
        self.note(&StreamRecord { route, ended_by: EndedBy::Client, how: How::Gone, ..self.record() });
    }

    fn record(&self) -> StreamRecord<'_> {
        StreamRecord {
            client: self.arrival.peer.ip().to_canonical(),
            listener: self.open.listener().kind,
            name: self.wanted.name(),
            route: None,
            target: None,
            bytes_in: 0,
            bytes_out: 0,
            took: self.story.began.elapsed(),
            ended_by: EndedBy::Router,
            how: How::Refused,
            code: None,
            tls: self.client.secured().map(|secured| secured.version.name()),
        }
    }

    fn note(&self, record: &StreamRecord<'_>) {
        if let Some(access) = &self.story.worker.access {
            access.record_stream(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::listener::{ListenerKind, ListenerState};
    use crate::router::Shared;
    use crate::settings::RouterSettings;

    /// Nine thousand idle streams: what the runtime has for a task and two sockets comes to some 600 bytes more.
    #[tokio::test]
    async fn the_task_of_an_idle_stream_is_small() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_tables, seen) = watch::channel(Arc::default());
        let (reports, _seen) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(seen, reports, RouterSettings::default(), Vec::new()));
        let open = Arc::new(ListenerState::new(ListenerKind::Shared, Arc::default())).opened(80, None);
        let arrival = Arrival::of(([127, 0, 0, 1], 80).into());
        let worker = Worker::new(0, shared);
        let task = serve(Wanted::Whoever, Transport::Tcp(client), Vec::new(), arrival, open, worker);
        let bytes = size_of_val(&task);
        println!("task {bytes} B");
        assert!(bytes <= 1_600, "{bytes}");
    }
}
