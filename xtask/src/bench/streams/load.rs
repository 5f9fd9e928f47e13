//! The loads, and the servers behind the proxies: a thread for each stream, every byte or count checked.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    super::{
        Bench, http,
        procfs::{self, Memory},
    },
    config::Front,
    hello::client_hello,
    served::Served,
};
use crate::bench::process::pause;

const MESSAGE_BYTES: usize = 64 * 1024;

const ECHO_BYTES: usize = 128;

/// What a load that hangs ends with.
const REPLY_LIMIT: Duration = Duration::from_secs(20);

/// After the last connection was opened: whoever gives memory back late has done so.
const SETTLE: Duration = Duration::from_secs(2);

/// A thread of a load needs little, and there may be thousands.
const STACK_BYTES: usize = 256 * 1024;

/// What a pump's messages are made of, and its last byte: not every proxy passes on the end of one direction alone.
const FILLING: u8 = 0x5a;
const LAST: u8 = b'E';

/// As much at once as there is.
const COUNTER_BYTES: usize = 1024 * 1024;

/// What a server greets with.
const GREETING: u8 = b'!';

/// What a TLS record begins with (RFC 8446 §5.1), and how long its head is.
const HANDSHAKE_RECORD: u8 = 22;
const RECORD_HEAD_BYTES: usize = 5;

/// What a stream is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Big messages one way, counted at both ends.
    Pump,
    /// Small messages to and fro.
    Echo,
    /// A byte to and fro, and then the end, again and again.
    Greet,
    /// One small message to and fro, and then nothing.
    Hold,
    /// Whatever `redis-benchmark` does.
    Redis,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Pump, Self::Echo, Self::Greet, Self::Hold, Self::Redis];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pump => "pump",
            Self::Echo => "echo",
            Self::Greet => "greet",
            Self::Hold => "hold",
            Self::Redis => "redis",
        }
    }

    pub(super) fn protocol(self) -> &'static str {
        if self == Self::Redis { "redis" } else { "tcp" }
    }

    /// The server for it, which binds `PORT`.
    pub(super) fn server(self, bench: &Bench, dir: &Path) -> Command {
        match self {
            Self::Pump => bench.role("count", &[]),
            Self::Echo | Self::Hold => bench.role("echo", &[]),
            Self::Greet => bench.role("greet", &[]),
            Self::Redis => {
                let mut shell = Command::new("/bin/sh");
                let line = r#"exec redis-server --port "$PORT" --bind 127.0.0.1 --save '' --appendonly no --dir "$0""#;
                shell.args(["-c", line]).arg(dir);
                shell
            }
        }
    }
}

/// Greets whoever has said something, and closes.
pub(in super::super) fn greet(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut heard = Vec::new();
    let mut chunk = [0; 1024];
    while heard.len() < expected(&heard) {
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            more => heard.extend_from_slice(&chunk[..more]),
        }
    }
    client.write_all(&[GREETING])
}

/// Counts what comes, and says at the last byte how many there were.
pub(in super::super) fn count(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; COUNTER_BYTES];
    let mut count = 0_u64;
    loop {
        let more = client.read(&mut buffer)?;
        count += more as u64;
        match buffer[..more].last() {
            None => return Ok(()),
            Some(&LAST) => client.write_all(&count.to_le_bytes())?,
            Some(_) => {}
        }
    }
}

/// A record is heard to its end: bytes that nobody has read would make a reset of the close.
fn expected(heard: &[u8]) -> usize {
    match heard {
        [HANDSHAKE_RECORD, _, _, high, low, ..] => RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([*high, *low])),
        [HANDSHAKE_RECORD, ..] => RECORD_HEAD_BYTES,
        _ => 1,
    }
}

