//! `listen`: addresses that the manifest, a router's file and the apps of a server ask for, bound and reached.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use nix::sys::signal::Signal;

use crate::support::{AppDir, Apps, Backend, Base, LIMIT, Routed, programs, try_get_at, until};

/// A TCP server that sends back what it gets, with its name before it.
fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&[name.as_bytes(), b" ", &bytes[..count]].concat()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// What comes back for one line.
fn ask(mut stream: &TcpStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut bytes = [0; 1024];
    let count = stream.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

/// The address in the `nth` line of standard output that says who listens there.
fn listening(routed: &Routed, name: &str, nth: usize) -> SocketAddr {
    let end = format!(" {name}");
    until(&format!("{name} to listen"), || {
        let lines = routed.stdout();
        let mut of_name = lines.iter().filter_map(|line| line.strip_prefix("listening ")?.strip_suffix(&end));
        of_name.nth(nth).map(|addr| addr.parse().unwrap())
    })
}

#[test]
fn a_route_of_any_protocol_has_a_listener_of_its_own() {
    let (one, shop) = (echo("one"), Backend::start("shop"));
    let routed = Routed::start(&format!(
        "[routes.line]\nprotocol = \"tcp\"\nlisten = [\"127.0.0.1:0\"]\ntargets = \"{one}\"\n\
         [routes.shop]\nhosts = \"shop.example\"\ntargets = \"{}\"\nlisten = [\"[::1]:0\"]\n",
        shop.addr
    ));
    assert_eq!(ask(&connect(listening(&routed, "line", 0)), "a\n"), "one a\n");
    let at = listening(&routed, "shop", 0);
    assert_eq!(try_get_at(at, "shop.example", "/x", "").unwrap().body, "shop /x");
    assert_eq!(try_get_at(at, "other.example", "/x", "").unwrap().status, 404);
}

#[test]
fn metrics_call_a_listener_by_the_port_that_it_got() {
    let one = echo("one");
    let routed = Routed::start(&format!(
        "listen = \"127.0.0.1:0\"\n[router]\nmetrics = \"127.0.0.1:0\"\n[routes.line]\nprotocol = \"tcp\"\n\
         listen = \"127.0.0.1:0\"\ntargets = \"{one}\"\n"
    ));
    let at = listening(&routed, "line", 0);
    assert_eq!(ask(&connect(at), "a\n"), "one a\n");
    let page = try_get_at(routed.address("metrics "), "metrics", "/metrics", "").unwrap().body;
    assert!(page.contains(&format!("tambat_connections_total{{listener=\"{at}\"}} 1\n")), "{page}");
}

/// Whoever is there when its listener goes is not cut off by the router's end, either.
#[test]
fn a_connection_whose_listener_has_gone_is_waited_for_at_the_end() {
    let one = echo("one");
    let file = |listen: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\n[routes.web]\ntargets = \"127.0.0.1:9\"\n[routes.line]\nprotocol = \"tcp\"\n\
             {listen}targets = \"{one}\"\n"
        )
    };
    let [first, second] = [Base::find().0, Base::find().0].map(|port| format!("listen = \"127.0.0.1:{port}\"\n"));
    let mut routed = Routed::start(&file(&first));
    let client = connect(listening(&routed, "line", 0));
    assert_eq!(ask(&client, "a\n"), "one a\n");
    routed.reload(&file(&second));
    routed.signal(Signal::SIGTERM);
    routed.err_line("finishing what is on its way");
    // All that is asked of it meanwhile is answered.
    assert_eq!(ask(&client, "b\n"), "one b\n");
    until("its listeners to be gone", || TcpStream::connect(routed.addr).is_err().then_some(()));
    assert_eq!(ask(&client, "c\n"), "one c\n");
    drop(client);
    assert_eq!(routed.ended(), 0);
}

