//! Asks a target how it is: one connection, one question, one answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tambat_model::Cause;
use tambat_wire::{Judgement, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Sign;

/// An answer is read up to this size; what it says stands at its beginning.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Once an answer has been judged, its rest is taken for so long: several servers log a broken pipe when nobody takes
/// what they write.
const REST_LIMIT: Duration = Duration::from_millis(200);

/// Asks once, within this time. Cancel safe: dropping the future closes the connection.
pub(super) async fn ask(addr: SocketAddr, probe: &Probe, within: Duration) -> Sign {
    match timeout(within, converse(addr, probe)).await {
        Ok(Ok(Judgement::Ready)) => Sign::Well,
        // The judge's sentences begin with "it", ours with the target's name.
        Ok(Ok(Judgement::NotYet(said) | Judgement::Wrong(said))) => {
            Sign::Ill(said.strip_prefix("it ").unwrap_or(&said).into())
        }
        Ok(Ok(Judgement::Incomplete)) => Sign::Ill("ended in the middle of an answer".into()),
        Ok(Err(error)) => Sign::Ill(sentence(&error)),
        Err(_) => Sign::Ill(format!("gave no answer within {within:?}").into()),
    }
}

/// What an error of a connection says of a target: the end of a sentence that begins with its name.
pub(super) fn sentence(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refuses connections".into(),
        io::ErrorKind::ConnectionReset => "broke the connection off".into(),
        _ => format!("cannot be reached: {error}").into(),
    }
}

async fn converse(addr: SocketAddr, probe: &Probe) -> io::Result<Judgement> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(&probe.request()).await?;
    let mut answer = Vec::new();
    loop {
        match probe.judge(&answer, false) {
            Judgement::Incomplete => {}
            judged => {
                if matches!(probe, Probe::Http { .. }) {
                    tokio::spawn(timeout(REST_LIMIT, take_rest(stream)));
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

async fn take_rest(mut stream: TcpStream) {
    let mut rest = vec![0; 8 * 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