/// Plays the role: kind, front, port, connections, seconds, the proxy's pids, and whose certificates it trusts.
pub(in super::super) fn play(words: &[&str]) -> io::Result<String> {
    let invalid = || io::Error::new(ErrorKind::InvalidInput, "those are not the words of a load");
    let [kind, front, port, connections, seconds, pids, authority @ ..] = words else { return Err(invalid()) };
    let kind = Kind::ALL.into_iter().find(|known| known.word() == *kind).ok_or_else(invalid)?;
    let front = Front::ALL.into_iter().find(|known| known.word() == *front).ok_or_else(invalid)?;
    let pids: Vec<u32> = pids.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| invalid())?;
    let load = Load {
        kind,
        front,
        port: port.parse().map_err(|_| invalid())?,
        time: Duration::from_secs(seconds.parse().map_err(|_| invalid())?),
        authority: authority.first().map(|path| (*path).to_owned()).unwrap_or_default(),
    };
    let connections = connections.parse().map_err(|_| invalid())?;
    if kind == Kind::Hold { load.hold(connections, &pids) } else { load.run(connections, &pids) }
}

#[derive(Clone, Debug)]
struct Load {
    kind: Kind,
    front: Front,
    port: u16,
    time: Duration,
    authority: String,
}

impl Load {
    fn run(&self, connections: usize, pids: &[u32]) -> io::Result<String> {
        let used = || procfs::used(pids).map_err(|failure| io::Error::other(failure.to_string()));
        let before = used()?;
        let threads = (0..connections).map(|_| self.spawn(Self::serve)).collect::<io::Result<Vec<_>>>()?;
        let count = threads.into_iter().map(joined).sum::<io::Result<u64>>()?;
        Ok(Served { count, used: used()?.since(before).processor }.print())
    }

    /// What the proxy has grown by, in KiB, when all are there.
    fn hold(&self, connections: usize, pids: &[u32]) -> io::Result<String> {
        let memory = || procfs::memory(pids).map_err(|failure| io::Error::other(failure.to_string()));
        let open = |connection: &mut TcpStream| echoed(connection, 1).map(drop);
        // The first one makes what all share.
        let mut held = vec![self.connect()?];
        held.iter_mut().try_for_each(open)?;
        pause(SETTLE);
        let before = memory()?;
        for _ in 0..connections {
            let mut connection = self.connect()?;
            open(&mut connection)?;
            held.push(connection);
        }
        pause(SETTLE);
        let after = memory()?;
        let grown = |of: fn(&Memory) -> u64| of(&after).saturating_sub(of(&before));
        Ok(format!("{} {}", grown(|memory| memory.pss), grown(|memory| memory.private_dirty)))
    }

    fn spawn(&self, task: fn(&Self) -> io::Result<u64>) -> io::Result<JoinHandle<io::Result<u64>>> {
        let load = self.clone();
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || task(&load))
    }

    /// One thread's part.
    fn serve(&self) -> io::Result<u64> {
        match (self.kind, self.front) {
            (Kind::Greet, _) => self.greet_again_and_again(),
            (Kind::Pump, Front::Tls) => {
                let mut tls = http::secure_stream(Path::new(&self.authority), self.port)?;
                let sent = pumped(&mut tls, self.time)?;
                arrived(&mut tls, sent)
            }
            (Kind::Pump, _) => {
                let mut stream = self.connect()?;
                let opening = self.open(&mut stream)?;
                let sent = pumped(&mut stream, self.time)?;
                arrived(&mut stream, sent + opening.len() as u64)
            }
            (Kind::Echo, _) => {
                let mut stream = self.connect()?;
                let opening = self.open(&mut stream)?;
                stream.read_exact(&mut vec![0; opening.len()])?;
                let begun = Instant::now();
                let mut count = 0;
                while begun.elapsed() < self.time {
                    count = echoed(&mut stream, count)?;
                }
                Ok(count)
            }
            (Kind::Hold | Kind::Redis, _) => Err(io::Error::other("there is no such load")),
        }
    }

    fn greet_again_and_again(&self) -> io::Result<u64> {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < self.time {
            let mut stream = self.connect()?;
            if self.open(&mut stream)?.is_empty() {
                stream.write_all(b"?")?;
            }
            let mut greeting = Vec::new();
            stream.read_to_end(&mut greeting)?;
            if greeting != [GREETING] {
                return Err(io::Error::other(format!("it said {greeting:?}")));
            }
            count += 1;
        }
        Ok(count)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// What a client says first, so that the proxy knows whom it wants.
    fn open(&self, stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let opening = if self.front == Front::Sni { client_hello() } else { Vec::new() };
        stream.write_all(&opening)?;
        Ok(opening)
    }
}

