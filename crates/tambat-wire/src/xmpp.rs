//! XMPP streams (RFC 6120), as far as the headers of both sides go, and what follows the answer's: features or an error.

use crate::Judgement;
use crate::printable::{one_line, quoted};

/// A client's stream header (RFC 6120 §4.7). Which domains are served there is not known, and need not be: that this one
/// is turned away is an answer, too. Without `version` a server would send no features (§4.7.5).
pub(crate) const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";

/// The end of the stream that [`HEADER`] begins (RFC 6120 §4.4).
pub(crate) const FOOTER: &[u8] = b"</stream:stream>";

/// The namespace of streams, by which one is told from other XML (RFC 6120 §4.8.1).
const STREAMS: &[u8] = b"http://etherx.jabber.org/streams";

/// Conditions that are over after a while (RFC 6120 §4.9.3): the server comes, goes or has too much to do. Any other
/// shows that it answers: `host-unknown`, or `invalid-namespace` from a port that is for servers.
const NOT_YET: [&[u8]; 3] = [b"internal-server-error", b"resource-constraint", b"system-shutdown"];

/// What stands next in a stream.
#[derive(Debug, PartialEq, Eq)]
enum Next<'a> {
    /// Nothing whole: more bytes are needed.
    Incomplete,
    /// No element.
    Other,
    /// An element's start tag, without its brackets, and everything behind it.
    Start(&'a [u8], &'a [u8]),
}

pub(crate) fn judge(answer: &[u8]) -> Judgement {
    let (header, stream) = match next(answer) {
        Next::Incomplete => return Judgement::Incomplete,
        Next::Other => return Judgement::answered(answer),
        Next::Start(header, rest) => (header, rest),
    };
    let Some(prefix) = prefix(header) else { return Judgement::answered(answer) };
    let (first, rest) = match next(stream) {
        Next::Incomplete => return Judgement::Incomplete,
        Next::Other => return Judgement::answered(stream),
        Next::Start(tag, rest) => (name(tag).strip_prefix(prefix), rest),
    };
    match first {
        Some(b"features") => Judgement::Ready,
        Some(b"error") => judge_error(rest),
        _ => Judgement::answered(stream),
    }
}

/// A stream that begins and ends with an error (RFC 6120 §4.9.1.2). `resource-constraint` is what others call
/// unavailable: clients come back later, and a judge like the one above waits.
pub(crate) fn refusal(cause: &str) -> Vec<u8> {
    let text = escaped(&one_line(cause));
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         id='tambat' version='1.0'><stream:error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>tambat: {text}</text></stream:error>\
         </stream:stream>"
    )
    .into_bytes()
}

/// The condition is the error's first child (RFC 6120 §4.9.2).
fn judge_error(children: &[u8]) -> Judgement {
    match next(children) {
        Next::Incomplete => Judgement::Incomplete,
        Next::Start(tag, _) if !NOT_YET.contains(&name(tag)) => Judgement::Ready,
        Next::Start(tag, _) => Judgement::NotYet(format!("it answers the stream error {}", quoted(name(tag)))),
        Next::Other => Judgement::Wrong("it answers a stream error without a condition".to_owned()),
    }
}

/// `stream:` of `<stream:stream …>`, or another prefix that stands for the namespace. None: it is not a stream's header.
fn prefix(tag: &[u8]) -> Option<&[u8]> {
    let prefix = name(tag).strip_suffix(b"stream")?;
    let is_open = !tag.ends_with(b"/");
    let is_prefix = prefix.is_empty() || prefix.ends_with(b":");
    (is_open && is_prefix && tag.windows(STREAMS.len()).any(|part| part == STREAMS)).then_some(prefix)
}

fn name(tag: &[u8]) -> &[u8] {
    tag.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next().unwrap_or_default()
}

/// The next start tag. White space and declarations (`<?xml …?>`) before it are passed over.
fn next(mut bytes: &[u8]) -> Next<'_> {
    loop {
        bytes = bytes.trim_ascii_start();
        match bytes {
            [] | [b'<'] => return Next::Incomplete,
            [b'<', b'?', declaration @ ..] => match declaration.windows(2).position(|end| end == b"?>") {
                Some(end) => bytes = &declaration[end + 2..],
                None => return Next::Incomplete,
            },
            [b'<', tag @ ..] if tag[0].is_ascii_alphabetic() => return start_tag(tag),
            _ => return Next::Other,
        }
    }
}

