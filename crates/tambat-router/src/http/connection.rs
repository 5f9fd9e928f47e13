//! The life of one client connection: request after request, until one side has had enough.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tambat_model::{ErrorCode, Target};
use tambat_wire::http1::{After, BodyRules, Exchange, Fault, Over, Side};

use super::active::{Active, Upstream};
use super::end::Linger;
use super::flow::Unsent;
use super::inbox::Inbox;
use super::pump::{Halt, Now, Pump};
use crate::access::EndedBy;
use crate::arrival::Arrival;
use crate::choice::Told;
use crate::deadlines::Deadline;
use crate::http2;
use crate::listener::Open;
use crate::pool::Own;
use crate::queue::Counted;
use crate::transport::Transport;
use crate::worker::Worker;

/// A client's connection. While it is idle, this and what the runtime has is all there is of it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Shared with what waits for its end.
    pub(super) client: Rc<Transport>,
    pub(super) worker: Rc<Worker>,
    pub(super) open: Open,
    pub(super) arrival: Arrival,
    pub(super) deadline: Deadline,
    pub(super) inbox: Inbox,
    /// An answer of the router's own, as far as it was not taken.
    pub(super) outbox: Unsent,
    /// The request that is being served.
    pub(super) active: Option<Box<Active>>,
    /// What every request here is told, in place of being served.
    pub(super) told: Option<Box<Told>>,
    pub(super) phase: Phase,
    /// Connections to targets that are its alone, once there was one.
    pub(super) own: Option<Own>,
    /// Is its word on where requests come from taken?
    pub(super) trusts_peer: bool,
    /// Was nothing asked yet? It may turn out to speak HTTP/2.
    pub(super) is_new: bool,
}

/// Where a connection is when it serves no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has come yet.
    Fresh,
    /// Nothing has come yet, and the router drains.
    LastChance,
    /// It has served a request, and nothing has come since.
    Idle,
    /// The beginning of a head is there.
    InHead,
    /// It is closed once everything is sent.
    Closing,
    /// The same, and the client may still be sending: it gets time to read its answer.
    ClosingPatiently,
    /// It is closed at once.
    Closed,
}

impl Phase {
    pub(super) fn is_closing(self) -> bool {
        matches!(self, Self::Closing | Self::ClosingPatiently | Self::Closed)
    }
}

/// A target, and the proof that the request is counted there.
pub(super) type Chosen = (Arc<Target>, Counted);

/// What follows a head.
#[derive(Debug)]
pub(super) enum Step {
    /// It has its connection to a target.
    Exchange,
    /// It needs one: to this target, where one is chosen.
    Seek(Option<Chosen>),
    /// It is no head: the client speaks HTTP/2.
    Http2,
}

/// What follows an exchange.
#[derive(Debug)]
enum Turn {
    Done,
    /// It is sent again, to the same target on a fresh connection.
    Retry(Chosen),
    Tunnel(Upstream),
}

/// Serves a client's connection to its end. `before`: what the client has sent already. `told`: what each request is told
/// in place of being served.
pub(crate) fn serve(
    client: Transport,
    before: &[u8],
    arrival: Arrival,
    open: Open,
    worker: Rc<Worker>,
    told: Option<Told>,
) -> impl Future<Output = ()> + use<> {
    // Made outside of the future, which would otherwise keep room for its parts.
    let mut connection = Connection::new(client, arrival, open, worker, told);
    connection.inbox.push(before);
    async move {
        connection.listen_to_deadline().await;
        while let Some(step) = poll_fn(|cx| connection.poll_request(cx)).await {
            // What few requests come to is boxed: no task should be as big as if it did.
            let mut has_target = match step {
                Step::Exchange => true,
                Step::Seek(chosen) => Box::pin(connection.seek(chosen)).await,
                Step::Http2 => {
                    connection.into_http2().await;
                    return;
                }
            };
            while has_target {
                has_target = match poll_fn(|cx| connection.poll_exchange(cx)).await {
                    Turn::Done => false,
                    Turn::Retry(chosen) => Box::pin(connection.seek(Some(chosen))).await,
                    Turn::Tunnel(upstream) => {
                        Box::pin(connection.tunnel(upstream)).await;
                        return;
                    }
                };
            }
        }
        if connection.needs_patience() {
            connection.begin_to_linger();
            let mut linger = Linger::default();
            poll_fn(|cx| connection.poll_linger(cx, &mut linger)).await;
        } else if connection.phase == Phase::Closing {
            connection.client.farewell();
        }
    }
}

impl Connection {
    pub(super) fn new(client: Transport, arrival: Arrival, open: Open, worker: Rc<Worker>, told: Option<Told>) -> Self {
        let deadline = worker.deadlines.deadline();
        let is_new = !client.is_stream();
        // The head of a stream's request is there.
        if is_new {
            deadline.set(Instant::now(), Some(worker.shared.settings.head_timeout));
        }
        Self {
            trusts_peer: arrival.is_trusted(&worker.shared.settings),
            client: Rc::new(client),
            open,
            arrival,
            deadline,
            inbox: Inbox::default(),
            outbox: Unsent::default(),
            active: None,
            told: told.map(Box::new),
            phase: Phase::Fresh,
            own: None,
            is_new,
            worker,
        }
    }

