//! By the domain of an XMPP stream.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::version::TLS13;
use rustls::{ClientConnection, StreamOwned};
use tambat_model::{Entrance, ErrorCode, Opening, Protocol};
use tambat_router::RouterSettings;

use super::words::{Door, hosts, route};
use crate::http::words::{exactly, send};
use crate::rig::{Backend, eventually, rest, says};
use crate::tls::words::{Client, Named, certificate, client, settings, shake, trusting};

fn header(to: &str) -> String {
    let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'{to} \
         version='1.0'>"
    )
}

/// What is heard up to where this ends it.
fn until(mut stream: &TcpStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&heard)));
        heard.push(byte[0]);
    }
    String::from_utf8(heard).unwrap()
}

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

#[test]
fn two_domains_behind_one_address_each_get_their_own_streams() {
    let (door, a, b) = (Door::new(), Backend::new("a.1"), Backend::new("b.1"));
    let of = |name, backend| route(name, Protocol::Xmpp, &[backend]);
    let (of_a, of_b) = (of("a", &a), of("b", &b));
    let xmpp = hosts(&[("a.example", &of_a), ("b.example", &of_b)]);
    door.opens_to(Entrance { openings: vec![Opening::Xmpp], xmpp, ..Entrance::default() });
    for (domain, backend) in [("a.example", &a), ("b.example", &b), ("B.Example.", &b)] {
        let client = door.client();
        let words = format!("{}and what follows", header(domain));
        send(&client, &words);
        let target = backend.accept();
        assert_eq!(String::from_utf8(exactly(&target, words.len())).unwrap(), words);
        says(&target, &client, "<stream:features/>");
        says(&client, &target, "<starttls/>");
    }
    for (domain, error) in [("c.example", "host-unknown"), ("", "improper-addressing")] {
        let client = door.client();
        send(&client, header(domain));
        let said = String::from_utf8(rest(&client)).unwrap();
        assert!(said.contains(&format!("<{error} ")) && said.ends_with("</stream:stream>"), "{said}");
    }
    let client = door.client();
    send(&client, "<stream:stream xmlns='jabber:client' to='a.example'>");
    let said = String::from_utf8(rest(&client)).unwrap();
    assert!(said.contains("<stream:error>") && said.ends_with("</stream:stream>"), "{said}");
    eventually("all refusals are counted", || door.counters().refused == 3);
    let unrouted = door.rig.router.unrouted().snapshot();
    let of = |code: ErrorCode| unrouted.errors[code.index()];
    assert_eq!((of(ErrorCode::NoRoute), of(ErrorCode::NotTold)), (2, 1));
}

#[test]
fn a_header_without_an_end_is_bounded_g13() {
    let (door, a) = (Door::new(), Backend::new("a.1"));
    let of_a = route("a", Protocol::Xmpp, &[&a]);
    let xmpp = hosts(&[("*", &of_a)]);
    door.opens_to(Entrance { openings: vec![Opening::Xmpp], xmpp, ..Entrance::default() });
    let mut client = door.client();
    let words = header("a.example");
    client.write_all(words.trim_end_matches('>').as_bytes()).unwrap();
    // It may be closed on before all of it is sent.
    let _ = client.write_all(&vec![b' '; 1024 * 1024]);
    let mut said = String::new();
    let _ = client.read_to_string(&mut said);
    assert!(said.is_empty() || said.contains("<stream:error>"), "{said}");
    eventually("it is closed", || door.counters().open == 0);
    assert!(!a.has_a_connection());
}

/// A listener where TLS is agreed on and ended here.
fn ended_here() -> (Door, Backend, Arc<tambat_router::Certificate>) {
    let certificate = certificate(&["chat.example"]);
    let door = Door::with_tls(&settings(Named::new(&[("chat.example", &certificate)])));
    let chat = Backend::new("chat.1");
    let of_chat = route("chat", Protocol::Xmpp, &[&chat]);
    let sites = hosts(&[("chat.example", &of_chat)]);
    door.opens_to(Entrance {
        openings: vec![Opening::Xmpp, Opening::Tls],
        xmpp: sites.clone(),
        terminated: sites,
        ..Entrance::default()
    });
    (door, chat, certificate)
}

