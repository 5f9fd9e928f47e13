//! One exchange at a time, step by step.

use tambat_model::ErrorCode;

use super::super::facts::{Framing, MethodKind, RequestFacts, Version};
use super::super::limits::Limits;
use super::super::response::ResponseRules;
use super::from_target::INTERIMS_MAX;
use super::{After, BodyRules, Exchange, Fault, Over, Side, Waiting};

const LIMITS: Limits =
    Limits { line_bytes_max: 8192, field_bytes_max: 16_384, head_bytes_max: 65_536, fields_max: 100 };

const RULES: ResponseRules<'static> = ResponseRules {
    date: "",
    via: "",
    request_id: b"",
    headers: &[],
    set_cookie: None,
    keep_alive_allowed: true,
    limits: &LIMITS,
};

const GET: RequestFacts = RequestFacts {
    method: MethodKind::Get,
    is_idempotent: true,
    version: Version::Http11,
    framing: Framing::None,
    keep_alive: true,
    upgrade: false,
    expects_continue: false,
    is_grpc: false,
};

const KEEP: Option<Over> = Some(Over { client: After::Keep, target: After::Keep });
const CLOSE: Option<Over> = Some(Over { client: After::Close, target: After::Close });

fn post(framing: Framing) -> RequestFacts {
    RequestFacts { method: MethodKind::Other, is_idempotent: false, framing, ..GET }
}

fn get_1_0() -> RequestFacts {
    RequestFacts { version: Version::Http10, keep_alive: false, ..GET }
}

/// An exchange, and what it has sent on.
struct Run {
    exchange: Exchange,
    to_client: String,
    to_target: String,
}

impl Run {
    fn new(facts: RequestFacts) -> Self {
        Self::within(facts, BodyRules::default())
    }

    fn within(facts: RequestFacts, rules: BodyRules) -> Self {
        Self { exchange: Exchange::new(facts, rules), to_client: String::new(), to_target: String::new() }
    }

    /// How many bytes were used.
    fn client(&mut self, bytes: &str) -> Result<usize, Fault> {
        let mut out = Vec::new();
        let taken = self.exchange.from_client(bytes.as_bytes(), &mut out);
        assert!(taken.is_ok() || out.is_empty(), "{out:?}");
        out.extend(taken.iter().flat_map(|taken| &bytes.as_bytes()[taken.raw.clone()]));
        self.to_target += &String::from_utf8(out).unwrap();
        taken.map(|taken| taken.used)
    }

    fn target(&mut self, bytes: &str) -> Result<usize, Fault> {
        self.target_under(bytes, &RULES)
    }

    fn target_under(&mut self, bytes: &str, rules: &ResponseRules<'_>) -> Result<usize, Fault> {
        let mut out = Vec::new();
        let taken = self.exchange.from_target(bytes.as_bytes(), rules, &mut out);
        assert!(taken.is_ok() || out.is_empty(), "{out:?}");
        out.extend(taken.iter().flat_map(|taken| &bytes.as_bytes()[taken.raw.clone()]));
        self.to_client += &String::from_utf8(out).unwrap();
        taken.map(|taken| taken.used)
    }

    fn target_closed(&mut self) -> Result<(), Fault> {
        let mut out = Vec::new();
        let closed = self.exchange.target_closed(&mut out);
        self.to_client += &String::from_utf8(out).unwrap();
        closed
    }
}

/// The whole answer arrives at once: what the client gets, and what becomes of the connections.
fn answered(facts: RequestFacts, answer: &str) -> (String, Option<Over>) {
    let mut run = Run::new(facts);
    run.target(answer).unwrap();
    (run.to_client, run.exchange.over())
}

fn code(result: Result<impl std::fmt::Debug, Fault>) -> (Side, ErrorCode) {
    let fault = result.unwrap_err();
    (fault.side, fault.code)
}

#[test]
fn an_exchange_is_small() {
    assert!(size_of::<Exchange>() <= 128, "{}", size_of::<Exchange>());
}

