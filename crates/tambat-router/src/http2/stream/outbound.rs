//! The bytes of an HTTP/1.1 answer, as what a stream's client gets.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tambat_wire::http2::{AnswerHead, AnswerPart, AnswerReader, Translated, for_each_trailer};

use super::super::answers::Piece;
use super::super::fields::unfit;
use super::super::limits::{READ_BYTES_MIN, SEND_BUFFER_BYTES};
use super::super::session::Session;
use super::inbound::broken;

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Outbound {
    reader: AnswerReader,
    to: To,
    /// The beginning of a head, or of trailers, that was not whole when it came.
    held: Vec<u8>,
}

/// Where it goes.
#[derive(Debug)]
enum To {
    /// No head was sent yet.
    Head(SendResponse<Piece>),
    Body(SendStream<Piece>),
    /// Everything was sent.
    Over,
    /// The stream has broken off.
    Broken,
}

impl Outbound {
    pub(super) fn new(request: Translated, respond: SendResponse<Piece>) -> Self {
        Self { reader: AnswerReader::new(request), to: To::Head(respond), held: Vec::new() }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.to, To::Over)
    }

    /// Is it over, and with it what its client has to say? The two directions of a tunnel end each by itself.
    pub(super) fn is_answered(&self) -> bool {
        self.is_over() && !self.is_tunnel()
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.reader.is_tunnel()
    }

    /// The client has broken a rule: its stream is of no use any more.
    pub(super) fn fail(&mut self) {
        self.reset(Reason::PROTOCOL_ERROR);
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        match std::mem::replace(&mut self.to, To::Broken) {
            To::Head(mut respond) => respond.send_reset(reason),
            To::Body(mut stream) => stream.send_reset(reason),
            To::Over => self.to = To::Over,
            To::Broken => {}
        }
    }

    /// Ready when the stream was reset.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match &mut self.to {
            To::Head(respond) => respond.poll_reset(cx),
            To::Body(stream) => stream.poll_reset(cx),
            To::Over => return Poll::Pending,
            To::Broken => return Poll::Ready(io::ErrorKind::BrokenPipe.into()),
        };
        reset.map(|reason| {
            reason.map_or_else(broken, |reason| io::Error::new(io::ErrorKind::ConnectionReset, reason.to_string()))
        })
    }

    /// Ready when something may be sent.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, session: &Session) -> Poll<io::Result<()>> {
        let To::Body(stream) = &mut self.to else {
            return Poll::Ready(Ok(()));
        };
        if !self.reader.is_in_body() {
            return Poll::Ready(Ok(()));
        }
        if session.answers.room() == 0 {
            session.answers.wakes(cx.waker());
            return Poll::Pending;
        }
        stream.reserve_capacity(SEND_BUFFER_BYTES);
        if stream.capacity() == 0 {
            match std::task::ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How much of the answer should be read at once: what the client takes of its body now, and a little in any case. So
    /// its end is seen even where the client takes no more: that needs no window.
    pub(super) fn window(&mut self, session: &Session) -> usize {
        if !(matches!(self.to, To::Body(_)) && self.reader.is_in_body()) {
            return session.answers.window();
        }
        self.room(0, session).max(READ_BYTES_MIN)
    }

    /// There is nothing to send now: what is reserved of the connection's window is given back. All streams share that
    /// window, and a few that have nothing to send would keep all others waiting.
    pub(super) fn rests(&mut self) {
        if let To::Body(stream) = &mut self.to {
            stream.reserve_capacity(0);
        }
    }

    /// Takes bytes of the answer: how many. What is left of the window stays reserved for those that follow, until it
    /// [rests](Self::rests).
    pub(super) fn send(&mut self, bytes: &[u8], session: &Rc<Session>) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let sent = if self.held.is_empty() {
            let used = self.parts(bytes, session)?;
            if used < bytes.len() && !self.is_out_of_room(session) {
                self.held.extend_from_slice(&bytes[used..]);
                return Ok(bytes.len());
            }
            used
        } else {
            let mut held = std::mem::take(&mut self.held);
            let before = held.len();
            held.extend_from_slice(bytes);
            let used = self.parts(&held, session)?;
            if used < before || !self.is_out_of_room(session) {
                held.drain(..used);
                self.held = held;
                return Ok(bytes.len());
            }
            used - before
        };
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    /// Is it the client's window that the rest waits for?
    fn is_out_of_room(&self, session: &Session) -> bool {
        let To::Body(stream) = &self.to else {
            return false;
        };
        self.reader.is_in_body() && (stream.capacity() == 0 || session.answers.room() == 0)
    }

    /// Sends the parts that there are: how many bytes were used.
    fn parts(&mut self, bytes: &[u8], session: &Rc<Session>) -> io::Result<usize> {
        let (mut used, mut body) = (0, Vec::new());
        loop {
            let rest = &bytes[used..];
            let room = self.room(body.len(), session);
            let next = self.reader.next(rest, room);
            let (taken, part) = next.map_err(|error| self.is_bad(error))?;
            used += taken;
            match part {
                AnswerPart::Head(head) => self.head(&head, session)?,
                AnswerPart::Data { bytes, ends } => {
                    body.extend_from_slice(bytes);
                    if ends {
                        self.body(body, true, session)?;
                        return Ok(used);
                    }
                }
                AnswerPart::End(trailers) => {
                    self.end(body, trailers, session)?;
                    return Ok(used);
                }
                AnswerPart::Nothing if taken > 0 => {}
                AnswerPart::Nothing => break,
            }
            if self.is_over() {
                break;
            }
        }
        if !body.is_empty() {
            self.body(body, false, session)?;
        }
        Ok(used)
    }

    /// How many bytes of the body may be sent, behind those that are about to be.
    fn room(&mut self, before: usize, session: &Session) -> usize {
        match &mut self.to {
            To::Body(stream) if self.reader.is_in_body() => {
                stream.reserve_capacity(SEND_BUFFER_BYTES);
                stream.capacity().min(session.answers.room()).saturating_sub(before)
            }
            _ => 0,
        }
    }

    /// What was written is no answer: the client is told as far as it can be.
    fn is_bad(&mut self, error: tambat_wire::http2::AnswerError) -> io::Error {
        self.reset(Reason::INTERNAL_ERROR);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn head(&mut self, head: &AnswerHead<'_>, session: &Session) -> io::Result<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(head.status()).map_err(unfit)?;
        *response.headers_mut() = session.worker.known_fields.of(head)?;
        let To::Head(respond) = &mut self.to else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        if head.is_interim() {
            return respond.send_informational(response).map_err(broken);
        }
        let sent = respond.send_response(response, head.ends);
        self.to = match sent {
            Ok(_) if head.ends => {
                session.watch.borrow_mut().answered();
                To::Over
            }
            Ok(stream) => To::Body(stream),
            Err(error) => {
                self.to = To::Broken;
                return Err(broken(error));
            }
        };
        Ok(())
    }

    fn body(&mut self, bytes: Vec<u8>, ends: bool, session: &Rc<Session>) -> io::Result<()> {
        let To::Body(stream) = &mut self.to else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let sent = stream.send_data(Piece::new(bytes, session), ends);
        self.sent(sent, ends, session)
    }

    fn sent(&mut self, sent: Result<(), h2::Error>, ends: bool, session: &Session) -> io::Result<()> {
        match sent {
            Ok(()) => {
                let mut watch = session.watch.borrow_mut();
                watch.sent_piece();
                if ends {
                    watch.answered();
                    self.to = To::Over;
                }
                Ok(())
            }
            Err(error) => {
                self.to = To::Broken;
                Err(broken(error))
            }
        }
    }

    /// The end of a body in chunks, behind the last of them.
    fn end(&mut self, body: Vec<u8>, section: &[u8], session: &Rc<Session>) -> io::Result<()> {
        let mut trailers = HeaderMap::new();
        for_each_trailer(section, |name, value| {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
                trailers.append(name, value);
            }
        });
        if trailers.is_empty() {
            return self.body(body, true, session);
        }
        if !body.is_empty() {
            self.body(body, false, session)?;
        }
        let To::Body(stream) = &mut self.to else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let sent = stream.send_trailers(trailers);
        self.sent(sent, true, session)
    }

    /// Ends our direction of a tunnel.
    pub(super) fn end_tunnel(&mut self, session: &Rc<Session>) -> io::Result<()> {
        match &mut self.to {
            To::Body(stream) if self.reader.is_tunnel() => {
                let sent = stream.send_data(Piece::new(Vec::new(), session), true).map_err(broken);
                self.to = To::Over;
                sent
            }
            To::Broken => Err(io::ErrorKind::BrokenPipe.into()),
            To::Head(_) | To::Body(_) | To::Over => Ok(()),
        }
    }
}
