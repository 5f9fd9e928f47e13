//! What a stream at a listener of its own lives through: restarts, reloads, other ends that stand still.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::sockets::{ask, connect, loopback, read_until};
use crate::support::{AppDir, Base, Ca, Routed, connect_from, pause, programs, try_get_at, until};

const ECHO: &str = include_str!("echo.py");

/// So many clients wait at once.
const WAITING: usize = 20;

/// A client who has begun, and goes on once he is answered.
fn pings(at: SocketAddr) -> Vec<TcpStream> {
    let ping = || {
        let mut stream = connect(at);
        stream.write_all(b"PING\r\n").unwrap();
        stream
    };
    (0..WAITING).map(|_| ping()).collect()
}

fn are_answered(clients: &[TcpStream]) {
    assert!(clients.iter().all(|client| read_until(client, "\n") == "+PONG\r\n"));
}

#[test]
fn clients_wait_for_a_store_that_starts_is_paused_and_is_restarted() {
    programs::redis();
    let Base(port) = Base::find();
    let at = loopback(port);
    let app = AppDir::manifest(&format!(
        "[processes.store]\ncommand = \"while [ -e hold ]; do sleep 0.02; done; exec redis-server --port $PORT --bind 127.0.0.1 --appendonly yes\"\n\
         protocol = \"redis\"\nlisten = \"{at}\"\n"
    ))
    .file("hold", "");
    let let_go = || fs::remove_file(app.path().join("hold")).unwrap();
    let mut running = app.start(&[]);
    running.up();
    let early = pings(at);
    let_go();
    are_answered(&early);
    assert_eq!(app.process("store")["stateful"], true);
    let mut before = connect(at);
    before.write_all(b"INCR ships\r\n").unwrap();
    assert_eq!(read_until(&before, "\n"), ":1\r\n");

    app.tambat(&["pause", "store"]).must_be(0);
    until("the pause", || (app.process("store")["state"] == "paused").then_some(()));
    let waiting = pings(at);
    before.write_all(b"INCR ships\r\n").unwrap();
    assert_eq!(read_until(&before, "\n"), ":2\r\n", "what is open goes on");
    for client in &waiting {
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
    }
    app.tambat(&["resume", "store"]).must_be(0);
    are_answered(&waiting);

    for nth in 3..=5 {
        let app = app.clone().file("hold", "");
        app.tambat(&["restart", "store"]).must_be(0);
        until("the old one to be gone", || (app.process("store")["state"] == "waiting").then_some(()));
        let waiting = pings(at);
        let_go();
        are_answered(&waiting);
        assert_eq!(ask(at, "INCR ships\r\n", "\n"), format!(":{nth}\r\n"), "it has its data");
    }
    assert_eq!(before.read(&mut [0]).unwrap(), 0, "it ended in order with its server");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_stream_ends_in_order_when_the_drain_of_its_server_is_over() {
    let Base(port) = Base::find();
    let at = loopback(port);
    let app = AppDir::manifest(&format!(
        "[router]\naccess_log = \"access.log\"\n\
         [processes.line]\ncommand = \"exec /usr/bin/python3 echo.py\"\nprotocol = \"tcp\"\nstateful = false\n\
         listen = \"{at}\"\nstop = {{ grace = \"5s\" }}\n"
    ))
    .file("echo.py", ECHO);
    let mut running = app.start(&[]);
    running.ready(&[]);
    let mut half = connect(at);
    half.write_all(b"one\ntwo\n").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    half.read_to_string(&mut all).unwrap();
    assert_eq!(all, "one\ntwo\n", "half of it closed, the other goes on");
    running.out_line("the end of a client in order");

    let mut stream = connect(at);
    stream.write_all(b"before\n").unwrap();
    assert_eq!(read_until(&stream, "\n"), "before\n");
    app.tambat(&["restart", "line"]).must_be(0);
    running.lines("line.1 | ready after", 2);
    stream.write_all(b"after\n").unwrap();
    assert_eq!(read_until(&stream, "\n"), "after\n", "it goes on at the old one");
    assert_eq!(ask(at, "new\n", "\n"), "new\n", "and who comes now is at the new one");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it ends with FIN");
    // The old one saw it as well, before it was asked to stop.
    running.lines("the end of a client in order", 3);
    let line = log_line(&app.path().join("access.log"), "\"end\":\"drained\"");
    for (key, value) in [("process", "line"), ("ended_by", "router")] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&13.into(), &13.into()), "{line}");
    assert_eq!(running.stop(), 0);
}

