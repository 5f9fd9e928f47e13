use proptest::prelude::*;

use super::*;
use crate::Question;

/// With its length in two bytes before it.
fn sized(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(content)].concat()
}

/// A `server_name` with these entries.
fn names(names: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<u8> = names.iter().flat_map(|name| [&[0][..], &sized(name)].concat()).collect();
    extension(0, &sized(&entries))
}

fn protocols(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> =
        protocols.iter().flat_map(|name| [&[u8::try_from(name.len()).unwrap()], *name].concat()).collect();
    extension(16, &sized(&list))
}

/// A handshake message with this body.
fn message(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], body].concat()
}

fn body(extensions: &[u8]) -> Vec<u8> {
    [&[3, 3][..], &[7; 32], &[0], &sized(&[0x13, 1]), &[1, 0], &sized(extensions)].concat()
}

/// A message in records of so many bytes.
fn records(message: &[u8], bytes: usize) -> Vec<u8> {
    message.chunks(bytes).flat_map(|part| [&[22, 3, 1][..], &sized(part)].concat()).collect()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    records(&message(&body(extensions)), RECORD_BYTES_MAX)
}

fn name_in(hello: &[u8]) -> ServerName {
    match client_hello(hello) {
        Peek::Found(hello) => hello.server_name,
        other => panic!("{other:?}"),
    }
}

fn named(name: &str) -> ServerName {
    ServerName::Name(name.into())
}

/// What is said of every prefix: nothing, up to the whole message, and then always the same.
fn every_prefix(bytes: &[u8], whole: usize, expected: &Peek<ClientHello>) {
    let mut scan = HelloScan::default();
    for end in 0..=bytes.len() {
        let now = client_hello(&bytes[..end]);
        let waits = end < whole;
        assert_eq!(&now, if waits { &Peek::Incomplete } else { expected }, "{end} of {} bytes", bytes.len());
        if end <= whole {
            assert_eq!(scan.on(&bytes[..end]), now, "{end} of {} bytes", bytes.len());
        }
        if waits {
            assert!((end + 1..=whole).contains(&scan.needs()), "{end} of {whole}: needs {}", scan.needs());
        }
    }
}

#[test]
fn hostile_case_g06_names() {
    let long = format!("{}example", "a.".repeat(150));
    let most = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
    let label = format!("{}.example", "a".repeat(64));
    for (name, expected) in [
        ("shop.example", named("shop.example")),
        ("SHOP.eXample", named("shop.example")),
        ("shop.example.", named("shop.example")),
        ("localhost", named("localhost")),
        ("_x.a_b.example", named("_x.a_b.example")),
        ("xn--bcher-kva.example", named("xn--bcher-kva.example")),
        (&most, named(&most)),
        ("", ServerName::Invalid),
        (".", ServerName::Invalid),
        ("a..b", ServerName::Invalid),
        (".a", ServerName::Invalid),
        ("a.example..", ServerName::Invalid),
        ("*", ServerName::Invalid),
        ("*.example", ServerName::Invalid),
        ("a b", ServerName::Invalid),
        ("a/b", ServerName::Invalid),
        ("a:443", ServerName::Invalid),
        ("a\0.example", ServerName::Invalid),
        ("bücher.example", ServerName::Invalid),
        (&long, ServerName::Invalid),
        (&label, ServerName::Invalid),
        ("127.0.0.1", ServerName::Address),
        ("::1", ServerName::Address),
        ("[::1]", ServerName::Address),
        ("::ffff:127.0.0.1", ServerName::Address),
    ] {
        assert_eq!(name_in(&hello(&names(&[name.as_bytes()]))), expected, "{name:?}");
    }
    assert_eq!(name_in(&hello(&names(&[b"\xff\xfe"]))), ServerName::Invalid);
    assert_eq!(name_in(&hello(&names(&[b"a.example", b"b.example"]))), ServerName::Invalid);
    assert_eq!(name_in(&hello(&names(&[]))), ServerName::Invalid);
    assert_eq!(name_in(&hello(&extension(0, b""))), ServerName::Invalid);
    assert_eq!(name_in(&hello(&extension(0, &[0, 9, 0, 0, 1, b'a']))), ServerName::Invalid, "its list ends before");
    assert_eq!(name_in(&hello(&extension(0, &[0, 4, 0, 0, 9, b'a']))), ServerName::Invalid, "its name ends before");
    let with_another_kind = [&[0][..], &sized(b"a.example"), &[7, 1, 2, 3]].concat();
    assert_eq!(name_in(&hello(&extension(0, &sized(&with_another_kind)))), named("a.example"));
    assert_eq!(name_in(&hello(&extension(0, &sized(&[7, 1, 2, 3])))), ServerName::Invalid);
    assert_eq!(name_in(&hello(b"")), ServerName::Absent);
    assert_eq!(name_in(&Question::Tls.bytes("")), ServerName::Absent);
}

