use std::{future::Future, net::SocketAddr, pin::pin, time::Duration};

use tokio::net::{TcpListener, TcpStream};

use crate::{
    Drained, Draining, Error, GRACE_DEFAULT, HttpService,
    drain::{Signals, Stops, never},
    http::serve_connection,
    listeners::{accept_and_drain, listen},
    notify::Manager,
};

/// A port that is ours: bound, listening, and not served yet.
#[derive(Debug)]
pub struct Bound {
    /// At least one.
    listeners: Vec<TcpListener>,
    /// Of the first of them.
    local_addr: SocketAddr,
    grace: Duration,
}

impl Bound {
    /// Binds the first address, and the others where the machine has them.
    pub(crate) fn bind(addresses: impl Iterator<Item = SocketAddr>) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        for address in addresses {
            match listen(address) {
                Ok(listener) => listeners.push(listener),
                // This machine does not have that address, or its family: the first one is what must be.
                Err(Error::Bind { .. }) if !listeners.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Self::of(listeners)
    }

    /// Takes sockets that listen already.
    pub(crate) fn listening(sockets: Vec<std::net::TcpListener>) -> Result<Self, Error> {
        let watched = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        Self::of(watched.collect::<Result<_, _>>().map_err(Error::Listen)?)
    }

    fn of(listeners: Vec<TcpListener>) -> Result<Self, Error> {
        let none = || Error::Handed { cause: "there is none".to_owned() };
        let local_addr = listeners.first().ok_or_else(none)?.local_addr().map_err(Error::LocalAddress)?;
        Ok(Self { listeners, local_addr, grace: GRACE_DEFAULT })
    }

    /// The address that was bound, with the port that the kernel chose if the listener was bound to port 0. Of several,
    /// the first: 127.0.0.1 of `localhost`.
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
    /// HTTP/1.1 (RFC 9112), and HTTP/2 without TLS by prior knowledge (RFC 9113 §3.3) with the feature `http2`: a
    /// connection says itself which of them it is.
    ///
    /// Before the first request is answered, the service manager at `NOTIFY_SOCKET` is told that the app is ready, and when
    /// the drain begins, that it stops (`sd_notify(3)`). An app that serves several ports binds all of them first.
    ///
    /// A second `INT` (an impatient Ctrl-C) cuts at once. A second `TERM` does not: some runners repeat it, and some
    /// send it after the terminal has sent `INT`.
    ///
    /// A connection that was upgraded (a WebSocket) belongs to the service that upgraded it and is not waited for.
    /// Dropping the future closes the port and every connection.
    ///
    /// # Errors
    ///
    /// [`Error::Signals`] and [`Error::Notify`], before anything is served.
    pub async fn serve<S: HttpService>(self, service: S) -> Result<Drained, Error> {
        self.until_signal(move |stream, draining| serve_connection(stream, service.clone(), draining)).await
    }

    /// As [`Bound::serve`], but stops when `stop` completes and leaves signals alone: for tests, and for apps that
    /// have their own reason to stop.
    ///
    /// # Errors
    ///
    /// [`Error::Notify`], before anything is served.
    pub async fn serve_until<S, F>(self, service: S, stop: F) -> Result<Drained, Error>
    where
        S: HttpService,
        F: Future<Output = ()>,
    {
        let handle = move |stream, draining| serve_connection(stream, service.clone(), draining);
        self.run(handle, Stops { drain: pin!(stop), cut: pin!(never()) }).await
    }

    /// Gives each connection to `handle`, whatever is spoken on it: for protocols other than HTTP.
    ///
    /// Signals, readiness and grace are those of [`Bound::serve`]. What `handle` returns runs as a task of its own; when
    /// the app was told to stop, its [`Draining`] says so, and the task has as long as the grace to return. A panic ends
    /// that connection only.
    ///
    /// ```no_run
    /// use tambat_app::{Draining, Error, Port};
    /// use tokio::{io::AsyncWriteExt as _, net::TcpStream};
    ///
    /// async fn greet(mut client: TcpStream, _: Draining) {
    ///     let _ = client.write_all(b"moored\n").await;
    /// }
    ///
    /// # async fn example() -> Result<(), Error> {
    /// Port::from_env()?.bind().await?.serve_raw(greet).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Bound::serve`].
    pub async fn serve_raw<H, F>(self, handle: H) -> Result<Drained, Error>
    where
        H: Fn(TcpStream, Draining) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        self.until_signal(handle).await
    }

    /// The listeners, for whoever accepts by other means. Readiness, signals and the drain are theirs then.
    pub fn into_listeners(self) -> Vec<TcpListener> {
        self.listeners
    }

    async fn until_signal<H, F>(self, handle: H) -> Result<Drained, Error>
    where
        H: Fn(TcpStream, Draining) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let signals = Signals::watch()?;
        self.run(handle, Stops { drain: pin!(signals.stop()), cut: pin!(Signals::second_int()) }).await
    }

    async fn run<H, F, D, C>(self, handle: H, stops: Stops<'_, D, C>) -> Result<Drained, Error>
    where
        H: Fn(TcpStream, Draining) -> F,
        F: Future<Output = ()> + Send + 'static,
        D: Future<Output = ()>,
        C: Future<Output = ()>,
    {
        let manager = Manager::from_env()?;
        manager.ready(self.local_addr)?;
        let Stops { drain, cut } = stops;
        let drain = pin!(async {
            drain.await;
            manager.stopping();
        });
        Ok(accept_and_drain(self.listeners, self.grace, handle, Stops { drain, cut }).await)
    }
}

impl TryFrom<TcpListener> for Bound {
    type Error = Error;

    /// Takes a listener that somebody else bound: port 0 in a test.
    fn try_from(listener: TcpListener) -> Result<Self, Error> {
        Self::of(vec![listener])
    }
}
