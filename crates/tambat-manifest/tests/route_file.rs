//! A router's file: every sentence that its reader may meet, what it means, and how large it may be.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use proptest::prelude::*;
use tambat_manifest::{LoadError, RouteFile, Text};
use tambat_model::{
    AccessLogFormat, Balance, ClientAuthPlan, HealthRules, HttpsRedirect, Network, Protocol, ProxyProtocol,
};

/// A file of 100,000 names is read within this, on a busy machine and without optimisation, too.
const READ_LIMIT: Duration = Duration::from_secs(30);

const LISTEN: &str = "listen = \"127.0.0.1:0\"\n";

/// Every key there is.
const EVERYTHING: &str = r#"
listen = ["127.0.0.1:0", "localhost:8080", "0.0.0.0:80"]
listen_tls = "127.0.0.1:8443"
[router]
workers = 3
trusted = ["10.0.0.0/8", "::1"]
proxy_protocol = ["192.0.2.0/24", "::1"]
max_connections = 256
timeouts = { head = "1s", body_idle = "2s", keep_alive = "3s", connect = "4s" }
access_log = "-"
access_log_format = "text"
metrics = "127.0.0.1:9090"
tls = { certificates = [{ chain = "a.pem", key = "a.key" }], client_ca = "ca.pem" }
[routes."shop.v2"]
hosts = ["*.shop.example", "Shop.Example."]
path = "/api/"
strip_path = true
targets = ["localhost:3000", "[::1]:3001"]
proxy_protocol = "v2"
balance = "least-in-flight"
timeouts = { first_byte = "5s", response_idle = "6s", idle = "7s", wait = "8s" }
max_body = "10MiB"
max_in_flight = 100
queue = 50
https_redirect = true
hsts = "365d"
sticky = "sid"
headers = { "X-Frame-Options" = "DENY", Server = "" }
health = { path = "/healthz", every = "1s", within = "500ms", up = 1, down = 5 }
"#;

fn read(text: &str) -> RouteFile {
    RouteFile::new(&Text::new("routes.toml", text)).unwrap_or_else(|all| panic!("{}", all[0].render(false)))
}

/// What is said of a file.
fn said(text: &str) -> String {
    let Err(all) = RouteFile::new(&Text::new("routes.toml", text)) else { panic!("nothing is wrong: {text}") };
    let all = all.iter().map(|d| d.render(false)).collect::<Vec<_>>().join("\n\n");
    for line in all.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    all
}

/// What is said of a route with these lines.
fn said_of_route(lines: &str) -> String {
    said(&format!("{LISTEN}[routes.shop]\n{lines}\n"))
}

#[test]
fn a_route_needs_a_target_and_nothing_else() {
    let file = read("listen = \"127.0.0.1:8080\"\n[routes.shop]\ntargets = \"127.0.0.1:3000\"\n");
    assert_eq!(file.listen(), ["127.0.0.1:8080".parse().unwrap()]);
    let [shop] = file.routes() else { panic!("one route") };
    assert_eq!((shop.name.as_str(), shop.hosts[0].to_string(), shop.path.as_str()), ("shop", "*".to_owned(), "/"));
    assert_eq!(shop.targets, ["127.0.0.1:3000".parse().unwrap()]);
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    assert_eq!((shop.protocol, shop.proxy_protocol), (Protocol::Http, None));
    let http = &shop.http;
    assert_eq!((seconds(http.first_byte), seconds(http.response_idle)), (Some(30), Some(55)));
    assert_eq!((seconds(http.wait), shop.wait.as_secs(), shop.idle.as_secs()), (Some(30), 30, 3_600));
    assert!(!http.waits_when_refused && !shop.strip && http.sticky.is_none() && http.body_bytes_max.is_none());
    assert_eq!((shop.health.clone(), shop.health_host()), (HealthRules::default(), None));
}

#[test]
fn targets_may_speak_http2() {
    let file = read("listen = \"127.0.0.1:8080\"\n[routes.rpc]\nprotocol = \"h2c\"\ntargets = \"127.0.0.1:50051\"\n");
    assert_eq!(file.routes()[0].protocol, Protocol::H2c);
    let other = said_of_route("targets = \"127.0.0.1:50051\"\nprotocol = \"gopher\"");
    assert!(other.contains("error: `gopher` is not a protocol known here"), "{other}");
    let told = said_of_route("targets = \"127.0.0.1:50051\"\nprotocol = \"h2c\"\nproxy_protocol = \"v2\"");
    let shared = "error: targets that speak h2c get no PROXY header: clients share the connections\n       to them";
    assert!(told.contains(shared), "{told}");
}

