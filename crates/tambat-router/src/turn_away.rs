//! How a client is told that it cannot be served, so that it gets to read it.

use std::future::poll_fn;
use std::time::Duration;

use tambat_model::Protocol;
use tambat_wire::{PostgresOpening, postgres_opening, refusal};
use tokio::time::timeout;

use crate::choice::Told;
use crate::transport::Transport;

/// How long a client may take to send its first bytes: an answer before the question confuses some.
const FIRST_BYTES_S: u64 = 1;

/// How long a client may take to read the refusal and close.
const LINGER_S: u64 = 1;

/// How much of what it still sends is thrown away before the connection is closed on it: a request with a form, or a
/// pipeline. Unread bytes would make a reset of the close, and a reset destroys the refusal on its way.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// What is read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// A PostgreSQL client asks for encryption twice at most, in two ways.
const POSTGRES_OPENINGS_MAX: usize = 3;

/// Tells the client why it cannot be served and closes its connection: in its own protocol, or, where that has no
/// words for it, with a reset. Takes about 2 s at most.
///
/// `before`: what the client has sent already.
pub(crate) async fn turn_away(client: Transport, before: Vec<u8>, told: Told) {
    let Some(words) = refusal(told.protocol, &told.cause) else {
        client.reset_on_close();
        return;
    };
    let mut buffer = vec![0; CHUNK_BYTES.max(before.len())];
    buffer[..before.len()].copy_from_slice(&before);
    let opening = listen(&client, told.protocol, &mut buffer, before.len());
    if let Ok(Err(_)) = timeout(Duration::from_secs(FIRST_BYTES_S), opening).await {
        return;
    }
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

/// Hears the client's first words, and brings a PostgreSQL client to where it reads an error.
async fn listen(client: &Transport, protocol: Protocol, buffer: &mut [u8], before_bytes: usize) -> std::io::Result<()> {
    if protocol != Protocol::Postgres {
        return if before_bytes > 0 { Ok(()) } else { client.read(buffer).await.map(drop) };
    }
    let mut filled = before_bytes;
    for _ in 0..POSTGRES_OPENINGS_MAX {
        while postgres_opening(&buffer[..filled]) == PostgresOpening::Incomplete {
            match client.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                more => filled += more,
            }
        }
        if postgres_opening(&buffer[..filled]) == PostgresOpening::Startup {
            break;
        }
        client.send_all(b"N").await?;
        filled = 0;
    }
    Ok(())
}
