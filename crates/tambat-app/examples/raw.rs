//! A protocol other than HTTP: lines that come back.
//!
//! ```text
//! PORT=5000 cargo run --example raw
//! nc localhost 5000
//! ```

use tambat_app::{Draining, Error, Port};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    select,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Port::from_env()?.bind().await?.serve_raw(lines).await?;
    Ok(())
}

/// Until the client goes, or the app is told to stop; a line that has begun gets its answer.
async fn lines(client: TcpStream, draining: Draining) {
    let mut client = BufReader::new(client);
    let mut line = Vec::new();
    loop {
        select! {
            // When the other branch wins, what was read so far stays in `line`.
            read = client.read_until(b'\n', &mut line) => if !matches!(read, Ok(1..)) { return },
            () = draining.begun() => {
                if line.is_empty() || !matches!(client.read_until(b'\n', &mut line).await, Ok(1..)) {
                    let _ = client.write_all(b"stopping\n").await;
                    return;
                }
            }
        }
        if client.write_all(&line).await.is_err() {
            return;
        }
        line.clear();
    }
}
