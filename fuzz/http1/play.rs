//! A router without sockets around the HTTP/1 engine: a client's connection with all that it sends, and targets that
//! answer. It does with the engine what the real driver does, and keeps what was said on every side.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use tambat_model::{ErrorCode, Trusted};
use tambat_wire::http1::{
    After, BodyRules, ClientFraming, Disposition, Exchange, Fault, FieldSlots, Forward, Head, Hop, Limits, Over,
    Refusal, RequestFacts, RequestHead, RequestId, ResponseRules, Scheme, Side, Taken, head_may_be_whole, request_head,
};

use super::reader::{Field, head};

/// Who the client is, as the router sees it.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The port it came to.
pub(crate) const PORT: u16 = 8080;

/// The router in `Via`.
pub(crate) const VIA: &str = "tambat";

/// The id of every request.
pub(crate) const ID: &str = "01900000-0000-7000-8000-000000000000";

/// What happens on one connection of a client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene<'a> {
    /// All that the client sends; then it sends no more.
    pub(crate) client: &'a [u8],
    /// What is answered to each request that reaches a target; where none is left, the target closes.
    pub(crate) answers: Vec<&'a [u8]>,
    /// Who speaks next, and how much of it arrives: see [`Step`].
    pub(crate) schedule: &'a [u8],
    pub(crate) trusts_peer: bool,
    pub(crate) body_bytes_max: Option<u64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Play {
    pub(crate) exchanges: Vec<Played>,
    /// Why a request, the last one, was not passed on.
    pub(crate) refusal: Option<Refusal>,
    /// What the client was sent of the targets' answers.
    pub(crate) to_client: Vec<u8>,
    /// What was sent on each connection to a target, one after the other.
    pub(crate) to_targets: Vec<Vec<u8>>,
}

/// One exchange.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) facts: RequestFacts,
    /// As the client wrote them.
    pub(crate) fields: Vec<Field>,
    pub(crate) trusts_peer: bool,
    /// The client's bytes that were used behind the head.
    pub(crate) body: Vec<u8>,
    /// The target's bytes that were used.
    pub(crate) answer: Vec<u8>,
    /// Did the target close?
    pub(crate) answer_ended: bool,
    /// Which connection to a target it had, and its place in what was sent there, up to a tunnel.
    pub(crate) target: usize,
    pub(crate) sent: Range<usize>,
    /// Its place in what the client was sent, up to a tunnel.
    pub(crate) got: Range<usize>,
    pub(crate) outcome: Result<Over, Fault>,
    pub(crate) request_is_whole: bool,
    pub(crate) final_status: Option<u16>,
}

/// One byte of a schedule: whose bytes arrive, whether they pass unread where they may, and how many; 0: all there are.
#[derive(Clone, Copy)]
struct Step {
    side: Side,
    passes: bool,
    bytes: usize,
}

impl Step {
    fn of(byte: u8) -> Self {
        let side = if byte & 1 == 0 { Side::Client } else { Side::Target };
        Self { side, passes: byte & 2 != 0, bytes: usize::from(byte >> 2) }
    }
}

/// What arrives of so many bytes at a time, the whole request before the first byte of its answer. 0: all at once. A step
/// for each byte, and for each end.
pub(crate) fn client_first(scene: &Scene<'_>, mut next: impl FnMut() -> u8) -> Vec<u8> {
    let bytes = scene.client.len() + 1 + scene.answers.iter().map(|answer| answer.len() + 1).sum::<usize>();
    (0..bytes).map(|_| (next() & 0x3f) << 2).collect()
}

/// Plays it to its end.
pub(crate) fn play(scene: &Scene<'_>) -> Play {
    let mut player = Player {
        scene,
        left: scene.client,
        answers: scene.answers.iter(),
        schedule: scene.schedule.iter(),
        buffer: Vec::new(),
        is_connected: false,
        play: Play::default(),
    };
    while player.request().is_some_and(|request| player.exchange(request)) {}
    player.play
}

struct Player<'a, 's> {
    scene: &'s Scene<'a>,
    /// What the client has not sent yet.
    left: &'a [u8],
    answers: std::slice::Iter<'s, &'a [u8]>,
    schedule: std::slice::Iter<'a, u8>,
    /// What has come from the client and was not used.
    buffer: Vec<u8>,
    /// May the last connection to a target be used again?
    is_connected: bool,
    play: Play,
}

/// What a target says.
struct Answering<'a> {
    left: &'a [u8],
    /// What has come and was not used.
    buffer: Vec<u8>,
}

