use proptest::prelude::*;

use super::*;

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='chat.example' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// A header with these attributes beside the namespaces of a client's.
fn with(attributes: &str) -> String {
    format!("<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' version='1.0' {attributes}>")
}

fn read(header: &str) -> Result<StreamHeader, StreamError> {
    match stream_header(header.as_bytes()) {
        Peek::Found(read) => read,
        other => panic!("{header}: {other:?}"),
    }
}

fn to(header: &str) -> Result<String, StreamError> {
    read(header).map(|header| header.asked().to_owned())
}

#[test]
fn a_header_is_read_whole_and_no_prefix_says_anything() {
    let from_slixmpp = "<stream:stream to='chat.example' xmlns:stream='http://etherx.jabber.org/streams' \
        xmlns='jabber:client' xml:lang='en' version='1.0'>";
    let from_server = "<?xml version='1.0'?><stream:stream id='3' xmlns='jabber:server' \
        xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='a.example' \
        to='chat.example' version='1.0'>";
    for (header, kind) in
        [(HEADER, StreamKind::Client), (from_slixmpp, StreamKind::Client), (from_server, StreamKind::Server)]
    {
        let whole = read(header).unwrap();
        assert_eq!((whole.kind, whole.asked(), whole.len), (kind, "chat.example", header.len()));
        for end in 0..header.len() {
            assert_eq!(stream_header(&header.as_bytes()[..end]), Peek::Incomplete, "{}", &header[..end]);
        }
        let more = format!("{header}<starttls");
        assert_eq!(read(&more), Ok(whole));
    }
    let header = read(&with("to='a' from='me@a/x' xml:lang='de-CH'")).unwrap();
    assert_eq!((header.from.as_deref(), header.lang.as_deref()), (Some("me@a/x"), Some("de-CH")));
    assert_eq!(header.version, Some((1, 0)));
}

#[test]
fn hostile_case_g13_whom_a_header_names() {
    for (value, expected) in [
        ("chat.example", Ok("chat.example")),
        ("CHAT.Example.", Ok("chat.example")),
        ("b\u{fc}cher.example", Ok("b\u{fc}cher.example")),
        ("127.0.0.1", Ok("127.0.0.1")),
        ("a&#46;b&#x2e;c", Ok("a.b.c")),
        ("", Err(StreamError::ImproperAddressing)),
        (".", Err(StreamError::ImproperAddressing)),
        ("me@chat.example", Err(StreamError::ImproperAddressing)),
        ("chat.example/x", Err(StreamError::ImproperAddressing)),
        ("me&#64;chat.example", Err(StreamError::ImproperAddressing)),
        ("a b", Err(StreamError::ImproperAddressing)),
        ("a\nb", Err(StreamError::ImproperAddressing)),
        (&"a".repeat(1_024), Err(StreamError::ImproperAddressing)),
    ] {
        for quote in ['\'', '"'] {
            let read = to(&with(&format!("to={quote}{value}{quote}")));
            assert_eq!(read.as_deref(), expected.as_ref().copied(), "{value}");
        }
    }
    let nobody = read(&with("")).unwrap();
    assert_eq!((nobody.to.as_deref(), nobody.asked()), (None, ""));
    assert_eq!(nobody.nobody(), StreamError::ImproperAddressing);
    assert_eq!(read(HEADER).unwrap().nobody(), StreamError::HostUnknown);
    // What another prefix says is not said by `to`.
    assert_eq!(to(&with("x:to='b' xmlns:x='urn:x' to='a'")).as_deref(), Ok("a"));
}

#[test]
fn hostile_case_g13_a_mebibyte_before_the_end_of_the_tag() {
    let endless = with(&format!("to='a' x='{}", "a".repeat(1024 * 1024)));
    let mut scan = HeaderScan::default();
    let told = (0..endless.len()).position(|end| scan.on(&endless.as_bytes()[..end]) != Peek::Incomplete);
    assert_eq!(told, Some(STREAM_HEADER_BYTES_MAX));
    assert_eq!(read(&endless), Err(StreamError::PolicyViolation));
    let blanks = " ".repeat(STREAM_HEADER_BYTES_MAX + 1);
    assert_eq!(stream_header(blanks.as_bytes()), Peek::No);
    let declaration = format!("<?xml version='1.0' {blanks}");
    assert_eq!(read(&declaration), Err(StreamError::PolicyViolation));
    let longest = with("");
    let longest = longest.replacen(' ', &" ".repeat(STREAM_HEADER_BYTES_MAX - longest.len() + 1), 1);
    assert_eq!(longest.len(), STREAM_HEADER_BYTES_MAX);
    assert!(read(&longest).is_ok());
    assert_eq!(read(&longest.replacen(' ', "  ", 1)), Err(StreamError::PolicyViolation));
    let many = (0..33).map(|n| format!("a{n}=''")).collect::<Vec<_>>().join(" ");
    assert_eq!(read(&with(&many)), Err(StreamError::PolicyViolation));
}

