//! The server behind every proxy: one thread, answers made before anybody asked.

use std::{
    env,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd,
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    socket::{Backlog, listen},
};

use super::{
    reply::head_end,
    request::{LARGE_BYTES, SMALL_BYTES},
};

/// A proxy that is given a thousand connections at once dials a thousand.
const BACKLOG: i32 = 4_096;

const READ_BYTES: usize = 64 * 1024;

/// Of a large body, sent again and again: what stays in the processor's cache costs the sender least.
const BLOCK_BYTES: usize = 256 * 1024;

const EVENTS: usize = 512;

/// What the listener's event is called; connections are called by their number.
const LISTENER: u64 = u64::MAX;

/// The path whose answer is the head that arrived, so that one sees what a proxy does with it.
pub(super) const HEAD_PATH: &str = "/head";

/// The answer to the key of RFC 6455 §1.3.
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Plays the role at `PORT`, until it is ended.
pub(in super::super) fn play(kind: &str) -> io::Result<()> {
    let invalid = || io::Error::new(ErrorKind::InvalidInput, "PORT is not set, or no port");
    let port: u16 = env::var("PORT").ok().and_then(|port| port.parse().ok()).ok_or_else(invalid)?;
    serve(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?, kind)
}

/// What every request is answered with.
enum Script {
    /// A head, and so much of a body behind what came with it.
    Answer { first: Vec<u8>, more: u64 },
    /// The handshake, then the same messages.
    Echo,
}

impl Script {
    fn named(kind: &str) -> io::Result<Self> {
        match kind {
            "small" => Ok(Self::Answer { first: answer(&[b'x'; SMALL_BYTES]), more: 0 }),
            "large" => Ok(Self::Answer { first: head(LARGE_BYTES), more: LARGE_BYTES }),
            "websocket" => Ok(Self::Echo),
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "the backends are small, large and websocket")),
        }
    }
}

fn head(length: u64) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sun, 01 Nov 2026 12:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

fn answer(body: &[u8]) -> Vec<u8> {
    [&head(body.len() as u64), body].concat()
}

/// Serves until something goes wrong that concerns more than one connection.
pub(super) fn serve(listener: TcpListener, kind: &str) -> io::Result<()> {
    let script = Script::named(kind)?;
    listen(&listener, Backlog::new(BACKLOG).map_err(io::Error::from)?)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut server =
        Server { script, listener, epoll, block: vec![b'x'; BLOCK_BYTES], places: Vec::new(), free: Vec::new() };
    let (mut events, mut scratch) = (vec![EpollEvent::empty(); EVENTS], vec![0; READ_BYTES]);
    loop {
        let count = match server.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            match usize::try_from(event.data()) {
                Ok(nth) if event.data() != LISTENER => server.ready(nth, &mut scratch),
                _ => server.accept()?,
            }
        }
    }
}

struct Server {
    script: Script,
    listener: TcpListener,
    epoll: Epoll,
    block: Vec<u8>,
    places: Vec<Option<Connection>>,
    free: Vec<usize>,
}

