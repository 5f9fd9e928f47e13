//! An axum app that keeps the port-binding contract.
//!
//! ```text
//! PORT=5000 cargo run --example axum
//! curl http://localhost:5000/
//! ```

use axum::{
    Router,
    routing::{get, post},
};

#[tokio::main]
async fn main() -> Result<(), tambat_app::Error> {
    let app =
        Router::new().route("/", get(|| async { "moored\n" })).route("/echo", post(|body: String| async move { body }));
    tambat_app::run(app).await
}
