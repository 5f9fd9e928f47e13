//! What has to be true of a [`Play`], whatever the client and the targets said: what each side received means what the
//! other side sent, as a reader sees it that shares nothing with the engine.

use std::net::IpAddr;

use tambat_wire::http1::{After, Framing, MethodKind, Over, Version};

use super::play::{ID, PEER, PORT, Play, Played, VIA};
use super::reader::{Chunks, Field, Length, Message, chunks, head, length, requests, responses, text, values};

/// Never passed on, whoever sends it: of one connection alone, or written by the router.
const NEVER_SENT: [&str; 20] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "tambat-hop",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
    "max-forwards",
];

/// Never passed on to a client.
const NEVER_ANSWERED: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// In trailers they could change what a message means.
const NEVER_TRAILERS: [&str; 14] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

/// Holds everything against it: the requests as they reached the targets, by connection, and the answers.
pub(crate) fn judge(play: &Play) -> (Vec<Vec<Message>>, Vec<Message>) {
    let sent: Vec<Vec<Message>> = (0..play.to_targets.len()).map(|nth| on_connection(play, nth)).collect();
    (sent, to_client(play))
}

/// The bytes of this connection up to a tunnel.
pub(crate) fn sent_bytes(play: &Play, connection: usize) -> &[u8] {
    let of_it = play.exchanges.iter().filter(|played| played.target == connection);
    &play.to_targets[connection][..of_it.map(|played| played.sent.end).max().unwrap_or(0)]
}

/// The client's bytes up to a tunnel.
pub(crate) fn got_bytes(play: &Play) -> &[u8] {
    &play.to_client[..play.exchanges.last().map_or(0, |played| played.got.end)]
}

fn on_connection(play: &Play, connection: usize) -> Vec<Message> {
    let found = requests(sent_bytes(play, connection));
    let played: Vec<&Played> = play.exchanges.iter().filter(|played| played.target == connection).collect();
    assert_eq!(found.len(), played.len(), "another number of requests than was sent: {found:#?}");
    for (message, played) in found.iter().zip(&played) {
        check_request(message, played);
    }
    // Nothing stands behind a request that is not whole.
    let (_, before) = played.split_last().unwrap_or_else(|| panic!("a connection without a request"));
    assert!(before.iter().all(|played| played.outcome.is_ok_and(|over| over.target == After::Keep)));
    found
}

fn check_request(message: &Message, played: &Played) {
    let facts = played.facts;
    assert_eq!(message.start, format!("{} {} HTTP/1.1", played.method, played.path));
    let path = played.path.split('?').next().unwrap_or_default();
    assert!(!path.split('/').any(|part| matches!(part, "." | "..")) && !played.path.contains(['#', '\\']), "{path}");
    let fields = message.fields.clone();
    let (forwarding, mut rest): (Vec<Field>, Vec<Field>) = fields.into_iter().partition(is_forwarding);
    check_forwarding(&forwarding, played);
    let mut expected = passed_on(played);
    expected.push(Field::new("host", values(&played.fields, "host").next().unwrap_or("localhost:8080")));
    if let Some(host) = message.values("host").next().filter(|_| values(&rest, "host").ne(values(&expected, "host"))) {
        // The target's own is the one that counts; it means the same.
        let place = expected.last_mut().unwrap_or_else(|| panic!("it was pushed"));
        let is_same = |a: &str, b: &str| bare(a) == bare(b);
        assert!(is_same(host, &place.value) || values(&played.fields, "host").count() == 0, "{host} {place:?}");
        host.clone_into(&mut place.value);
    }
    rest.sort();
    expected.sort();
    assert_eq!(rest, expected, "of {played:#?}");
    assert_eq!(message.is_whole, played.request_is_whole, "{message:?} of {played:#?}");
    assert!(values(&played.fields, "host").count() <= 1, "{played:#?}");
    // The client said the same, in one field.
    let said = length(&played.fields);
    assert_eq!(length(&message.fields), said, "{played:#?}");
    match facts.framing {
        Framing::None => assert_eq!((said, played.body.len()), (Length::Unsaid, 0)),
        Framing::Length(bytes) => {
            assert_eq!(said, Length::Bytes(bytes));
            assert_eq!(message.body, played.body);
        }
        Framing::Chunked => {
            assert_eq!(said, Length::Chunks);
            let (data, trailers) = match chunks(&played.body) {
                Chunks::Whole { data, trailers, used } => {
                    assert_eq!((used, message.is_whole), (played.body.len(), true));
                    (data, trailers)
                }
                Chunks::Partial { data } => {
                    assert!(!message.is_whole);
                    (data, Vec::new())
                }
                Chunks::Bad { .. } => panic!("what was used are no chunks: {played:#?}"),
            };
            assert_eq!(text(&message.body), text(&data), "of {played:#?}");
            check_trailers(&message.trailers, &trailers);
        }
    }
}

