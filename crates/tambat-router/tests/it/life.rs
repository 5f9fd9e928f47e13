//! The life of streams: how they are balanced and limited, how they end at a drain, and what is noted of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tambat_model::{Admission, Balance, ErrorCode, HttpRules, Protocol, Route, RouteTable};
use tambat_router::{AccessFormat, AccessLog, Listener, ListenerKind, RouterSettings};

use crate::http::access::Sink;
use crate::rig::{Backend, PATIENCE, Rig, bounded, eventually, is_reset, pass, reset, rest, says, serve, stream};

/// A client at this address.
fn client_at(rig: &Rig, address: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::from(address), 0).into()).unwrap();
    socket.connect(&rig.addr().into()).unwrap();
    bounded(socket.into())
}

fn rig(rules: HttpRules, backends: &[&Backend]) -> Rig {
    let mut rig = Rig::new(Protocol::Tcp);
    rig.rules = rules;
    rig.publish(serve(backends));
    rig
}

#[test]
fn the_least_busy_target_gets_the_next_stream() {
    let (one, two) = (Backend::new("web.1"), Backend::new("web.2"));
    let rig = rig(HttpRules { balance: Balance::LeastInFlight, ..HttpRules::default() }, &[&one, &two]);
    let first = stream(&rig, &one);
    let second = stream(&rig, &two);
    let third = stream(&rig, &one);
    drop(second);
    eventually("it is over", || two.target.load.in_flight() == 0);
    let _fourth = stream(&rig, &two);
    let _fifth = stream(&rig, &two);
    drop((first, third));
}

#[test]
fn a_client_keeps_its_target_and_who_loses_it_goes_elsewhere_alone() {
    let backends = [1, 2, 3].map(|number| Backend::new(&format!("web.{number}")));
    let [one, two, three] = backends.each_ref();
    let rig = rig(HttpRules { balance: Balance::SourceHash, ..HttpRules::default() }, &[one, two, three]);
    let led_to = |last: u8, kept: &mut Vec<TcpStream>| {
        kept.push(client_at(&rig, [127, 0, 3, last]));
        let mut to = None;
        eventually("somebody serves it", || {
            to = backends.iter().position(Backend::has_a_connection);
            to.is_some()
        });
        to.unwrap()
    };
    let mut kept = Vec::new();
    let before: Vec<usize> = (1..=30).map(|last| led_to(last, &mut kept)).collect();
    assert!((0..3).all(|number| before.contains(&number)), "{before:?}");
    let again: Vec<usize> = (1..=30).map(|last| led_to(last, &mut kept)).collect();
    assert_eq!(again, before);
    rig.publish(serve(&[three, one]));
    for (last, before) in (1..=30).zip(before) {
        let after = led_to(last, &mut kept);
        assert!(after == before || before == 1, "{last}: {before}, {after}");
        assert_ne!(after, 1);
    }
}

#[test]
fn a_full_target_lets_streams_wait_in_turn_and_too_many_are_refused() {
    let backend = Backend::new("cache.1");
    let rules = HttpRules { in_flight_max: NonZeroU32::new(1), queue_max: NonZeroU32::new(2), ..HttpRules::default() };
    // One worker: who is counted as waiting stands in the queue before the next one is looked at.
    let settings = RouterSettings { workers: NonZeroUsize::MIN, ..RouterSettings::default() };
    let mut rig = Rig::with(Protocol::Redis, None, settings);
    rig.rules = rules;
    rig.publish(serve(&[&backend]));
    let (first, target) = stream(&rig, &backend);
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let mut client = rig.client();
        client.write_all(&[b'0' + number]).unwrap();
        waiting.push(client);
        eventually("it waits", || rig.counters().waiting == usize::from(number));
    }
    let mut beyond = rig.client();
    beyond.write_all(b"PING\r\n").unwrap();
    let said = String::from_utf8(rest(&beyond)).unwrap();
    assert!(said.contains("web cannot be reached: all its instances have as many connections as they may"), "{said}");
    assert!(!backend.has_a_connection());
    // One goes, the next one comes, in the order in which they came.
    drop((first, target));
    for number in [b'1', b'2'] {
        let mut target = backend.accept();
        let mut heard = [0];
        target.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [number]);
        drop(target);
        drop(waiting.remove(0));
    }
    eventually("all are over", || rig.counters().open == 0);
    let traffic = rig.traffic.snapshot();
    assert_eq!(traffic.errors[ErrorCode::QueueFull.index()], 1);
    assert_eq!((traffic.streams, traffic.streams_open()), (4, 0));
}

