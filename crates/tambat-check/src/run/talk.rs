//! Asking a port: the request of a protocol, or finding out which one it is.

use std::time::Duration;

use tambat_model::Protocol;
use tambat_wire::{Judgement, Probe, Question, Recognised, Spoken, recognise};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::staged::ToldPort;
use crate::observed::{Reply, Talk};

/// An answer is read up to this size; what it says stands at its beginning.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Once an answer has been judged, its rest is taken for so long: several servers log a broken pipe when nobody takes
/// what they write.
const REST_LIMIT: Duration = Duration::from_millis(200);

/// Servers that speak first do so at once.
const GREETING_LIMIT: Duration = Duration::from_millis(300);

/// A server that is asked in a protocol that it speaks answers within this.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// The first page of an app may have to be compiled: a server that may speak HTTP is waited for so long.
const FIRST_PAGE_LIMIT: Duration = Duration::from_secs(10);

/// A wrong answer counts when it is still wrong after this: a server that comes up may close connections first.
const WRONG_PATIENCE: Duration = Duration::from_secs(2);

/// "Not yet" counts as an answer in the right protocol when it has stayed so for this long.
const UNREADY_PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions to a port that has not answered well.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A request whose answer is known to be good or not.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    /// That of a protocol which was declared, or recognised.
    Probe(Probe),
    /// A question that was answered before.
    Question(Question, Spoken, String),
    /// Only a connection: nothing is known of what it speaks.
    Connection,
}

impl Request {
    /// Can its answer tell a server that works from one that does not?
    pub(super) fn is_known(&self) -> bool {
        *self != Self::Connection
    }

    /// Is it HTTP/1?
    pub(super) fn is_http(&self) -> bool {
        matches!(self, Self::Probe(Probe::Http { .. }) | Self::Question(_, Spoken::Http1(_), _))
    }

    /// Is it HTTP/2 without TLS?
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Probe(Probe::H2c { .. }) | Self::Question(_, Spoken::H2c, _))
    }

    /// The bytes, for clients that send only some of them.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Probe(probe) => probe.request(),
            Self::Question(question, _, host) => question.bytes(host),
            Self::Connection => Vec::new(),
        }
    }

    /// Asks once, on a connection of its own.
    pub(super) async fn ask(&self, addr: Address, limit: Duration) -> Reply {
        let began = Instant::now();
        let asked = timeout(limit, self.converse(addr)).await;
        match asked {
            Ok(Ok(())) => Ok(began.elapsed()),
            Ok(Err(what)) => Err(what),
            Err(_) => Err(format!("it gave no answer within {}", crate::text::time(limit))),
        }
    }

    async fn converse(&self, addr: Address) -> Result<(), String> {
        match self {
            Self::Probe(probe) => match ask_probe(addr, probe).await {
                Ok((Judgement::Ready | Judgement::NotYet(_), _)) => Ok(()),
                Ok((Judgement::Wrong(what), _)) => Err(what),
                Ok((Judgement::Incomplete, _)) => Err("it answered in part".to_owned()),
                Err(error) => Err(format!("asking it failed: {error}")),
            },
            Self::Question(question, spoken, host) => match question_once(addr, *question, host).await {
                Some(found) if found.name() == spoken.name() => Ok(()),
                Some(found) => Err(format!("it answered in {found}")),
                None => Err("it gave no answer that is understood".to_owned()),
            },
            Self::Connection => match addr.connect().await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("connecting to it failed: {error}")),
            },
        }
    }
}

/// Finds out what is spoken on a port, and how it is asked for from now on. Tries until `deadline`; gives up earlier when
/// `has_ended` says that nobody is there any more.
pub(super) async fn find_out(
    told: &ToldPort,
    addr: Address,
    began: Instant,
    deadline: Instant,
    has_ended: &dyn Fn() -> bool,
) -> (Talk, Request) {
    if told.protocol == Some(Protocol::Udp) {
        return (Talk::Datagrams, Request::Connection);
    }
    let host = format!("localhost:{}", told.number);
    let probe = told
        .protocol
        .filter(|protocol| *protocol != Protocol::Tcp)
        .and_then(|protocol| Probe::for_protocol(protocol, told.path.as_deref(), &host));
    match probe {
        Some(probe) => declared(&probe, told, addr, began, deadline, has_ended).await,
        None => recognised(addr, &host, began).await,
    }
}

