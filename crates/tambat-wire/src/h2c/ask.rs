//! The question whether a server of HTTP/2 is ready, and the judge of its answer.
//!
//! Without a path it is asked what gRPC's servers are asked everywhere, `grpc.health.v1.Health/Check`, for the server as a
//! whole. One that knows no such service says so, and is ready: it answers by itself. So is one that is no server of gRPC
//! and answers below 500.

use super::frames::{self, Frame, Next};
use super::hpack;

use crate::{Expect, Judgement, http};

/// The stream of the question: a client's first.
const STREAM: u32 = 1;

/// `SETTINGS_HEADER_TABLE_SIZE` and `SETTINGS_ENABLE_PUSH`, both 0 (RFC 9113 §6.5.2).
const OUR_SETTINGS: [u8; 12] = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];

/// Asks for the health of the whole server: an empty message, not compressed, with its length.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Asked<'a> {
    /// A `GET` of this path.
    Path(&'a str, Expect),
    /// The health of a server of gRPC, as its own protocol has it.
    Health,
}

/// Everything that is sent: the connection's beginning, and the question. `authority` as in `localhost:5000`.
pub(crate) fn request(asked: &Asked<'_>, authority: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let mut put = |name: &str, value: &str| hpack::put_field(name, value, &mut block);
    let (method, path) = match asked {
        // As in the question over HTTP/1.1.
        Asked::Path(path, _) => ("GET", path.chars().filter(char::is_ascii_graphic).collect()),
        Asked::Health => ("POST", "/grpc.health.v1.Health/Check".to_owned()),
    };
    let agent = format!("tambat/{} (readiness)", env!("CARGO_PKG_VERSION"));
    let authority: String = authority.chars().filter(char::is_ascii_graphic).collect();
    for (name, value) in [(":method", method), (":scheme", "http"), (":authority", &authority), (":path", &path)] {
        put(name, value);
    }
    put("user-agent", &agent);
    let mut out = frames::PREFACE.to_vec();
    frames::put(frames::SETTINGS, 0, 0, &OUR_SETTINGS, &mut out);
    match asked {
        Asked::Path(..) => {
            put("accept", "*/*");
            frames::put(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, STREAM, &block, &mut out);
        }
        Asked::Health => {
            put("content-type", "application/grpc");
            put("te", "trailers");
            frames::put(frames::HEADERS, frames::END_HEADERS, STREAM, &block, &mut out);
            frames::put(frames::DATA, frames::END_STREAM, STREAM, &EMPTY_MESSAGE, &mut out);
        }
    }
    out
}

/// What the answer says so far.
pub(crate) fn judge(answer: &[u8], asked: &Asked<'_>) -> Judgement {
    // The server's connection begins with its settings (RFC 9113 §3.4), which acknowledge nothing.
    let mut rest = match frames::next(answer) {
        Next::Frame(first, behind) if first.kind == frames::SETTINGS && !first.has(frames::ACK) => behind,
        Next::Incomplete if may_be_settings(answer) => return Judgement::Incomplete,
        _ => return Judgement::answered(answer),
    };
    let mut heard = Heard { asked, fields: hpack::Fields::default(), block: None, message: Vec::new() };
    loop {
        match frames::next(rest) {
            Next::Incomplete => return Judgement::Incomplete,
            Next::TooLong => {
                return Judgement::Wrong("it sent a frame of HTTP/2 that is longer than any may be".to_owned());
            }
            Next::Frame(frame, behind) => {
                if let Some(judgement) = heard.frame(&frame) {
                    return judgement;
                }
                rest = behind;
            }
        }
    }
}

/// So far it may become the head of a frame of settings, which are never long.
fn may_be_settings(bytes: &[u8]) -> bool {
    let is = |nth: usize, wanted: &[u8]| bytes.get(nth).is_none_or(|byte| wanted.contains(byte));
    is(0, &[0]) && is(3, &[frames::SETTINGS]) && is(4, &[0])
}

/// What was heard of the answer.
struct Heard<'a> {
    asked: &'a Asked<'a>,
    fields: hpack::Fields,
    /// A block of fields that goes on in the next frame, and whether the stream ends with it.
    block: Option<(Vec<u8>, bool)>,
    message: Vec<u8>,
}