/// HAProxy behind the router: what it knows of its client, from a header.
const HAPROXY: &str = "global\n    maxconn 100\ndefaults\n    mode http\n    timeout connect 10s\n    timeout client 30s\n    \
    timeout server 30s\nfrontend edge\n    bind 127.0.0.1:PORT accept-proxy\n    \
    http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port] %[fc_pp_authority].\"\n";

#[test]
fn a_server_behind_a_listener_of_its_own_is_told_of_its_clients() {
    const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
    programs::haproxy();
    programs::openssl();
    let Base(port) = Base::find();
    let (plain, secure) = (loopback(port), loopback(port + 1));
    let command = "sed s/PORT/$PORT/ haproxy.in > haproxy.cfg && exec /usr/sbin/haproxy -db -f haproxy.cfg";
    let ca = Ca::new("server CA");
    let app = AppDir::manifest(&format!(
        "[router.tls]\ncertificates = [{{ chain = \"a.pem\", key = \"a.key\" }}]\n\
         [processes.plain]\ncommand = '''{command}'''\nprotocol = \"tcp\"\nproxy_protocol = \"v1\"\nlisten = \"{plain}\"\n\
         [processes.secure]\ncommand = '''{}'''\nprotocol = \"tcp\"\nproxy_protocol = \"v2\"\nlisten = \"{secure}\"\n\
         tls = \"terminate\"\nhosts = \"a.example\"\n",
        command.replace("haproxy.cfg", "secure.cfg")
    ))
    .file("haproxy.in", HAPROXY)
    .file("ca.pem", ca.pem());
    ca.signs(&["a.example"]).write(&app, "a");
    let mut running = app.start(&[]);
    running.ready(&[]);
    let mut stream = connect_from(CLIENT, plain);
    let from = stream.local_addr().unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&format!("\r\n\r\n{from} .")), "{answer}");
    let resolve = format!("a.example:{}:127.0.0.1", secure.port());
    let url = format!("https://a.example:{}/", secure.port());
    let from = CLIENT.to_string();
    let said = app.curl(&["--http1.1", "--interface", &from, "--cacert", "ca.pem", "--resolve", &resolve, &url]);
    let told = said.must_be(0).stdout;
    assert!(told.starts_with(&format!("{CLIENT}:")) && told.ends_with(" a.example."), "{told}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn streams_are_seen_in_the_access_log_and_in_the_metrics() {
    programs::redis();
    let app = AppDir::manifest(
        "[processes.store]\ncommand = \"redis-server --port $PORT --bind 127.0.0.1 --save ''\"\nprotocol = \"redis\"\n",
    );
    let mut running = app.start(&[]);
    running.ready(&[]);
    let target = app.process("store")["instances"][0]["address"].as_str().unwrap().to_owned();
    let Base(port) = Base::find();
    let routed = Routed::start(&format!(
        "[router]\nworkers = 1\naccess_log = \"access.log\"\nmetrics = \"127.0.0.1:0\"\n[routes.store]\n\
         protocol = \"redis\"\nlisten = \"127.0.0.1:{port}\"\ntargets = \"{target}\"\n"
    ));
    let log = routed.dir().path().join("access.log");
    assert_eq!(app.program("redis-cli", &["-p", &port.to_string(), "ECHO", "ahoj"]).must_be(0).stdout, "ahoj\n");
    let line = log_line(&log, "\"bytes_out\":");
    for (key, value) in [("process", "store"), ("ended_by", "client"), ("end", "fin"), ("client", "127.0.0.1")] {
        assert_eq!(line[key], value, "{key} of {line}");
    }
    assert!(line["bytes_in"].as_u64().unwrap() >= 24 && line["bytes_out"].as_u64().unwrap() >= 10, "{line}");
    assert_eq!(line["listener"], format!("127.0.0.1:{port}"), "{line}");

    let mut stream = connect(routed.addr);
    stream.write_all(b"PING\r\n").unwrap();
    assert_eq!(read_until(&stream, "\n"), "+PONG\r\n");
    assert_eq!(figure(&routed, "tambat_streams_open{process=\"store\"}"), 1);
    let cut = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &cut).unwrap();
    drop(stream);
    let line = log_line(&log, "\"end\":\"reset\"");
    assert_eq!((&line["ended_by"], &line["bytes_in"], &line["bytes_out"]), (&"client".into(), &6.into(), &7.into()));
    let figures = ["streams_open", "streams_total", "received_bytes_total", "sent_bytes_total"];
    until("both streams to be counted", || {
        let [open, total, received, sent] =
            figures.map(|name| figure(&routed, &format!("tambat_{name}{{process=\"store\"}}")));
        ((open, total) == (0, 2) && received >= 30 && sent >= 17).then_some(())
    });
    assert_eq!(running.stop(), 0);
}

/// So many bytes go through a stream while its listener goes away; no buffer on the way has room for them.
const CARRIED: usize = 64 << 20;

