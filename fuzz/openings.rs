//! What is promised of the first bytes of a client, and of what it says at a front door: nothing panics, what was told
//! stays so when more follows, however they are cut, and nobody is waited for beyond the limits. Called by the fuzz targets,
//! and by the ordinary tests of `tambat-wire` with every seed.

use tambat_model::{HostPattern, Opening};
use tambat_wire::door::postgres::{Door, SslAnswer, StartupWatch, Step, Watch, inside, ssl_answer};
use tambat_wire::door::xmpp::{BEFORE_TLS_BYTES_MAX, StartTls, StartTlsStep};
use tambat_wire::peek::xmpp::{STREAM_HEADER_BYTES_MAX, StreamError, StreamHeader, stream_header};
use tambat_wire::peek::{
    ALPN_PROTOCOLS_MAX, CLIENT_HELLO_BYTES_MAX, ClientHello, OPENING_BYTES_MAX, Peek, Peeker, ServerName, Told,
    client_hello, http_request, postgres, ssh,
};

/// So many prefixes are looked at, one by one.
const PREFIXES_MAX: usize = 512;

/// A TLS handshake.
pub(crate) fn hello(data: &[u8]) {
    let told = stays(data, client_hello);
    if let Peek::Found(hello) = &told {
        fits(hello);
    }
    if told == Peek::Incomplete {
        let more = [data, &vec![0; CLIENT_HELLO_BYTES_MAX]].concat();
        assert_ne!(client_hello(&more), Peek::Incomplete);
    }
    agree(data, Opening::Tls, &told.map(Told::Tls));
}

/// An XMPP stream, up to TLS.
pub(crate) fn xmpp_stream(data: &[u8]) {
    let told = stays(data, stream_header);
    if told == Peek::Incomplete {
        let more = [data, &vec![b' '; STREAM_HEADER_BYTES_MAX]].concat();
        assert_ne!(stream_header(&more), Peek::Incomplete);
    }
    match &told {
        Peek::Found(Ok(header)) => {
            let (head, behind) = data.split_at(header.len);
            assert_eq!(stream_header(head), told);
            assert_eq!(stream_header(&head[..head.len() - 1]), Peek::Incomplete);
            answered(header);
            start_tls(header, behind);
        }
        Peek::Found(Err(error)) => is_stream(&error.answer(None, "id")),
        Peek::Incomplete | Peek::No => {}
    }
    agree(data, Opening::Xmpp, &told.map(Told::Xmpp));
}

/// A client of `PostgreSQL`, up to its handshake, and, read the other way, an app that is asked for TLS or starts a session.
pub(crate) fn postgres_opening(data: &[u8]) {
    let told = stays(data, postgres::opening);
    let begun = stays(data, inside);
    if let Peek::Found(postgres::Opening::Cancel(request)) = &told {
        assert!(data.starts_with(&request.bytes()));
        assert_eq!(begun, Peek::Found(request.clone()));
    }
    for at_a_time in [1, data.len().max(1)] {
        let steps = led(data, at_a_time);
        assert!(steps.len() <= 3, "{steps:?}");
        if let Some(Step::Refuse(refusal)) = steps.last() {
            let message = refusal.message();
            assert!(message.starts_with(b"E\0\0") && message.ends_with(b"\0\0") && message.len() < 4_096);
        }
    }
    watched(data);
    assert_eq!(ssl_answer(data) == SslAnswer::Yes, data == b"S");
}

/// The first line of HTTP, the version of SSH, and all openings at once.
pub(crate) fn http_opening(data: &[u8]) {
    let _ = stays(data, http_request);
    let _ = stays(data, ssh);
    let told = Opening::ALL.map(|opening| Peeker::new(&[opening]).on(data));
    let found: Vec<_> = told.iter().filter(|told| matches!(told, Peek::Found(_))).collect();
    assert!(found.len() <= 1, "{found:?}");
    let at_once = Peeker::new(&Opening::ALL).on(data);
    match found.first() {
        Some(found) => assert_eq!(&at_once, *found),
        None => assert_eq!(at_once == Peek::No, told.iter().all(|told| *told == Peek::No)),
    }
    assert_ne!(Peeker::new(&Opening::ALL).on(&[data, &vec![0; OPENING_BYTES_MAX]].concat()), Peek::Incomplete);
}

