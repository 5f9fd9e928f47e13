//! Answers on their way to clients of HTTP/2: windows, slow connections, and what counts as one.

use std::io;
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{Request, StatusCode};
use socket2::{Domain, Socket, Type};
use tambat_model::{ErrorCode, HttpRules};
use tambat_router::{AccessFormat, AccessLog, RouterSettings};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::http::access::Sink;
use crate::http::words::{all_is_over, errors, head, plain, router, send};
use crate::http2::{beside, run};
use crate::rig::{Backend, Rig, bounded};

/// The window of a stream, and of a connection, where nobody says otherwise (RFC 9113 §6.9.2).
const WINDOW_BYTES: usize = 65_535;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn client_on(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, builder: &Builder) -> SendRequest<Bytes> {
    let (client, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

async fn client(rig: &Rig) -> SendRequest<Bytes> {
    client_on(tokio::net::TcpStream::connect(rig.addr()).await.unwrap(), &Builder::new()).await
}

fn ask(client: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::get(format!("http://a.example{path}")).body(()).unwrap();
    client.send_request(request, true).unwrap().0
}

/// The next connection of this backend, with the head of its request read.
async fn accepted(backend: &Backend) -> TcpStream {
    let listener = backend.listener.try_clone().unwrap();
    beside(move || {
        let target = bounded(listener.accept().unwrap().0);
        head(&target);
        target
    })
    .await
}

/// So many bytes, of which none is given back to the window.
async fn take(body: &mut RecvStream, bytes: usize) {
    let mut taken = 0;
    while taken < bytes {
        taken += body.data().await.unwrap().unwrap().len();
    }
    assert_eq!(taken, bytes);
}

#[test]
fn an_answer_that_has_filled_the_window_comes_to_its_end() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    for (end, trailer) in [("0\r\n\r\n", None), ("0\r\nx-end: yes\r\n\r\n", Some("yes"))] {
        run(async {
            let mut client = client(&rig).await;
            let answer = ask(&mut client, "/");
            let target = accepted(&backend).await;
            send(&target, CHUNKED);
            let mut body = answer.await.unwrap().into_body();
            send(&target, [format!("{WINDOW_BYTES:x}\r\n").as_bytes(), &vec![b'x'; WINDOW_BYTES], b"\r\n"].concat());
            take(&mut body, WINDOW_BYTES).await;
            // No window is needed for the end of it (RFC 9113 §6.9).
            send(&target, end);
            while let Some(data) = body.data().await {
                assert!(data.unwrap().is_empty());
            }
            let trailers = body.trailers().await.unwrap();
            assert_eq!(trailers.as_ref().and_then(|fields| fields.get("x-end")).map(|v| v.to_str().unwrap()), trailer);
        });
    }
}

/// A backend that answers each request with this, on a connection of its own, until the answer is not taken any more.
fn answers(backend: &Backend, answer: impl Fn(&mut TcpStream) + Send + Sync + 'static) {
    let listener = backend.listener.try_clone().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut stream = bounded(stream);
                head(&stream);
                answer(&mut stream);
            });
        }
    });
}

/// Sends an answer of so many bytes, as far as it is taken.
fn send_long(stream: &mut TcpStream, bytes: usize) {
    let _ = io::Write::write_all(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").as_bytes());
    let _ = io::Write::write_all(stream, &vec![b'x'; bytes]);
}

/// A connection of which so much is read at a time, at most.
struct Paced {
    io: tokio::net::TcpStream,
    /// Nothing is read before.
    rest: Pin<Box<Sleep>>,
    stops: Arc<AtomicBool>,
}

impl Paced {
    const BYTES: usize = 8 * 1024;
    const EVERY: Duration = Duration::from_millis(60);
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.rest.as_mut().poll(cx));
        if self.stops.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let mut little = [0; Self::BYTES];
        let mut read = ReadBuf::new(&mut little[..into.remaining().min(Self::BYTES)]);
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        into.put_slice(read.filled());
        self.rest = Box::pin(sleep(Self::EVERY));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A client that has room for little, and reads that slowly and steadily until it stops. The windows of its streams are
/// open, and its connection's takes so much.
async fn slow_client(rig: &Rig, window: u32, stops: &Arc<AtomicBool>) -> SendRequest<Bytes> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&rig.addr().into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let io = tokio::net::TcpStream::from_std(socket.into()).unwrap();
    let paced = Paced { io, rest: Box::pin(sleep(Paced::EVERY)), stops: Arc::clone(stops) };
    let mut builder = Builder::new();
    builder.initial_window_size(1 << 24).initial_connection_window_size(window);
    client_on(paced, &builder).await
}

