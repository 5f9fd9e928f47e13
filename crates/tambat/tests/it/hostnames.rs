//! Names at one port that all apps of a user share: who serves them, who has them, and what happens when the one that
//! accepts is gone.

use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{AppDir, Base, LIMIT, Response, Running, is_free, try_get_at, until};

const WEB: &str = "web: tambat-fixture serve\n";

/// A port for names, as 7080 is one; that for https is the next one.
#[derive(Clone, Copy)]
struct Names(u16);

impl Names {
    fn find() -> Self {
        Self(Base::find().0)
    }

    fn start(self, app: &AppDir) -> Running {
        let running = self.start_at_once(app, &[]);
        running.ready(&[]);
        running
    }

    fn start_at_once(self, app: &AppDir, more: &[&str]) -> Running {
        app.start_at(&[&self.arguments().each_ref().map(String::as_str)[..], more].concat())
    }

    fn arguments(self) -> [String; 6] {
        ["-p", "0", "--http-port", &self.0.to_string(), "--https-port", &self.https().to_string()].map(str::to_owned)
    }

    fn https(self) -> u16 {
        self.0 + 1
    }

    fn v4(self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.0).into()
    }

    fn get(self, name: &str, path: &str) -> Response {
        self.try_get(name, path).unwrap_or_else(|error| panic!("GET http://{name}:{}{path}: {error}", self.0))
    }

    fn try_get(self, name: &str, path: &str) -> io::Result<Response> {
        try_get_at(self.v4(), &format!("{name}:{}", self.0), path, "")
    }

    /// Waits until this name is answered with this body.
    fn until_body(self, name: &str, body: &str) {
        until(&format!("{name} to be {body}"), || (self.get(name, "/").body == body).then_some(()));
    }

    /// Waits until nobody has this name.
    fn until_unknown(self, name: &str) {
        until(&format!("{name} to be unknown"), || is_unknown(&self.get(name, "/")).then_some(()));
    }

    /// What the catalogue says: app, process, URLs, cause.
    fn catalogue(self) -> Vec<(String, String, Vec<String>, Option<String>)> {
        let page: Value = serde_json::from_str(&self.get("localhost", "/").body).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut all = Vec::new();
        for app in page["apps"].as_array().unwrap() {
            for process in app["processes"].as_array().unwrap() {
                let urls = process["urls"].as_array().unwrap().iter().map(text).collect();
                all.push((
                    text(&app["app"]),
                    text(&process["name"]),
                    urls,
                    process["cause"].as_str().map(str::to_owned),
                ));
            }
        }
        all
    }

    fn file(self, app: &AppDir, end: &str) -> PathBuf {
        if end == "lock" {
            let host = host_name();
            return app.home_path().join(format!("state/tambat/http-{}.{host}.lock", self.0));
        }
        app.home_path().join(format!("run/tambat/http-{}.{end}", self.0))
    }
}

/// What the machine calls itself: homes may be shared by several.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// Stops one while others go on, whose processes are not taken for what it has left.
fn end(running: &mut Running) {
    running.signal(Signal::SIGINT);
    assert_eq!(running.exit_code(), 0);
}

fn is_unknown(response: &Response) -> bool {
    response.status == 404 && response.head.contains("Tambat-Error: no-route")
}

/// The value of a field in a head.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let of =
        |line: &'a str| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    head.lines().find_map(of)
}