/// A `>` inside of an attribute's value does not end its tag; a `<` has no place in it (XML 1.0 §3.1).
fn start_tag(bytes: &[u8]) -> Next<'_> {
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, quote) {
            (b'<', _) => return Next::Other,
            (b'>', None) => return Next::Start(&bytes[..at], &bytes[at + 1..]),
            (b'"' | b'\'', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    Next::Incomplete
}

/// As character data (XML 1.0 §2.4), without the two characters that it must not have (§2.2); there are no controls left.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::mem::discriminant;

    use proptest::prelude::*;

    use super::*;

    /// What streams are made of, and what would break a reader of them.
    const WORDS: &[&str] = &[
        "<",
        ">",
        "/",
        "\"",
        "'",
        " ",
        "?",
        "?>",
        "<?xml",
        "<stream:",
        "stream",
        "features",
        "error",
        "s:",
        "</",
        "<stream:error>",
        "<stream:features/>",
        "<system-shutdown/>",
        "='http://etherx.jabber.org/streams'",
        "<!--",
        "\0",
    ];

    const OPEN: &str = "<?xml version='1.0'?><stream:stream id='1' version='1.0' xml:lang='en' \
        xmlns:stream='http://etherx.jabber.org/streams' from='localhost' xmlns='jabber:client'>";

    fn error(condition: &str) -> String {
        let namespace = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'";
        format!("{OPEN}<stream:error><{condition} {namespace}/></stream:error></stream:stream>")
    }

    #[test]
    fn answers_are_judged_whole_and_no_prefix_is_judged_otherwise() {
        let features = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
        for (answer, ready) in [
            (format!("{OPEN}{features}"), true),
            (format!("{OPEN}\n  <stream:features/>"), true),
            (format!("\n{}", OPEN.replace("stream:", "s:").replace(":stream=", ":s=")) + "<s:features/>", true),
            ("<stream xmlns=\"http://etherx.jabber.org/streams\" from='a>b'><features/>".to_owned(), true),
            (error("host-unknown"), true),
            (error("invalid-namespace"), true),
            (error("system-shutdown"), false),
            (error("resource-constraint"), false),
        ] {
            let whole = judge(answer.as_bytes());
            assert_eq!(whole == Judgement::Ready, ready, "{answer}: {whole:?}");
            assert_eq!(matches!(whole, Judgement::NotYet(_)), !ready, "{answer}: {whole:?}");
            for end in 0..answer.len() {
                let part = judge(&answer.as_bytes()[..end]);
                assert!(part == Judgement::Incomplete || part == whole, "{}: {part:?}", &answer[..end]);
            }
        }
        let said = "it answers the stream error \"system-shutdown\"".to_owned();
        assert_eq!(judge(error("system-shutdown").as_bytes()), Judgement::NotYet(said));
    }

    #[test]
    fn a_header_alone_is_not_an_answer_yet() {
        assert_eq!(judge(OPEN.as_bytes()), Judgement::Incomplete);
        assert_eq!(judge(format!("{OPEN}<stream:error>").as_bytes()), Judgement::Incomplete);
    }

    #[test]
    fn something_else_is_quoted() {
        for answer in [
            "HTTP/1.1 400 Bad Request\r\n",
            "<!DOCTYPE html><html>",
            "<?xml version='1.0'?><html><body>",
            "<stream:stream xmlns:stream='urn:another'><stream:features/>",
            "<upstream xmlns='http://etherx.jabber.org/streams'><upfeatures/>",
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>",
            "<stream <stream",
            "< stream>",
            "+PONG\r\n",
        ] {
            assert!(
                matches!(judge(answer.as_bytes()), Judgement::Wrong(_)),
                "{answer}: {:?}",
                judge(answer.as_bytes())
            );
        }
        let wrong = |behind: &str| judge(format!("{OPEN}{behind}").as_bytes());
        assert_eq!(
            wrong("<message to='you'>"),
            Judgement::Wrong("it answered \"<message to=\\\'you\\\'>\"".to_owned())
        );
        assert!(matches!(wrong("</stream:stream>"), Judgement::Wrong(_)));
        assert!(matches!(wrong("<features/>"), Judgement::Wrong(_)), "of another namespace");
        let said = "it answers a stream error without a condition".to_owned();
        assert_eq!(wrong("<stream:error></stream:error>"), Judgement::Wrong(said));
    }

    #[test]
    fn the_probe_is_a_stream_header_itself() {
        let Next::Start(header, b"") = next(HEADER) else { panic!("it is one start tag") };
        assert_eq!(prefix(header), Some(b"stream:".as_slice()));
    }

    proptest! {
        #[test]
        fn whatever_its_words_are_mixed_to_a_judgement_stays_what_it_is(
            words in proptest::collection::vec(proptest::sample::select(WORDS), 0..16), open in any::<bool>(),
        ) {
            let answer = [if open { OPEN } else { "" }, &words.concat()].concat();
            let mut judged = None;
            for end in 0..=answer.len() {
                match (judge(&answer.as_bytes()[..end]), &judged) {
                    (Judgement::Incomplete, None) => {}
                    (judgement, None) => judged = Some(discriminant(&judgement)),
                    (judgement, Some(before)) => prop_assert_eq!(discriminant(&judgement), *before, "{} {}", end, answer),
                }
            }
        }
    }

    #[test]
    fn a_refusal_is_a_whole_stream_and_means_not_yet_to_a_judge() {
        let refusal = refusal("chat.1 said <b> & \u{ffff} ended\r\n");
        assert!(matches!(judge(&refusal), Judgement::NotYet(_)));
        let refusal = String::from_utf8(refusal).unwrap();
        assert!(refusal.contains(">tambat: chat.1 said &lt;b&gt; &amp; \u{fffd} ended</text>"), "{refusal}");
        assert!(refusal.ends_with("</stream:error></stream:stream>"), "{refusal}");
    }
}