#[test]
fn no_more_streams_of_a_process_are_open_than_may() {
    let (backend, rig) = (Backend::new("cache.1"), Rig::new(Protocol::Redis));
    let publish = |max: u32| {
        let traffic = Arc::clone(&rig.traffic);
        let route = Route::new("cache", Protocol::Redis, serve(&[&backend]));
        let mut table = RouteTable::default();
        table.insert(rig.port, Route { connections_max: NonZeroU32::new(max), traffic, ..route });
        rig.publish_table(table);
    };
    publish(2);
    let kept = [stream(&rig, &backend), stream(&rig, &backend)];
    let said = String::from_utf8(rest(&asking(&rig))).unwrap();
    assert!(
        said.starts_with("-ERR ") && said.contains("cache has 2 connections, which is as many as it may"),
        "{said}"
    );
    // A newer table may allow more; those that are open count there, too.
    publish(3);
    let _third = stream(&rig, &backend);
    assert!(rest(&asking(&rig)).starts_with(b"-ERR "));
    drop(kept);
    eventually("two are over", || rig.traffic.snapshot().streams_open() == 1);
    drop(stream(&rig, &backend));
    assert_eq!(rig.traffic.snapshot().errors[ErrorCode::TooManyConnections.index()], 2);
}

fn asking(rig: &Rig) -> TcpStream {
    let mut client = rig.client();
    client.write_all(b"PING\r\n").unwrap();
    client
}

#[test]
fn a_stream_that_is_cut_ends_in_order_on_both_sides() {
    let (old, new) = (Backend::new("web.1"), Backend::new("web.1"));
    let rig = rig(HttpRules::default(), &[&old]);
    let (client, target) = stream(&rig, &old);
    let (other_client, other_target) = stream(&rig, &old);
    says(&client, &target, "before");
    // It drains: nothing happens to it. A target is closed before the table without it is there, as by the supervisor.
    old.target.load.close();
    rig.publish(serve(&[&new]));
    says(&target, &client, "still");
    // What is unread when it is cut makes no reset of it.
    (&other_client).write_all(b"more").unwrap();
    old.target.load.cut();
    assert_eq!((rest(&client), rest(&target)), (vec![], vec![]));
    // Who is quicker, the cut or what was sent just before it, is open; the end is in order both ways.
    let (to_client, to_target) = (rest(&other_client), rest(&other_target));
    assert!(to_client.is_empty() && (to_target.is_empty() || to_target == b"more"), "{to_client:?} {to_target:?}");
    drop((client, target, other_client, other_target));
    eventually("they are over", || old.target.load.in_flight() == 0 && rig.counters().open == 0);
    let (client, target) = stream(&rig, &new);
    says(&client, &target, "others go on");
}

