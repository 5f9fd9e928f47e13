//! The load: so many connections, at most one request outstanding on each, every answer checked.
//!
//! One thread, one epoll. Saturated, a connection asks again as soon as it was answered. At a rate, requests are due at
//! fixed moments whatever the answers do, and a latency begins at that moment: who waits for a free connection waits
//! visibly (no coordinated omission).

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::{
    super::procfs::{self, Used},
    histogram::Histogram,
    measured::Measured,
    reply::Reply,
    request::{Requests, Shape},
};
use crate::failure::Failure;

/// As much at once as a proxy may have sent.
const READ_BYTES: usize = 256 * 1024;

const EVENTS: usize = 512;

/// Connections are opened so many at a time, each with its first answer: no queue of a listener overflows.
const OPEN_AT_ONCE: usize = 100;

/// Pools, buffers and caches have filled then.
const WARM_UP: Duration = Duration::from_millis(300);

/// For each connection, those of its opening included.
const WARM_UP_ANSWERS: u64 = 4;

/// What has not answered after this never will.
const REPLY_LIMIT: Duration = Duration::from_secs(20);

/// After the last connection was opened: whoever gives memory back late has done so.
const SETTLE: Duration = Duration::from_secs(2);

/// What the timer's event is called; connections are called by their number.
const TIMER: u64 = u64::MAX;

/// How the requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Saturated,
    /// So many a second.
    Rate(u32),
    /// Each connection asks once; then nothing happens.
    Once,
}

/// What a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) seconds: u64,
    pub(super) shape: Shape,
    pub(super) pace: Pace,
}

impl Load {
    /// The words of its role, for a proxy that listens there and whose processes are these.
    pub(super) fn words(&self, port: u16, pids: &[u32]) -> Vec<String> {
        let pace = match self.pace {
            Pace::Saturated => "saturated".to_owned(),
            Pace::Once => "once".to_owned(),
            Pace::Rate(rate) => rate.to_string(),
        };
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        vec![
            port.to_string(),
            self.connections.to_string(),
            self.seconds.to_string(),
            self.shape.word(),
            pace,
            pids.join(","),
        ]
    }
}

/// Plays the role: prints what was measured.
pub(in super::super) fn play(words: &[&str]) -> io::Result<()> {
    let (load, port, pids) = parse(words)?;
    let mut loader = Loader::new(load, pids)?;
    let line = match load.pace {
        Pace::Once => loader.grow(port)?,
        Pace::Saturated => {
            loader.open(port, load.connections)?;
            loader.saturate()?.print()
        }
        Pace::Rate(rate) => {
            loader.open(port, load.connections)?;
            loader.pace(rate)?.print()
        }
    };
    writeln!(io::stdout().lock(), "{line}")
}

fn parse(words: &[&str]) -> io::Result<(Load, u16, Vec<u32>)> {
    let invalid = || io::Error::new(ErrorKind::InvalidInput, "a port, connections, seconds, a shape, a pace and pids");
    let [port, connections, seconds, shape, pace, pids] = words else { return Err(invalid()) };
    let pace = match *pace {
        "saturated" => Pace::Saturated,
        "once" => Pace::Once,
        rate => Pace::Rate(rate.parse().ok().filter(|rate| *rate > 0).ok_or_else(invalid)?),
    };
    let load = Load {
        connections: connections.parse().map_err(|_| invalid())?,
        seconds: seconds.parse().map_err(|_| invalid())?,
        shape: Shape::parse(shape)?,
        pace,
    };
    let pids = pids.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| invalid())?;
    Ok((load, port.parse().map_err(|_| invalid())?, pids))
}

struct Client {
    stream: TcpStream,
    reply: Reply,
    /// Its first request was answered; the others may differ.
    greeted: bool,
    /// When the request that it waits for was due.
    since: Option<Instant>,
}

/// What a connection does once it was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    AskAgain,
    Rest,
}

struct Loader {
    load: Load,
    /// The processes of the proxy.
    pids: Vec<u32>,
    epoll: Epoll,
    clients: Vec<Client>,
    resting: VecDeque<usize>,
    requests: Requests,
    scratch: Vec<u8>,
    events: Vec<EpollEvent>,
    answers: u64,
    bytes: u64,
    latencies: Histogram,
    timer: Option<TimerFd>,
}

impl Loader {
    fn new(load: Load, pids: Vec<u32>) -> io::Result<Self> {
        Ok(Self {
            load,
            pids,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            clients: Vec::new(),
            resting: VecDeque::new(),
            requests: Requests::new(load.shape),
            scratch: vec![0; READ_BYTES],
            events: vec![EpollEvent::empty(); EVENTS],
            answers: 0,
            bytes: 0,
            latencies: Histogram::new(),
            timer: None,
        })
    }