#[test]
fn what_is_answered_with_which_error() {
    let client = "xmlns='jabber:client'";
    let streams = format!("xmlns:stream='{STREAMS}'");
    for (header, error) in [
        (format!("<stream:stream {client} {streams} to='a' to='b'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='a'b='c'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to=a>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='a<b'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='a&b'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='&#0;'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='&#xd800;'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='&#+65;'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='&#x;'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='a\u{1}'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='a\0'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} to='\u{ffff}'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} x:y='a'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} 1='a'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} a:b:c='a'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} xmlns:y=''>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} xmlns:xmlns='urn:x'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams} xmlns:xml='urn:x'>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client} {streams}/>"), StreamError::NotWellFormed),
        (format!("<stream:stream {client}>"), StreamError::NotWellFormed),
        ("<stream:stream <stream".to_owned(), StreamError::NotWellFormed),
        ("</stream:stream>".to_owned(), StreamError::NotWellFormed),
        (format!("<?xml version='1.0'?><?xml version='1.0'?>{}", with("")), StreamError::RestrictedXml),
        (format!(" <?xml version='1.0'?>{}", with("")), StreamError::RestrictedXml),
        (format!("<?php x?>{}", with("")), StreamError::RestrictedXml),
        (format!("<?xml-stylesheet x?>{}", with("")), StreamError::RestrictedXml),
        (format!("<!-- x -->{}", with("")), StreamError::RestrictedXml),
        (format!("<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>{}", with("")), StreamError::RestrictedXml),
        (format!("<stream:stream {client} {streams} to='&a;'>"), StreamError::RestrictedXml),
        (format!("<?xml encoding='UTF-8'?>{}", with("")), StreamError::NotWellFormed),
        (format!("<?xml version='2.0'?>{}", with("")), StreamError::NotWellFormed),
        (format!("<?xml version='1.0' x='y'?>{}", with("")), StreamError::NotWellFormed),
        (format!("<?xml version='1.0' standalone='no' encoding='UTF-8'?>{}", with("")), StreamError::NotWellFormed),
        (format!("<?xml version='1.0' encoding='ISO-8859-1'?>{}", with("")), StreamError::UnsupportedEncoding),
        (format!("<stream:stream xmlns='jabber:component:accept' {streams}>"), StreamError::InvalidNamespace),
        (format!("<stream:stream {streams}>"), StreamError::InvalidNamespace),
        (format!("<stream:stream {client} xmlns:stream='urn:x'>"), StreamError::InvalidNamespace),
        (format!("<stream {client}>"), StreamError::InvalidNamespace),
        ("<html>".to_owned(), StreamError::BadFormat),
        (format!("<stream:features {client} {streams}>"), StreamError::BadFormat),
        (format!("<stream:stream {client} {streams} version='one'>"), StreamError::UnsupportedVersion),
        (format!("<stream:stream {client} {streams} version='1'>"), StreamError::UnsupportedVersion),
        (format!("<stream:stream {client} {streams} version='1.'>"), StreamError::UnsupportedVersion),
        (format!("<stream:stream {client} {streams} version='+1.0'>"), StreamError::UnsupportedVersion),
    ] {
        assert_eq!(read(&header), Err(error), "{header}");
    }
    let latin = [b"<stream:stream to='b\xfccher' ".as_slice(), &with("").as_bytes()[15..]].concat();
    assert_eq!(stream_header(&latin), Peek::Found(Err(StreamError::NotWellFormed)));
}

