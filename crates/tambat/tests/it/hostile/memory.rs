//! What hostile clients leave in the router's memory: nothing.

use crate::support::until;

use super::recorder::{Recorder, Then};
use super::stage::{HOST, Setting, Stage};
use super::vectors::{self, Vector};

/// So many times everything is sent before the baseline is taken: buffers that are kept have their size by then.
const ROUNDS_BEFORE: usize = 2;

/// And after it.
const ROUNDS_AFTER: usize = 4;

/// What is promised of all that is resident, the program's own pages included.
const GROWTH_PERCENT_MAX: u64 = 5;

/// The least that a forgotten connection would cost. What the allocator keeps grows by less while it settles.
const LEAK_BYTES_MIN: u64 = 128;

/// What a process holds of the machine's memory and of no file, in KiB (`proc_pid_smaps(5)`): heap and stacks.
pub(super) fn resident_kib(pid: i32) -> u64 {
    smaps_kib(pid, "Anonymous:")
}

fn smaps_kib(pid: i32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Sends everything of groups A and B, and requests that are broken off on either side; on how many connections.
fn round(stage: &Stage, all: &[(&str, Vec<Vector>)]) -> u64 {
    for (case, vectors) in all {
        for vector in vectors {
            let mark = stage.mark();
            let bytes = vector.marked(&mark);
            let mut client = stage.client();
            client.send_beside(bytes);
            let answer = client.try_answer(false);
            assert!(answer.is_ok(), "{case} {}: {answer:?}", vector.name);
        }
    }
    for path in ["/junk", "/cut", "/reset", "/silent-close", "/upgrade"] {
        for _ in 0..10 {
            let upgrade = if path == "/upgrade" { "Connection: upgrade\r\nUpgrade: websocket\r\n" } else { "" };
            let mut client = stage.send(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}\r\n"));
            let _ = client.try_answer(false);
        }
    }
    for _ in 0..20 {
        drop(stage.send(&format!("POST /left HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\nhello")));
        drop(stage.send("GET /left HTTP/1.1\r\nHo"));
        drop(stage.client());
    }
    stage.good();
    all.iter().map(|(_, vectors)| vectors.len() as u64).sum::<u64>() + 110
}

/// An app that keeps every promise but those of these paths.
fn unreliable() -> Recorder {
    Recorder::playing(|visit, request| match request.path.as_str() {
        "/junk" => {
            visit.send("HELLO\r\n\r\n");
            Then::Close
        }
        "/cut" => {
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            Then::Close
        }
        "/reset" => Then::Reset,
        "/silent-close" => Then::Close,
        "/upgrade" => {
            visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello");
            Then::Close
        }
        _ => visit.echo(request),
    })
}

#[test]
fn memory_is_back_at_its_baseline_after_everything() {
    let stage = Stage::of(unreliable(), &Setting::default());
    let all = vectors::all();
    let (pid, mut connections) = (stage.router.pid(), 0);
    let sizes = |pid| (smaps_kib(pid, "Rss:"), resident_kib(pid));
    for _ in 0..ROUNDS_BEFORE {
        round(&stage, &all);
    }
    let (all_before, own_before) = sizes(pid);
    for _ in 0..ROUNDS_AFTER {
        connections += round(&stage, &all);
    }
    let all_most = all_before + all_before * GROWTH_PERCENT_MAX / 100;
    let own_most = own_before + connections * LEAK_BYTES_MIN / 1024;
    let after = sizes(pid);
    let what = format!("{after:?} KiB after {connections} connections to be no more than ({all_most}, {own_most})");
    // Connections that linger are let go within a second.
    until(&what, || {
        let (all, own) = sizes(pid);
        (all <= all_most && own <= own_most).then_some(())
    });
    assert_eq!(stage.app.log().junk, Vec::<String>::new());
}
