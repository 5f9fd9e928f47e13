use std::{error::Error as StdError, pin::pin, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, select, time::sleep};
use tower_service::Service;

use crate::Draining;

/// How long a connection may take to bring the head of its next request, and so how long it may idle. Longer than
/// routers keep an idle connection (50 to 60 s), so that it is they who close it, and never under a request.
pub(crate) const HEAD_WAIT_MAX: Duration = Duration::from_secs(75);

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

/// Whether something was read before the app was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrived {
    InTime,
    /// The app drains already: this connection gets one answer, if it asks at once.
    Late,
}

/// One connection, to its end. It ends by itself when the client closes it, when it idles for too long, or after the
/// request in flight once the app drains; its errors are the client's, who is no longer there to be told.
pub(crate) async fn serve_connection<S: HttpService>(stream: TcpStream, service: S, mut draining: Draining) {
    // Answers are written whole, so waiting for more to send only delays them. A failure leaves the socket as it was.
    drop(stream.set_nodelay(true));
    let arrived = select! {
        biased;
        _ = stream.readable() => Arrived::InTime,
        () = draining.begun() => Arrived::Late,
        () = sleep(HEAD_WAIT_MAX) => return,
    };
    #[cfg(feature = "http2")]
    {
        let wait = if arrived == Arrived::Late { LATE_HEAD_WAIT_MAX } else { HEAD_WAIT_MAX };
        match tokio::time::timeout(wait, crate::h2c::is_preface(&stream)).await {
            Ok(Ok(true)) => return crate::h2c::serve(stream, service, draining).await,
            Ok(Ok(false)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    serve_http1(stream, service, draining, arrived).await;
}

async fn serve_http1<S: HttpService>(stream: TcpStream, service: S, mut draining: Draining, arrived: Arrived) {
    let late = arrived == Arrived::Late;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(if late { LATE_HEAD_WAIT_MAX } else { HEAD_WAIT_MAX });
    http.keep_alive(!late);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
    let mut connection = pin!(connection);
    if !late {
        select! {
            biased;
            _ = connection.as_mut() => return,
            () = draining.begun() => connection.as_mut().graceful_shutdown(),
        }
    }
    drop(connection.await);
}
