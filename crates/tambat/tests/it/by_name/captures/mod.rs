//! What real clients begin with (`tests/clients` of tambat-wire records it), cut short after every byte and cut in two at
//! every byte, at listeners of every kind: nobody is led wrongly, nothing hangs, and nothing is left.

mod kernel;
mod talk;
mod tellers;
mod visit;

use talk::{HANDSHAKE, Talk};
use tellers::{Tellers, told};
use visit::{cut_in_two, cut_short};

use crate::support::{AppDir, Backend, Base, Ca, Routed, most_files, try_get_at, until};

/// Nothing is open, waits or is under way.
fn is_idle(routed: &Routed) {
    let gauges = ["_open{", "_waiting{", "_under_way{", "_in_flight{"];
    until("the end of all", || {
        let page = try_get_at(routed.address("metrics "), "metrics", "/metrics", "").unwrap().body;
        let figures: Vec<&str> = page.lines().filter(|line| gauges.iter().any(|gauge| line.contains(gauge))).collect();
        assert!(figures.len() > gauges.len(), "{page}");
        figures.iter().all(|line| line.ends_with(" 0")).then_some(())
    });
}

/// Clients that begin with TLS, each with the name that it says.
const TLS: [(&str, &str); 8] = [
    ("openssl", "shop"),
    ("openssl-tls1_2", "shop"),
    ("curl-https", "shop"),
    ("openssl-noservername", "any"),
    ("python-ssl", "py"),
    ("go", "go"),
    ("redis-tls", "cache"),
    ("mosquitto-tls", "mqtt"),
];

/// Clients of XMPP, with the domain that they want.
const XMPP: [(&str, &str); 4] =
    [("slixmpp", "chat"), ("openssl-xmpp", "chat"), ("openssl-xmpp-server", "chat"), ("ejabberd", "town")];

/// A listener of which all is asked, and who is reached there.
fn mixture(port: u16, tellers: &mut Tellers) -> String {
    let mut file = format!(
        "[router]\nworkers = 2\nmetrics = \"127.0.0.1:0\"\n\
         [[router.listen]]\naddress = \"127.0.0.1:{port}\"\npeek = [\"tls\", \"http\", \"ssh\", \"xmpp\"]\n\
         within = \"30s\"\nfallback = \"other\"\n"
    );
    let listen = format!("listen = \"127.0.0.1:{port}\"");
    let hosts = [("shop", "shop.example"), ("any", "*"), ("py", "py.example"), ("go", "go.example")];
    for (name, host) in
        hosts.into_iter().chain([("db", "db.example"), ("cache", "cache.example"), ("mqtt", "localhost")])
    {
        let keys = format!("protocol = \"tls\"\nhosts = \"{host}\"\n{listen}");
        file.push_str(&tellers.route(name, &keys));
    }
    for (name, host) in [("chat", "chat.example"), ("town", "localhost")] {
        let keys = format!("protocol = \"xmpp\"\ntls = \"off\"\nhosts = \"{host}\"\n{listen}");
        file.push_str(&tellers.route(name, &keys));
    }
    file.push_str(&tellers.route("ssh", &format!("protocol = \"ssh\"\n{listen}")));
    file.push_str(&tellers.route("other", &format!("protocol = \"tcp\"\n{listen}\ntls = \"off\"")));
    file
}

/// Whoever is told by so many of its bytes is led to `name`, whatever is said of it behind them, and those before to whoever
/// gets the others.
fn is_led(port: u16, talk: &Talk, tells: usize, name: &str) {
    let bytes = talk.bytes();
    cut_short(port, talk, |cut, heard| {
        let name = if cut < tells { "other" } else { name };
        assert!(heard == told(name, &bytes[..cut]), "{} cut at {cut}: {}", talk.client, heard.escape_ascii());
    });
    cut_in_two(port, talk, |visit| {
        let heard = visit.rest();
        assert!(heard == told(name, &bytes), "{visit}: {}", heard.escape_ascii());
    });
}

