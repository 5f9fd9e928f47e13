//! What a stream's client sends, as the bytes of an HTTP/1.1 request.

use std::io::{self, Write as _};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use tambat_wire::http2::{Body, Translated, trailer_is_fit};

/// A request on its way in.
#[derive(Debug)]
pub(super) struct Inbound {
    /// The head, or what frames the body, from `framing_at` on: it comes before `data`.
    framing: Vec<u8>,
    framing_at: usize,
    /// What has come of the body, from `data_at` on.
    data: Bytes,
    data_at: usize,
    /// Where the rest of it comes from; none: it is whole.
    body: Option<RecvStream>,
    written: Written,
    /// Is the end of a chunk due?
    in_chunk: bool,
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    AsIs,
    Chunked,
    Tunnel,
}

impl Inbound {
    pub(super) fn new(head: Vec<u8>, translated: Translated, body: Option<RecvStream>) -> Self {
        let written = match translated {
            Translated::Request { body: Body::Chunked, .. } => Written::Chunked,
            Translated::Request { .. } => Written::AsIs,
            Translated::WebSocket(_) => Written::Tunnel,
        };
        Self { framing: head, framing_at: 0, data: Bytes::new(), data_at: 0, body, written, in_chunk: false }
    }

    pub(super) fn has_bytes(&self) -> bool {
        self.framing_at < self.framing.len() || self.data_at < self.data.len()
    }

    /// Has the client ended its direction of a tunnel?
    pub(super) fn has_ended_tunnel(&self) -> bool {
        self.written == Written::Tunnel && self.body.is_none()
    }

    /// Takes what has come: how many bytes.
    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let framing = copy(&self.framing[self.framing_at..], into);
        self.framing_at += framing;
        if self.framing_at == self.framing.len() && self.framing_at > 0 {
            (self.framing, self.framing_at) = (Vec::new(), 0);
        }
        if !self.framing.is_empty() || self.data.is_empty() {
            return framing;
        }
        let data = copy(&self.data[self.data_at..], &mut into[framing..]);
        self.data_at += data;
        if self.data_at == self.data.len() {
            if let Some(body) = &mut self.body {
                // Of a stream that is over no window has to be opened.
                let _ = body.flow_control().release_capacity(self.data.len());
            }
            (self.data, self.data_at) = (Bytes::new(), 0);
        }
        framing + data
    }

    /// Ready when bytes may be had, or none will come: none of a request that is whole.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        loop {
            if self.has_bytes() || self.has_ended_tunnel() {
                return Poll::Ready(Some(Ok(())));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let ended = match std::task::ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.data(data);
                    continue;
                }
                Some(Err(error)) => Err(error),
                None => std::task::ready!(body.poll_trailers(cx)),
            };
            match ended.map_err(broken).and_then(|trailers| self.end(trailers.as_ref())) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn data(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        if self.written == Written::Chunked {
            let before = if self.in_chunk { "\r\n" } else { "" };
            // Writing to a Vec cannot fail.
            let _ = write!(self.framing, "{before}{:x}\r\n", data.len());
            self.in_chunk = true;
        }
        self.data = data;
    }

    /// The body is whole.
    fn end(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        self.body = None;
        let fields = || trailers.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_bytes()));
        if !fields().all(|(name, value)| trailer_is_fit(name.as_bytes(), value)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a trailer holds what none may"));
        }
        if self.written == Written::Chunked {
            self.framing.extend_from_slice(if self.in_chunk { b"\r\n0\r\n" } else { b"0\r\n" });
            for (name, value) in fields() {
                for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                    self.framing.extend_from_slice(part);
                }
            }
            self.framing.extend_from_slice(b"\r\n");
        }
        Ok(())
    }
}

/// Copies what there is room for: how many bytes.
fn copy(from: &[u8], into: &mut [u8]) -> usize {
    let bytes = from.len().min(into.len());
    into[..bytes].copy_from_slice(&from[..bytes]);
    bytes
}

/// The stream was reset, or its connection has broken off.
pub(super) fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
