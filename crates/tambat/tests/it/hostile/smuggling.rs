//! Every case of groups A and B between good requests, on connections that are kept alive on both sides: the app never
//! sees a request that nobody sent, and each answer belongs to its request.

use std::collections::{HashMap, HashSet};
use std::thread;

use super::client::{Answer, Client, End};
use super::stage::{HOST, Stage};
use super::vectors::{self, Outcome, Vector, evil};

/// What stands before the case on its connection, and behind it.
#[derive(Debug, Clone, Copy)]
struct Company {
    /// A good request that has been answered.
    before: bool,
    /// A good request in the same segment.
    pipelined: bool,
    /// A good request behind it, in the same segment.
    behind: bool,
    /// Half of a request behind it.
    half: bool,
    /// A byte at a time, all of it.
    by_bytes: bool,
}

const ALONE: Company = Company { before: false, pipelined: false, behind: false, half: false, by_bytes: false };

const COMPANIES: &[Company] = &[
    Company { before: true, behind: true, ..ALONE },
    Company { pipelined: true, behind: true, ..ALONE },
    Company { before: true, pipelined: true, half: true, ..ALONE },
    Company { behind: true, by_bytes: true, ..ALONE },
];

/// Longer ones are about limits, and they are slow in such numbers.
const BYTES_MAX: usize = 16 * 1024;

/// One sending: what it may make the app see, and in which order it is answered.
struct Sending<'a> {
    vector: &'a Vector,
    mark: String,
    company: Company,
}

