//! The words of these tests: messages as they are on the wire, and a backend that answers by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tambat_model::{ErrorCode, HttpRules, Protocol};
use tambat_router::RouterSettings;

use crate::rig::{Backend, Rig, bounded, eventually, pass, serve};

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn first_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// The values of this field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The value of this field, which stands once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} in {}", self.head);
        all.first().copied()
    }

    pub(crate) fn status(&self) -> u16 {
        self.first_line().split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The head of the next message, and nothing of what follows it.
pub(crate) fn head(mut stream: &TcpStream) -> Message {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    Message { head: String::from_utf8(head).unwrap(), body: Vec::new() }
}

/// The next message, which says how long it is.
pub(crate) fn message(stream: &TcpStream) -> Message {
    let mut message = head(stream);
    if let Some(length) = message.field("content-length") {
        message.body = exactly(stream, length.parse().unwrap());
    } else if message.field("transfer-encoding") == Some("chunked") {
        message.body = chunks(stream);
    }
    message
}

pub(crate) fn exactly(mut stream: &TcpStream, bytes: usize) -> Vec<u8> {
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body).unwrap();
    body
}

/// A body in chunks, without trailers.
pub(crate) fn chunks(stream: &TcpStream) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&line(stream), 16).unwrap();
        body.extend(exactly(stream, size));
        assert_eq!(line(stream), "");
        if size == 0 {
            return body;
        }
    }
}

fn line(mut stream: &TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

pub(crate) fn send(mut stream: &TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).unwrap();
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Asks, and gets this answer's text.
pub(crate) fn asks(client: &TcpStream, path: &str) -> String {
    send(client, get(path));
    let answer = message(client);
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text().to_owned()
}

/// A router for HTTP with these backends, rules and settings.
pub(crate) fn router(backends: &[&Backend], rules: HttpRules, settings: RouterSettings) -> Rig {
    let mut rig = Rig::with(Protocol::Http, None, settings);
    rig.rules = rules;
    rig.publish(serve(backends));
    rig
}

/// The same with nothing special. One worker, so that it is known who has which kept connections.
pub(crate) fn plain(backends: &[&Backend]) -> Rig {
    let settings = RouterSettings { workers: NonZeroUsize::MIN, ..RouterSettings::default() };
    router(backends, HttpRules::default(), settings)
}

/// A client whose request has reached the backend: both ends.
pub(crate) fn exchange(rig: &Rig, backend: &Backend, request: &str) -> (TcpStream, TcpStream) {
    let client = rig.client();
    send(&client, request);
    let target = backend.accept();
    (client, target)
}

/// A client of this loopback address.
pub(crate) fn client_at(rig: &Rig, address: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&rig.addr().into()).unwrap();
    bounded(socket.into())
}

/// Has the other side closed, in whatever way, without another byte?
pub(crate) fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing happens"),
        Err(_) => true,
    }
}

pub(crate) fn errors(rig: &Rig, code: ErrorCode) -> u64 {
    rig.traffic.snapshot().errors[code.index()]
}

/// A pattern with a prime period, so that nothing that moves in pages goes unnoticed.
pub(crate) fn pattern(bytes: usize) -> impl Iterator<Item = u8> + Clone {
    (0..251_u8).cycle().take(bytes)
}

/// A backend whose every connection answers each request with its name and the request's path.
pub(crate) struct Server {
    pub(crate) backend: Arc<Backend>,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(name: &str) -> Self {
        Self::slow(name, Duration::ZERO)
    }

    /// One that takes so long for each answer.
    pub(crate) fn slow(name: &str, takes: Duration) -> Self {
        let backend = Arc::new(Backend::new(name));
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let stopped = Arc::<AtomicBool>::default();
        let thread = {
            let (backend, connections, requests, stopped, name) =
                (backend.clone(), connections.clone(), requests.clone(), stopped.clone(), name.to_owned());
            std::thread::spawn(move || {
                backend.listener.set_nonblocking(true).unwrap();
                let mut serving = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let Ok((stream, _)) = backend.listener.accept() else {
                        pass(Duration::from_millis(1));
                        continue;
                    };
                    connections.fetch_add(1, Ordering::Relaxed);
                    let (requests, name) = (requests.clone(), name.clone());
                    stream.set_nonblocking(false).unwrap();
                    serving.push((
                        stream.try_clone().unwrap(),
                        std::thread::spawn(move || {
                            answer_all(&stream, &name, takes, &requests);
                        }),
                    ));
                }
                for (stream, thread) in serving {
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    thread.join().unwrap();
                }
            })
        };
        Self { backend, connections, requests, stopped, thread: Some(thread) }
    }

    pub(crate) fn served(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Simple requests without bodies, of which many may come in one read.
fn answer_all(mut stream: &TcpStream, name: &str, takes: Duration, requests: &AtomicUsize) {
    let (mut got, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(more) => got.extend_from_slice(&chunk[..more]),
        }
        while let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).into_owned();
            got.drain(..end + 4);
            if !takes.is_zero() {
                pass(takes);
            }
            requests.fetch_add(1, Ordering::Relaxed);
            let path = head.split(' ').nth(1).unwrap_or_default();
            if stream.write_all(ok(&format!("{name} {path}")).as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Nothing is left of what was served.
pub(crate) fn all_is_over(rig: &Rig) {
    eventually("no request is left", || {
        let now = rig.traffic.snapshot();
        now.in_flight() == 0 && now.requests == now.ended
    });
}
