use proptest::prelude::*;

use super::*;
use crate::Question;
use crate::peek::ServerName;

const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

fn startup() -> Vec<u8> {
    crate::postgres::probe_startup()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    crate::postgres::framed(Some(kind), body)
}

/// What is done by these bytes after nothing was done by any of their prefixes.
fn done(door: &mut Door, bytes: &[u8]) -> Step {
    for end in 0..bytes.len() {
        assert_eq!(door.on(&bytes[..end]), Step::Incomplete, "{end} of {}", bytes.len());
    }
    door.on(bytes)
}

/// The fields of the error that a client is told.
fn said(refusal: &Refusal) -> Vec<(u8, String)> {
    let message = refusal.message();
    assert_eq!(message[0], b'E');
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
    assert_eq!(length + 1, message.len());
    let fields = message[5..].strip_suffix(b"\0\0").unwrap();
    fields.split(|byte| *byte == 0).map(|field| (field[0], String::from_utf8(field[1..].to_vec()).unwrap())).collect()
}

#[test]
fn a_client_is_led_to_its_handshake() {
    let hello = Question::Tls.bytes("");
    for requests in [&[][..], &[GSS_REQUEST]] {
        let mut door = Door::new();
        for request in requests {
            assert_eq!(done(&mut door, request), Step::Reply(b"N"));
        }
        assert_eq!(done(&mut door, &SSL_REQUEST), Step::Reply(b"S"));
        let Step::Hello(told) = done(&mut door, &hello) else { panic!("it is one") };
        assert_eq!(told.server_name, ServerName::Absent);
    }
}

#[test]
fn hostile_case_g11_a_startup_in_clear_is_refused_in_words() {
    assert_eq!(done(&mut Door::new(), &startup()), Step::Refuse(Refusal::Clear));
    let mut door = Door::new();
    assert_eq!(door.on(&GSS_REQUEST), Step::Reply(b"N"));
    assert_eq!(done(&mut door, &startup()), Step::Refuse(Refusal::Clear));
    let mut door = Door::new();
    assert_eq!(door.on(&SSL_REQUEST), Step::Reply(b"S"));
    assert_eq!(door.on(&startup()), Step::Refuse(Refusal::ClearAfterSsl));
    let mut door = Door::new();
    assert_eq!(door.on(&SSL_REQUEST), Step::Reply(b"S"));
    assert_eq!(door.on(&SSL_REQUEST[..1]), Step::Refuse(Refusal::ClearAfterSsl), "once is enough");
    let mut door = Door::new();
    assert_eq!(door.on(&GSS_REQUEST), Step::Reply(b"N"));
    assert_eq!(door.on(&GSS_REQUEST), Step::Refuse(Refusal::Again));
}

#[test]
fn hostile_case_g11_a_cancel_is_told_whole_in_clear_and_inside_of_tls() {
    let request = CancelRequest { key: CancelKey { pid: 77, secret: [1, 2, 3, 4].into() } };
    assert_eq!(done(&mut Door::new(), &request.bytes()), Step::Cancel(request.clone()));
    for end in 0..16 {
        assert_eq!(inside(&request.bytes()[..end]), Peek::Incomplete);
    }
    assert_eq!(inside(&request.bytes()), Peek::Found(request));
    assert_eq!(inside(&startup()), Peek::No);
    assert_eq!(inside(&startup()[..8]), Peek::No, "nobody waits for the rest");
    assert_eq!(inside(&SSL_REQUEST), Peek::No);
    assert_eq!(inside(b"\x16"), Peek::No);
}

#[test]
fn hostile_case_g12_nothing_stands_behind_a_wish_for_encryption() {
    for request in [SSL_REQUEST, GSS_REQUEST] {
        for injected in [&b"\0"[..], &startup(), &SSL_REQUEST, &Question::Tls.bytes("")] {
            let together = [&request, injected].concat();
            assert_eq!(Door::new().on(&together), Step::Refuse(Refusal::Injected));
        }
    }
}

#[test]
fn what_is_no_client_is_closed() {
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"SSH-2.0-x", b"\0\0\0\x07\0\x03\0\0"] {
        assert_eq!(Door::new().on(other), Step::Close, "{}", other.escape_ascii());
    }
    let mut door = Door::new();
    assert_eq!(door.on(&SSL_REQUEST), Step::Reply(b"S"));
    assert_eq!(door.on(b"Q\0\0\0\x04"), Step::Close);
}

#[test]
fn every_refusal_is_an_error_with_a_code_and_says_what_to_do() {
    for (refusal, code, word) in [
        (Refusal::Clear, "28000", "sslmode=require"),
        (Refusal::NoName, "28000", "by its name"),
        (Refusal::UnknownName("db.example".into()), "08004", "db.example"),
        (Refusal::UnknownName("a\0b\u{7}".into()), "08004", "a b "),
        (Refusal::Injected, "08P01", "unencrypted"),
        (Refusal::Again, "08P01", "again"),
        (Refusal::ClearAfterSsl, "08P01", "TLS was agreed on"),
    ] {
        let fields = said(&refusal);
        let kinds: Vec<u8> = fields.iter().map(|(kind, _)| *kind).collect();
        assert!(kinds == b"SVCM" || kinds == b"SVCMH", "{kinds:?}");
        assert!(
            fields.contains(&(b'S', "FATAL".to_owned())) && fields.contains(&(b'C', code.to_owned())),
            "{fields:?}"
        );
        let text: String = fields[3..].iter().map(|(_, text)| text.as_str()).collect();
        assert!(text.starts_with("tambat: ") && text.contains(word), "{text}");
    }
}

