//! Thousands of exchanges between a model client and a model target, cut at random, against what a plan says must come of
//! them. Each plan knows what it sends; a reader of its own, simple and slow, says what the other end got.

use std::fmt;
use std::ops::ControlFlow;

use tambat_model::ErrorCode;

use super::super::facts::{Framing, MethodKind, RequestFacts, Version};
use super::super::limits::Limits;
use super::super::response::ResponseRules;
use super::{After, BodyRules, Exchange, Fault, Over, Side};

/// How many exchanges are played.
const PLANS: u64 = 6_000;

/// How differently each of them is cut.
const CUTS: u64 = 4;

const LIMITS: Limits =
    Limits { line_bytes_max: 8192, field_bytes_max: 16_384, head_bytes_max: 65_536, fields_max: 100 };

#[test]
fn any_exchange_means_the_same_however_it_is_cut() {
    let mut endings = [0_u32; 5];
    for seed in 0..PLANS {
        let plan = Plan::random(&mut Random(seed));
        let expected = plan.ending();
        endings[expected.kind()] += 1;
        for cut in 0..CUTS {
            let mut cuts = Cuts { random: Random(seed << 8 | cut), whole: cut == 0, bytes: cut == 1 };
            let outcome = Play::new(&plan).run(&mut cuts);
            plan.judge(&expected, &outcome).unwrap_or_else(|wrong| {
                panic!("plan {seed}, cut {cut}: {wrong}\nexpected {expected:?}\n{plan:#?}\n{outcome:#?}");
            });
        }
    }
    // Each kind of ending was met often enough to mean something.
    assert!(endings.iter().all(|met| *met > 100), "{endings:?}");
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = match self.below(20) {
            0 => 5_000,
            1..6 => 0,
            _ => self.below(60),
        };
        (0..length).map(|_| self.of(b"\r\n0;:aAx \xff")).collect()
    }
}

/// What one side sends, and how it stops.
#[derive(Clone, Default)]
struct Script {
    wire: Vec<u8>,
    /// So far it breaks no rule; what follows, if anything, is found bad when all of it has come.
    good: usize,
    /// Where its message is whole, if it ever is.
    whole_at: Option<usize>,
    end: End,
    /// The other side's bytes come in the middle of these.
    pause: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum End {
    #[default]
    Open,
    Closed,
    Reset,
}

#[derive(Debug)]
struct Plan {
    facts: RequestFacts,
    draining: bool,
    request: Script,
    request_body: Vec<u8>,
    response: Script,
    /// The statuses that the client sees, the final one last.
    statuses: Vec<u16>,
    response_body: Vec<u8>,
    /// Is the client told how long the body is?
    response_is_delimited: bool,
    target_keeps: bool,
    has_trailer: bool,
    /// The target sends a 100.
    has_continue: bool,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.wire.split_at(self.pause);
        let [before, after] = [before, after].map(String::from_utf8_lossy);
        write!(f, "{before:?} pause {after:?} {:?}, good {}, whole {:?}", self.end, self.good, self.whole_at)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Over(Over),
    Fault(Side),
}

impl Ending {
    fn kind(&self) -> usize {
        match self {
            Self::Over(Over { client: After::Keep, .. }) => 0,
            Self::Over(Over { client: After::Tunnel, .. }) => 1,
            Self::Over(_) => 2,
            Self::Fault(Side::Client) => 3,
            Self::Fault(Side::Target) => 4,
        }
    }
}

const TRAILERS: &[u8] = b"Host: evil\r\nGrpc-Status: 0\r\nContent-Length: 9\r\n";

/// A body in chunks, badly ended where `good` says so.
fn chunks(random: &mut Random, body: &[u8], trailers: bool) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut left = body;
    while !left.is_empty() {
        let (chunk, rest) = left.split_at(random.below(left.len()).max(left.len() / 8).max(1));
        let extension = random.of(&["", "", ";a", " ; b=\"c d\"", ";;"]);
        wire.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        left = rest;
    }
    wire.extend_from_slice(random.of(&["0\r\n", "000\r\n", "0;last\r\n"]).as_bytes());
    wire.extend_from_slice(if trailers { TRAILERS } else { b"" });
    wire.extend_from_slice(b"\r\n");
    wire
}