/// A host without its port and in lower case.
fn bare(host: &str) -> String {
    let name = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => &host[..colon],
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The fields that say how the request came here.
fn is_forwarding(field: &Field) -> bool {
    const NAMES: [&str; 6] =
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-request-id"];
    NAMES.contains(&field.name.as_str())
}

/// Each stands once, and says what the router knows, unless somebody who is trusted knows better.
fn check_forwarding(fields: &[Field], played: &Played) {
    let only = |name: &str| {
        let mut all = values(fields, name);
        let first = all.next().unwrap_or_else(|| panic!("no {name}: {fields:?}"));
        assert_eq!(all.next(), None, "{name} twice");
        first.to_owned()
    };
    assert_eq!(fields.len(), 6, "{fields:?}");
    assert_eq!(only("x-request-id"), ID);
    let (chain, host, port) = (only("x-forwarded-for"), only("x-forwarded-host"), only("x-forwarded-port"));
    let (scheme, forwarded) = (only("x-forwarded-proto"), only("forwarded"));
    assert!(scheme == "http" || (played.trusts_peer && scheme == "https"), "{scheme}");
    assert!(
        chain.split(", ").all(|hop| hop.parse::<IpAddr>().is_ok()) && chain.ends_with(&PEER.to_string()),
        "{chain}"
    );
    assert!(!host.contains(['"', '\\', ',', ';', '@', ' ']), "{host}");
    assert_eq!(forwarded.matches("for=").count(), chain.split(", ").count(), "{forwarded}");
    if !played.trusts_peer {
        assert_eq!((chain, port), (PEER.to_string(), PORT.to_string()));
        assert_eq!(forwarded, format!("for={PEER};host=\"{host}\";proto=http"));
    }
}

/// What is passed on of the client's fields, and what is added to it but for the host.
fn passed_on(played: &Played) -> Vec<Field> {
    let facts = played.facts;
    let named = named_by_connection(&played.fields);
    let counts_down = facts.method == MethodKind::Options;
    let is_passed = |field: &&Field| {
        let name = field.name.as_str();
        let is_claim = name == "x-real-ip" || (name.len() > "x-forwarded-".len() && name.starts_with("x-forwarded-"));
        match name {
            "via" => true,
            "max-forwards" => !counts_down,
            _ if NEVER_SENT.contains(&name) || name.contains('_') => false,
            _ if is_claim => played.trusts_peer,
            _ => !named.contains(&field.name),
        }
    };
    let mut expected: Vec<Field> = played.fields.iter().filter(is_passed).cloned().collect();
    let version = if facts.version == Version::Http10 { "1.0" } else { "1.1" };
    expected.push(Field::new("via", format!("{version} {VIA}")));
    match facts.framing {
        Framing::None => {}
        Framing::Length(bytes) => expected.push(Field::new("content-length", bytes.to_string())),
        Framing::Chunked => expected.push(Field::new("transfer-encoding", "chunked")),
    }
    if facts.expects_continue {
        expected.push(Field::new("expect", "100-continue"));
    }
    if facts.upgrade {
        expected.push(Field::new("connection", "upgrade"));
        expected.extend(played.fields.iter().filter(|field| field.name == "upgrade").cloned());
    }
    if let Some(left) = values(&played.fields, "max-forwards").next().filter(|_| counts_down) {
        let left: u64 = left.parse().unwrap_or_else(|_| panic!("{left}"));
        expected.push(Field::new("max-forwards", (left - 1).to_string()));
    }
    expected
}

/// In lower case, without what is not the name of a field.
fn named_by_connection(fields: &[Field]) -> Vec<String> {
    let members = values(fields, "connection").flat_map(|value| value.split(','));
    let names = members.map(|member| member.trim_matches([' ', '\t']).to_ascii_lowercase());
    names.filter(|name| !["", "close", "keep-alive", "upgrade"].contains(&name.as_str())).collect()
}

/// Those that came in their order, some left out: all that are dangerous, and none that says nothing to anybody.
fn check_trailers(sent: &[Field], came: &[Field]) {
    let mut rest = came.iter();
    assert!(sent.iter().all(|field| rest.any(|other| other == field)), "{sent:?} of {came:?}");
    let is_bad = |field: &&Field| {
        NEVER_TRAILERS.contains(&field.name.as_str()) || field.name.contains('_') || field.name.starts_with("tambat-")
    };
    assert_eq!(sent.iter().find(is_bad), None);
    let plain = |fields: &[Field]| values(fields, "grpc-status").count() + values(fields, "x-sum").count();
    assert_eq!(plain(sent), plain(came), "{sent:?} of {came:?}");
}

/// What the client reads of all answers.
fn to_client(play: &Play) -> Vec<Message> {
    let mut all = Vec::new();
    for (nth, played) in play.exchanges.iter().enumerate() {
        let is_last = nth + 1 == play.exchanges.len();
        let bytes = &play.to_client[played.got.clone()];
        let is_closed = played.outcome.is_ok();
        let is_head = played.facts.method == MethodKind::Head;
        let (found, behind) = responses(bytes, &[is_head], is_closed);
        assert!(behind.is_empty());
        check_answer(&found, played, is_last);
        all.extend(found);
    }
    all
}

fn check_answer(found: &[Message], played: &Played, is_last: bool) {
    let (finals, interims): (Vec<&Message>, Vec<&Message>) =
        found.iter().partition(|message| message.status() >= 200 || message.status() == 101);
    assert!(interims.len() <= 16, "{found:?}");
    assert!(interims.is_empty() || played.facts.version == Version::Http11, "{found:?}");
    let continues = interims.iter().filter(|message| message.status() == 100).count();
    assert!(continues <= usize::from(played.facts.expects_continue), "{found:?}");
    assert_eq!(finals.first().map(|message| message.status()), played.final_status, "{found:?} of {played:#?}");
    let is_of_one_hop = |field: &Field| NEVER_ANSWERED.contains(&field.name.as_str());
    assert!(!interims.iter().any(|message| message.fields.iter().any(is_of_one_hop)), "{found:?}");
    let Some(message) = finals.first() else {
        assert!(played.outcome.is_err(), "it is over, and there is no answer: {played:#?}");
        return;
    };
    let came = last_head(&played.answer);
    check_answer_fields(message, &came, played);
    match played.outcome {
        Ok(over) => check_over(message, &came, played, over, is_last),
        // Nobody may take what was cut off for complete.
        Err(_) => assert!(!message.is_whole || is_bare(message), "{message:?} of {played:#?}"),
    }
}

/// A body that lasts until the connection is closed: only a reset tells that it is not complete.
fn is_bare(message: &Message) -> bool {
    length(&message.fields) == Length::Unsaid
}

/// The head of the final answer among these bytes, and what follows it.
struct Came<'a> {
    status: u16,
    fields: Vec<Field>,
    body: &'a [u8],
}