#[test]
fn listeners_come_and_go_with_the_file_and_connections_stay() {
    let (one, two) = (echo("one"), echo("two"));
    let [first, second] = [Base::find().0, Base::find().0];
    let file = |listen: u16, target: SocketAddr| {
        format!(
            "listen = \"127.0.0.1:0\"\n[routes.web]\ntargets = \"127.0.0.1:9\"\n[routes.line]\nprotocol = \"tcp\"\n\
             listen = \"127.0.0.1:{listen}\"\ntargets = \"{target}\"\n"
        )
    };
    let routed = Routed::start(&file(first, one));
    let at = listening(&routed, "line", 0);
    assert_eq!(at.port(), first);
    let before = connect(at);
    assert_eq!(ask(&before, "a\n"), "one a\n");
    let said = routed.reload(&file(second, two));
    assert!(said.ends_with("read again: 2 routes, 2 targets"), "{said}");
    let there = listening(&routed, "line", 1);
    assert_eq!(there.port(), second);
    assert_eq!(ask(&connect(there), "b\n"), "two b\n");
    assert_eq!(ask(&before, "c\n"), "one c\n");
    until("the old listener to be gone", || TcpStream::connect(at).is_err().then_some(()));
    assert_eq!(ask(&before, "d\n"), "one d\n");
}

/// Nobody is served there any more: not that its names were unknown is what a client has to learn.
#[test]
fn a_kept_connection_of_http_ends_with_its_listener() {
    let shop = Backend::start("shop");
    let file = |listen: u16| {
        format!(
            "listen = \"127.0.0.1:0\"\n[routes.shop]\nhosts = \"shop.example\"\ntargets = \"{}\"\nlisten = \"127.0.0.1:{listen}\"\n",
            shop.addr
        )
    };
    let [first, second] = [Base::find().0, Base::find().0];
    let routed = Routed::start(&file(first));
    let mut client = connect(listening(&routed, "shop", 0));
    let answer = ask(&client, "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert!(answer.ends_with("shop /a"), "{answer}");
    routed.reload(&file(second));
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(try_get_at(listening(&routed, "shop", 1), "shop.example", "/b", "").unwrap().body, "shop /b");
}

#[test]
fn a_listener_that_cannot_be_had_leaves_the_old_routes() {
    let (one, held) = (echo("one"), TcpListener::bind("127.0.0.1:0").unwrap());
    let (free, taken) = (Base::find().0, held.local_addr().unwrap().port());
    let file = |listen: u16| {
        format!(
            "listen = \"127.0.0.1:0\"\n[routes.web]\ntargets = \"127.0.0.1:9\"\n[routes.line]\nprotocol = \"tcp\"\n\
             listen = \"127.0.0.1:{listen}\"\ntargets = \"{one}\"\n"
        )
    };
    let routed = Routed::start(&file(free));
    let said = routed.reload(&file(taken));
    assert!(said.contains(&format!("cannot listen at 127.0.0.1:{taken} for line: the port is taken by ")), "{said}");
    assert!(said.ends_with("end that, or change `listen`: the old routes stay"), "{said}");
    assert_eq!(ask(&connect(listening(&routed, "line", 0)), "a\n"), "one a\n");
}

/// A file with one route, and a listener of its own there.
fn line_at(listen: &str, target: SocketAddr) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\n[routes.web]\ntargets = \"127.0.0.1:9\"\n[routes.line]\nprotocol = \"tcp\"\n\
         expose = true\nlisten = \"{listen}\"\ntargets = \"{target}\"\n"
    )
}

#[test]
fn a_listener_that_takes_in_the_old_one_or_is_a_part_of_it_replaces_it() {
    let (one, port) = (echo("one"), Base::find().0);
    let (part, all) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let routed = Routed::start(&line_at(&part, one));
    let at = listening(&routed, "line", 0);
    let before = connect(at);
    assert_eq!(ask(&before, "a\n"), "one a\n");
    for (nth, listen) in [&all, &part, &all].into_iter().enumerate() {
        let said = routed.reload(&line_at(listen, one));
        assert!(said.ends_with("read again: 2 routes, 2 targets"), "{said}");
        assert_eq!(listening(&routed, "line", nth + 1).to_string(), *listen);
        assert_eq!(ask(&connect(at), "b\n"), "one b\n");
        let elsewhere = TcpStream::connect(("127.0.0.2", port));
        assert_eq!(elsewhere.is_ok(), *listen == all, "{elsewhere:?}");
        assert_eq!(ask(&before, "c\n"), "one c\n");
    }
}