impl Script {
    /// A message that is whole at the end of `wire`; what of it may go wrong does, once in a while. `from`: where its body
    /// begins.
    fn random(random: &mut Random, wire: Vec<u8>, from: usize, in_chunks: bool) -> Self {
        let mut script = Self { good: wire.len(), whole_at: Some(wire.len()), wire, ..Self::default() };
        match random.below(8) {
            0 if script.wire.len() > from => {
                script.wire.truncate(from + random.below(script.wire.len() - from));
                script.good = script.wire.len();
                script.whole_at = None;
                script.end = random.of(&[End::Closed, End::Reset]);
            }
            // Bad from the body's first byte on.
            1 if in_chunks => {
                script.wire.truncate(from);
                script.good = from;
                script.wire.extend_from_slice(
                    random.of(&["0x1\r\n", "00000000000000001\r\n", "1;\n", "\r\n", "0\r\nX\r\n\r\n"]).as_bytes(),
                );
                script.whole_at = None;
            }
            _ => {}
        }
        script
    }

    /// Pauses anywhere but inside what is bad.
    fn pausing(mut self, random: &mut Random) -> Self {
        let at = random.below(self.good + 2);
        self.pause = if at > self.good { self.wire.len() } else { at };
        self
    }
}

impl Plan {
    fn random(random: &mut Random) -> Self {
        let version = random.of(&[Version::Http11, Version::Http11, Version::Http11, Version::Http10]);
        let request_body = random.bytes();
        let in_chunks = version == Version::Http11 && random.one_in(3);
        let framing = match random.below(3) {
            _ if in_chunks => Framing::Chunked,
            0 => Framing::Length(request_body.len() as u64),
            _ => Framing::None,
        };
        let request_body = if framing == Framing::None { Vec::new() } else { request_body };
        let has_trailer = random.one_in(4);
        let facts = RequestFacts {
            method: random.of(&[MethodKind::Get, MethodKind::Head, MethodKind::Other]),
            is_idempotent: random.one_in(2),
            version,
            framing,
            keep_alive: random.one_in(2),
            upgrade: version == Version::Http11 && !framing.has_body() && random.one_in(4),
            expects_continue: version == Version::Http11 && framing.has_body() && random.one_in(4),
            is_grpc: false,
        };
        let wire = if in_chunks { chunks(random, &request_body, has_trailer) } else { request_body.clone() };
        let mut request = Script::random(random, wire, 0, in_chunks);
        if request.whole_at.is_some() && random.one_in(3) {
            request.wire.extend_from_slice(b"GET /next HTTP/1.1\r\n\r\n");
        }
        if request.whole_at.is_some() && random.one_in(5) {
            request.end = End::Closed;
        }
        let plan = Self {
            facts,
            draining: random.one_in(8),
            request: request.pausing(random),
            request_body,
            response: Script::default(),
            statuses: Vec::new(),
            response_body: random.bytes(),
            response_is_delimited: true,
            target_keeps: true,
            has_trailer,
            has_continue: false,
        };
        plan.with_response(random)
    }

