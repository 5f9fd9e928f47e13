//! For apps that export their service by binding to a port.
//!
//! The app finds its port in the environment (`PORT`), binds it itself, serves, and on `TERM` finishes what it began.
//! This crate is that and no more; the web framework is the app's own choice. It takes an axum `Router`, or any other
//! [`HttpService`].
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), tambat_app::Error> {
//!     let app = Router::new().route("/", get(|| async { "moored" }));
//!     tambat_app::run(app).await
//! }
//! ```
//!
//! The same in its steps, here on a port that the kernel chooses and with a stop that the caller chooses, as a test
//! of an app wants it:
//!
//! ```
//! use axum::{Router, routing::get};
//! use tambat_app::{Bound, Drained};
//! use tokio::{
//!     io::{AsyncReadExt, AsyncWriteExt},
//!     net::{TcpListener, TcpStream},
//!     sync::oneshot,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = Router::new().route("/", get(|| async { "moored" }));
//! let bound = Bound::try_from(TcpListener::bind("127.0.0.1:0").await?)?;
//! let address = bound.local_addr();
//! let (stop, stopped) = oneshot::channel::<()>();
//! let server = tokio::spawn(bound.serve_until(app, async { drop(stopped.await) }));
//!
//! let mut client = TcpStream::connect(address).await?;
//! client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.ends_with("moored"));
//!
//! drop(stop);
//! assert_eq!(server.await?, Drained::Whole);
//! # Ok(())
//! # }
//! ```

mod bound;
mod error;
mod port;
mod resource;
mod serve;

pub use bound::Bound;
pub use error::Error;
pub use port::{Host, Port};
pub use resource::{Resource, resource};
pub use serve::{Drained, GRACE_DEFAULT, HttpService};

/// Binds `PORT` on `HOST`, serves until the process is told to stop, and drains.
///
/// The same as [`Port::from_env`], [`Port::bind`] and [`Bound::serve`]; an app that wants to say where it listens, or
/// another grace, calls those.
///
/// # Errors
///
/// When `PORT` or `HOST` cannot be used, the port is taken, or signals cannot be watched. Each says what to do.
pub async fn run<S: HttpService>(service: S) -> Result<(), Error> {
    Port::from_env()?.bind().await?.serve(service).await?;
    Ok(())
}
