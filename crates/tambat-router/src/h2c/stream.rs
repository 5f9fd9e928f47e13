//! A stream of HTTP/2 as an exchange sees it: a connection on which a request of HTTP/1.1 is written, and its answer read.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use tambat_wire::h2c::{
    AnswerHead, AnswerWriter, BodyPart, BodyReader, StreamHead, StreamSlots, stream_head, trailers,
};

use super::link::Place;
use crate::http::WINDOW_BYTES;

/// A stream. Dropped before its end, it tells the target that nobody wants the rest (`CANCEL`, RFC 9113 §8.1).
pub(crate) struct Stream {
    up: RefCell<Up>,
    down: RefCell<Down>,
    /// The target has not looked at the request, and never will.
    is_unprocessed: Cell<bool>,
    place: Place,
}

/// The way to the target.
enum Up {
    /// The head, as far as it has come. So many bytes of it were looked at in vain.
    Head {
        bytes: Vec<u8>,
        seen: usize,
    },
    Body {
        stream: SendStream<Bytes>,
        reader: BodyReader,
    },
    /// All of the request is sent.
    Done {
        stream: SendStream<Bytes>,
    },
    /// The target takes no more of it.
    Refused,
}

/// The way back.
struct Down {
    phase: Phase,
    writer: AnswerWriter,
    /// Is `HEAD` asked?
    to_head: bool,
    /// Lines of HTTP/1.1, of which so many bytes were taken.
    lines: Vec<u8>,
    taken: usize,
    /// Bytes of the body behind them.
    data: Bytes,
}

