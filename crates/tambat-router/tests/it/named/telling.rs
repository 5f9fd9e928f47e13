//! How clients are told apart: what they say first, in time or not, and who gets it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use tambat_model::{Entrance, ErrorCode, Opening, Protocol};
use tambat_router::RouterSettings;

use super::words::{Door, hosts, route, sole};
use crate::http::words::{Server, exactly, get, message, send};
use crate::rig::{Backend, eventually, pass, rest, says};

/// A listener for clients of HTTP and SSH, and for others if somebody is given for them.
struct Shared {
    door: Door,
    web: Server,
    ssh: Backend,
    other: Backend,
}

fn shared(within: Duration, has_other: bool) -> Shared {
    let (door, web) = (Door::new(), Server::new("web"));
    let (ssh, other) = (Backend::new("ssh.1"), Backend::new("mail.1"));
    let of_web = route("web", Protocol::Http, &[&web.backend]);
    door.opens_to(Entrance {
        openings: vec![Opening::Http, Opening::Ssh, Opening::Tls],
        within: Some(within),
        http: hosts(&[("a.example", &of_web)]),
        ssh: Some(route("ssh", Protocol::Ssh, &[&ssh])),
        other: has_other.then(|| route("mail", Protocol::Smtp, &[&other])),
        ..Entrance::default()
    });
    Shared { door, web, ssh, other }
}

const LONG: Duration = Duration::from_mins(1);

#[test]
fn each_client_reaches_whom_it_begins_with_and_all_of_its_bytes_arrive() {
    let Shared { door, web: _web, ssh, other } = shared(LONG, true);
    let client = door.client();
    send(&client, get("/x"));
    assert_eq!(message(&client).text(), "web /x");
    let client = door.client();
    send(&client, "SSH-2.0-OpenSSH_9.2\r\n");
    let target = ssh.accept();
    assert_eq!(exactly(&target, 21), b"SSH-2.0-OpenSSH_9.2\r\n");
    says(&target, &client, "SSH-2.0-server\r\n");
    // What is no opening at all is told at once.
    let client = door.client();
    send(&client, "\u{1}\u{2}nothing known");
    let target = other.accept();
    assert_eq!(exactly(&target, 15), b"\x01\x02nothing known");
    says(&target, &client, "yes");
}

#[test]
fn bytes_that_come_one_by_one_tell_the_same() {
    let Shared { door, web: _web, ssh, .. } = shared(LONG, true);
    let slowly = |words: &[u8]| {
        let mut client = door.client();
        client.set_nodelay(true).unwrap();
        for byte in words {
            client.write_all(&[*byte]).unwrap();
            pass(Duration::from_micros(300));
        }
        client
    };
    assert_eq!(message(&slowly(get("/one").as_bytes())).text(), "web /one");
    let words = b"SSH-2.0-x\r\n";
    let _client = slowly(words);
    assert_eq!(exactly(&ssh.accept(), words.len()), words);
}

#[test]
fn a_client_that_waits_for_a_greeting_is_led_to_the_fallback_in_time_g10() {
    let within = Duration::from_millis(300);
    let Shared { door, other, .. } = shared(within, true);
    let start = Instant::now();
    let (silent, mut hesitant) = (door.client(), door.client());
    // The beginning of something, and no more of it.
    hesitant.write_all(b"SSH-").unwrap();
    let (first, second) = (other.accept(), other.accept());
    assert!(start.elapsed() >= within, "{:?}", start.elapsed());
    for target in [&first, &second] {
        target.shutdown(Shutdown::Write).unwrap();
    }
    assert_eq!((rest(&silent), rest(&hesitant)), (vec![], vec![]));
    drop((silent, hesitant));
    let mut heard = [rest(&first), rest(&second)];
    heard.sort();
    assert_eq!(heard, [b"".to_vec(), b"SSH-".to_vec()]);
}

