//! PROXY headers with nginx and HAProxy: before tambat, and behind it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use crate::support::{AppDir, Backend, Base, LIMIT, Routed, Running, connect_from, finish, programs, until};

/// The client of these tests, and the proxy in front of tambat.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);

/// What nginx says of a request: what the header has said, who is connected, how many requests came on its connection.
const NGINX: &str = r#"
daemon off;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    server {
        listen 127.0.0.1:PORT proxy_protocol;
        location / {
            return 200 "$proxy_protocol_addr:$proxy_protocol_port to $proxy_protocol_server_addr:$proxy_protocol_server_port $remote_addr $connection_requests\n";
        }
    }
}
"#;

/// A command that puts `$PORT` into a configuration and runs nginx with it.
const RUN_NGINX: &str = "sed s/PORT/$PORT/ nginx.in > nginx.conf && exec /usr/sbin/nginx -p . -c nginx.conf -e stderr";

/// The same for HAProxy.
const RUN_HAPROXY: &str = "sed s/PORT/$PORT/ haproxy.in > haproxy.cfg && exec /usr/sbin/haproxy -db -f haproxy.cfg";

const HAPROXY: &str = "global\n    maxconn 100\ndefaults\n    mode http\n    timeout connect 10s\n    timeout client 30s\n    \
                       timeout server 30s\n    timeout http-request 30s\n";

/// A client of HTTP that keeps its connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn from(from: Ipv4Addr, to: SocketAddr) -> Self {
        Self(BufReader::new(connect_from(from, to)))
    }

    /// Its own port.
    fn port(&self) -> u16 {
        self.0.get_ref().local_addr().unwrap().port()
    }

    /// The status and the body of an answer to a GET.
    fn get(&mut self, path: &str, fields: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "it ended: {head:?}");
        }
        let field =
            |name: &str| head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
        let length = field("content-length: ").unwrap_or_else(|| panic!("{head}"));
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
    }
}

/// An app of one process, ready.
fn running(app: &AppDir) -> Running {
    let running = app.start(&[]);
    running.ready(&[]);
    running
}

/// Where its one instance listens.
fn instance(app: &AppDir, process: &str) -> SocketAddr {
    app.process(process)["instances"][0]["address"].as_str().unwrap().parse().unwrap()
}

/// A manifest of one process.
fn manifest(command: &str, keys: &str) -> AppDir {
    AppDir::manifest(&format!("[processes.web]\ncommand = '''{command}'''\n{keys}\n"))
}

/// HAProxy as an app of its own, in front of this address; `send` is how it introduces its clients.
fn haproxy_before(addr: SocketAddr, send: &str) -> (AppDir, Running, SocketAddr) {
    programs::haproxy();
    let config = format!(
        "{HAPROXY}frontend edge\n    bind 127.0.0.1:PORT\n    unique-id-format id-of-%[src]\n    default_backend router\n\
         backend router\n    http-reuse never\n    server router {addr} source {PROXY} {send}\n"
    );
    let app = manifest(RUN_HAPROXY, "protocol = \"tcp\"").file("haproxy.in", config);
    let running = running(&app);
    let at = instance(&app, "web");
    (app, running, at)
}

