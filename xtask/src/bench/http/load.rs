//! The load: so many connections, at most one request outstanding on each, every answer checked.
//!
//! One thread, one epoll. Saturated, a connection asks again as soon as it was answered, or makes place for a new one that
//! does. At a rate, requests are due at
//! fixed moments whatever the answers do, and a latency begins at that moment: who waits for a free connection waits
//! visibly (no coordinated omission).

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write as _},
    path::Path,
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
    offer::Offer,
    request::{Requests, Shape},
    secure,
    talk::{Ends, Plain, Talk},
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
    /// The same, each request on a connection of its own.
    Anew,
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
    /// Over TLS.
    pub(super) offer: Option<Offer>,
}

/// How a load without TLS is asked for.
const PLAIN: &str = "plain";

impl Load {
    /// The words of its role, between these, for a proxy that listens there and whose processes are these.
    pub(super) fn words(&self, ends: Ends, pids: &[u32]) -> Vec<String> {
        let pace = match self.pace {
            Pace::Saturated => "saturated".to_owned(),
            Pace::Anew => "anew".to_owned(),
            Pace::Once => "once".to_owned(),
            Pace::Rate(rate) => rate.to_string(),
        };
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        vec![
            ends.word(),
            self.connections.to_string(),
            self.seconds.to_string(),
            self.shape.word(),
            pace,
            pids.join(","),
            self.offer.map_or_else(|| PLAIN.to_owned(), Offer::word),
        ]
    }

    /// How many requests are outstanding on a connection at most.
    fn at_once(&self) -> usize {
        self.offer.map_or(1, Offer::at_once)
    }
}

/// Plays the role: prints what was measured. Behind the words of a load over TLS stands whose certificates it trusts.
pub(in super::super) fn play(words: &[&str]) -> io::Result<()> {
    let invalid =
        || io::Error::new(ErrorKind::InvalidInput, "a load over TLS, and no other, wants a file of certificates");
    let (words, authority) = words.split_at(words.len().min(WORDS));
    let (load, ends, pids) = parse(words)?;
    let line = match (load.offer, authority) {
        (None, []) => run::<Plain>(load, ends, pids, Requests::new(load.shape))?,
        (Some(_), [authority]) => secure::play(load, ends, pids, Path::new(authority))?,
        _ => return Err(invalid()),
    };
    writeln!(io::stdout().lock(), "{line}")
}

/// What was measured with connections of this kind.
pub(super) fn run<T: Talk>(load: Load, ends: Ends, pids: Vec<u32>, shared: T::Shared) -> io::Result<String> {
    let mut loader = Loader::<T>::new(load, ends, pids, shared)?;
    if load.pace == Pace::Once {
        return loader.grow();
    }
    loader.open(load.connections)?;
    let measured = match load.pace {
        Pace::Rate(rate) => loader.pace(rate)?,
        Pace::Anew => loader.saturate(Then::MakePlace)?,
        Pace::Saturated | Pace::Once => loader.saturate(Then::AskAgain)?,
    };
    Ok(measured.print())
}

/// How many there are, but for whose certificates are trusted.
const WORDS: usize = 7;

fn parse(words: &[&str]) -> io::Result<(Load, Ends, Vec<u32>)> {
    let invalid = || {
        io::Error::new(
            ErrorKind::InvalidInput,
            "an address and a port, connections, seconds, a shape, a pace, pids and an offer",
        )
    };
    let [ends, connections, seconds, shape, pace, pids, offer] = words else { return Err(invalid()) };
    let pace = match *pace {
        "saturated" => Pace::Saturated,
        "anew" => Pace::Anew,
        "once" => Pace::Once,
        rate => Pace::Rate(rate.parse().ok().filter(|rate| *rate > 0).ok_or_else(invalid)?),
    };
    let load = Load {
        connections: connections.parse().map_err(|_| invalid())?,
        seconds: seconds.parse().map_err(|_| invalid())?,
        shape: Shape::parse(shape)?,
        pace,
        offer: (*offer != PLAIN).then(|| Offer::parse(offer)).transpose()?,
    };
    let pids = pids.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| invalid())?;
    Ok((load, Ends::parse(ends).ok_or_else(invalid)?, pids))
}

/// What a connection does once it was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    AskAgain,
    /// Another is opened in its place.
    MakePlace,
    Rest,
}

struct Loader<T: Talk> {
    load: Load,
    /// Where the proxy listens, and where its clients come from.
    ends: Ends,
    /// The processes of the proxy.
    pids: Vec<u32>,
    epoll: Epoll,
    clients: Vec<T>,
    resting: VecDeque<usize>,
    shared: T::Shared,
    scratch: Vec<u8>,
    events: Vec<EpollEvent>,
    answers: u64,
    bytes: u64,
    latencies: Histogram,
    /// When the requests were due that one read brought the answers to.
    answered: Vec<Instant>,
    timer: Option<TimerFd>,
}

impl<T: Talk> Loader<T> {
    fn new(load: Load, ends: Ends, pids: Vec<u32>, shared: T::Shared) -> io::Result<Self> {
        Ok(Self {
            load,
            ends,
            pids,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            clients: Vec::new(),
            resting: VecDeque::new(),
            shared,
            scratch: vec![0; READ_BYTES],
            events: vec![EpollEvent::empty(); EVENTS],
            answers: 0,
            bytes: 0,
            latencies: Histogram::new(),
            answered: Vec::new(),
            timer: None,
        })
    }

