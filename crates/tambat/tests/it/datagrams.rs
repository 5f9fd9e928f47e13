//! Datagrams: DNS by Debian's dnsmasq and `dig`, and servers of any datagrams, through their service ports.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{AppDir, LIMIT, Routed, finish, until};

/// dnsmasq in the foreground, answering for one name and asking nobody.
const DNS: &str = r#"
[processes.dns]
command = "exec /usr/sbin/dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --pid-file --user= --bind-interfaces --listen-address=127.0.0.1 --port=$PORT --address=/shop.test/192.0.2.7"
protocol = "dns"
"#;

/// Says who it is, and what it was told.
const ECHO: &str = r#"
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    datagram, client = server.recvfrom(65535)
    server.sendto(f'{os.environ["PS"]} {os.getpid()} '.encode() + datagram[:32], client)
"#;

fn echo(more: &str) -> AppDir {
    let manifest = format!("[processes.echo]\ncommand = \"exec python3 echo.py\"\nprotocol = \"udp\"\n{more}");
    AppDir::manifest(&manifest).file("echo.py", ECHO)
}

fn client(port: u16) -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
}

/// Who answers: its name and its pid.
fn ask(client: &UdpSocket) -> (String, i32) {
    client.send(b"hello").unwrap();
    let mut buffer = [0; 256];
    let bytes = client.recv(&mut buffer).unwrap();
    who(&buffer[..bytes])
}

fn who(answer: &[u8]) -> (String, i32) {
    let text = std::str::from_utf8(answer).unwrap();
    let mut words = text.split(' ');
    (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap())
}

fn dig(app: &AppDir, args: &[&str]) -> String {
    let mut command = app.any_command("dig");
    command.args(["+tries=1", "+time=10"]).args(args);
    finish(command, "dig").must_be(0).stdout
}

#[test]
fn dns_is_served_over_both_transports_at_one_number() {
    let consumer = "[processes.job]\ncommand = \"tambat-fixture park\"\nuses = [\"dns\"]\n";
    let app = AppDir::manifest(&format!("{DNS}{consumer}"));
    let mut running = app.start(&[]);
    running.ready(&["dns"]);
    let port = app.port("dns").to_string();
    for (address, transport) in [("@127.0.0.1", "+notcp"), ("@127.0.0.1", "+tcp"), ("@::1", "+notcp"), ("@::1", "+tcp")]
    {
        let answer = dig(&app, &[address, "-p", &port, transport, "+short", "shop.test"]);
        assert_eq!(answer, "192.0.2.7\n", "{address} {transport}");
    }
    let env = app.tambat(&["env", "job"]).must_be(0).stdout;
    let handle = env.lines().find(|line| line.starts_with("DNS_URL=dns://")).unwrap_or_default();
    assert!(handle.contains(&format!(":{port}")), "{env}");
    until("all to be counted, and sessions of questions that were answered to be over", || {
        let port = app.process("dns")["ports"][0].clone();
        (port["bytes_out"].as_u64().unwrap() > 100 && port["open"] == 0).then_some(())
    });
    assert_eq!(running.stop(), 0);
}

#[test]
fn dns_is_served_at_a_listener_of_the_manifest_over_both_transports() {
    let app = AppDir::manifest(&format!("{DNS}listen = \"127.0.0.1:0\"\n"));
    let mut running = app.start(&[]);
    running.ready(&["dns"]);
    let status = app.process("dns");
    let at = status["ports"][0]["listens"][0]["address"].as_str().unwrap();
    let (host, port) = at.rsplit_once(':').unwrap();
    assert_ne!(port, app.port("dns").to_string());
    for transport in ["+notcp", "+tcp"] {
        let answer = dig(&app, &[&format!("@{host}"), "-p", port, transport, "+short", "shop.test"]);
        assert_eq!(answer, "192.0.2.7\n", "{transport} at {at}");
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn who_asks_a_dns_that_has_failed_is_told_so() {
    let app = AppDir::manifest(
        "[processes.dns]\ncommand = \"exit 1\"\nprotocol = \"dns\"\nrestart = \"never\"\n\
         [processes.job]\ncommand = \"tambat-fixture park\"\n",
    );
    let mut running = app.start(&[]);
    running.up();
    let is_over = |state: &serde_json::Value| state == "failed" || state == "ended";
    until("it has ended", || is_over(&app.process("dns")["state"]).then_some(()));
    let answer = dig(&app, &["@127.0.0.1", "-p", &app.port("dns").to_string(), "shop.test"]);
    assert!(answer.contains("status: SERVFAIL"), "{answer}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn clients_are_spread_over_the_instances_and_stay_with_theirs() {
    let app = echo("instances = 2\n");
    let mut running = app.start(&[]);
    running.ready(&["echo"]);
    let up = || {
        let echo = app.process("echo");
        let instances = echo["instances"].as_array().unwrap();
        instances.iter().all(|i| i["state"] == "ready").then_some(())
    };
    until("both are ready", up);
    let port = app.port("echo");
    let clients: Vec<UdpSocket> = (0..100).map(|_| client(port)).collect();
    let first: Vec<(String, i32)> = clients.iter().map(ask).collect();
    let second: Vec<(String, i32)> = clients.iter().map(ask).collect();
    assert_eq!(first, second);
    let mut share: BTreeMap<String, usize> = BTreeMap::new();
    first.into_iter().for_each(|(name, _)| *share.entry(name).or_default() += 1);
    assert!(share.len() == 2 && share.values().all(|share| *share >= 20), "{share:?}");
    assert_eq!(app.process("echo")["ports"][0]["open"], 100);
    assert_eq!(running.stop(), 0);
}

/// Says one number after the other until it is over: who has answered which, and how many were said.
fn talks_until(client: &UdpSocket, is_over: &AtomicBool) -> (Vec<(i32, usize)>, usize) {
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut heard, mut said, mut buffer) = (Vec::new(), 0, [0; 64]);
    // On a busy machine an answer that is late is not lost: it has its number.
    let mut is_answered = |number: usize| {
        client.send(number.to_string().as_bytes()).unwrap();
        while let Ok(bytes) = client.recv(&mut buffer) {
            let answer = &buffer[..bytes];
            let told = std::str::from_utf8(answer).unwrap().split(' ').nth(2).unwrap().parse().unwrap();
            if told == 0 && number == 0 {
                return true;
            }
            heard.push((who(answer).1, told));
            if told == number {
                return true;
            }
        }
        false
    };
    while !is_over.load(Ordering::Relaxed) {
        said += 1;
        is_answered(said);
    }
    // Whoever is answered behind all others has been told of those before.
    until("the last answer", || is_answered(0).then_some(()));
    (heard, said)
}

#[test]
fn who_talks_while_it_is_restarted_goes_on_with_the_new_one_and_hears_no_dead_one() {
    let app = echo("");
    let mut running = app.start(&[]);
    running.ready(&["echo"]);
    let port = app.port("echo");
    let is_over = Arc::new(AtomicBool::new(false));
    let talking = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || talks_until(&client(port), &is_over)
    });
    let old = ask(&client(port)).1;
    app.tambat(&["restart", "echo"]).must_be(0);
    let new = until("the new one answers", || Some(ask(&client(port)).1).filter(|pid| *pid != old));
    until("the old one has gone", || (!app.processes().iter().any(|p| p.pid == old)).then_some(()));
    let gone = Instant::now();
    while gone.elapsed() < Duration::from_millis(1_200) {
        assert_eq!(ask(&client(port)).1, new);
    }
    is_over.store(true, Ordering::Relaxed);
    let (heard, said) = talking.join().unwrap();
    let moved = heard.iter().position(|(pid, _)| *pid == new).unwrap();
    let (by_old, by_new) = heard.split_at(moved);
    assert!(moved > 0 && by_old.iter().all(|(pid, _)| *pid == old) && by_new.iter().all(|(pid, _)| *pid == new));
    // What the old one had received and not read when it ended.
    assert!(heard.len() + 1 >= said, "{} of {said}", heard.len());
    assert_eq!(running.stop(), 0);
}

