//! How a client is told that it cannot be served, so that it gets to read it.

use std::future::poll_fn;
use std::time::Duration;

use tambat_model::Protocol;
use tambat_wire::{Hearing, hearing, refusal};
use tokio::time::timeout;

use crate::choice::Told;
use crate::transport::Transport;

/// How long a client may take to say what has to be heard before it is told anything: an answer before the question
/// confuses some.
const FIRST_BYTES_S: u64 = 1;

/// How long a client may take to read the refusal and close.
const LINGER_S: u64 = 1;

/// How much of what it still sends is thrown away before the connection is closed on it: a request with a form, or a
/// pipeline. Unread bytes would make a reset of the close, and a reset destroys the refusal on its way.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// What is read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// How often a client is answered something before it is told: a PostgreSQL client asks for encryption twice at most, in
/// two ways.
const ANSWERS_MAX: usize = 2;

/// Tells the client why it cannot be served and closes its connection: in its own protocol, or, where that has no
/// words for it, with a reset. One whose servers speak first is told at once, any other when it has said enough. Takes
/// about 2 s at most.
///
/// `before`: what the client has sent already.
pub(crate) async fn turn_away(client: Transport, before: Vec<u8>, told: Told) {
    let mut buffer = vec![0; CHUNK_BYTES.max(before.len())];
    buffer[..before.len()].copy_from_slice(&before);
    let hearing = hear(&client, told.protocol, &mut buffer, before.len());
    let heard = match timeout(Duration::from_secs(FIRST_BYTES_S), hearing).await {
        Ok(Ok(heard)) => heard,
        // It has said nothing more that has to be heard: it is told what is told to everybody.
        Err(_) => before.len(),
        Ok(Err(_)) => return,
    };
    let Some(words) = refusal(told.protocol, &told.cause, &buffer[..heard]) else {
        client.reset_on_close();
        return;
    };
    let _ = timeout(Duration::from_secs(LINGER_S), async {
        client.send_all(&words).await?;
        poll_fn(|cx| client.poll_end(cx)).await?;
        let mut drained = 0;
        while drained < DRAINED_BYTES_MAX {
            match client.read(&mut buffer).await? {
                0 => break,
                more => drained += more,
            }
        }
        std::io::Result::Ok(())
    })
    .await;
}

/// Hears the client until it can be told, and how much it has said then.
async fn hear(
    client: &Transport,
    protocol: Protocol,
    buffer: &mut [u8],
    before_bytes: usize,
) -> std::io::Result<usize> {
    let (mut filled, mut answers) = (before_bytes, 0);
    loop {
        match hearing(protocol, &buffer[..filled]) {
            Hearing::More if filled < buffer.len() => match client.read(&mut buffer[filled..]).await? {
                0 => return Ok(filled),
                more => filled += more,
            },
            Hearing::Answer(bytes) if answers < ANSWERS_MAX => {
                client.send_all(bytes).await?;
                (filled, answers) = (0, answers + 1);
            }
            Hearing::Enough | Hearing::More | Hearing::Answer(_) => return Ok(filled),
        }
    }
}