    /// Opens so many connections more; each has had one answer.
    fn open(&mut self, port: u16, count: u32) -> io::Result<()> {
        let until = self.clients.len() + count as usize;
        while self.clients.len() < until {
            for _ in 0..OPEN_AT_ONCE.min(until - self.clients.len()) {
                self.open_one(port)?;
            }
            self.rest()?;
        }
        Ok(())
    }

    fn open_one(&mut self, port: u16) -> io::Result<()> {
        let nth = self.clients.len();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, nth as u64))?;
        whole((&stream).write(self.requests.first())?, self.requests.first())?;
        let reply = Reply::new(self.load.shape.first());
        self.clients.push(Client { stream, reply, greeted: false, since: Some(Instant::now()) });
        Ok(())
    }

    /// As fast as the answers come.
    fn saturate(&mut self) -> io::Result<Measured> {
        let now = Instant::now();
        while let Some(nth) = self.resting.pop_front() {
            self.ask(nth, now)?;
        }
        self.until(now + WARM_UP)?;
        // With very many connections, until each has come to its target more than once.
        while self.answers < u64::from(self.load.connections) * WARM_UP_ANSWERS {
            self.turn(Then::AskAgain)?;
        }
        let (before, begun) = self.begin()?;
        let end = begun + Duration::from_secs(self.load.seconds);
        self.until(end)?;
        let measured = self.measured(before, begun)?;
        self.rest()?;
        Ok(measured)
    }

    fn until(&mut self, end: Instant) -> io::Result<()> {
        while Instant::now() < end {
            self.turn(Then::AskAgain)?;
        }
        Ok(())
    }

    /// At fixed moments, on whichever connection rests longest.
    fn pace(&mut self, rate: u32) -> io::Result<Measured> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let every = Duration::from_secs(1) / rate;
        timer.set(Expiration::Interval(TimeSpec::from_duration(every)), TimerSetTimeFlags::empty())?;
        self.epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        self.timer = Some(timer);
        self.paced(every, WARM_UP)?;
        self.rest()?;
        let (before, begun) = self.begin()?;
        self.paced(every, Duration::from_secs(self.load.seconds))?;
        // Those that are still on their way belong to it, with the latency that they have.
        self.rest()?;
        self.measured(before, begun)
    }

    fn paced(&mut self, every: Duration, time: Duration) -> io::Result<()> {
        let begun = Instant::now();
        let count = u32::try_from(time.as_nanos() / every.as_nanos()).unwrap_or(u32::MAX);
        let mut asked = 0;
        while asked < count {
            while asked < count && begun.elapsed() >= every * asked {
                let Some(nth) = self.resting.pop_front() else { break };
                self.ask(nth, begun + every * asked)?;
                asked += 1;
            }
            if begun.elapsed() > time + REPLY_LIMIT {
                return Err(io::Error::other(format!("it cannot keep the pace: {asked} of {count} were asked")));
            }
            self.turn(Then::Rest)?;
        }
        Ok(())
    }

    /// Opens connections, asks once on each, and says by how much the proxy's memory grew.
    fn grow(&mut self, port: u16) -> io::Result<String> {
        let first = u32::try_from(OPEN_AT_ONCE).unwrap_or(u32::MAX);
        self.open(port, first)?;
        self.idle()?;
        let before = procfs::memory(&self.pids).map_err(|failure| said(&failure))?;
        self.open(port, self.load.connections - first.min(self.load.connections))?;
        self.idle()?;
        let after = procfs::memory(&self.pids).map_err(|failure| said(&failure))?;
        let connections = self.clients.len() - OPEN_AT_ONCE;
        Ok(super::idle::Grown { connections: connections as u64, before, after }.print())
    }

    /// Nothing may come meanwhile, not even an end.
    fn idle(&mut self) -> io::Result<()> {
        let timeout = EpollTimeout::try_from(SETTLE).unwrap_or(EpollTimeout::MAX);
        match self.epoll.wait(&mut self.events, timeout)? {
            0 => Ok(()),
            _ => Err(io::Error::other("an idle connection was closed, or was sent something")),
        }
    }

    /// Waits until every connection was answered.
    fn rest(&mut self) -> io::Result<()> {
        while self.resting.len() < self.clients.len() {
            self.turn(Then::Rest)?;
        }
        Ok(())
    }

    /// From here on it counts.
    fn begin(&mut self) -> io::Result<(Used, Instant)> {
        (self.answers, self.bytes) = (0, 0);
        self.latencies.clear();
        Ok((procfs::used(&self.pids).map_err(|failure| said(&failure))?, Instant::now()))
    }

    fn measured(&self, before: Used, begun: Instant) -> io::Result<Measured> {
        let time = begun.elapsed();
        let used = procfs::used(&self.pids).map_err(|failure| said(&failure))?.since(before);
        let (p50, p99) = (self.latencies.permille(500), self.latencies.permille(990));
        let most = self.latencies.most();
        Ok(Measured { answers: self.answers, bytes: self.bytes, time, used, p50, p99, most })
    }

    /// Waits for answers, and takes what there is.
    fn turn(&mut self, then: Then) -> io::Result<()> {
        let timeout = EpollTimeout::try_from(REPLY_LIMIT).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, "no answer came any more")),
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for at in 0..count {
            match (self.events[at].data(), &self.timer) {
                // What expired meanwhile is one event; without the read there would be no other.
                (TIMER, Some(timer)) => timer.wait()?,
                (nth, _) => self.readable(usize::try_from(nth).unwrap_or(usize::MAX), then)?,
            }
        }
        Ok(())
    }

    fn readable(&mut self, nth: usize, then: Then) -> io::Result<()> {
        let client = &mut self.clients[nth];
        let count = match (&client.stream).read(&mut self.scratch) {
            Ok(0) => return Err(gone(nth, "closed")),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(gone(nth, &error.to_string())),
        };
        self.bytes += count as u64;
        if !client.reply.feed(&self.scratch[..count])? {
            return Ok(());
        }
        let since = client.since.take().ok_or_else(|| gone(nth, "answered twice"))?;
        if !client.greeted {
            client.greeted = true;
            client.reply = Reply::new(self.load.shape.then());
        }
        let now = Instant::now();
        self.answers += 1;
        self.latencies.record(now.duration_since(since));
        match then {
            Then::AskAgain => self.ask(nth, now),
            Then::Rest => {
                self.resting.push_back(nth);
                Ok(())
            }
        }
    }

    fn ask(&mut self, nth: usize, since: Instant) -> io::Result<()> {
        let client = &mut self.clients[nth];
        client.since = Some(since);
        let request = self.requests.next();
        whole((&client.stream).write(request)?, request)
    }
}