    /// Opens so many connections more; each has had one answer.
    fn open(&mut self, count: u32) -> io::Result<()> {
        let until = self.clients.len() + count as usize;
        while self.clients.len() < until {
            for _ in 0..OPEN_AT_ONCE.min(until - self.clients.len()) {
                let client = self.connect(self.clients.len())?;
                self.clients.push(client);
            }
            self.rest()?;
        }
        Ok(())
    }

    fn connect(&mut self, nth: usize) -> io::Result<T> {
        let client = T::open(&mut self.shared, nth, self.ends)?;
        self.epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, nth as u64))?;
        Ok(client)
    }

    /// As fast as the answers come.
    fn saturate(&mut self, then: Then) -> io::Result<Measured> {
        let now = Instant::now();
        while let Some(nth) = self.resting.pop_front() {
            self.go_on(nth, then, self.load.at_once(), now)?;
        }
        self.until(now + WARM_UP, then)?;
        // With very many connections, until each has come to its target more than once.
        while self.answers < u64::from(self.load.connections) * WARM_UP_ANSWERS {
            self.turn(then)?;
        }
        let (before, begun) = self.begin()?;
        let end = begun + Duration::from_secs(self.load.seconds);
        self.until(end, then)?;
        let measured = self.measured(before, begun)?;
        self.rest()?;
        Ok(measured)
    }

    fn until(&mut self, end: Instant, then: Then) -> io::Result<()> {
        while Instant::now() < end {
            self.turn(then)?;
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
                self.clients[nth].ask(&mut self.shared, 1, begun + every * asked)?;
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
    fn grow(&mut self) -> io::Result<String> {
        let first = u32::try_from(OPEN_AT_ONCE).unwrap_or(u32::MAX);
        self.open(first)?;
        self.idle()?;
        let before = procfs::memory(&self.pids).map_err(|failure| said(&failure))?;
        self.open(self.load.connections - first.min(self.load.connections))?;
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
        let read = self.clients[nth].read(&mut self.scratch, &mut self.answered);
        self.bytes += read.map_err(|error| io::Error::other(format!("connection {nth}: {error}")))?;
        if self.answered.is_empty() {
            return Ok(());
        }
        let (now, count) = (Instant::now(), self.answered.len());
        self.answers += count as u64;
        for since in self.answered.drain(..) {
            self.latencies.record(now.duration_since(since));
        }
        self.go_on(nth, then, count, now)
    }

    /// After so many answers on one connection.
    fn go_on(&mut self, nth: usize, then: Then, count: usize, now: Instant) -> io::Result<()> {
        let client = &mut self.clients[nth];
        match then {
            Then::AskAgain => client.ask(&mut self.shared, count, now)?,
            Then::MakePlace => {
                let next = self.connect(nth)?;
                std::mem::replace(&mut self.clients[nth], next).end()?;
            }
            Then::Rest if client.waits() => {}
            Then::Rest => self.resting.push_back(nth),
        }
        Ok(())
    }
}

fn said(failure: &Failure) -> io::Error {
    io::Error::other(failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::{super::backend, *};

    fn load(shape: Shape, pace: Pace) -> Load {
        Load { connections: 3, seconds: 1, shape, pace, offer: None }
    }

    /// Runs it against the backend itself; the processor time is this process's.
    fn run(shape: Shape, backend: &'static str, run: fn(&mut Loader<Plain>) -> io::Result<Measured>) -> Measured {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || backend::serve(listener, backend));
        let load = load(shape, Pace::Saturated);
        let mut loader = Loader::new(load, port.into(), vec![std::process::id()], Requests::new(shape)).unwrap();
        loader.open(3).unwrap();
        run(&mut loader).unwrap()
    }

    #[test]
    fn a_load_is_words_and_back() {
        for (pace, offer) in [
            (Pace::Saturated, None),
            (Pace::Once, Some(Offer::HTTP1)),
            (Pace::Anew, Some(Offer::http2(4))),
            (Pace::Rate(8_000), None),
        ] {
            let load = Load { offer, ..load(Shape::Hosts(7), pace) };
            let ends = Ends { from: [127, 2, 0, 1].into(), port: 80 };
            let words = load.words(ends, &[1, 2]);
            assert_eq!(parse(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap(), (load, ends, vec![1, 2]));
        }
        assert!(parse(&["80", "1", "1", "plain", "0", "1", "plain"]).is_err() && parse(&["80"]).is_err());
    }

    #[test]
    fn a_saturating_load_counts_answers_and_processor_time() {
        let measured = run(Shape::Plain, "small", |loader| loader.saturate(Then::AskAgain));
        assert!(measured.answers > 0 && measured.bytes > measured.answers * 1_024, "{measured:?}");
        assert!(measured.p50 <= measured.p99 && measured.p99 <= measured.most, "{measured:?}");
        assert!(measured.used.processor > Duration::ZERO, "{measured:?}");
    }

    #[test]
    fn a_connection_makes_place_for_another() {
        let measured = run(Shape::Plain, "small", |loader| loader.saturate(Then::MakePlace));
        assert!(measured.answers > 3 && measured.bytes > measured.answers * 1_024, "{measured:?}");
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