/// A router with everybody at one address, and that address.
fn one_address() -> (Routed, u16, Backend) {
    most_files();
    let (Base(port), mut tellers, web) = (Base::find(), Tellers::default(), Backend::start("web"));
    let route = format!(
        "[routes.web]\nhosts = \"*\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"off\"\ntargets = \"{}\"\n",
        web.addr
    );
    (Routed::start(&(mixture(port, &mut tellers) + &route)), port, web)
}

fn are_led(clients: &[(&'static str, &str)]) {
    let (routed, port, _web) = one_address();
    for (client, name) in clients {
        let talk = Talk::one("client_hello", client);
        is_led(port, &talk, talk.len(), name);
    }
    is_idle(&routed);
}

#[test]
fn every_beginning_and_every_cut_of_tls_at_one_address() {
    are_led(&TLS);
}

#[test]
fn every_beginning_and_every_cut_of_tls_with_a_key_of_a_kibibyte_at_one_address() {
    are_led(&[("psycopg-direct", "db")]);
}

#[test]
fn every_beginning_and_every_cut_of_streams_at_one_address() {
    let (routed, port, _web) = one_address();
    for (client, name) in XMPP {
        let talk = Talk::one("xmpp_stream", client);
        // Where the header's tag ends; before it there is at most the declaration.
        let bytes = talk.bytes();
        let header = bytes.windows(14).position(|bytes| bytes == b"<stream:stream").unwrap();
        let tells = header + bytes[header..].iter().position(|byte| *byte == b'>').unwrap() + 1;
        is_led(port, &talk, tells, name);
    }
    is_led(port, &Talk::one("http_opening", "ssh"), "SSH-2".len(), "ssh");
    for client in ["mosquitto-clear", "redis-clear"] {
        is_led(port, &Talk::one("http_opening", client), usize::MAX, "other");
    }
    is_idle(&routed);
}

#[test]
fn every_beginning_and_every_cut_of_http_at_one_address() {
    let (routed, port, web) = one_address();
    let answer = b"web /";
    for (client, begins) in [("curl-http", &b"HTTP/1.1 "[..]), ("curl-http2", b"\0\0")] {
        let talk = Talk::one("http_opening", client);
        let (bytes, before) = (talk.bytes(), web.paths().len());
        cut_short(port, &talk, |cut, heard| {
            let is_so = match cut {
                // `GET /` and `PRI *`
                ..5 => heard == told("other", &bytes[..cut]),
                _ => heard.is_empty() || heard.starts_with(begins),
            };
            assert!(is_so, "{client} cut at {cut}: {}", heard.escape_ascii());
        });
        assert!(web.paths().len() <= before + 1, "no more than what was asked for to its end: {:?}", web.paths());
        cut_in_two(port, &talk, |visit| visit.hears_of(answer));
    }
    is_idle(&routed);
}

/// At the door of PostgreSQL: `psql` and the others, with whom they name.
const POSTGRES: [(&str, &str); 4] =
    [("openssl-postgres", "db"), ("psql", "db"), ("psycopg", "db"), ("asyncpg", "local")];

/// Where nobody is told by less than all of it, nobody is reached by that; what is said last, to the end.
fn leads_nobody_by_less(port: u16, talk: &Talk, whole: impl Fn(&[u8]) -> bool) {
    cut_short(port, talk, |cut, heard| {
        let is_so = if cut < talk.len() { heard.is_empty() } else { whole(heard) };
        assert!(is_so, "{} cut at {cut}: {}", talk.client, heard.escape_ascii());
    });
}

/// The beginning of a router's file with a listener for clients that begin so or with TLS. None of them is late.
fn door(port: u16, opening: &str) -> String {
    format!(
        "[router]\nworkers = 2\nmetrics = \"127.0.0.1:0\"\n{CERTIFICATES}\
         [[router.listen]]\naddress = \"127.0.0.1:{port}\"\npeek = [\"tls\", \"{opening}\"]\nwithin = \"30s\"\n"
    )
}

/// A router with two servers of PostgreSQL at one port, with TLS handled like this.
fn postgres(tls: &str) -> (Routed, u16, Tellers) {
    most_files();
    let (Base(port), mut tellers) = (Base::find(), Tellers::default());
    let mut file = door(port, "postgres");
    for (name, host) in [("db", "db.example"), ("local", "localhost")] {
        let listen = format!("listen = \"127.0.0.1:{port}\"\ntls = \"{tls}\"");
        file.push_str(&tellers.route(name, &format!("protocol = \"postgres\"\nhosts = \"{host}\"\n{listen}")));
    }
    (Routed::start_in(&certified(), &file, &[]), port, tellers)
}

/// One that wants no TLS is told so, and that is all.
fn one_in_clear(port: u16) {
    let clear = Talk::one("postgres_opening", "psql-clear");
    let told = b"this connection has no TLS";
    leads_nobody_by_less(port, &clear, |heard| heard.windows(told.len()).any(|part| part == told));
    cut_in_two(port, &clear, |visit| visit.hears_of(told));
}

#[test]
fn every_beginning_and_every_cut_at_the_door_of_postgres_that_passes_handshakes_on() {
    let (routed, port, _tellers) = postgres("passthrough");
    // Its server has the handshake, and is asked for TLS first.
    for (client, name) in POSTGRES {
        let talk = Talk::postgres(client);
        let hello = talk.turns[1].0.clone();
        leads_nobody_by_less(port, &talk, |heard| heard == told(name, &hello));
        cut_in_two(port, &talk, |visit| {
            let heard = visit.rest();
            assert!(heard == told(name, &hello), "{visit}: {}", heard.escape_ascii());
        });
    }
    let direct = Talk::one("client_hello", "psycopg-direct");
    leads_nobody_by_less(port, &direct, |heard| heard == told("db", &direct.bytes()));
    cut_in_two(port, &direct, |visit| assert!(visit.rest() == told("db", &direct.bytes()), "{visit}"));
    one_in_clear(port);
    is_idle(&routed);
}

#[test]
fn every_beginning_and_every_cut_at_the_door_of_postgres_that_ends_handshakes() {
    let (routed, port, tellers) = postgres("terminate");
    let direct = Talk::one("client_hello", "psycopg-direct");
    for talk in POSTGRES.iter().map(|(client, _)| Talk::postgres(client)).chain([direct]) {
        leads_nobody_by_less(port, &talk, |heard| heard.first() == Some(&HANDSHAKE));
        cut_in_two(port, &talk, |visit| visit.hears_of(&[HANDSHAKE, 3, 3]));
    }
    one_in_clear(port);
    is_idle(&routed);
    assert_eq!(tellers.visits(), 0, "the beginning of a handshake disturbs nobody");
}

fn at_the_door_of_xmpp(clients: &[&'static str]) {
    most_files();
    let (Base(port), mut tellers) = (Base::find(), Tellers::default());
    let mut file = door(port, "xmpp");
    for (name, host) in [("chat", "chat.example"), ("town", "localhost")] {
        let keys =
            format!("protocol = \"xmpp\"\nhosts = \"{host}\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"terminate\"");
        file.push_str(&tellers.route(name, &keys));
    }
    let routed = Routed::start_in(&certified(), &file, &[]);
    for client in clients {
        let talk = Talk::xmpp(client);
        leads_nobody_by_less(port, &talk, |heard| heard.first() == Some(&HANDSHAKE));
        cut_in_two(port, &talk, |visit| visit.hears_of(&[HANDSHAKE, 3, 3]));
    }
    is_idle(&routed);
    assert_eq!(tellers.visits(), 0);
}

#[test]
fn every_beginning_and_every_cut_at_the_door_of_xmpp() {
    at_the_door_of_xmpp(&["slixmpp", "openssl-xmpp"]);
}

#[test]
fn every_beginning_and_every_cut_at_the_door_of_xmpp_by_servers() {
    at_the_door_of_xmpp(&["openssl-xmpp-server", "ejabberd"]);
}

const CERTIFICATES: &str = "[router.tls]\ncertificates = [{ chain = \"server.pem\", key = \"server.key\" }]\n";

/// A directory with a certificate for all who end their TLS at the router.
fn certified() -> AppDir {
    let dir = AppDir::new();
    Ca::new("server CA").signs(&["db.example", "localhost", "chat.example"]).write(&dir, "server");
    dir
}
