//! A grace of its own, and an exit code that says whether everybody was answered.
//!
//! ```text
//! PORT=5000 cargo run --example grace
//! ```

use std::{process::ExitCode, time::Duration};

use axum::{Router, routing::post};
use tambat_app::{Drained, Error, Port};

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let app = Router::new().route("/echo", post(|body: String| async move { body }));
    let bound = Port::from_env()?.bind().await?.grace(Duration::from_millis(500));
    Ok(match bound.serve(app).await? {
        Drained::Whole => ExitCode::SUCCESS,
        Drained::Cut { .. } => ExitCode::from(3),
    })
}