/// Routes with listeners of their own, and nothing that all share.
const OWN: &str = r#"
[router]
tls = { certificates = [{ chain = "a.pem", key = "a.key" }] }
listen = [{ address = "0.0.0.0:443", peek = ["tls", "ssh"], within = "2s", fallback = "mail" }]
[routes.cache]
protocol = "redis"
hosts = "cache.example"
listen = ["0.0.0.0:6380", "127.0.0.1:6381"]
tls = "terminate"
expose = true
targets = "127.0.0.1:6379"
max_connections = 10
timeouts = { idle = "5s", connect = "1s" }
[routes.web]
hosts = "web.example"
listen = "0.0.0.0:443"
targets = "127.0.0.1:3000"
[routes.shell]
protocol = "ssh"
listen = "0.0.0.0:443"
targets = "192.0.2.1:22"
[routes.mail]
protocol = "smtp"
listen = "192.0.2.2:25"
targets = "192.0.2.3:25"
[routes.names]
protocol = "dns"
listen = "127.0.0.1:5353"
targets = "127.0.0.1:5300"
"#;

#[test]
fn routes_may_have_listeners_of_their_own() {
    let file = read(OWN);
    assert!(file.listen().is_empty() && file.listen_tls().is_empty());
    let entrances = file.entrances().iter().map(|plan| {
        let who = plan.claims.iter().map(|claim| format!("{} {}", claim.who, claim.tls.as_str())).collect::<Vec<_>>();
        let peek = plan.openings.iter().map(|opening| opening.as_str()).collect::<Vec<_>>();
        let within = plan.within.map_or(0, |within| within.as_secs());
        format!("{} {:?} {within}: {}", plan.at, peek, who.join(", "))
    });
    assert_eq!(
        entrances.collect::<Vec<_>>(),
        [
            "0.0.0.0:443 [\"tls\", \"ssh\"] 2: web terminate, shell off, mail off",
            "0.0.0.0:6380 [\"tls\"] 0: cache terminate",
            "127.0.0.1:5353 [] 0: names off",
            "127.0.0.1:6381 [\"tls\"] 0: cache terminate",
            "192.0.2.2:25 [] 0: mail off",
        ]
    );
    let cache = &file.routes()[0];
    assert_eq!((cache.protocol, cache.listen.len(), cache.idle), (Protocol::Redis, 2, Duration::from_secs(5)));
    assert_eq!((cache.connect, cache.connections_max.map(u32::from)), (Some(Duration::from_secs(1)), Some(10)));
    // What is peeked at is read again with the routes.
    let other = read(&OWN.replace("peek = [\"tls\", \"ssh\"]", "peek = [\"ssh\", \"tls\", \"http\"]"));
    assert!(other.differs_in_routes_alone(&file));
    assert!(!read(&OWN.replace("a.pem", "b.pem")).differs_in_routes_alone(&file));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of sentences is as long as it has sentences")]
fn what_is_wrong_with_a_listener_of_a_route() {
    let wrong = |from: &str, to: &str| {
        assert!(OWN.contains(from), "{from}");
        said(&OWN.replace(from, to))
    };
    assert_snapshot!(wrong("expose = true\n", ""), @r#"
    error: at 0.0.0.0:6380 `cache` is reached from other machines, and cannot see
           from which: Redis' protected mode would take every client for a local one
     --> routes.toml:8:11
      |
    8 | listen = ["0.0.0.0:6380", "127.0.0.1:6381"]
      |           ^^^^^^^^^^^^^^
      |
      = help: expose = true, if it guards itself (a password, certificates); or
              `proxy_protocol`, if it reads that
    "#);
    assert_snapshot!(wrong("fallback = \"mail\"", "fallback = \"male\""), @r#"
    error: there is no route `male` to fall back to
     --> routes.toml:4:87
      |
    4 | ...sh"], within = "2s", fallback = "male" }]
      |                                    ^^^^^^
      |
      = help: did you mean "mail"?
    "#);
    assert_snapshot!(wrong("fallback = \"mail\"", "fallback = \"web\""), @r#"
    error: `web` speaks http, so it cannot be the fallback
     --> routes.toml:4:87
      |
    4 | ...sh"], within = "2s", fallback = "web" }]
      |                                    ^^^^^
      |
      = help: whoever gets streams of which nothing is known can
    "#);
    assert_snapshot!(wrong(", \"ssh\"]", "]"), @r#"
    error: `shell` and `mail` cannot be told apart at 0.0.0.0:443, where the second
           one is the fallback
      --> routes.toml:20:10
       |
    20 | listen = "0.0.0.0:443"
       |          ^^^^^^^^^^^^^
       |
       = help: give it an address of its own
    "#);
    assert_snapshot!(wrong("hosts = \"web.example\"\nlisten = \"0.0.0.0:443\"", "hosts = \"cache.example\"\nlisten = \"0.0.0.0:6380\""), @r#"
    error: clients of `cache` and of `web` begin in different ways, and nothing says
           that 0.0.0.0:6380 is for both
      --> routes.toml:16:10
       |
     8 | listen = ["0.0.0.0:6380", "127.0.0.1:6381"]
       |           --------------
    ...
    16 | listen = "0.0.0.0:6380"
       |          ^^^^^^^^^^^^^^
       |
       = help: give each an address of its own; or, in this file:
               [[router.listen]]
               address = "0.0.0.0:6380"
               peek = ["tls", "http"]
    "#);
    assert_snapshot!(wrong("listen = \"127.0.0.1:5353\"", "listen = \"0.0.0.0:6381\""), @r#"
    error: 0.0.0.0:6381 and 127.0.0.1:6381 cannot both be listened at
      --> routes.toml:8:27
       |
     8 | listen = ["0.0.0.0:6380", "127.0.0.1:6381"]
       |                           ^^^^^^^^^^^^^^^^
    ...
    28 | listen = "0.0.0.0:6381"
       |          --------------
       |
       = help: one has the other in it, or is it: choose another address, or the
               same one at both routes

    error: at 0.0.0.0:6381 `names` is reached from other machines, and cannot see
           from which: whatever it answers local clients, it would answer everybody
      --> routes.toml:28:10
       |
    28 | listen = "0.0.0.0:6381"
       |          ^^^^^^^^^^^^^^
       |
       = help: expose = true, if it guards itself (a password, certificates); or
               `proxy_protocol`, if it reads that
    "#);
    assert_snapshot!(wrong("tls = { certificates = [{ chain = \"a.pem\", key = \"a.key\" }] }\n", ""), @r#"
    error: there is no certificate for the handshakes that end at 0.0.0.0:443
      --> routes.toml:15:10
       |
    15 | listen = "0.0.0.0:443"
       |          ^^^^^^^^^^^^^
       |
       = help: [router.tls]
               certificates = [{ chain = "fullchain.pem", key = "privkey.pem" }]
    "#);
    assert_snapshot!(wrong("[router]", "listen = \"127.0.0.1:6381\"\n[router]"), @r#"
    error: 127.0.0.1:6381 and 127.0.0.1:6381 cannot both be listened at
     --> routes.toml:9:27
      |
    2 | listen = "127.0.0.1:6381"
      |          ----------------
    ...
    9 | listen = ["0.0.0.0:6380", "127.0.0.1:6381"]
      |                           ^^^^^^^^^^^^^^^^
      |
      = help: one has the other in it, or is it: choose another address, or the same
              one at both routes
    "#);
    assert_snapshot!(wrong("targets = \"127.0.0.1:3000\"", "targets = \"127.0.0.1:6381\""), @r#"
    error: the target 127.0.0.1:6381 of `web` is this router
      --> routes.toml:17:11
       |
     8 | listen = ["0.0.0.0:6380", "127.0.0.1:6381"]
       |                           ---------------- the router listens here
    ...
    17 | targets = "127.0.0.1:6381"
       |           ^^^^^^^^^^^^^^^^ it would send connections to itself
    "#);
    assert_snapshot!(wrong("address = \"0.0.0.0:443\"", "address = \"0.0.0.0:444\""), @r#"
    error: no route listens at 0.0.0.0:444, so nobody is reached there
     --> routes.toml:4:23
      |
    4 | listen = [{ address = "0.0.0.0:444", peek = ["tls", "ssh"], within = "2s"...
      |                       ^^^^^^^^^^^^^
      |
      = help: in a route: listen = "0.0.0.0:444"

    error: clients of `web` and of `shell` begin in different ways, and nothing says
           that 0.0.0.0:443 is for both
      --> routes.toml:20:10
       |
    16 | listen = "0.0.0.0:443"
       |          -------------
    ...
    20 | listen = "0.0.0.0:443"
       |          ^^^^^^^^^^^^^
       |
       = help: give each an address of its own; or, in this file:
               [[router.listen]]
               address = "0.0.0.0:443"
               peek = ["tls", "ssh"]
    "#);
    assert_snapshot!(wrong("listen = \"192.0.2.2:25\"\n", ""), @r#"
    error: `mail` speaks smtp and has no `listen`, so nobody reaches it
      --> routes.toml:23:1
       |
    23 | protocol = "smtp"
       | ^^^^^^^^^^^^^^^^^
       |
       = help: listen = "0.0.0.0:…"; listeners that all share are for http and h2c
    "#);
    assert_snapshot!(said_of_route("targets = \"127.0.0.1:1\"\ntls = \"terminate\"\nmax_connections = 1"), @r#"
    error: `shop` has no `listen`, so `tls` says nothing
     --> routes.toml:4:1
      |
    4 | tls = "terminate"
      | ^^^^^^^^^^^^^^^^^
      |
      = help: where all share a listener, it is the one of `listen` or of
              `listen_tls`

    error: `shop` speaks http, so it is requests that are limited
     --> routes.toml:5:1
      |
    5 | max_connections = 1
      | ^^^^^^^^^^^^^^^^^^^
      |
      = help: max_in_flight = …: how many requests a target has at a time
    "#);
    assert_snapshot!(wrong("max_connections = 10\n", "sticky = true\nhealth = { path = \"/\" }\n"), @r#"
    error: `cache` does not speak http, so `sticky` says nothing
      --> routes.toml:12:1
       |
    12 | sticky = true
       | ^^^^^^^^^^^^^
       |
       = help: leave it out, or say protocol = "http" if that is what it speaks

    error: `cache` does not speak http, so `health` has no path to ask
      --> routes.toml:13:1
       |
    13 | health = { path = "/" }
       | ^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: health = {}: it must accept a connection
    "#);
    assert_snapshot!(wrong("protocol = \"smtp\"", "protocol = \"none\""), @r#"
    error: `mail` speaks none, so it cannot be the fallback
     --> routes.toml:4:87
      |
    4 | ...sh"], within = "2s", fallback = "mail" }]
      |                                    ^^^^^^
      |
      = help: whoever gets streams of which nothing is known can

    error: whoever speaks nothing ("none") is no target
      --> routes.toml:23:12
       |
    23 | protocol = "none"
       |            ^^^^^^
       |
       = help: "tcp" is any stream

    error: `mail` speaks nothing (protocol = "none"), so nobody reaches it at
           192.0.2.2:25
      --> routes.toml:24:10
       |
    24 | listen = "192.0.2.2:25"
       |          ^^^^^^^^^^^^^^
       |
       = help: leave out `listen`
    "#);
}

#[test]
fn everything_that_may_be_said() {
    let file = read(EVERYTHING);
    let listen: Vec<String> = file.listen().iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:0", "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:80"]);
    let plan = &file.router().plan;
    assert_eq!((plan.workers.map(u16::from), plan.connections_max.map(u32::from)), (Some(3), Some(256)));
    assert_eq!(plan.trusted, ["10.0.0.0/8", "::1"].map(|text| text.parse::<Network>().unwrap()).into_iter().collect());
    let peers = ["192.0.2.0/24", "::1"].map(|text| text.parse::<Network>().unwrap());
    assert_eq!(plan.proxy_peers, peers.into_iter().collect());
    assert_eq!((plan.access_log.as_deref(), plan.access_log_format), (Some("-"), AccessLogFormat::Text));
    assert_eq!(plan.timeouts.keep_alive, Some(Duration::from_secs(3)));
    assert_eq!(file.listen_tls(), ["127.0.0.1:8443".parse().unwrap()]);
    let [files] = &*plan.tls.certificates else { panic!("one certificate") };
    assert_eq!((files.chain.as_str(), files.key.as_str()), ("a.pem", "a.key"));
    // Who names a CA means it, unless they say otherwise.
    assert_eq!(plan.tls.client_auth, Some(ClientAuthPlan { ca: "ca.pem".to_owned(), required: true }));
    assert_eq!(file.router().metrics, Some("127.0.0.1:9090".parse().unwrap()));
    let shop = &file.routes()[0];
    let targets: Vec<String> = shop.targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["127.0.0.1:3000", "[::1]:3001"]);
    assert_eq!((shop.path.as_str(), shop.strip, shop.health_host()), ("/api", true, Some("shop.example")));
    assert_eq!(shop.proxy_protocol, Some(ProxyProtocol::V2));
    let http = &shop.http;
    assert_eq!((http.balance, http.body_bytes_max), (Balance::LeastInFlight, Some(10 * 1024 * 1024)));
    assert_eq!(http.sticky.as_ref().map(|sticky| sticky.cookie.as_str()), Some("sid"));
    assert_eq!(http.headers[1], ("Server".to_owned(), String::new()));
    let hsts = ("Strict-Transport-Security".to_owned(), "max-age=31536000".to_owned());
    assert_eq!(http.https_headers.as_ref().unwrap()[2], hsts);
    assert_eq!((http.https_redirect, http.health_path.as_deref()), (HttpsRedirect::Always, Some("/healthz")));
    assert_eq!((shop.health.up.get(), shop.health.down.get()), (1, 5));
}

#[test]
fn tls_needs_a_certificate_and_an_address_of_its_own() {
    let route = "[routes.shop]\ntargets = \"127.0.0.1:3000\"\n";
    let tls = |lines: &str| said(&format!("listen_tls = \"127.0.0.1:8443\"\n{lines}\n{route}"));
    assert_snapshot!(tls(""), @r#"
    error: there is no certificate to listen with
     --> routes.toml:1:1
      |
    1 | listen_tls = "127.0.0.1:8443"
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: [router.tls]
              certificates = [{ chain = "fullchain.pem", key = "privkey.pem" }]
    "#);
    assert_snapshot!(tls("listen = \"127.0.0.1:8443\"\n[router.tls]\ncertificates = [{ chain = \"a\", key = \"b\" }]"), @r#"
    error: 127.0.0.1:8443 cannot be with TLS and without
     --> routes.toml:1:14
      |
    1 | listen_tls = "127.0.0.1:8443"
      |              ^^^^^^^^^^^^^^^^
    2 | listen = "127.0.0.1:8443"
      |          ----------------
      |
      = help: keep one of the two
    "#);
    assert_snapshot!(tls("[router.tls]\ncertificates = [{ chain = \"a.pem\" }]"), @r#"
    error: this certificate has no `key`
     --> routes.toml:3:17
      |
    3 | certificates = [{ chain = "a.pem" }]
      |                 ^^^^^^^^^^^^^^^^^^^
      |
      = help: { chain = "fullchain.pem", key = "privkey.pem" }
    "#);
    assert_snapshot!(tls("[router.tls]\ncertificates = \"a.pem\""), @r#"
    error: expected a list of tables, found a string
     --> routes.toml:3:16
      |
    3 | certificates = "a.pem"
      |                ^^^^^^^
      |
      = help: certificates = [{ chain = "fullchain.pem", key = "privkey.pem" }]
    "#);
    assert_snapshot!(tls("[router.tls]\nclient_auth = \"optional\""), @r#"
    error: nothing says who signs the certificates of clients
     --> routes.toml:3:1
      |
    3 | client_auth = "optional"
      | ^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: client_ca = "ca.pem"
    "#);
    assert_snapshot!(tls("[router.tls]\nclient_auth = \"maybe\"\nclient_ca = \"ca.pem\""), @r#"
    error: `client_auth` takes one of "required", "optional", not "maybe"
     --> routes.toml:3:15
      |
    3 | client_auth = "maybe"
      |               ^^^^^^^
    "#);
    assert_snapshot!(said_of_route("targets = \"127.0.0.1:3000\"\nhsts = \"1h\""), @r#"
    error: `1h` is not a number of days, such as "365d", up to 3650; "0d" has
           browsers forget it
     --> routes.toml:4:8
      |
    4 | hsts = "1h"
      |        ^^^^
    "#);
}

#[test]
fn tls_may_be_all_there_is() {
    let route = "[routes.shop]\ntargets = \"127.0.0.1:3000\"\n";
    let file = read(&format!(
        "listen_tls = \"127.0.0.1:0\"\n{route}[router.tls]\ncertificates = [{{ chain = \"a\", key = \"b\" }}]"
    ));
    assert_eq!((file.listen().len(), file.listen_tls().len()), (0, 1));
    assert_eq!(file.router().plan.tls.client_auth, None);
    let tables = ["a", "b"].map(|name| format!("[[router.tls.certificates]]\nchain = \"{name}\"\nkey = \"{name}\"\n"));
    let file = read(&format!("listen_tls = \"127.0.0.1:0\"\n{route}{}", tables.concat()));
    assert_eq!(file.router().plan.tls.certificates[1].chain, "b");
}

#[test]
fn what_is_missing() {
    assert_snapshot!(said(""), @r#"
    error: nothing says where to listen
     --> routes.toml:1:1
      |
    1 |
      | ^
      |
      = help: listen = "127.0.0.1:8080"
    "#);
    assert_snapshot!(said("listen = []\n[routes.shop]\ntargets = \"127.0.0.1:3000\"\n"), @r#"
    error: nothing says where to listen
     --> routes.toml:1:10
      |
    1 | listen = []
      |          ^^
      |
      = help: listen = "127.0.0.1:8080"
    "#);
    assert_snapshot!(said_of_route(""), @r#"
    error: `shop` has no targets
     --> routes.toml:2:9
      |
    2 | [routes.shop]
      |         ^^^^
      |
      = help: targets = ["127.0.0.1:3000"]
    "#);
    assert_snapshot!(said_of_route("targets = []"), @r#"
    error: `shop` has no targets
     --> routes.toml:3:11
      |
    3 | targets = []
      |           ^^
      |
      = help: targets = ["127.0.0.1:3000"]
    "#);
    assert_snapshot!(said_of_route("hosts = []\ntargets = \"127.0.0.1:3000\""), @r#"
    error: `shop` answers to no hostname
     --> routes.toml:3:9
      |
    3 | hosts = []
      |         ^^
      |
      = help: for all that nobody else claims, leave out `hosts`
    "#);
}

#[test]
fn unknown_keys() {
    assert_snapshot!(said("lisen = \"127.0.0.1:0\"\n[routes.shop]\ntargets = \"127.0.0.1:3000\"\n"), @r#"
    error: unknown key `lisen` at the top
     --> routes.toml:1:1
      |
    1 | lisen = "127.0.0.1:0"
      | ^^^^^
      |
      = help: did you mean `listen`?
    "#);
    assert_snapshot!(said_of_route("target = \"127.0.0.1:3000\""), @r#"
    error: unknown key `target` in `[routes.shop]`
     --> routes.toml:3:1
      |
    3 | target = "127.0.0.1:3000"
      | ^^^^^^
      |
      = help: did you mean `targets`?
    "#);
    assert_snapshot!(said_of_route("targets = \"127.0.0.1:3000\"\nworkers = 2"), @r#"
    error: unknown key `workers` in `[routes.shop]`
     --> routes.toml:4:1
      |
    4 | workers = 2
      | ^^^^^^^
      |
      = help: `workers` stands in `[router]`
    "#);
    assert_snapshot!(said_of_route("targets = \"127.0.0.1:3000\"\ntimeouts = { read = \"5s\" }"), @r#"
    error: unknown key `read` in `timeouts`
     --> routes.toml:4:14
      |
    4 | timeouts = { read = "5s" }
      |              ^^^^
      |
      = help: known here: first_byte, response_idle, connect, idle, wait
    "#);
    assert_snapshot!(said(&format!("{LISTEN}[processes.web]\ncommand = \"x\"\n")), @r#"
    error: unknown key `processes` at the top
     --> routes.toml:2:2
      |
    2 | [processes.web]
      |  ^^^^^^^^^
      |
      = help: known here: listen, listen_tls, router, routes
    "#);
}

#[test]
fn a_hostname_and_path_belongs_to_one_route() {
    let two = |first: &str, second: &str| {
        said(&format!(
            "{LISTEN}[routes.shop]\n{first}\ntargets = \"127.0.0.1:1\"\n[routes.blog]\n{second}\ntargets = \"127.0.0.1:2\"\n"
        ))
    };
    assert_snapshot!(two("hosts = \"a.example\"", "hosts = [\"b.example\", \"A.example.\"]"), @r#"
    error: `a.example` is claimed by `shop` and by `blog`
     --> routes.toml:6:23
      |
    3 | hosts = "a.example"
      |         ----------- by `shop`
    ...
    6 | hosts = ["b.example", "A.example."]
      |                       ^^^^^^^^^^^^ by `blog`
      |
      = help: one hostname and path belongs to one route: give one of them a `path`
    "#);
    assert_snapshot!(two("hosts = \"a.example\"\npath = \"/x\"", "hosts = \"a.example\"\npath = \"/x/\""), @r#"
    error: `a.example/x` is claimed by `shop` and by `blog`
     --> routes.toml:7:9
      |
    3 | hosts = "a.example"
      |         ----------- by `shop`
    ...
    7 | hosts = "a.example"
      |         ^^^^^^^^^^^ by `blog`
      |
      = help: one hostname and path belongs to one route: give one of them a `path`
    "#);
    assert_snapshot!(two("", ""), @r#"
    error: `*` is claimed by `shop` and by `blog`
     --> routes.toml:5:9
      |
    2 | [routes.shop]
      |         ---- by `shop`
    ...
    5 | [routes.blog]
      |         ^^^^ by `blog`
      |
      = help: one hostname and path belongs to one route: give one of them a `path`
    "#);
    assert_snapshot!(said_of_route("hosts = [\"a.example\", \"a.example\"]\ntargets = \"127.0.0.1:1\""), @r#"
    error: `a.example` is there twice
     --> routes.toml:3:23
      |
    3 | hosts = ["a.example", "a.example"]
      |          -----------  ^^^^^^^^^^^
      |
      = help: keep one of the two
    "#);
    // Another path, another name: no clash.
    let file = format!(
        "{LISTEN}[routes.a]\nhosts = \"a.example\"\ntargets = \"127.0.0.1:1\"\n\
         [routes.b]\nhosts = \"a.example\"\npath = \"/b\"\ntargets = \"127.0.0.1:2\"\n\
         [routes.c]\nhosts = \"*.example\"\ntargets = \"127.0.0.1:3\"\n"
    );
    assert_eq!(read(&file).routes().len(), 3);
}

#[test]
fn addresses() {
    for (address, sentence) in [
        ("db.internal:3000", "`db.internal:3000` is not an address of a target"),
        ("3000", "`3000` is not an address of a target"),
        (":3000", "`:3000` is not an address of a target"),
        ("127.0.0.1", "`127.0.0.1` is not an address of a target"),
        ("http://127.0.0.1:3000/", "`http://127.0.0.1:3000/` is not an address of a target"),
        ("127.0.0.1:0", "`127.0.0.1:0` has no port to dial"),
        ("localhost:0", "`localhost:0` has no port to dial"),
        ("0.0.0.0:3000", "`0.0.0.0` can be listened at, but not dialled"),
        ("127.0.0.1:99999", "`127.0.0.1:99999` is not an address of a target"),
    ] {
        let said = said_of_route(&format!("targets = \"{address}\""));
        assert!(said.contains(sentence) && said.contains("= help: "), "{said}");
    }
    assert_snapshot!(said_of_route("targets = [\"127.0.0.1:3000\", \"db:3000\"]"), @r#"
    error: `db:3000` is not an address of a target
     --> routes.toml:3:30
      |
    3 | targets = ["127.0.0.1:3000", "db:3000"]
      |                              ^^^^^^^^^
      |
      = help: write IP:PORT, such as "127.0.0.1:3000" or "[::1]:3000"; of names only
              `localhost` is known here
    "#);
    assert_snapshot!(said_of_route("targets = [\"127.0.0.1:3000\", \"localhost:3000\"]"), @r#"
    error: 127.0.0.1:3000 is there twice
     --> routes.toml:3:30
      |
    3 | targets = ["127.0.0.1:3000", "localhost:3000"]
      |            ----------------  ^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(said("listen = \"8080\"\n[routes.shop]\ntargets = \"127.0.0.1:3000\"\n"), @r#"
    error: `8080` is not an address to listen at
     --> routes.toml:1:10
      |
    1 | listen = "8080"
      |          ^^^^^^
      |
      = help: with its host: "127.0.0.1:8080"
    "#);
    assert_snapshot!(said("listen = \"127.0.0.1:3000\"\n[routes.shop]\ntargets = \"127.0.0.1:3000\"\n"), @r#"
    error: the target 127.0.0.1:3000 of `shop` is this router
     --> routes.toml:3:11
      |
    1 | listen = "127.0.0.1:3000"
      |          ---------------- the router listens here
    2 | [routes.shop]
    3 | targets = "127.0.0.1:3000"
      |           ^^^^^^^^^^^^^^^^ it would send requests to itself
    "#);
    let many: Vec<String> = (1..=257).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let said = said_of_route(&format!("targets = [{}]", many.join(",")));
    assert!(said.starts_with("error: `targets` takes at most 256 addresses, not 257\n"), "{said}");
}

#[test]
fn other_values() {
    let said_of = |line: &str| {
        let said = said_of_route(&format!("targets = \"127.0.0.1:3000\"\n{line}"));
        said.split("\n -->").next().unwrap_or_default().replace("\n       ", " ")
    };
    for (line, sentence) in [
        ("path = \"api\"", "error: `api` is not a path prefix: it begins with `/`"),
        (
            "hosts = \"http://a\"",
            "error: `http://a` is not a hostname: write it without scheme, port and path: shop.example.com",
        ),
        ("max_body = -1", "error: expected a size such as \"10MiB\", found -1"),
        ("max_body = \"10Mb\"", "error: `Mb` is not a unit of size known here: it is B, KiB, MiB, GiB, kB, MB or GB"),
        ("max_in_flight = 0", "error: expected a number from 1 up, found 0"),
        ("queue = \"5\"", "error: expected a number from 1 up, found a string"),
        ("sticky = \"a b\"", "error: `a b` is not the name of a cookie"),
        ("sticky = 1", "error: expected true, false or a string, found a number"),
        (
            "balance = \"round robin\"",
            "error: `balance` takes one of \"round-robin\", \"least-in-flight\", \"source-hash\", not \"round robin\"",
        ),
        ("strip_path = \"true\"", "error: expected true or false, found a string"),
        ("proxy_protocol = \"v3\"", "error: `proxy_protocol` takes one of \"v1\", \"v2\", not \"v3\""),
        ("proxy_protocol = true", "error: expected a string, found a boolean"),
        ("headers = { \"Content-Length\" = \"5\" }", "error: `Content-Length` cannot be set"),
        ("headers = { a = \"x\\r\\ny\" }", "error: the value of a field takes printable ASCII"),
        ("headers = { a = \"x\", A = \"y\" }", "error: the field `A` is there twice: names of fields do not tell case"),
        ("health = { path = \"x\" }", "error: a path begins with `/`"),
        ("health = { every = \"1ms\" }", "error: `every` is at least 50 ms"),
        ("health = { up = 0 }", "error: expected a number from 1 to 100, found 0"),
        ("health = { down = 101 }", "error: expected a number from 1 to 100, found 101"),
        ("timeouts = { first_byte = 30 }", "error: expected a duration such as \"30s\", found a number"),
        ("timeouts = { wait = \"0s\" }", "error: `wait` must be longer than nothing"),
    ] {
        let said = said_of(line);
        assert!(said.starts_with(sentence), "{line}: {said}");
    }
    let said_of = |line: &str| said(&format!("{LISTEN}[router]\n{line}\n[routes.a]\ntargets = \"127.0.0.1:1\"\n"));
    for (line, sentence) in [
        ("workers = 0", "error: expected a number from 1 to 256, found 0"),
        ("trusted = \"10.0.0.1/8\"", "error: `10.0.0.1/8` is no network: bits of the address are set behind"),
        ("proxy_protocol = \"v2\"", "error: `v2` is no network: write an address, or an address and a length"),
        ("proxy_protocol = true", "error: expected a string or a list of strings, found a boolean"),
        ("access_log = \"\"", "error: there is nothing in these quotes"),
        ("access_log_format = \"xml\"", "error: `access_log_format` takes one of \"json\", \"text\", not \"xml\""),
        ("metrics = \"9090\"", "error: `9090` is not an address to listen at"),
        ("timeouts = { body = \"1s\" }", "error: unknown key `body` in `timeouts` of `[router]`"),
    ] {
        let said = said_of(line);
        assert!(said.starts_with(sentence), "{line}: {said}");
    }
    assert_snapshot!(said(&format!("{LISTEN}[routes.\"a b\"]\ntargets = \"127.0.0.1:1\"\n")), @r#"
    error: `a b` is not the name of a route
     --> routes.toml:2:9
      |
    2 | [routes."a b"]
      |         ^^^^^
      |
      = help: it takes letters, digits, `.`, `-` and `_`, at most 253 of them
    "#);
    assert_snapshot!(said("listen = [\n"), @r#"
    error: unclosed array, expected `]`
     --> routes.toml:1:11
      |
    1 | listen = [
      |           ^
    "#);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = said("[router]\nworkers = 0\n[routes.a]\npath = \"x\"\ntargets = \"y\"\n");
    for part in ["nothing says where to listen", "from 1 to 256", "it begins with `/`", "`y` is not an address"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_hundred_thousand_names_in_one_route_or_one_each() {
    let mut one = format!("{LISTEN}[routes.all]\ntargets = \"127.0.0.1:3000\"\nhosts = [\n");
    let mut each = LISTEN.to_owned();
    for nth in 0..100_000 {
        writeln!(one, "\"h{nth}.example\",").unwrap();
        write!(each, "[routes.r{nth}]\nhosts = \"h{nth}.example\"\ntargets = \"127.0.0.1:3000\"\n").unwrap();
    }
    one.push_str("]\n");
    let start = Instant::now();
    assert_eq!(read(&one).routes()[0].hosts.len(), 100_000);
    let in_one = start.elapsed();
    let start = Instant::now();
    assert_eq!(read(&each).routes().len(), 100_000);
    let as_many = start.elapsed();
    assert!(in_one < READ_LIMIT && as_many < READ_LIMIT, "{in_one:?} {as_many:?}");
}

#[test]
fn too_many_targets_to_ask() {
    let mut text = LISTEN.to_owned();
    for nth in 0..4_097 {
        let (third, fourth) = (nth / 250, nth % 250 + 1);
        write!(text, "[routes.r{nth}]\nhosts = \"h{nth}.example\"\ntargets = \"127.0.{third}.{fourth}:3000\"\n")
            .unwrap();
    }
    let said = said(&text);
    assert!(said.starts_with("error: the routes have 4097 targets to ask about their health\n"), "{said}");
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("routes.toml");
    let error = RouteFile::load(&path).unwrap_err();
    assert!(error.to_string().ends_with("routes.toml: there is no such file"), "{error}");
    assert!(matches!(RouteFile::load(dir.path()), Err(LoadError::Unreadable { .. })));
    std::fs::write(&path, b"listen = \"\xff\"\n").unwrap();
    let error = RouteFile::load(Path::new(&path)).unwrap_err();
    assert!(error.to_string().ends_with("line 1 is not UTF-8; save the file as UTF-8"), "{error}");
    // 64 MiB and one byte, of which the disk keeps none.
    std::fs::File::create(&path).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let error = RouteFile::load(&path).unwrap_err();
    assert!(error.to_string().contains("more than 67108864 bytes"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_a_file_or_is_told_why_not(
        from in 0..EVERYTHING.len(), length in 0..40_usize, with in "[\\[\\]{}=\"'.,#a-z0-9 \\n\\\\\u{e9}\u{0}]{0,12}",
    ) {
        let to = (from + length).min(EVERYTHING.len());
        let text = format!("{}{with}{}", &EVERYTHING[..from], &EVERYTHING[to..]);
        match RouteFile::new(&Text::new("routes.toml", text)) {
            Ok(file) => prop_assert!(!file.routes().is_empty() && !file.listen().is_empty()),
            Err(all) => {
                prop_assert!(!all.is_empty());
                all.iter().for_each(|diagnostic| drop(diagnostic.render(true)));
            }
        }
    }
}
