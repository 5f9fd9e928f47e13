//! The answer that the HTTP/1.1 engine writes, as the parts of a stream's answer.

use std::fmt;

use super::request::Translated;
use super::websocket::Accept;
use super::written::{WrittenHead, cut_field};
use crate::http1::{ChunkDecoder, Piece};

/// How many trailers there may be: as many as the engine passes on.
const TRAILERS_MAX: usize = 100;

/// Reads the answer to one request, however it is cut into pieces. It owns no buffer: bytes that were not used are
/// brought again, with more behind them.
#[derive(Debug)]
pub struct AnswerReader {
    state: State,
    head_only: bool,
    accept: Option<Accept>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Length(u64),
    Chunked(ChunkDecoder),
    Tunnel,
    Over,
}

/// A part of an answer.
#[derive(Debug)]
pub enum AnswerPart<'b> {
    /// Nothing until more has come, or there is more room.
    Nothing,
    /// The head, or an interim one before it.
    Head(AnswerHead<'b>),
    /// Bytes of the body, or of the tunnel; never empty.
    Data {
        /// These.
        bytes: &'b [u8],
        /// They are the last.
        ends: bool,
    },
    /// The body is over. These are its trailers, for [`for_each_trailer`].
    End(&'b [u8]),
}

/// The head of an answer.
pub struct AnswerHead<'b> {
    head: WrittenHead<'b>,
    opens_tunnel: bool,
    /// No body follows it.
    pub ends: bool,
}

/// What was written is no answer, or the app has not understood what it agrees to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AnswerError(pub &'static str);

impl AnswerReader {
    /// Of the answer to this request.
    pub fn new(request: Translated) -> Self {
        let (head_only, accept) = match request {
            Translated::Request { head_only, .. } => (head_only, None),
            Translated::WebSocket(accept) => (false, Some(accept)),
        };
        Self { state: State::Head, head_only, accept }
    }

    /// Is the answer over? Nothing comes behind it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Has it become a tunnel?
    pub fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    /// Are the bytes that come next those of a body or a tunnel, which need room?
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_) | State::Tunnel)
    }

    /// The part at the beginning of `input`, and how many bytes were used. Of a body, `room` bytes at most are taken.
    pub fn next<'b>(&mut self, input: &'b [u8], room: usize) -> Result<(usize, AnswerPart<'b>), AnswerError> {
        match self.state {
            State::Head => self.head(input),
            State::Length(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len()).min(room);
                let ends = taken as u64 == left;
                self.state = if ends { State::Over } else { State::Length(left - taken as u64) };
                Ok(data(&input[..taken], taken, ends))
            }
            State::Chunked(decoder) => self.chunked(decoder, input, room),
            State::Tunnel => {
                let taken = input.len().min(room);
                Ok(data(&input[..taken], taken, false))
            }
            State::Over if input.is_empty() => Ok((0, AnswerPart::Nothing)),
            State::Over => Err(AnswerError("bytes follow the end of an answer")),
        }
    }

    fn head<'b>(&mut self, input: &'b [u8]) -> Result<(usize, AnswerPart<'b>), AnswerError> {
        let Some((used, head)) = WrittenHead::read(input)? else {
            return Ok((0, AnswerPart::Nothing));
        };
        if head.is_interim() {
            return Ok((used, AnswerPart::Head(AnswerHead { head, opens_tunnel: false, ends: false })));
        }
        if head.status == 101 {
            self.agree(&head)?;
            self.state = State::Tunnel;
            return Ok((used, AnswerPart::Head(AnswerHead { head, opens_tunnel: true, ends: false })));
        }
        let has_body = !self.head_only && !matches!(head.status, 204 | 304);
        self.state = match (head.is_chunked, head.length) {
            _ if !has_body => State::Over,
            (true, _) => State::Chunked(ChunkDecoder::default()),
            (false, Some(0)) => State::Over,
            (false, Some(bytes)) => State::Length(bytes),
            (false, None) => return Err(AnswerError("nothing says where an answer ends")),
        };
        let ends = self.is_over();
        Ok((used, AnswerPart::Head(AnswerHead { head, opens_tunnel: false, ends })))
    }

    /// The app has to have understood what it was asked (RFC 6455 §4.1).
    fn agree(&self, head: &WrittenHead<'_>) -> Result<(), AnswerError> {
        let accept = self.accept.as_ref().ok_or(AnswerError("the target switches to a protocol nobody asked for"))?;
        let mut answers = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"));
        let is_agreed = answers.next().is_some_and(|(_, value)| accept.is(value)) && answers.next().is_none();
        let mut upgrades = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        let is_websocket = upgrades.next().is_some_and(|(_, value)| value.eq_ignore_ascii_case(b"websocket"));
        if is_agreed && is_websocket {
            Ok(())
        } else {
            Err(AnswerError("the target switches to a WebSocket without the answer to its key"))
        }
    }

    fn chunked<'b>(
        &mut self,
        decoder: ChunkDecoder,
        input: &'b [u8],
        room: usize,
    ) -> Result<(usize, AnswerPart<'b>), AnswerError> {
        let broken = |error: crate::http1::ChunkError| AnswerError(error.cause());
        // How far its data goes is seen by reading it: what there is no room for is read once more.
        let (mut looked, mut window) = (decoder, input);
        let mut decoded = looked.decode(window).map_err(broken)?;
        if let Piece::Data(range) = &decoded.piece
            && range.len() > room
        {
            window = &input[..range.start + room];
            looked = decoder;
            decoded = looked.decode(window).map_err(broken)?;
        }
        self.state = State::Chunked(looked);
        let used = decoded.used;
        Ok(match decoded.piece {
            Piece::Nothing => (used, AnswerPart::Nothing),
            Piece::Data(range) => (used, AnswerPart::Data { bytes: &window[range], ends: false }),
            Piece::End(range) => {
                self.state = State::Over;
                (used, AnswerPart::End(&window[range]))
            }
        })
    }
}