#[test]
fn a_side_that_has_not_got_all_sees_a_reset_when_its_stream_is_cut() {
    let backend = Backend::new("web.1");
    SockRef::from(&backend.listener).set_recv_buffer_size(64 * 1024).unwrap();
    let rig = rig(HttpRules::default(), &[&backend]);
    let (mut client, target) = stream(&rig, &backend);
    client.set_nonblocking(true).unwrap();
    let (piece, mut last) = (vec![b'x'; 64 * 1024], Instant::now());
    // Until nothing more is taken: there are bytes in the router then.
    while last.elapsed() < Duration::from_millis(200) {
        match client.write(&piece) {
            Ok(taken) => {
                assert!(taken > 0);
                last = Instant::now();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    backend.target.load.cut();
    rig.publish(Admission::Serve(vec![]));
    // What the kernel had is heard; that it is not all shows.
    let mut heard = Vec::new();
    let error = (&target).read_to_end(&mut heard).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    eventually("it is over", || rig.counters().open == 0);
}

#[test]
fn a_drain_of_the_router_ends_streams_in_order_at_its_deadline() {
    let backend = Backend::new("web.1");
    let rig = rig(HttpRules::default(), &[&backend]);
    let (client, target) = stream(&rig, &backend);
    says(&client, &target, "hello");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let limit = Duration::from_millis(300);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let ends = scope.spawn(|| {
            let heard = (rest(&client), rest(&target));
            (heard, start.elapsed())
        });
        runtime.block_on(rig.router.drain(limit));
        let (heard, after) = ends.join().unwrap();
        assert_eq!(heard, (vec![], vec![]));
        assert!(after >= limit, "{after:?}");
    });
    // Neither side has closed: it is cut all the same, after a second.
    eventually("it is over", || rig.router.open() == 0);
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn each_stream_has_a_line_that_says_how_it_ended() {
    let (backend, sink) = (Backend::new("web.1"), Sink::default());
    let access = Some(AccessLog::start(AccessFormat::Json, sink.clone(), |_| {}).unwrap());
    let settings = RouterSettings { access, ..RouterSettings::default() };
    let rig = Rig::with(Protocol::Redis, Some(Duration::from_secs(2)), settings);
    rig.publish(serve(&[&backend]));
    let (client, target) = stream(&rig, &backend);
    says(&client, &target, "12345");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&target), b"");
    says(&target, &client, "123");
    drop(target);
    assert_eq!(rest(&client), b"");
    let line = sink.line_with(r#""bytes_in":5,"bytes_out":3,"#);
    let port = rig.port;
    for part in [
        r#""client":"127.0.0.1""#.to_owned(),
        format!(r#""listener":"localhost:{port}""#),
        r#""ended_by":"client","end":"fin","process":"web","target":"web.1"}"#.to_owned(),
    ] {
        assert!(line.contains(&part), "{part} in {line}");
    }
    let (client, target) = stream(&rig, &backend);
    says(&client, &target, "1234");
    reset(target);
    assert!(is_reset(&client));
    assert!(sink.line_with(r#""bytes_in":4,"#).contains(r#""ended_by":"target","end":"reset""#));
    let (client, target) = stream(&rig, &backend);
    says(&client, &target, "123456");
    assert_eq!(rest(&client), b"");
    assert!(sink.line_with(r#""bytes_in":6,"#).contains(r#""ended_by":"router","end":"idle""#));
    rig.publish(Admission::Refuse { cause: "web.1 exited".into(), mend: None });
    let mut client = rig.client();
    client.write_all(b"PING\r\n").unwrap();
    assert!(rest(&client).starts_with(b"-ERR "));
    let line = sink.line_with(r#""end":"refused""#);
    assert!(
        line.contains(r#""ended_by":"router","#) && line.ends_with(r#""process":"web","error":"no-target"}"#),
        "{line}"
    );
    eventually("all are over", || rig.counters().open == 0);
    let traffic = rig.traffic.snapshot();
    assert_eq!((traffic.streams, traffic.streams_open()), (4, 0));
    assert_eq!((traffic.bytes_in, traffic.bytes_out), (15, 3));
    assert_eq!(traffic.errors[ErrorCode::NoTarget.index()], 1);
    assert_eq!(traffic.requests, 0);
}

/// Urgent data (RFC 9293 §3.8.5) is part of a stream where it was said (RFC 6093 §3.4): it hangs and harms nothing.
#[test]
fn urgent_data_neither_hangs_nor_harms_a_stream() {
    let backend = Backend::new("web.1");
    let rig = rig(HttpRules::default(), &[&backend]);
    // Small pieces, and long runs, which go through a pipe.
    for (from_client, size) in [(true, 1_000), (false, 1_000), (true, 3_000_000), (false, 3_000_000)] {
        let (client, target) = stream(&rig, &backend);
        let (mut from, to) = if from_client { (&client, &target) } else { (&target, &client) };
        let piece = vec![b'x'; size];
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| rest(to));
            for _ in 0..10 {
                from.write_all(&piece).unwrap();
                assert_eq!(SockRef::from(from).send_out_of_band(b"!").unwrap(), 1);
            }
            from.shutdown(Shutdown::Write).unwrap();
            let heard = heard.join().unwrap();
            assert!(heard == [&piece[..], b"!"].concat().repeat(10), "{} of {}", heard.len(), 10 * (size + 1));
        });
        says(to, from, "and the other direction goes on");
    }
}

#[test]
fn what_stands_behind_urgent_data_does_not_wait_for_more() {
    let backend = Backend::new("web.1");
    let mut rig = Rig::new(Protocol::Tcp);
    rig.publish(crate::rig::hold(None));
    let mut client = rig.client();
    rig.until_one_waits();
    // All of it is there before anything is read: a read ends before what is urgent.
    client.write_all(b"before").unwrap();
    assert_eq!(SockRef::from(&client).send_out_of_band(b"!").unwrap(), 1);
    client.write_all(b"behind").unwrap();
    pass(Duration::from_millis(50));
    rig.publish(serve(&[&backend]));
    let mut target = backend.accept();
    let mut heard = [0; 13];
    target.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"before!behind");
    says(&target, &client, "yes");
}

#[test]
fn what_stands_behind_urgent_data_after_a_long_silence_does_not_wait_for_more() {
    let backend = Backend::new("web.1");
    let mut rig = Rig::new(Protocol::Tcp);
    rig.publish(crate::rig::hold(None));
    let client = rig.client();
    rig.until_one_waits();
    rig.publish(serve(&[&backend]));
    let target = backend.accept();
    says(&client, &target, "hello");
    for (mut from, mut to) in [(&client, &target), (&target, &client)] {
        for between in ["", "between", "", "between"] {
            // Whatever is looked for after a read has been looked for by now.
            pass(Duration::from_millis(200));
            from.write_all(b"before").unwrap();
            assert_eq!(SockRef::from(from).send_out_of_band(b"!").unwrap(), 1);
            from.write_all(between.as_bytes()).unwrap();
            assert_eq!(SockRef::from(from).send_out_of_band(b"?").unwrap(), 1);
            from.write_all(b"behind").unwrap();
            let expected = format!("before!{between}?behind");
            let mut heard = vec![0; expected.len()];
            to.read_exact(&mut heard).unwrap();
            assert_eq!(String::from_utf8_lossy(&heard), expected);
        }
    }
}

#[test]
fn bytes_one_by_one_arrive_in_order() {
    let backend = Backend::new("web.1");
    let rig = rig(HttpRules::default(), &[&backend]);
    let (mut client, target) = stream(&rig, &backend);
    client.set_nodelay(true).unwrap();
    let words: Vec<u8> = (0..2_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| rest(&target));
        words.iter().for_each(|byte| client.write_all(&[*byte]).unwrap());
        client.shutdown(Shutdown::Write).unwrap();
        assert!(heard.join().unwrap() == words);
    });
}

#[tokio::test]
async fn a_listener_is_given_back_and_nobody_is_refused_meanwhile() {
    let backend = Backend::new("web.1");
    let rig = rig(HttpRules::default(), &[&backend]);
    let before = stream(&rig, &backend);
    let kind = ListenerKind::Service(rig.port);
    let sockets = rig.router.take_back(kind).await;
    assert_eq!((sockets.len(), rig.router.counters(rig.port)), (1, None));
    assert!(rig.router.take_back(kind).await.is_empty());
    let meanwhile = rig.client();
    says(&before.0, &before.1, "goes on");
    rig.router.add(Listener { kind, sockets, tls: None }).unwrap();
    says(&meanwhile, &backend.accept(), "late");
    assert_eq!(rig.counters().connections, 1);
    drop(rig.router.take_back(kind).await);
    // Nobody listens there any more, whatever connections there are.
    drop(TcpListener::bind(rig.addr()).unwrap());
    says(&before.0, &before.1, "and on");
}