async fn declared(
    probe: &Probe,
    told: &ToldPort,
    addr: Address,
    began: Instant,
    deadline: Instant,
    has_ended: &dyn Fn() -> bool,
) -> (Talk, Request) {
    let request = Request::Probe(probe.clone());
    let (mut wrong_since, mut unready_since) = (None, None);
    let mut last = "it gave no answer".to_owned();
    while Instant::now() < deadline && !has_ended() {
        let left = deadline.saturating_duration_since(Instant::now()).max(QUESTION_LIMIT);
        match timeout(left, ask_probe(addr, probe)).await {
            Ok(Ok((Judgement::Ready, answer))) => {
                let protocol = name_of(&answer, told.protocol);
                return (Talk::Speaks { protocol, after: began.elapsed(), but: None }, request);
            }
            Ok(Ok((Judgement::NotYet(but), answer))) => {
                let since: Instant = *unready_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= UNREADY_PATIENCE.min(deadline.saturating_duration_since(since) / 2) {
                    let protocol = name_of(&answer, told.protocol);
                    return (Talk::Speaks { protocol, after: began.elapsed(), but: Some(but) }, request);
                }
            }
            Ok(Ok((Judgement::Wrong(what), _))) => {
                let since: Instant = *wrong_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= WRONG_PATIENCE {
                    let protocol = told.protocol.map(|p| p.to_string()).unwrap_or_default();
                    // It is not asked again in a protocol that it does not speak.
                    return (Talk::Wrong(format!("{what}, which is not {protocol}")), Request::Connection);
                }
            }
            Ok(Ok((Judgement::Incomplete, _))) => "it answered in part".clone_into(&mut last),
            Ok(Err(error)) => last = format!("asking it failed: {error}"),
            Err(_) => last = format!("it gave no answer within {}", crate::text::time(left)),
        }
        sleep(RETRY_INTERVAL).await;
    }
    let ended = if has_ended() { "it has ended".to_owned() } else { last };
    (Talk::Silent(ended), Request::Connection)
}

/// The protocol with its version, as the answer has it; else as it was declared.
fn name_of(answer: &[u8], declared: Option<Protocol>) -> String {
    match recognise(answer) {
        Recognised::Found(spoken) => spoken.to_string(),
        _ => declared.map(|protocol| protocol.to_string()).unwrap_or_default(),
    }
}

async fn recognised(addr: Address, host: &str, began: Instant) -> (Talk, Request) {
    match recognise_at(addr, host).await {
        Some((Spoken::Http1(minor), _)) => {
            let probe = Probe::for_protocol(Protocol::Http, None, host);
            let request = probe.map_or(Request::Connection, Request::Probe);
            (Talk::Speaks { protocol: Spoken::Http1(minor).to_string(), after: began.elapsed(), but: None }, request)
        }
        Some((spoken, question)) => {
            let protocol = spoken.to_string();
            let request = Request::Question(question, spoken, host.to_owned());
            (Talk::Speaks { protocol, after: began.elapsed(), but: None }, request)
        }
        None => (Talk::PlainTcp, Request::Connection),
    }
}

/// What it speaks, and the question that it answers.
pub(super) async fn recognise_at(addr: Address, host: &str) -> Option<(Spoken, Question)> {
    if let Ok(Some(spoken)) = timeout(GREETING_LIMIT, question_once(addr, Question::Silence, host)).await {
        return Some((spoken, Question::Silence));
    }
    // It is asked in HTTP first and waited for to the end; meanwhile the others have their turn.
    let first_page = timeout(FIRST_PAGE_LIMIT, ask_question(addr, Question::Http, host));
    let mut first_page = std::pin::pin!(first_page);
    if let Ok(answered) = timeout(QUESTION_LIMIT, &mut first_page).await {
        if let Ok(Some((spoken, answer))) = answered {
            return Some(or_tls(addr, host, spoken, &answer).await);
        }
        return recognise_others(addr, host).await;
    }
    if let Some(found) = recognise_others(addr, host).await {
        return Some(found);
    }
    let (spoken, answer) = first_page.await.ok().flatten()?;
    Some(or_tls(addr, host, spoken, &answer).await)
}

async fn recognise_others(addr: Address, host: &str) -> Option<(Spoken, Question)> {
    for question in Question::ALL.into_iter().filter(|q| !matches!(q, Question::Silence | Question::Http)) {
        if let Ok(Some(spoken)) = timeout(QUESTION_LIMIT, question_once(addr, question, host)).await {
            return Some((spoken, question));
        }
    }
    None
}

/// Servers of TLS say "you spoke plain HTTP" in plain HTTP.
async fn or_tls(addr: Address, host: &str, spoken: Spoken, answer: &[u8]) -> (Spoken, Question) {
    let is_400 = matches!(spoken, Spoken::Http1(_)) && answer.get(9..12) == Some(b"400");
    if is_400 && let Ok(Some(Spoken::Tls)) = timeout(QUESTION_LIMIT, question_once(addr, Question::Tls, host)).await {
        return (Spoken::Tls, Question::Tls);
    }
    (spoken, Question::Http)
}