#[test]
fn an_app_is_visited_by_name() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\n\
         [processes.big_api]\ncommand = \"tambat-fixture serve\"\nprotocol = \"http\"\n\
         [processes.sub]\ncommand = \"tambat-fixture serve\"\nprotocol = \"http\"\npath = \"/sub\"\nstrip_path = true\n",
    );
    let names = Names::find();
    let mut running = names.start(&app);
    running.err_line(&format!("http://shop.localhost:{}", names.0));
    running.err_line(&format!("http://big-api.shop.localhost:{}", names.0));
    for name in ["web.shop.localhost", "shop.localhost", "SHOP.localhost."] {
        assert_eq!(names.get(name, "/").body, "web.1", "{name}");
    }
    assert_eq!(names.get("big-api.shop.localhost", "/").body, "big_api.1");
    assert_eq!(names.get("shop.localhost", "/sub/x").body, "sub.1");
    assert!(names.get("sub.shop.localhost", "/sub/head?q").body.starts_with("GET /head?q HTTP/1.1\r\n"));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, names.0));
    assert_eq!(try_get_at(v6, "shop.localhost", "/", "").unwrap().body, "web.1");
    let unknown = names.get("other.localhost", "/");
    assert!(is_unknown(&unknown), "{unknown:?}");
    assert!(!unknown.body.contains("shop"), "whoever asks for one name is not told of others: {}", unknown.body);
    // The service port takes any name.
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
    assert!(is_free(names.0));
}

#[test]
fn the_kernel_chooses_a_port_for_one_app_alone() {
    let app = AppDir::procfile(WEB);
    let mut running = app.start_at(&["-p", "0", "--http-port", "0"]);
    running.ready(&[]);
    let line = running.err_line("http://shop.localhost:");
    let names = Names(line.rsplit_once(':').unwrap().1.trim().parse().unwrap());
    assert_eq!(names.get("web.shop.localhost", "/").body, "web.1");
    let shared = std::fs::read_dir(app.home_path().join("run/tambat")).unwrap();
    assert!(shared.flatten().all(|entry| !entry.file_name().to_str().unwrap().starts_with("http-")));
    assert_eq!(running.stop(), 0);
}

#[test]
fn an_app_without_http_needs_no_names() {
    let app = AppDir::manifest("[processes.echo]\ncommand = \"tambat-fixture echo\"\nprotocol = \"tcp\"\n");
    let names = Names::find();
    let mut running = names.start(&app);
    assert!(is_free(names.0));
    assert_eq!(running.stop(), 0);
}

#[test]
fn two_apps_share_the_port_and_the_catalogue() {
    let shop = AppDir::procfile(WEB);
    let billing = shop.neighbour("billing").file("Procfile", "web: tambat-fixture serve\napi: tambat-fixture serve\n");
    let billing = billing.file("tambat.toml", "[processes.api]\nprotocol = \"http\"\n");
    let names = Names::find();
    let mut first = names.start(&shop);
    for end in ["sock", "lock"] {
        let mode = names.file(&shop, end).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{end}");
    }
    let mut second = names.start(&billing);
    second.err_line(&format!("http://billing.localhost:{}", names.0));
    names.until_body("billing.localhost", "web.1");
    assert_eq!(names.get("api.billing.localhost", "/").body, "api.1");
    assert_eq!(names.get("billing.localhost", "/pid").body, billing.pid_of("web").to_string());
    assert_eq!(names.get("shop.localhost", "/pid").body, shop.pid_of("web").to_string());
    // What changes is told in a moment, not at once.
    let catalogue = until("all to be served", || {
        Some(names.catalogue()).filter(|list| list.iter().all(|(.., cause)| cause.is_none()))
    });
    let said: Vec<(&str, &str)> = catalogue.iter().map(|(app, process, ..)| (app.as_str(), process.as_str())).collect();
    assert_eq!(said, [("billing", "api"), ("billing", "web"), ("shop", "web")]);
    let urls = &catalogue[1].2;
    assert!(urls.contains(&format!("http://billing.localhost:{}", names.0)), "{urls:?}");
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        assert!(names.get(host, "/").body.contains("billing"), "{host}");
    }
    let page = try_get_at(names.v4(), "localhost", "/", "Accept: text/html\r\n").unwrap();
    assert!(page.body.contains(&format!("<a href=\"http://billing.localhost:{}", names.0)), "{}", page.body);

    // Its names end with it, at once.
    assert_eq!(second.stop(), 0);
    names.until_unknown("billing.localhost");
    assert!(is_unknown(&names.get("api.billing.localhost", "/")));
    assert_eq!(names.get("shop.localhost", "/").body, "web.1");
    assert_eq!(names.catalogue().len(), 1);
    assert_eq!(first.stop(), 0);
    assert!(is_free(names.0));
    assert!(!names.file(&shop, "sock").exists());
}