#[test]
fn a_plain_exchange_keeps_both_connections() {
    let mut run = Run::new(GET);
    assert_eq!((run.exchange.wants_client(), run.exchange.waiting()), (false, Waiting::FirstByte));
    assert_eq!(run.target("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), Ok(41));
    assert_eq!((run.exchange.final_status(), run.exchange.waiting()), (Some(200), Waiting::Response));
    assert_eq!((run.exchange.over(), run.exchange.passable_from_target()), (None, 2));
    assert_eq!(run.target("lo"), Ok(2));
    assert_eq!(run.to_client, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((run.exchange.over(), run.exchange.waiting()), (KEEP, Waiting::Nothing));
}

#[test]
fn bodies_of_known_length_may_go_by_unread() {
    let mut run = Run::new(post(Framing::Length(10)));
    assert_eq!((run.client("abc"), run.exchange.passable_from_client()), (Ok(3), 7));
    run.exchange.passed_from_client(6);
    assert_eq!((run.exchange.request_is_whole(), run.exchange.wants_client()), (false, true));
    run.exchange.passed_from_client(1);
    assert_eq!((run.exchange.request_is_whole(), run.exchange.passable_from_client()), (true, 0));
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").unwrap();
    run.exchange.passed_from_target(9);
    assert_eq!((run.exchange.over(), run.exchange.passable_from_target()), (KEEP, 0));
    // Chunks are always read, and so is what has to be written in chunks.
    let mut run = Run::new(post(Framing::Chunked));
    run.target("HTTP/1.1 200 OK\r\n\r\n").unwrap();
    assert_eq!((run.exchange.passable_from_client(), run.exchange.passable_from_target()), (0, 0));
    let mut run = Run::new(get_1_0());
    run.target("HTTP/1.1 200 OK\r\n\r\n").unwrap();
    assert_eq!(run.exchange.passable_from_target(), u64::MAX);
    run.exchange.passed_from_target(1 << 40);
    assert_eq!((run.target_closed(), run.exchange.over()), (Ok(()), CLOSE));
}

#[test]
fn a09_nothing_behind_a_bad_chunk_reaches_the_target() {
    let mut run = Run::new(post(Framing::Chunked));
    assert_eq!(run.client("3\r\nabc\r\n"), Ok(8));
    assert_eq!(code(run.client("3\r\ndef\r\n+5\r\nevil!\r\n0\r\n\r\n")), (Side::Client, ErrorCode::BadRequest));
    assert_eq!(run.to_target, "3\r\nabc\r\n");
    assert!(!run.exchange.wants_client() && !run.exchange.wants_target() && run.exchange.over().is_none());
    assert_eq!(code(run.client("0\r\n\r\n")), (Side::Client, ErrorCode::BadRequest));
    assert_eq!(code(run.target("HTTP/1.1 200 OK\r\n\r\n")), (Side::Client, ErrorCode::BadRequest));
    assert_eq!(run.exchange.fault().map(|fault| fault.code), Some(ErrorCode::BadRequest));
}

#[test]
fn a12_a13_trailers_are_passed_dropped_and_bounded_on_both_ways() {
    let trailers = "Grpc-Status: 0\r\nContent-Length: 5\r\nHost: x\r\n";
    let mut run = Run::new(post(Framing::Chunked));
    let body = format!("1\r\na\r\n0\r\n{trailers}\r\n");
    assert_eq!(run.client(&body), Ok(body.len()));
    assert_eq!(run.to_target, "1\r\na\r\n0\r\nGrpc-Status: 0\r\n\r\n");
    run.target(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).unwrap();
    assert!(run.to_client.ends_with("\r\n\r\n1\r\na\r\n0\r\nGrpc-Status: 0\r\n\r\n"), "{}", run.to_client);
    assert_eq!(run.exchange.over(), KEEP);

    let mut run = Run::new(post(Framing::Chunked));
    assert_eq!(run.client("1\r\na\r\n0\r\nX: y\r\n"), Ok(9));
    assert_eq!(run.to_target, "1\r\na\r\n", "the last chunk waits for its trailers");
    assert_eq!(code(run.client(&"X: y\r\n".repeat(100_000))), (Side::Client, ErrorCode::HeadTooBig));
    assert_eq!(run.to_target, "1\r\na\r\n");
}

#[test]
fn a14_the_next_request_is_left_alone() {
    for (framing, body) in [
        (Framing::None, ""),
        (Framing::Length(0), ""),
        (Framing::Length(5), "hello"),
        (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let mut run = Run::new(RequestFacts { framing, ..GET });
        assert_eq!(run.client(&format!("{body}GET /next HTTP/1.1\r\n\r\n")), Ok(body.len()));
        assert_eq!((run.to_target.as_str(), run.exchange.request_is_whole()), (body, true));
        assert_eq!(run.client("GET /next HTTP/1.1\r\n\r\n"), Ok(0));
    }
}

#[test]
fn a15_an_early_answer_is_passed_on_whole_and_ends_both_connections() {
    for framing in [Framing::Length(100), Framing::Chunked] {
        let mut run = Run::new(post(framing));
        run.client("5\r\nhello\r\n").unwrap();
        run.target("HTTP/1.1 413 Too big\r\nContent-Length: 3\r\n\r\nno").unwrap();
        assert!(run.exchange.wants_client() && run.exchange.over().is_none());
        run.client("5\r\nhello\r\n").unwrap();
        run.target("!").unwrap();
        assert!(run.to_client.ends_with("\r\n\r\nno!"));
        assert_eq!((run.exchange.over(), run.exchange.request_is_whole()), (CLOSE, false));
        // What the client sends now is never read, neither as a body nor as a request.
        assert_eq!((run.client("5\r\nhello\r\n"), run.exchange.wants_client()), (Ok(0), false));
        assert!(run.exchange.client_closed().is_ok());
    }
}

#[test]
fn a15_an_early_answer_to_a_request_that_becomes_whole_ends_nothing() {
    let mut run = Run::new(post(Framing::Length(5)));
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").unwrap();
    run.client("hello").unwrap();
    run.target("k").unwrap();
    assert_eq!(run.to_client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!((run.to_target.as_str(), run.exchange.over()), ("hello", KEEP));
}

#[test]
fn a15_an_early_answer_without_a_body_says_that_it_closes() {
    let (answer, over) = answered(post(Framing::Length(5)), "HTTP/1.1 204 Fine\r\n\r\n");
    assert_eq!((answer.as_str(), over), ("HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n", CLOSE));
}

#[test]
fn a15_a_target_that_stops_reading_is_still_listened_to() {
    let mut run = Run::new(post(Framing::Length(100)));
    run.client("hello").unwrap();
    run.exchange.target_stopped_reading();
    assert_eq!((run.exchange.wants_client(), run.exchange.waiting()), (false, Waiting::FirstByte));
    run.target("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(run.to_client, "HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(run.exchange.over(), CLOSE);
    // Of a request that was read whole only the target's connection suffers.
    let mut run = Run::new(post(Framing::Length(5)));
    run.client("hello").unwrap();
    run.exchange.target_stopped_reading();
    run.target("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(run.exchange.over(), Some(Over { client: After::Keep, target: After::Close }));
}

#[test]
fn a16_a_client_that_breaks_off_never_completes_its_request() {
    for (framing, part) in [
        (Framing::Length(10), "hello"),
        (Framing::Length(10), ""),
        (Framing::Chunked, ""),
        (Framing::Chunked, "5\r\nhello\r\n"),
        (Framing::Chunked, "5\r\nhello\r\n0\r\n"),
        (Framing::Chunked, "5\r\nhello\r\n0\r\nX: y\r\n"),
    ] {
        let mut run = Run::new(post(framing));
        run.client(part).unwrap();
        assert_eq!(code(run.exchange.client_closed()), (Side::Client, ErrorCode::ClientClosed), "{part:?}");
        assert!(!run.to_target.contains("0\r\n") && run.exchange.over().is_none() && !run.exchange.may_retry());
        assert_eq!(code(run.target_closed()), (Side::Client, ErrorCode::ClientClosed));
        assert_eq!(run.to_client, "");
    }
}

#[test]
fn a17_a_request_that_asks_to_close_is_the_last() {
    let mut run = Run::new(RequestFacts { keep_alive: false, ..GET });
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(run.client("GET /next HTTP/1.1\r\n\r\n"), Ok(0));
    assert_eq!(run.to_client, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(run.exchange.over(), Some(Over { client: After::Close, target: After::Keep }));
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answer() {
    let mut run = Run::new(GET);
    assert!(run.exchange.client_closed().is_ok());
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(run.to_client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    assert_eq!(run.exchange.over(), Some(Over { client: After::Close, target: After::Keep }));
}

#[test]
fn a_client_that_is_gone_aborts_the_target_until_the_answer_is_read() {
    let mut run = Run::new(GET);
    assert!(run.exchange.may_retry());
    assert_eq!(code(run.exchange.client_failed()), (Side::Client, ErrorCode::ClientClosed));
    assert!(!run.exchange.may_retry(), "for whom?");
    let mut run = Run::new(GET);
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert!(run.exchange.client_failed().is_ok());
    assert_eq!(run.exchange.over(), Some(Over { client: After::Close, target: After::Keep }));
}

#[test]
fn c03_c04_only_what_is_harmless_is_sent_again() {
    let closed = |facts, body: &str, answer: &str| {
        let mut run = Run::new(facts);
        run.client(body).unwrap();
        run.target(answer).unwrap();
        let before = run.exchange.may_retry();
        let fault = run.target_closed();
        assert_eq!(code(fault), (Side::Target, ErrorCode::TargetClosed));
        let said = match answer {
            "" => "without an answer",
            "H" => "in the head of its answer",
            _ => "after an interim answer",
        };
        assert!(fault.unwrap_err().cause.ends_with(said), "{fault:?}");
        assert!(!run.exchange.response_begun());
        assert_eq!(before, run.exchange.may_retry());
        before
    };
    assert!(closed(GET, "", ""));
    assert!(closed(RequestFacts { framing: Framing::Length(5), ..GET }, "", ""));
    assert!(!closed(RequestFacts { framing: Framing::Length(5), ..GET }, "h", ""));
    assert!(!closed(RequestFacts { framing: Framing::Chunked, ..GET }, "5", ""));
    assert!(!closed(post(Framing::None), "", ""));
    assert!(!closed(GET, "", "H"));
    assert!(!closed(GET, "", "HTTP/1.1 103 Hints\r\n\r\n"));
    // Nothing else that went wrong is tried again.
    let mut run = Run::new(GET);
    assert!(run.target("HELLO").is_err() && !run.exchange.may_retry());
}

#[test]
fn c05_junk_and_half_a_head_are_no_answer() {
    let mut run = Run::new(GET);
    assert_eq!(code(run.target("HELLO\r\n")), (Side::Target, ErrorCode::BadResponse));
    let mut run = Run::new(GET);
    assert_eq!((run.target("HTTP/1.1 200 OK\r\nConte"), run.exchange.waiting()), (Ok(0), Waiting::Response));
    assert_eq!(code(run.target_closed()), (Side::Target, ErrorCode::TargetClosed));
    assert!(!run.exchange.response_begun() && run.to_client.is_empty());
    // A body that is wrong from its first byte spoils an answer that nobody has seen yet.
    let mut run = Run::new(GET);
    let fault = run.target("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense");
    assert_eq!(code(fault), (Side::Target, ErrorCode::BadResponse));
    assert!(!run.exchange.response_begun() && run.to_client.is_empty());
}

#[test]
fn c06_c07_an_answer_that_breaks_off_is_never_completed() {
    for (framing, part) in [
        ("Content-Length: 12", "hello"),
        ("Content-Length: 12", ""),
        ("Transfer-Encoding: chunked", ""),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nX: y\r\n"),
    ] {
        for facts in [GET, get_1_0()] {
            let mut run = Run::new(facts);
            run.target(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}")).unwrap();
            assert_eq!(code(run.target_closed()), (Side::Target, ErrorCode::TargetBroke), "{part:?}");
            assert!(run.exchange.response_begun() && run.exchange.over().is_none());
            assert!(!run.to_client.contains("0\r\n\r\n"), "{:?}", run.to_client);
        }
    }
}

#[test]
fn c07_a_reset_ends_no_body() {
    let mut run = Run::new(GET);
    run.target("HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
    assert_eq!(code(run.exchange.target_failed()), (Side::Target, ErrorCode::TargetBroke));
    assert!(run.to_client.ends_with("5\r\nhello\r\n") && run.exchange.over().is_none());
}

#[test]
fn c08_a_bad_chunk_in_the_middle_is_a_bad_answer() {
    let mut run = Run::new(GET);
    run.target("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n").unwrap();
    assert_eq!(code(run.target("2\r\nok\r\n0x0\r\n\r\n")), (Side::Target, ErrorCode::BadResponse));
    assert!(run.exchange.response_begun() && run.to_client.ends_with("\r\n\r\n2\r\nok\r\n"));
}

#[test]
fn c09_c10_what_comes_behind_an_answer_is_dropped_with_its_connection() {
    let kept_for_client = Some(Over { client: After::Keep, target: After::Close });
    for (body, used) in [("Content-Length: 2\r\n\r\nok", 2), ("Content-Length: 0\r\n\r\n", 0)] {
        let head_and_body = format!("HTTP/1.1 200 OK\r\n{body}");
        let mut run = Run::new(GET);
        assert_eq!(run.target(&format!("{head_and_body}HTTP/1.1 200 Evil\r\n\r\n")), Ok(head_and_body.len()), "{used}");
        assert_eq!((run.to_client.as_str(), run.exchange.over()), (head_and_body.as_str(), kept_for_client));
        let mut run = Run::new(GET);
        run.target(&head_and_body).unwrap();
        assert_eq!(run.target("x"), Ok(0));
        assert_eq!(run.exchange.over(), kept_for_client);
    }
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(answered(GET, &format!("{chunks}0\r\n\r\n")), (chunks.to_owned(), kept_for_client));
}

#[test]
fn c11_what_has_no_body_gets_none() {
    let head = RequestFacts { method: MethodKind::Head, ..GET };
    let dropped = Some(Over { client: After::Keep, target: After::Close });
    let plain = |line: &str| format!("HTTP/1.1 {line}\r\n\r\n");
    for (facts, answer, sent, over) in [
        (head, "200 OK\r\nContent-Length: 5\r\n\r\nhello", plain("200 OK\r\nContent-Length: 5"), dropped),
        (head, "200 OK\r\nContent-Length: 5\r\n\r\n", plain("200 OK\r\nContent-Length: 5"), KEEP),
        (head, "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", plain("200 OK"), dropped),
        (GET, "204 No\r\nContent-Length: 5\r\n\r\nhello", plain("204 No"), dropped),
        (GET, "204 No\r\n\r\n", plain("204 No"), KEEP),
        (GET, "304 No\r\nContent-Length: 5\r\n\r\nhello", plain("304 No\r\nContent-Length: 5"), dropped),
        (GET, "304 No\r\nETag: x\r\n\r\n", plain("304 No\r\nETag: x"), KEEP),
    ] {
        assert_eq!(answered(facts, &format!("HTTP/1.1 {answer}")), (sent, over), "{answer:?}");
    }
}

#[test]
fn c12_interim_answers_are_passed_on_and_bounded() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let unasked = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(answered(GET, &format!("{early}{unasked}{early}{last}")), (format!("{early}{early}{last}"), KEEP));
    let old = RequestFacts { keep_alive: true, ..get_1_0() };
    let to_old = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(answered(old, &format!("{early}{last}")), (to_old.to_owned(), KEEP));

    let most = "HTTP/1.1 102 Wait\r\n\r\n".repeat(usize::from(INTERIMS_MAX));
    assert_eq!(answered(GET, &format!("{most}{last}")).1, KEEP);
    let mut run = Run::new(GET);
    run.target(&most).unwrap();
    assert_eq!(run.exchange.waiting(), Waiting::FirstByte);
    assert_eq!(code(run.target("HTTP/1.1 102 Wait\r\n\r\n")), (Side::Target, ErrorCode::BadResponse));
    assert!(!run.exchange.response_begun());
    let mut run = Run::new(GET);
    assert_eq!(code(run.target(&"HTTP/1.1 102 Wait\r\n\r\n".repeat(1000))), (Side::Target, ErrorCode::BadResponse));
}

#[test]
fn c13_nobody_switches_protocols_unasked() {
    let upgrade = RequestFacts { upgrade: true, ..GET };
    for (facts, answer) in [
        (GET, "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (upgrade, "HTTP/1.1 101 Go\r\nConnection: upgrade\r\n\r\n"),
        (upgrade, "HTTP/1.0 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ] {
        let mut run = Run::new(facts);
        assert_eq!(code(run.target(answer)), (Side::Target, ErrorCode::BadResponse), "{answer:?}");
        assert!(!run.exchange.response_begun() && run.exchange.over().is_none());
    }
}

#[test]
fn a_tunnel_begins_behind_the_101() {
    let mut run = Run::new(RequestFacts { upgrade: true, ..GET });
    let head = "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\n\r\n";
    assert_eq!(run.target(&format!("{head}\u{1}frames")), Ok(head.len()));
    assert_eq!(run.to_client, head);
    assert_eq!(run.exchange.over(), Some(Over { client: After::Tunnel, target: After::Tunnel }));
    assert_eq!((run.exchange.waiting(), run.exchange.final_status()), (Waiting::Tunnel, Some(101)));
    assert!(run.exchange.response_begun() && !run.exchange.wants_client() && !run.exchange.wants_target());
    assert!(
        run.target_closed().is_ok() && run.exchange.client_closed().is_ok() && run.exchange.client_failed().is_ok()
    );
}

#[test]
fn c14_a_head_without_an_end_is_given_up() {
    let mut run = Run::new(GET);
    let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
    let fault = loop {
        head += &format!("X: {}\r\n", "y".repeat(1000));
        match run.target(&head) {
            Ok(used) => assert_eq!(used, 0),
            Err(fault) => break fault,
        }
    };
    assert_eq!((fault.code, head.len() / 1024), (ErrorCode::BadResponse, 64));
}

#[test]
fn d01_a_refused_upgrade_leaves_the_next_request_to_be_read_as_one() {
    let mut run = Run::new(RequestFacts { upgrade: true, ..GET });
    assert_eq!(run.client("GET /admin HTTP/1.1\r\n\r\n"), Ok(0));
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").unwrap();
    assert_eq!((run.to_target.as_str(), run.exchange.over()), ("", KEEP));
}

#[test]
fn d04_the_targets_100_is_relayed_once() {
    let mut run = Run::new(RequestFacts { expects_continue: true, ..post(Framing::Length(5)) });
    assert_eq!(run.exchange.waiting(), Waiting::FirstByte);
    run.target("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert_eq!(run.to_client, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!((run.exchange.waiting(), run.exchange.response_begun()), (Waiting::RequestBody, false));
    run.client("hello").unwrap();
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!((run.to_target.as_str(), run.exchange.over()), ("hello", KEEP));
}

#[test]
fn d04_a_final_answer_ends_the_wait_and_the_connection() {
    let mut run = Run::new(RequestFacts { expects_continue: true, ..post(Framing::Length(5)) });
    run.target("HTTP/1.1 401 Who\r\nContent-Length: 2\r\n\r\nno").unwrap();
    assert_eq!(run.to_client, "HTTP/1.1 401 Who\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    assert_eq!((run.exchange.over(), run.client("hello")), (CLOSE, Ok(0)));
    // A client that did not wait is served as any other.
    let mut run = Run::new(RequestFacts { expects_continue: true, ..post(Framing::Length(5)) });
    run.client("hello").unwrap();
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(run.exchange.over(), KEEP);
}

#[test]
fn d04_a_100_of_our_own_is_the_only_one() {
    let mut run = Run::new(RequestFacts { expects_continue: true, ..post(Framing::Length(5)) });
    run.exchange.continue_sent();
    assert_eq!(run.exchange.waiting(), Waiting::RequestBody);
    run.target("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert_eq!(run.to_client, "");
}

#[test]
fn a_body_without_a_length_is_framed_for_a_client_that_knows_chunks() {
    let mut run = Run::new(GET);
    run.target("HTTP/1.0 200 OK\r\n\r\nhello").unwrap();
    run.target("you").unwrap();
    assert_eq!(run.target_closed(), Ok(()));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(run.to_client, format!("{head}5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"));
    assert_eq!(run.exchange.over(), Some(Over { client: After::Keep, target: After::Close }));
}

#[test]
fn a_body_without_a_length_is_ended_by_closing_for_a_client_that_knows_none() {
    let old = RequestFacts { keep_alive: true, ..get_1_0() };
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let mut run = Run::new(old);
    run.target("HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
    assert_eq!((run.target_closed(), run.exchange.over()), (Ok(()), CLOSE));
    assert_eq!(run.to_client, format!("{head}hello"));
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n";
    let over = Some(Over { client: After::Close, target: After::Keep });
    assert_eq!(answered(old, chunks), (format!("{head}hello"), over));
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na";
    assert_eq!(answered(old, length), (kept.to_owned(), KEEP));
}

#[test]
fn each_connection_is_kept_or_closed_for_its_own_reasons() {
    let close_target = Some(Over { client: After::Keep, target: After::Close });
    let (_, over) = answered(GET, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(over, close_target);
    assert_eq!(answered(GET, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").1, close_target);
    let keeps = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answered(GET, keeps), ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), KEEP));
    // While the router drains, it says so.
    let mut run = Run::new(GET);
    let draining = ResponseRules { keep_alive_allowed: false, ..RULES };
    run.target_under("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &draining).unwrap();
    assert_eq!(run.to_client, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(run.exchange.over(), Some(Over { client: After::Close, target: After::Keep }));
    // A target that closes behind a whole answer has harmed nobody.
    let mut run = Run::new(GET);
    run.target("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!((run.target_closed(), run.exchange.over()), (Ok(()), close_target));
}

#[test]
fn a_body_that_is_too_big_is_refused_by_its_length_or_cut_off() {
    let rules = BodyRules { request_bytes_max: Some(5) };
    assert_eq!(rules.refusal(Framing::Length(6)).map(|refusal| refusal.code), Some(ErrorCode::BodyTooBig));
    for framing in [Framing::None, Framing::Length(5), Framing::Chunked] {
        assert!(rules.refusal(framing).is_none() && BodyRules::default().refusal(Framing::Length(u64::MAX)).is_none());
    }
    let mut run = Run::within(post(Framing::Length(5)), rules);
    assert_eq!((run.exchange.passable_from_client(), run.client("hello")), (5, Ok(5)));
    let mut run = Run::within(post(Framing::Length(6)), rules);
    assert_eq!(run.exchange.passable_from_client(), 0);
    assert_eq!(code(run.client("h")), (Side::Client, ErrorCode::BodyTooBig));

    let mut run = Run::within(post(Framing::Chunked), rules);
    run.client("3\r\nabc\r\n2\r\nde\r\n").unwrap();
    assert_eq!(code(run.client("1\r\nf\r\n0\r\n\r\n")), (Side::Client, ErrorCode::BodyTooBig));
    assert_eq!(run.to_target, "3\r\nabc\r\n2\r\nde\r\n");
}
