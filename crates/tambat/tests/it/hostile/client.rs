//! A client that sends bytes as they are, reads answers by their framing, and knows how a connection ended.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

/// Nothing that is waited for here takes nearly as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to the router.
pub(super) struct Client {
    stream: TcpStream,
    /// Read, and not part of an answer yet.
    ahead: Vec<u8>,
    end: Option<End>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a FIN.
    Closed,
    /// With an RST.
    Reset,
    /// Not yet, when the time was over.
    Open,
}

/// An answer, interim ones included.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Status line and fields, without the empty line.
    pub(super) head: String,
    /// Decoded where it was chunked.
    pub(super) body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    /// What had come of it.
    pub(super) part: String,
    pub(super) end: End,
}

/// A connection that comes from this address of 127.0.0.0/8.
pub(super) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(made.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0))).unwrap();
    connect(made.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    TcpStream::from(made)
}

impl Client {
    pub(super) fn connect(addr: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&addr, PATIENCE).unwrap())
    }

    pub(super) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, ahead: Vec::new(), end: None }
    }

    /// Sends all of it.
    #[track_caller]
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends as much as is taken before the router closes.
    pub(super) fn send_what_goes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends as much as is taken beside what else happens: the router may answer before it has read everything.
    pub(super) fn send_beside(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().unwrap();
        thread::spawn(move || {
            let _ = stream.write_all(&bytes);
        })
    }

    /// Sends a byte at a time, each in a segment of its own, until the router has answered or all is sent.
    pub(super) fn send_by_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.stream.write_all(std::slice::from_ref(byte)).is_err() {
                return;
            }
        }
    }

    /// Says that nothing more comes.
    pub(super) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Cuts the connection with an RST.
    pub(super) fn reset(self) {
        reset_on_close(&self.stream);
    }

    /// The next answer; interim ones are answers, too.
    #[track_caller]
    pub(super) fn answer(&mut self) -> Answer {
        self.try_answer(false).unwrap_or_else(|broken| panic!("no whole answer: {broken:?}"))
    }

    /// The next answer, to a HEAD.
    #[track_caller]
    pub(super) fn answer_to_head(&mut self) -> Answer {
        self.try_answer(true).unwrap_or_else(|broken| panic!("no whole answer: {broken:?}"))
    }

    /// The next final answer.
    #[track_caller]
    pub(super) fn final_answer(&mut self) -> Answer {
        loop {
            let answer = self.answer();
            if answer.status >= 200 || answer.status == 101 {
                return answer;
            }
        }
    }

    /// The next answer, or what came instead of a whole one.
    pub(super) fn try_answer(&mut self, head_only: bool) -> Result<Answer, Broken> {
        let deadline = Instant::now() + PATIENCE;
        let head = self.until_blank_line(deadline)?;
        let status = status_of(&head).ok_or_else(|| Broken { part: head.clone(), end: End::Open })?;
        let mut answer = Answer { status, head, body: Vec::new() };
        if head_only || status < 200 || status == 204 || status == 304 {
            return Ok(answer);
        }
        answer.body = self.body_of(&answer, deadline)?;
        Ok(answer)
    }

    /// Everything until the end; what else came, and how it ended.
    pub(super) fn rest(&mut self) -> (Vec<u8>, End) {
        self.rest_within(PATIENCE)
    }

    /// The same within this time.
    pub(super) fn rest_within(&mut self, time: Duration) -> (Vec<u8>, End) {
        let deadline = Instant::now() + time;
        while self.fill(deadline) {}
        (std::mem::take(&mut self.ahead), self.end.unwrap_or(End::Open))
    }

    /// For many answers, each with a length: reads the next one, gives its status and its body.
    #[track_caller]
    pub(super) fn quick_answer(reader: &mut impl BufRead, line: &mut String) -> (u16, String) {
        let mut next = |line: &mut String| {
            line.clear();
            assert!(reader.read_line(line).unwrap() > 0, "the connection has ended");
        };
        next(line);
        let status = status_of(line.trim_end()).unwrap_or_else(|| panic!("{line:?}"));
        let mut length = 0;
        while line != "\r\n" {
            next(line);
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim_end().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    /// A reader of its own for [`Self::quick_answer`].
    pub(super) fn reader(&self) -> BufReader<TcpStream> {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::with_capacity(64 * 1024, self.stream.try_clone().unwrap())
    }

    /// Nothing more comes, and the router closes.
    #[track_caller]
    pub(super) fn must_be_closed(&mut self, why: &str) {
        let (rest, end) = self.rest();
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(500)]).into_owned();
        assert!(rest.is_empty(), "{why}: more than one answer: {shown}");
        assert_ne!(end, End::Open, "{why}: the connection is not closed");
    }

    /// At least so many bytes of whatever comes, then everything read so far.
    #[track_caller]
    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.ahead.len() < count {
            assert!(self.fill(deadline), "{count} bytes did not come: {:?} {:?}", self.ahead, self.end);
        }
        std::mem::take(&mut self.ahead)
    }

    /// For what this does not know.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn until_blank_line(&mut self, deadline: Instant) -> Result<String, Broken> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                let rest = self.ahead.split_off(at + 4);
                self.ahead.truncate(at);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.fill(deadline) {
                return Err(self.broken());
            }
        }
    }

    fn body_of(&mut self, answer: &Answer, deadline: Instant) -> Result<Vec<u8>, Broken> {
        let (length, coding) = (answer.fields("content-length"), answer.fields("transfer-encoding"));
        assert!(length.len() + coding.len() <= 1, "two framings: {}", answer.head);
        if let Some(length) = length.first() {
            return self.exactly(length.parse().unwrap(), deadline);
        }
        if coding.is_empty() {
            while self.fill(deadline) {}
            let body = std::mem::take(&mut self.ahead);
            if self.end == Some(End::Closed) { Ok(body) } else { Err(self.broken_after(&body)) }
        } else {
            assert_eq!(coding, ["chunked"], "{}", answer.head);
            self.chunks(deadline)
        }
    }

    fn chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line(deadline).map_err(|broken| broken.after(&body))?;
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("a chunk of size {line:?}"));
            if size == 0 {
                while !self.line(deadline)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size, deadline)?);
            assert_eq!(self.line(deadline)?, "", "a chunk is not ended");
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<String, Broken> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let line = self.ahead.drain(..at + 2).take(at).collect::<Vec<u8>>();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if !self.fill(deadline) {
                return Err(self.broken());
            }
        }
    }

    fn exactly(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>, Broken> {
        while self.ahead.len() < count {
            if !self.fill(deadline) {
                return Err(self.broken());
            }
        }
        let rest = self.ahead.split_off(count);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    fn broken(&mut self) -> Broken {
        let part = std::mem::take(&mut self.ahead);
        self.broken_after(&part)
    }

    fn broken_after(&self, part: &[u8]) -> Broken {
        Broken { part: String::from_utf8_lossy(part).into_owned(), end: self.end.unwrap_or(End::Open) }
    }

    /// Reads once; false at the end of the connection and of the time.
    fn fill(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if self.end.is_some() || left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left)).unwrap();
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end = Some(End::Closed),
            Ok(read) => {
                self.ahead.extend_from_slice(&buffer[..read]);
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.end = Some(End::Reset),
        }
        false
    }
}

impl Broken {
    fn after(mut self, body: &[u8]) -> Self {
        self.part.insert_str(0, &String::from_utf8_lossy(body));
        self
    }
}

impl Answer {
    /// The values of all fields of this name, in lower case.
    pub(super) fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.head, name)
    }

    /// The value of the one field of this name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.fields(name);
        assert!(fields.len() <= 1, "{name} more than once: {}", self.head);
        fields.first().copied()
    }

    /// The name of the router's own error.
    pub(super) fn code(&self) -> Option<&str> {
        self.field("tambat-error")
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{:.600}", self.head, self.text())
    }
}

/// The values of all fields of this name, given in lower case, in a head.
pub(super) fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_matches([' ', '\t'])).collect()
}

/// When this is closed, its peer gets an RST.
pub(super) fn reset_on_close(stream: &TcpStream) {
    let cut = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream.as_fd(), sockopt::Linger, &cut).unwrap();
}

/// Where `part` begins in `bytes`.
pub(super) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Of `HTTP/1.1 200 OK`, and of nothing less.
fn status_of(head: &str) -> Option<u16> {
    let line = head.split("\r\n").next()?;
    let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    line.is_char_boundary(12).then(|| status.parse().ok())?
}
