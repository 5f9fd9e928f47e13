//! Clients that do not behave.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::load::ANSWER_LIMIT;
use super::staged::Staged;
use super::talk::Request;
use crate::observed::{Rude, RudeOutcome};

/// A rude client is done after this, whatever the app does.
const CLIENT_LIMIT: Duration = Duration::from_secs(5);

/// A head that no server has to take.
const HUGE_HEAD_BYTES: usize = 1024 * 1024;

/// Bytes of no protocol: high bits, NULs, line ends.
const GARBAGE: &[u8] = b"\x80\xff\xfe\0\r\n\0\x01\x02~\xc3\x28\r\n\r\n\x16\xff\0";

/// An app that a client has ended is gone after this.
const END_MOMENT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
enum Client {
    Resets,
    HalfRequest,
    Garbage,
    HugeHead,
    LeavesEarly,
}

const CLIENTS: [(Client, &str); 5] = [
    (Client::Resets, "connects and resets the connection"),
    (Client::HalfRequest, "sends half a request and leaves"),
    (Client::Garbage, "sends garbage"),
    (Client::HugeHead, "sends a mebibyte of head"),
    (Client::LeavesEarly, "leaves before its answer"),
];

/// Each in turn, and a good request after each. Stops at the first harm. Of something that was not started here
/// (`staged` is none) an end is not seen as such.
pub(super) async fn harass(mut staged: Option<&mut Staged>, request: &Request, addr: Address) -> Vec<Rude> {
    let mut all = Vec::with_capacity(CLIENTS.len());
    for (client, what) in CLIENTS {
        // Whatever the app does to it is right.
        let _ = timeout(CLIENT_LIMIT, client.play(request, addr)).await;
        let outcome = look_after(staged.as_deref_mut(), request, addr).await;
        let is_harmed = matches!(outcome, RudeOutcome::Ended(_) | RudeOutcome::NoAnswer(_));
        all.push(Rude { what, outcome });
        if is_harmed {
            break;
        }
    }
    all
}

async fn look_after(staged: Option<&mut Staged>, request: &Request, addr: Address) -> RudeOutcome {
    let answer = if request.is_known() {
        match request.ask(addr, ANSWER_LIMIT).await {
            Ok(after) => Some(Ok(after)),
            // It may have been busy with the rude one: once more.
            Err(_) => Some(request.ask(addr, ANSWER_LIMIT).await),
        }
    } else {
        sleep(END_MOMENT).await;
        None
    };
    if let Some(staged) = staged
        && staged.command_ended()
    {
        return RudeOutcome::Ended(staged.kill().await);
    }
    match answer {
        Some(Ok(_)) => RudeOutcome::Fine,
        Some(Err(what)) => RudeOutcome::NoAnswer(what),
        None => RudeOutcome::Alive,
    }
}

impl Client {
    async fn play(self, request: &Request, addr: Address) -> std::io::Result<()> {
        let mut stream = addr.connect().await?;
        let whole = request.bytes();
        match self {
            Self::Resets => stream.set_zero_linger()?,
            Self::HalfRequest => stream.write_all(&whole[..whole.len() / 2]).await?,
            Self::Garbage => {
                stream.write_all(GARBAGE).await?;
                stream.shutdown().await?;
                rest(stream).await;
            }
            Self::HugeHead => {
                stream.write_all(&huge_head(request)).await?;
                stream.shutdown().await?;
                rest(stream).await;
            }
            Self::LeavesEarly => {
                stream.write_all(&whole).await?;
                stream.set_zero_linger()?;
            }
        }
        Ok(())
    }
}

/// A request whose one field is a mebibyte; for what is not HTTP, so many bytes of its beginning.
fn huge_head(request: &Request) -> Vec<u8> {
    let filler = vec![b'a'; HUGE_HEAD_BYTES];
    if request.is_http() {
        return [&b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Filler: "[..], &filler, b"\r\n\r\n"].concat();
    }
    [&request.bytes()[..request.bytes().len() / 2], &filler, b"\r\n\r\n"].concat()
}

async fn rest(mut stream: TcpStream) {
    let mut rest = vec![0; 8 * 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