    fn with_response(mut self, random: &mut Random) -> Self {
        let mut wire = Vec::new();
        for _ in 0..random.of(&[0, 0, 0, 1, 2, 16]) {
            let status = random.of(&[100, 102, 103]);
            wire.extend_from_slice(format!("HTTP/1.1 {status} Interim\r\nLink: </a>\r\n\r\n").as_bytes());
            let is_asked_for = status != 100 || (self.facts.expects_continue && !self.has_continue);
            self.has_continue |= status == 100;
            if self.facts.version == Version::Http11 && is_asked_for {
                self.statuses.push(status);
            }
        }
        if self.facts.upgrade && random.one_in(2) {
            wire.extend_from_slice(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
            self.statuses.push(101);
            self.response_body.clear();
            self.response = Script { good: wire.len(), whole_at: Some(wire.len()), wire, ..Script::default() };
            self.response.wire.extend_from_slice(b"\x81frames");
            self.response = self.response.pausing(random);
            return self;
        }
        let status = random.of(&[200, 200, 200, 404, 204, 304]);
        self.statuses.push(status);
        let target_version = random.of(&["1.1", "1.1", "1.0"]);
        let connection = random.of(&["", "", "Connection: close\r\n", "Connection: keep-alive, x\r\nX: y\r\n"]);
        self.target_keeps = match target_version {
            "1.1" => !connection.contains("close"),
            _ => connection.contains("keep-alive"),
        };
        let has_body = !matches!(status, 204 | 304) && self.facts.method != MethodKind::Head;
        let framing = match random.below(3) {
            0 => "Length",
            1 if target_version == "1.1" && has_body => "Chunked",
            _ if has_body => "UntilClose",
            _ => "None",
        };
        let said = match framing {
            "Length" if status == 204 => "Content-Length: 0\r\n".to_owned(),
            "Length" => format!("Content-Length: {}\r\n", self.response_body.len()),
            "Chunked" => "Transfer-Encoding: chunked\r\n".to_owned(),
            _ => String::new(),
        };
        if !has_body {
            self.response_body.clear();
        }
        wire.extend_from_slice(
            format!("HTTP/{target_version} {status} Final\r\n{connection}{said}A: b\r\n\r\n").as_bytes(),
        );
        self.with_response_body(random, wire, framing)
    }

    fn with_response_body(mut self, random: &mut Random, mut wire: Vec<u8>, framing: &str) -> Self {
        let head = wire.len();
        let in_chunks = framing == "Chunked";
        let body =
            if in_chunks { chunks(random, &self.response_body, self.has_trailer) } else { self.response_body.clone() };
        wire.extend_from_slice(&body);
        self.response_is_delimited =
            self.facts.version == Version::Http11 || !matches!(framing, "Chunked" | "UntilClose");
        if framing == "UntilClose" {
            let end = random.of(&[End::Closed, End::Closed, End::Reset]);
            self.response = Script { good: wire.len(), whole_at: None, wire, end, pause: 0 };
            self.target_keeps = false;
        } else {
            // Also in the head, now and then.
            let from = if random.one_in(3) && !in_chunks { 0 } else { head };
            self.response = Script::random(random, wire, from, in_chunks);
            if self.response.whole_at.is_some() && random.one_in(6) {
                self.response.wire.extend_from_slice(b"HTTP/1.1 200 Evil\r\n\r\n");
            }
        }
        self.response = self.response.pausing(random);
        self
    }

    /// What must come of it: the request up to its pause, the answer up to its pause, then the rest of each.
    fn ending(&self) -> Ending {
        let (request, response) = (&self.request, &self.response);
        let request_bad = request.good < request.wire.len() && request.whole_at.is_none();
        let response_bad = response.good < response.wire.len() && response.whole_at.is_none();
        if request_bad && request.pause == request.wire.len() {
            return Ending::Fault(Side::Client);
        }
        let request_is_whole = |at: usize| request.whole_at.is_some_and(|whole| whole <= at);
        if response_bad && response.pause == response.wire.len() {
            return Ending::Fault(Side::Target);
        }
        if response.whole_at.is_some_and(|whole| whole <= response.pause) {
            return self.over(request_is_whole(request.pause), false, response.pause);
        }
        if !request_is_whole(request.wire.len()) {
            return Ending::Fault(Side::Client);
        }
        if response.whole_at.is_some() {
            return self.over(true, request.end != End::Open, response.wire.len());
        }
        let is_until_close =
            response.good == response.wire.len() && response.end == End::Closed && self.lasts_until_close();
        if is_until_close {
            self.over(true, request.end != End::Open, response.wire.len())
        } else {
            Ending::Fault(Side::Target)
        }
    }

    fn lasts_until_close(&self) -> bool {
        let head = String::from_utf8_lossy(&self.response.wire);
        let last = head.rfind(" Final\r\n").map_or("", |at| &head[at..]);
        let fields = last.split_once("\r\n\r\n").map(|(fields, _)| fields);
        let has_body = self.statuses.last().is_some_and(|status| !matches!(status, 204 | 304))
            && self.facts.method != MethodKind::Head;
        has_body
            && fields.is_some_and(|fields| !fields.contains("Content-Length") && !fields.contains("Transfer-Encoding"))
    }

    fn over(&self, request_is_whole: bool, client_closed: bool, target_bytes: usize) -> Ending {
        if self.statuses.last() == Some(&101) {
            return Ending::Over(Over { client: After::Tunnel, target: After::Tunnel });
        }
        let after = |keeps: bool| if keeps && request_is_whole { After::Keep } else { After::Close };
        // An answer that comes before the body, and before a client that waits for it was told to go on, ends the connection.
        let waits_in_vain = self.facts.expects_continue
            && !self.has_continue
            && self.request.pause == 0
            && self.final_head_at() <= self.response.pause;
        let client =
            self.facts.keep_alive && !self.draining && !client_closed && self.response_is_delimited && !waits_in_vain;
        let extra = self.response.whole_at.is_some_and(|whole| target_bytes > whole);
        Ending::Over(Over { client: after(client), target: after(self.target_keeps && !extra) })
    }

    /// Where the final head ends.
    fn final_head_at(&self) -> usize {
        let wire = &self.response.wire;
        let mark = b" Final\r\n";
        let at = wire.windows(mark.len()).position(|window| window == mark).unwrap_or(wire.len());
        wire[at..].windows(4).position(|window| window == b"\r\n\r\n").map_or(wire.len(), |end| at + end + 4)
    }

    fn judge(&self, expected: &Ending, outcome: &Outcome) -> Result<(), String> {
        let got = outcome.ending.map_or_else(|fault| Ending::Fault(fault.side), Ending::Over);
        // Whether extra bytes came along with the end, or too late to be seen, depends on the cut: what was not seen
        // is found in the connection before it is used again.
        let as_expected = match (&got, expected) {
            (Ending::Over(got), Ending::Over(over)) => {
                got.client == over.client
                    && (got.target == over.target || got.target == After::Keep && self.has_extra())
            }
            (got, expected) => got == expected,
        };
        if !as_expected {
            return Err(format!("it ended as {got:?}"));
        }
        let sent = Message::of_request(&outcome.to_target, self.facts.framing);
        let answer = Message::of_response(&outcome.to_client, &self.facts, outcome.ending.is_ok());
        let answered = matches!(got, Ending::Over(_));
        check(sent.is_whole == outcome.request_is_whole, "the target sees the end exactly when there was one")?;
        check(self.request_body.starts_with(&sent.body), "the target got other bytes")?;
        check(!sent.is_whole || sent.body == self.request_body, "the target got too few bytes")?;
        check(answer.is_whole == answered, "the client sees the end exactly when there was one")?;
        check(self.response_body.starts_with(&answer.body), "the client got other bytes")?;
        check(!answered || answer.body == self.response_body, "the client got too few bytes")?;
        check(self.statuses.starts_with(&answer.statuses), "the client got other heads")?;
        check(!answered || answer.statuses == self.statuses, "the client got too few heads")?;
        let trailers = |message: &Message, in_chunks: bool| {
            let expected: &[u8] = if self.has_trailer && in_chunks { b"Grpc-Status: 0\r\n" } else { b"" };
            check(!message.is_whole || message.trailers == expected, "the trailers are others")
        };
        trailers(&sent, self.facts.framing == Framing::Chunked)?;
        let target_chunks = String::from_utf8_lossy(&self.response.wire).contains("Transfer-Encoding");
        trailers(&answer, target_chunks && self.facts.version == Version::Http11)
    }

    fn has_extra(&self) -> bool {
        self.response.whole_at.is_some_and(|whole| whole < self.response.wire.len())
    }
}

fn check(is_so: bool, wrong: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(wrong.to_owned()) }
}

