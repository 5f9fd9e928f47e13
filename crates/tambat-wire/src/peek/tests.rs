use proptest::prelude::*;

use super::*;
use crate::Question;

const XMPP: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='chat.example' version='1.0'>";

/// What real clients begin with, and when it can be told.
fn clients() -> Vec<(&'static str, Vec<u8>, Opening)> {
    vec![
        ("TLS", Question::Tls.bytes(""), Opening::Tls),
        ("HTTP", Question::Http.bytes("shop.example"), Opening::Http),
        ("HTTP/2", Question::H2c.bytes("shop.example"), Opening::Http),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n".to_vec(), Opening::Ssh),
        ("XMPP", XMPP.to_vec(), Opening::Xmpp),
        ("PostgreSQL", crate::door::postgres::SSL_REQUEST.to_vec(), Opening::Postgres),
        ("PostgreSQL in clear", Question::Postgres.bytes(""), Opening::Postgres),
    ]
}

fn opening(told: &Told) -> Opening {
    match told {
        Told::Tls(_) => Opening::Tls,
        Told::Http => Opening::Http,
        Told::Ssh => Opening::Ssh,
        Told::Xmpp(_) => Opening::Xmpp,
        Told::Postgres => Opening::Postgres,
    }
}

#[test]
fn each_client_is_told_by_a_listener_that_expects_it_and_by_no_other() {
    for (name, bytes, expected) in clients() {
        for openings in [&Opening::ALL[..], &[expected]] {
            let mut peeker = Peeker::new(openings);
            let told = (0..=bytes.len()).map(|end| peeker.on(&bytes[..end])).find(|told| *told != Peek::Incomplete);
            let Some(Peek::Found(told)) = told else { panic!("{name}: {told:?}") };
            assert_eq!(opening(&told), expected, "{name}");
            assert_eq!(Peeker::new(openings).on(&bytes), Peek::Found(told), "{name}");
        }
        let others: Vec<_> = Opening::ALL.into_iter().filter(|other| *other != expected).collect();
        assert_eq!(Peeker::new(&others).on(&bytes), Peek::No, "{name}");
    }
}

#[test]
fn hostile_case_g10_who_says_nothing_is_waited_for_and_who_says_something_else_is_not() {
    let mut peeker = Peeker::new(&Opening::ALL);
    assert_eq!(peeker.on(b""), Peek::Incomplete);
    assert_eq!(peeker.needs(), 1);
    for other in [&b"EHLO mail.example\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"\x10\x1d\0\x04MQTT", b"<34>Oct 11"] {
        assert_eq!(Peeker::new(&Opening::ALL).on(other), Peek::No, "{}", other.escape_ascii());
    }
    assert_eq!(Peeker::new(&[]).on(b""), Peek::No, "a listener that tells nothing");
}

#[test]
fn it_says_how_much_is_needed_at_least() {
    let hello = Question::Tls.bytes("");
    let mut peeker = Peeker::new(&[Opening::Tls, Opening::Http]);
    assert_eq!(peeker.on(&hello[..1]), Peek::Incomplete);
    assert_eq!(peeker.needs(), 2);
    assert_eq!(peeker.on(&hello[..6]), Peek::Incomplete);
    assert_eq!(peeker.needs(), hello.len(), "the record says how long it is");
    assert_eq!(peeker.on(&hello[..hello.len() - 1]), Peek::Incomplete);
    assert!(matches!(peeker.on(&hello), Peek::Found(Told::Tls(_))));
}

proptest! {
    #[test]
    fn any_cut_of_any_bytes_is_told_alike_and_by_one_opening_only(
        client in 0_usize..7, change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        garbage in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = garbage.unwrap_or_else(|| clients().swap_remove(client).1);
        if let Some((at, byte)) = change.filter(|_| !bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = Peeker::new(&Opening::ALL).on(&bytes);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        let mut peeker = Peeker::new(&Opening::ALL);
        let told = ends.iter().map(|end| peeker.on(&bytes[..*end])).find(|told| *told != Peek::Incomplete);
        prop_assert_eq!(told.unwrap_or(Peek::Incomplete), whole);
        let found = Opening::ALL.into_iter().filter(|one| matches!(Peeker::new(&[*one]).on(&bytes), Peek::Found(_)));
        prop_assert!(found.count() <= 1);
    }
}
