//! Answers `GET /metrics` on an address of its own, for whoever collects them.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::MEDIA_TYPE;
use crate::failure::Failure;

/// A collector asks and waits; nobody needs more connections than this.
const CONNECTIONS_MAX: usize = 16;

/// A collector sends its head at once.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// A whole connection may last so long: the collector comes again.
const CONNECTION_LIMIT: Duration = Duration::from_mins(1);

/// Where metrics are answered, bound.
#[derive(Debug)]
pub(crate) struct MetricsListener(TcpListener);

impl MetricsListener {
    /// Binds the address.
    pub(crate) fn bind(addr: SocketAddr) -> Result<Self, Failure> {
        let bind = || {
            let listener = TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            Ok(Self(listener))
        };
        bind().map_err(|error: std::io::Error| Failure::new(format!("cannot answer metrics at {addr}: {error}")))
    }

    /// Where that is.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Serves until it is dropped. `render` makes the page.
    pub(crate) async fn serve(self, render: impl Fn() -> String + Send + Sync + 'static) {
        // It has been bound and is non-blocking: without a runtime to watch it there would be nobody here.
        let Ok(listener) = tokio::net::TcpListener::from_std(self.0) else { return };
        let (render, seats) = (Arc::new(render), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        loop {
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: those there are must end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let render = Arc::clone(&render);
            tokio::spawn(async move {
                let _seat = seat;
                let service = service_fn(move |request| {
                    let response = answer(&request, &*render);
                    async move { Ok::<_, Infallible>(response) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
                let serving = http.serve_connection(TokioIo::new(stream), service);
                // A collector that goes away ends its own connection and nothing else.
                let _ = tokio::time::timeout(CONNECTION_LIMIT, serving).await;
            });
        }
    }
}

fn answer(request: &Request<Incoming>, render: &(impl Fn() -> String + ?Sized)) -> Response<Full<Bytes>> {
    let (status, body) = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => (StatusCode::OK, render()),
        ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        fields.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