fn data(bytes: &[u8], used: usize, ends: bool) -> (usize, AnswerPart<'_>) {
    if bytes.is_empty() { (used, AnswerPart::Nothing) } else { (used, AnswerPart::Data { bytes, ends }) }
}

impl<'b> AnswerHead<'b> {
    /// 100 to 999; of a tunnel 200 (RFC 8441 §5).
    pub fn status(&self) -> u16 {
        if self.opens_tunnel { 200 } else { self.head.status }
    }

    /// Does another head follow?
    pub fn is_interim(&self) -> bool {
        self.head.is_interim()
    }

    /// How many fields it has at most.
    pub fn fields_max(&self) -> usize {
        self.head.fields_count
    }

    /// The lines of its fields, those included that HTTP/2 has not: see [`Self::field`].
    pub fn lines(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        self.head.lines()
    }

    /// Name and value of the field of such a line, if HTTP/2 has it, too (RFC 9113 §8.2.2). Of all heads but that of a
    /// [tunnel](Self::opens_tunnel) the same lines mean the same.
    pub fn field(&self, line: &'b [u8]) -> Option<(&'b str, &'b [u8])> {
        Some(cut_field(line)).filter(|(name, _)| !is_of_http1(name, self.opens_tunnel))
    }

    /// Is a tunnel behind it?
    pub fn opens_tunnel(&self) -> bool {
        self.opens_tunnel
    }

    /// The fields that HTTP/2 has, too.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.lines().filter_map(|line| self.field(line))
    }
}

impl fmt::Debug for AnswerHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerHead").field("status", &self.status()).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// Is it a field of HTTP/1.1 connections? Told apart by length first.
fn is_of_http1(name: &str, opens_tunnel: bool) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        20 => opens_tunnel && is("sec-websocket-accept"),
        14 => opens_tunnel && is("content-length"),
        _ => false,
    }
}

