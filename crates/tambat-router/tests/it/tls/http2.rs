//! HTTP/2 on connections that have agreed on it (RFC 9113 §3.2).

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::version::TLS13;
use tambat_model::{Protocol, Site};
use tambat_router::ListenerKind;

use super::words::{Client, Named, VERSIONS, certificate, client, listen, listen_plainly, settings, shake, trusting};
use crate::http::words::{Server, plain};
use crate::rig::Rig;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client of this name that speaks these, the best first.
fn speaking(addr: std::net::SocketAddr, certificate: &tambat_router::Certificate, protocols: &[&[u8]]) -> Client {
    let mut config = trusting(certificate, &[&TLS13]);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    client(addr, "a.example", &Arc::new(config))
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// A GET for this host and path, each field a literal.
fn get(stream: u8, host: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    for (name, value) in [(":path", path), (":authority", host)] {
        for text in [name, value] {
            if text == name {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(1, 0x5, stream, &block)
}

/// The next frame: its kind, flags, stream, and what is in it.
fn next(client: &mut Client) -> (u8, u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    client.read_exact(&mut head).unwrap();
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    client.read_exact(&mut payload).unwrap();
    (head[3], head[4], head[8], payload)
}

/// The field section and the body of the answer on this stream.
fn answer(client: &mut Client, stream: u8) -> (Vec<u8>, Vec<u8>) {
    let (mut block, mut body) = (Vec::new(), Vec::new());
    loop {
        let (kind, flags, of, payload) = next(client);
        match kind {
            1 if of == stream => block = payload,
            0 if of == stream => body.extend_from_slice(&payload),
            3 | 7 => panic!("{payload:?}"),
            _ => continue,
        }
        if flags & 1 == 1 {
            return (block, body);
        }
    }
}

fn begun(client: &mut Client) {
    shake(client).unwrap();
    assert_eq!(client.conn.alpn_protocol(), Some(&b"h2"[..]));
    client.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &frame(4, 1, 0, &[])].concat()).unwrap();
}

#[test]
fn what_is_spoken_is_what_was_agreed_on() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    for (protocols, agreed) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut client = speaking(addr, &certificate, protocols);
        shake(&mut client).unwrap();
        assert_eq!(client.conn.alpn_protocol(), agreed);
        if agreed != Some(b"h2") {
            assert_eq!(super::words::ask(&mut client, "a.example", "/one").text(), "web /one");
        }
    }
    let mut client = speaking(addr, &certificate, &[b"h2"]);
    begun(&mut client);
    for stream in [1, 3, 5] {
        client.write_all(&get(stream, "a.example", &format!("/{stream}"))).unwrap();
        let (block, body) = answer(&mut client, stream);
        assert_eq!((block[0], String::from_utf8(body).unwrap()), (0x88, format!("web /{stream}")));
    }
}

#[test]
fn e01_http1_where_http2_was_agreed_on() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = speaking(addr, &certificate, &[b"h2"]);
    shake(&mut client).unwrap();
    client.write_all(b"GET /evil HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let (kind, _, stream, payload) = loop {
        let frame = next(&mut client);
        if frame.0 == 7 {
            break frame;
        }
    };
    assert_eq!((kind, stream, payload), (7, 0, vec![0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(client.read(&mut [0; 16]).unwrap_or(0), 0);
}

#[test]
fn e18_a_host_that_the_certificate_does_not_cover() {
    let (first, second) = (Server::new("first"), Server::new("second"));
    let rig = Rig::new(Protocol::Http);
    let mut table = tambat_model::RouteTable::default();
    for (host, server) in [("a.example", &first), ("b.example", &second), ("also.example", &second)] {
        let route = tambat_model::Route::new(host, Protocol::Http, crate::rig::serve(&[&server.backend]));
        let site = Site { path: tambat_model::PathPrefix::default(), strip: false, route: Arc::new(route) };
        table.hosts_mut().insert(host.parse().unwrap(), site).unwrap();
    }
    rig.publish_table(table);
    let certificate = certificate(&["a.example", "also.example"]);
    let settings = settings(Named::new(&[("a.example", &certificate)]));
    let addr = listen(&rig, ListenerKind::Shared, &settings);
    let mut client = speaking(addr, &certificate, &[b"h2"]);
    begun(&mut client);
    for (stream, host, wanted) in [(1, "a.example", "first /x"), (3, "also.example", "second /x")] {
        client.write_all(&get(stream, host, "/x")).unwrap();
        assert_eq!(answer(&mut client, stream).1, wanted.as_bytes());
    }
    client.write_all(&get(5, "b.example", "/x")).unwrap();
    let (_, body) = answer(&mut client, 5);
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("\"misdirected\"") && body.contains("421"), "{body}");
    // The connection is good for what it was opened for.
    client.write_all(&get(7, "a.example", "/x")).unwrap();
    assert_eq!(answer(&mut client, 7).1, b"first /x");
}

#[test]
fn both_versions_of_tls_carry_it() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    for version in VERSIONS {
        let mut config = trusting(&certificate, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = client(addr, "a.example", &Arc::new(config));
        begun(&mut client);
        client.write_all(&get(1, "a.example", "/x")).unwrap();
        assert_eq!(answer(&mut client, 1).1, b"web /x");
    }
}
