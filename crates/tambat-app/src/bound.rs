use std::{
    future::{self, Future},
    io,
    net::SocketAddr,
    pin::pin,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    select,
    signal::unix::{SignalKind, signal},
};

use crate::{
    Drained, Error, GRACE_DEFAULT, HttpService,
    serve::{Stops, accept_and_drain},
};

/// A port that is ours: bound, listening, and not served yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    local_addr: SocketAddr,
    grace: Duration,
}

impl Bound {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortTaken { address },
            _ => Error::Bind { address, source },
        })?;
        Self::try_from(listener)
    }

    /// The address that was bound, with the port that the kernel chose if the listener was bound to port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How long requests in flight may take after the app was told to stop, before they are cut. Without this,
    /// [`GRACE_DEFAULT`]. Zero cuts at once.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Answers requests until the process gets `TERM` or `INT`, then drains: accepts nothing more, frees the port,
    /// closes connections that are idle, finishes the requests in flight, and cuts what is left after the grace.
    ///
    /// A second `INT` (an impatient Ctrl-C) cuts at once. A second `TERM` does not: some runners repeat it, and some
    /// send it after the terminal has sent `INT`.
    ///
    /// A connection that was upgraded (a WebSocket) belongs to the service that upgraded it and is not waited for.
    /// Dropping the future closes the port and every connection.
    ///
    /// # Errors
    ///
    /// [`Error::Signals`], before anything is served.
    pub async fn serve<S: HttpService>(self, service: S) -> Result<Drained, Error> {
        let mut term = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let mut int = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        let drain = async {
            select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        let cut = async {
            // A stream that begins now does not see the INT that began the drain.
            match signal(SignalKind::interrupt()) {
                Ok(mut second_int) => drop(second_int.recv().await),
                Err(_) => future::pending().await,
            }
        };
        Ok(accept_and_drain(self.listener, self.grace, service, Stops { drain: pin!(drain), cut: pin!(cut) }).await)
    }

    /// As [`Bound::serve`], but stops when `stop` completes and leaves signals alone: for tests, and for apps that
    /// have their own reason to stop.
    pub async fn serve_until<S, F>(self, service: S, stop: F) -> Drained
    where
        S: HttpService,
        F: Future<Output = ()>,
    {
        let stops = Stops { drain: pin!(stop), cut: pin!(future::pending()) };
        accept_and_drain(self.listener, self.grace, service, stops).await
    }
}

impl TryFrom<TcpListener> for Bound {
    type Error = Error;

    /// Takes a listener that somebody else bound: port 0 in a test.
    fn try_from(listener: TcpListener) -> Result<Self, Error> {
        let local_addr = listener.local_addr().map_err(Error::LocalAddress)?;
        Ok(Self { listener, local_addr, grace: GRACE_DEFAULT })
    }
}
