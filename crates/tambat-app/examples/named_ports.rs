//! Two ports: `PORT` for everybody, `PORT_ADMIN` for those who run it.
//!
//! ```text
//! PORT=5000 PORT_ADMIN=5001 cargo run --example named_ports
//! ```

use axum::{Router, routing::get};
use tambat_app::{Error, Host, Port};

#[tokio::main]
async fn main() -> Result<(), Error> {
    // Both are bound before either is served: whoever is told that the app is ready may use both.
    let web = Port::from_env()?.bind().await?;
    let admin = Port::named("ADMIN")?.bind_on(Host::default()).await?;
    let pages = Router::new().route("/", get(|| async { "moored\n" }));
    let tools = Router::new().route("/", get(|| async { "the engine room\n" }));
    tokio::try_join!(web.serve(pages), admin.serve(tools))?;
    Ok(())
}
