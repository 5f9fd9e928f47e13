//! The life of one HTTP/2 connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ::http::{Method, Request, Response, StatusCode};
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::{Builder, Connection, SendResponse};
use tambat_wire::http2::{FRAME_BYTES_MAX, Malformed, Pseudo, Reason, Refused, WebSocketKey, goaway, write_request};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::answers::Piece;
use super::limits::{
    ABORTED_UNSEEN_MAX, CLOSING_S, CONNECTION_WINDOW_BYTES, ERRORS_MAX, HEADER_LIST_BYTES_MAX, HEADS_BYTES_MAX,
    RESET_STREAMS_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use super::ready::Ready;
use super::served::Served;
use super::session::Session;
use super::stream::Stream;
use super::wire::Wire;
use crate::arrival::Arrival;
use crate::choice::Told;
use crate::http;
use crate::listener::{First, Open};
use crate::pauses::{Offence, offends};
use crate::report::RouterReport;
use crate::transport::Transport;
use crate::worker::Worker;

/// Room for the head of an ordinary request.
const HEAD_BYTES: usize = 512;

/// How often one worker reports what clients were refused.
const REPORT_EVERY_S: u64 = 60;

/// The answer to an extended CONNECT for a protocol that is not known (RFC 9220 §3).
const NOT_IMPLEMENTED: StatusCode = StatusCode::NOT_IMPLEMENTED;

/// Serves a client's connection to its end. `before`: what was read of it already, from the preface on. `told`: what each
/// request is told in place of being served.
pub(crate) fn serve(
    client: Rc<Transport>,
    before: Vec<u8>,
    arrival: Arrival,
    open: Open,
    worker: Rc<Worker>,
    told: Option<Told>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let session = Session::new(client, Rc::clone(&worker));
        let carrier = Rc::clone(&session.carrier);
        // Boxed, each of them: as parts of this task they would have room in it all its life, three times the codec's.
        let driver = Box::pin(begin(session, before, arrival, open, told)).await;
        let (served, drained_max) = match driver {
            Ok(mut driver) => {
                poll_fn(|cx| driver.poll(cx)).await;
                let (served, drained_max) = driver.over();
                (Some(served), drained_max)
            }
            Err(drained_max) => (None, drained_max),
        };
        Box::pin(end(carrier, worker, served, drained_max)).await;
    })
}

/// Shakes hands; if that comes to nothing, says how much is thrown away of what comes yet.
async fn begin(
    session: Rc<Session>,
    before: Vec<u8>,
    arrival: Arrival,
    open: Open,
    told: Option<Told>,
) -> Result<Box<Driver>, usize> {
    match handshake(&session, before).await {
        Some(codec) => Ok(Box::new(Driver::new(codec, session, arrival, open, told))),
        None => {
            tell_refusals(&session, &arrival, &open);
            Err(session.drained_bytes_max())
        }
    }
}

async fn handshake(session: &Rc<Session>, before: Vec<u8>) -> Option<Connection<Wire, Piece>> {
    let wire = Wire::new(Rc::clone(session), before);
    let mut handshake = pin!(settings().handshake::<_, Piece>(wire));
    let made = poll_fn(|cx| {
        session.deadline.wakes(cx.waker());
        if let Poll::Ready(made) = handshake.as_mut().poll(cx) {
            return Poll::Ready(Some(made));
        }
        if let Poll::Ready(Err(_)) = session.poll_send(cx) {
            return Poll::Ready(None);
        }
        if session.deadline.is_reached() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await;
    match made? {
        Ok(codec) => Some(codec),
        Err(error) => {
            // What it began with is no preface (RFC 9113 §3.4).
            if error.is_go_away() {
                let goaway = goaway(Reason::ProtocolError);
                session.sees(&goaway);
                let _ = poll_fn(|cx| session.poll_send(cx)).await;
                let _ = session.carrier.send_all(&goaway).await;
            }
            None
        }
    }
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX.into())
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(ABORTED_UNSEEN_MAX)
        .max_local_error_reset_streams(Some(ERRORS_MAX))
        .enable_connect_protocol();
    builder
}

/// What drives a connection.
struct Driver {
    codec: Connection<Wire, Piece>,
    session: Rc<Session>,
    arrival: Arrival,
    open: Open,
    told: Option<Told>,
    served: Served,
    ready: Arc<Ready>,
    /// Whatever the codec or the connection waits for wakes by this.
    waker: Waker,
    /// Whose turn is next.
    stage: Stage,
    /// Something was gathered since it was tried to send it.
    is_send_due: bool,
}

/// With so many requests at a time a connection goes through all stages at once: what one stage has at hand for all of its
/// streams is more than what stages of several connections would share.
const CROWD: usize = 16;

/// What a connection does in turn.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Streams that have heard of something are served.
    Streams,
    /// Frames are read, and those that streams have for the client are written.
    Codec,
    /// What was gathered is sent.
    Send,
}

