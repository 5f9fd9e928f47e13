//! The same axum app, served by `axum::serve` or by this crate: what `cargo xtask bench app` compares.
//!
//! `SERVED_BY` is `axum` or `tambat-app`, `RUNTIME` is `current-thread` or `multi-thread`. The first line on standard output
//! is when `main` began, in nanoseconds since 1970.

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Router, extract::Path, routing::get};
use tambat_app::Port;
use tokio::runtime::Builder;

/// What every answer holds.
const BODY_BYTES: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let begun = SystemTime::now();
    let runtime = match env::var("RUNTIME")?.as_str() {
        "current-thread" => Builder::new_current_thread().enable_all().build()?,
        _ => Builder::new_multi_thread().enable_all().build()?,
    };
    writeln!(io::stdout().lock(), "{}", begun.duration_since(UNIX_EPOCH)?.as_nanos())?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let app = Router::new().route("/", get(|| async { "moored\n" })).route("/items/{id}", get(item));
    let bound = Port::from_env()?.bind().await?;
    if env::var("SERVED_BY")? == "axum" {
        let listener = bound.into_listeners().into_iter().next().ok_or("no listener")?;
        axum::serve(listener, app).await?;
    } else {
        bound.serve(app).await?;
    }
    Ok(())
}

async fn item(Path(id): Path<u64>) -> Vec<u8> {
    vec![b'a' + u8::try_from(id % 26).unwrap_or_default(); BODY_BYTES]
}
