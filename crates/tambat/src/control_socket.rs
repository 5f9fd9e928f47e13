//! A control socket: HTTP/1.1 on a unix socket that only its user can open.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::Response;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::named_socket::NamedSocket;
use crate::sockets::Sockets;

/// A client of ours sends its head at once.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// So many pieces of an answer may wait for a slow client.
const PIECES_MAX: usize = 64;

/// What is answered with.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// After a failed accept, before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A control socket, open.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    socket: NamedSocket,
}

impl ControlSocket {
    /// Binds the socket; whoever calls this holds the lock.
    pub(crate) fn open(sockets: &Sockets, path: PathBuf) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let cannot = |error| Failure::new(format!("cannot open the control socket {shown}: {error}"));
        NamedSocket::open(sockets, path).map(|socket| Self { socket }).map_err(cannot)
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve<F, A>(mut self, answer: F)
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        loop {
            match self.socket.accept().await {
                Ok(stream) => drop(tokio::spawn(connection(stream, answer.clone()))),
                // Out of descriptors: those there are must end first.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

async fn connection<F, A>(stream: UnixStream, answer: F)
where
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<Body>>,
{
    let same_user = stream.peer_cred().is_ok_and(|peer| peer.uid() == tambat_os::runtime_dir::uid() || peer.uid() == 0);
    if !same_user {
        return;
    }
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // A client that goes away ends its own connection and nothing else.
    let _ = http
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A value as JSON, with a line end.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    let mut response = Response::new(Full::new(line(value)).boxed());
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// Text of this media type.
pub(crate) fn text(media_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(media_type));
    response
}

/// An answer that comes in pieces. Whoever makes them goes when its reader does, also while there is nothing to send.
pub(crate) fn streamed<W>(work: impl FnOnce(mpsc::Sender<Bytes>) -> W) -> Response<Body>
where
    W: Future<Output = ()> + Send + 'static,
{
    let (pieces, received) = mpsc::channel(PIECES_MAX);
    let reader = pieces.clone();
    let work = work(pieces);
    tokio::spawn(async move {
        tokio::select! {
            () = work => {}
            () = reader.closed() => {}
        }
    });
    Response::new(Pieces(received).boxed())
}

/// The pieces of an answer as a body.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// One line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever it waited for, which may never come, is let go.
    #[test]
    fn who_makes_pieces_goes_with_their_reader() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let held = std::sync::Arc::new(());
            let given = std::sync::Arc::clone(&held);
            let response = streamed(|pieces| async move {
                let _ = pieces.send(line(&1)).await;
                std::future::pending::<()>().await;
                drop(given);
            });
            let mut body = response.into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "1\n");
            assert_eq!(std::sync::Arc::strong_count(&held), 2);
            drop(body);
            let gone = async {
                while std::sync::Arc::strong_count(&held) > 1 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
        });
    }

    #[test]
    fn an_answer_ends_when_its_maker_does() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let all = runtime.block_on(async {
            let response = streamed(|pieces| async move {
                let _ = pieces.send(line(&1)).await;
                let _ = pieces.send(line(&2)).await;
            });
            response.into_body().collect().await.unwrap().to_bytes()
        });
        assert_eq!(all, "1\n2\n");
    }
}
