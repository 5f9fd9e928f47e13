use std::net::{TcpListener, UdpSocket};

use tambat_model::Protocol;
use tokio::net::TcpSocket;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::*;

const SLOT: SlotId = SlotId { process: 0, nth: 0 };
const LIMIT: Duration = Duration::from_secs(10);

fn watched_port(port: u16, protocol: Protocol) -> WatchedPort {
    WatchedPort { name: None, port, transports: protocol.transports(), probe: Probe::Accept, proxy_protocol: None }
}

fn begin(id: WatchId, port: u16, any_owner: bool, pace: Pace) -> Watch {
    let ports = vec![watched_port(port, Protocol::Tcp)];
    // Nothing is a descendant of this process here, so what it listens on itself is a stranger's.
    Watch::Begin { slot: SLOT, id, keeper: Pid::own(), ports, any_owner, pace, within: Duration::from_mins(1) }
}

/// A watcher at work.
struct Scene {
    watches: UnboundedSender<Watch>,
    seen: UnboundedReceiver<Seen>,
}

impl Scene {
    fn begin(watch: Watch) -> Self {
        let (watches, to_watch) = unbounded_channel();
        let (sights, seen) = unbounded_channel();
        tokio::spawn(run(to_watch, sights));
        watches.send(watch).unwrap();
        Self { watches, seen }
    }