impl Heard<'_> {
    /// What follows from a frame, if anything does yet.
    fn frame(&mut self, frame: &Frame<'_>) -> Option<Judgement> {
        match (frame.kind, frame.stream) {
            (frames::GOAWAY, 0) => {
                let code = frame.number(4).unwrap_or_default();
                Some(Judgement::NotYet(format!("it closes the connection of HTTP/2 ({})", error(code))))
            }
            (frames::RST_STREAM, STREAM) => Some(reset(frame.number(0).unwrap_or_default())),
            (frames::HEADERS, STREAM) => {
                let Some(content) = frame.content() else { return Some(broken()) };
                self.block(content.to_vec(), frame.has(frames::END_STREAM), frame.has(frames::END_HEADERS))
            }
            (frames::CONTINUATION, STREAM) => {
                let Some((mut block, ends)) = self.block.take() else { return Some(broken()) };
                block.extend_from_slice(frame.payload);
                self.block(block, ends, frame.has(frames::END_HEADERS))
            }
            (frames::DATA, STREAM) => {
                let Some(content) = frame.content() else { return Some(broken()) };
                self.message.extend_from_slice(content);
                frame.has(frames::END_STREAM).then(|| self.ended())
            }
            _ => None,
        }
    }

    fn block(&mut self, block: Vec<u8>, ends_stream: bool, is_whole: bool) -> Option<Judgement> {
        if !is_whole {
            self.block = Some((block, ends_stream));
            return None;
        }
        let Some(fields) = hpack::read(&block) else { return Some(broken()) };
        let status = fields.status.or(self.fields.status);
        let is_interim = status.is_some_and(|status| (100..200).contains(&status));
        if is_interim && !ends_stream {
            return None;
        }
        self.fields = hpack::Fields {
            status,
            is_grpc: fields.is_grpc || self.fields.is_grpc,
            grpc_status: fields.grpc_status.or(self.fields.grpc_status),
        };
        match self.asked {
            Asked::Path(path, expect) => Some(self.of_http(path, *expect)),
            // Its status may stand in the head, when there is no message.
            Asked::Health if self.fields.grpc_status.is_some() || ends_stream => Some(self.ended()),
            Asked::Health if self.fields.is_grpc => None,
            Asked::Health => Some(self.of_http("", Expect::Below500)),
        }
    }

    fn of_http(&self, path: &str, expect: Expect) -> Judgement {
        let Some(status) = self.fields.status else { return broken() };
        http::judge_status(status, &status.to_string(), path, expect)
    }

    /// The answer of a server of gRPC is whole.
    fn ended(&self) -> Judgement {
        match self.fields.grpc_status {
            None if self.fields.is_grpc => Judgement::NotYet("it ended its answer without a status of gRPC".to_owned()),
            None => self.of_http("", Expect::Below500),
            Some(0) => health(&self.message),
            // What is said of this call, and not of the server: that it knows no such service, or wants to know who asks.
            Some(status) if !matches!(status, 1 | 2 | 4 | 8 | 13 | 14 | 15) => Judgement::Ready,
            Some(status) => Judgement::NotYet(format!("it answers {} of gRPC", grpc_status(status))),
        }
    }
}

/// `HealthCheckResponse.status`, in a message that is not compressed.
fn health(message: &[u8]) -> Judgement {
    let said = match message {
        [0, _, _, _, _, 0x08, status, ..] => *status,
        // A field that is 0 is not written.
        _ => 0,
    };
    match said {
        1 => Judgement::Ready,
        2 => Judgement::NotYet("it answers NOT_SERVING".to_owned()),
        3 => Judgement::NotYet("it answers SERVICE_UNKNOWN".to_owned()),
        _ => Judgement::NotYet("it answers that its health is not known".to_owned()),
    }
}

fn broken() -> Judgement {
    Judgement::Wrong("it answered what is no answer of HTTP/2".to_owned())
}

/// It refuses this stream, or all of them.
fn reset(code: u32) -> Judgement {
    Judgement::NotYet(format!("it ended its answer before it was whole ({})", error(code)))
}

/// An error of HTTP/2 (RFC 9113 §7).
fn error(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.map_or_else(|| format!("error {code}"), |name| (*name).to_owned())
}

