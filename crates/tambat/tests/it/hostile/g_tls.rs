//! Group G, as far as TLS goes. Hellos of TLS 1.2 are written by hand: what a server answers those with is in the
//! clear, its certificate included.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::recorder::Recorder;
use super::stage::{HOST, Stage};
use crate::support::{AppDir, Ca, LIMIT, Routed};

/// Alerts (RFC 8446 §6).
const UNRECOGNIZED_NAME: u8 = 112;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// What a server has said to a hello.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It goes on, with this certificate.
    Certificate(Vec<u8>),
    /// It does not.
    Alert(u8),
    /// It has closed without a word.
    Nothing,
}

impl Said {
    /// The certificate is for this name.
    #[track_caller]
    fn must_be_for(&self, name: &str) {
        let Self::Certificate(certificate) = self else { panic!("{self:?}") };
        assert!(certificate.windows(name.len()).any(|part| part == name.as_bytes()), "it is not for {name}");
    }
}

/// A stage with a TLS listener, for `a.example` and `b.example`, and who names nobody gets `a.example`.
struct Secured {
    stage: Stage,
    tls: SocketAddr,
    _ca: Ca,
}

impl Secured {
    fn new(router: &str) -> Self {
        let (dir, ca, app) = (AppDir::new(), Ca::new("the CA"), Recorder::start());
        ca.signs(&["a.example"]).write(&dir, "a");
        ca.signs(&["b.example"]).write(&dir, "b");
        let pairs = ["a", "b"].map(|name| format!("{{ chain = \"{name}.pem\", key = \"{name}.key\" }}")).join(", ");
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"\n[router]\n{router}\n[router.tls]\n\
             certificates = [{pairs}]\n[routes.shop]\nhosts = \"{HOST}\"\ntargets = \"{}\"\n",
            app.addr
        );
        let routed = Routed::start_in(&dir, &toml, &["--workers", "1"]);
        let line = routed.lines(" tls", 1).remove(0);
        let tls = line.strip_prefix("listening ").and_then(|rest| rest.strip_suffix(" tls")).unwrap().parse().unwrap();
        Self { stage: Stage::with(routed, app), tls, _ca: ca }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tls).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// What is said to these bytes.
    fn says(&self, pieces: &[Vec<u8>]) -> Said {
        let mut stream = self.connect();
        // One that is refused before its end is not heard any more.
        let _ = pieces.iter().try_for_each(|piece| stream.write_all(piece));
        answer(&mut stream)
    }

    /// The same to a hello in one record.
    fn says_to(&self, hello: &Hello) -> Said {
        self.says(&[record(&hello.message())])
    }
}

/// The records of an answer, up to an alert or a certificate.
fn answer(stream: &mut TcpStream) -> Said {
    let mut messages = Vec::new();
    loop {
        let mut header = [0; 5];
        if stream.read_exact(&mut header).is_err() {
            return Said::Nothing;
        }
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        stream.read_exact(&mut body).unwrap();
        match header[0] {
            0x15 => return Said::Alert(body[1]),
            0x16 => messages.extend(body),
            other => panic!("a record of the type {other}"),
        }
        if let Some(certificate) = certificate(&messages) {
            return Said::Certificate(certificate);
        }
    }
}

/// The message with the certificate, behind that of the server's hello (RFC 5246 §7.4).
fn certificate(messages: &[u8]) -> Option<Vec<u8>> {
    let length = |from: usize| {
        let bytes = messages.get(from + 1..from + 4)?;
        Some(usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]))
    };
    let second = 4 + length(0)?;
    let whole = messages.get(second..second + 4 + length(second)?)?;
    assert_eq!((messages[0], whole[0]), (2, 11));
    Some(whole.to_vec())
}

/// A client's hello with TLS 1.2 (RFC 5246 §7.4.1.2).
#[derive(Default)]
struct Hello {
    /// As it is, in `server_name`.
    name: Option<Vec<u8>>,
    protocols: Vec<&'static str>,
    /// Other extensions: type and content.
    more: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    fn of(name: impl AsRef<[u8]>) -> Self {
        Self { name: Some(name.as_ref().to_vec()), ..Self::default() }
    }

