//! What the bridge writes of a stream of HTTP/2, and the engine sends on, means to hyper what the stream's client meant: as
//! many requests as streams were taken, each with its method, target, host, fields, cookies, body and trailers.

use tambat_wire::http1::write_chunk;
use tambat_wire::http2::{Body, Pseudo, Translated, WebSocketKey, trailer_is_fit, write_request};

use crate::http1::Random;
use crate::http1::judge::sent_bytes;
use crate::http1::play::{Scene, play};
use crate::http1::reader::{Field, Message, text};
use crate::hyper::Hyper;
use crate::seeds::ANSWER;

/// So many streams are made up.
const MADE_UP: u64 = 6_000;

/// The fields that a target gets from the router and not from the client.
const OURS: [&str; 10] = [
    "host",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
    "content-length",
    "transfer-encoding",
];

/// What a client may send, and no target gets: what speaks of the connection, what claims to be the router's, and what CGI
/// would take for another field.
const NOT_PASSED_ON: [&str; 7] =
    ["te", "proxy", "proxy-authorization", "tambat-hop", "x-real-ip", "client-cert", "x-client-cert-subject"];

/// Bytes that end a line or a field for somebody, and some that do so for nobody.
const NASTY: &[u8] = b"\r\n\0\t :\x0b\x7f\x85\xa0\xff,;\"\\AZ_";

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A request as a client of HTTP/2 means it.
#[derive(Debug)]
struct Stream {
    method: Vec<u8>,
    path: Vec<u8>,
    authority: Vec<u8>,
    fields: Fields,
    /// The payloads of its frames; none: the fields end it.
    body: Option<Vec<Vec<u8>>>,
    trailers: Fields,
}

