//! How requests and connections end: what is counted and noted, a tunnel, and a close that loses no answer.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tambat_model::{ErrorCode, Target};

use super::active::{Active, Upstream};
use super::connection::{Connection, Phase};
use super::inbox::Inbox;
use crate::access::{EndedBy, Record};
use crate::carry::{Course, Frames, Leftovers, carry};
use crate::listener::ListenerKind;
use crate::socket::is_transient;

/// The status that begins a tunnel.
const SWITCHING: u16 = 101;

/// How long a client may take to read its last answer and close.
const LINGER_S: u64 = 1;

/// How much of what it still sends is thrown away before the connection is closed on it. Unread bytes would make a
/// reset of the close, and a reset destroys the answer on its way.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// How far a close that loses no answer has come.
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// The client knows that nothing more comes.
    is_told: bool,
    drained_bytes: usize,
}

impl Connection {
    /// The request that was served is over: it is counted and noted, and its box goes on.
    pub(super) fn end(&mut self, target: Option<&Target>, status: u16, code: Option<ErrorCode>, ended_by: EndedBy) {
        let Some(active) = self.active.take() else {
            return;
        };
        self.count(&active, status, code);
        self.note(&active, target, status, code, ended_by);
        self.worker.spare.give_back(active);
    }

    fn count(&self, active: &Active, status: u16, code: Option<ErrorCode>) {
        let worker = &self.worker;
        let traffic = active.route.as_ref().map_or(&worker.shared.unrouted, |route| &route.traffic);
        let shard = traffic.shard(worker.number);
        if active.route.is_none() {
            shard.begin();
        }
        if let Some(code) = code {
            shard.error(code);
        }
        let (bytes_in, bytes_out) = (active.up.received, active.down.received);
        shard.bytes(bytes_in, bytes_out);
        shard.end(status, active.moved.saturating_duration_since(active.started));
        let listener = self.open.listener();
        if listener.kind != ListenerKind::Shared {
            listener.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
            listener.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
        }
    }

    fn note(&self, active: &Active, target: Option<&Target>, status: u16, code: Option<ErrorCode>, ended_by: EndedBy) {
        let Some(access) = &self.worker.access else {
            return;
        };
        let noted = active.notes.read();
        access.record(&Record {
            client: active.notes.client,
            method: noted.method.as_bytes(),
            host: noted.host.as_bytes(),
            asked: noted.asked,
            request_id: active.id.as_bytes(),
            traceparent: noted.traceparent,
            route: active.route.as_ref().map(|route| route.name.as_str()),
            target: target.map(|target| target.name.as_str()),
            status,
            bytes_in: active.up.received,
            bytes_out: active.down.sent(),
            took: active.moved.saturating_duration_since(active.started),
            first_byte: active.first_byte,
            ended_by,
            code,
            retries: active.retries,
            tls: self.client.secured().map(|secured| secured.version.name()),
            is_http2: self.client.is_stream(),
        });
    }

    /// The target has agreed to another protocol (RFC 9110 §7.8): bytes are carried both ways until both have ended.
    pub(super) async fn tunnel(&mut self, upstream: Upstream) {
        let Some(mut active) = self.active.take() else {
            return;
        };
        let worker = Rc::clone(&self.worker);
        self.count(&active, SWITCHING, None);
        if let Some(route) = &active.route {
            route.traffic.shard(worker.number).tunnel();
        }
        self.deadline.set(active.moved, None);
        let mut up = active.up.unsent.left().to_vec();
        up.extend_from_slice(&std::mem::take(&mut self.inbox).into_bytes());
        let leftovers = Leftovers { up, down: std::mem::take(&mut active.held) };
        let idle = active.route.as_ref().and_then(|route| route.idle);
        let traffic = active.route.as_ref().map(|route| Arc::clone(&route.traffic));
        // Boxed: few connections become one.
        let frames = active.exchange.is_websocket().then(|| Box::new(Frames::default()));
        // Only the log has to know of the request when the tunnel ends.
        let noted = if worker.access.is_some() {
            Some(active)
        } else {
            worker.spare.give_back(active);
            None
        };
        let course = Course {
            idle,
            listener: self.open.listener(),
            traffic: traffic.as_deref(),
            load: &upstream.target.load,
            session: None,
            frames: frames.as_deref(),
            worker: &worker,
        };
        let carried = carry(&self.client, &upstream.stream, leftovers, course).await;
        if let Some(mut active) = noted {
            active.moved = Instant::now();
            active.up.received += carried.up_bytes;
            active.down.passed_on += carried.down_bytes;
            self.note(&active, Some(&upstream.target), SWITCHING, None, carried.by);
        }
    }

    /// Might closing now lose an answer that is on its way?
    pub(super) fn needs_patience(&self) -> bool {
        let has_unread = || !self.inbox.is_empty() || self.client.has_unread();
        match self.phase {
            _ if self.inbox.has_ended() || self.client.is_stream() => false,
            Phase::ClosingPatiently => true,
            Phase::Closing => has_unread(),
            _ => false,
        }
    }

    /// Says that nothing more comes: what the client still sends is thrown away until it closes (RFC 9112 §9.6).
    pub(super) fn begin_to_linger(&mut self) {
        self.inbox = Inbox::default();
        self.deadline.set(Instant::now(), Some(Duration::from_secs(LINGER_S)));
    }

    /// Ready when it has closed, or has had its time. It owns no memory meanwhile: ten thousand may linger at once.
    pub(super) fn poll_linger(&self, cx: &mut Context<'_>, linger: &mut Linger) -> Poll<()> {
        if !linger.is_told && !self.deadline.is_reached() {
            if std::task::ready!(self.client.poll_end(cx)).is_err() {
                return Poll::Ready(());
            }
            linger.is_told = true;
        }
        let mut tools = self.worker.tools.borrow_mut();
        let buffer = &mut tools.ready().buffer;
        while linger.drained_bytes < DRAINED_BYTES_MAX && !self.deadline.is_reached() {
            if std::task::ready!(self.client.poll_read_ready(cx)).is_err() {
                break;
            }
            match self.client.receive(buffer) {
                Ok(0) => break,
                Ok(more) => linger.drained_bytes += more,
                Err(error) if is_transient(&error) => {}
                Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}
