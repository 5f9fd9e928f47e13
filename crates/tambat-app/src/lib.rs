#![doc = include_str!("../README.md")]

mod activity;
mod bound;
mod drain;
mod error;
#[cfg(feature = "http2")]
mod h2c;
mod handed;
mod healthz;
mod host;
mod http;
mod listeners;
mod notify;
mod port;
mod resource;
mod url;

pub use bound::Bound;
pub use drain::{Drained, Draining, GRACE_DEFAULT};
pub use error::Error;
pub use healthz::{AlwaysHealthy, HEALTHZ_PATH, Healthz, HealthzBody, HealthzFuture, healthz};
pub use host::Host;
pub use http::HttpService;
pub use port::Port;
pub use resource::{Resource, resource};

/// Binds `PORT` on `HOST`, or takes the sockets that were handed in; says that the app is ready, serves until the
/// process is told to stop, and drains.
///
/// The same as [`Port::from_env`], [`Port::bind`] and [`Bound::serve`]; an app that wants to say where it listens, or
/// another grace, calls those.
///
/// # Errors
///
/// When `PORT` or `HOST` cannot be used, the port is taken, signals cannot be watched, or the service manager cannot be
/// told. Each says what to do.
pub async fn run<S: HttpService>(service: S) -> Result<(), Error> {
    Port::from_env()?.bind().await?.serve(service).await?;
    Ok(())
}