    async fn next(&mut self) -> (WatchId, Sight) {
        let seen = timeout(LIMIT, self.seen.recv()).await.unwrap().unwrap();
        assert_eq!(seen.slot, SLOT);
        (seen.id, seen.sight)
    }
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port for datagrams, and the same for streams, where nobody listens yet and nobody else can.
fn port_of_both() -> (UdpSocket, TcpSocket) {
    loop {
        let streams = TcpSocket::new_v4().unwrap();
        streams.bind(([127, 0, 0, 1], 0).into()).unwrap();
        if let Ok(datagrams) = UdpSocket::bind(streams.local_addr().unwrap()) {
            return (datagrams, streams);
        }
    }
}

#[test]
fn a_boot_is_watched_closely_and_then_ever_less() {
    let (rhythm, ms) = (Pace::Boot.rhythm(), Duration::from_millis);
    let next = |age, last| rhythm.next(ms(age), ms(last)).as_millis();
    assert_eq!((next(0, 1), next(99, 1), next(100, 1), next(2_000, 5)), (1, 1, 5, 5));
    assert_eq!((next(2_001, 100), next(60_000, 200), next(60_000, 250)), (150, 250, 250));
    let reload = Pace::Reload.rhythm();
    assert_eq!((reload.first, reload.next(ms(0), ms(20))), (ms(20), ms(20)));
}

#[test]
fn a_listener_is_dialled_where_it_is() {
    let dial = |addrs: &[&str]| {
        let addrs: Vec<SocketAddr> = addrs.iter().map(|a| a.parse().unwrap()).collect();
        dial_address(&addrs, 9).unwrap().to_string()
    };
    assert_eq!(dial(&["0.0.0.0:9"]), "127.0.0.1:9");
    assert_eq!(dial(&["[::]:9"]), "[::1]:9");
    assert_eq!(dial(&["[::1]:9", "127.0.0.1:9"]), "127.0.0.1:9");
    assert_eq!(dial(&["192.0.2.1:9"]), "192.0.2.1:9");
}

#[tokio::test]
async fn who_listens_and_answers_is_ready_and_is_looked_at_no_more_once_that_is_said() {
    let (_listener, port) = listener();
    let mut scene = Scene::begin(begin(1, port, true, Pace::Boot));
    assert_eq!(scene.next().await, (1, Sight::NotYet("it has not answered yet".to_owned())));
    let addr = (Ipv4Addr::LOCALHOST, port).into();
    let ready = Sight::Ready { endpoints: vec![Endpoint { port: None, addr, exposed: None }], unreadable: false };
    assert_eq!(scene.next().await, (1, ready));
    scene.watches.send(Watch::End { slot: SLOT }).unwrap();
    drop(scene.watches);
    assert!(timeout(LIMIT, scene.seen.recv()).await.unwrap().is_none());
}

#[test]
fn a_port_of_two_transports_is_dialled_where_both_are() {
    let addrs = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let streams = addrs(&["127.0.0.1:9", "[::1]:9"]);
    assert_eq!(at_all(&[streams.clone(), addrs(&["[::1]:9"])]), addrs(&["[::1]:9"]));
    assert_eq!(at_all(&[streams.clone(), addrs(&["0.0.0.0:9"])]), streams);
    assert_eq!(at_all(std::slice::from_ref(&streams)), streams);
}

#[tokio::test]
async fn who_takes_datagrams_is_ready_and_where_both_transports_are_asked_for_one_is_not_enough() {
    let (socket, streams) = port_of_both();
    let addr = socket.local_addr().unwrap();
    let watch = |protocol| {
        let ports = vec![watched_port(addr.port(), protocol)];
        let (keeper, within) = (Pid::own(), Duration::from_mins(1));
        Watch::Begin { slot: SLOT, id: 1, keeper, ports, any_owner: true, pace: Pace::Boot, within }
    };
    let ready = Sight::Ready { endpoints: vec![Endpoint { port: None, addr, exposed: None }], unreadable: false };
    let mut scene = Scene::begin(watch(Protocol::Udp));
    assert_eq!(scene.next().await, (1, Sight::NotYet("it has not answered yet".to_owned())));
    assert_eq!(scene.next().await, (1, ready.clone()));
    let mut scene = Scene::begin(watch(Protocol::Dns));
    assert!(matches!(scene.next().await, (1, Sight::Nobody { .. })), "nobody listens over TCP");
    let _listener = streams.listen(1).unwrap();
    assert_eq!(scene.next().await, (1, Sight::NotYet("it has not answered yet".to_owned())));
    assert_eq!(scene.next().await, (1, ready));
}

#[tokio::test]
async fn a_stranger_is_seen_twice_before_it_is_said() {
    let (_listener, port) = listener();
    let mut scene = Scene::begin(begin(1, port, false, Pace::Boot));
    let own = std::process::id().try_into().ok();
    let (1, Sight::Stranger(Stranger { port: seen, who })) = scene.next().await else { panic!("it is a stranger") };
    assert_eq!((seen, who.map(|(_, pid)| pid)), (port, own));

    let (answers, _) = unbounded_channel();
    let (sights, mut seen) = unbounded_channel();
    let mut watched = HashMap::new();
    take(&mut watched, begin(1, port, false, Pace::Boot), Instant::now());
    let one = watched.get_mut(&SLOT).unwrap();
    let listening = There::look([true, false]).unwrap();
    one.look(SLOT, &listening, Instant::now(), &answers, &sights);
    assert!(seen.try_recv().is_err(), "it may be about to end");
    one.look(SLOT, &There::default(), Instant::now(), &answers, &sights);
    one.look(SLOT, &listening, Instant::now(), &answers, &sights);
    assert!(seen.try_recv().is_err(), "twice in a row");
    one.look(SLOT, &listening, Instant::now(), &answers, &sights);
    assert!(matches!(seen.try_recv().unwrap().sight, Sight::Stranger(_)));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_again_and_again_does_not_put_a_look_off() {
    let mut watched = HashMap::new();
    let began = Instant::now();
    take(&mut watched, begin(1, 1, true, Pace::Worker), began);
    let due = watched[&SLOT].due;
    for ms in 1..20 {
        take(&mut watched, begin(1, 1, true, Pace::Worker), began + Duration::from_millis(ms));
    }
    let one = &watched[&SLOT];
    assert_eq!((one.due, one.since), (due, began + Duration::from_millis(19)));
    take(&mut watched, begin(2, 1, true, Pace::Worker), began + Duration::from_millis(30));
    assert!(watched[&SLOT].due > due, "another watch begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_looked_at_as_long_as_a_connection_may_wait_for_it() {
    let (answers, _) = unbounded_channel();
    let (sights, _seen) = unbounded_channel();
    let (unused, port) = listener();
    drop(unused);
    let mut watched = HashMap::new();
    take(&mut watched, begin(1, port, true, Pace::Worker), Instant::now());
    let mut looks = 0;
    while let Some(due) = watched.values().map(|w| w.due).min() {
        tokio::time::sleep_until(due).await;
        look(&mut watched, &answers, &sights);
        looks += 1;
    }
    assert!((60..90).contains(&looks), "10 s at 250 ms, then one every 2 s: {looks}");
}

#[tokio::test(start_paused = true)]
async fn one_look_serves_all_that_are_nearly_due() {
    let (answers, _) = unbounded_channel();
    let (sights, _seen) = unbounded_channel();
    let mut watched = HashMap::new();
    for nth in 0..50 {
        let Watch::Begin { id, keeper, any_owner, pace, within, .. } = begin(1, 1, true, Pace::Worker) else { return };
        let slot = SlotId { process: 0, nth };
        let ports = vec![watched_port(1, Protocol::Tcp)];
        take(&mut watched, Watch::Begin { slot, id, keeper, ports, any_owner, pace, within }, Instant::now());
        tokio::time::advance(Duration::from_millis(2)).await;
    }
    look(&mut watched, &answers, &sights);
    let due: std::collections::BTreeSet<Instant> = watched.values().map(|w| w.due).collect();
    assert_eq!(due.len(), 1, "from then on they are looked at together");
}