#[test]
fn a_state_that_changes_is_in_the_catalogue() {
    let shop = AppDir::procfile(WEB);
    let billing = shop.neighbour("billing").file("Procfile", WEB);
    let names = Names::find();
    let mut first = names.start(&shop);
    let mut second = names.start(&billing);
    let cause = |app: &str| names.catalogue().into_iter().find(|(name, ..)| name == app).and_then(|(.., cause)| cause);
    for app in [&shop, &billing] {
        let name = app.path().file_name().unwrap().to_str().unwrap();
        app.tambat(&["pause", "web"]).must_be(0);
        until("the catalogue to say so", || (cause(name)?.contains("web is paused")).then_some(()));
        app.tambat(&["resume", "web"]).must_be(0);
        until("the catalogue to say so", || cause(name).is_none().then_some(()));
    }
    // What a process waits for is its own router's business.
    billing.tambat(&["pause", "web"]).must_be(0);
    let waiting = thread::spawn(move || names.get("billing.localhost", "/").body);
    until("it to wait", || (billing.process("web")["ports"][0]["waiting"] == 1).then_some(()));
    billing.tambat(&["resume", "web"]).must_be(0);
    assert_eq!(waiting.join().unwrap(), "web.1");
    end(&mut first);
    assert_eq!(second.stop(), 0);
}

#[test]
fn forwarding_fields_arrive_right_through_both_routers() {
    let shop = AppDir::procfile(WEB);
    let billing = shop.neighbour("billing").file("Procfile", WEB);
    let names = Names::find();
    let mut first = names.start(&shop);
    let mut second = names.start(&billing);
    names.until_body("billing.localhost", "web.1");
    let host = format!("billing.localhost:{}", names.0);
    let forged = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
                  X-Forwarded-Host: evil.example\r\nTambat-Hop: 00000000000000000000000000000000\r\n";
    let port = names.0.to_string();
    for fields in ["", forged] {
        for (addr, host) in [(names.v4(), host.as_str()), (names.v4(), &format!("shop.localhost:{}", names.0))] {
            let seen = try_get_at(addr, host, "/head", fields).unwrap().body;
            assert_eq!(field(&seen, "Host"), Some(host), "{seen}");
            assert_eq!(field(&seen, "X-Forwarded-Host"), Some(host), "{seen}");
            assert_eq!(field(&seen, "X-Forwarded-Proto"), Some("http"), "{seen}");
            assert_eq!(field(&seen, "X-Forwarded-Port"), Some(port.as_str()), "{seen}");
            let forwarded = field(&seen, "X-Forwarded-For").unwrap();
            assert!(forwarded.split(", ").all(|addr| addr == "127.0.0.1"), "{seen}");
            assert!(!seen.contains("6.6.6.6") && !seen.contains("evil"), "{seen}");
            assert!(field(&seen, "Tambat-Hop").is_none(), "no app sees it: {seen}");
        }
        // Nor does a service port believe a client that has guessed wrong.
        let addr = (Ipv4Addr::LOCALHOST, billing.port("web")).into();
        let seen = try_get_at(addr, "localhost", "/head", fields).unwrap().body;
        assert!(!seen.contains("6.6.6.6") && !seen.contains("evil") && !seen.contains("Hop"), "{seen}");
    }
    end(&mut first);
    assert_eq!(second.stop(), 0);
}

