//! Datagrams: sessions by source, their targets, what they wait for and how they end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_model::{
    Admission, ErrorCode, Load, Protocol, ProxyProtocol, Route, RouteTable, ServicePort, Target, Traffic,
};
use tambat_os::datagrams::bind;
use tambat_router::{CountersSnapshot, DatagramListener, ListenerKind, Router, RouterReport, RouterSettings};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::rig::{PATIENCE, eventually, hold, pass};

/// More than a session is silent before it is let go of.
const SILENT: Duration = Duration::from_millis(1_600);

struct Rig {
    router: Router,
    addr: SocketAddr,
    port: ServicePort,
    protocol: Protocol,
    idle: Duration,
    sessions_max: Option<NonZeroU32>,
    traffic: Arc<Traffic>,
    proxy_protocol: Option<ProxyProtocol>,
    tables: watch::Sender<Arc<RouteTable>>,
    reports: UnboundedReceiver<RouterReport>,
}

impl Rig {
    fn new(protocol: Protocol) -> Self {
        Self::at("127.0.0.1:0", protocol, RouterSettings::default())
    }

    fn at(addr: &str, protocol: Protocol, settings: RouterSettings) -> Self {
        let socket = bind(addr.parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        let port = ServicePort::try_from(addr.port()).unwrap();
        let (tables, seen) = watch::channel(Arc::default());
        let (sender, reports) = unbounded_channel();
        let router = Router::start(Vec::new(), seen, sender, settings).unwrap();
        let listener = DatagramListener { kind: ListenerKind::Service(port), sockets: vec![socket] };
        router.add_datagrams(listener).unwrap();
        let idle = Duration::from_mins(1);
        let (sessions_max, traffic, proxy_protocol) = (None, Arc::default(), None);
        Self { router, addr, port, protocol, idle, sessions_max, traffic, proxy_protocol, tables, reports }
    }

    fn serving(protocol: Protocol, servers: &[&Server]) -> Self {
        let rig = Self::new(protocol);
        rig.serve(servers);
        rig
    }

    fn serve(&self, servers: &[&Server]) {
        self.publish(Admission::Serve(servers.iter().map(|server| Arc::clone(&server.target)).collect()));
    }

    fn publish(&self, admission: Admission) {
        let mut table = RouteTable::default();
        let (datagram_idle, connections_max, proxy_protocol) = (self.idle, self.sessions_max, self.proxy_protocol);
        let traffic = Arc::clone(&self.traffic);
        let route = Route {
            datagram_idle,
            connections_max,
            traffic,
            proxy_protocol,
            ..Route::new("dns", self.protocol, admission)
        };
        table.insert(self.port, route);
        self.tables.send_replace(Arc::new(table));
    }

    fn client(&self) -> UdpSocket {
        client_of(self.addr)
    }

    fn counters(&self) -> CountersSnapshot {
        self.router.counters(self.port).unwrap()
    }

    fn reports(&mut self) -> Vec<RouterReport> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
    }
}

fn client_of(dialled: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect(dialled).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// An instance that takes datagrams.
struct Server {
    socket: UdpSocket,
    target: Arc<Target>,
}

impl Server {
    fn new(name: &str) -> Self {
        Self::at(name, (Ipv4Addr::LOCALHOST, 0).into())
    }

    fn at(name: &str, addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let addr = socket.local_addr().unwrap();
        let load = Arc::new(Load::default());
        Self { socket, target: Arc::new(Target { name: name.to_owned(), generation: 1, addr, load }) }
    }

    /// The next datagram, and who sent it.
    fn hears(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 65_535];
        let (bytes, from) = self.socket.recv_from(&mut buffer).unwrap();
        buffer.truncate(bytes);
        (buffer, from)
    }

    /// What it has been sent and not heard yet.
    fn has_heard(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 64];
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.socket.recv(&mut buffer).ok();
        self.socket.set_nonblocking(false).unwrap();
        heard.map(|bytes| buffer[..bytes].to_vec())
    }

    fn hears_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.socket.recv_from(&mut [0; 16]);
        self.socket.set_nonblocking(false).unwrap();
        heard.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    fn answers(&self, to: SocketAddr, words: &[u8]) {
        self.socket.send_to(words, to).unwrap();
    }
}

