//! How a start ends when it is told to, and what becomes of a request that is under way then.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use tambat_os::{Order, Pid, StopSpec};
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::http::{Connection, NoAnswer, get, post_head};
use super::http2::Stream;
use super::staged::{Staged, end_of, program};
use crate::observed::{End, InFlight, Listener, Look, Program, Stop, Unseen};

/// How often its tree is looked at while it ends.
const INTERVAL: Duration = Duration::from_millis(5);

/// What goes on outside the command's own process group, which the signal did not reach, and is still there after this,
/// was left behind. Helpers that end with their parent (port programs of an Erlang machine) need a moment.
const LEFT_MOMENT: Duration = Duration::from_secs(2);

/// A request is in the app's hands after this.
const UNDER_WAY: Duration = Duration::from_millis(250);

/// The rest of a body is sent so long after the signal: a handler has run by then.
const REST_DELAY: Duration = Duration::from_millis(100);

/// Where the rest of a body is later than that by so much, this machine is too busy to blame the app for what it did
/// meanwhile: it may have an end to its own patience.
const LATE: Duration = Duration::from_millis(500);

/// So much of a body is sent before the signal, and as much after.
const HALF_BODY: &[u8] = b"tambat-c";

/// A page that nobody has: a request to it changes nothing.
const NOWHERE: &str = "/tambat-check-not-a-page";

/// Tells it to stop, and watches until nothing of it is left. What listened on `listeners` is its server.
pub(super) async fn stop(staged: &mut Staged, spec: StopSpec, listeners: &[Listener]) -> Stop {
    let began = Instant::now();
    staged.order(Order::Stop(spec));
    let command = staged.pid();
    let mut ended_at: Option<Instant> = None;
    let mut rest: Vec<Pid> = Vec::new();
    let mut names: BTreeMap<Pid, Program> = BTreeMap::new();
    let mut is_left = false;
    while !staged.is_over() {
        if ended_at.is_none() && staged.command_ended() {
            ended_at = Some(Instant::now());
        }
        if let Some(at) = ended_at {
            let alive = staged.alive();
            names.extend(alive.iter().filter_map(|pid| Some((*pid, program(*pid)?))));
            if !alive.is_empty() {
                rest = alive;
            }
            let told = |pid: &Pid| command.is_some() && tambat_os::group_of(*pid) == command;
            if !rest.iter().any(told) && at.elapsed() >= LEFT_MOMENT {
                is_left = true;
                break;
            }
        }
        sleep(INTERVAL).await;
    }
    let took = began.elapsed();
    let named: Vec<Program> = rest.into_iter().map(|pid| names.remove(&pid).unwrap_or_else(|| unnamed(pid))).collect();
    if is_left {
        staged.order(Order::Kill);
    }
    let report = staged.over().await;
    let killed = report.as_ref().is_none_or(|report| report.killed);
    let end = end_of(report);
    // Where the command itself had to be killed, what was there with it was not left by it.
    let command_killed = killed && !is_left && end == End::Signal("KILL".to_owned());
    let left = if killed && !command_killed { named } else { Vec::new() };
    let server_left = left.iter().any(|left| listeners.iter().any(|l| l.program.pid == left.pid));
    Stop { took, killed, end, left, server_left }
}

fn unnamed(pid: Pid) -> Program {
    Program { name: "a process".to_owned(), pid: pid.get() }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    client: Client,
    /// When its first bytes were sent.
    since: Instant,
    /// The rest of its body; empty for a `GET`.
    rest: &'static [u8],
}

#[derive(Debug)]
enum Client {
    Http1(Connection),
    Http2(Stream),
}

/// Makes a request that is not answered yet, in the version of HTTP that is spoken there; else why there is none.
pub(super) async fn begin(addr: Address, slow: Option<&str>, is_http2: bool) -> Look<Result<UnderWay, InFlight>> {
    let asked = if is_http2 { over_http2(addr, slow).await } else { over_http1(addr, slow).await };
    let failed = |error: std::io::Error| Unseen::because(format!("no request could be made: {error}"));
    let mut client = asked.map_err(failed)?;
    let since = Instant::now();
    sleep(UNDER_WAY).await;
    let has_news = match &mut client {
        Client::Http1(connection) => connection.has_news(),
        Client::Http2(stream) => stream.has_news(),
    };
    if has_news {
        return Ok(Err(InFlight::Early));
    }
    Ok(Ok(UnderWay { client, since, rest: if slow.is_some() { &[] } else { HALF_BODY } }))
}