/// A status of gRPC by its name.
fn grpc_status(code: u16) -> String {
    match code {
        1 => "CANCELLED".to_owned(),
        2 => "UNKNOWN".to_owned(),
        4 => "DEADLINE_EXCEEDED".to_owned(),
        8 => "RESOURCE_EXHAUSTED".to_owned(),
        13 => "INTERNAL".to_owned(),
        14 => "UNAVAILABLE".to_owned(),
        15 => "DATA_LOSS".to_owned(),
        other => format!("the status {other}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEALTHZ: Asked<'_> = Asked::Path("/healthz", Expect::Success);

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frames::put(kind, flags, stream, payload, &mut out);
        out
    }

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        fields.iter().for_each(|(name, value)| hpack::put_field(name, value, &mut out));
        out
    }

    /// Settings, and these frames.
    fn answer(frames: &[Vec<u8>]) -> Vec<u8> {
        let settings = frame(frames::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
        let ack = frame(frames::SETTINGS, frames::ACK, 0, &[]);
        [vec![settings, ack], frames.to_vec()].concat().concat()
    }

    fn head(fields: &[(&str, &str)], ends: bool) -> Vec<u8> {
        let flags = frames::END_HEADERS | if ends { frames::END_STREAM } else { 0 };
        frame(frames::HEADERS, flags, STREAM, &block(fields))
    }

    const GRPC: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

    fn health_says(message: &[u8], status: &str) -> Vec<u8> {
        let trailers = head(&[("grpc-status", status)], true);
        answer(&[head(&GRPC, false), frame(frames::DATA, 0, STREAM, message), trailers])
    }

    /// What is said of answers to the question for health.
    fn cases() -> Vec<(Vec<u8>, &'static str)> {
        let web = |status: &str, ends| answer(&[head(&[(":status", status)], ends)]);
        let only = |status: &str| answer(&[head(&[GRPC[0], GRPC[1], ("grpc-status", status)], true)]);
        let frame_of = |kind, payload: &[u8]| answer(&[frame(kind, 0, u32::from(kind != frames::GOAWAY), payload)]);
        vec![
            (health_says(&[0, 0, 0, 0, 2, 8, 1], "0"), ""),
            (health_says(&[0, 0, 0, 0, 2, 8, 2], "0"), "it answers NOT_SERVING"),
            (health_says(&[0, 0, 0, 0, 0], "0"), "it answers that its health is not known"),
            (health_says(&[], "14"), "it answers UNAVAILABLE of gRPC"),
            (only("12"), ""),
            (only("5"), ""),
            (only("16"), ""),
            (only("13"), "it answers INTERNAL of gRPC"),
            (web("404", true), ""),
            (web("200", false), ""),
            (web("503", false), "it answers 503"),
            (frame_of(frames::GOAWAY, &[0; 8]), "it closes the connection of HTTP/2 (NO_ERROR)"),
            (frame_of(frames::RST_STREAM, &[0, 0, 0, 7]), "it ended its answer before it was whole (REFUSED_STREAM)"),
            (
                answer(&[head(&GRPC, false), frame(frames::DATA, 1, 1, &[])]),
                "it ended its answer without a status of gRPC",
            ),
        ]
    }

    #[test]
    fn health_is_what_the_server_says_and_whoever_knows_none_is_well() {
        for (bytes, said) in cases() {
            let judged = judge(&bytes, &Asked::Health);
            let want = if said.is_empty() { Judgement::Ready } else { Judgement::NotYet(said.to_owned()) };
            assert_eq!(judged, want, "{bytes:?}");
            for end in 0..bytes.len() {
                let part = judge(&bytes[..end], &Asked::Health);
                assert!(part == Judgement::Incomplete || part == want, "{end} of {bytes:?}: {part:?}");
            }
        }
    }

    #[test]
    fn a_path_is_judged_by_its_status_in_however_many_frames() {
        let fields = block(&[(":status", "204"), ("x-a", "b")]);
        let (first, second) = fields.split_at(5);
        let in_pieces = answer(&[
            head(&[(":status", "103"), ("link", "</a>")], false),
            frame(frames::HEADERS, 0, STREAM, first),
            frame(frames::CONTINUATION, frames::END_HEADERS, STREAM, second),
        ]);
        assert_eq!(judge(&in_pieces, &HEALTHZ), Judgement::Ready);
        let refused = answer(&[head(&[(":status", "404")], true)]);
        let said = "it answers 404 at /healthz, where 2xx means ready";
        assert_eq!(judge(&refused, &HEALTHZ), Judgement::NotYet(said.to_owned()));
    }

    #[test]
    fn what_is_not_http2_is_quoted() {
        for (bytes, said) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it answered \"HTTP/1.1 400 Bad Request\""),
            (b"-ERR unknown command\r\n", "it answered \"-ERR unknown command\""),
        ] {
            assert_eq!(judge(bytes, &Asked::Health), Judgement::Wrong(said.to_owned()));
        }
        let mut long = answer(&[]);
        long.extend_from_slice(&[0xff; 9]);
        assert!(matches!(judge(&long, &Asked::Health), Judgement::Wrong(_)));
    }

    #[test]
    fn the_question_is_whole_and_one_whatever_the_path_and_the_host_hold() {
        let asked = request(&Asked::Path("/a\r\n b", Expect::Success), "h\r\n");
        let mut rest = asked.strip_prefix(frames::PREFACE).unwrap();
        let mut kinds = Vec::new();
        while let Next::Frame(frame, behind) = frames::next(rest) {
            kinds.push((frame.kind, frame.has(frames::END_STREAM)));
            rest = behind;
        }
        assert!(rest.is_empty());
        assert_eq!(kinds, [(frames::SETTINGS, false), (frames::HEADERS, true)]);
        let text = String::from_utf8_lossy(&asked);
        assert!(text.contains("\x05:path\x03/ab") && text.contains("\x0a:authority\x01h"), "{text:?}");
        let health = request(&Asked::Health, "localhost:1");
        assert!(health.ends_with(&[0, 0, 5, frames::DATA, frames::END_STREAM, 0, 0, 0, 1, 0, 0, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_judgement(
            nth in 0..14_usize, tail in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let (bytes, _) = cases().swap_remove(nth);
            prop_assert_eq!(judge(&[&bytes[..], &tail].concat(), &Asked::Health), judge(&bytes, &Asked::Health));
        }

        #[test]
        fn any_frames_are_judged_without_a_panic(
            frames in proptest::collection::vec(
                (0..10_u8, any::<u8>(), 0..3_u32, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        ) {
            let bytes = frames.iter().map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload));
            let bytes = answer(&bytes.collect::<Vec<_>>());
            for asked in [Asked::Health, HEALTHZ] {
                let _ = judge(&bytes, &asked);
            }
        }
    }
}