/// A question through the router and its answer.
fn exchange(client: &UdpSocket, server: &Server, words: &[u8]) {
    client.send(words).unwrap();
    let (heard, from) = server.hears();
    assert_eq!(heard.len(), words.len());
    assert!(heard == words);
    server.answers(from, words);
    assert_eq!(client_hears(client).len(), words.len());
}

fn client_hears(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_535];
    let bytes = client.recv(&mut buffer).unwrap();
    buffer.truncate(bytes);
    buffer
}

#[test]
fn each_client_has_a_session_and_its_answers_find_back() {
    let server = Server::new("dns.1");
    let rig = Rig::serving(Protocol::Udp, &[&server]);
    let clients: Vec<UdpSocket> = (0..10).map(|_| rig.client()).collect();
    let mut heard = Vec::new();
    for (nth, client) in clients.iter().enumerate() {
        client.send(format!("question {nth}").as_bytes()).unwrap();
        heard.push(server.hears());
    }
    // Answered in another order, and twice each.
    for (words, from) in heard.iter().rev() {
        server.answers(*from, words);
        server.answers(*from, b"more");
    }
    for (nth, client) in clients.iter().enumerate() {
        assert_eq!(client_hears(client), format!("question {nth}").as_bytes());
        assert_eq!(client_hears(client), b"more");
    }
    let counters = rig.counters();
    assert_eq!((counters.open, counters.connections, counters.refused), (10, 10, 0));
    assert_eq!((counters.bytes_in, counters.bytes_out), (100, 140));
    assert_eq!(server.target.load.in_flight(), 10);
}

#[test]
fn an_empty_datagram_and_the_longest_one_arrive_whole() {
    let server = Server::new("dns.1");
    let rig = Rig::serving(Protocol::Udp, &[&server]);
    let client = rig.client();
    for length in [0, 1, 1_500, 65_507] {
        exchange(&client, &server, &vec![7; length]);
    }
}

#[test]
fn answers_come_from_the_address_that_was_dialled() {
    let server = Server::new("dns.1");
    let rig = Rig::at("0.0.0.0:0", Protocol::Udp, RouterSettings::default());
    rig.serve(&[&server]);
    // A connected socket takes nothing from anybody else.
    for dialled in ["127.0.0.1", "127.0.0.5"] {
        let client = client_of(SocketAddr::new(dialled.parse().unwrap(), rig.addr.port()));
        exchange(&client, &server, b"hello");
    }
    let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    one.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = |last| SocketAddr::from(([127, 0, 0, last], rig.addr.port()));
    one.send_to(b"to 6", at(6)).unwrap();
    let (_, six) = server.hears();
    one.send_to(b"to 7", at(7)).unwrap();
    let (_, seven) = server.hears();
    server.answers(six, b"from 6");
    let mut buffer = [0; 16];
    assert_eq!(one.recv_from(&mut buffer).unwrap(), (6, at(6)));
    server.answers(seven, b"from 7");
    assert_eq!(one.recv_from(&mut buffer).unwrap(), (6, at(7)));
}

#[test]
fn clients_are_spread_and_each_stays_with_its_target() {
    let servers = [Server::new("dns.1"), Server::new("dns.2")];
    let rig = Rig::serving(Protocol::Udp, &[&servers[0], &servers[1]]);
    let clients: Vec<UdpSocket> = (0..200).map(|_| rig.client()).collect();
    let mut homes: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for _ in 0..2 {
        for client in &clients {
            client.send(client.local_addr().unwrap().to_string().as_bytes()).unwrap();
        }
        eventually("all of them have a session", || rig.counters().open == 200);
        let mut heard = 0;
        eventually("all of them are heard", || {
            for (nth, server) in servers.iter().enumerate() {
                while let Some(words) = server.has_heard() {
                    let client = String::from_utf8(words).unwrap().parse().unwrap();
                    heard += 1;
                    assert_eq!(*homes.entry(client).or_insert(nth), nth);
                }
            }
            heard == 200
        });
    }
    let of_first = homes.values().filter(|home| **home == 0).count();
    assert!(homes.len() == 200 && (60..=140).contains(&of_first), "{of_first} of {}", homes.len());
}

