//! A backing service, known by the handle in the environment alone: here anything that speaks Redis' protocol.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:6379 PORT=5000 cargo run --example resource
//! curl http://localhost:5000/
//! ```

use std::{io, sync::Arc};

use axum::{Router, http::StatusCode, routing::get};
use tambat_app::Resource;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), tambat_app::Error> {
    // What is missing or wrong is said here, at the start, with the name of the variable; never the password.
    let cache = tambat_app::resource("REDIS_URL")?.speaking(&["redis"])?;
    cache.address()?;
    let cache = Arc::new(cache);
    let app = Router::new().route(
        "/",
        get(move || {
            let cache = Arc::clone(&cache);
            async move {
                match ping(&cache).await {
                    Ok(answer) => (StatusCode::OK, format!("{cache} says {answer}")),
                    Err(error) => (StatusCode::BAD_GATEWAY, format!("{cache} is away: {error}\n")),
                }
            }
        }),
    );
    tambat_app::run(app).await
}

/// Logs in where the handle says so, and returns the answer to a PING.
async fn ping(cache: &Resource) -> io::Result<String> {
    let address = cache.address().map_err(io::Error::other)?;
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut answer = String::new();
    if let Some(password) = cache.password() {
        let user = cache.username().unwrap_or("default");
        stream.write_all(&command(&["AUTH", user, password])).await?;
        stream.read_line(&mut answer).await?;
        if answer != "+OK\r\n" {
            return Err(io::Error::other("it did not accept user and password"));
        }
        answer.clear();
    }
    stream.write_all(&command(&["PING"])).await?;
    stream.read_line(&mut answer).await?;
    Ok(answer)
}

/// Words as Redis' protocol has them: an array of strings, each with its length.
fn command(words: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    command.into_bytes()
}
