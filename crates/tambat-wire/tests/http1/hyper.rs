//! hyper, as a server that reads what a target gets, and as a client that reads what a client gets.

use std::cell::RefCell;
use std::rc::Rc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::{Builder, Runtime};

use crate::http1::reader::{Field, Message, text};

/// More than any test sends.
const PIPE_BYTES: usize = 1 << 20;

/// A head of ours may have a few fields more than the hundred that hyper takes: they are ours.
const FIELDS_MAX: usize = 200;

/// What no test sends is longer.
const NOTHING: Empty<&[u8]> = Empty::new();

/// Its runtime.
pub(crate) struct Hyper(Runtime);

impl Hyper {
    pub(crate) fn start() -> Self {
        Self(Builder::new_current_thread().build().unwrap())
    }

    /// The requests on a connection of a client, and why it read no further.
    pub(crate) fn requests(&self, bytes: &[u8]) -> (Vec<Message>, Option<String>) {
        let seen = Rc::default();
        let broken = self.0.block_on(serve(bytes, &seen));
        (seen.take(), broken)
    }

    /// The final answer to a request.
    pub(crate) fn response(&self, bytes: &[u8], is_head: bool) -> Result<Message, String> {
        self.0.block_on(ask(bytes, is_head))
    }
}

async fn serve(bytes: &[u8], seen: &Rc<RefCell<Vec<Message>>>) -> Option<String> {
    let (mut client, server) = tokio::io::duplex(PIPE_BYTES);
    let service = service_fn(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let start = format!("{} {target} {:?}", head.method, head.version);
        let message = received(start, &head.headers, body).await;
        let is_whole = message.is_whole;
        seen.borrow_mut().push(message);
        if is_whole { Ok(Response::new(NOTHING)) } else { Err("the body is not whole") }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder.max_headers(FIELDS_MAX).half_close(true).serve_connection(TokioIo::new(server), service);
    let sent = async {
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        // Until it closes, too.
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let (served, ()) = tokio::join!(connection, sent);
    served.err().map(|error| format!("{error:?}"))
}

async fn ask(bytes: &[u8], is_head: bool) -> Result<Message, String> {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(FIELDS_MAX)
        .handshake(TokioIo::new(client))
        .await
        .map_err(|error| format!("{error:?}"))?;
    let method = if is_head { Method::HEAD } else { Method::GET };
    let request = Request::builder().method(method).uri("/").header("Host", "a").body(NOTHING).unwrap();
    let asked = async {
        let (head, body) = sender.send_request(request).await.map_err(|error| format!("{error:?}"))?.into_parts();
        let start = format!("{:?} {}", head.version, head.status.as_u16());
        let message = received(start, &head.headers, body).await;
        drop(sender);
        Ok(message)
    };
    let (asked, broken, ()) = tokio::join!(asked, connection, answer(server, bytes));
    match broken {
        // Whether it complains of a body that is cut off, or of what follows it, depends on who looks first.
        Err(error) if asked.as_ref().is_ok_and(|message| message.is_whole) => Err(format!("{error:?}")),
        _ => asked,
    }
}

/// Answers once it was asked: before that hyper wants to hear nothing.
async fn answer(mut server: DuplexStream, bytes: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(server.read_u8().await.unwrap());
    }
    server.write_all(bytes).await.unwrap();
    server.shutdown().await.unwrap();
}

async fn received(start: String, headers: &HeaderMap, mut body: Incoming) -> Message {
    let mut message = Message { start, fields: fields(headers), is_whole: true, ..Message::default() };
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            message.is_whole = false;
            break;
        };
        match frame.into_data() {
            Ok(data) => message.body.extend_from_slice(&data),
            Err(frame) => message.trailers.extend(frame.trailers_ref().map(fields).unwrap_or_default()),
        }
    }
    message
}

fn fields(headers: &HeaderMap) -> Vec<Field> {
    let field = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        Field::new(name.as_str(), text(value.as_bytes()).trim_matches([' ', '\t']))
    };
    headers.iter().map(field).collect()
}