#[test]
fn while_nobody_is_there_the_newest_few_wait() {
    let mut rig = Rig::new(Protocol::Udp);
    rig.publish(hold(None));
    let client = rig.client();
    for number in 0..6_u8 {
        client.send(&[number]).unwrap();
    }
    eventually("it waits, and all six have come", || (rig.counters().waiting, rig.counters().bytes_in) == (1, 6));
    assert!(matches!(&rig.reports()[..], [RouterReport::Waiting { port: Some(port), .. }] if *port == rig.port));
    let server = Server::new("dns.1");
    rig.serve(&[&server]);
    for number in 2..6_u8 {
        let (heard, from) = server.hears();
        assert_eq!(heard, [number]);
        server.answers(from, &heard);
        assert_eq!(client_hears(&client), [number]);
    }
    assert_eq!(rig.counters().waiting, 0);
}

#[test]
fn a_target_that_refuses_is_told_of_and_another_one_gets_the_datagram() {
    let (first, second) = (Server::new("dns.1"), Server::new("dns.2"));
    let mut rig = Rig::serving(Protocol::Udp, &[&first]);
    let client = rig.client();
    exchange(&client, &first, b"one");
    rig.serve(&[&first, &second]);
    let (addr, first_target) = (first.target.addr, Arc::clone(&first.target));
    drop(first);
    exchange(&client, &second, b"two");
    exchange(&client, &second, b"three");
    let refused = RouterReport::Refused { target: "dns.1".into(), generation: 1, addr };
    assert_eq!(rig.reports(), [refused]);
    assert_eq!((first_target.load.in_flight(), second.target.load.in_flight(), rig.counters().open), (0, 1, 1));
}

#[test]
fn where_nobody_else_is_there_it_waits_for_the_one_that_refused() {
    let server = Server::new("dns.1");
    let mut rig = Rig::serving(Protocol::Udp, &[&server]);
    let client = rig.client();
    exchange(&client, &server, b"one");
    let addr = server.target.addr;
    drop(server);
    client.send(b"two").unwrap();
    eventually("it waits", || rig.counters().waiting == 1);
    assert!(rig.reports().iter().any(|report| matches!(report, RouterReport::Refused { .. })));
    // The table stays as it is: nobody has looked meanwhile.
    let again = Server::at("dns.1", addr);
    let (heard, from) = again.hears();
    assert_eq!(heard, b"two");
    again.answers(from, b"two");
    assert_eq!(client_hears(&client), b"two");
}

#[test]
fn a_client_of_dns_is_told_that_nobody_serves_and_others_are_told_nothing() {
    let query = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";
    let refuse = || Admission::Refuse { cause: "dns.1 exited".into(), mend: None };
    let rig = Rig::new(Protocol::Dns);
    rig.publish(refuse());
    let client = rig.client();
    client.send(query).unwrap();
    let answer = client_hears(&client);
    assert_eq!((answer.len(), &answer[..2], answer[2] & 0x80, answer[3] & 0xf), (query.len(), &query[..2], 0x80, 2));
    // A flood of them is answered in part.
    for _ in 0..300 {
        client.send(query).unwrap();
    }
    eventually("all are refused", || rig.counters().refused == 301);
    client.set_nonblocking(true).unwrap();
    let answered = std::iter::from_fn(|| client.recv(&mut [0; 512]).ok()).count();
    assert!((1..=200).contains(&answered), "{answered}");

    let other = Rig::new(Protocol::Udp);
    other.publish(refuse());
    let client = other.client();
    client.send(query).unwrap();
    eventually("it is refused", || other.counters().refused == 1);
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 512]).is_err());
    assert_eq!(other.counters().open, 0);
}