#[test]
fn a_port_comes_and_another_goes_while_a_stream_goes_on() {
    let Base(port) = Base::find();
    let (target, _) = pours(Some(CARRIED));
    let file = |listen: &[u16]| {
        let listen = listen.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect::<Vec<_>>().join(", ");
        format!("[routes.flow]\nprotocol = \"tcp\"\nlisten = [{listen}]\ntargets = \"{target}\"\n")
    };
    let routed = Routed::start(&file(&[port]));
    let mut stream = connect(loopback(port));
    let mut bytes = vec![0; CARRIED / 4];
    stream.read_exact(&mut bytes).unwrap();
    routed.reload(&file(&[port, port + 1]));
    connect(loopback(port + 1)).read_exact(&mut [0]).unwrap();
    stream.read_exact(&mut bytes).unwrap();
    routed.reload(&file(&[port + 1]));
    until("the old listener to be gone", || TcpStream::connect(loopback(port)).is_err().then_some(()));
    connect(loopback(port + 1)).read_exact(&mut [0]).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), CARRIED / 2);
    let expected = pattern().skip(CARRIED / 2 % PATTERN);
    assert!(rest.into_iter().eq(expected.take(CARRIED / 2)), "in order and without a hole");
}

/// Clients that never read, and what tambat may keep for all of them: for each the most that it reads at once, 256 KiB, since
/// how much it read last before it stood is a matter of pace; and a few MiB that do not depend on them.
const STANDING: usize = 100;
const KEPT_KIB_MAX: u64 = STANDING as u64 * 256 + (6 << 10);

#[test]
fn who_never_reads_holds_up_nobody_and_takes_no_memory() {
    let (flow, poured) = pours(None);
    let (line, _) = pours(Some(3));
    let Base(port) = Base::find();
    let routed = Routed::start(&format!(
        "[router]\nworkers = 1\n\
         [routes.flow]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\ntargets = \"{flow}\"\n\
         [routes.line]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:{}\"\ntargets = \"{line}\"\n",
        port + 1
    ));
    let before = resident_kib(&routed);
    let standing: Vec<_> = (0..STANDING).map(|_| connect(loopback(port))).collect();
    until("all of them to be poured to", || {
        (poured.load(Ordering::Relaxed) >= (STANDING * CHUNK) as u64).then_some(())
    });
    until("all of them to stand", || {
        let earlier = poured.load(Ordering::Relaxed);
        pause(Duration::from_millis(500));
        (poured.load(Ordering::Relaxed) == earlier).then_some(())
    });
    let kept = resident_kib(&routed).saturating_sub(before);
    assert!(kept < KEPT_KIB_MAX, "{STANDING} who do not read take {kept} KiB");
    let mut good = Vec::new();
    connect(loopback(port + 1)).read_to_end(&mut good).unwrap();
    assert_eq!(good, [0, 1, 2]);
    drop(standing);
}

/// What is poured repeats after so many bytes, and so much of it is written at once.
const PATTERN: usize = 251;
const CHUNK: usize = PATTERN * 256;

fn pattern() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).take(PATTERN).cycle()
}

/// A server that pours so many bytes into each connection, or never ends; and how many it could.
fn pours(count: Option<usize>) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, poured) = (listener.local_addr().unwrap(), Arc::<AtomicU64>::default());
    let counted = Arc::clone(&poured);
    thread::spawn(move || {
        let chunk: Arc<Vec<u8>> = Arc::new(pattern().take(CHUNK).collect());
        for stream in listener.incoming() {
            let (mut stream, chunk, counted) = (stream.unwrap(), Arc::clone(&chunk), Arc::clone(&counted));
            thread::spawn(move || {
                let mut left = count.unwrap_or(usize::MAX);
                while left > 0 {
                    let now = left.min(CHUNK);
                    if stream.write_all(&chunk[..now]).is_err() {
                        return;
                    }
                    counted.fetch_add(now as u64, Ordering::Relaxed);
                    left -= now;
                }
            });
        }
    });
    (addr, poured)
}

fn resident_kib(routed: &Routed) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", routed.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The first line of the access log with this in it.
fn log_line(path: &Path, part: &str) -> serde_json::Value {
    until(&format!("{part} in {}", path.display()), || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.split_inclusive('\n').find(|line| line.contains(part) && line.ends_with('\n'))?.to_owned();
        Some(serde_json::from_str(&line).unwrap())
    })
}

/// A figure in the metrics, by what stands before it.
fn figure(routed: &Routed, name: &str) -> u64 {
    let page = try_get_at(routed.address("metrics "), "metrics", "/metrics", "").unwrap().body;
    let found = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in\n{page}"))
}
