//! Who serves what: turns, swaps, counts.

use std::net::TcpStream;
use std::sync::Arc;

use tambat_model::Protocol;

use crate::rig::{Backend, Rig, eventually, is_reset, says, serve, stream};

/// Which of these backends the next connection goes to. The stream is kept, so that nothing else happens meanwhile.
fn served_by(rig: &Rig, backends: &[&Backend], kept: &mut Vec<TcpStream>) -> usize {
    kept.push(rig.client());
    let mut by = None;
    eventually("somebody serves it", || {
        by = backends.iter().position(|b| b.has_a_connection());
        by.is_some()
    });
    by.unwrap()
}

#[test]
fn turns_are_exact_over_connections_and_over_tables() {
    let backends = [Backend::new("web.1"), Backend::new("web.2"), Backend::new("web.3")];
    let [a, b, c] = backends.each_ref();
    let rig = Rig::serving(Protocol::Tcp, &[a, b, c]);
    let mut kept = Vec::new();
    let mut seen = Vec::new();
    for round in 0..4 {
        if round % 2 == 1 {
            rig.publish(serve(&[a, b, c]));
        }
        seen.extend((0..5).map(|_| served_by(&rig, &[a, b, c], &mut kept)));
    }
    assert_eq!(seen, (0..20).map(|turn| turn % 3).collect::<Vec<_>>());
}

#[test]
fn a_stream_keeps_the_target_it_began_with() {
    let (old, new) = (Backend::new("web.1"), Backend::new("web.1"));
    let rig = Rig::serving(Protocol::Tcp, &[&old]);
    let (client, target) = stream(&rig, &old);
    says(&client, &target, "before");
    rig.publish(serve(&[&new]));
    let (other, other_target) = stream(&rig, &new);
    says(&other, &other_target, "elsewhere");
    says(&client, &target, "after");
    says(&target, &client, "still here");
}

#[test]
fn a_target_counts_its_streams_from_the_choice_to_the_last_byte() {
    let backend = Backend::new("web.1");
    let load = Arc::clone(&backend.target.load);
    let rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let (client, target) = stream(&rig, &backend);
    assert_eq!(load.in_flight(), 1);
    drop(client);
    drop(target);
    eventually("it is counted no more", || load.in_flight() == 0);
}

#[test]
fn counters_count() {
    let backend = Backend::new("web.1");
    let rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let (client, target) = stream(&rig, &backend);
    says(&client, &target, "12345");
    says(&target, &client, "123");
    let now = rig.counters();
    assert_eq!((now.connections, now.open, now.bytes_in, now.bytes_out, now.refused), (1, 1, 5, 3, 0));
    assert_eq!(rig.router.counters(1_u16.try_into().unwrap()), None);
    drop((client, target));
    eventually("it is closed", || rig.counters().open == 0);
}

#[test]
fn a_listener_that_comes_later_is_served_and_shares_the_counters_of_its_port() {
    let backend = Backend::new("web.1");
    let rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let later = std::net::TcpListener::bind("[::1]:0").unwrap();
    let addr = later.local_addr().unwrap();
    rig.router
        .add(tambat_router::Listener {
            kind: tambat_router::ListenerKind::Service(rig.port),
            sockets: vec![later],
            tls: None,
        })
        .unwrap();
    let client = TcpStream::connect(addr).unwrap();
    says(&client, &backend.accept(), "over IPv6");
    assert_eq!(rig.counters().connections, 1);
}

#[test]
fn a_shutdown_closes_listeners_streams_and_those_who_wait() {
    let backend = Backend::new("web.1");
    let mut rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let (client, target) = stream(&rig, &backend);
    says(&client, &target, "hello");
    rig.publish(crate::rig::hold(None));
    let waiting = rig.client();
    rig.until_one_waits();
    let addr = rig.addr();
    rig.router.shutdown();
    assert_eq!(backend.target.load.in_flight(), 0);
    for closed in [&client, &target, &waiting] {
        assert!(is_reset(closed) || crate::rig::rest(closed).is_empty());
    }
    assert!(TcpStream::connect(addr).is_err());
    // The port is free again.
    assert!(std::net::TcpListener::bind(addr).is_ok());
}