#[test]
fn the_first_to_come_has_a_name_and_the_second_gets_it_then() {
    let shop = AppDir::procfile(WEB);
    let other = shop.neighbour("other").file(
        "tambat.toml",
        "name = \"shop\"\n[processes.web]\ncommand = \"tambat-fixture serve\"\n\
         [processes.api]\ncommand = \"tambat-fixture serve\"\nprotocol = \"http\"\n",
    );
    let names = Names::find();
    let mut first = names.start(&shop);
    let mut second = names.start(&other);
    let url = format!("http://shop.localhost:{}", names.0);
    let note = second.err_line(&format!("{url} belongs to shop in {}", shop.path().display()));
    assert!(note.contains("which came first"), "{note}");
    names.until_body("api.shop.localhost", "api.1");
    assert_eq!(names.get("shop.localhost", "/pid").body, shop.pid_of("web").to_string());
    end(&mut first);
    second.err_line(&format!("{url} is ours now"));
    until("it to have the name", || {
        (names.get("shop.localhost", "/pid").body == other.pid_of("web").to_string()).then_some(())
    });

    // And the other way round: who comes back is the second now.
    let mut third = names.start(&shop);
    third.err_line(&format!("{url} belongs to shop in {}", other.path().display()));
    assert_eq!(names.get("shop.localhost", "/pid").body, other.pid_of("web").to_string());
    end(&mut second);
    third.err_line(&format!("{url} is ours now"));
    names.until_body("shop.localhost", "web.1");
    names.until_unknown("api.shop.localhost");
    assert_eq!(third.stop(), 0);
}

#[test]
fn who_came_first_keeps_its_name_when_another_takes_over() {
    let holder = AppDir::procfile(WEB);
    let toml = "name = \"same\"\n[processes.web]\ncommand = \"tambat-fixture serve\"\n";
    let (one, two) =
        (holder.neighbour("one").file("tambat.toml", toml), holder.neighbour("two").file("tambat.toml", toml));
    let names = Names::find();
    let mut first = names.start(&holder);
    let mut second = names.start(&one);
    names.until_body("same.localhost", "web.1");
    let mut third = names.start(&two);
    third.err_line("belongs to same in ");
    first.kill_9();
    let line = until("somebody to take over", || {
        let said =
            |running: &Running| running.stderr().into_iter().find(|line| line.contains("are served from here now"));
        said(&second).or_else(|| said(&third))
    });
    assert!(line.contains(&names.0.to_string()), "{line}");
    for _ in 0..20 {
        assert_eq!(names.get("same.localhost", "/pid").body, one.pid_of("web").to_string());
    }
    assert!(!third.stderr().iter().any(|line| line.contains("is ours now")));
    names.until_unknown("shop.localhost");
    end(&mut second);
    assert_eq!(third.stop(), 0);
    first.nothing_left(LIMIT);
}

/// Clients that ask for a name, until they are told to stop.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Seen>>,
}

/// What went wrong for one of them.
#[derive(Debug, Default)]
struct Seen {
    /// Refused connections and wrong answers.
    failures: Vec<String>,
    /// Connections that ended before their first answer was whole.
    cut: Vec<String>,
}

impl Load {
    /// Half of them connect anew for each request, the others for every fifth.
    fn begin(names: Names, name: &'static str, clients: usize) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |nth: usize| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            let requests = if nth.is_multiple_of(2) { 1 } else { 5 };
            thread::spawn(move || {
                let mut seen = Seen::default();
                while !over.load(Ordering::Relaxed) {
                    match TcpStream::connect(names.v4()) {
                        Ok(stream) => converse(&stream, name, requests, &answered, &mut seen),
                        Err(error) => seen.failures.push(format!("connect: {error}")),
                    }
                }
                seen
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { over, answered, clients }
    }

    /// Waits until so many more have been answered.
    fn more(&self, count: usize) {
        let target = self.answered.load(Ordering::Relaxed) + count;
        until("answers under load", || (self.answered.load(Ordering::Relaxed) >= target).then_some(()));
    }

    fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for client in self.clients {
            let mut seen = client.join().unwrap();
            all.failures.append(&mut seen.failures);
            all.cut.append(&mut seen.cut);
        }
        all
    }
}

/// Some requests on one connection.
fn converse(stream: &TcpStream, name: &str, requests: usize, answered: &AtomicUsize, seen: &mut Seen) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut reader = BufReader::new(stream);
    for nth in 0..requests {
        match request(&mut reader, name) {
            Ok((200, _, body)) if body == "web.1" => drop(answered.fetch_add(1, Ordering::Relaxed)),
            Ok(other) => seen.failures.push(format!("{other:?}")),
            // A kept connection may be closed between two requests; its client asks again on another.
            Err(_) if nth > 0 => return,
            Err(error) => return seen.cut.push(error.to_string()),
        }
    }
}