/// Says its header and asks for TLS.
fn begin(door: &Door) -> TcpStream {
    let client = door.client();
    send(&client, header("chat.example"));
    let offer = until(&client, "</stream:features>");
    assert!(offer.contains("from='chat.example'") && offer.contains("<required/>"), "{offer}");
    client
}

/// Goes on with TLS on this connection, for this name.
fn secure(socket: TcpStream, name: &str, certificate: &tambat_router::Certificate) -> Client {
    let config = Arc::new(trusting(certificate, &[&TLS13]));
    StreamOwned::new(ClientConnection::new(config, name.to_owned().try_into().unwrap()).unwrap(), socket)
}

fn is_served(mut client: Client, chat: &Backend) {
    shake(&mut client).unwrap();
    let words = header("chat.example");
    client.write_all(words.as_bytes()).unwrap();
    let mut target = chat.accept();
    assert_eq!(String::from_utf8(exactly(&target, words.len())).unwrap(), words);
    target.write_all(b"<stream:features/>").unwrap();
    let mut heard = [0; 18];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"<stream:features/>");
}

#[test]
fn tls_is_agreed_on_here_and_the_new_stream_is_the_apps() {
    let (door, chat, certificate) = ended_here();
    let socket = begin(&door);
    send(&socket, STARTTLS);
    assert_eq!(until(&socket, "/>"), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert!(!chat.has_a_connection(), "the app sees nothing of what was said in clear");
    is_served(secure(socket, "chat.example", &certificate), &chat);
}

#[test]
fn direct_tls_is_for_the_same_app() {
    let (door, chat, certificate) = ended_here();
    let mut config = trusting(&certificate, &[&TLS13]);
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    let client = client(door.at.get(), "chat.example", &Arc::new(config));
    is_served(client, &chat);
}

#[test]
fn what_stands_behind_the_wish_for_tls_is_refused_and_so_is_what_is_said_in_place_of_it() {
    let (door, chat, _) = ended_here();
    for words in [format!("{STARTTLS}<iq/>"), "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned()] {
        let socket = begin(&door);
        send(&socket, words);
        let said = String::from_utf8(rest(&socket)).unwrap();
        assert!(said.ends_with("</stream:stream>") && !said.contains("<proceed"), "{said}");
    }
    assert!(!chat.has_a_connection());
}

#[test]
fn who_takes_too_long_is_told_so_in_xmpp() {
    let certificate = certificate(&["chat.example"]);
    let limits = RouterSettings { handshake_timeout: Duration::from_secs(1), ..RouterSettings::default() };
    let door = Door::with(Some(settings(Named::new(&[("chat.example", &certificate)]))), limits);
    let chat = Backend::new("chat.1");
    let sites = hosts(&[("chat.example", &route("chat", Protocol::Xmpp, &[&chat]))]);
    door.opens_to(Entrance {
        openings: vec![Opening::Xmpp, Opening::Tls],
        within: Some(Duration::from_secs(1)),
        xmpp: sites.clone(),
        terminated: sites,
        ..Entrance::default()
    });
    // Within its header, and when it was offered TLS.
    let (late, silent) = (door.client(), door.client());
    send(&late, header("chat.example").trim_end_matches('>'));
    let said = String::from_utf8(rest(&late)).unwrap();
    assert!(said.starts_with("<?xml ") && said.contains("<connection-timeout "), "{said}");
    let offered = begin(&door);
    let said = String::from_utf8(rest(&offered)).unwrap();
    assert!(said.starts_with("<stream:error><connection-timeout ") && said.ends_with("</stream:stream>"), "{said}");
    // Who has said nothing may speak anything.
    assert_eq!(rest(&silent), b"");
    eventually("all are closed", || door.counters().open == 0);
    assert!(!chat.has_a_connection());
}
