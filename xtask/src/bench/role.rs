//! The small programs of the measurements, played by this one: their own boot takes next to nothing.

use std::{
    env,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{http, streams};
use crate::failure::Failure;

/// How a role is asked for on the command line.
pub(crate) const WORD: &str = "bench-role";

/// What one message of a stream carries.
const MESSAGE_BYTES: usize = 64 * 1024;

/// What one message of an echo carries.
pub(super) const ECHO_BYTES: usize = 128;

/// A sink takes as much at once as there is.
const SINK_BYTES: usize = 1024 * 1024;

/// A client of the small app that says nothing is let go.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// What a load that hangs ends with.
const REPLY_LIMIT: Duration = Duration::from_secs(20);

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// Plays one of them: servers bind `PORT` and end by a signal; loads print what they moved, and in how many nanoseconds.
///
/// # Errors
///
/// When there is no such role, it cannot bind or connect, or what comes back is not what must.
pub(crate) fn play(role: &str, args: &[&str]) -> Result<(), Failure> {
    let outcome = match (role, args) {
        ("app", []) => serve(answer),
        ("sink", []) => serve(swallow),
        ("echo", []) => serve(echo),
        ("count", []) => serve(streams::load::count),
        ("greet", []) => serve(streams::load::greet),
        ("load", [port, connections, seconds]) => with(port, connections, seconds, load),
        ("http-backend", [kind]) => http::backend::play(kind),
        ("http-flood", words) => http::flood::play(words),
        ("http-load", words) => http::load::play(words),
        ("stream-load", words) => streams::load::play(words).and_then(|line| writeln!(io::stdout().lock(), "{line}")),
        ("ping", [port, connections, seconds]) => with(port, connections, seconds, ping),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "there is no such role")),
    };
    outcome.map_err(|error| Failure::new(format!("cannot play {role}: {error}"), "run `cargo xtask bench start`"))
}

/// What a load has moved: bytes or round trips, and in what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) count: u64,
    pub(super) time: Duration,
}

impl Moved {
    /// Reads what a load printed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (count, nanoseconds) = text.trim().split_once(' ')?;
        Some(Self { count: count.parse().ok()?, time: Duration::from_nanos(nanoseconds.parse().ok()?) })
    }

    fn print(self) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{} {}", self.count, self.time.as_nanos())
    }
}

fn serve(serve_one: fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    let invalid = || io::Error::new(ErrorKind::InvalidInput, "PORT is not set, or no port");
    let port: u16 = env::var("PORT").ok().and_then(|port| port.parse().ok()).ok_or_else(invalid)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for client in listener.incoming() {
        let client = client?;
        // A client that breaks off ends its own thread.
        thread::spawn(move || serve_one(client));
    }
    Ok(())
}

fn answer(mut client: TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(REQUEST_LIMIT))?;
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            more => head.extend_from_slice(&chunk[..more]),
        }
    }
    client.write_all(ANSWER)?;
    client.shutdown(Shutdown::Write)
}

/// At the end it says how many bytes came, so that the sender knows that none was lost.
fn swallow(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; SINK_BYTES];
    let mut count = 0_u64;
    loop {
        match client.read(&mut buffer)? {
            0 => return client.write_all(&count.to_le_bytes()),
            more => count += more as u64,
        }
    }
}

fn echo(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut buffer = vec![0; MESSAGE_BYTES];
    loop {
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            more => client.write_all(&buffer[..more])?,
        }
    }
}

type Load = fn(TcpStream, Duration) -> io::Result<Moved>;

/// The load over so many connections at once.
fn with(port: &str, connections: &str, seconds: &str, load: Load) -> io::Result<()> {
    let invalid = || io::Error::new(ErrorKind::InvalidInput, "a port, a number of connections and seconds are wanted");
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let connections: usize = connections.parse().map_err(|_| invalid())?;
    let time = Duration::from_secs(seconds.parse().map_err(|_| invalid())?);
    let begun = Instant::now();
    let threads = (0..connections).map(|_| {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        Ok(thread::spawn(move || load(stream, time)))
    });
    let threads = threads.collect::<io::Result<Vec<_>>>()?;
    let mut count = 0;
    for thread in threads {
        count += thread.join().map_err(|_| io::Error::other("a thread of it panicked"))??.count;
    }
    Moved { count, time: begun.elapsed() }.print()
}

fn load(mut stream: TcpStream, time: Duration) -> io::Result<Moved> {
    let message = vec![0x5a; MESSAGE_BYTES];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < time {
        stream.write_all(&message)?;
        count += message.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    let arrived = u64::from_le_bytes(arrived);
    if arrived != count {
        return Err(io::Error::other(format!("{count} bytes were sent, and {arrived} arrived")));
    }
    Ok(Moved { count, time: begun.elapsed() })
}

fn ping(mut stream: TcpStream, time: Duration) -> io::Result<Moved> {
    stream.set_nodelay(true)?;
    let (mut message, mut reply) = ([0x5a; ECHO_BYTES], [0; ECHO_BYTES]);
    let begun = Instant::now();
    let mut count = 0_u64;
    while begun.elapsed() < time {
        message[..8].copy_from_slice(&count.to_le_bytes());
        stream.write_all(&message)?;
        stream.read_exact(&mut reply)?;
        if reply != message {
            return Err(io::Error::other("another message came back"));
        }
        count += 1;
    }
    Ok(Moved { count, time: begun.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of one connection, and a client of it.
    fn pair(serve_one: fn(TcpStream) -> io::Result<()>) -> (TcpStream, thread::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(REPLY_LIMIT)).unwrap();
        (client, thread::spawn(move || serve_one(listener.accept()?.0)))
    }

    #[test]
    fn what_was_moved_is_read_back() {
        let moved = Moved { count: 65_536, time: Duration::from_nanos(1_500_000_001) };
        assert_eq!(Moved::parse("65536 1500000001\n"), Some(moved));
        for broken in ["", "1", "x 1", "1 x", "1 -1"] {
            assert_eq!(Moved::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_app_answers_a_whole_request_only() {
        let (mut client, server) = pair(answer);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        client.write_all(b"\r\n").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, ANSWER);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_stream_is_counted_at_both_ends() {
        let (client, server) = pair(swallow);
        let moved = load(client, Duration::from_millis(5)).unwrap();
        assert!(moved.count > 0 && moved.count.is_multiple_of(MESSAGE_BYTES as u64), "{moved:?}");
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_lost_byte_is_an_error() {
        let (client, server) = pair(|mut client| {
            io::copy(&mut client, &mut io::sink())?;
            client.write_all(&7_u64.to_le_bytes())
        });
        let error = load(client, Duration::from_millis(1)).unwrap_err().to_string();
        assert!(error.contains("and 7 arrived"), "{error}");
        server.join().unwrap().unwrap();
    }

    #[test]
    fn an_echo_is_compared() {
        let (client, server) = pair(echo);
        assert!(ping(client, Duration::from_millis(5)).unwrap().count > 0);
        server.join().unwrap().unwrap();
        let (client, server) = pair(|mut client| {
            client.read_exact(&mut [0; ECHO_BYTES])?;
            client.write_all(&[0; ECHO_BYTES])
        });
        assert!(ping(client, Duration::from_millis(5)).is_err());
        server.join().unwrap().unwrap();
    }
}
