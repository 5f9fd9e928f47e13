//! What the load asks for, and what it must get.

use std::io;

use super::reply::Expected;

/// The body of a small answer.
pub(super) const SMALL_BYTES: usize = 1024;

/// The body of a large one.
pub(super) const LARGE_BYTES: u64 = 10 * 1024 * 1024;

/// What one message of a WebSocket carries.
pub(super) const MESSAGE_BYTES: usize = 128;

/// A request as tools and services send it.
const PLAIN: &[u8] = b"GET /items/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// The fields of the same request, as HTTP/2 has them (RFC 9113 §8.3.1), behind the method and the scheme.
#[cfg(feature = "tls")]
pub(super) const PLAIN_FIELDS: [(&str, &str); 4] =
    [(":path", "/items/42"), (":authority", "shop.example"), ("user-agent", "bench"), ("accept", "*/*")];

/// A request as a browser sends it for a page's data: 14 fields, two cookies.
pub(super) const BROWSER: &[u8] = b"GET /app/orders/2041/items?page=3&sort=-created HTTP/1.1\r\n\
    Host: shop.example\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"141\", \"Not?A_Brand\";v=\"8\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: http://shop.example/app/orders/2041\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=b7f1c0de5a3e4d2f9c8b7a6d5e4f3c2b1a0918273645546372819a0b1c2d3e4f; theme=dark\r\n\r\n";

/// The opening handshake with the key of RFC 6455 §1.3, whose answer is known.
const UPGRADE: &[u8] = b"GET /live HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// So that a host is a copy and six digits.
const HOST: (&[u8], &[u8]) =
    (b"GET /items/42 HTTP/1.1\r\nHost: h", b".example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n");
const HOST_DIGITS: usize = 6;

/// Where the generator of hosts begins: any number but zero.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What every request of a load looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    Browser,
    Large,
    WebSocket,
    /// Each for one of so many hosts.
    Hosts(u32),
}

impl Shape {
    pub(super) fn word(self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Browser => "browser".to_owned(),
            Self::Large => "large".to_owned(),
            Self::WebSocket => "websocket".to_owned(),
            Self::Hosts(count) => format!("hosts:{count}"),
        }
    }

    pub(super) fn parse(word: &str) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{word}` is no shape of a request"));
        Ok(match word {
            "plain" => Self::Plain,
            "browser" => Self::Browser,
            "large" => Self::Large,
            "websocket" => Self::WebSocket,
            _ => Self::Hosts(word.strip_prefix("hosts:").and_then(|n| n.parse().ok()).ok_or_else(unknown)?),
        })
    }

    /// What the first message of a connection must be answered with.
    pub(super) fn first(self) -> Expected {
        if self == Self::WebSocket { Expected::Switch } else { self.then() }
    }

    /// And every other one.
    pub(super) fn then(self) -> Expected {
        match self {
            Self::Plain | Self::Browser | Self::Hosts(_) => Expected::Body(SMALL_BYTES as u64),
            Self::Large => Expected::Body(LARGE_BYTES),
            Self::WebSocket => Expected::Exactly(server_frame()),
        }
    }
}

/// The bytes of one request after the other.
pub(super) struct Requests {
    shape: Shape,
    first: Vec<u8>,
    then: Vec<u8>,
    random: u64,
}

impl Requests {
    pub(super) fn new(shape: Shape) -> Self {
        let (first, then) = match shape {
            Shape::Plain | Shape::Large => (PLAIN.to_vec(), PLAIN.to_vec()),
            Shape::Browser => (BROWSER.to_vec(), BROWSER.to_vec()),
            Shape::WebSocket => (UPGRADE.to_vec(), client_frame()),
            Shape::Hosts(_) => {
                let request = [HOST.0, &[b'0'; HOST_DIGITS], HOST.1].concat();
                (request.clone(), request)
            }
        };
        Self { shape, first, then, random: SEED }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The first of a connection.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// The next one.
    pub(super) fn next(&mut self) -> &[u8] {
        if let Shape::Hosts(count) = self.shape {
            // Xorshift: any cheap sequence that no cache foresees.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let mut host = self.random % u64::from(count.max(1));
            for digit in self.then[HOST.0.len()..][..HOST_DIGITS].iter_mut().rev() {
                *digit = b'0' + u8::try_from(host % 10).unwrap_or_default();
                host /= 10;
            }
        }
        &self.then
    }
}

/// The name of one of the hosts.
pub(super) fn host(nth: u32) -> String {
    format!("h{nth:0HOST_DIGITS$}.example")
}

/// A binary message as clients send it: masked (RFC 6455 §5.2, §5.3).
fn client_frame() -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x82, 0xfe, 0, 128];
    frame.extend_from_slice(&MASK);
    frame.extend(payload().iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The same message as servers send it.
fn server_frame() -> Vec<u8> {
    [&[0x82, 126, 0, 128], payload().as_slice()].concat()
}

fn payload() -> [u8; MESSAGE_BYTES] {
    std::array::from_fn(|nth| u8::try_from(nth).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_a_word_and_back() {
        for shape in [Shape::Plain, Shape::Browser, Shape::Large, Shape::WebSocket, Shape::Hosts(100_000)] {
            assert_eq!(Shape::parse(&shape.word()).unwrap(), shape);
        }
        assert!(Shape::parse("hosts:").is_err() && Shape::parse("huge").is_err());
    }

    #[test]
    fn every_host_is_one_of_those_that_are_served() {
        let mut requests = Requests::new(Shape::Hosts(10));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let text = String::from_utf8(requests.next().to_vec()).unwrap();
            seen.insert(text.lines().nth(1).unwrap().to_owned());
        }
        let all: Vec<String> = (0..10).map(|nth| format!("Host: {}", host(nth))).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn both_versions_of_http_ask_for_the_same() {
        let [(_, path), (_, host), (_, agent), (_, accept)] = PLAIN_FIELDS;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: {accept}\r\n\r\n");
        assert_eq!(PLAIN, head.as_bytes());
    }

    #[test]
    fn heads_end_once_and_frames_say_their_length() {
        for head in [PLAIN, BROWSER, UPGRADE] {
            assert!(head.ends_with(b"\r\n\r\n"));
            assert_eq!(head.windows(4).filter(|end| end == b"\r\n\r\n").count(), 1);
        }
        assert_eq!((client_frame().len(), server_frame().len()), (8 + MESSAGE_BYTES, 4 + MESSAGE_BYTES));
    }
}
