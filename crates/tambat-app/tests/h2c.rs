//! HTTP/2 without TLS: served and drained on the port of HTTP/1, seen by hyper's own client.

#![cfg(feature = "http2")]
#![expect(clippy::expect_used, reason = "a test panics where it fails, and so do its helpers")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::get,
};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tambat_app::{Bound, Drained, Error};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client of HTTP/2 says first: the preface and empty settings (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The types of the frames that end a connection (RFC 9113 §6.8).
const GOAWAY: u8 = 7;

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    drained: JoinHandle<Result<Drained, Error>>,
    /// A request has reached `/slow`.
    reached: Arc<Notify>,
    /// Lets one request at `/slow` go on.
    go_on: Arc<Notify>,
    /// What `/stream` sends.
    stream: mpsc::Sender<Bytes>,
}

impl Server {
    async fn start(grace: Duration) -> Self {
        let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
            move || async move {
                reached.notify_one();
                go_on.notified().await;
                "at last"
            }
        };
        let (stream, chunks) = mpsc::channel(1);
        let chunks = Arc::new(std::sync::Mutex::new(Some(chunks)));
        let streaming = move || async move {
            let chunks = chunks.lock().expect("nobody panicked").take().expect("asked once");
            Body::new(Streamed { chunks })
        };
        let app = Router::new()
            .route("/", get(|| async { "moored" }).post(|body: String| async move { body }))
            .route("/slow", get(slow))
            .route("/stream", get(streaming));
        let bound = Bound::try_from(TcpListener::bind("127.0.0.1:0").await.expect("a port")).expect("an address");
        let address = bound.local_addr();
        let (stop, stopped) = oneshot::channel();
        let drained = tokio::spawn(bound.grace(grace).serve_until(app, async { drop(stopped.await) }));
        Self { address, stop, drained, reached, go_on, stream }
    }

    async fn client(&self) -> http2::SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let (requests, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection);
        requests
    }
}

/// A body that is what its channel brings.
struct Streamed {
    chunks: mpsc::Receiver<Bytes>,
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(hyper::body::Frame::data(chunk))))
    }
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://app{path}")).body(Empty::new()).expect("a request")
}

async fn body(client: &mut http2::SendRequest<Empty<Bytes>>, path: &str) -> String {
    let answer = timeout(PATIENCE, client.send_request(request(path))).await.expect("in time").expect("an answer");
    let body = timeout(PATIENCE, answer.into_body().collect()).await.expect("in time").expect("whole");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

async fn ended(drained: JoinHandle<Result<Drained, Error>>) -> Drained {
    let joined = timeout(PATIENCE, drained).await.expect("the drain ends in time");
    joined.expect("the server does not panic").expect("nobody is to be told")
}

async fn refused(address: SocketAddr) {
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the port closes");
}

#[tokio::test]
async fn requests_share_a_connection_and_those_in_flight_are_answered() {
    let server = Server::start(PATIENCE).await;
    let mut client = server.client().await;
    let mut other = client.clone();
    let slow = tokio::spawn(async move { body(&mut other, "/slow").await });
    timeout(PATIENCE, server.reached.notified()).await.expect("the handler is reached");
    assert_eq!(body(&mut client, "/").await, "moored");
    drop(server.stop);
    refused(server.address).await;
    server.go_on.notify_one();
    assert_eq!(slow.await.expect("no panic"), "at last");
    assert_eq!(ended(server.drained).await, Drained::Whole);
    assert!(timeout(PATIENCE, client.send_request(request("/"))).await.expect("in time").is_err(), "it is closed");
}

/// The head of the answer has been sent when the drain begins, and its body goes on for longer than a client may
/// stall.
#[tokio::test]
async fn a_body_that_streams_is_finished() {
    let server = Server::start(PATIENCE).await;
    let mut client = server.client().await;
    let answer = timeout(PATIENCE, client.send_request(request("/stream"))).await.expect("in time").expect("an answer");
    let mut body = answer.into_body();
    server.stream.send(Bytes::from_static(b"first ")).await.expect("sent");
    let first = timeout(PATIENCE, body.frame()).await.expect("in time").expect("a frame").expect("whole");
    assert_eq!(first.into_data().expect("data"), "first ");
    drop(server.stop);
    refused(server.address).await;
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    server.stream.send(Bytes::from_static(b"last")).await.expect("sent");
    drop(server.stream);
    let rest = timeout(PATIENCE, body.collect()).await.expect("in time").expect("whole").to_bytes();
    assert_eq!(rest, "last");
    assert_eq!(ended(server.drained).await, Drained::Whole);
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go_away() {
    let server = Server::start(PATIENCE).await;
    let mut client = server.client().await;
    assert_eq!(body(&mut client, "/").await, "moored");
    let told = Instant::now();
    drop(server.stop);
    assert_eq!(ended(server.drained).await, Drained::Whole);
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}: a client that listens goes at once", told.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_listen_is_not_waited_for() {
    let server = Server::start(PATIENCE).await;
    let mut deaf = TcpStream::connect(server.address).await.expect("a connection");
    deaf.write_all(PREFACE).await.expect("sent");
    // Its settings are answered, so the server has taken it for HTTP/2.
    deaf.read_exact(&mut [0; 9]).await.expect("a frame");
    let told = Instant::now();
    drop(server.stop);
    assert_eq!(ended(server.drained).await, Drained::Whole);
    assert!(told.elapsed() < PATIENCE / 2, "{:?}", told.elapsed());
    let mut rest = Vec::new();
    timeout(PATIENCE, deaf.read_to_end(&mut rest)).await.expect("in time").expect("closed with FIN");
    assert!(rest.windows(4).any(|bytes| bytes[3] == GOAWAY), "{rest:?}");
}

#[tokio::test]
async fn the_grace_cuts_streams_and_counts_their_connection() {
    let server = Server::start(Duration::from_millis(50)).await;
    let mut client = server.client().await;
    let slow = tokio::spawn(async move { client.send_request(request("/slow")).await });
    timeout(PATIENCE, server.reached.notified()).await.expect("the handler is reached");
    drop(server.stop);
    assert_eq!(ended(server.drained).await, Drained::Cut { connections: 1 });
    assert!(timeout(PATIENCE, slow).await.expect("in time").expect("no panic").is_err());
}

#[tokio::test]
async fn a_broken_preface_is_the_clients_own_fault() {
    let server = Server::start(PATIENCE).await;
    let mut broken = TcpStream::connect(server.address).await.expect("a connection");
    broken.write_all(b"PRI / HTTP/1.1\r\nHost: app\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    // Closed, by FIN or by a reset: bytes that are not read make it one.
    drop(timeout(PATIENCE, broken.read_to_end(&mut answer)).await.expect("in time"));
    let mut client = server.client().await;
    assert_eq!(body(&mut client, "/").await, "moored");
    drop((server.stop, client));
    assert_eq!(ended(server.drained).await, Drained::Whole);
}