/// So many answers get on, all of them, until their client stops.
fn get_on_until_their_client_stops(streams: usize, window: u32) {
    // Whoever reads every 60 ms is in time, also on a machine that stands still for a second.
    const IDLE: Duration = Duration::from_secs(2);
    let backend = Backend::new("web.1");
    let settings = RouterSettings { body_idle: IDLE, workers: NonZeroUsize::MIN, ..RouterSettings::default() };
    let rig = router(&[&backend], HttpRules::default(), settings);
    answers(&backend, |stream| send_long(stream, 8 << 20));
    let stops = Arc::default();
    run(async move {
        let mut client = slow_client(&rig, window, &stops).await;
        let mut all = tokio::task::JoinSet::new();
        for nth in 0..streams {
            let answer = ask(&mut client, &format!("/{nth}"));
            all.spawn(async move {
                let mut body = answer.await?.into_body();
                while let Some(data) = body.data().await {
                    body.flow_control().release_capacity(data?.len())?;
                }
                Ok::<_, h2::Error>(())
            });
        }
        let start = Instant::now();
        while start.elapsed() < 4 * IDLE {
            assert_eq!(errors(&rig, ErrorCode::ClientStalled), 0, "after {:?}", start.elapsed());
            assert!(all.try_join_next().is_none(), "after {:?}", start.elapsed());
            sleep(IDLE / 20).await;
        }
        stops.store(true, Ordering::Relaxed);
        beside(move || all_is_over(&rig)).await;
    });
}

#[test]
fn one_that_is_taken_slowly_and_steadily_gets_on() {
    get_on_until_their_client_stops(1, 1 << 30);
}

#[test]
fn those_that_wait_behind_others_on_a_slow_connection_get_on() {
    // All of them take several times as long for one round as one may stand still.
    get_on_until_their_client_stops(60, 1 << 30);
}

#[test]
fn and_behind_a_small_window_for_all() {
    get_on_until_their_client_stops(60, 65_535);
}

#[test]
fn two_answers_share_a_connections_window_in_large_pieces() {
    const BYTES: usize = 2 << 20;
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    answers(&backend, |stream| send_long(stream, BYTES));
    run(async {
        let mut builder = Builder::new();
        builder.initial_window_size(1 << 24);
        let mut client = client_on(tokio::net::TcpStream::connect(rig.addr()).await.unwrap(), &builder).await;
        let answers = [ask(&mut client, "/1"), ask(&mut client, "/2")].map(|answer| {
            tokio::spawn(async move {
                let mut body = answer.await.unwrap().into_body();
                let (mut bytes, mut pieces) = (0, 0);
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    (bytes, pieces) = (bytes + data.len(), pieces + 1);
                }
                (bytes, pieces)
            })
        });
        let mut all = 0;
        for answer in answers {
            let (bytes, pieces) = answer.await.unwrap();
            assert_eq!(bytes, BYTES);
            all += pieces;
        }
        println!("{all} pieces, {} bytes each", 2 * BYTES / all);
        assert!(2 * BYTES / all >= 6 * 1024, "{all} pieces");
    });
}

#[test]
fn an_answer_without_a_body_makes_up_for_an_abort_as_any_other() {
    const REQUESTS: usize = 600;
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    answers(&backend, |stream| {
        loop {
            let _ = io::Write::write_all(stream, b"HTTP/1.1 204 No Content\r\n\r\n");
            let mut got = [0; 4096];
            if !matches!(io::Read::read(stream, &mut got), Ok(1..)) {
                break;
            }
        }
    });
    run(async {
        let mut client = client(&rig).await;
        for nth in 0..REQUESTS {
            assert_eq!(ask(&mut client, "/").await.unwrap().status(), StatusCode::NO_CONTENT, "{nth}");
            let request = Request::post("http://a.example/").body(()).unwrap();
            let (_, mut body) = client.send_request(request, false).unwrap();
            body.send_reset(Reason::CANCEL);
        }
        assert_eq!(ask(&mut client, "/").await.unwrap().status(), StatusCode::NO_CONTENT);
    });
}

#[test]
fn what_is_noted_of_an_answer_is_what_was_sent_of_it() {
    let (backend, sink) = (Backend::new("web.1"), Sink::default());
    let settings = RouterSettings {
        body_idle: Duration::from_millis(200),
        access: Some(AccessLog::start(AccessFormat::Json, sink.clone(), |_| {}).unwrap()),
        ..RouterSettings::default()
    };
    let rig = router(&[&backend], HttpRules::default(), settings);
    answers(&backend, |stream| send_long(stream, 8 << 20));
    run(async {
        let mut client = client(&rig).await;
        let mut body = ask(&mut client, "/").await.unwrap().into_body();
        // It takes one window of it.
        take(&mut body, WINDOW_BYTES).await;
        assert!(body.data().await.unwrap().is_err());
    });
    let line = sink.line_with("client-stalled");
    let noted = line.split(r#""bytes_out":"#).nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let head = noted.parse::<usize>().unwrap() - WINDOW_BYTES;
    assert!((100..1_000).contains(&head), "{line}");
}
