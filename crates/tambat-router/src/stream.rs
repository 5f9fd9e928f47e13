//! A stream: its target is found or waited for, then bytes are carried both ways; or its client is turned away.

mod seek;

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tambat_model::{ErrorCode, Protocol, Route};

use crate::access::{EndedBy, How, StreamRecord};
use crate::arrival::Arrival;
use crate::carry::{Carried, Course, End, Leftovers, carry};
use crate::choice::Told;
use crate::connection::serve_http;
use crate::door::{Place, Session, say_last};
use crate::in_traffic::InTraffic;
use crate::listener::Open;
use crate::tls::alerts;
use crate::transport::Transport;
use crate::turn_away::turn_away;
use crate::wanted::Wanted;
use crate::worker::Worker;

use seek::{Found, Seeker, Upstream};
pub(crate) use seek::{RETRY_EVERY_MS, change, dial, until};

/// Serves a connection that wants somebody at its listener: a stream, or one that waits to learn what it is. `before`: what
/// its client has sent already.
pub(crate) fn serve(
    wanted: Wanted,
    client: Transport,
    before: Vec<u8>,
    arrival: Arrival,
    open: Open,
    worker: Rc<Worker>,
) -> impl Future<Output = ()> {
    // Made outside of the future, which would otherwise keep room for its parts.
    let mut stream = Stream { wanted, client, arrival, open, story: Story::new(worker) };
    async move {
        // Boxed: it is over soon, and what carries takes less.
        match Box::pin(stream.seek()).await {
            Found::Target(upstream) => {
                // Boxed: few streams have one.
                let session = stream.session(&upstream).map(Box::new);
                let course = Course {
                    idle: upstream.route.idle,
                    listener: stream.open.listener(),
                    traffic: Some(&upstream.route.traffic),
                    load: &upstream.target.load,
                    session: session.as_deref(),
                    frames: None,
                    worker: &stream.story.worker,
                };
                let leftovers = Leftovers { up: before, down: Vec::new() };
                let carried = carry(&stream.client, &upstream.stream, leftovers, course).await;
                stream.note_carried(&upstream.route, &upstream.target.name, carried);
            }
            Found::Http(told) => {
                let Stream { client, arrival, open, story, .. } = stream;
                serve_http(client, before, arrival, open, story.end(), told);
            }
            Found::Nobody(told) => {
                stream.note_refused(&told);
                // Boxed: few connections come to this, and none should be as big as if it did.
                Box::pin(stream.turn_away(before, told)).await;
            }
            Found::ClientGone => stream.note_gone(),
        }
    }
}

/// A connection that wants somebody.
struct Stream {
    wanted: Wanted,
    client: Transport,
    arrival: Arrival,
    open: Open,
    story: Story,
}

impl Stream {
    async fn seek(&mut self) -> Found {
        let Self { wanted, client, arrival, open, story } = self;
        let worker = Rc::clone(&story.worker);
        let seeker = Seeker { client, arrival, wanted, listener: open.listener(), worker: &worker };
        match seeker.route().and_then(|route| story.begin(&route)) {
            Some(too_many) => Found::Nobody(too_many),
            None => {
                let found = seeker.seek().await;
                if let (None, Found::Target(upstream)) = (&story.counted, &found) {
                    // It came before its route did, and is not sent away for that.
                    let _ = story.begin(&upstream.route);
                }
                found
            }
        }
    }

    /// A session of `PostgreSQL` that can be looked into, so that its queries can be cancelled.
    fn session(&self, upstream: &Upstream) -> Option<Session> {
        let is_one = upstream.route.protocol == Protocol::Postgres && matches!(self.wanted, Wanted::Terminated(_));
        let place = Place { target: upstream.target.addr, proxy_protocol: upstream.route.proxy_protocol };
        is_one.then(|| Session::new(place, &self.story.worker.shared.cancels))
    }

    async fn turn_away(self, before: Vec<u8>, told: Told) {
        let Self { wanted, client, story, open: _open, .. } = self;
        let worker = story.end();
        if wanted.is_passed() {
            say_last(&client, &alerts::INTERNAL_ERROR, &worker).await;
        } else {
            turn_away(client, before, told).await;
        }
    }