fn last_head(mut answer: &[u8]) -> Came<'_> {
    loop {
        let (start, fields, taken) = head(answer);
        let status: u16 = start[9..12].parse().unwrap_or_else(|_| panic!("{start}"));
        answer = &answer[taken..];
        if status >= 200 || status == 101 {
            return Came { status, fields, body: answer };
        }
    }
}

fn check_answer_fields(message: &Message, came: &Came<'_>, played: &Played) {
    let named = named_by_connection(&came.fields);
    let is_101 = came.status == 101;
    let is_passed = |field: &&Field| {
        let name = field.name.as_str();
        (!NEVER_ANSWERED.contains(&name) || (is_101 && name == "upgrade")) && !named.contains(&field.name)
    };
    let mut expected: Vec<Field> = came.fields.iter().filter(is_passed).cloned().collect();
    // The target's version stands in `Via`; that of the status line is ours.
    let via = values(&message.fields, "via").last().unwrap_or_default();
    assert!(via == "1.1 tambat" || via == "1.0 tambat", "{message:?}");
    expected.push(Field::new("via", via));
    expected.push(Field::new("x-request-id", ID));
    let ours = ["connection", "content-length", "transfer-encoding"];
    let (_, mut rest): (Vec<Field>, Vec<Field>) =
        message.fields.iter().cloned().partition(|field| ours.contains(&field.name.as_str()));
    rest.sort();
    expected.sort();
    assert_eq!(rest, expected, "of {played:#?}");
    let is_bodiless = played.facts.method == MethodKind::Head || matches!(came.status, ..200 | 204 | 304);
    let said = match length(&came.fields) {
        Length::Bytes(bytes) if came.status >= 200 && came.status != 204 => Length::Bytes(bytes),
        _ if is_bodiless || played.facts.version == Version::Http10 => Length::Unsaid,
        _ => Length::Chunks,
    };
    assert_eq!(length(&message.fields), said, "{message:?} of {played:#?}");
    let connection: Vec<&str> = values(&message.fields, "connection").collect();
    let may_be: &[&str] = match (is_101, played.facts.version) {
        (true, _) => &["Upgrade"],
        (false, Version::Http11) => &["close"],
        (false, Version::Http10) => &["close", "keep-alive"],
    };
    assert!(connection.len() <= 1 && connection.iter().all(|value| may_be.contains(value)), "{message:?}");
}