impl Stage {
    const COUNT: usize = 3;

    fn next(self) -> Self {
        match self {
            Self::Streams => Self::Codec,
            Self::Codec => Self::Send,
            Self::Send => Self::Streams,
        }
    }
}

impl Driver {
    fn new(
        codec: Connection<Wire, Piece>,
        session: Rc<Session>,
        arrival: Arrival,
        open: Open,
        told: Option<Told>,
    ) -> Self {
        let ready = Ready::new();
        let (served, waker) = (Served::new(&ready), ready.codec_waker());
        let (stage, is_send_due) = (Stage::Streams, false);
        Self { codec, session, arrival, open, told, served, ready, waker, stage, is_send_due }
    }

    /// With the codec gone, the streams see that nobody takes their answers any more. They, and how much is thrown away of
    /// what comes yet.
    fn over(self: Box<Self>) -> (Served, usize) {
        let Self { served, codec, session, .. } = *self;
        drop(codec);
        (served, session.drained_bytes_max())
    }

    /// Ready when the connection is over. One stage has its turn in each poll, and those that are left are polled for once
    /// more, behind all other tasks: so all connections that are ready go through a stage before any goes through the next
    /// one, with its code at hand, and what they send wakes its readers once. With a [`CROWD`] all have their turn.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.served.begin_turn(cx.waker());
        let mut is_over = Poll::Pending;
        for _ in 0..Stage::COUNT {
            let stage = self.stage;
            self.stage = stage.next();
            if self.has_work(stage) {
                is_over = self.work(stage);
                if is_over.is_ready() || self.session.live() < CROWD {
                    break;
                }
            }
        }
        self.ready.end(self.is_send_due || self.served.has_turn());
        is_over
    }

    fn has_work(&self, stage: Stage) -> bool {
        match stage {
            Stage::Streams => self.served.has_turn(),
            Stage::Codec => self.ready.take_codec(),
            Stage::Send => self.is_send_due,
        }
    }

    fn work(&mut self, stage: Stage) -> Poll<()> {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        match stage {
            Stage::Streams => self.served.serve_turn(),
            Stage::Codec => {
                self.session.turn_begins();
                let is_over = self.poll_codec(&mut cx);
                tell_refusals(&self.session, &self.arrival, &self.open);
                self.is_send_due = self.session.has_gathered();
                return is_over;
            }
            Stage::Send => {
                self.is_send_due = false;
                // What is not taken makes the codec ready when it may be.
                if let Poll::Ready(Err(_)) = self.session.poll_send(&mut cx) {
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    fn poll_codec(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.deadline.wakes(cx.waker());
        loop {
            while let Poll::Ready(accepted) = self.codec.poll_accept(cx) {
                match accepted {
                    Some(Ok((request, respond))) => self.begin(request, respond),
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
            if self.session.is_closing() {
                if self.session.deadline.is_reached() {
                    self.session.carrier.reset_on_close();
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
            if let Some(reason) = self.session.broke.get() {
                self.close(reason.code().into());
            } else if !self.session.is_draining() && self.session.worker.dismisses(self.open.listener()) {
                self.codec.graceful_shutdown();
                self.session.drains();
            } else if self.session.deadline.is_reached() {
                if self.session.is_blocked() {
                    if self.session.is_read() {
                        return Poll::Pending;
                    }
                    // Nothing that it could be told would reach it.
                    self.session.carrier.reset_on_close();
                    return Poll::Ready(());
                }
                self.close(h2::Reason::NO_ERROR);
            } else {
                return Poll::Pending;
            }
        }
    }

    fn close(&mut self, reason: h2::Reason) {
        self.session.closes_within(Duration::from_secs(CLOSING_S));
        self.codec.abrupt_shutdown(reason);
    }

    /// A request has come.
    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Piece>) {
        if self.session.heads_bytes() > HEADS_BYTES_MAX {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            return;
        }
        let (parts, body) = request.into_parts();
        let protocol = parts.extensions.get::<Protocol>();
        let ends = body.is_end_stream();
        let uri = parts.uri.into_parts();
        // Without an authority the codec keeps no scheme, but has seen one: only a plain CONNECT has none.
        let is_connect = parts.method == Method::CONNECT && protocol.is_none();
        let scheme = uri.scheme.as_ref().map(::http::uri::Scheme::as_str).or((!is_connect).then_some("http"));
        let pseudo = Pseudo {
            method: parts.method.as_str().as_bytes(),
            scheme: scheme.map(str::as_bytes),
            authority: uri.authority.as_ref().map(|authority| authority.as_str().as_bytes()),
            path: uri.path_and_query.as_ref().map(|path| path.as_str().as_bytes()),
            protocol: protocol.map(|protocol| protocol.as_str().as_bytes()),
        };
        let fields = || parts.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let written = write_request(&pseudo, fields, ends, || self.websocket_key(), &mut head);
        let translated = match written {
            Ok(translated) => translated,
            Err(malformed) => return self.refuse(malformed, respond),
        };
        let body = (!ends).then_some(body);
        let stream = Transport::Stream(Box::new(Stream::new(&self.session, head, translated, body, respond)));
        let (open, worker) = (self.open.of_a_stream(), Rc::clone(&self.session.worker));
        self.served.add(http::serve(stream, &[], self.arrival.clone(), open, worker, self.told.clone()));
    }

    fn websocket_key(&self) -> WebSocketKey {
        WebSocketKey::new(self.session.worker.clock.nonce())
    }

    fn refuse(&self, malformed: Malformed, mut respond: SendResponse<Piece>) {
        match malformed {
            Malformed::Rule(_) => respond.send_reset(h2::Reason::PROTOCOL_ERROR),
            Malformed::Protocol => {
                self.open.listener().refused.fetch_add(1, Ordering::Relaxed);
                let mut response = Response::new(());
                *response.status_mut() = NOT_IMPLEMENTED;
                // It fails only if the stream is gone.
                let _ = respond.send_response(response, true);
            }
        }
        if let Err(reason) = self.session.watch.borrow_mut().refused(|| self.session.passed()) {
            self.session.broke.set(Some(reason));
        }
    }
}

/// Counts what the client was refused, whoever did so, and reports it now and then.
fn tell_refusals(session: &Session, arrival: &Arrival, open: &Open) {
    if let Some(offence) = session.offence() {
        tell_offence(offence, session, arrival, open);
    }
    let Some((times, refused)) = session.refused() else {
        return;
    };
    open.listener().refused.fetch_add(times, Ordering::Relaxed);
    let worker = &session.worker;
    if worker.refused_http2.is_due(Instant::now(), Duration::from_secs(REPORT_EVERY_S)) {
        let cause = match refused {
            Refused::Stream(reason) => format!("a request was refused ({reason})"),
            Refused::Connection(reason) => format!("the connection was closed ({reason})"),
        };
        worker.shared.reports.send(RouterReport::RefusedHttp2 { peer: arrival.peer, cause });
    }
}

/// The client's address pauses, if it is the client's.
fn tell_offence(offence: Offence, session: &Session, arrival: &Arrival, open: &Open) {
    let (shared, client) = (&session.worker.shared, arrival.peer.ip());
    let is_of_client = matches!(open.first(), First::Anything) || arrival.is_introduced();
    if is_of_client && !shared.settings.never_pauses(client, open.listener().kind) {
        offends(shared, client, offence);
    }
}

/// What is left when a connection is over: its client reads its last frames, and its streams come to their end.
async fn end(carrier: Rc<Transport>, worker: Rc<Worker>, served: Option<Served>, drained_max: usize) {
    let closes = timeout(Duration::from_secs(CLOSING_S), linger(&carrier, &worker, drained_max));
    let rest = async {
        if let Some(mut served) = served {
            poll_fn(|cx| served.poll_rest(cx)).await;
        }
    };
    let _ = tokio::join!(closes, rest);
}

/// Lets the client read its last frames: what it still sends is thrown away until it closes.
async fn linger(carrier: &Transport, worker: &Worker, drained_max: usize) {
    if poll_fn(|cx| carrier.poll_end(cx)).await.is_err() {
        return;
    }
    let mut drained = 0;
    while drained < drained_max {
        let received = poll_fn(|cx| {
            std::task::ready!(carrier.poll_read_ready(cx))?;
            Poll::Ready(carrier.receive(&mut worker.tools.borrow_mut().ready().buffer))
        });
        match received.await {
            Ok(0) => break,
            Ok(more) => drained += more,
            Err(error) if crate::socket::is_transient(&error) => {}
            Err(_) => break,
        }
        // One buffer in each turn: others have theirs.
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::listener::{ListenerKind, ListenerState};

    #[tokio::test]
    async fn the_task_of_a_connection_has_no_room_for_what_is_over() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let open = Arc::new(ListenerState::new(ListenerKind::Shared, Arc::default())).opened(80, None);
        let (client, worker) = (Rc::new(Transport::Tcp(client)), Worker::with(Arc::default()));
        let task = serve(client, Vec::new(), Arrival::of(([127, 0, 0, 1], 80).into()), open, worker, None);
        let (task, driver) = (size_of_val(&*task), size_of::<Driver>());
        println!("task {task} B, driver {driver} B");
        assert!(task <= 400 && driver <= 1_700, "{task} {driver}");
    }
}