#[test]
fn a_listener_that_is_in_the_way_comes_back_when_the_new_one_cannot_be_had() {
    let (one, port) = (echo("one"), Base::find().0);
    let held = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let routed = Routed::start(&line_at(&format!("127.0.0.1:{port}"), one));
    let at = listening(&routed, "line", 0);
    let before = connect(at);
    assert_eq!(ask(&before, "a\n"), "one a\n");
    let all = line_at(&format!("0.0.0.0:{port}"), one);
    let said = routed.reload(&all);
    assert!(said.contains(&format!("cannot listen at 0.0.0.0:{port} for line: the port is taken by ")), "{said}");
    assert!(said.ends_with("the old routes stay"), "{said}");
    assert_eq!(ask(&connect(at), "b\n"), "one b\n");
    assert_eq!(ask(&before, "c\n"), "one c\n");
    drop(held);
    let said = routed.reload(&all);
    assert!(said.ends_with("read again: 2 routes, 2 targets"), "{said}");
    assert_eq!(ask(&connect(([127, 0, 0, 2], port).into()), "d\n"), "one d\n");
}

#[test]
fn datagrams_and_connections_at_an_address_change_places() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let (udp, tcp, port) = (server.local_addr().unwrap(), echo("one"), Base::find().0);
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok((count, from)) = server.recv_from(&mut bytes) {
            let _ = server.send_to(&[b"udp ", &bytes[..count]].concat(), from);
        }
    });
    let file = |protocol: &str, target: SocketAddr| {
        format!(
            "listen = \"127.0.0.1:0\"\n[routes.web]\ntargets = \"127.0.0.1:9\"\n[routes.line]\n\
             protocol = \"{protocol}\"\nlisten = \"127.0.0.1:{port}\"\ntargets = \"{target}\"\n"
        )
    };
    let routed = Routed::start(&file("udp", udp));
    let at = listening(&routed, "line", 0);
    for (protocol, target) in [("tcp", tcp), ("udp", udp)] {
        let said = routed.reload(&file(protocol, target));
        assert!(said.ends_with("read again: 2 routes, 2 targets"), "{said}");
        if protocol == "tcp" {
            assert_eq!(ask(&connect(at), "a\n"), "one a\n");
        } else {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            client.send_to(b"hello", at).unwrap();
            let mut bytes = [0; 1024];
            let count = client.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], b"udp hello");
            until("nobody to listen for connections", || TcpStream::connect(at).is_err().then_some(()));
        }
    }
}

#[test]
fn datagrams_of_a_route_are_carried() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let target = server.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok((count, from)) = server.recv_from(&mut bytes) {
            let _ = server.send_to(&[b"udp ", &bytes[..count]].concat(), from);
        }
    });
    let routed = Routed::start(&format!(
        "listen = \"127.0.0.1:0\"\n[routes.web]\ntargets = \"127.0.0.1:9\"\n[routes.game]\nprotocol = \"udp\"\n\
         listen = \"127.0.0.1:0\"\ntargets = \"{target}\"\n"
    ));
    let at = listening(&routed, "game", 0);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.send_to(b"hello", at).unwrap();
    let mut bytes = [0; 1024];
    let (count, from) = client.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..count], from), (&b"udp hello"[..], at));
}

#[test]
fn start_listens_where_a_process_asks_for_it_and_says_so() {
    programs::redis();
    let app = AppDir::manifest(
        "[processes.cache]\ncommand = \"redis-server --port $PORT --bind 127.0.0.1 --save ''\"\nprotocol = \"redis\"\n\
         listen = \"127.0.0.1:0\"\n",
    );
    let running = app.start(&[]);
    running.ready(&["cache"]);
    let status: serde_json::Value = serde_json::from_str(&app.tambat(&["ps", "--json"]).must_be(0).stdout).unwrap();
    let listens = &status["processes"][0]["ports"][0]["listens"];
    assert_eq!((&listens[0]["tls"], listens.as_array().unwrap().len()), (&"off".into(), 1));
    let addr: SocketAddr = listens[0]["address"].as_str().unwrap().parse().unwrap();
    assert_ne!(addr.port(), 0);
    assert_eq!(ask(&connect(addr), "PING\r\n"), "+PONG\r\n");
    running.err_line(&format!("at {addr}"));
    let ps = app.tambat(&["ps"]).must_be(0).stdout;
    assert!(ps.contains(&format!("cache  at {addr}")), "{ps}");
    let routes = app.tambat(&["routes"]).must_be(0).stdout;
    assert!(routes.contains("at 127.0.0.1:0"), "{routes}");
    let plan = app.tambat(&["plan"]).must_be(0).stdout;
    assert!(plan.contains("at 127.0.0.1:0"), "{plan}");
}

