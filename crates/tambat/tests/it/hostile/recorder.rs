//! The app behind the router: it writes down every byte and every request that it is sent, and answers by a script.
//! What is not HTTP to the letter, or could be read in two ways, is *junk*: a router must never send it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::{PATIENCE, fields, find, reset_on_close};

/// What is done with a request, whose body is not read yet.
type Script = dyn Fn(&mut Visit, &Request) -> Then + Send + Sync;

/// An app on 127.0.0.1.
pub(super) struct Recorder {
    pub(super) addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
    script: Box<Script>,
}

/// Everything that it has been sent.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) connections: Vec<Connection>,
    pub(super) requests: Vec<Request>,
    /// What is no request to the letter: why, and the bytes.
    pub(super) junk: Vec<String>,
    ended: bool,
}

/// One connection that the router made.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Every byte.
    pub(super) bytes: Vec<u8>,
    /// How many of them are part of nothing yet.
    pub(super) pending: usize,
    /// Has the router closed it?
    pub(super) closed: bool,
    /// Has it, with an RST?
    pub(super) reset: bool,
}

/// One request.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// Its place in the log.
    id: usize,
    /// On which connection it came.
    pub(super) connection: usize,
    /// How many came before it on the same connection.
    pub(super) nth: usize,
    pub(super) method: String,
    pub(super) path: String,
    /// Request line and fields, without the empty line.
    pub(super) head: String,
    /// Decoded.
    pub(super) body: Vec<u8>,
    /// The lines after the last chunk.
    pub(super) trailers: Vec<String>,
    /// Has the body come to its own end?
    pub(super) whole: bool,
}

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request is waited for.
    Next,
    /// It is closed.
    Close,
    /// It is cut with an RST.
    Reset,
}

/// The app's end of a connection.
pub(super) struct Visit {
    stream: TcpStream,
    connection: usize,
    nth: usize,
    ahead: Vec<u8>,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Answers each request with what it saw of it.
    pub(super) fn start() -> Self {
        Self::playing(Visit::echo)
    }

    /// Answers by a script, but for requests to `/good…`, which are answered as they should be.
    pub(super) fn playing(script: impl Fn(&mut Visit, &Request) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            changed: Condvar::new(),
            streams: Mutex::default(),
            script: Box::new(script),
        });
        let inner = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if inner.log().ended {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                inner.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let connection = inner.change(|log| {
                    log.connections.push(Connection::default());
                    log.connections.len() - 1
                });
                let shared = Arc::clone(&inner);
                thread::spawn(move || Visit { stream, connection, nth: 0, ahead: Vec::new(), shared }.receive());
            }
        });
        Self { addr, shared, accepting: Some(accepting) }
    }

    /// What it has been sent so far.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log()
    }

    /// Waits until the log says so.
    #[track_caller]
    pub(super) fn until<T>(&self, what: &str, look: impl Fn(&Log) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.shared.log();
        loop {
            if let Some(found) = look(&log) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited for {what}; the app saw {:#?} {:?}", log.requests, log.junk);
            log = self.shared.changed.wait_timeout(log, left).unwrap().0;
        }
    }

    /// The one request whose path contains this.
    #[track_caller]
    pub(super) fn request(&self, mark: &str) -> Request {
        let mut found = self.requests(mark);
        assert_eq!(found.len(), 1, "requests with {mark}: {found:#?}");
        found.remove(0)
    }

    /// All requests whose path contains this.
    pub(super) fn requests(&self, mark: &str) -> Vec<Request> {
        self.log().requests.iter().filter(|request| request.path.contains(mark)).cloned().collect()
    }

    /// The one request whose path contains this, once it has come.
    #[track_caller]
    pub(super) fn arrived(&self, mark: &str) -> Request {
        self.until(&format!("a request with {mark}"), |log| {
            log.requests.iter().find(|request| request.path.contains(mark)).cloned()
        })
    }

    /// Waits until the router has closed this connection.
    #[track_caller]
    pub(super) fn until_closed(&self, connection: usize) {
        self.until(&format!("connection {connection} to be closed"), |log| {
            log.connections[connection].closed.then_some(())
        });
    }

    /// Everything but good requests that it has seen, for those it should have seen nothing of.
    pub(super) fn strangers(&self) -> Vec<String> {
        let log = self.log();
        let requests = log.requests.iter().filter(|request| !request.is_good()).map(|r| r.head.clone());
        let pending = log.connections.iter().filter(|connection| connection.pending > 0);
        let pending = pending.map(|c| String::from_utf8_lossy(&c.bytes[c.bytes.len() - c.pending..]).into_owned());
        requests.chain(log.junk.iter().cloned()).chain(pending).collect()
    }

    /// Whether these bytes came on any connection.
    pub(super) fn received(&self, part: &str) -> bool {
        self.log().connections.iter().any(|connection| find(&connection.bytes, part.as_bytes()).is_some())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.change(|log| log.ended = true);
        // Wakes the accept.
        drop(TcpStream::connect(self.addr));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log());
        self.changed.notify_all();
        result
    }
}

