//! Started by its first connection: nothing in the app changes, since [`tambat_app::run`] takes what was handed in.
//!
//! ```text
//! systemd-socket-activate -l 5000 target/debug/examples/socket_activation
//! ```
//!
//! or, to stay, with two units:
//!
//! ```text
//! # quay.socket                       # quay.service
//! [Socket]                            [Service]
//! ListenStream=5000                   Type=notify
//! FileDescriptorName=web              ExecStart=/usr/local/bin/quay
//! ```
//!
//! An app with a second port names its socket `admin` (`FileDescriptorName=admin`) and finds it by `Port::named("admin")`.

use axum::{Router, routing::get};
use tambat_app::{Error, Port};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let web = Port::from_env()?.bind().await?;
    let address = web.local_addr();
    let pages = Router::new().route("/", get(move || async move { format!("moored at {address}\n") }));
    match Port::named("admin") {
        Ok(admin) => {
            let tools = Router::new().route("/", get(|| async { "the engine room\n" }));
            let admin = admin.bind().await?;
            tokio::try_join!(web.serve(pages), admin.serve(tools))?;
        }
        Err(Error::PortMissing { .. }) => drop(web.serve(pages).await?),
        Err(error) => return Err(error),
    }
    Ok(())
}