#[test]
fn ten_thousand_sources_hold_no_more_than_there_may_be_and_displace_nobody_who_talks() {
    const SESSIONS: usize = 100;
    let server = Server::new("dns.1");
    let settings = RouterSettings { connections_max: 2 * SESSIONS, ..RouterSettings::default() };
    let rig = Rig::at("127.0.0.1:0", Protocol::Udp, settings);
    rig.serve(&[&server]);
    let talks = rig.client();
    exchange(&talks, &server, b"one");
    exchange(&talks, &server, b"two");
    for nth in 0..10_000 {
        // Whoever has no socket any more is as good as one who was never there.
        let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        source.send_to(b"x", rig.addr).unwrap();
        if nth % 500 == 0 {
            // For a moment both are there, who comes and who makes room.
            assert!(rig.counters().open <= SESSIONS + 1, "{}", rig.counters().open);
            eventually("they are taken in", || rig.counters().bytes_in >= 6 + nth);
        }
    }
    eventually("all have been heard", || rig.counters().bytes_in == 10_006);
    eventually("the last one is taken in", || {
        rig.counters().open <= SESSIONS && server.target.load.in_flight() <= SESSIONS
    });
    while !server.hears_nothing() {}
    exchange(&talks, &server, b"three");
}

#[test]
fn one_address_has_no_more_sessions_than_it_may() {
    let server = Server::new("dns.1");
    let settings = RouterSettings { connections_per_address_max: NonZeroU32::new(2), ..RouterSettings::default() };
    let mut rig = Rig::at("127.0.0.1:0", Protocol::Udp, settings);
    rig.idle = Duration::from_secs(2);
    rig.serve(&[&server]);
    let clients: Vec<UdpSocket> = (0..3).map(|_| rig.client()).collect();
    exchange(&clients[0], &server, b"one");
    exchange(&clients[1], &server, b"two");
    clients[2].send(b"three").unwrap();
    eventually("it is refused", || rig.counters().refused == 1);
    assert!(server.hears_nothing());
    eventually("the others have been silent for too long", || rig.counters().open == 0);
    assert_eq!(server.target.load.in_flight(), 0);
    exchange(&clients[2], &server, b"four");
}

#[test]
fn who_talks_keeps_a_target_that_leaves_and_who_is_silent_gets_another() {
    let (old, new) = (Server::new("dns.1"), Server::new("dns.2"));
    let rig = Rig::serving(Protocol::Udp, &[&old]);
    let (talks, silent) = (rig.client(), rig.client());
    exchange(&talks, &old, b"one");
    exchange(&silent, &old, b"one");
    rig.serve(&[&new]);
    let start = Instant::now();
    while start.elapsed() < SILENT {
        exchange(&talks, &old, b"still here");
        pass(Duration::from_millis(50));
    }
    assert_eq!(old.target.load.in_flight(), 1, "the other one was let go of");
    exchange(&silent, &new, b"two");
    exchange(&rig.client(), &new, b"a new one");
    eventually("so is the first when it is silent", || old.target.load.in_flight() == 0);
    exchange(&talks, &new, b"two");
}

#[test]
fn who_talks_to_a_target_that_has_had_its_time_goes_to_another() {
    let (old, new) = (Server::new("dns.1"), Server::new("dns.2"));
    let rig = Rig::serving(Protocol::Udp, &[&old]);
    let talks = rig.client();
    exchange(&talks, &old, b"one");
    rig.serve(&[&new]);
    exchange(&talks, &old, b"two");
    old.target.load.cut();
    eventually("the session is over", || old.target.load.in_flight() == 0);
    exchange(&talks, &new, b"three");
}

#[test]
fn a_question_of_dns_holds_nothing_once_it_is_answered() {
    let server = Server::new("dns.1");
    let rig = Rig::serving(Protocol::Dns, &[&server]);
    // As long as all of them are there, no two have the same port.
    let clients: Vec<UdpSocket> = (0..20).map(|_| rig.client()).collect();
    clients.iter().for_each(|client| exchange(client, &server, b"question"));
    assert_eq!(rig.counters().connections, 20);
    eventually("all are over", || rig.counters().open == 0);
}