    fn message(&self) -> Vec<u8> {
        // Curves, their points, and how things may be signed: what a P-256 certificate needs.
        let mut extensions =
            vec![(10, vec![0, 4, 0, 29, 0, 23]), (11, vec![1, 0]), (13, vec![0, 4, 4, 3, 8, 4]), (23, Vec::new())];
        if let Some(name) = &self.name {
            extensions.push((0, with_length(&[&[0], &with_length(name)[..]].concat())));
        }
        if !self.protocols.is_empty() {
            let names =
                self.protocols.iter().map(|name| [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat());
            extensions.push((16, with_length(&names.collect::<Vec<_>>().concat())));
        }
        extensions.extend(self.more.iter().cloned());
        let extensions =
            extensions.into_iter().map(|(kind, content)| [&kind.to_be_bytes()[..], &with_length(&content)].concat());
        let extensions = with_length(&extensions.collect::<Vec<_>>().concat());
        let suites = [0, 4, 0xc0, 0x2b, 0xc0, 0x2f];
        let body = [&[3, 3][..], &[7; 32], &[0], &suites, &[1, 0], &extensions].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }
}

fn with_length(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn record(part: &[u8]) -> Vec<u8> {
    [&[0x16, 3, 1][..], &with_length(part)].concat()
}

#[test]
fn f04_a_hello_that_does_not_come() {
    let secured = Secured::new("");
    let hello = record(&Hello::of("a.example").message());
    let waits = [&[][..], &hello[..1], &hello[..hello.len() - 1]].map(|sent| {
        let mut stream = secured.connect();
        stream.write_all(sent).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    });
    let start = Instant::now();
    for mut stream in waits {
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or_default(), 0);
        let took = start.elapsed();
        assert!((9..=20).contains(&took.as_secs()), "{took:?}");
    }
    secured.says(&[hello]).must_be_for("a.example");
    secured.stage.good();
}

#[test]
fn g06_names_that_are_none_and_names_in_other_shapes() {
    let secured = Secured::new("");
    for (name, certificate) in [
        ("a.example", "a.example"),
        ("B.ExAmPlE", "b.example"),
        ("b.example.", "b.example"),
        // Addresses are no names (RFC 6066 §3): who sends one has named nobody.
        ("127.0.0.1", "a.example"),
        ("::1", "a.example"),
    ] {
        secured.says_to(&Hello::of(name)).must_be_for(certificate);
    }
    secured.says_to(&Hello::default()).must_be_for("a.example");
    let long = "x".repeat(300);
    let labels = ["y.".repeat(130), "a.example".to_owned()].concat();
    for name in ["c.example", "a..b", ".", ".a.example", "a example", "a\0.example", "\u{e9}.example", &long, &labels] {
        assert_eq!(secured.says_to(&Hello::of(name)), Said::Alert(UNRECOGNIZED_NAME), "{name:?}");
    }
    // No name in the list, or a list that ends too early.
    for broken in [vec![], vec![0, 0], vec![0, 5, 0, 0, 9, b'a', b'b']] {
        let hello = Hello { more: vec![(0, broken.clone())], ..Hello::default() };
        assert!(matches!(secured.says_to(&hello), Said::Alert(_)), "{broken:?}");
    }
    secured.stage.good();
}

#[test]
fn g07_hellos_in_pieces_and_long_ones() {
    let secured = Secured::new("");
    let hello = Hello::of("b.example").message();
    let five: Vec<u8> = hello.chunks(hello.len().div_ceil(5)).flat_map(record).collect();
    let bytes: Vec<u8> = hello.chunks(1).flat_map(record).collect();
    secured.says(std::slice::from_ref(&five)).must_be_for("b.example");
    secured.says(&[bytes]).must_be_for("b.example");
    secured.says(&five.chunks(1).map(<[u8]>::to_vec).collect::<Vec<_>>()).must_be_for("b.example");
    // A share of a key that nobody knows, as large as those of several post-quantum groups together.
    let long = Hello { more: vec![(0xfafa, vec![0; 40_000])], ..Hello::of("b.example") }.message();
    assert!(long.len() > 32 * 1024);
    secured.says(&[long.chunks(16 * 1024).flat_map(record).collect()]).must_be_for("b.example");
    // More than 64 KiB nobody keeps: neither of a message that says that it is so long, nor of one that goes on and on.
    let mut endless =
        Hello { more: vec![(0xfafa, vec![0; 65_000]), (0xfbfb, vec![0; 5_000])], ..Hello::of("b.example") };
    endless.more.truncate(1);
    let mut message = endless.message();
    message[1] = 1;
    message.resize(200_000, 0);
    let said = secured.says(&[message.chunks(16 * 1024).flat_map(record).collect()]);
    assert!(matches!(said, Said::Alert(_) | Said::Nothing), "{said:?}");
    secured.stage.good();
}

#[test]
fn g08_what_a_hidden_hello_says_outside_is_what_counts() {
    let secured = Secured::new("");
    // ECH (RFC 9849 §5): an outer hello, with an algorithm, a key and what is hidden. Nobody here can open it.
    let hidden = [&[0, 0, 1, 0, 1, 7][..], &with_length(&[9; 32]), &with_length(&[8; 200])].concat();
    let hello = |name| Hello { more: vec![(0xfe0d, hidden.clone())], ..Hello::of(name) };
    secured.says_to(&hello("b.example")).must_be_for("b.example");
    assert_eq!(secured.says_to(&hello("cover.example")), Said::Alert(UNRECOGNIZED_NAME));
    secured.stage.good();
}

#[test]
fn g09_a_request_for_another_host_than_the_connection() {
    let secured = Secured::new("");
    let curl = |host: &str| {
        let to = format!("::127.0.0.1:{}", secured.tls.port());
        let (field, url) = (format!("Host: {host}"), format!("https://a.example:{}/", secured.tls.port()));
        let said = [
            "-k",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %header{tambat-error}",
            "--connect-to",
            &to,
            "-H",
            &field,
            &url,
        ];
        secured.stage.router.dir().curl(&said).must_be(0).stdout
    };
    assert_eq!(curl("b.example"), "421 misdirected");
    assert_eq!(curl(HOST), "421 misdirected");
    assert_eq!(curl("A.example."), "404 no-route");
    assert!(!secured.stage.app.received("HTTP/1.1"), "the app has seen something of it");
    secured.stage.good();
}

#[test]
fn g14_nothing_in_common_to_speak() {
    let secured = Secured::new("");
    let hello = |protocols: &[&'static str]| Hello { protocols: protocols.to_vec(), ..Hello::of("a.example") };
    for protocols in [&["imap"][..], &["http/1.0", "spdy/3"], &["acme-tls/1", "imap"]] {
        assert_eq!(secured.says_to(&hello(protocols)), Said::Alert(NO_APPLICATION_PROTOCOL), "{protocols:?}");
    }
    for protocols in [&["http/1.1"][..], &["imap", "http/1.1"], &[]] {
        secured.says_to(&hello(protocols)).must_be_for("a.example");
    }
    secured.stage.good();
}
