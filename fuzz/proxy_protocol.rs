//! What is promised of the first bytes of a connection that has to begin with a PROXY header: what is found or refused
//! stays so when more bytes follow, nobody waits for more than a header may have, and what was found can be sent on as it
//! was. Called by the fuzz target, and by the ordinary tests of `tambat-wire` with every seed.

use tambat_model::ProxyProtocol;
use tambat_wire::proxy_protocol::{HEADER_BYTES_MAX, Header, Notes, Origin, Peek, peek, write};

/// The first bytes of a connection.
pub(crate) fn proxy_header(data: &[u8]) {
    let mut word = Peek::Incomplete;
    for end in 0..=data.len().min(512) {
        let now = peek(&data[..end]);
        assert!(word == Peek::Incomplete || now == word, "{word:?}, and {now:?} {end} bytes on");
        word = now;
    }
    match peek(data) {
        Peek::Found(header) => sent_on(header, data),
        Peek::Refused(wrong) => assert!(wrong.to_string().is_ascii()),
        Peek::Incomplete => {
            let more = [data, &[b'-'; 2 * HEADER_BYTES_MAX]].concat();
            assert_ne!(peek(&more), Peek::Incomplete);
        }
    }
}

fn sent_on(header: Header<'_>, data: &[u8]) {
    assert!(header.len <= data.len().min(HEADER_BYTES_MAX));
    assert_eq!(peek(&data[..header.len]), Peek::Found(header));
    assert_eq!(peek(&data[..header.len - 1]), Peek::Incomplete);
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let mut sent = Vec::new();
        write(version, &header.origin, &header.notes, &mut sent);
        let Peek::Found(again) = peek(&sent) else { panic!("what was sent is no header: {sent:?}") };
        assert_eq!(again.len, sent.len());
        if let Origin::Client { .. } = header.origin {
            assert_eq!(again.origin, header.origin);
            assert_eq!(again.notes, kept(version, header.notes));
        }
    }
}

/// The notes that are sent on: version 1 has none, and what is longer than any name is left out.
fn kept(version: ProxyProtocol, notes: Notes<'_>) -> Notes<'_> {
    if version == ProxyProtocol::V1 {
        return Notes::default();
    }
    let mut kept = notes;
    kept.authority = notes.authority.filter(|text| text.len() <= 255);
    kept.alpn = notes.alpn.filter(|text| text.len() <= 255);
    if let Some(tls) = &mut kept.tls {
        tls.version = tls.version.filter(|text| text.len() <= 255);
    }
    kept
}