async fn question_once(addr: Address, question: Question, host: &str) -> Option<Spoken> {
    ask_question(addr, question, host).await.map(|(spoken, _)| spoken)
}

async fn ask_question(addr: Address, question: Question, host: &str) -> Option<(Spoken, Vec<u8>)> {
    let mut stream = addr.connect().await.ok()?;
    stream.write_all(&question.bytes(host)).await.ok()?;
    let mut answer = Vec::new();
    loop {
        match recognise(&answer) {
            Recognised::Found(spoken) => {
                tokio::spawn(timeout(REST_LIMIT, take_rest(stream)));
                return Some((spoken, answer));
            }
            Recognised::No => return None,
            Recognised::Incomplete => {}
        }
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
}

/// What it judges, and everything that was read.
async fn ask_probe(addr: Address, probe: &Probe) -> std::io::Result<(Judgement, Vec<u8>)> {
    let mut stream = addr.connect().await?;
    stream.write_all(&probe.request()).await?;
    let mut answer = Vec::new();
    loop {
        match probe.judge(&answer, false) {
            Judgement::Incomplete => {}
            judged => {
                if probe.has_rest() {
                    tokio::spawn(timeout(REST_LIMIT, part(stream, probe.farewell())));
                }
                return Ok((judged, answer));
            }
        }
        let full = answer.len() >= ANSWER_BYTES_MAX;
        if full || stream.read_buf(&mut answer).await? == 0 {
            return Ok((probe.judge(&answer, true), answer));
        }
    }
}

/// Says farewell, and takes what still comes.
async fn part(mut stream: TcpStream, farewell: Vec<u8>) {
    if stream.write_all(&farewell).await.is_ok() {
        take_rest(stream).await;
    }
}

async fn take_rest(mut stream: TcpStream) {
    let mut rest = vec![0; 8 * 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that says this to everybody, once it has heard so many bytes.
    async fn server(after: usize, says: &'static [u8]) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = Address::plain(listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut heard = Vec::new();
                    while heard.len() < after && stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {}
                    let _ = stream.write_all(says).await;
                    take_rest(stream).await;
                });
            }
        });
        addr
    }

    fn told(addr: Address, protocol: Option<Protocol>) -> ToldPort {
        ToldPort { var: "PORT".to_owned(), number: addr.port(), protocol, path: None, proxy_protocol: None }
    }

    async fn found(addr: Address, protocol: Option<Protocol>) -> (Talk, Request) {
        let now = Instant::now();
        find_out(&told(addr, protocol), addr, now, now + Duration::from_secs(10), &|| false).await
    }

    #[tokio::test]
    async fn what_is_spoken_is_recognised_and_asked_for_again() {
        for (after, says, protocol) in [
            (1, &b"HTTP/1.0 200 OK\r\n\r\n"[..], "HTTP/1.0"),
            (0, b"SSH-2.0-x\r\n", "SSH (SSH-2.0-x)"),
            (1, b"-ERR unknown command\r\n", "the Redis protocol"),
            (1, b"R\0\0\0\x08\0\0\0\0", "the PostgreSQL protocol 3.0"),
        ] {
            let addr = server(after, says).await;
            let (talk, request) = found(addr, None).await;
            assert!(matches!(&talk, Talk::Speaks { protocol: p, .. } if p == protocol), "{talk:?}");
            assert!(request.is_known() && request.ask(addr, QUESTION_LIMIT).await.is_ok());
        }
    }

    #[tokio::test]
    async fn an_echo_is_plain_tcp() {
        let addr = server(1, b"hello\n").await;
        let (talk, request) = found(addr, None).await;
        assert_eq!((talk, request.is_known()), (Talk::PlainTcp, false));
    }

    #[tokio::test]
    async fn a_wrong_answer_is_quoted() {
        let addr = server(1, b"SSH-2.0-x\r\n").await;
        let (talk, _) = found(addr, Some(Protocol::Http)).await;
        assert_eq!(talk, Talk::Wrong("it answered \"SSH-2.0-x\", which is not http".to_owned()));
    }

    #[tokio::test]
    async fn nobody_waits_for_one_that_has_ended() {
        let addr = Address::plain(TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
        let now = Instant::now();
        let deadline = now + Duration::from_mins(10);
        let (talk, _) = find_out(&told(addr, Some(Protocol::Http)), addr, now, deadline, &|| true).await;
        assert_eq!(talk, Talk::Silent("it has ended".to_owned()));
    }
}
