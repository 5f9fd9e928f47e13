//! What is promised of the HTTP/1 engine, for any bytes: what is written parses again to the same meaning, and nothing
//! else is found in it; no split changes a meaning; after a refusal nothing was written. Called by the fuzz targets, and
//! by the ordinary tests of `tambat-wire` with every seed.

pub(crate) mod judge;
pub(crate) mod play;
pub(crate) mod reader;

use tambat_model::PathPrefix;
use tambat_wire::http1::{
    Answer, ChunkDecoder, ChunkError, Decoded, FieldSlots, Form, Forward, Head, Limits, Media, Piece, Refusal,
    RequestFacts, RequestHead, RequestId, head_may_be_whole, request_head, write_chunk, write_last_chunk,
};

use judge::judge;
use play::{ID, Play, Scene, VIA, client_first, play, with_hop};
use reader::{Chunks, Length, Message, chunks, length, requests, responses, text};

/// A line of its own between the parts of a scene.
const BETWEEN: &[u8] = b"\n---\n";

/// Heads longer than this are cut at chosen places only: reading all beginnings of one takes the square of its length.
const EVERY_CUT_BYTES_MAX: usize = 256;

/// What is longer does not come in single bytes.
const SINGLE_BYTES_MAX: usize = 2_000;

/// All that a client sends on one connection.
pub(crate) fn http1_request(data: &[u8]) {
    check_head(data);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".as_slice();
    for trusts_peer in [false, true] {
        let answers = vec![answer; 64];
        same_in_any_split(&Scene { client: data, answers, trusts_peer, ..Scene::default() });
    }
}

/// All that a target answers to a request.
pub(crate) fn http1_response(data: &[u8]) {
    for client in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok",
    ] {
        same_in_any_split(&Scene { client: client.as_bytes(), answers: vec![data], ..Scene::default() });
    }
}

/// A body in chunks.
pub(crate) fn http1_chunks(data: &[u8]) {
    let mut random = Random::of(data);
    let whole = decode(data, &mut || data.len());
    same_chunks(&whole, &chunks(data), data);
    for cuts in [1, 7, 60] {
        let cut = decode(data, &mut || 1 + random.below(cuts));
        same_decoding(&whole, &cut, data);
    }
    let Decoding { body, end: Some(Ok((trailers, _))), .. } = whole else { return };
    let mut again = Vec::new();
    let (first, second) = body.split_at(random.below(body.len() + 1));
    write_chunk(first, &mut again);
    write_chunk(second, &mut again);
    write_last_chunk(&trailers, &mut again);
    let decoded = decode(&again, &mut || again.len());
    assert!(decoded.body == body && matches!(decoded.end, Some(Ok((_, used))) if used == again.len()), "{again:?}");
}

/// Both directions: a schedule, the client's bytes, and an answer for each request, with lines of `---` between them.
pub(crate) fn http1_exchange(data: &[u8]) {
    let mut parts = split(data).into_iter();
    let (Some(schedule), Some(client)) = (parts.next(), parts.next()) else { return };
    let scene = Scene { client, answers: parts.collect(), schedule, ..Scene::default() };
    judge(&play(&scene));
    judge(&play(&Scene { body_bytes_max: Some(10), trusts_peer: true, ..scene.clone() }));
    same_in_any_split(&scene);
}

/// The parts of a scene.
pub(crate) fn split(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = data.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&data[..at]);
        data = &data[at + BETWEEN.len()..];
    }
    parts.push(data);
    parts
}

/// What came of a scene, as far as no split may change it.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    requests: Vec<Message>,
    answers: Vec<Message>,
    endings: Vec<String>,
    /// Of two mistakes the one is told that is seen first.
    is_refused: bool,
}

fn meaning(play: &Play) -> Meaning {
    let (sent, answers) = judge(play);
    let mut meaning = Meaning {
        requests: sent.into_iter().flatten().map(Message::sorted).collect(),
        answers: answers.into_iter().map(Message::sorted).collect(),
        endings: play
            .exchanges
            .iter()
            .map(|played| match played.outcome {
                Ok(over) => format!("{:?}", over.client),
                Err(fault) => format!("{:?}", fault.side),
            })
            .collect(),
        is_refused: play.refusal.is_some(),
    };
    if let Some(Err(_)) = play.exchanges.last().map(|played| played.outcome) {
        // How much of it came before the fault was seen depends on the split.
        let cut_off = meaning.requests.pop();
        meaning.requests.extend(cut_off.map(|message| Message { body: Vec::new(), ..message }));
        let others = play.exchanges.len() - 1;
        let mut finals = 0;
        meaning.answers.retain(|message| {
            let is_of_others = finals < others;
            finals += usize::from(message.status() >= 200);
            is_of_others
        });
    }
    meaning
}

