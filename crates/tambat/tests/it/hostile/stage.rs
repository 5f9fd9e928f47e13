//! A router with one route to a recording app, and the three assertions of every case.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::Routed;

use super::client::{Answer, Client};
use super::recorder::{Recorder, Request, Then, Visit};
use super::vectors::{Code, MARK, Outcome, Vector, evil};

/// The name of the route, and of its host.
pub(super) const HOST: &str = "shop.example";

/// The addresses that clients come from who are not to be taken for others of this machine.
const FIRST_STRANGER: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// A longer one is not sent a byte at a time.
const BY_BYTES_MAX: usize = 2048;

/// A router and the app behind it.
pub(super) struct Stage {
    pub(super) router: Routed,
    pub(super) app: Recorder,
    marks: AtomicU32,
    strangers: AtomicU32,
}

/// What stands in the file beyond the route, the one `[router]` table and the one `[routes.shop]` table.
#[derive(Default)]
pub(super) struct Setting<'a> {
    /// Lines at the top, such as `listen`.
    pub(super) top: &'a str,
    /// Lines of `[router]`; one worker unless they say otherwise.
    pub(super) router: &'a str,
    /// Lines of `[routes.shop]` beyond hosts and targets.
    pub(super) route: &'a str,
}

/// How the bytes of a case get to the router.
#[derive(Debug, Clone, Copy)]
enum Delivery {
    /// In one piece.
    Whole,
    /// In one piece with a request behind it that must never be served.
    Followed,
    /// A byte at a time.
    ByBytes,
}

impl Stage {
    /// An app that answers each request with what it saw of it.
    pub(super) fn new() -> Self {
        Self::of(Recorder::start(), &Setting::default())
    }

    /// The same, with these settings.
    pub(super) fn set(setting: &Setting<'_>) -> Self {
        Self::of(Recorder::start(), setting)
    }

    /// An app that plays this script; requests to `/good…` it answers as it should.
    pub(super) fn playing(script: impl Fn(&mut Visit, &Request) -> Then + Send + Sync + 'static) -> Self {
        Self::of(Recorder::playing(script), &Setting::default())
    }

    /// This app, with these settings.
    pub(super) fn of(app: Recorder, setting: &Setting<'_>) -> Self {
        Self::with(Routed::start(&file(app.addr, setting)), app)
    }

    /// This router, before this app.
    pub(super) fn with(router: Routed, app: Recorder) -> Self {
        Self { router, app, marks: AtomicU32::new(0), strangers: AtomicU32::new(0) }
    }

    /// A new connection to the router.
    pub(super) fn client(&self) -> Client {
        Client::connect(self.router.addr)
    }

