//! `/healthz`, which says whether the app can do its work: here, whether its folder can be written.
//!
//! ```text
//! DATA=/tmp PORT=5000 cargo run --example health
//! curl -i http://localhost:5000/healthz
//! ```

use std::{env, path::PathBuf};

use axum::{Router, routing::get};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), tambat_app::Error> {
    let data = env::var_os("DATA").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let app = Router::new().route("/", get(|| async { "moored\n" }));
    let app = tambat_app::healthz(app).check(move || {
        let probe = data.join(".healthz");
        async move { std::fs::write(probe, "") }
    });
    tambat_app::run(app).await
}
