//! Connections that come before there is anybody to serve them.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use tambat_model::Protocol;
use tambat_router::{RouterReport, RouterSettings};

use crate::rig::{Backend, Rig, eventually, hold, is_reset, reset, rest, says, serve, stream};

#[test]
fn an_early_connection_waits_and_is_served_with_what_it_has_sent() {
    let (mut rig, backend) = (Rig::new(Protocol::Tcp), Backend::new("web.1"));
    rig.publish(hold(None));
    let mut client = rig.client();
    client.write_all(b"early").unwrap();
    assert_eq!(rig.report(), RouterReport::Waiting { port: Some(rig.port), route: "web".into() });
    assert_eq!((rig.counters().waiting, rig.counters().bytes_in), (1, 0));
    // A table that still has nobody changes nothing.
    rig.publish(hold(Some(Duration::from_mins(1))));
    rig.publish(serve(&[&backend]));
    let mut target = backend.accept();
    let mut heard = [0; 5];
    target.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"early");
    says(&client, &target, "bird");
    says(&target, &client, "worm");
    assert_eq!((rig.counters().waiting, rig.counters().bytes_in), (0, 9));
}

#[test]
fn a_connection_that_comes_before_the_first_table_waits_too() {
    let (mut rig, backend) = (Rig::new(Protocol::Tcp), Backend::new("web.1"));
    let client = rig.client();
    rig.until_one_waits();
    rig.publish(serve(&[&backend]));
    says(&backend.accept(), &client, "welcome");
}

#[test]
fn a_client_that_has_asked_and_half_closed_while_it_waited_is_served() {
    let (mut rig, backend) = (Rig::new(Protocol::Tcp), Backend::new("web.1"));
    rig.publish(hold(None));
    let mut client = rig.client();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    rig.until_one_waits();
    rig.publish(serve(&[&backend]));
    let mut target = backend.accept();
    assert_eq!(rest(&target), b"question");
    target.write_all(b"answer").unwrap();
    drop(target);
    assert_eq!(rest(&client), b"answer");
}

#[test]
fn a_client_that_goes_away_while_it_waits_is_let_go() {
    let mut rig = Rig::new(Protocol::Tcp);
    rig.publish(hold(None));
    let silent = rig.client();
    rig.until_one_waits();
    drop(silent);
    eventually("the silent client is let go", || rig.counters().open == 0);

    let mut client = rig.client();
    client.write_all(b"hello").unwrap();
    rig.until_one_waits();
    assert_eq!(rig.counters().waiting, 1);
    reset(client);
    eventually("the client that broke off is let go", || rig.counters().open == 0);
    assert_eq!((rig.counters().waiting, rig.counters().refused, rig.counters().connections), (0, 0, 2));
}

#[test]
fn no_more_wait_than_may() {
    let settings = RouterSettings { waiting_max: 1, ..RouterSettings::default() };
    let mut rig = Rig::with(Protocol::Redis, None, settings);
    rig.publish(hold(None));
    let _first = rig.client();
    rig.until_one_waits();
    let mut second = rig.client();
    second.write_all(b"PING\r\n").unwrap();
    let told = String::from_utf8(rest(&second)).unwrap();
    assert!(told.starts_with("-ERR tambat: ") && told.contains("1 connections wait"), "{told}");
    assert_eq!((rig.counters().waiting, rig.counters().refused), (1, 1));
}

#[test]
fn a_target_that_refuses_is_reported_and_another_one_serves() {
    let (gone, mut rig) = (Backend::new("web.1"), Rig::new(Protocol::Tcp));
    let there = Backend::new("web.2");
    rig.publish(serve(&[&gone, &there]));
    let refusing = gone.target.clone();
    drop(gone);
    let (client, target) = stream(&rig, &there);
    says(&client, &target, "hello");
    assert_eq!((refusing.load.in_flight(), there.target.load.in_flight()), (0, 1));
    assert_eq!(rig.report(), RouterReport::Refused { target: "web.1".into(), generation: 1, addr: refusing.addr });
}

#[test]
fn a_connection_that_all_refuse_waits_for_the_next_table() {
    let (gone, mut rig) = (Backend::new("web.1"), Rig::new(Protocol::Tcp));
    rig.publish(serve(&[&gone]));
    drop(gone);
    let client = rig.client();
    assert!(matches!(rig.report(), RouterReport::Refused { .. }));
    rig.until_one_waits();
    let next = Backend::new("web.1");
    rig.publish(serve(&[&next]));
    says(&next.accept(), &client, "back");
}

#[test]
fn a_connection_that_all_refuse_tries_again_although_no_table_comes() {
    let (gone, mut rig) = (Backend::new("web.1"), Rig::new(Protocol::Tcp));
    rig.publish(serve(&[&gone]));
    let addr = gone.target.addr;
    drop(gone);
    let client = rig.client();
    rig.until_one_waits();
    let back = Backend::at("web.1", addr);
    says(&back.accept(), &client, "back");
}

#[test]
fn the_end_of_the_app_is_told_to_those_who_wait() {
    let mut rig = Rig::new(Protocol::Tcp);
    rig.publish(hold(None));
    let client = rig.client();
    rig.until_one_waits();
    rig.publish(tambat_model::Admission::Refuse { cause: "web.1 exited with code 1".into(), mend: None });
    assert!(is_reset(&client));
}