fn request(reader: &mut BufReader<&TcpStream>, name: &str) -> io::Result<(u16, String, String)> {
    write!(reader.get_mut(), "GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")?;
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head[before..].trim_end().is_empty() {
            break;
        }
    }
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let length = field(&head, "Content-Length").and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((status, head, String::from_utf8_lossy(&body).into_owned()))
}

const CLIENTS: usize = 6;

/// Three apps; names and requests are the third's.
fn three() -> (Names, [AppDir; 3], [Running; 3]) {
    let shop = AppDir::procfile(WEB);
    let apps =
        [shop.clone(), shop.neighbour("billing").file("Procfile", WEB), shop.neighbour("last").file("Procfile", WEB)];
    let names = Names::find();
    let running = apps.each_ref().map(|app| names.start(app));
    names.until_body("last.localhost", "web.1");
    names.until_body("billing.localhost", "web.1");
    (names, apps, running)
}

fn holder_of(running: &[Running], names: Names) -> &Running {
    let served = format!("names at port {} are served from here now", names.0);
    until("somebody to take over", || running.iter().find(|r| r.stderr().iter().any(|line| line.contains(&served))))
}

#[test]
fn nobody_is_refused_when_the_holder_stops() {
    let (names, _apps, [mut first, second, third]) = three();
    let load = Load::begin(names, "last.localhost", CLIENTS);
    load.more(50);
    end(&mut first);
    load.more(50);
    let mut rest = [second, third];
    let next = holder_of(&rest, names).pid();
    names.until_unknown("shop.localhost");
    names.until_body("billing.localhost", "web.1");
    load.more(50);
    let [second, third] = &mut rest;
    let second_holds = second.pid() == next;
    if second_holds {
        end(second);
        load.more(50);
    }
    let seen = load.end();
    assert!(seen.failures.is_empty() && seen.cut.is_empty(), "{seen:?}");
    end(third);
    if !second_holds {
        end(second);
    }
    assert!(is_free(names.0));
}

#[test]
fn nobody_is_refused_when_the_holder_is_killed() {
    let (names, _apps, [mut first, second, third]) = three();
    let load = Load::begin(names, "last.localhost", CLIENTS);
    load.more(50);
    first.kill_9();
    load.more(50);
    let mut rest = [second, third];
    let next = holder_of(&rest, names).pid();
    names.until_unknown("shop.localhost");
    names.until_body("billing.localhost", "web.1");
    let second_holds = rest[0].pid() == next;
    if second_holds {
        rest[0].kill_9();
        load.more(50);
        names.until_unknown("billing.localhost");
    }
    let seen = load.end();
    assert_eq!(seen.failures, [""; 0]);
    let kills = 1 + usize::from(second_holds);
    assert!(seen.cut.len() <= kills * CLIENTS, "only what the killed one had accepted: {:?}", seen.cut);
    let [second, third] = &mut rest;
    end(third);
    if !second_holds {
        end(second);
    }
    first.nothing_left(LIMIT);
}