impl Request {
    /// The values of all fields of this name, in lower case.
    pub(super) fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// The value of the one field of this name.
    #[track_caller]
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.fields(name);
        assert!(fields.len() <= 1, "{name} more than once: {}", self.head);
        fields.first().copied()
    }

    fn is_good(&self) -> bool {
        self.path.starts_with("/good")
    }
}

impl Visit {
    /// Answers with what it saw, and takes the next one.
    pub(super) fn echo(&mut self, request: &Request) -> Then {
        if self.body(request).is_none() {
            return Then::Close;
        }
        let text = format!("saw {} {}", request.method, request.path);
        let body = if request.method == "HEAD" { "" } else { &text };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", text.len());
        if self.send(answer) { Then::Next } else { Then::Close }
    }

    /// Reads the body up to its own end; none: it was cut off or is junk.
    pub(super) fn body(&mut self, request: &Request) -> Option<Vec<u8>> {
        let (body, trailers) = match framing(&request.head).ok()? {
            Framing::Length(length) => (self.exactly(length, request.id)?, Vec::new()),
            Framing::Chunked => self.chunks(request.id)?,
        };
        self.shared.change(|log| {
            let recorded = &mut log.requests[request.id];
            (recorded.body, recorded.trailers, recorded.whole) = (body.clone(), trailers, true);
        });
        Some(body)
    }

    /// Sends; false when the router has closed.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The bytes that come next, any number of them; none at the end.
    pub(super) fn more(&mut self) -> Option<Vec<u8>> {
        if self.ahead.is_empty() && !self.fill() {
            return None;
        }
        self.settle(self.ahead.len());
        Some(std::mem::take(&mut self.ahead))
    }

    /// Nothing comes for so long.
    pub(super) fn is_quiet(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let is_quiet = self.ahead.is_empty() && !self.fill() && !self.is_closed();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        is_quiet
    }

    fn is_closed(&self) -> bool {
        self.shared.log().connections[self.connection].closed
    }

    /// Takes whatever still comes until the router closes; true when it does.
    pub(super) fn until_closed(&mut self) -> bool {
        while self.more().is_some() {}
        self.is_closed()
    }

