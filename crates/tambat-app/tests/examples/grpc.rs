//! tonic's own client, over a connection of hyper's, to the example that tonic serves.

use std::{
    future::Future,
    net::Ipv4Addr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    http::uri::PathAndQuery,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};
use tonic::{
    Code, Status,
    body::Body,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tower_service::Service;

use crate::app::{App, PATIENCE};

/// One connection, as tonic wants it.
struct Connection(SendRequest<Body>);

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

async fn client(port: u16) -> Grpc<Connection> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("a connection");
    let (requests, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    Grpc::with_origin(Connection(requests), Uri::from_static("http://quay"))
}

async fn call(client: &mut Grpc<Connection>, path: &'static str, name: &'static [u8]) -> Result<Bytes, Status> {
    client.ready().await.expect("the connection lives");
    let request = tonic::Request::new(Bytes::from_static(name));
    let answer = client.unary(request, PathAndQuery::from_static(path), Raw);
    timeout(PATIENCE, answer).await.expect("answered in time").map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_grpc_client_is_answered_over_h2c() {
    let app = App::start("grpc", &[]);
    let mut client = client(app.port).await;
    let answer = call(&mut client, "/harbour.Quay/Moor", b"Tambat").await.expect("moored");
    assert_eq!(&answer[..], b"moored: Tambat");
    let refused = call(&mut client, "/harbour.Quay/Moor", b"").await.expect_err("no name");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "a ship without a name"));
    let unknown = call(&mut client, "/harbour.Quay/Sink", b"Tambat").await.expect_err("no such method");
    assert_eq!(unknown.code(), Code::Unimplemented);
    // The client's connection is open, and idle: it does not hold up the end.
    assert_eq!(app.stop(), Some(0));
}