#[test]
fn a_router_behind_haproxy_sees_its_clients() {
    let backend = Backend::start("shop");
    let router = Routed::start(&format!(
        "[router]\nproxy_protocol = \"{PROXY}\"\naccess_log = \"-\"\n[routes.shop]\ntargets = \"{}\"\n",
        backend.addr
    ));
    let every_option =
        "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id";
    for (nth, send) in ["send-proxy", "send-proxy-v2", every_option, "send-proxy-v2 check"].into_iter().enumerate() {
        let (_app, mut edge, at) = haproxy_before(router.addr, send);
        let mut client = Client::from(CLIENT, at);
        let path = format!("/{nth}");
        assert_eq!(client.get(&path, "X-Forwarded-For: 6.6.6.6\r\n"), (200, format!("shop {path}")), "{send}");
        let head = backend.heads().into_iter().find(|head| head.starts_with(&format!("GET {path} "))).unwrap();
        assert!(head.contains(&format!("\r\nX-Forwarded-For: {CLIENT}\r\n")), "{send}: {head}");
        assert!(head.contains(&format!("\r\nX-Forwarded-Port: {}\r\n", at.port())), "{send}: {head}");
        assert!(router.lines(&format!("\"{path}\""), 1)[0].contains(&CLIENT.to_string()), "{send}");
        assert_eq!(edge.stop(), 0);
    }
    assert!(!router.stderr().iter().any(|line| line.contains("PROXY")), "{:?}", router.stderr());
    // Without a header it is turned away, and HAProxy tells its client so.
    let (_app, mut edge, at) = haproxy_before(router.addr, "");
    assert_eq!(Client::from(CLIENT, at).get("/none", "").0, 502);
    let said = router.err_line("does not begin with a PROXY header");
    assert!(said.contains(&format!("a connection of {PROXY}:")), "{said}");
    assert!(!backend.paths().iter().any(|path| path == "/none"));
    assert_eq!(edge.stop(), 0);
}

#[test]
fn nginx_behind_the_router_is_told_of_each_client() {
    programs::nginx();
    for version in ["v1", "v2"] {
        // It takes nothing that has no header: that it is ready shows that the probes have one.
        let app = manifest(
            RUN_NGINX,
            &format!("proxy_protocol = \"{version}\"\nhealth = {{ path = \"/\", every = \"50ms\" }}"),
        );
        let app = app.file("nginx.in", NGINX);
        let mut running = running(&app);
        let service: SocketAddr = ([127, 0, 0, 1], app.port("web")).into();
        tells_each_client(service, version);
        assert!(
            !running.stderr().iter().chain(&running.stdout()).any(|line| line.contains("broken header")),
            "{version}"
        );
        // The same as a target of a router alone, which asks for its health, too.
        let router = Routed::start(&format!(
            "[routes.shop]\ntargets = \"{}\"\nproxy_protocol = \"{version}\"\nhealth = {{ path = \"/\", every = \"50ms\" }}\n",
            instance(&app, "web")
        ));
        tells_each_client(router.addr, version);
        assert!(!router.stderr().iter().any(|line| line.contains("is out")), "{:?}", router.stderr());
        assert_eq!(running.stop(), 0);
    }
}

/// Two clients, each of which keeps its connection, and so does the router for each of them alone.
fn tells_each_client(router: SocketAddr, version: &str) {
    let mut clients = [CLIENT, CLIENT].map(|from| Client::from(from, router));
    for nth in 1..=3 {
        for client in &mut clients {
            let expected = format!("{CLIENT}:{} to {router} 127.0.0.1 {nth}\n", client.port());
            assert_eq!(client.get("/", ""), (200, expected), "{version}");
        }
    }
    // Who has gone leaves no connection for others.
    drop(clients);
    let mut next = Client::from(PROXY, router);
    let expected = format!("{PROXY}:{} to {router} 127.0.0.1 1\n", next.port());
    assert_eq!(next.get("/", ""), (200, expected), "{version}");
}

/// What HAProxy knows of a connection.
const HAPROXY_BACKEND: &str = "frontend app\n    bind 127.0.0.1:PORT accept-proxy\n    http-request return status 200 \
    content-type text/plain lf-string \"%[src]:%[src_port] to %[dst]:%[dst_port] id=%[fc_pp_unique_id] name=%[fc_pp_authority]\"\n";

#[test]
fn haproxy_behind_a_stream_is_told_of_each_client() {
    programs::haproxy();
    for version in ["v1", "v2"] {
        let app = manifest(RUN_HAPROXY, &format!("protocol = \"tcp\"\nproxy_protocol = \"{version}\""));
        let app = app.file("haproxy.in", format!("{HAPROXY}{HAPROXY_BACKEND}"));
        let mut running = running(&app);
        let service: SocketAddr = ([127, 0, 0, 1], app.port("web")).into();
        for from in [CLIENT, PROXY] {
            let mut client = Client::from(from, service);
            let expected = format!("{from}:{} to {service} id=", client.port());
            let (status, body) = client.get("/", "");
            assert!(status == 200 && body.starts_with(&expected), "{version}: {body}");
            let id = body.strip_prefix(&expected).unwrap().split(' ').next().unwrap();
            // A UUID, where there is room for one.
            assert_eq!(id.len(), if version == "v2" { 36 } else { 0 }, "{body}");
        }
        assert_eq!(running.stop(), 0);
    }
}