#[test]
fn apps_that_start_at_once_find_each_other_also_when_the_holder_is_killed() {
    let first = AppDir::procfile(WEB);
    let names = Names::find();
    let others = ["one", "two", "three", "four", "five"];
    let apps: Vec<AppDir> = others.iter().map(|name| first.neighbour(name).file("Procfile", WEB)).collect();
    let start = |app: &AppDir| names.start_at_once(app, &[]);
    let all_served =
        |names_of: &[&str]| names_of.iter().for_each(|name| names.until_body(&format!("{name}.localhost"), "web.1"));
    let mut holder = names.start(&first);
    let mut running: Vec<Running> = apps[..3].iter().map(start).collect();
    all_served(&["shop", "one", "two", "three"]);
    holder.kill_9();
    running.extend(apps[3..].iter().map(start));
    all_served(&others);
    for running in &running {
        assert!(!running.stderr().iter().any(|line| line.contains("names are not served")));
    }
    running.iter_mut().for_each(end);
    holder.nothing_left(LIMIT);
    assert!(is_free(names.0));
}

#[test]
fn what_a_killed_tambat_has_left_is_taken_over() {
    let app = AppDir::procfile(WEB);
    let names = Names::find();
    let mut running = names.start(&app);
    running.kill_9();
    running.nothing_left(LIMIT);
    assert!(names.file(&app, "sock").exists());
    let mut again = names.start(&app);
    names.until_body("shop.localhost", "web.1");
    assert!(!again.stderr().iter().any(|line| line.contains("names are not served")));
    assert_eq!(again.stop(), 0);
}

/// Another kind of session has another runtime folder: who holds the port is the same, and so is who comes next.
#[test]
fn tambats_of_all_kinds_of_session_share_a_port() {
    let shop = AppDir::procfile(WEB);
    let elsewhere = shop.home_path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let billing = shop.neighbour("billing").file("Procfile", WEB).env("XDG_RUNTIME_DIR", elsewhere.to_str().unwrap());
    let names = Names::find();
    let mut first = names.start(&shop);
    let mut second = names.start(&billing);
    names.until_body("billing.localhost", "web.1");
    end(&mut first);
    names.until_unknown("shop.localhost");
    assert_eq!(names.get("billing.localhost", "/").body, "web.1");
    let mut third = names.start(&shop);
    names.until_body("shop.localhost", "web.1");
    for running in [&second, &third] {
        assert!(!running.stderr().iter().any(|line| line.contains("not served")), "{:?}", running.stderr());
    }
    end(&mut third);
    assert_eq!(second.stop(), 0);
}

/// A runtime folder goes when its user logs out, and is made anew when they log in again.
#[test]
fn a_port_is_shared_after_its_users_session_has_ended() {
    let shop = AppDir::procfile(WEB);
    let billing = shop.neighbour("billing").file("Procfile", WEB);
    let names = Names::find();
    let mut first = names.start(&shop);
    std::fs::rename(shop.home_path().join("run"), shop.home_path().join("gone")).unwrap();
    std::fs::create_dir(shop.home_path().join("run")).unwrap();
    until("the door to come back", || names.file(&shop, "sock").exists().then_some(()));
    let mut second = names.start(&billing);
    names.until_body("billing.localhost", "web.1");
    assert_eq!(names.get("shop.localhost", "/").body, "web.1");
    end(&mut second);
    assert_eq!(first.stop(), 0);
}

