//! A gRPC service with tonic, over HTTP/2 without TLS, on the same port as HTTP/1.
//!
//! Here the messages are plain bytes and the service is written by hand, so that no compiler for protocol buffers is
//! needed; what `tonic-prost-build` generates is served in the same way.
//!
//! ```text
//! PORT=5000 cargo run --example grpc
//! ```

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use hyper::{Request, Response, body::Incoming};
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};
use tower_service::Service;

/// The path of its one method: `/` package `.` service `/` method.
const MOOR: &str = "/harbour.Quay/Moor";

/// `rpc Moor(bytes) returns (bytes)`.
#[derive(Clone)]
struct Quay;

impl UnaryService<Bytes> for Quay {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        ready(match request.into_inner() {
            name if name.is_empty() => Err(Status::invalid_argument("a ship without a name")),
            name => Ok(tonic::Response::new([b"moored: ", &name[..]].concat().into())),
        })
    }
}

impl Service<Request<Incoming>> for Quay {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let quay = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                MOOR => Grpc::new(Raw).unary(quay, request).await,
                _ => Status::unimplemented("Quay has Moor").into_http(),
            })
        })
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

#[tokio::main]
async fn main() -> Result<(), tambat_app::Error> {
    tambat_app::run(Quay).await
}
