//! What `TERM` and `INT` do. Each test has this process signal itself, so they are one test.

#![expect(clippy::expect_used, reason = "a test panics where it fails, and so do its helpers")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tambat_app::{Bound, Drained, Error};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One test, because signals reach the whole process.
#[tokio::test]
async fn term_and_int_drain_and_only_a_second_int_cuts() {
    for first in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut client, address, server, go_on) = request_in_flight().await;
        send(first).await;
        refused(address).await;
        // A runner that repeats TERM, or sends it after the terminal's INT, does not cut.
        send(Signal::SIGTERM).await;
        go_on.notify_one();
        let mut answer = String::new();
        timeout(PATIENCE, client.read_to_string(&mut answer)).await.expect("in time").expect("whole");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("at last"), "{first}: {answer}");
        assert_eq!(ended(server).await, Drained::Whole, "{first}");
    }
    for first in [Signal::SIGTERM, Signal::SIGINT] {
        let (_client, address, server, _go_on) = request_in_flight().await;
        send(first).await;
        refused(address).await;
        send(Signal::SIGINT).await;
        assert_eq!(ended(server).await, Drained::Cut { connections: 1 }, "{first}");
    }
}

async fn request_in_flight() -> (TcpStream, SocketAddr, JoinHandle<Result<Drained, Error>>, Arc<Notify>) {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
        move || async move {
            reached.notify_one();
            go_on.notified().await;
            "at last"
        }
    };
    let bound = Bound::try_from(TcpListener::bind("127.0.0.1:0").await.expect("a port")).expect("an address");
    let address = bound.local_addr();
    let server = tokio::spawn(bound.serve(Router::new().route("/", get(slow))));
    let mut client = TcpStream::connect(address).await.expect("a connection");
    client.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").await.expect("sent");
    timeout(PATIENCE, reached.notified()).await.expect("the handler is reached, and so the signals are watched");
    (client, address, server, go_on)
}

/// Sends it to this process, and waits until the runtime has told everybody who watches: what is still under way
/// would reach the next server.
async fn send(kind: Signal) {
    let mut seen = signal(SignalKind::from_raw(kind as i32)).expect("signals can be watched");
    kill(Pid::this(), kind).expect("a process may signal itself");
    timeout(PATIENCE, seen.recv()).await.expect("the signal arrives");
}

async fn ended(server: JoinHandle<Result<Drained, Error>>) -> Drained {
    let joined = timeout(PATIENCE, server).await.expect("the drain ends in time");
    joined.expect("the server does not panic").expect("signals can be watched")
}

/// Until nobody listens there any more: the drain has begun.
async fn refused(address: SocketAddr) {
    let until_refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until_refused).await.expect("the port closes");
}