enum Phase {
    /// Nothing was asked yet.
    Unasked,
    Head(ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    Over,
    Broken(String),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(place: Place) -> Self {
        let down = Down {
            phase: Phase::Unasked,
            writer: AnswerWriter::default(),
            to_head: false,
            lines: Vec::new(),
            taken: 0,
            data: Bytes::new(),
        };
        Self {
            up: RefCell::new(Up::Head { bytes: Vec::new(), seen: 0 }),
            down: RefCell::new(down),
            is_unprocessed: Cell::new(false),
            place,
        }
    }

    /// Is it certain that the target has done nothing for this request? It said so of the stream (`REFUSED_STREAM`), or
    /// has gone away before it came (RFC 9113 §8.7).
    pub(crate) fn is_unprocessed(&self) -> bool {
        self.is_unprocessed.get()
    }

    /// Ready when [`Self::send`] takes something, or says why it never will.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut up = self.up.borrow_mut();
        if let Up::Body { stream, .. } = &mut *up {
            while stream.capacity() == 0 {
                match std::task::ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        *up = Up::Refused;
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next bytes of the request, of its body as many as the target has room for.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it has none now; else why it takes no more.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut up = self.up.borrow_mut();
        let mut used = 0;
        if matches!(&*up, Up::Head { .. }) {
            used = self.send_head(&mut up, bytes)?;
        }
        if let Up::Body { stream, reader } = &mut *up {
            let sent = send_body(stream, reader, &bytes[used..]);
            match sent {
                Ok(more) => used += more,
                // What was taken before is not taken back: the next call says it.
                Err(()) => *up = Up::Refused,
            }
        }
        if matches!(&*up, Up::Body { reader, .. } if reader.is_over())
            && let Up::Body { stream, .. } = std::mem::replace(&mut *up, Up::Refused)
        {
            *up = Up::Done { stream };
        }
        match &*up {
            _ if used > 0 || bytes.is_empty() => Ok(used),
            Up::Refused | Up::Done { .. } => Err(io::ErrorKind::BrokenPipe.into()),
            Up::Head { .. } | Up::Body { .. } => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// How many of these bytes belong to the head. When it is whole the stream begins.
    fn send_head(&self, up: &mut Up, bytes: &[u8]) -> io::Result<usize> {
        let Up::Head { bytes: kept, seen } = up else { return Ok(0) };
        let before = kept.len();
        if before > 0 {
            kept.extend_from_slice(bytes);
        }
        let whole = if before > 0 { kept.as_slice() } else { bytes };
        let mut slots = StreamSlots::new();
        let head = match stream_head(whole, *seen, &mut slots) {
            Ok(Some(head)) => head,
            Ok(None) => {
                if before == 0 {
                    kept.extend_from_slice(bytes);
                }
                *seen = kept.len();
                return Ok(bytes.len());
            }
            Err(cause) => return Err(self.refuse(io::Error::new(io::ErrorKind::InvalidData, cause))),
        };
        let (used, reader) = (head.len - before, head.body);
        let stream = self.begin(&head).map_err(|error| self.refuse(error))?;
        *up = if reader.is_over() { Up::Done { stream } } else { Up::Body { stream, reader } };
        Ok(used)
    }

    fn begin(&self, head: &StreamHead<'_, '_>) -> io::Result<SendStream<Bytes>> {
        let request = request_of(head)?;
        let mut down = self.down.borrow_mut();
        down.to_head = request.method() == Method::HEAD;
        let sent = self.place.link().requests().send_request(request, head.ends_stream());
        // What is refused here has never left.
        self.is_unprocessed.set(sent.is_err());
        let (response, stream) = sent.map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error.to_string()))?;
        down.phase = Phase::Head(response);
        Ok(stream)
    }

    /// The request cannot be sent: so there will be no answer, either.
    fn refuse(&self, error: io::Error) -> io::Error {
        self.down.borrow_mut().phase = Phase::Broken(error.to_string());
        error
    }

    /// Ready when [`Self::receive`] has bytes of the answer, its end, or a fault.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut down = self.down.borrow_mut();
        while !down.has_bytes() {
            let polled = match &mut down.phase {
                Phase::Unasked => return Poll::Pending,
                Phase::Over => break,
                Phase::Broken(said) => return Poll::Ready(Err(broken(said))),
                Phase::Head(_) => down.poll_head(cx),
                Phase::Body(_) => down.poll_body(cx),
                Phase::Trailers(_) => down.poll_trailers(cx),
            };
            if let Err(error) = std::task::ready!(polled) {
                let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
                // A target that goes away names the last stream that it has looked at: those behind it end like this.
                self.is_unprocessed.set(error.is_remote() && (is_refused || error.is_go_away()));
                down.phase = Phase::Broken(error.to_string());
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes bytes of the answer; 0: it is over. The target gets as much room again.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none has come.
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut down = self.down.borrow_mut();
        let received = down.take(into);
        match &down.phase {
            _ if received > 0 || into.is_empty() => Ok(received),
            Phase::Over => Ok(0),
            Phase::Broken(said) => Err(broken(said)),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Has something come that was not taken?
    pub(crate) fn has_unread(&self) -> bool {
        self.down.borrow().has_bytes()
    }

    /// The target is told that nobody wants the rest.
    pub(crate) fn reset(&self) {
        if let Up::Body { stream, .. } | Up::Done { stream } = &mut *self.up.borrow_mut() {
            stream.send_reset(Reason::CANCEL);
        }
    }
}

impl Down {
    fn has_bytes(&self) -> bool {
        self.taken < self.lines.len() || !self.data.is_empty()
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let lines = &self.lines[self.taken..];
        let from_lines = lines.len().min(into.len());
        into[..from_lines].copy_from_slice(&lines[..from_lines]);
        self.taken += from_lines;
        if self.taken == self.lines.len() {
            self.lines.clear();
            self.taken = 0;
        }
        let into = &mut into[from_lines..];
        let from_data = self.data.len().min(into.len());
        if from_data > 0 {
            into[..from_data].copy_from_slice(&self.data.split_to(from_data));
            if let Phase::Body(stream) = &mut self.phase {
                // More than has come is never released.
                drop(stream.flow_control().release_capacity(from_data));
            }
            if self.data.is_empty() {
                self.writer.after_data(&mut self.lines);
            }
        }
        from_lines + from_data
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Phase::Head(response) = &mut self.phase else { return Poll::Ready(Ok(())) };
        match std::task::ready!(response.poll_informational(cx)) {
            Some(interim) => {
                let interim = interim?;
                self.write_head(&interim, false);
            }
            None => {
                let (parts, stream) = std::task::ready!(Pin::new(response).poll(cx))?.into_parts();
                let ends = stream.is_end_stream();
                self.write_head(&Response::from_parts(parts, ()), ends);
                self.phase = if ends { Phase::Over } else { Phase::Body(stream) };
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_head(&mut self, response: &Response<()>, ends_stream: bool) {
        let status = response.status();
        let head = AnswerHead {
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or_default(),
            ends_stream,
            to_head: self.to_head,
        };
        self.writer.head(head, || pairs(response.headers()), &mut self.lines);
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Phase::Body(stream) = &mut self.phase else { return Poll::Ready(Ok(())) };
        match std::task::ready!(stream.poll_data(cx)) {
            Some(data) => {
                self.data = data?;
                if !self.data.is_empty() {
                    self.writer.before_data(self.data.len(), &mut self.lines);
                }
            }
            None => {
                if let Phase::Body(stream) = std::mem::replace(&mut self.phase, Phase::Over) {
                    self.phase = Phase::Trailers(stream);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Phase::Trailers(stream) = &mut self.phase else { return Poll::Ready(Ok(())) };
        let trailers = std::task::ready!(stream.poll_trailers(cx))?.unwrap_or_default();
        self.writer.end(pairs(&trailers), &mut self.lines);
        self.phase = Phase::Over;
        Poll::Ready(Ok(()))
    }
}

fn broken(said: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, said)
}

fn pairs(fields: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Sends as much of these bytes as there is room for: how many. An error: the target takes no more.
fn send_body(stream: &mut SendStream<Bytes>, reader: &mut BodyReader, bytes: &[u8]) -> Result<usize, ()> {
    let mut used = 0;
    while used < bytes.len() && !reader.is_over() {
        let rest = &bytes[used..];
        // No more than there is to send: what is reserved is missing elsewhere on the connection.
        stream.reserve_capacity(rest.len().min(WINDOW_BYTES));
        let room = stream.capacity();
        let part = reader.read(rest, room).map_err(drop)?;
        if part.used == 0 {
            // The exchange brings lines whole: only data waits, and only for room.
            return if room == 0 { Ok(used) } else { Err(()) };
        }
        send_part(stream, rest, part.clone()).map_err(drop)?;
        used += part.used;
    }
    stream.reserve_capacity(0);
    Ok(used)
}

fn send_part(stream: &mut SendStream<Bytes>, bytes: &[u8], part: BodyPart) -> Result<(), h2::Error> {
    let mut last = HeaderMap::new();
    let ends = part.end.is_some();
    if let Some(section) = part.end {
        trailers(&bytes[section], |name, value| put(&mut last, name, value));
    }
    let is_last = ends && last.is_empty();
    if !part.data.is_empty() || is_last {
        stream.send_data(Bytes::copy_from_slice(&bytes[part.data]), is_last)?;
    }
    if !last.is_empty() {
        stream.send_trailers(last)?;
    }
    Ok(())
}

fn request_of(head: &StreamHead<'_, '_>) -> io::Result<Request<()>> {
    let cannot = |_| io::Error::new(io::ErrorKind::InvalidData, "the request cannot be said in HTTP/2");
    let uri = Uri::builder().scheme("http").authority(head.authority).path_and_query(&*encoded(head.path));
    let mut request = Request::new(());
    *request.uri_mut() = uri.build().map_err(cannot)?;
    *request.method_mut() = Method::from_bytes(head.method.as_bytes()).map_err(|error| cannot(error.into()))?;
    let fields = request.headers_mut();
    head.fields().for_each(|(name, value)| put(fields, name, value));
    Ok(request)
}

/// The path with those characters encoded that browsers send as they are and the codec does not take: the same by RFC 3986
/// §2.1, which has them encoded in any case.
fn encoded(path: &str) -> Cow<'_, str> {
    if !path.contains(['"', '<', '>', '`']) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.replace('"', "%22").replace('<', "%3C").replace('>', "%3E").replace('`', "%60"))
}

/// Fields that the engine has let pass are good ones here, too.
fn put(fields: &mut HeaderMap, name: &str, value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
        fields.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_router_takes_is_one_that_the_codec_takes() {
        // All that `target.rs` of the engine lets pass.
        let all: String = (b'!'..=b'~').map(char::from).filter(|one| !matches!(one, '#' | '\\' | '%')).collect();
        let path = format!("/{all}?{all}");
        assert!(Uri::builder().path_and_query(&*encoded(&path)).build().is_ok(), "{path}");
        assert_eq!(encoded("/a?b"), "/a?b");
        assert_eq!(encoded("/<`>?<\">"), "/%3C%60%3E?%3C%22%3E");
    }
}