fn joined(thread: JoinHandle<io::Result<u64>>) -> io::Result<u64> {
    thread.join().map_err(|_| io::Error::other("a thread of it panicked"))?
}

/// Messages until the time is over; how many bytes.
fn pumped(stream: &mut impl Write, time: Duration) -> io::Result<u64> {
    let message = vec![FILLING; MESSAGE_BYTES];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < time {
        stream.write_all(&message)?;
        count += message.len() as u64;
    }
    stream.write_all(&[LAST])?;
    stream.flush()?;
    Ok(count + 1)
}

/// The server says at the end how many bytes have come.
fn arrived(stream: &mut impl Read, sent: u64) -> io::Result<u64> {
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    let count = u64::from_le_bytes(count);
    if count == sent {
        Ok(count)
    } else {
        Err(io::Error::other(format!("{sent} bytes were sent, and {count} arrived")))
    }
}

/// One message more to and fro; their number.
fn echoed(stream: &mut TcpStream, before: u64) -> io::Result<u64> {
    let (mut message, mut reply) = ([0x5a; ECHO_BYTES], [0; ECHO_BYTES]);
    message[..8].copy_from_slice(&before.to_le_bytes());
    stream.write_all(&message)?;
    stream.read_exact(&mut reply)?;
    if reply == message { Ok(before + 1) } else { Err(io::Error::other("another message came back")) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server of so many connections, and a load for it.
    fn rig(front: Front, kind: Kind, count: usize, serve: fn(TcpStream) -> io::Result<()>) -> (Load, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let load = Load { kind, front, port, time: Duration::from_millis(5), authority: String::new() };
        let server = thread::spawn(move || {
            for _ in 0..count {
                let _ = serve(listener.accept().unwrap().0);
            }
        });
        (load, server)
    }

    fn echo(mut client: TcpStream) -> io::Result<()> {
        let mut writer = client.try_clone()?;
        io::copy(&mut client, &mut writer).map(drop)
    }

    #[test]
    fn an_echo_is_compared_behind_the_opening() {
        for front in [Front::Plain, Front::Sni] {
            let (load, server) = rig(front, Kind::Echo, 1, echo);
            assert!(load.serve().unwrap() > 0);
            server.join().unwrap();
        }
    }

    #[test]
    fn a_lost_byte_is_an_error() {
        let (load, server) = rig(Front::Sni, Kind::Pump, 1, |mut client| {
            client.read_exact(&mut [0; 1])?;
            count(client)
        });
        let error = load.serve().unwrap_err().to_string();
        assert!(error.contains("bytes were sent"), "{error}");
        server.join().unwrap();
        let (load, server) = rig(Front::Sni, Kind::Pump, 1, count);
        assert!(load.serve().unwrap() > MESSAGE_BYTES as u64);
        server.join().unwrap();
    }

    #[test]
    fn who_is_not_greeted_finds_out() {
        let (load, server) = rig(Front::Sni, Kind::Greet, 1, |client| {
            drop(client);
            Ok(())
        });
        assert!(load.serve().is_err());
        server.join().unwrap();
    }

    #[test]
    fn a_greeting_follows_a_whole_opening() {
        for opening in [client_hello(), b"?".to_vec()] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(&opening).unwrap();
            greet(listener.accept().unwrap().0).unwrap();
            let mut greeting = Vec::new();
            client.read_to_end(&mut greeting).unwrap();
            assert_eq!(greeting, [GREETING]);
        }
        assert_eq!([expected(&[]), expected(&[22]), expected(&[22, 3, 1, 1, 0]), expected(b"?")], [1, 5, 261, 1]);
    }
}
