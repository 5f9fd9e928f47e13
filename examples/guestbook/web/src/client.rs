use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tambat_app::Resource;
use tokio::{net::TcpStream, time::timeout};

/// How long entries may take for a whole answer, a restart of it included. Below the half minute after which routers
/// give up on web itself.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// A page of the longest entries, as JSON with every character escaped, is about 300 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The port of a handle that names none (RFC 9110 §4.2.1).
const HTTP_PORT_DEFAULT: u16 = 80;

/// The backing service `entries`.
#[derive(Clone)]
pub(crate) struct Entries {
    address: Arc<Address>,
}

struct Address {
    host: String,
    port: u16,
    /// What goes into the field `Host`.
    authority: String,
    /// The path of the handle, without a slash at its end.
    base: String,
}

/// A handle that this client cannot use. What it says is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the resource handle ENTRIES_URL: {0}\nset it to http://host:port, such as http://127.0.0.1:5100")]
pub(crate) struct Unusable(&'static str);

/// Why entries gave no answer that can be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it did not answer in time")]
    Late,
    #[error("it broke off")]
    Broken,
    #[error("it answered with {0}")]
    Status(StatusCode),
    #[error("it answered with something that is not a guestbook")]
    Strange,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) text: String,
    /// `2026-11-22T17:46:08Z`.
    pub(crate) at: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Book {
    /// Newest first.
    pub(crate) entries: Vec<Entry>,
    /// The `before` of the next page.
    pub(crate) next: Option<i64>,
}

/// What a visitor wrote, as it came.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What entries says of a draft.
pub(crate) enum Added {
    InTheBook,
    /// The reason is for the visitor.
    Refused(String),
}

#[derive(Deserialize)]
struct Told {
    error: String,
}

impl Entries {
    /// The service that the handle names.
    pub(crate) fn at(handle: &Resource) -> Result<Self, Unusable> {
        if !handle.scheme().eq_ignore_ascii_case("http") {
            return Err(Unusable("this app dials plain http:// only"));
        }
        if handle.has_user() {
            return Err(Unusable("this app knows no users and passwords for it"));
        }
        let host = handle.host().ok_or(Unusable("it names no host"))?.to_owned();
        let port = handle.port().unwrap_or(HTTP_PORT_DEFAULT);
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let path = handle.url().splitn(4, '/').nth(3).unwrap_or_default();
        if path.contains(['?', '#']) {
            return Err(Unusable("it has a query or a fragment"));
        }
        let base = match path.trim_end_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        Ok(Self { address: Arc::new(Address { host, port, authority, base }) })
    }

    /// A page of the book: the newest entries, or those older than `before`.
    pub(crate) async fn page(&self, before: Option<i64>) -> Result<Book, Away> {
        let path = match before {
            Some(id) => format!("/entries?before={id}"),
            None => "/entries".to_owned(),
        };
        match self.ask(Method::GET, &path, Body::empty()).await? {
            (StatusCode::OK, body) => serde_json::from_slice(&body).map_err(|_| Away::Strange),
            (status, _) => Err(Away::Status(status)),
        }
    }

    /// Hands in a draft. It is not sent twice: what became of it after an error is not known.
    pub(crate) async fn add(&self, draft: &Draft) -> Result<Added, Away> {
        let body = serde_json::to_vec(draft).map_err(|_| Away::Strange)?;
        match self.ask(Method::POST, "/entries", Body::from(body)).await? {
            (StatusCode::CREATED, _) => Ok(Added::InTheBook),
            (StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE, body) => {
                let told: Told = serde_json::from_slice(&body).map_err(|_| Away::Strange)?;
                Ok(Added::Refused(told.error))
            }
            (status, _) => Err(Away::Status(status)),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Body) -> Result<(StatusCode, Bytes), Away> {
        let address = &self.address;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", address.base))
            .header(HOST, &address.authority)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|_| Away::Unreachable)?;
        timeout(ANSWER_WAIT_MAX, self.exchange(request)).await.map_err(|_| Away::Late)?
    }

    /// One connection a request: on this machine it costs next to nothing, and one that a restart of entries has
    /// closed is never met.
    async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, Bytes), Away> {
        let Address { host, port, .. } = &*self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|_| Away::Unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Away::Broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|_| Away::Broken)?;
            let status = response.status();
            let body =
                Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|_| Away::Broken)?;
            Ok((status, body.to_bytes()))
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                // The answer may still be on its way from the connection when that ends; its own error says more.
                _ = &mut connection, if open => open = false,
            }
        }
    }
}
