//! No framework: a service written by hand, from a hyper request to a response. One thread is enough for it.
//!
//! ```text
//! PORT=5000 cargo run --example hyper
//! curl -d 'three words here' http://localhost:5000/
//! ```

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use tower_service::Service;

/// Answers with how many words it was sent.
#[derive(Clone)]
struct Words;

impl Service<Request<Incoming>> for Words {
    type Response = Response<Full<Bytes>>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(async move {
            let body = request.into_body().collect().await?.to_bytes();
            let words = body.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
            Ok(Response::new(Full::from(format!("{words}\n"))))
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), tambat_app::Error> {
    tambat_app::run(Words).await
}
