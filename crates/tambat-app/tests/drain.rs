//! Serving and draining, seen through real sockets.

#![expect(clippy::expect_used, reason = "a test panics where it fails, and so do its helpers")]

use std::{
    future::pending,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use tambat_app::{Bound, Drained, Error, Host, Port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const KEEP_ALIVE: &[u8] = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nHost: app\r\n\r\n";

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    drained: JoinHandle<Result<Drained, Error>>,
    /// A request has reached `/slow`.
    reached: Arc<Notify>,
    /// Lets one request at `/slow` go on.
    go_on: Arc<Notify>,
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
        let app = Router::new()
            .route("/", get(|| async { "moored" }).post(|body: String| async move { body.len().to_string() }))
            .route("/slow", get(slow))
            .route(
                "/panic",
                get(|| async { if KEEP_ALIVE.is_empty() { "" } else { panic!("a handler's own fault") } }),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let bound = Bound::try_from(listener).expect("an address").grace(grace);
        let address = bound.local_addr();
        let (stop, stopped) = oneshot::channel();
        let drained = tokio::spawn(bound.serve_until(app, async { drop(stopped.await) }));
        Self { address, stop, drained, reached, go_on }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// A connection whose request is in the handler.
    async fn in_flight(&self) -> TcpStream {
        let mut client = self.connect().await;
        client.write_all(SLOW).await.expect("sent");
        timeout(PATIENCE, self.reached.notified()).await.expect("the handler is reached");
        client
    }
}

async fn ended(drained: JoinHandle<Result<Drained, Error>>) -> Drained {
    let joined = timeout(PATIENCE, drained).await.expect("the drain ends in time");
    joined.expect("the server does not panic").expect("nobody is to be told")
}

/// Until the server closes the connection.
async fn read_to_end(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut answer)).await.expect("closed in time").expect("closed with FIN");
    String::from_utf8(answer).expect("text")
}

/// Until the body that every answer of `/` has.
async fn read_answer(client: &mut TcpStream) -> String {
    let mut answer = String::new();
    while !answer.ends_with("moored") {
        let mut buffer = [0; 1024];
        let n = timeout(PATIENCE, client.read(&mut buffer)).await.expect("answered in time").expect("readable");
        assert_ne!(n, 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..n]).expect("text"));
    }
    answer
}

/// Until nobody listens there any more.
async fn refused(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "the port is still open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_in_flight_gets_its_answer_after_the_port_is_closed() {
    let server = Server::start(PATIENCE).await;
    let mut client = server.in_flight().await;
    drop(server.stop);
    refused(server.address).await;
    server.go_on.notify_one();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("at last"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(ended(server.drained).await, Drained::Whole);
    TcpListener::bind(server.address).await.expect("the port is free again");
}

#[tokio::test]
async fn a_request_whose_body_is_half_sent_is_finished() {
    let server = Server::start(PATIENCE).await;
    let mut client = server.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhello").await.expect("sent");
    // The head is read once a request that was sent after it is answered.
    let mut other = server.connect().await;
    other.write_all(KEEP_ALIVE).await.expect("sent");
    read_answer(&mut other).await;
    drop(server.stop);
    refused(server.address).await;
    client.write_all(b"world").await.expect("sent");
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("10"), "{answer}");
    assert_eq!(ended(server.drained).await, Drained::Whole);
}

#[tokio::test]
async fn an_idle_connection_is_reused_and_then_closed_by_the_drain() {
    let server = Server::start(PATIENCE).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(KEEP_ALIVE).await.expect("sent");
        let answer = read_answer(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    drop(server.stop);
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(ended(server.drained).await, Drained::Whole);
}

#[tokio::test]
async fn a_spare_connection_does_not_hold_up_the_end() {
    let server = Server::start(PATIENCE).await;
    let mut spare = server.connect().await;
    drop(server.stop);
    assert_eq!(ended(server.drained).await, Drained::Whole);
    assert_eq!(read_to_end(&mut spare).await, "");
}

/// The kernel has taken both connections before the server gets to run: one current-thread runtime, no await that
/// would let it.
#[tokio::test]
async fn what_the_kernel_had_queued_is_answered() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = std::net::TcpStream::connect(address).expect("queued");
        std::io::Write::write_all(&mut client, KEEP_ALIVE).expect("sent");
        client.set_nonblocking(true).expect("set");
        clients.push(TcpStream::from_std(client).expect("registered"));
    }
    listener.set_nonblocking(true).expect("set");
    let bound = Bound::try_from(TcpListener::from_std(listener).expect("registered")).expect("an address");
    let app = Router::new().route("/", get(|| async { "moored" }));
    let drained = tokio::spawn(bound.serve_until(app, async {}));
    for client in &mut clients {
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("moored"), "{answer}");
    }
    assert_eq!(ended(drained).await, Drained::Whole);
}

#[tokio::test]
async fn the_grace_cuts_what_does_not_end_and_counts_it() {
    let server = Server::start(Duration::from_millis(50)).await;
    let mut first = server.in_flight().await;
    let mut second = server.in_flight().await;
    let mut idle = server.connect().await;
    idle.write_all(KEEP_ALIVE).await.expect("sent");
    read_answer(&mut idle).await;
    drop(server.stop);
    assert_eq!(ended(server.drained).await, Drained::Cut { connections: 2 });
    for client in [&mut first, &mut second] {
        assert_eq!(read_to_end(client).await, "");
    }
}