/// The fields of a trailer section that a reader has found.
pub fn for_each_trailer(section: &[u8], mut see: impl FnMut(&str, &[u8])) {
    let mut slots = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    // The decoder found these lines well-formed with the same parser.
    if let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut slots) {
        fields.iter().for_each(|field| see(field.name, field.value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Body;
    use super::super::websocket::WebSocketKey;
    use super::*;

    const GET: Translated = Translated::Request { head_only: false, body: Body::None };

    /// What was read of an answer that comes in pieces of so many bytes, with room for so many of its body.
    fn read(request: Translated, answer: &[u8], piece: usize, room: usize) -> Result<Vec<String>, AnswerError> {
        let mut reader = AnswerReader::new(request);
        let (mut seen, mut body, mut at, mut end) = (Vec::new(), Vec::new(), 0, 0);
        while end < answer.len() {
            end = (end + piece).min(answer.len());
            loop {
                let (used, part) = reader.next(&answer[at..end], room)?;
                let is_nothing = used == 0 && matches!(part, AnswerPart::Nothing);
                at += used;
                match part {
                    AnswerPart::Nothing => {}
                    AnswerPart::Head(head) => {
                        let fields: Vec<_> =
                            head.fields().map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
                        let end = if head.ends { " ends" } else { "" };
                        seen.push(format!("{} {}{end}", head.status(), fields.join(" ")));
                        assert!(!head.ends || reader.is_over());
                    }
                    AnswerPart::Data { bytes, ends } => {
                        assert!(!bytes.is_empty() && bytes.len() <= room);
                        body.extend_from_slice(bytes);
                        if ends {
                            assert!(reader.is_over());
                            seen.push(format!("{} ends", body.escape_ascii()));
                        }
                    }
                    AnswerPart::End(section) => {
                        let mut trailers = String::new();
                        for_each_trailer(section, |name, value| {
                            trailers.push_str(&format!(" {name}={}", value.escape_ascii()));
                        });
                        seen.push(format!("{} ends{trailers}", body.escape_ascii()));
                    }
                }
                if is_nothing {
                    break;
                }
            }
        }
        if !reader.is_over() {
            seen.push(format!("{} goes on", body.escape_ascii()));
        }
        Ok(seen)
    }

    /// The same however it comes, and whatever room there is.
    fn parts(request: Translated, answer: &str) -> Result<Vec<String>, AnswerError> {
        let whole = read(request, answer.as_bytes(), answer.len(), usize::MAX);
        for (piece, room) in [(1, usize::MAX), (1, 1), (answer.len(), 1), (7, 3)] {
            assert_eq!(read(request, answer.as_bytes(), piece, room), whole, "{piece} {room}: {answer:?}");
        }
        whole
    }

    fn got(answer: &str) -> Vec<String> {
        parts(GET, answer).unwrap()
    }

    #[test]
    fn an_answer_of_known_length_ends_with_its_last_byte() {
        assert_eq!(
            got("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\nConnection: close\r\n\r\nok"),
            ["200 Content-Length=2 A=b", "ok ends"]
        );
        assert_eq!(got("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), ["200 Content-Length=0 ends"]);
        assert_eq!(got("HTTP/1.1 204 No\r\nA: b\r\n\r\n"), ["204 A=b ends"]);
        assert_eq!(got("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n"), ["304 Content-Length=5 ends"]);
        let head = Translated::Request { head_only: true, body: Body::None };
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(parts(head, answer).unwrap(), ["200 Content-Length=2 ends"]);
        assert_eq!(got(answer), ["200 Content-Length=2", " goes on"]);
    }

    #[test]
    fn chunks_become_data_and_trailers() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 1\r\n\r\n";
        assert_eq!(got(&format!("{head}2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n")), ["200 ", "okay! ends"]);
        assert_eq!(got(&format!("{head}0\r\nA: b\r\nC: d\r\n\r\n")), ["200 ", " ends A=b C=d"]);
        assert_eq!(got(&format!("{head}5\r\nok")), ["200 ", "ok goes on"]);
        assert!(parts(GET, &format!("{head}x\r\n")).is_err());
    }

    #[test]
    fn interim_heads_come_before_the_answer() {
        assert_eq!(
            got(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            ),
            ["100 ", "103 Link=x", "200 Content-Length=0 ends"]
        );
    }

    #[test]
    fn what_has_no_end_or_goes_beyond_it_is_no_answer() {
        assert!(parts(GET, "HTTP/1.1 200 OK\r\n\r\nx").is_err());
        assert!(parts(GET, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab").is_err());
        assert!(parts(GET, "ICY 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_websocket_needs_the_answer_to_its_key() {
        let key = WebSocketKey::new(*b"the sample nonce");
        let websocket = Translated::WebSocket(key.accept());
        let agreed = |upgrade: &str, accept: &str| {
            let head = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: chat\r\n";
            parts(websocket, &format!("{head}Upgrade: {upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n\r\nframes"))
        };
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert_eq!(agreed("WebSocket", accept).unwrap(), ["200 Sec-WebSocket-Protocol=chat", "frames goes on"]);
        assert!(agreed("websocket", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=").is_err());
        assert!(agreed("h2c", accept).is_err());
        assert!(agreed("websocket", &format!("{accept}\r\nSec-WebSocket-Accept: {accept}")).is_err());
        assert!(parts(GET, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n").is_err());
        let refused = "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno";
        assert_eq!(parts(websocket, refused).unwrap(), ["403 Content-Length=2", "no ends"]);
    }
}