#[test]
fn without_a_fallback_it_is_closed_in_time_g10() {
    let Shared { door, .. } = shared(Duration::from_millis(200), false);
    let (silent, mut strange) = (door.client(), door.client());
    strange.write_all(b"EHLO a.example\r\n").unwrap();
    // Its bytes were read, so that it is no reset.
    assert_eq!((rest(&silent), rest(&strange)), (vec![], vec![]));
    eventually("both are closed", || door.counters().open == 0);
    assert_eq!(door.counters().refused, 2);
    let unrouted = door.rig.router.unrouted().snapshot();
    assert_eq!(unrouted.errors[ErrorCode::NotTold.index()], 2);
}

#[test]
fn a_thousand_that_never_speak_cost_others_nothing_and_end_in_time_g10() {
    const MANY: u64 = 1_000;
    let Shared { door, web: _web, .. } = shared(Duration::from_secs(2), false);
    let client = door.client();
    send(&client, get("/before"));
    assert_eq!(message(&client).text(), "web /before");
    let silent: Vec<TcpStream> = (0..MANY).map(|_| door.client()).collect();
    eventually("all have come", || door.counters().connections == MANY + 1);
    let other = door.client();
    for client in [&client, &other] {
        send(client, get("/x"));
        assert_eq!(message(client).text(), "web /x");
    }
    for stream in &silent {
        assert_eq!(rest(stream), b"");
    }
    eventually("the silent are gone", || door.counters().open == 2);
    assert_eq!(door.counters().refused, MANY);
    send(&client, get("/y"));
    assert_eq!(message(&client).text(), "web /y");
}

#[test]
fn who_goes_away_without_a_word_is_forgotten_and_who_ends_early_is_served() {
    let Shared { door, other, .. } = shared(LONG, true);
    drop(door.client());
    eventually("it is forgotten", || door.counters().open == 0);
    let mut client = door.client();
    client.write_all(b"GE").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut target = other.accept();
    assert_eq!(rest(&target), b"GE");
    target.write_all(b"what?").unwrap();
    drop(target);
    assert_eq!(rest(&client), b"what?");
}

#[test]
fn a_head_larger_than_one_segment_is_served_from_what_was_heard() {
    let Shared { door, web: _web, .. } = shared(LONG, true);
    let client = door.client();
    let body = "x".repeat(100_000);
    send(&client, format!("POST /big HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(message(&client).status(), 200);
}

#[test]
fn what_a_listener_tells_apart_changes_with_the_table() {
    let (door, first, second) = (Door::new(), Backend::new("a.1"), Backend::new("b.1"));
    door.opens_to(sole(&route("a", Protocol::Tcp, &[&first])));
    let client = door.client();
    says(&client, &first.accept(), "to a");
    let of_b = route("b", Protocol::Ssh, &[&second]);
    door.opens_to(Entrance { openings: vec![Opening::Ssh], ssh: Some(of_b), ..Entrance::default() });
    let client = door.client();
    let target = {
        send(&client, "SSH-2.0-x\r\n");
        second.accept()
    };
    let mut heard = [0; 11];
    (&target).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"SSH-2.0-x\r\n");
}

#[test]
fn a_limit_for_each_client_holds_for_those_who_are_heard() {
    let settings = RouterSettings { connections_per_address_max: std::num::NonZeroU32::new(2), ..Default::default() };
    let (door, backend) = (Door::with(None, settings), Backend::new("ssh.1"));
    let ssh = Some(route("ssh", Protocol::Ssh, &[&backend]));
    door.opens_to(Entrance { openings: vec![Opening::Ssh], within: Some(LONG), ssh, ..Entrance::default() });
    let kept = [door.client(), door.client()];
    eventually("both are there", || door.counters().open == 2);
    let third = door.client();
    assert_eq!(rest(&third), b"");
    drop(kept);
    eventually("both are gone", || door.counters().open == 0);
    let fourth = door.client();
    send(&fourth, "SSH-2.0-x\r\n");
    backend.accept();
}