/// The client's bytes first, then the answer, cut in other ways.
fn same_in_any_split(scene: &Scene<'_>) {
    let mut random = Random::of(scene.client);
    let whole = client_first(scene, || 0);
    let expected = meaning(&play(&Scene { schedule: &whole, ..scene.clone() }));
    let bytes = if whole.len() > SINGLE_BYTES_MAX { 17 } else { 1 };
    let single = client_first(scene, || bytes);
    let mixed = client_first(scene, || u8::try_from(random.below(48).saturating_sub(16)).unwrap_or(0));
    for schedule in [single, mixed] {
        let got = meaning(&play(&Scene { schedule: &schedule, ..scene.clone() }));
        assert_eq!(got, expected, "cut by {:?} of {:?}", &schedule[..schedule.len().min(64)], text(scene.client));
    }
}

/// What the first head means, and what is written of it.
fn check_head(data: &[u8]) {
    let limits = Limits::default();
    let mut slots = FieldSlots::new();
    let read = request_head(data, &mut slots, &limits);
    let len = if let Head::Found(head) = &read { Some(head.len()) } else { None };
    for end in cuts(data, len) {
        let mut slots = FieldSlots::new();
        let part = request_head(&data[..end], &mut slots, &limits);
        match (&read, len) {
            // Found with its last byte, and with no other.
            (Head::Found(_), Some(len)) => assert_eq!(matches!(part, Head::Found(_)), end >= len, "{end}: {part:?}"),
            (Head::Incomplete, _) => assert!(matches!(part, Head::Incomplete), "{end}: {part:?}"),
            _ => assert!(!matches!(part, Head::Found(_)), "{end}: {part:?}"),
        }
        assert!(!matches!((&read, &part), (Head::Found(_), Head::Refused(_))), "{end}: {part:?}");
    }
    match &read {
        Head::Incomplete => assert!(data.len() < limits.head_bytes_max),
        Head::Refused(refusal) => check_answer(refusal, data),
        Head::Found(head) => {
            assert!(head_may_be_whole(&data[..head.len()], head.len() - 1, &limits));
            check_questions(head);
            check_written(head);
        }
    }
}

fn cuts(data: &[u8], len: Option<usize>) -> Vec<usize> {
    let end = data.len().min(len.map_or(usize::MAX, |len| len + 4));
    let step = (end / EVERY_CUT_BYTES_MAX).max(1);
    let mut cuts: Vec<usize> = (0..end).step_by(step).collect();
    cuts.extend(len.into_iter().flat_map(|len| [len - 2, len - 1, len]));
    cuts
}

/// What the router asks of a head.
fn check_questions(head: &RequestHead<'_, '_>) {
    assert!(!head.host().bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii_graphic()), "{:?}", head.host());
    assert!(head.path().bytes().all(|b| b.is_ascii_graphic()), "{:?}", head.path());
    assert!(head.cookie("tambat").is_none_or(|value| !value.contains(&b';')));
    assert!(head.traceparent().is_none_or(|value| !value.contains(&b'\n')));
    let _ = (head.prefers_html(), head.asked(), head.hop_token(), head.content_length(), head.comes_from_itself(VIA));
    with_hop(true, |hop| {
        let _ = head.client(hop);
        assert!(head.request_id(hop).is_none_or(|id| (20..=200).contains(&id.as_bytes().len())));
    });
    assert!(!format!("{head:?}").is_empty());
}

/// Whatever is written is one head, and means what was read.
fn check_written(head: &RequestHead<'_, '_>) {
    let strip: Option<PathPrefix> = "/a".parse().ok();
    for (trusts_peer, strip, continue_here) in [(false, None, true), (true, strip, false)] {
        let mut out = b"before".to_vec();
        with_hop(trusts_peer, |hop| {
            let request_id = RequestId::kept(ID.as_bytes()).unwrap_or_else(|| RequestId::new(0, 0));
            let (strip, hop_token) = (strip.as_ref(), Some("t0ken"));
            head.write(
                &Forward {
                    hop,
                    strip,
                    request_id: &request_id,
                    hop_token,
                    continue_here,
                    client_certificate: None,
                    passes_te: false,
                },
                &mut out,
            );
        });
        let Some(written) = out.strip_prefix(b"before") else { panic!("it is appended") };
        if head.path() == "*" {
            // Never written: the router itself answers it.
            continue;
        }
        let path = strip.as_ref().map_or_else(
            || head.path().to_owned(),
            |prefix| match prefix.strip(head.path()) {
                tambat_model::Stripped::Whole(path) => path.to_owned(),
                tambat_model::Stripped::SlashThen(rest) => format!("/{rest}"),
            },
        );
        let found = requests(written);
        let [message] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(message.start, format!("{} {path} HTTP/1.1", head.method()));
        assert_eq!(message.values("tambat-hop").collect::<Vec<_>>(), ["t0ken"]);
        assert_eq!(message.values("expect").count(), usize::from(head.facts().expects_continue && !continue_here));
        read_again(head, written, &path);
    }
}