#[test]
fn what_a_header_says_is_passed_on_from_one_proxy_to_the_next() {
    programs::haproxy();
    let app = manifest(RUN_HAPROXY, "protocol = \"http\"\nproxy_protocol = \"v2\"");
    let app = app.file("haproxy.in", format!("{HAPROXY}{HAPROXY_BACKEND}"));
    let mut running = running(&app);
    let router = Routed::start(&format!(
        "[router]\nproxy_protocol = \"{PROXY}\"\n[routes.shop]\ntargets = \"{}\"\nproxy_protocol = \"v2\"\n",
        instance(&app, "web")
    ));
    // The client is 192.0.2.7:4711, and has called 198.51.100.2:8443 `shop.example`.
    let addresses = [&[192, 0, 2, 7, 198, 51, 100, 2][..], &4711_u16.to_be_bytes(), &8443_u16.to_be_bytes()].concat();
    let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1b", &addresses[..], b"\x02\0\x0cshop.example"].concat();
    let mut client = Client::from(PROXY, router.addr);
    client.0.get_mut().write_all(&header).unwrap();
    let (status, body) = client.get("/", "");
    assert!(status == 200 && body.starts_with("192.0.2.7:4711 to 198.51.100.2:8443 id="), "{body}");
    assert!(body.ends_with(" name=shop.example"), "{body}");
    // Where the client is not known the proxy is named: a target that was told nothing would take it for a local one.
    let mut unknown = Client::from(PROXY, router.addr);
    unknown.0.get_mut().write_all(b"PROXY UNKNOWN\r\n").unwrap();
    let (status, body) = unknown.get("/", "");
    let expected = format!("{PROXY}:{} to {} id=", unknown.port(), router.addr);
    assert!(status == 200 && body.starts_with(&expected) && body.ends_with(" name="), "{body}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_service_port_takes_handles_as_they_are() {
    // All of this machine is listed, and still who uses a handle need not know of headers.
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\n[router]\nproxy_protocol = [\"127.0.0.0/8\", \"::1\"]\n",
    );
    let shared = Base::find().0;
    let mut running = app.start(&["--http-port", &shared.to_string()]);
    running.ready(&["web"]);
    assert_eq!(running.get("web", "/").status, 200);
    // The shared listener does.
    let addr = SocketAddr::from(([127, 0, 0, 1], shared));
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    let said = running.err_line("does not begin with a PROXY header");
    assert!(said.contains("`proxy_protocol` of [router]"), "{said}");
    let mut client = Client::from(CLIENT, addr);
    client.0.get_mut().write_all(b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 8443\r\n").unwrap();
    let request = "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    client.0.get_mut().write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(running.stop(), 0);
}

/// A certificate for `shop.example` that nobody has signed but itself, in this directory.
fn with_certificate(app: AppDir) -> AppDir {
    programs::openssl();
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=shop.example -addext \
                   subjectAltName=DNS:shop.example -keyout key.pem -out chain.pem";
    let mut command = app.any_command("openssl");
    command.args(request.split_whitespace());
    finish(command, "openssl req").must_be(0);
    app
}

/// A target of a test's own, for one request: gives what came on its connection up to the end of the head. Who only asks
/// whether somebody is there is passed over.
fn one_request(listener: TcpListener) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let (mut seen, mut chunk, mut read) = (Vec::new(), [0; 4096], 1);
            while read > 0 && !seen.ends_with(b"\r\n\r\n") {
                read = stream.read(&mut chunk).unwrap();
                seen.extend_from_slice(&chunk[..read]);
            }
            if read > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                return seen;
            }
        }
    })
}