#[test]
fn what_was_said_is_looked_up_and_what_is_no_name_finds_nobody() {
    assert_eq!(named("a").asked(), Some("a"));
    assert_eq!(ServerName::Absent.asked(), Some(""));
    assert_eq!(ServerName::Address.asked(), Some(""));
    assert_eq!(ServerName::Invalid.asked(), None);
}

#[test]
fn hostile_case_g07_in_any_pieces() {
    let extensions = [names(&[b"shop.example"]), protocols(&[b"h2", b"http/1.1"])].concat();
    let message = message(&body(&extensions));
    let expected = Peek::Found(ClientHello {
        server_name: named("shop.example"),
        alpn: vec![b"h2".as_slice().into(), b"http/1.1".as_slice().into()],
    });
    for size in [1, 2, 3, 4, 5, 7, message.len().div_ceil(5), message.len() - 1, message.len()] {
        let bytes = records(&message, size);
        every_prefix(&[&bytes[..], b"\x14\x03\x03\0\x01\x01"].concat(), bytes.len(), &expected);
    }
}

#[test]
fn hostile_case_g07_over_16_kib_and_up_to_64() {
    let with = |filler: usize| message(&body(&[extension(21, &vec![0; filler]), names(&[b"pq.example"])].concat()));
    for filler in [17_000, 40_000, 65_000] {
        assert_eq!(name_in(&records(&with(filler), RECORD_BYTES_MAX)), named("pq.example"), "{filler}");
        assert_eq!(name_in(&records(&with(filler), 9_000)), named("pq.example"), "{filler}");
    }
    // So cut that the headers of its records take it above the limit.
    let many = records(&with(60_000), 10);
    assert_eq!(client_hello(&many), Peek::No);
    assert_eq!(client_hello(&many[..CLIENT_HELLO_BYTES_MAX]), Peek::No);
    // Its length says that it will never do; whatever it says, not more is waited for.
    let too_long = [&[22, 3, 1, 0, 5, 1, 1, 0, 1, 3][..]].concat();
    assert_eq!(client_hello(&too_long), Peek::No);
    let mut scan = HelloScan::default();
    let endless = records(&[&[1, 0, 0xff, 0xf0][..], &vec![0; 70_000]].concat(), 100);
    let told = (0..endless.len()).map(|end| scan.on(&endless[..end])).position(|told| told != Peek::Incomplete);
    assert!(told.is_some_and(|end| end <= CLIENT_HELLO_BYTES_MAX), "{told:?}");
}

#[test]
fn hostile_case_g08_the_outer_name_of_an_encrypted_hello() {
    let ech = [&[0, 0, 1, 0, 1, 9][..], &sized(&[5; 32]), &sized(&[6; 200])].concat();
    let outer = [extension(0xfe0d, &ech), names(&[b"public.example"])].concat();
    assert_eq!(name_in(&hello(&outer)), named("public.example"));
}

#[test]
fn values_that_mean_nothing_are_passed_over() {
    let grease =
        [extension(0x0a0a, b""), protocols(&[b"\x1a\x1a", b"h2"]), extension(0xfafa, b"\0"), names(&[b"a.example"])]
            .concat();
    let Peek::Found(found) = client_hello(&hello(&grease)) else { panic!("it is one") };
    assert_eq!(found.server_name, named("a.example"));
    assert!(found.offers(b"h2") && found.offers(b"\x1a\x1a") && !found.offers(b"http/1.1"));
}