#[tokio::test]
async fn a_handler_that_panics_takes_only_its_connection_with_it() {
    let server = Server::start(PATIENCE).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /panic HTTP/1.1\r\nHost: app\r\n\r\n").await.expect("sent");
    assert_eq!(read_to_end(&mut client).await, "");
    let mut client = server.connect().await;
    client.write_all(KEEP_ALIVE).await.expect("sent");
    read_answer(&mut client).await;
    drop((server.stop, client));
    assert_eq!(ended(server.drained).await, Drained::Whole);
}

#[tokio::test]
async fn garbage_and_resets_leave_the_server_alone() {
    let server = Server::start(PATIENCE).await;
    let mut garbage = server.connect().await;
    garbage.write_all(b"\x16\x03\x01\x00\x01\x00\r\n\r\n").await.expect("sent");
    assert!(read_to_end(&mut garbage).await.starts_with("HTTP/1.1 400"));
    let reset = server.connect().await;
    reset.set_zero_linger().expect("set");
    drop(reset);
    let mut half = server.connect().await;
    half.write_all(b"GET / HTT").await.expect("sent");
    drop(half);
    let mut client = server.connect().await;
    client.write_all(KEEP_ALIVE).await.expect("sent");
    read_answer(&mut client).await;
    drop((server.stop, client));
    assert_eq!(ended(server.drained).await, Drained::Whole);
}

/// The handler is done, and the answer is larger than all buffers: the client reads it after it has paused for longer than
/// a client may stall.
#[tokio::test]
async fn an_answer_that_is_read_slowly_is_finished() {
    const ANSWER_BYTES: usize = 64 * 1024 * 1024;
    let app = Router::new().route("/", get(|| async { vec![b'.'; ANSWER_BYTES] }));
    let bound = Bound::try_from(TcpListener::bind("127.0.0.1:0").await.expect("a port")).expect("an address");
    let mut client = TcpStream::connect(bound.local_addr()).await.expect("a connection");
    let (stop, stopped) = oneshot::channel::<()>();
    let drained = tokio::spawn(bound.serve_until(app, async { drop(stopped.await) }));
    client.write_all(KEEP_ALIVE).await.expect("sent");
    let begun = client.read(&mut [0; 1024]).await.expect("readable");
    drop(stop);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(!drained.is_finished());
    let mut rest = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut rest)).await.expect("in time").expect("closed with FIN");
    assert!(begun + rest.len() > ANSWER_BYTES, "{} of {ANSWER_BYTES}", begun + rest.len());
    assert_eq!(ended(drained).await, Drained::Whole);
}

/// By a clock that moves on when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn who_brings_no_request_is_let_go() {
    let server = Server::start(PATIENCE).await;
    for part in [&b""[..], b"GET / HTT", KEEP_ALIVE, b"PR"] {
        let mut client = server.connect().await;
        client.write_all(part).await.expect("sent");
        let begun = tokio::time::Instant::now();
        let mut answer = Vec::new();
        // Bytes that were looked at and not read make the end a reset.
        drop(client.read_to_end(&mut answer).await);
        let idled = begun.elapsed().as_secs();
        assert!((75..=110).contains(&idled), "{idled} s after {:?}", String::from_utf8_lossy(part));
        assert_eq!(answer.ends_with(b"moored"), part == KEEP_ALIVE);
    }
    drop(server.stop);
    assert_eq!(server.drained.await.expect("no panic").expect("nobody is to be told"), Drained::Whole);
}

/// A head that is half there when the drain begins, whose rest never comes.
#[tokio::test]
async fn a_head_that_stalls_does_not_hold_up_the_end() {
    let server = Server::start(PATIENCE).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTT").await.expect("sent");
    let mut other = server.connect().await;
    other.write_all(KEEP_ALIVE).await.expect("sent");
    read_answer(&mut other).await;
    let told = Instant::now();
    drop(server.stop);
    assert_eq!(ended(server.drained).await, Drained::Whole);
    assert!(told.elapsed() < PATIENCE / 2, "{:?}", told.elapsed());
    assert_eq!(read_to_end(&mut half).await, "");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let number = holder.local_addr().expect("an address").port();
    let port = || number.to_string().parse::<Port>().expect("a port");
    let error = port().bind_on(Host::default()).await.expect_err("it is taken");
    assert!(matches!(error, Error::PortTaken { address } if address.port() == number), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot bind port {number} on 127.0.0.1: ")), "{error}");
    drop(holder);
    let bound = port().bind_on(Host::default()).await.expect("it is free");
    assert_eq!(bound.local_addr(), SocketAddr::from(([127, 0, 0, 1], number)));
}

#[tokio::test]
async fn every_host_that_is_documented_can_be_bound() {
    for (host, dial) in [("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")] {
        // A port that was free a moment ago may be taken by now; then another is tried.
        let bound = loop {
            let free = TcpListener::bind((dial, 0)).await.expect("a port").local_addr().expect("an address").port();
            let port: Port = free.to_string().parse().expect("a port");
            match port.bind_on(host.parse().expect(host)).await {
                Ok(bound) => break bound,
                Err(Error::PortTaken { .. }) => {}
                Err(error) => panic!("{host}: {error}"),
            }
        };
        let address = bound.local_addr();
        let server = tokio::spawn(bound.serve_until(Router::<()>::new(), pending()));
        let mut client = TcpStream::connect((dial, address.port())).await.expect(host);
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("sent");
        assert!(read_to_end(&mut client).await.starts_with("HTTP/1.0 404"), "{host}");
        server.abort();
    }
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused_with_advice() {
    let port: Port = "5000".parse().expect("a port");
    let error = port.bind_on("192.0.2.1".parse().expect("an address")).await.expect_err("not ours");
    assert!(matches!(error, Error::Bind { .. }), "{error}");
    assert!(error.to_string().contains("192.0.2.1:5000") && error.to_string().contains("set HOST"), "{error}");
}
