//! HTTP/2 in front of what is routed, with the client of the `h2` crate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tambat_model::Protocol;
use tambat_router::{RouterReport, RouterSettings};

use crate::rig::{Backend, PATIENCE, Rig, bounded, eventually};

/// What one piece of a body has.
const PIECE_BYTES: usize = 10_000;

/// Serves connections until the backend is dropped, each request's body sent back as it comes, in its own chunks, with
/// its trailers.
fn echo(backend: &Backend) -> JoinHandle<()> {
    let listener = backend.listener.try_clone().unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || while echo_one(&mut bounded(stream.try_clone().unwrap())).is_some() {});
        }
    })
}

fn echo_one(stream: &mut TcpStream) -> Option<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let head = loop {
        if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            more => seen.extend_from_slice(&buffer[..more]),
        }
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
    let mut sent = head;
    loop {
        stream.write_all(&seen[sent..]).ok()?;
        sent = seen.len();
        // No body has these bytes.
        if seen[head..].windows(12).any(|end| end == b"\r\nx-end: yes\r") && seen.ends_with(b"\r\n\r\n") {
            return Some(());
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            more => seen.extend_from_slice(&buffer[..more]),
        }
    }
}

async fn connect(rig: &Rig) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(rig.addr()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a.example{path}")).body(()).unwrap()
}

/// Sends so many pieces as the window opens, and then a trailer.
async fn send(mut to: SendStream<Bytes>, pieces: usize, fill: u8) {
    for _ in 0..pieces {
        let mut left = Bytes::from(vec![fill; PIECE_BYTES]);
        while !left.is_empty() {
            to.reserve_capacity(left.len());
            let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await.unwrap().unwrap();
            to.send_data(left.split_to(room.min(left.len())), false).unwrap();
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", "yes".parse().unwrap());
    to.send_trailers(trailers).unwrap();
}

/// Takes all of a body: how long it is, and its trailers. All of it has this byte.
async fn take(mut body: RecvStream, fill: u8) -> (usize, Option<HeaderMap>) {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        assert!(data.iter().all(|b| *b == fill));
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes += data.len();
    }
    (bytes, body.trailers().await.unwrap())
}

/// What waits for a socket does so in a thread of its own.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || drop(done.send(work())));
    is_done.await.unwrap()
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(6 * PATIENCE, test).await.expect("in time") });
}

#[test]
fn bodies_go_both_ways_side_by_side() {
    let backend = Backend::new("web.1");
    let rig = Rig::serving(Protocol::Http, &[&backend]);
    echo(&backend);
    run(async {
        let client = connect(&rig).await;
        let streams = (0..40_u8).map(|nth| {
            let mut client = client.clone();
            // From nothing at all to more than any window.
            let pieces = usize::from(nth) * 2;
            tokio::spawn(async move {
                let (answer, body) = client.send_request(post(&format!("/{nth}")), false).unwrap();
                let sending = tokio::spawn(send(body, pieces, nth));
                let answer = answer.await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                let (bytes, trailers) = take(answer.into_body(), nth).await;
                assert_eq!(bytes, pieces * PIECE_BYTES);
                assert_eq!(trailers.unwrap().get("x-end").unwrap(), "yes");
                sending.await.unwrap();
            })
        });
        for stream in streams.collect::<Vec<_>>() {
            stream.await.unwrap();
        }
    });
    // Streams are no connections.
    assert_eq!((rig.counters().connections, rig.counters().refused), (1, 0));
    eventually("it is closed", || rig.counters().open == 0);
}