struct Cuts {
    random: Random,
    /// Not cut at all.
    whole: bool,
    /// Into single bytes.
    bytes: bool,
}

impl Cuts {
    fn size(&mut self, left: usize) -> usize {
        // Long bodies take no more than some dozens of steps.
        let least = 1 + left / 64;
        match (self.whole, self.bytes) {
            (true, _) => left,
            (_, true) => least,
            _ => (least + self.random.below(40)).min(left),
        }
    }

    fn splices(&mut self) -> bool {
        !self.whole && !self.bytes && self.random.one_in(3)
    }
}

struct Outcome {
    ending: Result<Over, Fault>,
    request_is_whole: bool,
    to_target: Vec<u8>,
    to_client: Vec<u8>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [target, client] = [&self.to_target, &self.to_client].map(|sent| String::from_utf8_lossy(sent));
        write!(f, "{:?}, to the target {target:?}, to the client {client:?}", self.ending)
    }
}

/// A driver with a buffer for what was not used.
struct Play<'p> {
    plan: &'p Plan,
    exchange: Exchange,
    from_client: Vec<u8>,
    from_target: Vec<u8>,
    to_target: Vec<u8>,
    to_client: Vec<u8>,
}

type Ended = ControlFlow<Result<Over, Fault>>;

impl<'p> Play<'p> {
    fn new(plan: &'p Plan) -> Self {
        let exchange = Exchange::new(plan.facts, BodyRules::default());
        let (from_client, from_target, to_target, to_client) = Default::default();
        Self { plan, exchange, from_client, from_target, to_target, to_client }
    }