#[test]
fn a_header_comes_before_tls_and_what_tls_says_goes_on() {
    programs::haproxy();
    programs::curl();
    for (version, alpn, tls) in [("--http1.1", "http/1.1", "TLSv1.3"), ("--http2", "h2", "TLSv1.3")] {
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let dir = with_certificate(AppDir::new());
        let file = format!(
            "listen = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"\n[router]\nproxy_protocol = \"{PROXY}\"\n\
             [router.tls]\ncertificates = [{{ chain = \"chain.pem\", key = \"key.pem\" }}]\n\
             [routes.shop]\ntargets = \"{}\"\nproxy_protocol = \"v2\"\nhealth = {{ every = \"1h\" }}\n",
            target.local_addr().unwrap()
        );
        let router = Routed::start_in(&dir, &file, &[]);
        let secure = until("a listener with TLS", || {
            router.stdout().iter().find_map(|line| line.strip_prefix("listening ")?.strip_suffix(" tls")?.parse().ok())
        });
        let (_app, mut edge, at) = stream_haproxy_before(secure);
        let seen = one_request(target);
        let mut curl = router.dir().any_command("curl");
        let resolve = format!("shop.example:{}:127.0.0.1", at.port());
        let url = format!("https://shop.example:{}/", at.port());
        let from = CLIENT.to_string();
        curl.args(["-sS", version, "--interface", &from, "--cacert", "chain.pem", "--resolve", &resolve, &url]);
        let output = finish(curl, "curl").must_be(0);
        assert_eq!(output.stdout, "ok");
        let seen = seen.join().unwrap();
        let (client, server, entries, head) = read_tcp4(&seen);
        assert_eq!((client.ip(), server), (IpAddr::from(CLIENT), at));
        assert_eq!((&*entries[&1], &*entries[&2]), (alpn.as_bytes(), &b"shop.example"[..]));
        // The client speaks TLS, has shown no certificate, and this is the version.
        assert_eq!(entries[&0x20], [b"\x01\0\0\0\x01\x21\0\x07", tls.as_bytes()].concat());
        let (head, id) = (String::from_utf8_lossy(head), String::from_utf8_lossy(&entries[&5]));
        for field in [
            format!("X-Forwarded-For: {CLIENT}"),
            "X-Forwarded-Proto: https".to_owned(),
            format!("X-Forwarded-Port: {}", at.port()),
            format!("X-Request-ID: {id}"),
        ] {
            assert!(head.contains(&format!("\r\n{field}\r\n")), "no {field}: {head}");
        }
        assert_eq!(edge.stop(), 0);
    }
}

/// The client and the server of a header of version 2 over IPv4, its entries, and what follows.
fn read_tcp4(bytes: &[u8]) -> (SocketAddr, SocketAddr, BTreeMap<u8, Vec<u8>>, &[u8]) {
    let (fixed, rest) = bytes.split_at(16);
    assert_eq!(fixed[..14], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11");
    let (block, behind) = rest.split_at(usize::from(u16::from_be_bytes([fixed[14], fixed[15]])));
    let end = |ip: usize, port: usize| {
        let ip: [u8; 4] = block[ip..ip + 4].try_into().unwrap();
        SocketAddr::from((ip, u16::from_be_bytes([block[port], block[port + 1]])))
    };
    let (mut entries, mut left) = (BTreeMap::new(), &block[12..]);
    while let [kind, high, low, more @ ..] = left {
        let (value, next) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        assert!(entries.insert(*kind, value.to_vec()).is_none(), "{kind} is there twice");
        left = next;
    }
    (end(0, 8), end(4, 10), entries, behind)
}

/// HAProxy that passes on bytes, in front of this address.
fn stream_haproxy_before(addr: SocketAddr) -> (AppDir, Running, SocketAddr) {
    let config = format!(
        "defaults\n    mode tcp\n    timeout connect 10s\n    timeout client 30s\n    timeout server 30s\n\
         listen edge\n    bind 127.0.0.1:PORT\n    server router {addr} source {PROXY} send-proxy-v2\n"
    );
    let app = manifest(RUN_HAPROXY, "protocol = \"tcp\"").file("haproxy.in", config);
    let running = running(&app);
    let at = instance(&app, "web");
    (app, running, at)
}