impl<'a> Player<'a, '_> {
    fn step(&mut self) -> Option<Step> {
        self.schedule.next().map(|byte| Step::of(*byte))
    }

    /// Some more of the client's bytes arrive; are there any?
    fn hear(&mut self, bytes: usize) -> bool {
        let (now, later) = cut(self.left, bytes);
        self.buffer.extend_from_slice(now);
        self.left = later;
        !now.is_empty()
    }

    /// Reads the next request and sends its head; none: there is none, or it is not passed on.
    fn request(&mut self) -> Option<Played> {
        let (limits, mut seen) = (Limits::default(), 0);
        loop {
            if !self.buffer.is_empty() && head_may_be_whole(&self.buffer, seen, &limits) {
                let buffer = std::mem::take(&mut self.buffer);
                match request_head(&buffer, &mut FieldSlots::new(), &limits) {
                    Head::Incomplete => {}
                    Head::Refused(refusal) => {
                        self.play.refusal = Some(refusal);
                        return None;
                    }
                    Head::Found(found) => {
                        self.buffer = buffer[found.len()..].to_vec();
                        if found.disposition() == Disposition::AnswerOptions && !found.facts().framing.has_body() {
                            // Answered by the router itself.
                            seen = 0;
                            if found.facts().keep_alive {
                                continue;
                            }
                            return None;
                        }
                        return self.admit(&found, fields(&buffer[..found.len()]));
                    }
                }
                self.buffer = buffer;
            }
            seen = self.buffer.len();
            let bytes = self.step().map_or(0, |step| step.bytes);
            if !self.hear(bytes) {
                // Once more than the driver looks, for all that has come.
                match request_head(&self.buffer, &mut FieldSlots::new(), &limits) {
                    Head::Incomplete => {}
                    Head::Refused(refusal) => self.play.refusal = Some(refusal),
                    Head::Found(found) => panic!("a head was not seen: {found:?}"),
                }
                return None;
            }
        }
    }

    fn admit(&mut self, found: &RequestHead<'_, '_>, fields: Vec<Field>) -> Option<Played> {
        let rules = BodyRules { request_bytes_max: self.scene.body_bytes_max };
        let looped = Refusal { code: ErrorCode::Loop, cause: "it was here before" };
        let options = Refusal { code: ErrorCode::MethodRefused, cause: "an `OPTIONS` for the router has a body" };
        let refusal = rules
            .refusal(found.facts().framing)
            .or_else(|| found.comes_from_itself(VIA).then_some(looped))
            .or_else(|| (found.disposition() == Disposition::AnswerOptions).then_some(options));
        if refusal.is_some() {
            self.play.refusal = refusal;
            return None;
        }
        if !self.is_connected {
            self.play.to_targets.push(Vec::new());
        }
        let target = self.play.to_targets.len() - 1;
        let sent = &mut self.play.to_targets[target];
        let begins = sent.len();
        write(found, self.scene.trusts_peer, sent);
        let got = self.play.to_client.len();
        Some(Played {
            method: found.method().to_owned(),
            path: found.path().to_owned(),
            facts: found.facts(),
            fields,
            trusts_peer: self.scene.trusts_peer,
            body: Vec::new(),
            answer: Vec::new(),
            answer_ended: false,
            target,
            sent: begins..sent.len(),
            got: got..got,
            outcome: Err(Fault { side: Side::Client, code: ErrorCode::Loop, cause: "not played yet" }),
            request_is_whole: false,
            final_status: None,
        })
    }

    /// Plays one exchange; may another one follow?
    fn exchange(&mut self, mut played: Played) -> bool {
        let rules = BodyRules { request_bytes_max: self.scene.body_bytes_max };
        let mut exchange = Exchange::new(played.facts, rules);
        let mut target = Answering { left: self.answers.next().copied().unwrap_or_default(), buffer: Vec::new() };
        let first = Step { side: Side::Client, passes: false, bytes: 0 };
        if exchange.wants_client() && !self.buffer.is_empty() {
            // What came with the head.
            self.take_request(&mut exchange, first, &mut played);
        }
        let mut steps = 0;
        while exchange.over().is_none() && exchange.fault().is_none() {
            let may_client_speak = exchange.wants_client() && !self.left.is_empty();
            let step = self.step();
            let side = match step {
                Some(step) if step.side == Side::Client && exchange.wants_client() => Side::Client,
                _ if may_client_speak && step.is_none_or(|step| step.side == Side::Client) => Side::Client,
                _ if exchange.wants_target() => Side::Target,
                _ => Side::Client,
            };
            let step = step.unwrap_or(first);
            match side {
                Side::Client => {
                    if self.hear(step.bytes) {
                        self.take_request(&mut exchange, step, &mut played);
                    } else {
                        // It has said all that it says, and it was not all of its request.
                        assert!(exchange.client_closed().is_err());
                    }
                }
                Side::Target => self.take_answer(&mut exchange, &mut target, step, &mut played),
            }
            steps += 1;
            assert!(steps < 1 << 20, "the exchange does not end: {exchange:?}");
        }
        self.finish(&exchange, &target, played)
    }

    fn take_request(&mut self, exchange: &mut Exchange, step: Step, played: &mut Played) {
        let sent = &mut self.play.to_targets[played.target];
        let passable = exchange.passable_from_client();
        let before = sent.len();
        let used = if step.passes && passable > 0 {
            let bytes = self.buffer.len().min(usize::try_from(passable).unwrap_or(usize::MAX));
            exchange.passed_from_client(bytes as u64);
            sent.extend_from_slice(&self.buffer[..bytes]);
            bytes
        } else {
            match exchange.from_client(&self.buffer, sent) {
                Ok(taken) => apply(&taken, &self.buffer, sent),
                Err(_) => {
                    assert_eq!(sent.len(), before, "bytes were sent with a fault");
                    0
                }
            }
        };
        played.body.extend(self.buffer.drain(..used));
        assert!(!exchange.may_retry() || played.body.is_empty(), "a body would be sent twice");
        played.sent.end = sent.len();
    }

    fn take_answer(&mut self, exchange: &mut Exchange, target: &mut Answering<'a>, step: Step, played: &mut Played) {
        let out = &mut self.play.to_client;
        let before = out.len();
        let (now, later) = cut(target.left, step.bytes);
        target.buffer.extend_from_slice(now);
        target.left = later;
        let passable = exchange.passable_from_target();
        let used = if now.is_empty() {
            played.answer_ended = true;
            let _ = exchange.target_closed(out);
            0
        } else if step.passes && passable > 0 {
            let bytes = target.buffer.len().min(usize::try_from(passable).unwrap_or(usize::MAX));
            exchange.passed_from_target(bytes as u64);
            out.extend_from_slice(&target.buffer[..bytes]);
            bytes
        } else {
            match exchange.from_target(&target.buffer, &response_rules(&Limits::default()), out) {
                Ok(taken) => apply(&taken, &target.buffer, out),
                Err(_) => {
                    assert_eq!(out.len(), before, "bytes were sent with a fault");
                    0
                }
            }
        };
        played.answer.extend(target.buffer.drain(..used));
        let is_kept = exchange.over().is_some_and(|over| over.target == After::Keep);
        assert!(
            step.passes || !is_kept || target.buffer.is_empty(),
            "a target is kept that said more than it was asked"
        );
        played.got.end = out.len();
        assert!(!exchange.may_retry() || now.is_empty(), "a request would be sent again that was answered");
    }

    fn finish(&mut self, exchange: &Exchange, target: &Answering<'a>, mut played: Played) -> bool {
        played.request_is_whole = exchange.request_is_whole();
        played.final_status = exchange.final_status();
        played.outcome = match (exchange.over(), exchange.fault()) {
            (Some(over), None) => Ok(over),
            (None, Some(fault)) => Err(fault),
            both => panic!("neither over nor broken, or both: {both:?}"),
        };
        let outcome = played.outcome;
        if let Ok(Over { client: After::Tunnel, target: after }) = outcome {
            assert_eq!(after, After::Tunnel);
            for bytes in [&*self.buffer, self.left] {
                self.play.to_targets[played.target].extend_from_slice(bytes);
            }
            for bytes in [&*target.buffer, target.left] {
                self.play.to_client.extend_from_slice(bytes);
            }
        }
        self.is_connected = outcome.is_ok_and(|over| over.target == After::Keep) && target.buffer.is_empty();
        self.play.exchanges.push(played);
        outcome.is_ok_and(|over| over.client == After::Keep)
    }
}