    /// An address that nobody has come from.
    pub(super) fn stranger(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_STRANGER.to_bits() + self.strangers.fetch_add(1, Ordering::Relaxed))
    }

    /// A word that stands in no other request.
    pub(super) fn mark(&self) -> String {
        format!("m{}e", self.marks.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends these bytes on a new connection, with a mark for `MARK`; gives the connection.
    pub(super) fn send(&self, text: &str) -> Client {
        let mut client = self.client();
        client.send(text);
        client
    }

    /// Sends these bytes on a new connection; gives the final answer.
    #[track_caller]
    pub(super) fn exchange(&self, text: &str) -> Answer {
        self.send(text).final_answer()
    }

    /// The third assertion: the next good request on a new connection is answered, by the app.
    #[track_caller]
    pub(super) fn good(&self) {
        let path = format!("/good/{}", self.mark());
        let mut client = self.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, format!("saw GET {path}")), "{answer:?}");
        client.must_be_closed("after the good request");
        self.app.request(&path);
    }

    /// Every one of these is answered as it says and its connection closed; the app sees nothing of it.
    #[track_caller]
    pub(super) fn refuses(&self, vectors: &[Vector]) {
        assert!(!vectors.is_empty());
        for vector in vectors {
            let Outcome::Refused(codes) = vector.outcome else { panic!("{}: {:?}", vector.name, vector.outcome) };
            for delivery in [Delivery::Whole, Delivery::Followed, Delivery::ByBytes] {
                self.refused(vector, delivery, codes);
                self.good();
                let strangers = self.app.strangers();
                assert!(strangers.is_empty(), "{} {delivery:?}: the app saw {strangers:#?}", vector.name);
            }
        }
    }

    /// Every one of these is answered as it says and its connection closed; the app may have seen its head and what was
    /// good of its body, but neither an end of it nor what stands behind the break.
    #[track_caller]
    pub(super) fn breaks(&self, vectors: &[Vector]) {
        assert!(!vectors.is_empty());
        for vector in vectors {
            let Outcome::Broken(codes) = vector.outcome else { panic!("{}: {:?}", vector.name, vector.outcome) };
            for delivery in [Delivery::Whole, Delivery::Followed, Delivery::ByBytes] {
                let mark = self.refused(vector, delivery, codes);
                self.good();
                for request in self.app.requests(&mark) {
                    self.app.until_closed(request.connection);
                    let request = self.app.request(&mark);
                    assert!(!request.whole, "{} {delivery:?}: {request:#?}", vector.name);
                    assert!(!request.path.contains("evil"), "{} {delivery:?}: {request:#?}", vector.name);
                }
                for part in ["AFTER", "evil"] {
                    assert!(!self.app.received(part), "{} {delivery:?}: the app was sent {part}", vector.name);
                }
                assert_eq!(self.app.log().junk, Vec::<String>::new(), "{} {delivery:?}", vector.name);
            }
        }
    }

    /// Each of these is answered 200 by the app and the connection goes on; gives what the app saw, one for each.
    #[track_caller]
    pub(super) fn passes(&self, vectors: &[Vector]) -> Vec<Request> {
        assert!(!vectors.is_empty());
        let mut seen = Vec::new();
        for vector in vectors {
            assert!(matches!(vector.outcome, Outcome::Passed), "{}: {:?}", vector.name, vector.outcome);
            for by_bytes in [false, true] {
                let mark = self.mark();
                let bytes = vector.marked(&mark);
                let mut client = self.client();
                if by_bytes && bytes.len() <= BY_BYTES_MAX {
                    client.send_by_bytes(&bytes);
                } else {
                    client.send_beside(bytes);
                }
                let answer = client.answer();
                assert_eq!(answer.status, 200, "{}: {answer:?}", vector.name);
                assert!(answer.text().contains(&mark), "{}: {answer:?}", vector.name);
                let next = format!("/good/{}", self.mark());
                client.send(format!("GET {next} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
                assert_eq!(client.answer().text(), format!("saw GET {next}"), "{}", vector.name);
                let request = self.app.request(&mark);
                assert!(request.whole, "{}: {request:#?}", vector.name);
                if !by_bytes {
                    seen.push(request);
                }
            }
            self.good();
            assert_eq!(self.app.log().junk, Vec::<String>::new(), "{}", vector.name);
            assert!(self.app.requests("evil").is_empty(), "{}", vector.name);
        }
        seen
    }

    #[track_caller]
    fn refused(&self, vector: &Vector, delivery: Delivery, codes: &[Code]) -> String {
        let mark = self.mark();
        let bytes = vector.marked(&mark);
        let what = format!("{} {delivery:?}", vector.name);
        let mut client = self.client();
        match delivery {
            Delivery::ByBytes if bytes.len() <= BY_BYTES_MAX => client.send_by_bytes(&bytes),
            Delivery::Followed => drop(client.send_beside([bytes, evil(&mark)].concat())),
            Delivery::Whole | Delivery::ByBytes => drop(client.send_beside(bytes)),
        }
        let answer = client.try_answer(false).unwrap_or_else(|broken| panic!("{what}: no whole answer: {broken:?}"));
        must_be_one_of(&answer, codes, &what);
        client.must_be_closed(&what);
        mark
    }
}

impl Setting<'_> {
    /// One worker: what one connection leaves behind, the next one meets.
    fn workers(&self) -> &'static str {
        if self.router.contains("workers") { "" } else { "workers = 1" }
    }
}

impl Vector {
    /// Its bytes, with this mark in the paths.
    pub(super) fn marked(&self, mark: &str) -> Vec<u8> {
        replace(&self.bytes, MARK.as_bytes(), mark.as_bytes())
    }
}

/// The file of a router with one route to this app.
pub(super) fn file(app: SocketAddr, setting: &Setting<'_>) -> String {
    format!(
        "{}\n[router]\n{}\n{}\n[routes.shop]\nhosts = [\"{HOST}\"]\ntargets = [\"{app}\"]\n{}\n",
        setting.top,
        setting.workers(),
        setting.router,
        setting.route
    )
}

/// The router's own answer has one of these codes.
#[track_caller]
pub(super) fn must_be_one_of(answer: &Answer, codes: &[Code], what: &str) {
    let fits = |code: &Code| answer.status == code.0 && answer.code() == Some(code.1);
    assert!(codes.iter().any(fits), "{what}: not one of {codes:?}: {answer:?}");
}

/// Longer vectors are long for the limits' sake; they have their marks at the beginning.
const MARKED_BYTES: usize = 4096;

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let (mut rest, tail) = bytes.split_at(bytes.len().min(MARKED_BYTES));
    let mut out = Vec::with_capacity(bytes.len());
    while let Some(at) = super::client::find(rest, old) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(tail);
    out
}
