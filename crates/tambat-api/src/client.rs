//! Talks to a running tambat.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::types::{AppStatus, ErrorBody};

/// A running tambat answers at once; one that does not in this time hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// An attach tests the new provider before it answers.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);

/// A line of an answer is cut off at this size: a log line is 64 KiB at most, escaped six times that.
const LINE_LENGTH_MAX_BYTES: usize = 1024 * 1024;

/// Talks to the tambat behind one socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// Why a running tambat could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket: it does not run, or has just ended.
    #[error("it is not running")]
    NotRunning,
    /// The socket could not be used.
    #[error("cannot talk to the running tambat at {}: {source}", socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// What came back is not what this version expects.
    #[error("cannot understand the running tambat: {0}; is it another version? stop it and start it again")]
    Protocol(String),
    /// It did not answer in time.
    #[error("the running tambat did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
}

impl Client {
    /// A client for this socket. Connects with each request.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Which app runs here, and how it is.
    pub async fn status(&self) -> Result<AppStatus, ClientError> {
        self.get("/apps").await
    }

    /// Asks for a value.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new(), ANSWER_LIMIT).await
    }

    /// Has something done.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Protocol(error.to_string()))?;
        let limit = if path.ends_with("/attachments") { ATTACH_LIMIT } else { ANSWER_LIMIT };
        self.call(Method::POST, path, body.into(), limit).await
    }

    /// Has something undone.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, Bytes::new(), ANSWER_LIMIT).await
    }

    /// Asks for lines that come as they happen. No time limit; dropping the lines ends it.
    pub async fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let response = timed(ANSWER_LIMIT, self.send(Method::GET, path, Bytes::new())).await?;
        Ok(Lines { body: response.into_body(), buffer: Vec::new() })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let whole = async {
            let response = self.send(method, path, body).await?;
            let bytes = response.into_body().collect().await.map_err(protocol)?.to_bytes();
            serde_json::from_slice(&bytes).map_err(|error| ClientError::Protocol(error.to_string()))
        };
        timed(limit, whole).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
            _ => ClientError::Io { socket: self.socket.clone(), source },
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "tambat")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Protocol(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(protocol)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(protocol)?.to_bytes();
        let message =
            serde_json::from_slice(&bytes).map_or_else(|_| format!("status {status}"), |e: ErrorBody| e.error);
        Err(ClientError::Refused { status, message })
    }
}

/// An answer that comes line by line, each a JSON value.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next one; `None` when the other side has ended. Cancel safe.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<Result<T, ClientError>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).map_err(|error| ClientError::Protocol(error.to_string())));
            }
            if self.buffer.len() > LINE_LENGTH_MAX_BYTES {
                return Some(Err(ClientError::Protocol("a line without end".to_owned())));
            }
            match self.body.frame().await {
                None | Some(Err(_)) => return None,
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |d| d)),
            }
        }
    }
}

async fn timed<T>(limit: Duration, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(ClientError::TimedOut(limit)))
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn protocol(error: hyper::Error) -> ClientError {
    ClientError::Protocol(error.to_string())
}
