//! The answer of a stream, written as HTTP/1.1 says it: for the exchange, which judges it as any other.

use crate::http1::write_last_chunk;

/// The head of an answer, as a stream says it.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHead<'a> {
    /// `:status`.
    pub status: u16,
    /// What HTTP/1.1 calls it; empty where it has no name.
    pub reason: &'a str,
    /// Is there nothing behind it?
    pub ends_stream: bool,
    /// Is it the answer to a `HEAD`?
    pub to_head: bool,
}

/// Writes an answer: its heads, its body, its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerWriter {
    /// Is the body written in chunks? Else it is as long as the head says, or there is none.
    is_chunked: bool,
}

impl AnswerWriter {
    /// Appends a head. Its fields are those of a good one of HTTP/2: names in lower case, values without line ends.
    ///
    /// A body that says how long it is keeps its length, unless trailers are to be expected behind it: those need chunks.
    pub fn head<'f, F>(&mut self, head: AnswerHead<'_>, fields: impl Fn() -> F, out: &mut Vec<u8>)
    where
        F: Iterator<Item = (&'f str, &'f [u8])>,
    {
        let says = |wanted: &str| fields().any(|(name, _)| name == wanted);
        let has_none = head.status < 200 || matches!(head.status, 204 | 304) || head.to_head;
        let is_empty = has_none || head.ends_stream;
        self.is_chunked = !is_empty && (!says("content-length") || says("trailer") || is_grpc(fields()));
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(head.status.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(head.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in fields() {
            let is_said_otherwise = self.is_chunked && name == "content-length";
            if !is_of_http1(name) && !is_said_otherwise {
                put(name, value, out);
            }
        }
        if self.is_chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else if !has_none && head.ends_stream && !says("content-length") {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends what stands before so many bytes of the body, which are more than none.
    pub fn before_data(&self, length: usize, out: &mut Vec<u8>) {
        if self.is_chunked {
            out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        }
    }

    /// Appends what stands behind them.
    pub fn after_data(&self, out: &mut Vec<u8>) {
        if self.is_chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Appends the end, with the trailers that may be passed on where there is room for some.
    pub fn end<'f>(&self, trailers: impl Iterator<Item = (&'f str, &'f [u8])>, out: &mut Vec<u8>) {
        if !self.is_chunked {
            return;
        }
        let mut section = Vec::new();
        trailers.for_each(|(name, value)| put(name, value, &mut section));
        if !section.is_empty() {
            section.extend_from_slice(b"\r\n");
        }
        write_last_chunk(&section, out);
    }
}

fn put(name: &str, value: &[u8], out: &mut Vec<u8>) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Its status stands in a trailer.
fn is_grpc<'f>(mut fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> bool {
    fields.any(|(name, value)| name == "content-type" && value.starts_with(b"application/grpc"))
}

fn is_of_http1(name: &str) -> bool {
    matches!(name, "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{FieldSlots, Head, Limits, MethodKind, ResponseFraming, response_head};

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn pairs(fields: Fields<'_>) -> impl Iterator<Item = (&str, &[u8])> {
        fields.iter().map(|(name, value)| (*name, value.as_bytes()))
    }

    fn of(status: u16) -> AnswerHead<'static> {
        AnswerHead { status, reason: "", ends_stream: false, to_head: false }
    }

    fn written(head: AnswerHead<'_>, fields: Fields<'_>) -> String {
        let mut out = Vec::new();
        AnswerWriter::default().head(head, || pairs(fields), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_body_has_a_length_or_chunks_and_none_is_said_to_be_none() {
        let length: Fields<'_> = &[("content-length", "5")];
        let ended = |head: AnswerHead<'static>| AnswerHead { ends_stream: true, ..head };
        let to_head = |head: AnswerHead<'static>| AnswerHead { to_head: true, ..head };
        for (head, fields, want) in [
            (of(200), &[][..], "transfer-encoding: chunked\r\n"),
            (of(200), length, "content-length: 5\r\n"),
            (ended(of(200)), &[], "content-length: 0\r\n"),
            (to_head(ended(of(200))), length, "content-length: 5\r\n"),
            (to_head(of(200)), &[], ""),
            (of(204), &[], ""),
            (ended(of(304)), length, "content-length: 5\r\n"),
            (of(103), &[("link", "</a>")], "link: </a>\r\n"),
            (of(200), &[("connection", "close"), ("upgrade", "x"), ("content-length", "1")], "content-length: 1\r\n"),
        ] {
            assert_eq!(written(head, fields), format!("HTTP/1.1 {} \r\n{want}\r\n", head.status), "{head:?}");
        }
    }

    #[test]
    fn where_trailers_are_to_come_a_length_gives_way_to_chunks() {
        for field in [("content-type", "application/grpc+proto"), ("trailer", "x-sum")] {
            let head = written(of(200), &[("content-length", "5"), field]);
            let (name, value) = field;
            assert_eq!(head, format!("HTTP/1.1 200 \r\n{name}: {value}\r\ntransfer-encoding: chunked\r\n\r\n"));
        }
        let alone = AnswerHead { ends_stream: true, reason: "OK", ..of(200) };
        let fields: Fields<'_> = &[("content-type", "application/grpc"), ("grpc-status", "5")];
        let want = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(written(alone, fields), want);
    }

    #[test]
    fn a_body_in_chunks_ends_with_its_trailers() {
        let (mut writer, mut out) = (AnswerWriter::default(), Vec::new());
        writer.head(of(200), || pairs(&[]), &mut out);
        out.clear();
        writer.before_data(5, &mut out);
        out.extend_from_slice(b"hello");
        writer.after_data(&mut out);
        let trailers: Fields<'_> = &[("grpc-status", "0"), ("x-sum-bin", "AAE"), ("content-length", "9")];
        writer.end(pairs(trailers), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "5\r\nhello\r\n0\r\ngrpc-status: 0\r\nx-sum-bin: AAE\r\n\r\n");
        let (mut writer, mut out) = (AnswerWriter::default(), Vec::new());
        writer.head(of(200), || pairs(&[("content-length", "5")]), &mut out);
        out.clear();
        writer.before_data(5, &mut out);
        writer.after_data(&mut out);
        writer.end(pairs(trailers), &mut out);
        assert_eq!(out, b"");
    }

    proptest! {
        /// The exchange reads the head as it is meant, whatever the stream says.
        #[test]
        fn a_head_is_read_as_it_was_said(
            status in 200..600_u16, ends_stream in any::<bool>(), to_head in any::<bool>(),
            names in proptest::collection::vec(
                proptest::sample::select(vec!["content-length", "trailer", "x-a", "set-cookie", "connection", "date"]), 0..5),
        ) {
            let mut fields: Vec<(&str, &str)> = names.into_iter().map(|name| (name, "7")).collect();
            let mut seen_length = false;
            fields.retain(|(name, _)| *name != "content-length" || !std::mem::replace(&mut seen_length, true));
            let head = AnswerHead { status, reason: "", ends_stream, to_head };
            let text = written(head, &fields);
            let mut slots = FieldSlots::new();
            let Head::Found(read) = response_head(text.as_bytes(), &mut slots, &Limits::default()) else {
                panic!("{text:?}");
            };
            let framing = read.framing(if to_head { MethodKind::Head } else { MethodKind::Get });
            let announces = fields.iter().any(|(name, _)| *name == "trailer");
            let want = match (to_head || matches!(status, 204 | 304), ends_stream, seen_length) {
                (true, ..) => ResponseFraming::None,
                (_, true, false) => ResponseFraming::Length(0),
                (_, false, true) if announces => ResponseFraming::Chunked,
                (_, _, true) => ResponseFraming::Length(7),
                (_, false, false) => ResponseFraming::Chunked,
            };
            prop_assert_eq!(framing, want, "{}", text);
        }
    }
}
