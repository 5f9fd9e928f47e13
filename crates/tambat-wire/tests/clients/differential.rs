//! Whatever rustls takes for a `ClientHello`, is one here, with the same name and the same protocols.

use std::io::Cursor;

use proptest::prelude::*;
use rustls::server::Acceptor;
use tambat_wire::peek::{ALPN_PROTOCOLS_MAX, ClientHello, Peek, ServerName, client_hello};

use crate::table::CLIENTS;

/// What rustls says: nothing yet, no, or a name and protocols.
#[derive(Debug, PartialEq, Eq)]
enum Theirs {
    Incomplete,
    No,
    Found(Option<String>, Vec<Vec<u8>>),
}

fn theirs(bytes: &[u8]) -> Theirs {
    let mut acceptor = Acceptor::default();
    let mut left = Cursor::new(bytes);
    loop {
        match acceptor.read_tls(&mut left) {
            Ok(0) => return Theirs::Incomplete,
            Ok(_) => {}
            Err(_) => return Theirs::No,
        }
        match acceptor.accept() {
            Err(_) => return Theirs::No,
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let alpn = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
                return Theirs::Found(hello.server_name().map(str::to_owned), alpn);
            }
        }
    }
}

/// Are we of one mind, as far as rustls is sure? It says no to what we only pass on.
fn agree(bytes: &[u8]) -> Result<bool, String> {
    let (theirs, ours) = (theirs(bytes), client_hello(bytes));
    let is_same = match (&theirs, &ours) {
        (Theirs::Found(name, alpn), Peek::Found(ClientHello { server_name, alpn: our_alpn })) => {
            let is_name = match (server_name, name) {
                (ServerName::Name(ours), Some(theirs)) => **ours == *theirs.trim_end_matches('.').to_ascii_lowercase(),
                (ServerName::Absent | ServerName::Address | ServerName::Invalid, None) => true,
                _ => false,
            };
            is_name && our_alpn.iter().map(|one| one.to_vec()).eq(alpn.iter().take(ALPN_PROTOCOLS_MAX).cloned())
        }
        (Theirs::Found(..), _) => false,
        // It has an opinion of extensions that we do not look at; and we know sooner than it does that a record is longer than
        // any may be (RFC 8446 §5.1).
        (Theirs::No, _) => true,
        (Theirs::Incomplete, ours) => !matches!(ours, Peek::Found(_)),
    };
    if is_same { Ok(matches!(theirs, Theirs::Found(..))) } else { Err(format!("{theirs:?}, but {ours:?}")) }
}

fn sized(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(content)].concat()
}

/// What every server asks for: groups, signatures, versions, a key.
fn usual() -> Vec<Vec<u8>> {
    let key = [&[0, 0x1d][..], &sized(&[9; 32])].concat();
    vec![
        extension(10, &sized(&[0, 0x1d, 0, 0x17])),
        extension(13, &sized(&[4, 3, 8, 4, 4, 1])),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(51, &sized(&key)),
    ]
}

fn hello(extensions: &[Vec<u8>], record_bytes: usize) -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(&[0x13, 1]), &[1, 0], &sized(&extensions.concat())].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    message.chunks(record_bytes).flat_map(|part| [&[22, 3, 1][..], &sized(part)].concat()).collect()
}

#[test]
fn of_real_clients_we_are_of_one_mind() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/client_hello");
    let mut sure = 0;
    for client in CLIENTS.iter().filter(|client| client.seeds == "client_hello") {
        let sent = std::fs::read(seeds.join(client.name)).unwrap();
        assert_eq!(agree(&sent), Ok(true), "{}", client.name);
        sure += (0..sent.len()).filter(|end| agree(&sent[..*end]) == Ok(false)).count();
    }
    assert!(sure > 1_000, "{sure}");
}

#[test]
fn of_rustls_own_hello_with_a_post_quantum_key_too() {
    let roots = rustls::RootCertStore::empty();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"postgresql".to_vec()];
    let name = "pq.example".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    assert!(sent.len() > 1_200, "{} bytes: no post-quantum key", sent.len());
    assert_eq!(agree(&sent), Ok(true));
    for end in 0..=sent.len() {
        agree(&sent[..end]).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn of_made_ones_we_are_of_one_mind(
        name in proptest::option::of(prop_oneof![
            "[a-zA-Z0-9_-]{1,12}(\\.[a-zA-Z0-9_-]{1,12}){0,3}\\.?",
            "[a-z0-9.:\\[\\]*_ -]{0,20}",
            "[0-9]{1,3}(\\.[0-9]{1,3}){1,4}",
            Just("a".repeat(64)), Just(format!("{}a", "b.".repeat(127))), Just("::1".to_owned()),
        ]),
        alpn in proptest::option::of(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..70)),
        other in proptest::option::of((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..9))),
        change in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        record_bytes in prop_oneof![1_usize..40, Just(16_384)],
        at in 0_usize..5,
    ) {
        let mut extensions = usual();
        if let Some(name) = name {
            extensions.insert(at, extension(0, &sized(&[&[0][..], &sized(name.as_bytes())].concat())));
        }
        if let Some(alpn) = alpn {
            let list: Vec<u8> = alpn.iter().flat_map(|one| [&[u8::try_from(one.len()).unwrap()], &one[..]].concat()).collect();
            extensions.insert(0, extension(16, &sized(&list)));
        }
        extensions.extend(other.map(|(kind, content)| extension(kind, &content)));
        let mut bytes = hello(&extensions, record_bytes);
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert!(agree(&bytes).is_ok(), "{:?}: {}", agree(&bytes), bytes.escape_ascii());
    }
}
