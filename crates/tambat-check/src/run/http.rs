//! A client of HTTP/1 that looks closely: requests of exact bytes, answers read to their end.

use std::io;

use tambat_wire::http1::{ChunkDecoder, FieldSlots, Head, Limits, MethodKind, Piece, ResponseFraming, response_head};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::Address;

/// Links stand at the beginning of a page; more of a body is read and not kept.
const BODY_KEPT_BYTES_MAX: usize = 256 * 1024;

/// An answer that has no end is cut here.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An answer, as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The fields, as they came; what is not text is replaced.
    pub(super) fields: Vec<(String, String)>,
    /// The beginning of the body.
    pub(super) body: Vec<u8>,
    /// Did it come to its end as the head says?
    pub(super) is_whole: bool,
    /// How many bytes came, the head included.
    pub(super) bytes: usize,
}

impl Answer {
    /// More of its body.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        keep(self, bytes);
        self.bytes += bytes.len();
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The connection ended or failed, after so many bytes of a head.
    Ended(usize, Option<io::Error>),
    /// It answered something that is no head.
    NotHttp(&'static str),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(0, None) => f.write_str("it closed the connection"),
            Self::Ended(bytes, None) => write!(f, "it closed the connection after {bytes} bytes of a head"),
            Self::Ended(_, Some(error)) => write!(f, "the connection failed: {error}"),
            Self::NotHttp(cause) => f.write_str(cause),
        }
    }
}