#[test]
fn a_request_that_nobody_takes_holds_up_no_other() {
    let (deaf, rig) = (Backend::new("web.1"), Rig::new(Protocol::Http));
    rig.publish(crate::rig::serve(&[&deaf]));
    run(async {
        let mut client = connect(&rig).await;
        // Accepted, and never read: the window closes, and stays closed.
        let (_stalled, mut body) = client.send_request(post("/stalled"), false).unwrap();
        let listener = deaf.listener.try_clone().unwrap();
        let accepted = beside(move || listener.accept().unwrap().0).await;
        let mut sent = 0;
        loop {
            body.reserve_capacity(PIECE_BYTES);
            let capacity = std::future::poll_fn(|cx| body.poll_capacity(cx));
            match tokio::time::timeout(std::time::Duration::from_millis(300), capacity).await {
                Ok(room) => {
                    let room = room.unwrap().unwrap();
                    body.send_data(Bytes::from(vec![7; room]), false).unwrap();
                    sent += room;
                }
                Err(_) => break,
            }
        }
        assert!(sent < 64 * 1024 * 1024, "{sent} bytes were taken for an app that takes none");
        let well = Backend::new("web.2");
        echo(&well);
        rig.publish(crate::rig::serve(&[&well]));
        let (answer, body) = client.send_request(post("/well"), false).unwrap();
        send(body, 3, 9).await;
        assert_eq!(take(answer.await.unwrap().into_body(), 9).await.0, 3 * PIECE_BYTES);
        drop(accepted);
    });
}

/// A frame (RFC 9113 §4.1) behind the preface and an empty SETTINGS.
fn speak(rig: &Rig, kind: u8, flags: u8, stream: u8, payload: &[u8]) -> TcpStream {
    let mut client = bounded(rig.client());
    let head = [0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
    client.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &head[..], payload].concat()).unwrap();
    client
}

#[test]
fn what_the_codec_refuses_is_counted_and_reported_as_what_we_do() {
    let backend = Backend::new("web.1");
    let settings = RouterSettings { workers: NonZeroUsize::MIN, ..RouterSettings::default() };
    let mut rig = Rig::with(Protocol::Http, None, settings);
    rig.publish(crate::rig::serve(&[&backend]));
    let report = |rig: &mut Rig| match rig.report() {
        RouterReport::RefusedHttp2 { peer, cause } => (peer, cause),
        other => panic!("{other:?}"),
    };
    // A stream that no client may open (RFC 9113 §5.1.1): all of the connection.
    let client = speak(&rig, 1, 5, 2, &[0x82, 0x86, 0x84]);
    eventually("it is counted", || rig.counters().refused == 1);
    let peer = client.local_addr().unwrap();
    assert_eq!(report(&mut rig), (peer, "the connection was closed (PROTOCOL_ERROR)".to_owned()));
    // A name in upper case (§8.2.1), which the codec sees.
    let _malformed = speak(&rig, 1, 5, 1, b"\x82\x86\x84\x00\x01A\x01b");
    eventually("it is counted", || rig.counters().refused == 2);
    // A blank around a value (§8.2.1), which we see: that request alone.
    let _blank = speak(&rig, 1, 5, 1, b"\x82\x86\x84\x00\x01a\x02 b");
    eventually("it is counted", || rig.counters().refused == 3);
    // No flood of frames is one of reports.
    assert_eq!(rig.reports_so_far(), []);
}

#[test]
fn a_stream_that_is_reset_ends_its_request_alone() {
    let (backend, rig) = (Backend::new("web.1"), Rig::new(Protocol::Http));
    rig.publish(crate::rig::serve(&[&backend]));
    run(async {
        let mut client = connect(&rig).await;
        let (answer, mut body) = client.send_request(post("/given/up"), false).unwrap();
        let listener = backend.listener.try_clone().unwrap();
        let mut accepted = beside(move || listener.accept().unwrap().0).await;
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        body.send_reset(Reason::CANCEL);
        assert!(answer.await.is_err());
        let ended = beside(move || {
            let mut seen = Vec::new();
            accepted.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = accepted.read_to_end(&mut seen);
            seen
        });
        let seen = String::from_utf8(ended.await).unwrap();
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
        echo(&backend);
        let (answer, body) = client.send_request(post("/next"), false).unwrap();
        send(body, 1, 3).await;
        assert_eq!(take(answer.await.unwrap().into_body(), 3).await.0, PIECE_BYTES);
    });
}