    /// The rest of its life, when it has turned out to speak HTTP/2.
    fn into_http2(self) -> impl Future<Output = ()> {
        let before = self.inbox.into_bytes();
        let told = self.told.map(|told| *told);
        http2::serve(self.client, before, self.arrival, self.open, self.worker, told)
    }

    /// From now on the task is woken at its deadline.
    async fn listen_to_deadline(&self) {
        poll_fn(|cx| {
            self.deadline.wakes(cx.waker());
            Poll::Ready(())
        })
        .await;
    }

    /// One turn of the exchange that is on.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let worker = Rc::clone(&self.worker);
        let Some((active, mut upstream)) = self.active.as_deref_mut().and_then(|active| {
            let upstream = active.upstream.take()?;
            Some((active, upstream))
        }) else {
            return Poll::Ready(Turn::Done);
        };
        let polled = {
            let mut tools = worker.tools.borrow_mut();
            let mut pump = Pump {
                active: &mut *active,
                upstream: &mut upstream,
                client: &self.client,
                inbox: &mut self.inbox,
                worker: &worker,
                tools: tools.ready(),
                deadline: &self.deadline,
                now: Now::default(),
            };
            pump.poll(cx)
        };
        Poll::Ready(match polled {
            Poll::Pending => {
                active.upstream = Some(upstream);
                return Poll::Pending;
            }
            Poll::Ready(Ok(over)) => self.over(over, upstream),
            Poll::Ready(Err(Halt::Retry)) => {
                active.again(&worker);
                Turn::Retry((upstream.target, upstream.counted))
            }
            Poll::Ready(Err(Halt::Fault(fault))) => {
                self.fault(fault, &upstream.target);
                Turn::Done
            }
        })
    }

    /// The answer is complete, and sent.
    fn over(&mut self, over: Over, upstream: Upstream) -> Turn {
        let Some(active) = &mut self.active else {
            return Turn::Done;
        };
        if over.client == After::Tunnel {
            return Turn::Tunnel(upstream);
        }
        let (now, status) = (active.moved, active.exchange.final_status().unwrap_or_default());
        let is_own = active.route.as_ref().is_some_and(|route| route.proxy_protocol.is_some());
        self.phase = match over.client {
            After::Keep if !self.client.is_stream() => Phase::Idle,
            _ if active.exchange.request_is_whole() => Phase::Closing,
            _ => Phase::ClosingPatiently,
        };
        self.end(Some(&upstream.target), status, None, EndedBy::Target);
        if over.target == After::Keep
            && let Transport::Tcp(stream) = upstream.stream
        {
            if is_own {
                let own = self.own.get_or_insert_with(|| Own::of(&self.worker));
                own.put(&upstream.target, stream, now);
            } else {
                self.worker.pool.put(&upstream.target, stream, now);
            }
        }
        if self.phase == Phase::Idle {
            self.await_request(now);
        }
        Turn::Done
    }

    /// The exchange has come to nothing: the client is told, or, where its answer has begun, cut off.
    fn fault(&mut self, fault: Fault, target: &Target) {
        let Some(active) = &self.active else {
            return;
        };
        if !active.exchange.response_begun() && active.down.is_clear() && fault.code != ErrorCode::ClientClosed {
            self.reply_fault(fault, target);
            return;
        }
        // Nobody may take what was sent for a whole answer.
        self.client.reset_on_close();
        self.phase = Phase::Closed;
        let status = active.exchange.final_status().unwrap_or(fault.code.status());
        let ended_by = match fault.code {
            ErrorCode::ClientClosed => EndedBy::Client,
            _ if fault.side == Side::Client || fault.code == ErrorCode::ResponseTimeout => EndedBy::Router,
            _ => EndedBy::Target,
        };
        self.end(Some(target), status, Some(fault.code), ended_by);
    }
}

impl Active {
    /// The request is sent once more. Where the engine has seen the end of the first connection it begins anew: it had
    /// used nothing but the head.
    fn again(&mut self, worker: &Worker) {
        self.retries += 1;
        let rules = self.route.as_ref().map(|route| {
            route.traffic.shard(worker.number).retry();
            BodyRules { request_bytes_max: route.http.body_bytes_max }
        });
        if self.exchange.fault().is_some() {
            self.exchange = Exchange::new(self.facts, rules.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::listener::{ListenerKind, ListenerState};

    /// Ten thousand idle connections: with what the runtime has for a task and a socket, and a deadline, that is to stay
    /// below 2 KiB each.
    #[tokio::test]
    async fn the_task_of_an_idle_connection_is_small() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let open = Arc::new(ListenerState::new(ListenerKind::Shared, Arc::default())).opened(80, None);
        let worker = Worker::with(Arc::default());
        let task = serve(
            Transport::Tcp(client),
            &[],
            Arrival::of(([127, 0, 0, 1], 80).into()),
            open,
            Rc::clone(&worker),
            None,
        );
        let bytes = size_of_val(&task);
        println!("task {bytes} B, active {} B, connection {}", size_of::<Active>(), size_of::<Connection>());
        assert!(bytes <= 600, "{bytes}");
        // What is boxed is there only while a request is.
        let mut task = Box::pin(task);
        let waits = tokio::time::timeout(Duration::from_millis(1), &mut task).await;
        assert!(waits.is_err());
        assert!(size_of::<Active>() <= 1_200, "{}", size_of::<Active>());
    }
}
