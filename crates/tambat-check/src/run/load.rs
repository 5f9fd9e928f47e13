//! Good requests: many idle connections beside one, and a thousand for the memory.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::address::Address;
use super::http::{Connection, get};
use super::talk::Request;
use crate::observed::{Look, Reply, Unseen};

/// How many connections idle while a request is made.
const IDLE_CONNECTIONS: usize = 50;

/// A request beside them is answered within this; and so is one after a rude client.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Connecting to this machine takes no time, except when a queue of connections is full.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How many requests there are between the two looks at its memory.
const REQUESTS: u32 = 1_000;

/// A slow app is asked for so long; the report says how many requests it took.
const REQUESTS_LIMIT: Duration = Duration::from_secs(3);

/// A request beside many connections that say nothing.
pub(super) async fn idle(request: &Request, addr: Address) -> Look<Reply> {
    if !request.is_known() {
        return Err(Unseen::because("no request is known for what it speaks"));
    }
    let mut held = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        match timeout(CONNECT_LIMIT, addr.connect()).await {
            Ok(Ok(stream)) => held.push(stream),
            // Its queue is full: that is how many it holds.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let mut reply = request.ask(addr, ANSWER_LIMIT).await;
    if reply.is_err() {
        // The machine may have been busy with another start: once more, beside the same connections.
        reply = request.ask(addr, ANSWER_LIMIT).await;
    }
    drop(held);
    Ok(reply)
}

/// A thousand requests, one after the other; how many were answered.
pub(super) async fn requests(request: &Request, addr: Address, path: &str) -> u32 {
    let deadline = Instant::now() + REQUESTS_LIMIT;
    let mut answered = 0;
    let path = get(path, &format!("localhost:{}", addr.port()), "Connection: close\r\n");
    while request.is_http() && answered < REQUESTS && Instant::now() < deadline {
        if !one(&path, addr, deadline.saturating_duration_since(Instant::now())).await {
            return answered;
        }
        answered += 1;
    }
    while request.is_known() && !request.is_http() && answered < REQUESTS && Instant::now() < deadline {
        if request.ask(addr, deadline.saturating_duration_since(Instant::now())).await.is_err() {
            break;
        }
        answered += 1;
    }
    answered
}

/// One request on a connection of its own: on one that is kept, servers that write head and body apart wait for the
/// kernel's delayed acknowledgement each time. Was it answered?
async fn one(request: &[u8], addr: Address, limit: Duration) -> bool {
    let exchange = async {
        let mut connection = Connection::open(addr).await.ok()?;
        connection.send(request).await.ok()?;
        connection.answer().await.ok()
    };
    timeout(limit, exchange).await.is_ok_and(|answer| answer.is_some())
}