#[test]
fn a_stranger_at_the_port_is_named() {
    let names = Names::find();
    let stranger = TcpListener::bind((Ipv6Addr::LOCALHOST, names.0)).unwrap();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, names.https())).unwrap();
    let app = AppDir::procfile(WEB);
    let mut running = names.start(&app);
    let taken = |port: u16| format!("port {port} is taken by ");
    let note = running.err_line("names are not served for now");
    assert!(note.contains(&taken(names.0)) && note.contains(&taken(names.https())), "{note}");
    assert!(note.contains("--http-port"), "{note}");
    assert!(note.contains(&format!("(pid {})", std::process::id())), "{note}");
    assert_eq!(running.get("web", "/").body, "web.1");
    assert!(!running.stderr().iter().any(|line| line.contains(".localhost:")), "no name that does not work");
    assert_eq!(running.stop(), 0);
    let words = names.arguments();
    let strict = [&["start"], &words.each_ref().map(String::as_str)[..], &["--strict-port"]].concat();
    let said = app.tambat(&strict).must_be(1);
    assert!(said.stderr.contains(&format!("cannot serve names: {}", taken(names.0))), "{}", said.stderr);
    drop((stranger, other));
    let mut running = names.start(&app);
    names.until_body("shop.localhost", "web.1");
    assert_eq!(running.stop(), 0);
}

/// Holds the lock of a port as a tambat does, and opens its door.
fn hold(app: &AppDir, names: Names) -> (File, UnixListener) {
    for end in ["lock", "sock"] {
        let folder = names.file(app, end).parent().unwrap().to_owned();
        DirBuilder::new().mode(0o700).create(folder).unwrap();
    }
    let lock = File::create(names.file(app, "lock")).unwrap();
    lock.try_lock().unwrap();
    (lock, UnixListener::bind(names.file(app, "sock")).unwrap())
}

/// The first line that somebody says.
fn line_of(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn tambats_of_two_versions_do_not_share_a_port() {
    let app = AppDir::procfile(WEB);
    let names = Names::find();
    let (lock, door) = hold(&app, names);
    let holder = thread::spawn(move || {
        let (mut stream, _) = door.accept().unwrap();
        let hello = line_of(&stream);
        writeln!(stream, "{}", json!({ "version": 7, "names": {} })).unwrap();
        hello
    });
    let mut running = names.start(&app);
    let note = running.err_line("names are not served");
    assert!(note.contains("speaks version 7") && note.contains("not 2"), "{note}");
    let hello = holder.join().unwrap();
    assert_eq!((&hello["version"], &hello["app"]), (&json!(2), &json!("shop")));
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
    drop(lock);
}

#[test]
fn a_newcomer_of_another_version_or_without_sense_is_told_or_left() {
    let app = AppDir::procfile(WEB);
    let names = Names::find();
    let mut running = names.start(&app);
    let say = |text: &[u8]| {
        let mut stream = UnixStream::connect(names.file(&app, "sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // It may be left while it still speaks.
        let _ = stream.write_all(text);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let told = say(b"{\"version\":7}\n");
    assert!(told.contains("\"version\":2") && told.contains("speaks version 2"), "{told}");
    assert!(say(b"hello\n").contains("does not speak as a tambat does"));
    assert_eq!(say(b"no end"), "", "it is left alone after a while");
    assert_eq!(say(&vec![b'x'; 3 << 20]), "");
    assert_eq!(names.get("shop.localhost", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_holder_that_does_not_answer_keeps_nobody_from_starting() {
    let app = AppDir::procfile(WEB);
    let names = Names::find();
    let (_lock, _door) = hold(&app, names);
    let mut running = names.start(&app);
    let note = running.err_line("names are not served");
    assert!(note.contains("does not answer"), "{note}");
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

/// Whoever had the port may let it go, and a holder that was stopped may go on.
#[test]
fn names_that_could_not_be_served_at_first_are_served_later() {
    let app = AppDir::procfile(WEB);
    let names = Names::find();
    let strangers = [names.0, names.https()].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    let mut running = names.start(&app);
    running.err_line("names are not served for now");
    let are_none = |key: &str| app.process("web")["ports"][0][key].as_array().unwrap().is_empty();
    assert!(are_none("names") && are_none("https_names"));
    drop(strangers);
    running.err_line(&format!("names are served at port {} now", names.0));
    names.until_body("shop.localhost", "web.1");
    running.err_line(&format!("names are served over https at port {} now", names.https()));
    assert!(!are_none("names") && !are_none("https_names"));
    assert_eq!(running.stop(), 0);
}