/// The socket of a connection that waits for nothing has room for a request.
fn whole(written: usize, request: &[u8]) -> io::Result<()> {
    if written == request.len() {
        return Ok(());
    }
    Err(io::Error::other("a request did not fit in an empty socket"))
}

fn gone(nth: usize, how: &str) -> io::Error {
    io::Error::other(format!("connection {nth} was {how}"))
}

fn said(failure: &Failure) -> io::Error {
    io::Error::other(failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::{super::backend, *};

    fn load(shape: Shape, pace: Pace) -> Load {
        Load { connections: 3, seconds: 1, shape, pace }
    }

    /// Runs it against the backend itself; the processor time is this process's.
    fn run(shape: Shape, backend: &'static str, run: fn(&mut Loader) -> io::Result<Measured>) -> Measured {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || backend::serve(listener, backend));
        let mut loader = Loader::new(load(shape, Pace::Saturated), vec![std::process::id()]).unwrap();
        loader.open(port, 3).unwrap();
        run(&mut loader).unwrap()
    }

    #[test]
    fn a_load_is_words_and_back() {
        for pace in [Pace::Saturated, Pace::Once, Pace::Rate(8_000)] {
            let load = load(Shape::Hosts(7), pace);
            let words = load.words(80, &[1, 2]);
            assert_eq!(parse(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(), (load, 80, vec![1, 2]));
        }
        assert!(parse(&["80", "1", "1", "plain", "0", "1"]).is_err() && parse(&["80"]).is_err());
    }

    #[test]
    fn a_saturating_load_counts_answers_and_processor_time() {
        let measured = run(Shape::Plain, "small", Loader::saturate);
        assert!(measured.answers > 0 && measured.bytes > measured.answers * 1_024, "{measured:?}");
        assert!(measured.p50 <= measured.p99 && measured.p99 <= measured.most, "{measured:?}");
        assert!(measured.used.processor > Duration::ZERO, "{measured:?}");
    }

    #[test]
    fn a_paced_load_asks_as_often_as_it_should() {
        let measured = run(Shape::WebSocket, "websocket", |loader| loader.pace(500));
        assert_eq!(measured.answers, 500);
    }

    #[test]
    fn large_bodies_arrive_whole() {
        let measured = run(Shape::Large, "large", |loader| loader.pace(4));
        assert!(measured.answers == 4 && measured.bytes > 4 * 10 * 1024 * 1024, "{measured:?}");
    }
}
