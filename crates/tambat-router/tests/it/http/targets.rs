//! Which target serves a request, and what a swap loses: nothing.

use std::collections::HashMap;
use std::net::TcpStream;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tambat_model::{Balance, ErrorCode, HttpRules, Sticky};
use tambat_router::{RouterReport, RouterSettings};

use crate::http::words::{Server, asks, errors, exchange, get, is_closed, message, ok, plain, router, send};
use crate::rig::{Backend, Rig, eventually, pass, reset, serve};

fn single(backends: &[&Backend], rules: HttpRules) -> Rig {
    router(backends, rules, RouterSettings { workers: NonZeroUsize::MIN, ..RouterSettings::default() })
}

#[test]
fn requests_of_one_client_go_to_the_targets_in_turn() {
    let servers = ["web.1", "web.2", "web.3"].map(Server::new);
    let rig = plain(&[&servers[0].backend, &servers[1].backend, &servers[2].backend]);
    let client = rig.client();
    let mut seen = Vec::new();
    for round in 0..4 {
        seen.extend((0..5).map(|_| asks(&client, "/")));
        if round % 2 == 1 {
            // A new table skews nothing.
            rig.publish(serve(&[&servers[0].backend, &servers[1].backend, &servers[2].backend]));
        }
    }
    let expected: Vec<String> = (0..20).map(|turn| format!("web.{} /", turn % 3 + 1)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn the_least_busy_target_is_preferred() {
    let (slow, fast) = (Backend::new("web.1"), Server::new("web.2"));
    let rules = HttpRules { balance: Balance::LeastInFlight, ..HttpRules::default() };
    let rig = single(&[&slow, &fast.backend], rules);
    let first = rig.client();
    send(&first, get("/1"));
    let target = slow.accept();
    message(&target);
    for _ in 0..10 {
        assert_eq!(asks(&rig.client(), "/"), "web.2 /");
        // A request counts until its answer has been sent.
        eventually("the other is idle", || fast.backend.target.load.in_flight() == 0);
    }
    send(&target, ok("slow"));
    assert_eq!(message(&first).text(), "slow");
}

#[test]
fn requests_wait_in_a_queue_when_all_targets_are_full() {
    let backend = Backend::new("web.1");
    let rules = HttpRules {
        in_flight_max: NonZeroU32::new(1),
        queue_max: NonZeroU32::new(2),
        wait: Some(Duration::from_mins(1)),
        ..HttpRules::default()
    };
    // Clients of several workers wait in one queue.
    let rig = router(&[&backend], rules, RouterSettings::default());
    let (first, target) = exchange(&rig, &backend, &get("/first"));
    message(&target);
    let waiting: Vec<TcpStream> = (0..2)
        .map(|nth| {
            let client = rig.client();
            send(&client, get(&format!("/{nth}")));
            eventually("it waits", || rig.counters().waiting == nth + 1);
            // It has counted itself; a moment later it stands in the queue.
            pass(Duration::from_millis(300));
            client
        })
        .collect();
    let beyond = rig.client();
    send(&beyond, get("/beyond"));
    let answer = message(&beyond);
    assert_eq!((answer.status(), answer.field("tambat-error")), (503, Some("queue-full")));
    assert_eq!((answer.field("retry-after"), rig.counters().waiting), (Some("1"), 2));
    assert_eq!(backend.target.load.in_flight(), 1);

    send(&target, ok("first"));
    assert_eq!(message(&first).text(), "first");
    let mut targets = vec![target];
    for (nth, client) in waiting.iter().enumerate() {
        // On the kept connection, or, from another worker, on a fresh one.
        let at = next_request(&backend, &mut targets, &format!("/{nth}"));
        assert_eq!(backend.target.load.in_flight(), 1);
        send(&targets[at], ok(&nth.to_string()));
        assert_eq!(message(client).text(), nth.to_string());
    }
    eventually("nothing waits", || rig.counters().waiting == 0);
}

/// The place of the connection on which this request comes.
fn next_request(backend: &Backend, targets: &mut Vec<TcpStream>, path: &str) -> usize {
    backend.listener.set_nonblocking(true).unwrap();
    let mut at = None;
    eventually("the next request", || {
        if let Ok((fresh, _)) = backend.listener.accept() {
            targets.push(crate::rig::bounded(fresh));
        }
        for (nth, target) in targets.iter().enumerate() {
            target.set_nonblocking(true).unwrap();
            if target.peek(&mut [0]).is_ok_and(|seen| seen > 0) {
                at = Some(nth);
            }
            target.set_nonblocking(false).unwrap();
        }
        at.is_some()
    });
    let at = at.unwrap();
    let request = message(&targets[at]);
    assert!(request.first_line().contains(path), "{path}: {}", request.head);
    at
}

#[test]
fn who_waits_in_the_queue_for_too_long_or_leaves_makes_room() {
    let backend = Backend::new("web.1");
    let rules = HttpRules {
        in_flight_max: NonZeroU32::new(1),
        queue_max: NonZeroU32::new(1),
        wait: Some(Duration::from_millis(200)),
        ..HttpRules::default()
    };
    let mut rig = single(&[&backend], rules);
    let (first, target) = exchange(&rig, &backend, &get("/first"));
    message(&target);
    let late = rig.client();
    send(&late, get("/late"));
    let answer = message(&late);
    assert_eq!((answer.status(), answer.field("tambat-error")), (503, Some("queue-full")));
    assert!(answer.text().contains("after a wait of 0.2 s"), "{}", answer.text());
    rig.rules.wait = Some(Duration::from_mins(1));
    rig.publish(serve(&[&backend]));
    send(&late, get("/gone"));
    eventually("it waits", || rig.counters().waiting == 1);
    reset(late);
    eventually("it waits no more", || rig.counters().waiting == 0);
    assert_eq!(errors(&rig, ErrorCode::ClientClosed), 1);
    let next = rig.client();
    send(&next, get("/next"));
    eventually("it waits", || rig.counters().waiting == 1);
    send(&target, ok("first"));
    message(&first);
    assert_eq!(message(&target).first_line(), "GET /next HTTP/1.1");
    send(&target, ok("next"));
    assert_eq!(message(&next).text(), "next");
}

#[test]
fn who_waits_for_room_at_a_target_that_is_gone_is_told_in_time_and_dials_it_seldom() {
    let backend = Backend::new("web.1");
    let rules = HttpRules {
        in_flight_max: NonZeroU32::new(1),
        wait: Some(Duration::from_secs(3)),
        waits_when_refused: true,
        ..HttpRules::default()
    };
    let mut rig = router(&[&backend], rules, RouterSettings::default());
    let (first, target) = exchange(&rig, &backend, &get("/first"));
    message(&target);
    let waiting: Vec<TcpStream> = (0..3)
        .map(|nth| {
            let client = rig.client();
            send(&client, get("/waits"));
            eventually("it waits", || rig.counters().waiting == nth + 1);
            client
        })
        .collect();
    drop(backend);
    let gone = Instant::now();
    send(&target, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfirst");
    assert_eq!(message(&first).text(), "first");
    // One was woken and found nobody, and when it was told so, its turn may have been another's. Who had none has heard
    // of no room.
    let told = waiting.iter().map(message).map(|answer| {
        assert_eq!(answer.status(), 503);
        answer.field("tambat-error").unwrap().to_owned()
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    assert!(told[0] == "no-target" && told.iter().all(|code| code == "no-target" || code == "queue-full"), "{told:?}");
    let refused = rig.reports_so_far().into_iter().filter(|report| matches!(report, RouterReport::Refused { .. }));
    // Each of the three dials when it is woken and once a second.
    let most = 6 + 3 * usize::try_from(gone.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&refused.count()));
}

#[test]
fn a_client_with_a_cookie_stays_with_its_target() {
    let servers = ["web.1", "web.2", "web.3"].map(Server::new);
    let rules = HttpRules { sticky: Some(Sticky { cookie: "tambat".into() }), ..HttpRules::default() };
    let all = [&*servers[0].backend, &*servers[1].backend, &*servers[2].backend];
    let rig = single(&all, rules);
    let client = rig.client();
    send(&client, get("/"));
    let answer = message(&client);
    let cookie = answer.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("tambat="), "{cookie}");
    let mine = answer.text().to_owned();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; {cookie}; c=d\r\n\r\n");
    for _ in 0..6 {
        let client = rig.client();
        send(&client, &request);
        let answer = message(&client);
        assert_eq!((answer.text(), answer.field("set-cookie")), (mine.as_str(), None));
    }
    // Its target goes: it gets another, and stays with that.
    let left: Vec<&Backend> = all.into_iter().filter(|b| !mine.starts_with(b.target.name.as_str())).collect();
    rig.publish(serve(&left));
    send(&client, &request);
    let answer = message(&client);
    assert!(answer.text() != mine && answer.field("set-cookie").is_some(), "{answer:?}");
}

#[test]
fn kept_connections_to_a_target_that_is_gone_are_closed() {
    let (old, new) = (Backend::new("web.1"), Server::new("web.1"));
    let rig = plain(&[&old]);
    let (client, target) = exchange(&rig, &old, &get("/"));
    message(&target);
    send(&target, ok("old"));
    message(&client);
    old.target.load.close();
    rig.publish(serve(&[&new.backend]));
    assert!(is_closed(&target));
    assert_eq!(asks(&client, "/"), "web.1 /");
}

/// H1 in small: the table is swapped under load, the old target is closed, and its requests are waited for.
#[test]
fn a_swap_under_load_loses_nothing() {
    const CLIENTS: usize = 8;
    const SWAPS: usize = 30;
    let first = Server::slow("web.1", Duration::from_micros(300));
    let rig = router(&[&first.backend], HttpRules::default(), RouterSettings::default());
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut old = first;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = rig.client();
                for nth in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // A fresh connection now and then.
                    if nth % 20 == 0 {
                        client = rig.client();
                    }
                    assert!(asks(&client, "/x").starts_with("web."));
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for swap in 2..SWAPS + 2 {
            let before = asked.load(Ordering::Relaxed);
            eventually("requests are served", || asked.load(Ordering::Relaxed) > before + CLIENTS);
            let new = Server::slow(&format!("web.{swap}"), Duration::from_micros(300));
            // As the supervisor does: nothing new for the old one, then the table without it, then its end.
            old.backend.target.load.close();
            rig.publish(serve(&[&new.backend]));
            eventually("the old one is idle", || old.backend.target.load.in_flight() == 0);
            let served = old.served();
            pass(Duration::from_millis(2));
            assert_eq!(old.served(), served);
            drop(std::mem::replace(&mut old, new));
        }
        stop.store(true, Ordering::Relaxed);
    });
    crate::http::words::all_is_over(&rig);
    let seen = rig.traffic.snapshot();
    assert_eq!(seen.answers[1], asked.load(Ordering::Relaxed) as u64);
    assert!(seen.errors.iter().all(|count| *count == 0), "{:?}", seen.errors);
}

#[test]
fn workers_share_the_turns_of_a_route() {
    let servers = ["web.1", "web.2"].map(Server::new);
    let rig = router(&[&servers[0].backend, &servers[1].backend], HttpRules::default(), RouterSettings::default());
    let mut seen = HashMap::<String, usize>::new();
    for _ in 0..40 {
        *seen.entry(asks(&rig.client(), "/")).or_default() += 1;
    }
    assert_eq!(seen, HashMap::from([("web.1 /".into(), 20), ("web.2 /".into(), 20)]));
}
