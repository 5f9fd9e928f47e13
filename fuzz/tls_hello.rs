//! What is promised of a client's first bytes at a listener with TLS: however they are cut, the same name is asked for, and
//! that is one which may be looked up. Called by the fuzz target, and by the ordinary tests of `tambat-router` with every seed.

use std::net::IpAddr;

use rustls::server::{Accepted, Acceptor};

use crate::asked::{ACME_PROTOCOL, asked};

/// A name of a host has no more (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// More is to come.
    Incomplete,
    Refused,
    Asked(Option<Box<str>>, bool),
}

/// The first bytes of a connection.
pub(crate) fn hello(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    let odd = 1 + data.iter().fold(0, |sum, byte| (sum + usize::from(*byte)) % 97);
    for cut in [1, odd] {
        assert_eq!(read(data, cut), whole, "in pieces of {cut}");
    }
}

fn read(data: &[u8], cut: usize) -> Word {
    let mut acceptor = Acceptor::default();
    for mut piece in data.chunks(cut) {
        while !piece.is_empty() {
            if acceptor.read_tls(&mut piece).is_err() {
                return Word::Refused;
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return look(&accepted),
                Err((error, _alert)) => {
                    assert!(!error.to_string().is_empty());
                    return Word::Refused;
                }
            }
        }
    }
    Word::Incomplete
}

fn look(accepted: &Accepted) -> Word {
    let hello = accepted.client_hello();
    let (name, acme) = asked(&hello);
    let protocols: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
    assert_eq!(acme, protocols == [ACME_PROTOCOL]);
    if let Some(name) = &name {
        assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "{name:?}");
        assert!(!name.starts_with('.') && !name.ends_with('.') && !name.contains(".."), "{name:?}");
        let is_fit = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        assert!(name.bytes().all(is_fit) && name.parse::<IpAddr>().is_err(), "{name:?}");
    }
    Word::Asked(name, acme)
}
