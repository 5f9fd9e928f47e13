use std::{
    error::Error as StdError,
    future::Future,
    io,
    pin::{Pin, pin},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_service::Service;

/// How long requests in flight may take after the app was told to stop. Deployments wait 30 s for a process before
/// they kill it; a drain that is longer would be cut by them.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// How long a connection may take to bring the head of its next request, and so how long it may idle. Longer than
/// routers keep an idle connection (50 to 60 s), so that it is they who close it, and never under a request.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(75);

/// How long a connection on which nothing was read yet may take for a whole head once the app drains. Its request, if
/// there is one, is under way already; a browser's spare connection brings none, and must not hold up the end.
const LATE_HEAD_WAIT_MAX: Duration = Duration::from_millis(250);

/// How many connections are taken from the kernel's queue once the app drains: the length of that queue. More would
/// have come after the end.
const LATE_CONNECTIONS_MAX: usize = 1024;

/// How long accepting rests when the process has no file or memory left for a connection (EMFILE, ENOMEM): long
/// enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type BoxError = Box<dyn StdError + Send + Sync>;

/// What [`run`](crate::run) and [`Bound::serve`](crate::Bound::serve) serve: an axum `Router`, and every tower
/// service from a hyper request to a response. Implemented for all of them; there is nothing to implement by hand.
pub trait HttpService:
    Service<Request<Incoming>, Response = Response<Self::Body>, Error: Into<BoxError>, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight got its answer.
    Whole,
    /// The grace was over, or a second `INT` came, before every request had its answer.
    Cut {
        /// How many connections were closed under a request: 1 or more.
        connections: usize,
    },
}

/// What ends a server, step by step.
pub(crate) struct Stops<'a, D, C> {
    /// Begins the drain.
    pub(crate) drain: Pin<&'a mut D>,
    /// Ends it early. Not polled before `drain` is complete.
    pub(crate) cut: Pin<&'a mut C>,
}

pub(crate) async fn accept_and_drain<S, D, C>(
    listener: TcpListener,
    grace: Duration,
    service: S,
    stops: Stops<'_, D, C>,
) -> Drained
where
    S: HttpService,
    D: Future<Output = ()>,
    C: Future<Output = ()>,
{
    let Stops { mut drain, cut } = stops;
    let (phase, phases) = watch::channel(Phase::Serving);
    let mut open = JoinSet::new();
    loop {
        select! {
            biased;
            () = &mut drain => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            stream = accept(&listener) => drop(open.spawn(serve_connection(stream, service.clone(), phases.clone()))),
        }
    }
    phase.send_replace(Phase::Draining);
    for stream in queued(listener) {
        open.spawn(serve_connection(stream, service.clone(), phases.clone()));
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_the_connection(&error) => {}
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
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

/// One connection, to its end. It ends by itself when the client closes it, when it idles for too long, or after the
/// request in flight once the app drains; its errors are the client's, who is no longer there to be told.
async fn serve_connection<S: HttpService>(stream: TcpStream, service: S, mut phases: watch::Receiver<Phase>) {
    // Answers are written whole, so waiting for more to send only delays them. A failure leaves the socket as it was.
    drop(stream.set_nodelay(true));
    let late = select! {
        biased;
        _ = stream.readable() => false,
        () = draining(&mut phases) => true,
        () = sleep(HEAD_WAIT_MAX) => return,
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(if late { LATE_HEAD_WAIT_MAX } else { HEAD_WAIT_MAX });
    http.keep_alive(!late);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
    let mut connection = pin!(connection);
    if !late {
        select! {
            biased;
            _ = connection.as_mut() => return,
            () = draining(&mut phases) => connection.as_mut().graceful_shutdown(),
        }
    }
    drop(connection.await);
}

/// Completes when the app drains; also when the server is gone, which closes its connections.
async fn draining(phases: &mut watch::Receiver<Phase>) {
    drop(phases.wait_for(|phase| *phase == Phase::Draining).await);
}
