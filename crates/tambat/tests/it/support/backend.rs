//! An HTTP server of a test's own: it says its name, writes down what it was sent, and can die and come back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{LIMIT, until};

/// A server on 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    name: String,
    /// The heads of the requests, as they came.
    heads: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
    status: Mutex<u16>,
    delay: Mutex<Duration>,
    /// How many requests are being answered, and how many there were at most.
    busy: Mutex<(usize, usize)>,
    ended: Mutex<bool>,
}

impl Backend {
    /// At a port of the kernel's choice. Each answer's body is `NAME PATH`.
    pub(crate) fn start(name: &str) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), name)
    }

    /// At this address, which somebody else of the test's own has just left.
    pub(crate) fn at(addr: SocketAddr, name: &str) -> Self {
        let listener = until(&format!("{addr} to be free"), || TcpListener::bind(addr).ok());
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            name: name.to_owned(),
            heads: Mutex::default(),
            streams: Mutex::default(),
            status: Mutex::new(200),
            delay: Mutex::default(),
            busy: Mutex::default(),
            ended: Mutex::new(false),
        });
        let shared = Arc::clone(&state);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if *shared.ended.lock().unwrap() {
                    return;
                }
                let (Ok(stream), state) = (stream, Arc::clone(&shared)) else { continue };
                state.streams.lock().unwrap().push(stream.try_clone().unwrap());
                thread::spawn(move || state.serve(stream));
            }
        });
        Self { addr, state, accepting: Some(accepting) }
    }

    /// From now on it answers with this status.
    pub(crate) fn answers(&self, status: u16) {
        *self.state.status.lock().unwrap() = status;
    }

    /// From now on it takes so long for an answer.
    pub(crate) fn takes(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    /// How many requests it was answering at one moment at most.
    pub(crate) fn peak(&self) -> usize {
        self.state.busy.lock().unwrap().1
    }

    /// The heads of all requests so far, health probes included.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// The paths of all requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
    }

    /// Closes everything at once; gives back where it was.
    pub(crate) fn dies(self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        *self.state.ended.lock().unwrap() = true;
        // Wakes the accept; then the listener is closed with its thread.
        drop(TcpStream::connect(self.addr));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn begins(&self) {
        let mut busy = self.busy.lock().unwrap();
        busy.0 += 1;
        busy.1 = busy.1.max(busy.0);
    }

    /// Requests one after another, until the client closes.
    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(LIMIT));
        let mut reader = BufReader::new(stream);
        while let Some(head) = head(&mut reader) {
            let field = |name: &str| {
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|v| v.trim().to_owned()))
            };
            let length = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
            let is_whole = match field("transfer-encoding:") {
                Some(_) => skip_chunks(&mut reader).is_some(),
                None => reader.read_exact(&mut vec![0; length]).is_ok(),
            };
            if !is_whole {
                return;
            }
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = format!("{} {path}", self.name);
            self.heads.lock().unwrap().push(head);
            self.begins();
            let delay = *self.delay.lock().unwrap();
            super::pause(delay);
            self.busy.lock().unwrap().0 -= 1;
            let status = *self.status.lock().unwrap();
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Reads a body in chunks to its end (RFC 9112 §7.1), trailers included; none: the client has closed.
fn skip_chunks(reader: &mut impl BufRead) -> Option<()> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let bytes = usize::from_str_radix(size.trim_end().split(';').next()?, 16).ok()?;
        if bytes == 0 {
            break;
        }
        // With the end of its line.
        reader.read_exact(&mut vec![0; bytes + 2]).ok()?;
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            return Some(());
        }
    }
}

/// A request's head; none: the client has closed.
fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head.len() - before <= 2 && before > 0 {
            return Some(head);
        }
    }
}
