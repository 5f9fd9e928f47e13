use std::{
    error::Error as StdError,
    io,
    pin::{Pin, pin},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
};
use tokio::{
    net::TcpStream,
    select,
    time::{sleep, timeout},
};
use tower_service::Service;

use crate::{
    Draining,
    activity::{Activity, Counted, CountedIo, HEAD_WAIT_MAX, drive},
};

/// How long a connection on which nothing was read yet may take for a whole head once the app drains. Its request, if
/// there is one, is under way already; a browser's spare connection brings none, and must not hold up the end.
const LATE_HEAD_WAIT_MAX: Duration = Duration::from_millis(250);

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// What [`run`](crate::run) and [`Bound::serve`](crate::Bound::serve) serve: an axum `Router`, a tonic service, and every
/// tower service from a hyper request to a response. Implemented for all of them; there is nothing to implement by hand.
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

/// Which version of HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    #[cfg(feature = "http2")]
    H2c,
}

/// Whether that was known before the app was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrived {
    InTime,
    /// The app drains already: this connection gets one answer, if it asks at once.
    Late,
}

/// One connection, to its end. It ends by itself when the client closes it, when it idles for too long, or after the
/// request in flight once the app drains; its errors are the client's, who is no longer there to be told.
pub(crate) async fn serve_connection<S: HttpService>(stream: TcpStream, service: S, draining: Draining) {
    // Answers are written whole, so waiting for more to send only delays them. A failure leaves the socket as it was.
    drop(stream.set_nodelay(true));
    let in_time = select! {
        biased;
        version = version(&stream) => Some(version),
        () = draining.begun() => None,
        () = sleep(HEAD_WAIT_MAX) => return,
    };
    let (version, arrived) = match in_time {
        Some(version) => (version, Arrived::InTime),
        None => match timeout(LATE_HEAD_WAIT_MAX, version(&stream)).await {
            Ok(version) => (version, Arrived::Late),
            Err(_) => return,
        },
    };
    match version {
        Ok(Version::Http1) => serve_http1(stream, service, &draining, arrived).await,
        #[cfg(feature = "http2")]
        Ok(Version::H2c) => crate::h2c::serve(stream, service, &draining).await,
        Err(_) => {}
    }
}

/// Completes when the client has sent enough to know it. Nothing is read; cancelling it loses nothing.
#[cfg(feature = "http2")]
async fn version(stream: &TcpStream) -> io::Result<Version> {
    Ok(if crate::h2c::is_preface(stream).await? { Version::H2c } else { Version::Http1 })
}

/// Completes when the client has sent something. Nothing is read; cancelling it loses nothing.
#[cfg(not(feature = "http2"))]
async fn version(stream: &TcpStream) -> io::Result<Version> {
    stream.readable().await.map(|()| Version::Http1)
}

async fn serve_http1<S: HttpService>(stream: TcpStream, service: S, draining: &Draining, arrived: Arrived) {
    let activity = Activity::default();
    let (io, service) = (CountedIo::new(stream, &activity), Counted::new(service, &activity));
    let mut http = http1::Builder::new();
    // hyper's own limit on the time of a head makes and cancels a timer with every request.
    http.header_read_timeout(None).keep_alive(arrived == Arrived::InTime);
    let connection = pin!(http.serve_connection(io, service).with_upgrades());
    let close = match arrived {
        Arrived::InTime => http1::UpgradeableConnection::graceful_shutdown,
        // It closes by itself, after one answer.
        Arrived::Late => |_: Pin<&mut _>| (),
    };
    drive(connection, close, activity.stalled(), &activity, draining).await;
}
