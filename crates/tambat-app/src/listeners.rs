//! The sockets that one server accepts from, and how it accepts.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Drained, Draining, Error,
    drain::{Drain, Stops},
};

/// How many connections the kernel keeps until they are accepted; it caps this at `net.core.somaxconn`, which is 4,096
/// by default (`listen(2)`). One that waits costs little, one that is turned away is an error somebody sees.
const BACKLOG: u16 = 4096;

/// How many connections are taken from a kernel's queue once the app drains: the length of that queue. More would have
/// come after the end.
const LATE_CONNECTIONS_MAX: usize = BACKLOG as usize;

/// How long accepting rests when the process has no file or memory left for a connection (EMFILE, ENOMEM): long
/// enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address and listens on it. `::` takes both families, whatever `net.ipv6.bindv6only` says.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let socket = try_listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken { address },
        io::ErrorKind::PermissionDenied => Error::PortForbidden { address },
        _ => Error::Bind { address, source },
    })?;
    TcpListener::from_std(socket.into()).map_err(Error::Listen)
}

fn try_listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let IpAddr::V6(ip) = address.ip() {
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    // Connections of the run before, which linger for a minute, are no reason to refuse the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::from(BACKLOG))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Gives each connection to `handle`, until `stops` says so; then closes the listeners, tells the handlers, and waits
/// for them as long as the grace.
pub(crate) async fn accept_and_drain<H, F, D, C>(
    listeners: Vec<TcpListener>,
    grace: Duration,
    handle: H,
    stops: Stops<'_, D, C>,
) -> Drained
where
    H: Fn(TcpStream, Draining) -> F,
    F: Future<Output = ()> + Send + 'static,
    D: Future<Output = ()>,
    C: Future<Output = ()>,
{
    let Stops { drain: mut stop, cut } = stops;
    let (drain, draining) = Drain::new();
    let mut acceptor = Acceptor { listeners, first: 0 };
    let mut open = JoinSet::new();
    loop {
        select! {
            biased;
            () = &mut stop => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            stream = acceptor.accept() => drop(open.spawn(handle(stream, draining.clone()))),
        }
    }
    drain.begin();
    for stream in acceptor.listeners.into_iter().flat_map(queued) {
        open.spawn(handle(stream, draining.clone()));
    }
    let all_ended = async { while open.join_next().await.is_some() {} };
    let in_time = async {
        select! {
            ended = timeout(grace, all_ended) => ended.is_ok(),
            () = cut => false,
        }
    };
    if in_time.await {
        return Drained::Whole;
    }
    // Those that ended at the last moment were not cut.
    while open.try_join_next().is_some() {}
    let connections = open.len();
    open.shutdown().await;
    if connections == 0 { Drained::Whole } else { Drained::Cut { connections } }
}

/// The sockets, and which of them is asked first: each in its turn, so that a busy one does not starve the others.
struct Acceptor {
    listeners: Vec<TcpListener>,
    first: usize,
}

impl Acceptor {
    /// Cancelling it loses nothing.
    async fn accept(&mut self) -> TcpStream {
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(stream) => return stream,
                Err(error) if is_of_the_connection(&error) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let count = self.listeners.len();
        for nth in (self.first..count).chain(0..self.first) {
            if let Poll::Ready(accepted) = self.listeners[nth].poll_accept(cx) {
                self.first = (nth + 1) % count;
                return Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        Poll::Pending
    }
}

/// The client was gone before it was accepted: no reason to rest.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// The connections that the kernel took before the stop: their clients were promised an answer. Closes the port.
fn queued(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let mut streams = Vec::new();
    while streams.len() < LATE_CONNECTIONS_MAX {
        match listener.accept() {
            // A stream that cannot be used is closed here, which is all that its client can be told.
            Ok((stream, _)) => streams.extend(stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream))),
            Err(error) if is_of_the_connection(&error) => {}
            Err(_) => break,
        }
    }
    streams
}