#[test]
fn of_alpn_so_many_are_kept() {
    let many: Vec<Vec<u8>> = (0..1_000).map(|n| format!("p{n}").into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let Peek::Found(found) = client_hello(&hello(&protocols(&many))) else { panic!("it is one") };
    assert_eq!(found.alpn.len(), ALPN_PROTOCOLS_MAX);
    assert!(found.offers(b"p63") && !found.offers(b"p64"));
}

#[test]
fn what_is_none_is_known_by_the_first_byte_that_does_not_fit() {
    for (bytes, at) in [
        (&b"\x80\x2e\x01\x03\x01"[..], 1), // SSL 2.0
        (b"GET / HTTP/1.1", 1),
        (b"\0\0\0\x08", 1),
        (b"\x15\x03\x03\0\x02", 1),     // an alert
        (b"\x16\x02\0", 2),             // SSL 2
        (b"\x16\x03\x01\0\0", 5),       // an empty record
        (b"\x16\x03\x01\x40\x01", 5),   // a record that is too long
        (b"\x16\x03\x01\0\x64\x02", 6), // a ServerHello
    ] {
        for end in 0..=bytes.len() {
            let expected = if end < at { Peek::Incomplete } else { Peek::No };
            assert_eq!(client_hello(&bytes[..end]), expected, "{}", bytes[..end].escape_ascii());
        }
    }
    let between = [&hello(&names(&[b"a"]))[..40], b""].concat();
    assert_eq!(client_hello(&between), Peek::Incomplete);
    let half = records(&message(&body(b""))[..20], 20);
    assert_eq!(client_hello(&[&half[..], b"\x14\x03\x03\0\x01\x01"].concat()), Peek::No, "something between");
}

#[test]
fn a_body_that_is_none() {
    let (a, b) = (names(&[b"a"]), names(&[b"b"]));
    let alpn = protocols(&[b"h2"]);
    let fixed = [&[3, 3][..], &[7; 32]].concat();
    for (what, body) in [
        ("two names", body(&[&a[..], &b].concat())),
        ("ALPN twice", body(&[&alpn[..], &alpn].concat())),
        ("ALPN without protocols", body(&extension(16, &sized(b"")))),
        ("ALPN with an empty protocol", body(&extension(16, &sized(&[0])))),
        ("ALPN with a protocol past its end", body(&extension(16, &sized(&[3, b'h'])))),
        ("ALPN with something behind it", body(&extension(16, &[0, 2, 1, b'a', 9]))),
        ("an extension past the end", body(&[0, 23, 0, 9, 1])),
        ("half an extension", body(&[0])),
        ("bytes behind the extensions", [body(b""), vec![0]].concat()),
        ("a long session id", [&fixed[..], &[33], &[0; 33], &sized(&[0x13, 1]), &[1, 0]].concat()),
        ("no suites", [&fixed[..], &[0], &sized(b""), &[1, 0]].concat()),
        ("an odd suite", [&fixed[..], &[0], &sized(&[0x13]), &[1, 0]].concat()),
        ("no compression", [&fixed[..], &[0], &sized(&[0x13, 1]), &[0]].concat()),
        ("nothing", Vec::new()),
        ("half a random", vec![3; 20]),
    ] {
        assert_eq!(client_hello(&records(&message(&body), RECORD_BYTES_MAX)), Peek::No, "{what}");
    }
    let without_extensions = [&fixed[..], &[0], &sized(&[0x13, 1]), &[1, 0]].concat();
    assert_eq!(name_in(&records(&message(&without_extensions), RECORD_BYTES_MAX)), ServerName::Absent);
}

#[test]
fn the_longest_hello_byte_by_byte_costs_what_its_bytes_cost() {
    // Each byte arrives alone, in records of one byte: ten thousand records.
    let bytes = records(&[&[1, 0, 0xff, 0xff][..], &[0; 12_000]].concat(), 1);
    let mut scan = HelloScan::default();
    let mut looked = 0;
    for end in 0..bytes.len() {
        let before = scan.at;
        assert!(matches!(scan.on(&bytes[..end]), Peek::Incomplete | Peek::No));
        looked += scan.at - before;
    }
    assert!(looked <= bytes.len(), "{looked}");
}

proptest! {
    #[test]
    fn any_cut_of_any_bytes_says_the_same(
        mut bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            ("[a-zA-Z0-9.\0-]{0,40}", 1_usize..90).prop_map(|(name, size)| {
                records(&message(&body(&[names(&[name.as_bytes()]), protocols(&[b"h2"])].concat())), size)
            }),
        ],
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        if let Some((at, byte)) = change.filter(|_| !bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = client_hello(&bytes);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        let mut scan = HelloScan::default();
        let mut told = Peek::Incomplete;
        for end in ends {
            told = scan.on(&bytes[..end]);
            if told != Peek::Incomplete {
                break;
            }
        }
        prop_assert_eq!(told, whole);
    }
}