    fn run(mut self, cuts: &mut Cuts) -> Outcome {
        let ControlFlow::Break(ending) = self.act(cuts) else {
            panic!("it never ends: {:?}\n{:#?}", self.exchange, self.plan);
        };
        self.is_quiet_after(&ending);
        Outcome {
            ending,
            request_is_whole: self.exchange.request_is_whole(),
            to_target: self.to_target,
            to_client: self.to_client,
        }
    }

    fn act(&mut self, cuts: &mut Cuts) -> Ended {
        let (request, response) = (&self.plan.request, &self.plan.response);
        self.client_sends(&request.wire[..request.pause], cuts)?;
        self.target_sends(&response.wire[..response.pause], cuts)?;
        self.client_sends(&request.wire[request.pause..], cuts)?;
        let closed = match request.end {
            End::Open => Ok(()),
            End::Closed => self.exchange.client_closed(),
            End::Reset => self.exchange.client_failed(),
        };
        self.after(closed)?;
        self.target_sends(&response.wire[response.pause..], cuts)?;
        let closed = match response.end {
            End::Open => Ok(()),
            End::Closed => self.exchange.target_closed(&mut self.to_client),
            End::Reset => self.exchange.target_failed(),
        };
        self.after(closed)
    }

    fn client_sends(&mut self, mut bytes: &[u8], cuts: &mut Cuts) -> Ended {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(cuts.size(bytes.len()));
            bytes = rest;
            let passable = self.exchange.passable_from_client();
            if cuts.splices() && self.from_client.is_empty() && passable >= piece.len() as u64 {
                self.exchange.passed_from_client(piece.len() as u64);
                self.to_target.extend_from_slice(piece);
            } else {
                self.from_client.extend_from_slice(piece);
                let wanted = self.exchange.wants_client();
                let taken = self.exchange.from_client(&self.from_client, &mut self.to_target);
                let taken = taken.map(|taken| {
                    assert!(wanted || taken.used == 0, "what nobody wanted was used");
                    self.to_target.extend_from_slice(&self.from_client[taken.raw]);
                    self.from_client.drain(..taken.used);
                });
                self.after(taken)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn target_sends(&mut self, mut bytes: &[u8], cuts: &mut Cuts) -> Ended {
        let rules = ResponseRules {
            date: "",
            via: "sim",
            request_id: b"id",
            headers: &[],
            set_cookie: None,
            keep_alive_allowed: !self.plan.draining,
            limits: &LIMITS,
        };
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(cuts.size(bytes.len()));
            bytes = rest;
            let passable = self.exchange.passable_from_target();
            if cuts.splices() && self.from_target.is_empty() && passable >= piece.len() as u64 {
                self.exchange.passed_from_target(piece.len() as u64);
                self.to_client.extend_from_slice(piece);
                self.after(Ok(()))?;
            } else {
                self.from_target.extend_from_slice(piece);
                let taken = self.exchange.from_target(&self.from_target, &rules, &mut self.to_client);
                let taken = taken.map(|taken| {
                    self.to_client.extend_from_slice(&self.from_target[taken.raw]);
                    self.from_target.drain(..taken.used);
                });
                self.after(taken)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn after(&self, event: Result<(), Fault>) -> Ended {
        match (event, self.exchange.over()) {
            (Err(fault), _) => ControlFlow::Break(Err(fault)),
            (Ok(()), Some(over)) => ControlFlow::Break(Ok(over)),
            (Ok(()), None) => ControlFlow::Continue(()),
        }
    }

    /// Nothing is read or written any more, whatever comes.
    fn is_quiet_after(&mut self, ending: &Result<Over, Fault>) {
        let mut out = Vec::new();
        let rules = ResponseRules {
            date: "",
            via: "",
            request_id: b"",
            headers: &[],
            set_cookie: None,
            keep_alive_allowed: true,
            limits: &LIMITS,
        };
        let exchange = &mut self.exchange;
        assert!(!exchange.wants_client() && !exchange.wants_target());
        assert_eq!((exchange.passable_from_client(), exchange.passable_from_target()), (0, 0));
        let fault = ending.err();
        assert_eq!(exchange.fault(), fault);
        assert!(
            exchange
                .from_client(b"0\r\n\r\n", &mut out)
                .map_or_else(|again| Some(again) == fault, |taken| taken.used == 0)
        );
        let target = exchange.from_target(b"HTTP/1.1 200 OK\r\n\r\n", &rules, &mut out);
        assert!(target.map_or_else(|again| Some(again) == fault, |taken| taken.used == 0));
        assert_eq!(exchange.target_closed(&mut out).err(), fault);
        assert!(out.is_empty());
        let status_seen = String::from_utf8_lossy(&self.to_client).contains(" Final\r\n") || ending.is_ok();
        assert_eq!(self.exchange.response_begun(), status_seen);
        if let Some(fault) = fault {
            let gone = matches!(fault.code, ErrorCode::TargetClosed | ErrorCode::TargetBroke | ErrorCode::ClientClosed);
            assert!(gone || matches!(fault.code, ErrorCode::BadRequest | ErrorCode::BadResponse), "{fault:?}");
        }
    }
}

/// What a simple reader makes of what was sent on.
struct Message {
    statuses: Vec<u16>,
    body: Vec<u8>,
    trailers: Vec<u8>,
    is_whole: bool,
}

impl Message {
    fn of_request(bytes: &[u8], framing: Framing) -> Self {
        let mut message = Self { statuses: Vec::new(), body: Vec::new(), trailers: Vec::new(), is_whole: false };
        match framing {
            Framing::None => message.is_whole = bytes.is_empty(),
            Framing::Length(length) => {
                message.body = bytes.to_vec();
                message.is_whole = bytes.len() as u64 == length;
            }
            Framing::Chunked => message.read_chunks(bytes),
        }
        message
    }

    /// `closed`: the connection was closed in order, so that a body may end with it.
    fn of_response(mut bytes: &[u8], facts: &RequestFacts, closed: bool) -> Self {
        let mut message = Self { statuses: Vec::new(), body: Vec::new(), trailers: Vec::new(), is_whole: false };
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&bytes[..end]).expect("heads are ASCII here");
            bytes = &bytes[end + 4..];
            let status = head["HTTP/1.1 ".len()..][..3].parse().expect("a status");
            message.statuses.push(status);
            if status < 200 && status != 101 {
                continue;
            }
            let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name));
            if status == 101 || matches!(status, 204 | 304) || facts.method == MethodKind::Head {
                message.is_whole = bytes.is_empty();
            } else if field("Transfer-Encoding: ") == Some("chunked") {
                message.read_chunks(bytes);
            } else if let Some(length) = field("Content-Length: ") {
                message.body = bytes.to_vec();
                message.is_whole = Ok(bytes.len()) == length.parse();
            } else {
                message.body = bytes.to_vec();
                message.is_whole = closed && field("Connection: ") == Some("close");
            }
            return message;
        }
        assert!(bytes.is_empty(), "half a head was sent");
        message
    }

    fn read_chunks(&mut self, mut bytes: &[u8]) {
        let line = |bytes: &[u8]| bytes.windows(2).position(|window| window == b"\r\n");
        while let Some(end) = line(bytes) {
            let size = std::str::from_utf8(&bytes[..end]).expect("a size is ASCII");
            let size = usize::from_str_radix(size, 16).expect("a size alone: extensions are dropped");
            bytes = &bytes[end + 2..];
            if size == 0 {
                self.is_whole = bytes.ends_with(b"\r\n");
                self.trailers = bytes[..bytes.len() - 2].to_vec();
                return;
            }
            self.body.extend_from_slice(&bytes[..size]);
            assert_eq!(&bytes[size..size + 2], b"\r\n");
            bytes = &bytes[size + 2..];
        }
        assert!(bytes.is_empty(), "half a chunk was sent");
    }
}