/// What is told of the whole, after it was never told otherwise of less.
fn stays<T: PartialEq + std::fmt::Debug>(data: &[u8], peek: fn(&[u8]) -> Peek<T>) -> Peek<T> {
    let whole = peek(data);
    for end in 0..data.len().min(PREFIXES_MAX) {
        let now = peek(&data[..end]);
        assert!(now == Peek::Incomplete || now == whole, "{now:?} of {end} bytes, and {whole:?}");
    }
    whole
}

/// Byte by byte the same is told as at once, and no sooner than was said.
fn agree(data: &[u8], opening: Opening, whole: &Peek<Told>) {
    let mut peeker = Peeker::new(&[opening]);
    for end in 0..=data.len() {
        let needs = peeker.needs();
        match peeker.on(&data[..end]) {
            Peek::Incomplete => {}
            told => {
                assert!(end >= needs, "told by {end} bytes, where {needs} were needed");
                return assert_eq!(&told, whole);
            }
        }
    }
    assert_eq!(whole, &Peek::Incomplete);
    assert!(peeker.needs() > data.len() && peeker.needs() <= OPENING_BYTES_MAX);
}

fn fits(hello: &ClientHello) {
    assert!(hello.alpn.len() <= ALPN_PROTOCOLS_MAX);
    assert!(hello.alpn.iter().all(|protocol| (1..=255).contains(&protocol.len())));
    if let ServerName::Name(name) = &hello.server_name {
        assert_eq!(name.parse(), Ok(HostPattern::Exact(name.clone())));
    }
}

/// Whatever was written there, our answer is a stream that others can read.
fn answered(header: &StreamHeader) {
    assert_eq!(header.to.is_none(), header.asked().is_empty());
    assert!(!header.asked().contains(|c: char| c.is_ascii_uppercase() || "<>&'\"@/".contains(c)));
    for error in [header.nobody(), StreamError::PolicyViolation] {
        is_stream(&error.answer(Some(header), "id"));
    }
}

/// It begins with a header that we would read ourselves, but for its `to`, which may be a person and as long as it likes.
fn is_stream(answer: &[u8]) {
    let read = stream_header(answer);
    let is_read =
        matches!(read, Peek::Found(Ok(_) | Err(StreamError::ImproperAddressing | StreamError::PolicyViolation)));
    assert!(is_read, "{read:?}: {}", answer.escape_ascii());
    assert!(answer.ends_with(b"</stream:error></stream:stream>"));
}

fn start_tls(header: &StreamHeader, behind: &[u8]) {
    let Ok((mut whole, _)) = StartTls::begin(header, "id") else { return };
    let Ok((mut bit_by_bit, _)) = StartTls::begin(header, "id") else { return };
    let told = whole.on(behind);
    let mut before = StartTlsStep::Incomplete;
    for end in 0..=behind.len() {
        let now = bit_by_bit.on(&behind[..end]);
        let goes_on = match &before {
            StartTlsStep::Incomplete => true,
            // Behind the wish for TLS nothing may come.
            StartTlsStep::Handshake(_) => matches!(now, StartTlsStep::Close(_)),
            StartTlsStep::Close(_) => now == before,
        };
        assert!(goes_on, "{before:?}, and then {now:?}");
        before = now;
    }
    assert_eq!(before, told);
    if told == StartTlsStep::Incomplete {
        let more = [behind, &vec![b' '; BEFORE_TLS_BYTES_MAX + 1]].concat();
        assert_ne!(whole.on(&more), StartTlsStep::Incomplete);
    }
}

/// All that is done by a client that sends so many bytes at a time, and waits for answers.
fn led(data: &[u8], at_a_time: usize) -> Vec<Step> {
    let mut door = Door::new();
    let mut steps = Vec::new();
    let mut rest = data;
    loop {
        let mut taken = 0;
        let step = loop {
            taken = rest.len().min(taken + at_a_time);
            match door.on(&rest[..taken]) {
                Step::Incomplete if taken < rest.len() => {}
                step => break step,
            }
        };
        let goes_on = matches!(step, Step::Reply(_));
        steps.push(step);
        if !goes_on {
            return steps;
        }
        rest = &rest[taken..];
    }
}

fn watched(data: &[u8]) {
    let mut whole = StartupWatch::new();
    let mut bit_by_bit = StartupWatch::new();
    let told = whole.on(data);
    let seen = data.chunks(1).map(|byte| bit_by_bit.on(byte)).find(|seen| *seen != Watch::Going);
    assert_eq!(seen.unwrap_or(Watch::Going), told);
    if told != Watch::Going {
        assert_eq!(whole.on(data), Watch::Over);
    }
}