#[test]
fn an_app_is_asked_for_tls_in_one_byte() {
    let no = |received: &[u8], word: &str| match ssl_answer(received) {
        SslAnswer::No(said) => assert!(received == b"N" && said.contains(word), "{said}"),
        SslAnswer::Else(said) => assert!(received != b"N" && said.contains(word), "{said}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(ssl_answer(b""), SslAnswer::Incomplete);
    assert_eq!(ssl_answer(b"S"), SslAnswer::Yes);
    no(b"SE", "before TLS");
    no(b"N", "ssl = on");
    no(&message(b'E', b"SFATAL\0\0"), "answered \"E");
    no(b"-ERR unknown", "-ERR unknown");
    assert_eq!(crate::peek::postgres::opening(&SSL_REQUEST), Peek::Found(Opening::SslRequest));
}

/// A session that starts, up to `ReadyForQuery`.
fn session(secret: &[u8]) -> Vec<u8> {
    [
        message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
        message(b'R', b"\0\0\0\x0bserver-first"),
        message(b'R', b"\0\0\0\0"),
        message(b'v', b"\0\x03\0\0\0\0\0\0"),
        message(b'S', b"server_version\x0015.18\0"),
        message(b'N', b"SNOTICE\0C00000\0Mhello\0\0"),
        message(b'K', &[&77_u32.to_be_bytes()[..], secret].concat()),
        message(b'Z', b"I"),
    ]
    .concat()
}

#[test]
fn the_key_of_a_session_is_seen_however_its_start_is_cut() {
    for secret in [&[9, 8, 7, 6][..], &[5; 32], &[4; 256]] {
        let key = CancelKey { pid: 77, secret: secret.into() };
        let whole = session(secret);
        for size in [1, 2, 3, 5, 64, whole.len()] {
            let mut watch = StartupWatch::new();
            let seen: Vec<Watch> =
                whole.chunks(size).map(|chunk| watch.on(chunk)).filter(|seen| *seen != Watch::Going).collect();
            assert_eq!(seen[0], Watch::Key(key.clone()), "{size}");
            assert!(seen[1..].iter().all(|seen| *seen == Watch::Over), "{seen:?}");
        }
    }
}

#[test]
fn a_start_without_a_key_is_over() {
    for said in [
        message(b'E', b"SFATAL\0C28000\0Mno\0\0"),
        [message(b'R', b"\0\0\0\0"), message(b'Z', b"I")].concat(),
        [message(b'R', b"\0\0\0\0"), message(b'K', b"\0\0\0\x01\0\0\0")].concat(),
        [message(b'R', b"\0\0\0\0"), message(b'K', &[0; 261])].concat(),
        b"R\0\0\0\x03".to_vec(),
        b"S\x7f\xff\xff\xff".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        message(b'D', b"\0\0"),
    ] {
        assert_eq!(StartupWatch::new().on(&said), Watch::Over, "{}", said.escape_ascii());
    }
    let mut watch = StartupWatch::new();
    let notice = message(b'N', &vec![b'x'; 1_000]);
    let most = STARTUP_ANSWER_BYTES_MAX / notice.len() + 2;
    assert!((0..most).any(|_| watch.on(&notice) != Watch::Going));
}

proptest! {
    #[test]
    fn any_cut_of_what_an_app_says_is_seen_alike(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            proptest::collection::vec((proptest::sample::select(b"RSNvKZE".as_slice()), 0_usize..20), 0..8)
                .prop_map(|all| all.iter().flat_map(|(kind, length)| message(*kind, &vec![7; *length])).collect()),
        ],
        size in 1_usize..9,
    ) {
        let whole = StartupWatch::new().on(&bytes);
        let mut watch = StartupWatch::new();
        let cut = bytes.chunks(size).map(|chunk| watch.on(chunk)).find(|seen| *seen != Watch::Going);
        prop_assert_eq!(cut.unwrap_or(Watch::Going), whole);
    }

    #[test]
    fn a_door_says_the_same_however_bytes_are_cut(
        first in prop_oneof![Just(SSL_REQUEST.to_vec()), Just(GSS_REQUEST.to_vec()), Just(startup())],
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = first;
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = Door::new().on(&bytes);
        let mut door = Door::new();
        let cut = (0..=bytes.len()).map(|end| door.on(&bytes[..end])).find(|step| *step != Step::Incomplete);
        prop_assert_eq!(cut.unwrap_or(Step::Incomplete), whole);
    }
}