fn check_over(message: &Message, came: &Came<'_>, played: &Played, over: Over, is_last: bool) {
    assert!(message.is_whole, "{message:?} of {played:#?}");
    let connection = values(&message.fields, "connection").next();
    match over.client {
        After::Keep => {
            let keep = if played.facts.version == Version::Http10 { Some("keep-alive") } else { None };
            assert_eq!(connection, keep, "{message:?}");
            assert!(played.facts.keep_alive && played.request_is_whole);
        }
        After::Close => assert!(is_last),
        After::Tunnel => assert!(is_last && played.facts.upgrade && came.status == 101),
    }
    if over.target == After::Keep {
        assert!(played.request_is_whole && !played.answer_ended, "{played:#?}");
    }
    let is_bodiless = played.facts.method == MethodKind::Head || matches!(came.status, ..200 | 204 | 304);
    let body = match length(&came.fields) {
        _ if is_bodiless => Vec::new(),
        Length::Bytes(bytes) => {
            assert_eq!(came.body.len() as u64, bytes, "{played:#?}");
            came.body.to_vec()
        }
        Length::Chunks => match chunks(came.body) {
            Chunks::Whole { data, trailers, used } => {
                assert_eq!(used, came.body.len());
                // An HTTP/1.0 client knows no chunks, so it gets no trailers.
                let is_old = played.facts.version == Version::Http10;
                check_trailers(&message.trailers, if is_old { &[] } else { &trailers });
                data
            }
            other => panic!("{other:?} of {played:#?}"),
        },
        Length::Unsaid => {
            assert!(played.answer_ended);
            came.body.to_vec()
        }
    };
    assert_eq!(text(&message.body), text(&body), "of {played:#?}");
}