impl Stream {
    fn make_up(random: &mut Random) -> Self {
        let body: Option<Vec<Vec<u8>>> = (random.below(2) == 0).then(|| {
            let frames = random.below(4);
            (0..frames).map(|_| (0..random.below(40)).map(|_| pick(b"\r\n0aG: /;", random)).collect()).collect()
        });
        let mut fields: Fields = (0..random.below(9)).map(|_| field(random)).collect();
        for _ in 0..random.below(4) {
            let value = format!("crumb{}={}", random.below(9), random.below(9));
            fields.insert(random.below(fields.len() + 1), (b"cookie".to_vec(), value.into_bytes()));
        }
        if let Some(frames) = &body
            && random.below(2) == 0
        {
            let length = frames.iter().map(Vec::len).sum::<usize>().to_string();
            fields.insert(random.below(fields.len() + 1), (b"content-length".to_vec(), length.into_bytes()));
        }
        let has_trailers = body.is_some() && random.below(2) == 0;
        let trailers = if has_trailers { (0..random.below(3)).map(|_| trailer(random)).collect() } else { Vec::new() };
        let one = |all: &[&str], random: &mut Random| all[random.below(all.len())].as_bytes().to_vec();
        let mut stream = Self {
            method: one(&["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "PROPFIND"], random),
            path: path(random),
            authority: one(&["a.example", "shop.example:8080", "127.0.0.1", "[::1]:80", "xn--aj-cja.example"], random),
            fields,
            body,
            trailers,
        };
        if random.below(4) == 0 {
            stream.spoil(random);
        }
        stream
    }

    /// One byte of one part is not what anybody would send.
    fn spoil(&mut self, random: &mut Random) {
        let nth = random.below(self.fields.len().max(1));
        let part = match (random.below(6), self.fields.get_mut(nth)) {
            (0, _) => &mut self.method,
            (1, _) => &mut self.path,
            (2, _) => &mut self.authority,
            (3, Some((name, _))) => name,
            (_, Some((_, value))) => value,
            (_, None) => &mut self.path,
        };
        let at = random.below(part.len() + 1);
        part.insert(at, pick(NASTY, random));
    }

    /// Its HTTP/1.1, as the router's streams write it; none: the stream is reset.
    fn written(&self) -> Option<Vec<u8>> {
        let pseudo = Pseudo {
            method: &self.method,
            scheme: Some(b"https"),
            authority: Some(&self.authority),
            path: Some(&self.path),
            protocol: None,
        };
        let fields = || self.fields.iter().map(|(name, value)| (&name[..], &value[..]));
        let mut out = Vec::new();
        let written = write_request(&pseudo, fields, self.body.is_none(), || WebSocketKey::new([7; 16]), &mut out);
        let Translated::Request { body, .. } = written.ok()? else { panic!("it is no WebSocket") };
        for frame in self.body.iter().flatten().filter(|frame| !frame.is_empty()) {
            match body {
                Body::None => panic!("a body where there is none"),
                Body::Length => out.extend_from_slice(frame),
                Body::Chunked => write_chunk(frame, &mut out),
            }
        }
        if !self.trailers.iter().all(|(name, value)| trailer_is_fit(name, value)) {
            return None;
        }
        if body == Body::Chunked {
            let section: Vec<u8> = self.trailers.iter().flat_map(|(name, value)| line(name, value)).collect();
            for part in [b"0\r\n", &section[..], b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        Some(out)
    }

    /// What its target is to understand.
    fn meant(&self) -> Message {
        let is_passed_on = |name: &str| !NOT_PASSED_ON.contains(&name) && !OURS.contains(&name) && !name.contains('_');
        let mut fields: Vec<Field> = self
            .fields
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .filter(|(name, _)| is_passed_on(name) && name != "cookie")
            .map(|(name, value)| Field::new(&name, value.trim_matches([' ', '\t'])))
            .collect();
        let cookies: Vec<String> =
            self.fields.iter().filter(|(name, _)| name == b"cookie").map(|(_, value)| text(value)).collect();
        if !cookies.is_empty() {
            fields.push(Field::new("cookie", cookies.join("; ").trim_matches([' ', '\t'])));
        }
        let trailers = if self.has_length() { &[][..] } else { &self.trailers[..] };
        let trailers =
            trailers.iter().map(|(name, value)| Field::new(&text(name), text(value).trim_matches([' ', '\t'])));
        Message {
            start: format!("{} {} HTTP/1.1", text(&self.method), text(&self.path)),
            fields,
            body: self.body.iter().flatten().flatten().copied().collect(),
            trailers: trailers.collect(),
            is_whole: true,
        }
        .sorted()
    }

    /// A body whose length is said has no trailers in HTTP/1.1.
    fn has_length(&self) -> bool {
        self.fields.iter().any(|(name, _)| name == b"content-length")
    }
}

fn pick(from: &[u8], random: &mut Random) -> u8 {
    from[random.below(from.len())]
}

fn line(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, b": ", value, b"\r\n"].concat()
}

fn field(random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    const KNOWN: [&str; 14] = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-type",
        "if-none-match",
        "range",
        "user-agent",
        "traceparent",
        "origin",
        "grpc-timeout",
        "x-forwarded-for",
        "forwarded",
        "via",
        "priority",
    ];
    let mut name = match random.below(4) {
        0 => NOT_PASSED_ON[random.below(NOT_PASSED_ON.len())].as_bytes().to_vec(),
        1 | 2 => KNOWN[random.below(KNOWN.len())].as_bytes().to_vec(),
        _ => b"x-q".to_vec(),
    };
    if name == b"x-q" {
        name.extend((0..random.below(12)).map(|_| pick(b"abcxyz019-!#$%&'*+.^`|~_", random)));
    }
    let value = match &name[..] {
        // Anything else would be malformed (RFC 9113 §8.2.2).
        b"te" => b"trailers".to_vec(),
        _ => value(b"abcXYZ019-=;,:/\"\\() \t\x80\xe9\xff{}[]@!~", random),
    };
    (name, value)
}

fn trailer(random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let name = [&b"grpc-status"[..], b"x-sum", b"digest"][random.below(3)];
    (name.to_vec(), value(b"ab01 ,=\xe9", random))
}

/// Of these bytes, without blanks at its ends, which no value may have (RFC 9113 §8.2.1).
fn value(from: &[u8], random: &mut Random) -> Vec<u8> {
    let bytes: Vec<u8> = (0..random.below(24)).map(|_| pick(from, random)).collect();
    bytes.trim_ascii().to_vec()
}

/// A path that nothing has to be resolved in.
fn path(random: &mut Random) -> Vec<u8> {
    let mut path = b"/".to_vec();
    path.extend((0..random.below(20)).map(|_| pick(b"abcdxyz019-_~!$&'()*+,;=:@a", random)));
    if random.below(3) == 0 {
        path.push(b'?');
        path.extend((0..random.below(20)).map(|_| pick(b"abc019-_~!$&'()*+,;=:@/?", random)));
    }
    path
}

/// Without the router's own, sorted.
fn of_client(mut message: Message) -> Message {
    message.fields.retain(|field| !OURS.contains(&&*field.name));
    message.sorted()
}

#[test]
fn hyper_understands_what_the_client_of_a_stream_meant() {
    let hyper = Hyper::start();
    let (mut understood, mut reset, mut refused) = (0, 0, 0);
    for seed in 0..MADE_UP {
        let stream = Stream::make_up(&mut Random(seed));
        let Some(client) = stream.written() else {
            reset += 1;
            continue;
        };
        let scene = Scene { client: &client, answers: vec![ANSWER; 4], ..Scene::default() };
        let played = play(&scene);
        let said = || format!("{seed}: {stream:?}\nwritten as {:?}", text(&client));
        if played.refusal.is_some() {
            assert!(played.exchanges.is_empty(), "{}", said());
            refused += 1;
            continue;
        }
        assert_eq!(played.exchanges.len(), 1, "one stream, one request: {}", said());
        let (found, broken) = hyper.requests(sent_bytes(&played, 0));
        if found.is_empty() && stream.path.contains(&b'"') {
            // hyper takes it in a path and not in a query.
            continue;
        }
        let [message] = <[Message; 1]>::try_from(found).unwrap_or_else(|found| panic!("{found:#?}\n{}", said()));
        assert_eq!(broken, None, "{}", said());
        let host: Vec<String> = message.values("host").map(str::to_owned).collect();
        assert_eq!(host, [text(&stream.authority)], "{}", said());
        assert_eq!(of_client(message), stream.meant(), "{}", said());
        understood += 1;
    }
    println!("{understood} understood, {reset} reset, {refused} refused");
    assert!(understood > MADE_UP / 2 && reset > 500 && refused > 20, "{understood} {reset} {refused}");
}