/// Another tambat behind this one reads the same.
fn read_again(head: &RequestHead<'_, '_>, written: &[u8], path: &str) {
    let limits = Limits { line_bytes_max: 1 << 20, field_bytes_max: 1 << 20, head_bytes_max: 1 << 20, fields_max: 100 };
    let mut slots = FieldSlots::new();
    let again = match request_head(written, &mut slots, &limits) {
        Head::Found(again) => again,
        // Our own fields come on top of a hundred.
        Head::Refused(refusal) if refusal.code == tambat_model::ErrorCode::HeadTooBig => return,
        other => panic!("{other:?} of {:?}", text(written)),
    };
    let (facts, before) = (again.facts(), head.facts());
    let expects_continue = facts.expects_continue;
    let same = RequestFacts { keep_alive: true, expects_continue, version: facts.version, ..before };
    assert_eq!((again.len(), facts), (written.len(), same), "{:?}", text(written));
    assert_eq!(again.method(), head.method());
    assert!(head.host() == again.host() || head.host().is_empty(), "{} {}", head.host(), again.host());
    // A double escape may be one less after each reading.
    assert!(again.path() == path || path.contains("%25"), "{path} {}", again.path());
    assert_eq!(again.disposition(), head.disposition());
}

/// What a refusal is answered with is one answer, whatever stands in it.
fn check_answer(refusal: &Refusal, data: &[u8]) {
    assert!(!refusal.cause.is_empty() && !refusal.cause.contains(char::is_control));
    let said = String::from_utf8_lossy(&data[..data.len().min(200)]);
    for (media, head_only) in [(Media::Json, false), (Media::Html, false), (Media::Html, true), (Media::Grpc, false)] {
        let form = Form { media, head_only, close: true, date: None };
        let (mend, route, request_id) = (Some(&*said), Some(&*said), Some(&*said));
        let answer = Answer { code: refusal.code, cause: &said, mend, route, request_id, form, retry_after_s: Some(1) };
        let mut out = Vec::new();
        answer.write(&mut out);
        let (found, _) = responses(&out, &[head_only], true);
        let [message] = &found[..] else { panic!("{found:#?}") };
        let is_grpc = media == Media::Grpc;
        assert!(message.is_whole && message.status() == if is_grpc { 200 } else { refusal.code.status() });
        assert!(matches!(length(&message.fields), Length::Bytes(_)));
        assert_eq!(message.body.is_empty(), head_only || is_grpc);
        assert_eq!(message.values("grpc-status").count(), usize::from(is_grpc));
    }
}

/// What a [`ChunkDecoder`] made of bytes.
#[derive(Debug, PartialEq, Eq)]
struct Decoding {
    body: Vec<u8>,
    /// The trailers and how many bytes it all took, or why it is none; `None`: it is not whole.
    end: Option<Result<(Vec<u8>, usize), ChunkError>>,
}

fn decode(data: &[u8], next: &mut dyn FnMut() -> usize) -> Decoding {
    let (mut decoder, mut body) = (ChunkDecoder::default(), Vec::new());
    let (mut start, mut end) = (0, 0);
    while end < data.len() {
        end = (end + next().max(1)).min(data.len());
        loop {
            let Decoded { used, piece } = match decoder.decode(&data[start..end]) {
                Ok(decoded) => decoded,
                Err(error) => return Decoding { body, end: Some(Err(error)) },
            };
            assert!(used <= end - start);
            match piece {
                Piece::Nothing => {
                    start += used;
                    break;
                }
                Piece::Data(range) => {
                    assert!(!range.is_empty() && range.end == used);
                    body.extend_from_slice(&data[start..end][range]);
                }
                Piece::End(range) => {
                    let trailers = data[start..end][range].to_vec();
                    return Decoding { body, end: Some(Ok((trailers, start + used))) };
                }
            }
            start += used;
        }
    }
    Decoding { body, end: None }
}

/// The decoder may see earlier than the reader that bytes are bad, or later; in all else they agree.
fn same_chunks(decoding: &Decoding, read: &Chunks, data: &[u8]) {
    let is_same = match (read, &decoding.end) {
        (Chunks::Whole { data, used, .. }, Some(Ok((_, taken)))) => (data, used) == (&decoding.body, taken),
        (Chunks::Partial { data }, None) => *data == decoding.body,
        (Chunks::Bad { data } | Chunks::Partial { data }, Some(Err(_))) => data.starts_with(&decoding.body),
        (Chunks::Bad { .. }, None) => never_ends(data),
        _ => false,
    };
    assert!(is_same, "{decoding:?} and {read:?} of {:?}", text(data));
}

fn same_decoding(whole: &Decoding, cut: &Decoding, data: &[u8]) {
    let is_same = match (&whole.end, &cut.end) {
        (Some(Err(_)), None) | (None, Some(Err(_))) => never_ends(data),
        // Of two mistakes the one is told that is seen first.
        (Some(Err(_)), Some(Err(_))) => true,
        (whole, cut) => whole == cut,
    };
    assert!(is_same && whole.body == cut.body, "{whole:?} and {cut:?} of {:?}", text(data));
}

/// Trailers are looked at once their end may be there: then they are found to be bad.
fn never_ends(data: &[u8]) -> bool {
    let ended = [data, b"\r\n\r\n"].concat();
    [1, ended.len()].iter().all(|bytes| matches!(decode(&ended, &mut || *bytes).end, Some(Err(_))))
}

/// `SplitMix64`, begun with the bytes themselves: the same input is always cut the same way.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// FNV-1a of the bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 up to, but not including, `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or_default()
    }
}