/// A connection on which one request follows the other.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(addr: Address) -> io::Result<Self> {
        let stream = addr.connect().await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Has the other side sent anything that nobody has read yet, or closed? Does not wait.
    pub(super) fn has_news(&mut self) -> bool {
        let mut chunk = [0; 1024];
        match self.stream.try_read(&mut chunk) {
            Ok(length) => {
                self.read.extend_from_slice(&chunk[..length]);
                true
            }
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Reads one answer to a `GET` or `POST`, interim ones passed over.
    pub(super) async fn answer(&mut self) -> Result<Answer, NoAnswer> {
        loop {
            let (mut answer, head, framing) = self.head().await?;
            self.read.drain(..head);
            if (100..200).contains(&answer.status) && answer.status != 101 {
                continue;
            }
            answer.bytes = head;
            self.body(&mut answer, framing).await;
            return Ok(answer);
        }
    }

    async fn head(&mut self) -> Result<(Answer, usize, ResponseFraming), NoAnswer> {
        loop {
            let mut slots = FieldSlots::new();
            match response_head(&self.read, &mut slots, &Limits::default()) {
                Head::Found(head) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let answer = Answer {
                        status: head.status(),
                        fields: head.fields().map(|(name, value)| (name.to_owned(), text(value))).collect(),
                        body: Vec::new(),
                        is_whole: false,
                        bytes: 0,
                    };
                    return Ok((answer, head.len(), head.framing(MethodKind::Get)));
                }
                Head::Refused(refusal) => return Err(NoAnswer::NotHttp(refusal.cause)),
                Head::Incomplete => {}
            }
            match self.more().await {
                Ok(0) => return Err(NoAnswer::Ended(self.read.len(), None)),
                Ok(_) => {}
                Err(error) => return Err(NoAnswer::Ended(self.read.len(), Some(error))),
            }
        }
    }

    async fn body(&mut self, answer: &mut Answer, framing: ResponseFraming) {
        match framing {
            ResponseFraming::None => answer.is_whole = true,
            ResponseFraming::Length(length) => self.sized(answer, length).await,
            ResponseFraming::Chunked => self.chunked(answer).await,
            ResponseFraming::UntilClose => {
                // A connection that fails is no end.
                answer.is_whole = loop {
                    let length = self.read.len();
                    take(answer, &mut self.read, length);
                    match self.more().await {
                        Ok(0) => break true,
                        Ok(_) if within(answer) => {}
                        Ok(_) | Err(_) => break false,
                    }
                };
            }
        }
    }

    async fn sized(&mut self, answer: &mut Answer, length: u64) {
        let mut left = length;
        loop {
            let now = self.read.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(answer, &mut self.read, now);
            left -= now as u64;
            if left == 0 {
                answer.is_whole = true;
                return;
            }
            if !within(answer) || !self.more().await.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }

    async fn chunked(&mut self, answer: &mut Answer) {
        let mut decoder = ChunkDecoder::default();
        loop {
            let Ok(decoded) = decoder.decode(&self.read) else { return };
            if let Piece::Data(range) = &decoded.piece {
                keep(answer, &self.read[range.clone()]);
            }
            let is_over = matches!(decoded.piece, Piece::End(_));
            let is_stuck = decoded.piece == Piece::Nothing;
            self.read.drain(..decoded.used);
            answer.bytes += decoded.used;
            if is_over {
                answer.is_whole = true;
                return;
            }
            if is_stuck && (!within(answer) || !self.more().await.is_ok_and(|read| read > 0)) {
                return;
            }
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.read).await
    }
}

pub(super) fn within(answer: &Answer) -> bool {
    (answer.bytes as u64) < BODY_BYTES_MAX
}

fn take(answer: &mut Answer, read: &mut Vec<u8>, length: usize) {
    keep(answer, &read[..length]);
    answer.bytes += length;
    read.drain(..length);
}

fn keep(answer: &mut Answer, bytes: &[u8]) {
    let room = BODY_KEPT_BYTES_MAX.saturating_sub(answer.body.len());
    answer.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// `GET`, with further fields, each with its line's end.
pub(super) fn get(path: &str, host: &str, fields: &str) -> Vec<u8> {
    let path = clean(path);
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tambat-check\r\nAccept: */*\r\n{fields}\r\n")
        .into_bytes()
}

/// The head of a `POST` of so many bytes.
pub(super) fn post_head(path: &str, host: &str, length: usize) -> Vec<u8> {
    let path = clean(path);
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tambat-check\r\nAccept: */*\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// A path as it may stand in a request line: it begins with `/` and holds no blank.
pub(super) fn clean(path: &str) -> String {
    let path: String = path.chars().filter(char::is_ascii_graphic).collect();
    if path.starts_with('/') { path } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of a server that sends this and closes.
    async fn read(says: &'static [u8]) -> Result<Answer, NoAnswer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = Address::plain(listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(says).await.unwrap();
        });
        let mut connection = Connection::open(addr).await.unwrap();
        connection.send(&get("/", "h", "")).await.unwrap();
        let answer = connection.answer().await;
        server.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn an_answer_is_whole_when_its_head_says_so() {
        for (says, body, is_whole) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..], "hello", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "hel", false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello", true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "hel", false),
            (b"HTTP/1.0 200 OK\r\n\r\nhello", "hello", true),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "", true),
            (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true),
        ] {
            let answer = read(says).await.unwrap();
            assert_eq!(
                (answer.body.as_slice(), answer.is_whole),
                (body.as_bytes(), is_whole),
                "{}",
                says.escape_ascii()
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_says_why() {
        assert_eq!(read(b"").await.unwrap_err().to_string(), "it closed the connection");
        assert_eq!(
            read(b"HTTP/1.1 2").await.unwrap_err().to_string(),
            "it closed the connection after 10 bytes of a head"
        );
        assert!(matches!(read(b"SSH-2.0-x\r\n").await, Err(NoAnswer::NotHttp(_))));
    }

    #[test]
    fn a_request_is_one_request() {
        let request = String::from_utf8(get("a b\r\nc", "h", "X: y\r\n")).unwrap();
        assert!(request.starts_with("GET /abc HTTP/1.1\r\nHost: h\r\n") && request.ends_with("\r\nX: y\r\n\r\n"));
    }
}