async fn over_http1(addr: Address, slow: Option<&str>) -> std::io::Result<Client> {
    let host = format!("localhost:{}", addr.port());
    let mut connection = Connection::open(addr).await?;
    if let Some(path) = slow {
        connection.send(&get(path, &host, "Connection: close\r\n")).await?;
    } else {
        connection.send(&post_head(NOWHERE, &host, HALF_BODY.len() * 2)).await?;
        connection.send(HALF_BODY).await?;
    }
    Ok(Client::Http1(connection))
}

async fn over_http2(addr: Address, slow: Option<&str>) -> std::io::Result<Client> {
    let host = format!("localhost:{}", addr.port());
    let Some(path) = slow else {
        // A server of gRPC has an answer to a call that it does not know, and none to what is no call; to others it is a
        // body like any other.
        let call = [("content-type", "application/grpc".to_owned()), ("te", "trailers".to_owned())];
        let mut stream = Stream::open(addr, (Method::POST, &host, NOWHERE), &call, false).await?;
        stream.send(HALF_BODY, false);
        return Ok(Client::Http2(stream));
    };
    Stream::open(addr, (Method::GET, &host, path), &[], true).await.map(Client::Http2)
}

impl UnderWay {
    /// Ends the request, and says what became of its answer.
    pub(super) async fn finish(self, limit: Duration) -> Look<InFlight> {
        sleep(REST_DELAY).await;
        let late = self.since.elapsed().saturating_sub(UNDER_WAY + REST_DELAY);
        let is_late = !self.rest.is_empty() && late >= LATE;
        let answered = async {
            match self.client {
                Client::Http1(mut connection) => {
                    // A connection that is gone says so when the answer is read.
                    let _ = connection.send(self.rest).await;
                    connection.answer().await
                }
                Client::Http2(mut stream) => {
                    if !self.rest.is_empty() {
                        stream.send(self.rest, true);
                    }
                    stream.answer().await
                }
            }
        };
        let seen = match timeout(limit, answered).await {
            Ok(Ok(answer)) if answer.is_whole => InFlight::Whole(answer.status),
            Ok(Ok(answer)) => InFlight::Cut(answer.bytes),
            Ok(Err(NoAnswer::Ended(bytes @ 1.., _))) => InFlight::Cut(bytes),
            Ok(Err(other)) => InFlight::Lost(other.to_string()),
            Err(_) => InFlight::Lost(format!("nothing came within {}", crate::text::time(limit))),
        };
        if is_late && !matches!(seen, InFlight::Whole(_)) {
            let late = crate::text::time(late);
            return Err(Unseen::because(format!(
                "the rest of a request was sent {late} late, for this machine is too busy: check it again"
            )));
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// What becomes of a request whose first half was sent then, where an app says this when the rest has come.
    async fn seen(since: Instant, says: &'static [u8]) -> Look<InFlight> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = Address::plain(listener.local_addr().unwrap());
        let client = Client::Http1(Connection::open(addr).await.unwrap());
        let app = async {
            let mut stream = listener.accept().await.unwrap().0;
            stream.read_exact(&mut [0; HALF_BODY.len()]).await.unwrap();
            stream.write_all(says).await.unwrap();
        };
        tokio::join!(UnderWay { client, since, rest: HALF_BODY }.finish(LIMIT), app).0
    }

    /// PB-12
    #[tokio::test]
    async fn no_app_is_blamed_for_what_it_did_while_we_were_late() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        // However slow this machine is now, it is in time for what begins in an hour.
        let (in_time, late) = (Instant::now() + Duration::from_hours(1), Instant::now() - Duration::from_secs(2));
        assert!(matches!(seen(in_time, b"").await, Ok(InFlight::Lost(_))));
        let Err(Unseen(why)) = seen(late, b"").await else { panic!("it was late") };
        assert!(why.contains(" late, for this machine is too busy: check it again"), "{why}");
        for since in [in_time, late] {
            assert_eq!(seen(since, whole).await, Ok(InFlight::Whole(200)), "what is whole is whole");
        }
    }
}