#[test]
fn the_fallback_of_an_address_is_shown_as_one() {
    let at = format!("127.0.0.1:{}", Base::find().0);
    let process = |name: &str, protocol: &str| {
        format!(
            "[processes.{name}]\ncommand = \"tambat-fixture serve\"\nprotocol = \"{protocol}\"\nlisten = \"{at}\"\n"
        )
    };
    let app = AppDir::manifest(&format!(
        "[[router.listen]]\naddress = \"{at}\"\npeek = [\"http\"]\nfallback = \"line\"\n{}{}",
        process("web", "http"),
        process("line", "tcp")
    ));
    let shown = |said: &str, verb: &str| {
        let line = |end: &str| said.lines().any(|line| line.ends_with(end));
        assert!(line(&format!("at {at}")) && line(&format!("at {at} as its fallback")), "{verb}: {said}");
    };
    let is_fallback =
        |app: &serde_json::Value, nth: usize| app["processes"][nth]["ports"][0]["listens"][0]["fallback"].clone();
    shown(&app.tambat(&["plan"]).must_be(0).stdout, "plan");
    let plan = serde_json::from_str(&app.tambat(&["plan", "--json"]).must_be(0).stdout).unwrap();
    assert_eq!([0, 1].map(|nth| is_fallback(&plan, nth)), [false, true]);
    let running = app.start(&[]);
    running.ready(&["web", "line"]);
    running.err_line(&format!("at {at} as its fallback"));
    shown(&app.tambat(&["ps"]).must_be(0).stdout, "ps");
    let status = serde_json::from_str(&app.tambat(&["ps", "--json"]).must_be(0).stdout).unwrap();
    assert_eq!([0, 1].map(|nth| is_fallback(&status, nth)), [false, true]);
}

#[test]
fn start_says_who_has_an_address_and_starts_nothing() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = held.local_addr().unwrap();
    let app = AppDir::manifest(&format!(
        "[processes.line]\ncommand = \"echo started; sleep 60\"\nprotocol = \"tcp\"\nlisten = \"{addr}\"\n"
    ));
    let output = app.tambat(&["start"]).must_be(1);
    assert!(output.stderr.contains(&format!("cannot listen at {addr} for line: the port is taken by ")), "{output:?}");
    assert!(!output.stdout.contains("started"), "{output:?}");
}

#[test]
fn apps_of_a_server_share_an_address_by_their_names() {
    let apps = Apps::new();
    let at = format!("127.0.0.1:{}", Base::find().0);
    let web = |host: &str| {
        format!(
            "[processes.web]\ncommand = \"exec python3 -m http.server $PORT --bind 127.0.0.1\"\nlisten = \"{at}\"\n\
             hosts = \"{host}\"\n"
        )
    };
    for name in ["one", "two"] {
        apps.app(name, &web(&format!("{name}.example"))).file("index.html", name);
    }
    apps.app("zwei", &web("two.example"));
    let lone = "[processes.web]\ncommand = \"exec sleep 60\"\nprotocol = \"redis\"\nlisten = \"127.0.0.1:0\"\ntls = \"terminate\"\n";
    apps.app("tls", lone);
    let served = apps.serve(&[]);
    let clash = "zwei is not served: `two/web` and `zwei/web` both answer at two.example";
    served.running.err_line(clash);
    served.running.err_line("tls is not served: TLS ends at 127.0.0.1:0 for web, and serve.toml does not say where");
    served.running.out_line(&format!("listening {at} one/web, two/web"));
    let addr: SocketAddr = at.parse().unwrap();
    for name in ["one", "two"] {
        let body = until(&format!("{name} to answer"), || {
            let answer = try_get_at(addr, &format!("{name}.example"), "/", "").ok()?;
            (answer.status == 200).then_some(answer.body)
        });
        assert_eq!(body, name);
        assert_eq!(served.get(&format!("{name}.example"), "/").status, 404, "not at the shared listener");
    }
}
