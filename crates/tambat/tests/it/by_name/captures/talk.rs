//! What a client says in turn.

use std::fs;

use crate::support::programs;

/// `SSLRequest` (PostgreSQL's documents, "Message Formats").
pub(super) const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The first byte of a record of TLS that has a handshake in it.
pub(super) const HANDSHAKE: u8 = 0x16;

/// What a client of this name has sent, of these seeds.
fn capture(seeds: &str, client: &str) -> Vec<u8> {
    fs::read(programs::repository().join("fuzz/seeds").join(seeds).join(client)).unwrap()
}

/// What a client says in turn, and what it hears after each of these but the last.
pub(super) struct Talk {
    pub(super) client: &'static str,
    pub(super) turns: Vec<(Vec<u8>, &'static str)>,
}

impl Talk {
    /// All in one turn.
    pub(super) fn one(seeds: &str, client: &'static str) -> Self {
        Self { client, turns: vec![(capture(seeds, client), "")] }
    }

    /// `SSLRequest`, and TLS when that is agreed on.
    pub(super) fn postgres(client: &'static str) -> Self {
        let mut request = capture("postgres_opening", client);
        let hello = request.split_off(SSL_REQUEST.len());
        assert_eq!((&*request, hello[0]), (SSL_REQUEST, HANDSHAKE), "{client}");
        Self { client, turns: vec![(request, "S"), (hello, "")] }
    }

    /// A stream's header, STARTTLS, and TLS.
    pub(super) fn xmpp(client: &'static str) -> Self {
        let mut header = capture("xmpp_stream", client);
        let at = header.windows(9).position(|bytes| bytes == b"<starttls").unwrap();
        let mut starttls = header.split_off(at);
        let at = starttls.iter().position(|byte| *byte == HANDSHAKE).unwrap();
        let hello = starttls.split_off(at);
        let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        Self { client, turns: vec![(header, "</stream:features>"), (starttls, proceed), (hello, "")] }
    }

    pub(super) fn len(&self) -> usize {
        self.turns.iter().map(|(turn, _)| turn.len()).sum()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.turns.iter().flat_map(|(turn, _)| turn.clone()).collect()
    }
}