impl Server {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let nth = self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            });
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, nth as u64))?;
            self.places[nth] =
                Some(Connection { stream, greeted: false, carry: Vec::new(), first: Vec::new(), more: 0 });
        }
    }

    /// Whatever goes wrong with a connection ends it.
    fn ready(&mut self, nth: usize, scratch: &mut [u8]) {
        let Some(connection) = self.places.get_mut(nth).and_then(Option::as_mut) else { return };
        let was_blocked = connection.is_blocked();
        let done = if was_blocked { Ok(()) } else { connection.take(&self.script, scratch) }
            .and_then(|()| connection.send(&self.block));
        let is_blocked = connection.is_blocked();
        let turned = if done.is_ok() && was_blocked != is_blocked {
            let wanted = if is_blocked { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            self.epoll
                .modify(connection.stream.as_fd(), &mut EpollEvent::new(wanted, nth as u64))
                .map_err(io::Error::from)
        } else {
            done
        };
        if turned.is_err() {
            // Closing it takes it out of the epoll.
            self.places[nth] = None;
            self.free.push(nth);
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// It has switched to messages.
    greeted: bool,
    /// The beginning of a head or of a message.
    carry: Vec<u8>,
    /// To be sent, then so many bytes of a body.
    first: Vec<u8>,
    more: u64,
}

impl Connection {
    fn is_blocked(&self) -> bool {
        !self.first.is_empty() || self.more > 0
    }

    /// One read, and the answer to what is whole. An answer that nothing is in the way of is sent from where it lies.
    fn take(&mut self, script: &Script, scratch: &mut [u8]) -> io::Result<()> {
        let count = match self.stream.read(scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(&scratch[..count]);
            let bytes = std::mem::take(&mut self.carry);
            return self.messages(script, &bytes);
        }
        self.messages(script, &scratch[..count])
    }

    fn messages(&mut self, script: &Script, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let end = if self.greeted { frame_end(bytes) } else { head_end(bytes) };
            let Some(end) = end.filter(|end| *end <= bytes.len()) else {
                self.carry = bytes.to_vec();
                return Ok(());
            };
            let (message, rest) = bytes.split_at(end);
            bytes = rest;
            match script {
                _ if self.greeted => self.first.extend(echo(message)),
                _ if message.split(|byte| *byte == b' ').nth(1) == Some(HEAD_PATH.as_bytes()) => {
                    self.first.extend(answer(message));
                }
                Script::Echo => {
                    self.greeted = true;
                    self.first.extend_from_slice(SWITCH);
                }
                Script::Answer { first, more } => self.answer(first, *more)?,
            }
        }
        Ok(())
    }

    fn answer(&mut self, first: &[u8], more: u64) -> io::Result<()> {
        // Nobody sends a request before the last one was answered; who does is told so by the end of the connection.
        if self.is_blocked() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let written = written(self.stream.write(first))?;
        self.first.extend_from_slice(&first[written..]);
        self.more = more;
        Ok(())
    }

    /// As much as the socket takes.
    fn send(&mut self, block: &[u8]) -> io::Result<()> {
        while !self.first.is_empty() {
            match written(self.stream.write(&self.first))? {
                0 => return Ok(()),
                count => drop(self.first.drain(..count)),
            }
        }
        while self.more > 0 {
            let piece = usize::try_from(self.more).unwrap_or(usize::MAX).min(block.len());
            match written(self.stream.write(&block[..piece]))? {
                0 => return Ok(()),
                count => self.more -= count as u64,
            }
        }
        Ok(())
    }
}

fn written(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}

/// Of a masked message of fewer than 64 KiB, the only ones that the load sends (RFC 6455 §5.2).
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let (length, at) = payload_length(bytes)?;
    Some(at + 4 + length)
}

/// How long the payload is, and where the mask begins.
fn payload_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [_, length, high, low, ..] if length & 0x7f == 126 => Some((usize::from(u16::from_be_bytes([high, low])), 4)),
        [_, length, ..] if length & 0x7f < 126 => Some((usize::from(length & 0x7f), 2)),
        _ => None,
    }
}

/// The same message, unmasked.
fn echo(frame: &[u8]) -> Vec<u8> {
    let Some((_, at)) = payload_length(frame) else { return Vec::new() };
    let (head, masked) = frame.split_at(at);
    let (mask, payload) = masked.split_at(4);
    let mut frame = head.to_vec();
    frame[1] &= 0x7f;
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_unmasked_and_its_end_is_known() {
        let frame = [0x82, 0x83, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3];
        assert_eq!(frame_end(&frame), Some(frame.len()));
        assert_eq!(echo(&frame), [0x82, 3, b'a', b'b', b'c']);
        assert_eq!(frame_end(&[0x82]), None);
        assert_eq!(frame_end(&[0x82, 0xfe, 1, 0]), Some(264));
    }

    #[test]
    fn a_head_comes_back_as_a_body() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(listener, "small"));
        let mut client = TcpStream::connect(address).unwrap();
        let head = b"GET /head HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(&head[..20]).unwrap();
        client.write_all(&head[20..]).unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(head) {
            let mut piece = [0; 256];
            let count = client.read(&mut piece).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..count]);
        }
        assert!(seen.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}