#[test]
fn what_is_allowed_though_nobody_writes_it() {
    for header in [
        format!("\r\n\t {}", with("to='a'")),
        format!("<?xml version=\"1.0\" encoding='utf-8' standalone='yes' ?>\n{}", with("to='a'")),
        format!("<?xml version='1.1'?>{}", with("to='a'")),
        format!("<s:stream to = \"a\"\n xmlns = 'jabber:client' xmlns:s='{STREAMS}'\t>"),
        format!("<stream to='a' xmlns='{STREAMS}' xmlns:c='jabber:client'>"),
        with("to='a' x='>' y=\"'/>\" z='&lt;&quot;&apos;&amp;&gt;'"),
        with("to='a' xmlns:db='jabber:server:dialback' db:x='y' xml:lang=''"),
    ] {
        assert_eq!(to(&header).as_deref(), Ok("a"), "{header}");
    }
    assert_eq!(read(&with("").replace("version='1.0'", "")).unwrap().version, None);
    assert_eq!(read(&with("").replace("1.0", "01.7")).unwrap().version, Some((1, 7)));
}

#[test]
fn what_is_no_xml_is_known_at_once() {
    for (bytes, at) in [
        (b"GET / HTTP/1.1".as_slice(), 1),
        (b"\x16\x03\x01", 1),
        (b"\xef\xbb\xbf<stream:stream", 1),
        (b"\xff\xfe<\0", 1),
        (b"<34>Oct 11 22:14:15 mymachine su: ", 2),
        (b"< stream", 2),
        (b"\n\nEHLO", 3),
    ] {
        for end in 0..=bytes.len() {
            let expected = if end < at { Peek::Incomplete } else { Peek::No };
            assert_eq!(stream_header(&bytes[..end]), expected, "{}", bytes[..end].escape_ascii());
        }
    }
}

#[test]
fn an_answer_is_a_stream_of_its_own_that_ends_with_the_error() {
    let header = read(&with("to='chat.example' from='a.example'")).unwrap();
    for error in StreamError::ALL {
        for (header, from) in [(Some(&header), "chat.example"), (None, "")] {
            let answer = String::from_utf8(error.answer(header, "i'd")).unwrap();
            let Peek::Found(Ok(ours)) = stream_header(answer.as_bytes()) else { panic!("{answer}") };
            let from = if error == StreamError::HostUnknown { "" } else { from };
            assert_eq!(ours.from.as_deref().unwrap_or_default(), from, "{answer}");
            let condition = format!("<{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>", error.as_str());
            assert!(answer[ours.len..].starts_with(&format!("<stream:error>{condition}<text ")), "{answer}");
            assert!(answer.ends_with("</text></stream:error></stream:stream>"), "{answer}");
            assert!(answer.contains("id='i&apos;d'"), "{answer}");
        }
    }
    let header = read(&with("to='chat.example' from=\"me@a.example/&lt;'&amp;\"")).unwrap();
    let answer = String::from_utf8(StreamError::HostUnknown.answer(Some(&header), "1")).unwrap();
    assert!(
        answer.contains("to='me@a.example/&lt;&apos;&amp;'") && answer.contains("xmlns='jabber:client'"),
        "{answer}"
    );
    let server = read(&with("").replace("jabber:client", "jabber:server")).unwrap();
    let answer = String::from_utf8(server.nobody().answer(Some(&server), "1")).unwrap();
    assert!(answer.contains("xmlns='jabber:server'") && answer.contains("<improper-addressing "), "{answer}");
}

/// What headers are made of, and what would break a reader of them.
const WORDS: &[&str] = &[
    "<",
    ">",
    "/",
    "\"",
    "'",
    " ",
    "?",
    "?>",
    "<?xml version='1.0'",
    "<stream:stream",
    "s:",
    "</",
    "<!--",
    "\0",
    "=",
    "&",
    "&amp;",
    "&#65;",
    "&x;",
    ";",
    " to='a.example'",
    " from='b'",
    " version='1.0'",
    " xmlns='jabber:client'",
    " xmlns='jabber:server'",
    " xmlns:stream='http://etherx.jabber.org/streams'",
    " xml:lang='en'",
    "\u{fc}",
    "a",
];

proptest! {
    #[test]
    fn any_cut_of_any_words_says_the_same(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..16), begins in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = [if begins { "<stream:stream" } else { "" }, &words.concat()].concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(text.len());
        let mut scan = HeaderScan::default();
        let told = ends.iter().map(|end| scan.on(&text.as_bytes()[..*end])).find(|told| *told != Peek::Incomplete);
        prop_assert_eq!(told.unwrap_or(Peek::Incomplete), stream_header(text.as_bytes()), "{}", text);
    }
}