#[test]
fn one_that_crashes_is_started_again_and_its_client_goes_on() {
    let app = echo("");
    let mut running = app.start(&[]);
    running.ready(&["echo"]);
    let client = client(app.port("echo"));
    let old = ask(&client).1;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(old), nix::sys::signal::Signal::SIGKILL).unwrap();
    until("it is dead", || (!app.processes().iter().any(|p| p.pid == old)).then_some(()));
    // It waits until there is one again.
    assert_ne!(ask(&client).1, old);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_router_alone_carries_datagrams_and_lets_their_listener_go_when_its_file_says_so() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let target = server.local_addr().unwrap();
    let shared = "listen = [\"127.0.0.1:0\"]\n[routes.web]\nhosts = [\"web.test\"]\ntargets = [\"127.0.0.1:1\"]\n";
    let with =
        format!("{shared}[routes.echo]\nprotocol = \"udp\"\nlisten = \"127.0.0.1:0\"\ntargets = [\"{target}\"]\n");
    let mut routed = Routed::start(&with);
    let line = until("it listens for echo", || routed.stdout().into_iter().find(|line| line.ends_with(" echo")));
    let at: SocketAddr = line.split(' ').nth(1).unwrap().parse().unwrap();
    let client = client(at.port());
    client.send(b"hello").unwrap();
    let mut buffer = [0; 64];
    let (bytes, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..bytes], b"hello");
    server.send_to(b"well met", from).unwrap();
    let bytes = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..bytes], b"well met");
    routed.reload(shared);
    until("its address is free", || UdpSocket::bind(at).ok());
    assert_eq!(routed.stop(), 0);
}

#[test]
fn a_stranger_on_the_port_is_no_instance() {
    let app = AppDir::manifest(
        "[processes.echo]\ncommand = \"echo $PORT > port; exec tambat-fixture park\"\nprotocol = \"udp\"\nready = { within = \"30s\" }\nrestart = \"never\"\n",
    );
    let mut running = app.start(&[]);
    running.up();
    let port = until("it was told a port", || {
        std::fs::read_to_string(app.path().join("port")).ok()?.trim().parse::<u16>().ok()
    });
    let _stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let said = running.err_line("which echo.1 did not start (PB-01)");
    assert!(said.contains(&format!("on echo.1's PORT {port} listens")), "{said}");
    assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
    running.stop();
}

#[test]
fn a_port_for_datagrams_that_is_taken_is_named_with_its_holder() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = echo(&format!("port = {port}\n")).tambat(&["start", "-p", "0"]).must_be(1);
    let holder = format!("(pid {})", std::process::id());
    assert!(output.stderr.contains(&format!("cannot serve echo at port {port}")), "{}", output.stderr);
    assert!(output.stderr.contains(&holder), "{}", output.stderr);
}

#[test]
fn what_takes_datagrams_is_checked_as_far_as_that_goes() {
    let app = echo("");
    let report = app.tambat(&["check", "echo"]).must_be(0).stdout;
    let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "it takes datagrams on PORT, and nobody knows what it would answer",
        "it takes datagrams, and there are no connections to it",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
}