    fn note_carried(&self, route: &Route, target: &str, carried: Carried) {
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

    fn note_refused(&self, told: &Told) {
        self.open.listener().refused.fetch_add(1, Ordering::Relaxed);
        let worker = &self.story.worker;
        let traffic = self.story.counted.as_ref().map_or(&*worker.shared.unrouted, InTraffic::traffic);
        traffic.shard(worker.number).error(told.code);
        let table = worker.tables.newest();
        let route = self.wanted.route(&table, self.open.listener().kind).map(|route| route.name.as_str());
        self.note(&StreamRecord { route, code: Some(told.code), ..self.record() });
    }

    fn note_gone(&self) {
        let table = self.story.worker.tables.newest();
        let route = self.wanted.route(&table, self.open.listener().kind).map(|route| route.name.as_str());
        self.note(&StreamRecord { route, ended_by: EndedBy::Client, how: How::Gone, ..self.record() });
    }

    fn record(&self) -> StreamRecord<'_> {
        StreamRecord {
            took: self.story.began.elapsed(),
            tls: self.client.secured().map(|secured| secured.version.name()),
            ..nothing_of(&self.arrival, &self.open, self.wanted.name())
        }
    }

    fn note(&self, record: &StreamRecord<'_>) {
        if let Some(access) = &self.story.worker.access {
            access.record_stream(record);
        }
    }
}

/// What is noted of a stream that has come to nobody.
fn nothing_of<'a>(arrival: &Arrival, open: &Open, name: Option<&'a str>) -> StreamRecord<'a> {
    StreamRecord {
        client: arrival.peer.ip().to_canonical(),
        listener: open.listener().kind,
        port: open.port(),
        name,
        route: None,
        target: None,
        bytes_in: 0,
        bytes_out: 0,
        datagrams: None,
        took: Duration::ZERO,
        ended_by: EndedBy::Router,
        how: How::Refused,
        code: None,
        tls: None,
    }
}

/// Notes and counts that a connection was refused before it was known whose it is. `name`: what it has said.
pub(crate) fn refuse(arrival: &Arrival, open: &Open, worker: &Worker, name: Option<&str>, code: ErrorCode) {
    open.listener().refused.fetch_add(1, Ordering::Relaxed);
    worker.shared.unrouted.shard(worker.number).error(code);
    if let Some(access) = &worker.access {
        access.record_stream(&StreamRecord { code: Some(code), ..nothing_of(arrival, open, name) });
    }
}

/// A stream, counted with its process port until this is dropped.
struct Story {
    began: Instant,
    worker: Rc<Worker>,
    /// By its route; none: it had none when it began, and is counted with none.
    counted: Option<InTraffic>,
}

impl Story {
    fn new(worker: Rc<Worker>) -> Self {
        Self { began: Instant::now(), worker, counted: None }
    }

    /// It is one of this route's. What its client is told where there are as many as may be.
    fn begin(&mut self, route: &Route) -> Option<Told> {
        // Its requests are counted, each by itself.
        if route.protocol.is_http() {
            return None;
        }
        let (counted, is_one_too_many) = InTraffic::begin(route, self.worker.number);
        self.counted = Some(counted);
        let max = route.connections_max.filter(|_| is_one_too_many)?;
        let cause = format!("{} has {max} connections, which is as many as it may", route.name);
        Some(Told { protocol: route.protocol, code: ErrorCode::TooManyConnections, cause })
    }

    /// It is over, or something else.
    fn end(self) -> Rc<Worker> {
        self.worker
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::listener::{ListenerKind, ListenerState};

    /// Nine thousand idle streams: what the runtime has for a task and two sockets comes to some 600 bytes more.
    #[tokio::test]
    async fn the_task_of_an_idle_stream_is_small() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let open = Arc::new(ListenerState::new(ListenerKind::Shared, Arc::default())).opened(80, None);
        let arrival = Arrival::of(([127, 0, 0, 1], 80).into());
        let worker = Worker::with(Arc::default());
        let task = serve(Wanted::Whoever, Transport::Tcp(client), Vec::new(), arrival, open, worker);
        let bytes = size_of_val(&task);
        println!("task {bytes} B");
        assert!(bytes <= 1_000, "{bytes}");
    }
}