/// The fields of a head that was accepted; one empty line may stand before it.
pub(crate) fn fields(bytes: &[u8]) -> Vec<Field> {
    head(bytes.strip_prefix(b"\r\n").unwrap_or(bytes)).1
}

/// What a request's head is on its way to the target.
pub(crate) fn write(found: &RequestHead<'_, '_>, trusts_peer: bool, out: &mut Vec<u8>) {
    let request_id = RequestId::kept(ID.as_bytes()).unwrap_or_else(|| RequestId::new(0, 0));
    with_hop(trusts_peer, |hop| {
        let forward = Forward {
            hop,
            strip: None,
            request_id: &request_id,
            hop_token: None,
            continue_here: false,
            client_certificate: None,
            passes_te: false,
        };
        found.write(&forward, out);
    });
}

/// The client's connection.
pub(crate) fn with_hop(trusts_peer: bool, look: impl FnOnce(&Hop<'_>)) {
    let trusted: Trusted = ["10.0.0.0/8", "::1"].iter().filter_map(|network| network.parse().ok()).collect();
    look(&Hop {
        peer: PEER,
        port: PORT,
        scheme: Scheme::Http,
        framing: ClientFraming::Http1,
        trusts_peer,
        trusted: &trusted,
        via: VIA,
    });
}

fn response_rules(limits: &Limits) -> ResponseRules<'_> {
    ResponseRules {
        date: "",
        via: VIA,
        request_id: ID.as_bytes(),
        headers: &[],
        set_cookie: None,
        keep_alive_allowed: true,
        limits,
    }
}

/// Sends on what is to be sent as it is: how many bytes were used.
fn apply(taken: &Taken, input: &[u8], out: &mut Vec<u8>) -> usize {
    assert!(taken.used <= input.len() && taken.raw.end <= taken.used, "{taken:?} of {}", input.len());
    out.extend_from_slice(&input[taken.raw.clone()]);
    taken.used
}

/// The first so many bytes, and the rest; 0: all.
fn cut(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at(if at == 0 { bytes.len() } else { at.min(bytes.len()) })
}