    /// For what this does not know.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn receive(mut self) {
        while let Some(request) = self.head() {
            let shared = Arc::clone(&self.shared);
            let then = if request.is_good() { self.echo(&request) } else { (shared.script)(&mut self, &request) };
            match then {
                Then::Next => {}
                Then::Close => break,
                Then::Reset => {
                    reset_on_close(&self.stream);
                    self.shared.change(|log| log.connections[self.connection].closed = true);
                    self.forget();
                    return;
                }
            }
        }
        self.forget();
        let _ = self.stream.shutdown(Shutdown::Write);
        // Not with an RST over what the router still sends.
        self.until_closed();
    }

    /// Drops the copy that is kept for the end of the recorder.
    fn forget(&self) {
        let peer = self.stream.peer_addr().ok();
        self.shared.streams.lock().unwrap().retain(|stream| stream.peer_addr().ok() != peer);
    }

    /// The next head; none at the end of the connection.
    fn head(&mut self) -> Option<Request> {
        let end = loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                break end;
            }
            if !self.fill() {
                return None;
            }
        };
        let bytes: Vec<u8> = self.ahead.drain(..end + 4).collect();
        let head = match head_to_the_letter(&bytes[..end]) {
            Ok(head) => head,
            Err(why) => return self.junk(why, &bytes),
        };
        let mut words = head.split("\r\n").next().unwrap_or_default().split(' ').map(str::to_owned);
        let mut request = Request {
            connection: self.connection,
            nth: self.nth,
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            head,
            ..Request::default()
        };
        self.nth += 1;
        self.settle(end + 4);
        self.shared.change(|log| {
            request.id = log.requests.len();
            log.requests.push(request.clone());
        });
        Some(request)
    }

    fn chunks(&mut self, id: usize) -> Option<(Vec<u8>, Vec<String>)> {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        loop {
            let line = self.line()?;
            let digits = line.bytes().all(|byte| byte.is_ascii_hexdigit());
            let Some(size) = usize::from_str_radix(&line, 16).ok().filter(|_| digits) else {
                return self.junk("a chunk size", line.as_bytes());
            };
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size, id)?);
            let end = self.line()?;
            if !end.is_empty() {
                return self.junk("the end of a chunk", end.as_bytes());
            }
            self.shared.change(|log| log.requests[id].body.clone_from(&body));
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some((body, trailers));
            }
            trailers.push(line);
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                self.settle(at + 2);
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn exactly(&mut self, count: usize, id: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < count {
            if !self.fill() {
                let part = self.ahead.clone();
                self.shared.change(|log| log.requests[id].body.extend(part));
                return None;
            }
        }
        self.settle(count);
        Some(self.ahead.drain(..count).collect())
    }

    /// So many bytes have found their place.
    fn settle(&self, count: usize) {
        self.shared.change(|log| log.connections[self.connection].pending -= count);
    }

    fn junk<T>(&self, why: &str, bytes: &[u8]) -> Option<T> {
        let shown = format!("{why}: {:?}", String::from_utf8_lossy(bytes));
        self.shared.change(|log| log.junk.push(shown));
        None
    }

    /// Reads and records once; false at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer);
        self.shared.change(|log| {
            let connection = &mut log.connections[self.connection];
            match read {
                Ok(0) => connection.closed = true,
                Ok(read) => {
                    connection.bytes.extend_from_slice(&buffer[..read]);
                    connection.pending += read;
                    self.ahead.extend_from_slice(&buffer[..read]);
                    return true;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => (connection.closed, connection.reset) = (true, true),
            }
            false
        })
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

/// The framing of a request: exactly one spelling of each is taken.
fn framing(head: &str) -> Result<Framing, &'static str> {
    match (fields(head, "content-length").as_slice(), fields(head, "transfer-encoding").as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([], ["chunked"]) => Ok(Framing::Chunked),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| "a length")
        }
        _ => Err("two framings, or one with a second reading"),
    }
}

/// A head without anything that could be read in two ways (RFC 9112 §3, §5).
fn head_to_the_letter(bytes: &[u8]) -> Result<String, &'static str> {
    let head = String::from_utf8_lossy(bytes);
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, path, "HTTP/1.1"] = words.as_slice() else { return Err("a request line") };
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let is_path = path.starts_with('/') || (*path == "*" && *method == "OPTIONS");
    if !is_token(method) || !is_path || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a request line");
    }
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a line without colon")?;
        if !is_token(name) || value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err("a field");
        }
    }
    if fields(&head, "host").len() != 1 {
        return Err("not one Host");
    }
    framing(&head)?;
    Ok(head.into_owned())
}