#[tokio::test]
async fn a_drained_router_lets_sessions_come_to_their_end_and_begins_none() {
    let server = Server::new("dns.1");
    let rig = Rig::serving(Protocol::Udp, &[&server]);
    let (talks, late) = (rig.client(), rig.client());
    exchange(&talks, &server, b"one");
    let start = Instant::now();
    let drain = rig.router.drain(PATIENCE);
    let talk = async {
        // Has it begun? One that is silent for a second from then on has come to its end.
        tokio::time::sleep(Duration::from_millis(100)).await;
        late.send(b"x").unwrap();
        eventually("nobody new is taken in", || rig.counters().refused == 1);
        exchange(&talks, &server, b"two");
    };
    tokio::join!(drain, talk);
    assert!((Duration::from_millis(1_100)..PATIENCE).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!((rig.counters().open, rig.counters().connections), (0, 1));
    assert!(server.hears_nothing());
}

#[test]
fn a_listener_that_is_removed_leaves_its_address() {
    let server = Server::new("dns.1");
    let rig = Rig::serving(Protocol::Udp, &[&server]);
    exchange(&rig.client(), &server, b"one");
    rig.router.remove(ListenerKind::Service(rig.port));
    eventually("its address is free", || UdpSocket::bind(rig.addr).is_ok());
    eventually("its session is over", || server.target.load.in_flight() == 0);
}

#[tokio::test]
async fn one_that_is_taken_back_leaves_its_address_at_once() {
    let server = Server::new("dns.1");
    let rig = Rig::serving(Protocol::Udp, &[&server]);
    exchange(&rig.client(), &server, b"one");
    rig.router.take_back(ListenerKind::Service(rig.port)).await;
    drop(UdpSocket::bind(rig.addr).unwrap());
    eventually("its session is over", || server.target.load.in_flight() == 0);
}

#[test]
fn a_target_that_asks_for_it_is_told_with_each_datagram_where_it_comes_from() {
    let server = Server::new("dns.1");
    let mut rig = Rig::new(Protocol::Udp);
    rig.proxy_protocol = Some(ProxyProtocol::V2);
    rig.serve(&[&server]);
    let client = rig.client();
    let ports = [client.local_addr().unwrap().port(), rig.addr.port()].map(u16::to_be_bytes).concat();
    let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x7f\0\0\x01\x7f\0\0\x01"[..], &ports].concat();
    for words in [&b"one"[..], b"two"] {
        client.send(words).unwrap();
        let (heard, from) = server.hears();
        assert_eq!(heard, [&header, words].concat());
        server.answers(from, words);
        assert_eq!(client_hears(&client), words, "answers have none");
    }
}

#[test]
fn a_process_has_as_many_sessions_as_it_may_and_streams_are_among_them() {
    let server = Server::new("dns.1");
    let rig = Rig { sessions_max: NonZeroU32::new(2), ..Rig::new(Protocol::Udp) };
    rig.serve(&[&server]);
    // One that may be anybody makes room for the next.
    let clients = [rig.client(), rig.client(), rig.client()];
    clients.iter().for_each(|client| exchange(client, &server, b"one"));
    eventually("the first has made room", || rig.traffic.snapshot().streams_open() == 2);
    // Those that have spoken after an answer do not.
    clients[1..].iter().for_each(|client| exchange(client, &server, b"two"));
    clients[0].send(b"again").unwrap();
    eventually("it is turned away", || rig.counters().refused == 1);
    assert!(server.hears_nothing());
    assert_eq!(rig.traffic.snapshot().errors[ErrorCode::TooManyConnections.index()], 1);
    clients[1..].iter().for_each(|client| exchange(client, &server, b"three"));
    let snapshot = rig.traffic.snapshot();
    assert_eq!((snapshot.streams, snapshot.streams_open()), (4, 2), "three who came in and one who did not");
}

#[test]
fn a_client_of_dns_who_is_one_too_many_is_told() {
    let (server, question) = (Server::new("dns.1"), b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01");
    let rig = Rig { sessions_max: NonZeroU32::new(1), ..Rig::new(Protocol::Dns) };
    rig.serve(&[&server]);
    // As a connection of `dns` over TCP is counted.
    rig.traffic.open_stream();
    let client = rig.client();
    client.send(question).unwrap();
    let told = client_hears(&client);
    assert_eq!((&told[..2], told[3] & 0xf), (&question[..2], 2), "SERVFAIL (RFC 1035 §4.1.1)");
    rig.traffic.close_stream();
    exchange(&client, &server, question);
}
