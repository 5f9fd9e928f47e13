//! HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3).

use std::{
    future::Future,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http2,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use pin_project_lite::pin_project;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream, select, time::sleep};
use tower_service::Service;

use crate::{Draining, HttpService, http::HEAD_WAIT_MAX, timer::LazyTimer};

/// What an HTTP/2 client sends first begins with this method, which RFC 9113 §11.6 keeps from meaning anything else.
const PREFACE_METHOD: &[u8] = b"PRI";

/// How often a client is asked whether it is still there: half of what idle connections live in routers.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How long it may take to say so.
const PONG_WAIT_MAX: Duration = Duration::from_secs(20);

/// Requests at once on one connection: what RFC 9113 §6.5.2 recommends as the least, doubled. Clients open another
/// connection for more.
const STREAMS_MAX: u32 = 200;

/// How long a client without a request in flight may take to close once it is told to go away: several round trips of a
/// slow network, for what it sent before it was told.
const GOAWAY_WAIT_MAX: Duration = Duration::from_secs(1);

/// Whether what a client sends first is the preface of HTTP/2. Nothing is read. Completes when that is decided, which
/// takes one to three bytes.
pub(crate) async fn is_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; PREFACE_METHOD.len()];
    loop {
        let count = stream.peek(&mut bytes).await?;
        if count == 0 || count == bytes.len() || !PREFACE_METHOD.starts_with(&bytes[..count]) {
            return Ok(bytes[..count] == *PREFACE_METHOD);
        }
        if more_than(count, stream).await? == Came::Nothing {
            return Ok(false);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    More,
    /// And nothing will: the client has closed its side.
    Nothing,
}

/// Waits until there is more to read than so many bytes.
async fn more_than(seen: usize, stream: &TcpStream) -> io::Result<Came> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        // Within `try_io`, so that what was seen before counts as not ready.
        let more = stream.try_io(Interest::READABLE, || {
            let mut bytes = [MaybeUninit::uninit(); PREFACE_METHOD.len()];
            match SockRef::from(stream).peek(&mut bytes)? {
                count if count > seen => Ok(Came::More),
                _ if ready.is_read_closed() => Ok(Came::Nothing),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match more {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            decided => return decided,
        }
    }
}

/// One connection, to its end: see [`serve_connection`](crate::http::serve_connection).
pub(crate) async fn serve<S: HttpService>(stream: TcpStream, service: S, draining: Draining) {
    let streams = Streams::default();
    let service = TowerToHyperService::new(Counted { service, streams: streams.clone() });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(LazyTimer).keep_alive_interval(PING_EVERY).keep_alive_timeout(PONG_WAIT_MAX);
    http.max_concurrent_streams(STREAMS_MAX).enable_connect_protocol();
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    select! {
        biased;
        _ = connection.as_mut() => return,
        () = draining.begun() => {}
        () = streams.idle() => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that does not answer to that is not waited for once its requests are.
    loop {
        select! {
            biased;
            _ = connection.as_mut() => return,
            () = sleep(GOAWAY_WAIT_MAX) => {}
        }
        if streams.open() == 0 {
            return;
        }
    }
}

/// The requests of one connection.
#[derive(Clone, Debug, Default)]
struct Streams(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    /// Ever; it wraps.
    begun: AtomicUsize,
}

impl Streams {
    fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Completes when for [`HEAD_WAIT_MAX`] at least, and twice that at most, no request was in flight.
    async fn idle(&self) {
        loop {
            let before = self.0.begun.load(Ordering::Acquire);
            let idle_before = self.open() == 0;
            sleep(HEAD_WAIT_MAX).await;
            if idle_before && self.open() == 0 && self.0.begun.load(Ordering::Acquire) == before {
                return;
            }
        }
    }

    fn begin(&self) -> Stream {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        Stream(Arc::clone(&self.0))
    }
}

/// One of them, until its answer is sent or given up.
struct Stream(Arc<Counts>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
struct Counted<S> {
    service: S,
    streams: Streams,
}

impl<S: HttpService> Service<Request<Incoming>> for Counted<S> {
    type Response = Response<CountedBody<S::Body>>;
    type Error = S::Error;
    type Future = CountedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        CountedFuture { stream: Some(self.streams.begin()), response: self.service.call(request) }
    }
}

pin_project! {
    struct CountedFuture<F> {
        stream: Option<Stream>,
        #[pin]
        response: F,
    }
}

impl<F, B, E> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx))?;
        let stream = this.stream.take();
        Poll::Ready(Ok(response.map(|body| CountedBody { _stream: stream, body })))
    }
}

pin_project! {
    struct CountedBody<B> {
        _stream: Option<Stream>,
        #[pin]
        body: B,
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::TcpListener,
        time::{Instant, timeout},
    };

    use super::*;

    /// What takes longer than this has failed.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        client.set_nodelay(true).expect("set");
        (client, listener.accept().await.expect("accepted").0)
    }

    #[tokio::test]
    async fn a_preface_is_told_from_every_method_that_begins_like_it() {
        for (sent, expected) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            ("PRI", true),
            ("PROPFIND / HTTP/1.1\r\n", false),
            ("PR", false),
            ("POST / HTTP/1.1\r\n", false),
            ("P", false),
            ("GET / HTTP/1.1\r\n", false),
            ("pri", false),
            ("", false),
        ] {
            let (mut client, server) = pair().await;
            client.write_all(sent.as_bytes()).await.expect("sent");
            // What is undecided is decided by the end.
            client.shutdown().await.expect("closed");
            let seen = timeout(PATIENCE, is_preface(&server)).await.expect("decided in time").expect("decided");
            assert_eq!(seen, expected, "{sent:?}");
            let mut bytes = vec![0; sent.len()];
            let mut server = server;
            tokio::io::AsyncReadExt::read_exact(&mut server, &mut bytes).await.expect("nothing was read");
            assert_eq!(bytes, sent.as_bytes());
        }
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_waited_for() {
        for (sent, expected) in [("PRI", true), ("PRO", false), ("PO", false)] {
            let (mut client, server) = pair().await;
            let seen = tokio::spawn(async move { is_preface(&server).await });
            for byte in sent.as_bytes() {
                client.write_all(&[*byte]).await.expect("sent");
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            let seen = timeout(PATIENCE, seen).await.expect("decided in time").expect("no panic").expect("decided");
            assert_eq!(seen, expected, "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_idles_for_a_whole_wait_at_least() {
        let streams = Streams::default();
        let begun = Instant::now();
        let stream = streams.begin();
        let idle = tokio::spawn({
            let streams = streams.clone();
            async move { streams.idle().await }
        });
        sleep(HEAD_WAIT_MAX * 5 / 2).await;
        assert_eq!(streams.open(), 1);
        drop(stream);
        timeout(PATIENCE * 20, idle).await.expect("in time").expect("no panic");
        assert_eq!(begun.elapsed().as_secs() / HEAD_WAIT_MAX.as_secs(), 4);
    }
}