fn good(mark: &str, name: &str) -> String {
    format!("GET /sent/{mark}/{name} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

impl Sending<'_> {
    fn what(&self) -> String {
        format!("{} {:?}", self.vector.name, self.company)
    }

    fn names(&self) -> [String; 4] {
        ["before", "pipelined", "behind", "half"].map(|name| format!("/sent/{}/{name}", self.mark))
    }

    /// Sends it all, gives every answer until the end of the connection or of what was asked.
    fn answers(&self, client: &mut Client) -> Vec<Answer> {
        let mut answers = Vec::new();
        if self.company.before {
            client.send(good(&self.mark, "before"));
            answers.push(client.answer());
        }
        let mut bytes = Vec::new();
        if self.company.pipelined {
            bytes.extend(good(&self.mark, "pipelined").into_bytes());
        }
        bytes.extend(self.vector.marked(&self.mark));
        if self.company.behind {
            bytes.extend(good(&self.mark, "behind").into_bytes());
        }
        if self.company.half {
            let half = good(&self.mark, "half");
            bytes.extend_from_slice(&half.as_bytes()[..half.len() - 3]);
        }
        if self.company.by_bytes {
            client.send_by_bytes(&bytes);
        } else {
            client.send_what_goes(&bytes);
        }
        // Whoever is refused is closed; whoever is not says that it is done, and takes what it is owed.
        client.finish();
        while let Ok(answer) = client.try_answer(false) {
            answers.push(answer);
        }
        let (rest, end) = client.rest();
        assert!(rest.is_empty() && end != End::Open, "{}: {end:?} after {answers:#?}", self.what());
        answers
    }

    /// What the answers must begin with, in this order.
    fn expected(&self) -> Vec<String> {
        let [before, pipelined, behind, _] = self.names();
        let mut expected = Vec::new();
        if self.company.before {
            expected.push(before);
        }
        if self.company.pipelined {
            expected.push(pipelined);
        }
        if matches!(self.vector.outcome, Outcome::Passed) {
            expected.push(self.mark.clone());
            if self.company.behind {
                expected.push(behind);
            }
        }
        expected
    }

    /// Each answer tells of the request it belongs to, and nothing follows a refusal.
    fn judge(&self, answers: &[Answer]) {
        let expected = self.expected();
        let what = self.what();
        let refused = !matches!(self.vector.outcome, Outcome::Passed);
        // Half a request at the end is answered or not; nothing else is left open.
        let most = expected.len() + usize::from(refused || self.company.half);
        assert!((expected.len() + usize::from(refused)..=most).contains(&answers.len()), "{what}: {answers:#?}");
        for (answer, mark) in answers.iter().zip(&expected) {
            assert!(answer.status == 200 && answer.text().contains(mark.as_str()), "{what}: not of {mark}: {answer:?}");
        }
        for answer in &answers[expected.len()..] {
            assert!(answer.status >= 400 && answer.code().is_some(), "{what}: {answer:?}");
        }
    }
}

/// The paths that the app may have seen for this mark.
fn allowed(sending: &Sending<'_>, path: &str) -> bool {
    let names = sending.names();
    if path.starts_with("/sent/") {
        return names[..3].iter().any(|name| name == path);
    }
    // Its own head may be good, and only its body broken.
    path.contains(&sending.mark) && !path.contains("evil") && !matches!(sending.vector.outcome, Outcome::Refused(_))
}

fn run(cases: impl Iterator<Item = (&'static str, Vec<Vector>)>) {
    let stage = Stage::new();
    let (mut sent, mut seen) = (0, 0);
    for (case, vectors) in cases {
        for vector in vectors.iter().filter(|vector| vector.bytes.len() <= BYTES_MAX) {
            for company in COMPANIES {
                let sending = Sending { vector, mark: stage.mark(), company: *company };
                let answers = sending.answers(&mut stage.client());
                sending.judge(&answers);
                // Kept alive by the app: whatever was left in its connection shows in the next request's answer.
                stage.good();
                seen = look(&stage, &sending, seen, case);
                sent += 1;
            }
        }
    }
    assert!(sent > 100, "{sent} is not all of them");
}

/// Looks at the requests that the app saw since the last look; gives how many there are by now.
fn look(stage: &Stage, sending: &Sending<'_>, from: usize, case: &str) -> usize {
    let log = stage.app.log();
    let what = sending.what();
    assert_eq!(log.junk, Vec::<String>::new(), "{case} {what}");
    let mut seen = HashSet::new();
    for request in &log.requests[from..] {
        let sent = request.path.starts_with("/good/") || allowed(sending, &request.path);
        assert!(sent && !request.path.contains("evil"), "{case} {what}: nobody sent {request:#?}");
        assert!(seen.insert(request.path.clone()), "{case} {what}: sent once, seen twice: {request:#?}");
    }
    log.requests.len()
}

#[test]
fn whatever_group_a_sends_the_app_sees_what_was_sent() {
    run(vectors::all().into_iter().filter(|(case, _)| case.starts_with('a')));
}

#[test]
fn whatever_group_b_sends_the_app_sees_what_was_sent() {
    run(vectors::all().into_iter().filter(|(case, _)| case.starts_with('b')));
}

/// So many clients at once.
const CLIENTS: usize = 8;

#[test]
fn many_clients_at_once_each_get_their_own() {
    let stage = Stage::new();
    let all: Vec<Vector> = vectors::all().into_iter().flat_map(|(_, vectors)| vectors).collect();
    let all: Vec<&Vector> = all.iter().filter(|vector| vector.bytes.len() <= BYTES_MAX).collect();
    let sendings = thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|client| {
            let (stage, all) = (&stage, &all);
            scope.spawn(move || {
                let mine = all.iter().skip(client).step_by(CLIENTS);
                let each = mine.enumerate().map(|(nth, vector)| {
                    let company = COMPANIES[nth % COMPANIES.len()];
                    let sending = Sending { vector, mark: stage.mark(), company };
                    sending.judge(&sending.answers(&mut stage.client()));
                    sending
                });
                each.collect::<Vec<_>>()
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let by_mark: HashMap<&str, &Sending<'_>> = sendings.iter().map(|sending| (&*sending.mark, sending)).collect();
    let log = stage.app.log();
    let mut seen = HashSet::new();
    for request in &log.requests {
        let marked = request.path.split(['/', '?']).find_map(|part| by_mark.get(part));
        let sent = marked.is_some_and(|sending| allowed(sending, &request.path));
        assert!(sent && seen.insert(&request.path), "nobody sent {request:#?}");
    }
    assert_eq!(log.junk, Vec::<String>::new());
    assert_eq!(sendings.len(), all.len());
}

#[test]
fn a_smuggled_request_would_be_seen() {
    // The harness itself: a request that nobody sent is one.
    let stage = Stage::new();
    let mut client = stage.client();
    client.send(evil("m0e"));
    client.answer();
    let vector = &vectors::b23()[0];
    let sending = Sending { vector, mark: stage.mark(), company: ALONE };
    assert!(!allowed(&sending, "/evil/m0e") && !allowed(&sending, "/sent/m0e/half"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&stage, &sending, 0, "itself"))).is_err());
}
