//! Asks a server how it is: one connection, one question, one answer.
//!
//! What is asked and how the answer is judged stands in `tambat_wire`; this is the socket between the two, for all who
//! ask: whether an instance is ready, whether a target is well.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tambat_wire::proxy_protocol::{ProxyProtocol, own_header};
use tambat_wire::{Judgement, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// An answer is read up to this size; what it says stands at its beginning.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Once an answer has been judged, its rest is taken for so long: several servers log a broken pipe, or a whole stack
/// trace, when nobody takes what they write. A server that was told farewell closes within it.
const REST_LIMIT: Duration = Duration::from_millis(200);

/// What a message over a stream has before it, where the same may be sent by a datagram (RFC 1035 §4.2.2).
const LENGTH_BYTES: usize = 2;

/// No datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Why there is no answer to judge.
#[derive(Debug)]
pub enum NoAnswer {
    /// It could not be connected to, or the connection broke.
    Failed(io::Error),
    /// It took too long.
    Late,
}

/// Asks once, within this time. A server that is told by the PROXY protocol where connections come from is told that this
/// one is nobody's but ours. [`Judgement::Incomplete`]: the connection ended in the middle of an answer.
///
/// # Errors
///
/// When there is no answer.
///
/// # Cancellation
///
/// Dropping the future closes the connection. It has to run in a tokio runtime, whose task takes the rest of an answer.
pub async fn ask(
    addr: SocketAddr,
    proxy_protocol: Option<ProxyProtocol>,
    probe: &Probe,
    within: Duration,
) -> Result<Judgement, NoAnswer> {
    match timeout(within, converse(addr, proxy_protocol, probe)).await {
        Ok(judged) => judged.map_err(NoAnswer::Failed),
        Err(_) => Err(NoAnswer::Late),
    }
}

/// Asks once by a datagram, within this time. What a probe sends and judges over a stream has its length before it (RFC 1035
/// §4.2.2), which a datagram has not. A probe that sends nothing is answered by the port's being there, which whoever asks
/// has seen.
///
/// # Errors
///
/// When there is no answer.
///
/// # Cancellation
///
/// Dropping the future closes the socket.
pub async fn ask_by_datagram(
    addr: SocketAddr,
    proxy_protocol: Option<ProxyProtocol>,
    probe: &Probe,
    within: Duration,
) -> Result<Judgement, NoAnswer> {
    let asked = probe.request();
    let Some(question) = asked.get(LENGTH_BYTES..).filter(|_| !probe.is_http()) else { return Ok(Judgement::Ready) };
    match timeout(within, converse_by_datagram(addr, proxy_protocol, probe, question)).await {
        Ok(judged) => judged.map_err(NoAnswer::Failed),
        Err(_) => Err(NoAnswer::Late),
    }
}

async fn converse_by_datagram(
    addr: SocketAddr,
    proxy_protocol: Option<ProxyProtocol>,
    probe: &Probe,
    question: &[u8],
) -> io::Result<Judgement> {
    let any: SocketAddr = if addr.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(addr).await?;
    let mut datagram = match proxy_protocol {
        Some(version) => own_header(version, socket.local_addr()?, addr),
        None => Vec::new(),
    };
    datagram.extend_from_slice(question);
    socket.send(&datagram).await?;
    let mut answer = vec![0; LENGTH_BYTES + DATAGRAM_BYTES_MAX];
    let bytes = socket.recv(&mut answer[LENGTH_BYTES..]).await?;
    let length = u16::try_from(bytes).unwrap_or(u16::MAX);
    answer[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(probe.judge(&answer[..LENGTH_BYTES + bytes], true))
}

async fn converse(addr: SocketAddr, proxy_protocol: Option<ProxyProtocol>, probe: &Probe) -> io::Result<Judgement> {
    let mut stream = TcpStream::connect(addr).await?;
    let mut request = match proxy_protocol {
        Some(version) => own_header(version, stream.local_addr()?, addr),
        None => Vec::new(),
    };
    request.extend_from_slice(&probe.request());
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    loop {
        match probe.judge(&answer, false) {
            Judgement::Incomplete => {}
            judged => {
                if probe.has_rest() {
                    tokio::spawn(timeout(REST_LIMIT, part(stream, probe.farewell())));
                }
                return Ok(judged);
            }
        }
        let full = answer.len() >= ANSWER_BYTES_MAX;
        if full || stream.read_buf(&mut answer).await? == 0 {
            return Ok(probe.judge(&answer, true));
        }
    }
}

/// Says farewell, and takes what still comes.
async fn part(mut stream: TcpStream, farewell: Vec<u8>) {
    if stream.write_all(&farewell).await.is_err() {
        return;
    }
    let mut rest = vec![0; 8 * 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

#[cfg(test)]
mod tests {
    use tambat_model::Protocol;
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    #[tokio::test]
    async fn an_answer_is_judged_by_its_beginning_and_taken_to_its_end() {
        let (listener, addr) = listener().await;
        let probe = Probe::for_protocol(Protocol::Http, None, "localhost:1").unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n").await.unwrap();
            (stream, String::from_utf8_lossy(&request[..read]).into_owned())
        };
        let (judgement, (stream, request)) = tokio::join!(ask(addr, None, &probe, LIMIT), serve);
        assert_eq!(judgement.unwrap(), Judgement::Ready);
        assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
        // Nothing has run since the judgement: a connection that was closed by it is closed here already.
        let mut stream = stream.into_std().unwrap();
        let error = std::io::Read::read(&mut stream, &mut [0]).expect_err("it is still there");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        let mut stream = TcpStream::from_std(stream).unwrap();
        stream.write_all(&[b'x'; 10_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let ended = timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
        assert_eq!(ended.unwrap().unwrap(), 0, "and then it ends");
    }

    #[tokio::test]
    async fn a_server_is_told_that_the_conversation_is_over() {
        let (listener, addr) = listener().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 mail ESMTP\r\n").await.unwrap();
            let mut heard = [0; 64];
            let read = stream.read(&mut heard).await.unwrap();
            stream.write_all(b"221 bye\r\n").await.unwrap();
            heard[..read].to_vec()
        };
        let (judgement, heard) = tokio::join!(ask(addr, None, &Probe::Smtp, LIMIT), serve);
        assert_eq!((judgement.unwrap(), heard), (Judgement::Ready, b"QUIT\r\n".to_vec()));
    }

    #[tokio::test]
    async fn who_hangs_up_has_answered_wrongly_and_who_does_not_listen_not_at_all() {
        let (listener, addr) = listener().await;
        let probe = Probe::for_protocol(Protocol::Redis, None, "").unwrap();
        let server = tokio::spawn(async move {
            drop(listener.accept().await.unwrap());
            listener
        });
        match ask(addr, None, &probe, LIMIT).await {
            Ok(Judgement::Wrong(text)) => assert_eq!(text, "it closed the connection without an answer"),
            // A connection that is closed with the question unread is reset.
            Err(NoAnswer::Failed(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            other => panic!("{other:?}"),
        }
        drop(server.await.unwrap());
        let Err(NoAnswer::Failed(error)) = ask(addr, None, &probe, LIMIT).await else { panic!("nobody listens") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn who_is_told_where_connections_come_from_is_told_that_this_is_ours() {
        let (listener, addr) = listener().await;
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            let serve = async {
                let (mut stream, peer) = listener.accept().await.unwrap();
                let mut asked = [0; 1024];
                let read = stream.read(&mut asked).await.unwrap();
                stream.write_all(b"+PONG\r\n").await.unwrap();
                (asked[..read].to_vec(), peer)
            };
            let (judgement, (asked, peer)) = tokio::join!(ask(addr, Some(version), &Probe::Redis, LIMIT), serve);
            assert_eq!(judgement.unwrap(), Judgement::Ready);
            assert_eq!(asked, [own_header(version, peer, addr), Probe::Redis.request()].concat());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_has_its_limit() {
        let (_listener, addr) = listener().await;
        let probe = Probe::for_protocol(Protocol::Http, None, "localhost:1").unwrap();
        assert!(matches!(ask(addr, None, &probe, LIMIT).await, Err(NoAnswer::Late)));
    }
}
