//! `tambat serve` while its directory changes: apps come, go and are replaced, and the others notice nothing of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;

use crate::support::{AppDir, Apps, Base, LIMIT, Served, try_get_at, until};

const WEB: &str = "command = \"tambat-fixture serve\"\n";

/// A TCP server: it sends each line back, with its version before it.
const LINE: &str = r#"
import os, socketserver
class Line(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(os.environ.get("VERSION", "0").encode() + b" " + line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(("127.0.0.1", int(os.environ["PORT"])), Line).serve_forever()
"#;

/// `web` at this host, in a version that it tells.
fn web(host: &str, version: u32) -> String {
    format!("[processes.web]\n{WEB}hosts = \"{host}\"\nenv = {{ VERSION = \"{version}\" }}\n")
}

/// `line` at this address.
fn line(listen: &str, version: u32) -> String {
    format!(
        "[processes.line]\ncommand = \"exec /usr/bin/python3 line.py\"\nprotocol = \"tcp\"\nexpose = true\n\
         listen = \"{listen}\"\nenv = {{ VERSION = \"{version}\" }}\n"
    )
}

/// An app that talks in lines there.
fn line_app(apps: &Apps, name: &str, listen: &str) -> AppDir {
    apps.app(name, &line(listen, 1)).file("line.py", LINE)
}

fn served(apps: &Apps) -> Served {
    let served = apps.serve(&[]);
    served.running.err_line("serving ");
    served
}

fn answers(served: &Served, host: &str) {
    until(&format!("{host} to answer"), || (served.get(host, "/").status == 200).then_some(()));
}

fn is_nobodys(served: &Served, host: &str) {
    until(&format!("{host} to be nobody's"), || (served.get(host, "/").status == 404).then_some(()));
}

fn version(served: &Served, host: &str) -> String {
    let env: serde_json::Value = serde_json::from_str(&served.get(host, "/env").body).unwrap();
    env["VERSION"].as_str().unwrap_or("none").to_owned()
}

/// Has the server look at once, and waits for what it says of that.
fn hang_up(served: &Served) -> String {
    let before = served.running.stderr().iter().filter(|line| line.contains("SIGHUP: looked at")).count();
    served.running.signal(Signal::SIGHUP);
    served.running.lines("SIGHUP: looked at", before + 1).remove(before)
}

/// A stream of lines.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn begin(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    fn says(&mut self, word: &str) -> String {
        writeln!(self.0.get_mut(), "{word}").unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

/// Asks something over and over until it is stopped, and counts.
struct Asking {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Asking {
    fn begin(mut ask: impl FnMut() -> Result<(), String> + Send + 'static) -> Self {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (ends, counts) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let mut wrong = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                wrong.extend(ask().err());
                counts.fetch_add(1, Ordering::Relaxed);
            }
            wrong
        });
        let asking = Self { stop, asked, thread };
        asking.some_more();
        asking
    }

    /// Waits until it has asked some more.
    fn some_more(&self) {
        let before = self.asked.load(Ordering::Relaxed);
        until("more to be asked", || (self.asked.load(Ordering::Relaxed) > before + 5).then_some(()));
    }

    /// All that was wrong.
    fn end(self) -> Vec<String> {
        self.some_more();
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Asks for this host; anything but 200 is wrong.
fn asking(served: &Served, host: &'static str) -> Asking {
    let http = served.http;
    Asking::begin(move || match try_get_at(http, host, "/", "") {
        Ok(response) if response.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

#[test]
fn apps_come_and_go_with_their_folders_and_the_others_notice_nothing() {
    let apps = Apps::new();
    let _shop = apps.app("shop", &web("shop.example", 1));
    let talk_at: SocketAddr = ([127, 0, 0, 1], Base::find().0).into();
    line_app(&apps, "talk", &talk_at.to_string());
    let served = apps.serve(&["--metrics", "127.0.0.1:0"]);
    answers(&served, "shop.example");
    let mut talk = until("talk to answer", || {
        let mut talk = Talk::begin(talk_at);
        (talk.says("a") == "1 a").then_some(talk)
    });
    let asking = asking(&served, "shop.example");
    let at: SocketAddr = ([127, 0, 0, 1], Base::find().0).into();
    // Nobody is told: the directory is watched.
    let blog = apps.app("blog", &web("blog.example", 1));
    let chat = line_app(&apps, "chat", &at.to_string());
    served.running.err_line("blog is new: starting it");
    served.running.out_line(&format!("listening {at} chat/line"));
    answers(&served, "blog.example");
    assert_eq!(Talk::begin(at).says("b"), "1 b");
    assert_eq!(blog.json(&["ps", "--json"])["processes"][0]["ports"][0]["hosts"][0], "blog.example");
    let routes = chat.tambat(&["routes"]).must_be(0).stdout;
    assert!(routes.contains(&format!("at {at}")), "{routes}");
    let metrics = served.running.out_line("metrics ");
    let metrics: SocketAddr = metrics.strip_prefix("metrics ").unwrap().parse().unwrap();
    let metrics = || try_get_at(metrics, "m", "/metrics", "").unwrap().body;
    let page = metrics();
    assert!(page.contains("process=\"blog/web\"") && page.contains("process=\"chat/line\""), "{page}");
    let of_all = apps.dir.tambat(&["ps"]).must_be(1).stderr;
    assert!(of_all.contains("(blog, chat, shop, talk)"), "{of_all}");
    assert_eq!(talk.says("c"), "1 c");
    let ports = [blog.port("web"), chat.port("line")];
    for gone in [&blog, &chat] {
        fs::remove_dir_all(gone.path()).unwrap();
    }
    served.running.err_line("the folder of blog is gone");
    served.running.err_line("blog is not served any more");
    served.running.err_line("chat is not served any more");
    is_nobodys(&served, "blog.example");
    for port in [at.port(), ports[0], ports[1]] {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{port}");
    }
    let page = metrics();
    assert!(!page.contains("blog/web") && !page.contains("chat/line") && page.contains("shop/web"), "{page}");
    assert_eq!(talk.says("d"), "1 d");
    assert_eq!(asking.end(), [""; 0]);
    // The same folder again.
    apps.dir.clone().file("blog/tambat.toml", web("blog.example", 2));
    hang_up(&served);
    answers(&served, "blog.example");
    assert_eq!(version(&served, "blog.example"), "2");
}

#[test]
fn one_that_goes_finishes_what_is_on_its_way_and_is_nobodys_for_everybody_else() {
    let apps = Apps::new();
    let at: SocketAddr = ([127, 0, 0, 1], Base::find().0).into();
    let listen = line(&at.to_string(), 1);
    let shop = apps.app("shop", &format!("{}{listen}", web("shop.example", 1))).file("line.py", LINE);
    let served = served(&apps);
    answers(&served, "shop.example");
    let mut talk = until("line to answer", || {
        let mut talk = Talk::begin(at);
        (talk.says("a") == "1 a").then_some(talk)
    });
    let http = served.http;
    let client = thread::spawn(move || try_get_at(http, "shop.example", "/slow?1500", ""));
    until("the request to be on its way", || {
        let routes = shop.json(&["routes", "--json"]);
        let routes = routes["routes"].as_array().unwrap().clone();
        routes.iter().any(|route| route["process"] == "web" && route["in_flight"] == 1).then_some(())
    });
    // What it was is still to be asked: its folder has another name now, of which nothing is known.
    fs::rename(shop.path(), apps.dir.path().join(".shop")).unwrap();
    hang_up(&served);
    is_nobodys(&served, "shop.example");
    until("its listener to be closed", || TcpStream::connect(at).is_err().then_some(()));
    assert_eq!(talk.says("b"), "1 b");
    assert_eq!(client.join().unwrap().unwrap().status, 200);
    assert_eq!(talk.says("c"), "1 c");
    assert!(!served.running.stderr().iter().any(|line| line.contains("shop is not served any more")));
    talk.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(talk.0.read_to_end(&mut Vec::new()).unwrap(), 0);
    served.running.err_line("shop is not served any more");
}

#[test]
fn one_that_is_broken_is_named_and_served_when_it_is_mended() {
    let apps = Apps::new();
    apps.app("shop", &web("shop.example", 1));
    let served = served(&apps);
    answers(&served, "shop.example");
    let asking = asking(&served, "shop.example");
    let typo = apps.app("typo", "[processes.web]\ncomand = \"run\"\n");
    let unbuilt = apps.app("unbuilt", &format!("build = \"echo no; exit 3\"\n{}", web("unbuilt.example", 1)));
    let clash = apps.app("clash", &web("shop.example", 1));
    served.running.err_line("typo is not served");
    served.running.err_line("did you mean `command`?");
    let said = served.running.err_line("unbuilt is not served");
    assert!(said.contains("failed with code 3"), "{said}");
    let said = served.running.err_line("clash is not served");
    assert!(said.contains("`web` of shop and `web` of clash both answer at shop.example"), "{said}");
    is_nobodys(&served, "unbuilt.example");
    let _ = typo.file("tambat.toml", web("typo.example", 1));
    let _ = unbuilt.file("tambat.toml", web("unbuilt.example", 1));
    answers(&served, "typo.example");
    answers(&served, "unbuilt.example");
    assert_eq!(asking.end(), [""; 0]);
    // What another one has had is free when that has gone, and nothing need be said.
    fs::remove_dir_all(apps.dir.path().join("shop")).unwrap();
    served.running.err_line("clash is new: starting it");
    answers(&served, "shop.example");
    clash.json(&["ps", "--json"]);
    let said = served.running.stderr();
    let count = |what: &str| said.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("clash is not served"), count("typo is not served"), count("unbuilt is not served")), (1, 1, 1));
}

#[test]
fn a_port_that_somebody_has_is_named_and_had_later() {
    let apps = Apps::new();
    let at: SocketAddr = ([127, 0, 0, 1], Base::find().0).into();
    let held = TcpListener::bind(at).unwrap();
    let served = served(&apps);
    line_app(&apps, "chat", &at.to_string());
    apps.app("shop", &web("shop.example", 1));
    hang_up(&served);
    let said = served.running.err_line("chat is not served");
    assert!(said.contains(&format!("cannot listen at {at} for line: the port is taken by ")), "{said}");
    assert!(said.ends_with("end that, or change `listen`"), "{said}");
    answers(&served, "shop.example");
    assert!(hang_up(&served).ends_with("1 app is new, gone, changed or tried again"));
    served.running.lines("chat is not served", 2);
    drop(held);
    hang_up(&served);
    served.running.out_line(&format!("listening {at} chat/line"));
    assert_eq!(Talk::begin(at).says("a"), "1 a");
    // Two that cannot be beside each other are both named, with what to write.
    line_app(&apps, "other", &format!("0.0.0.0:{}", at.port()));
    hang_up(&served);
    let said = served.running.err_line("other is not served");
    assert!(said.contains("of chat and") && said.contains("write the same address at both, or another port"), "{said}");
}

#[test]
fn a_version_takes_the_place_of_another_and_nobody_is_refused() {
    let apps = Apps::new();
    let at: SocketAddr = ([127, 0, 0, 1], Base::find().0).into();
    let manifest = |version| format!("{}{}", web("shop.example", version), line(&at.to_string(), version));
    let shop = apps.app("shop", &manifest(1)).file("line.py", LINE);
    apps.app("blog", &web("blog.example", 1));
    let served = served(&apps);
    answers(&served, "shop.example");
    answers(&served, "blog.example");
    until("line to answer", || (Talk::begin(at).says("a") == "1 a").then_some(()));
    let ports = [shop.port("web"), shop.port("line")];
    let all = [asking(&served, "shop.example"), asking(&served, "blog.example")];
    let lines = Asking::begin(move || {
        let answer = Talk::begin(at).says("b");
        if answer == "1 b" || answer == "2 b" { Ok(()) } else { Err(answer) }
    });
    let service = ports[0];
    let by_port = Asking::begin(move || match try_get_at(([127, 0, 0, 1], service).into(), "localhost", "/", "") {
        Ok(response) if response.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let shop = shop.file("tambat.toml", manifest(2));
    served.running.err_line("shop has changed: its new version takes over");
    until("the new version", || (version(&served, "shop.example") == "2").then_some(()));
    assert_eq!(Talk::begin(at).says("c"), "2 c");
    assert_eq!([shop.port("web"), shop.port("line")], ports);
    for asked in all.into_iter().chain([lines, by_port]) {
        assert_eq!(asked.end(), [""; 0]);
    }
    assert_eq!(version(&served, "blog.example"), "1");
    // Words for people change nothing.
    let pid = served.get("shop.example", "/pid").body;
    let shop = shop.file("tambat.toml", format!("# The shop.\n{}", manifest(2)));
    hang_up(&served);
    let shop = shop.file("data.txt", "x");
    hang_up(&served);
    assert_eq!(served.get("shop.example", "/pid").body, pid);
    // Other variables do.
    let _ = shop.file(".env", "VERSION=3\n");
    hang_up(&served);
    until("the new version", || (version(&served, "shop.example") == "3").then_some(()));
}

/// Whoever comes goes to the new version as soon as that is ready, however long others stay with the old one.
#[test]
fn streams_that_stay_with_the_old_version_keep_nobody_from_the_new_one() {
    let apps = Apps::new();
    let at: SocketAddr = ([127, 0, 0, 1], Base::find().0).into();
    let manifest = |version| format!("{}{}", web("shop.example", version), line(&at.to_string(), version));
    let shop = apps.app("shop", &manifest(1)).file("line.py", LINE);
    let served = served(&apps);
    answers(&served, "shop.example");
    let mut talk = until("line to answer", || {
        let mut talk = Talk::begin(at);
        (talk.says("a") == "1 a").then_some(talk)
    });
    let ports = [shop.port("web"), shop.port("line")];
    let shop = shop.file("tambat.toml", manifest(2));
    hang_up(&served);
    until("the new version", || (version(&served, "shop.example") == "2").then_some(()));
    assert_eq!(Talk::begin(at).says("b"), "2 b");
    assert_eq!(Talk::begin(([127, 0, 0, 1], ports[1]).into()).says("c"), "2 c");
    // The verbs know the new one, too.
    assert_eq!([shop.port("web"), shop.port("line")], ports);
    let env = shop.tambat(&["env", "web"]).must_be(0).stdout;
    assert!(env.contains("VERSION=2"), "{env}");
    assert_eq!(talk.says("d"), "1 d");
    assert!(!served.running.stderr().iter().any(|line| line.contains("the old version of shop has ended")));
    talk.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(talk.0.read_to_end(&mut Vec::new()).unwrap(), 0);
    served.running.err_line("the old version of shop has ended");
    assert_eq!(Talk::begin(at).says("e"), "2 e");
    assert_eq!(shop.process("web")["state"], "ready");
}

/// Says so when it runs twice in one folder.
const ONE: &str = r#"
mkdir one || echo "two at once"
"$@" &
trap 'kill $!; wait $!; sleep 0.2; rmdir one; echo "$VERSION has ended"; exit 0' TERM
echo "$VERSION begins"
wait
"#;

/// A process of which there may be one only: a worker, or one with data.
fn one_only(app: &str, keys: &str, version: u32) -> String {
    let command = "exec sh one.sh /usr/bin/python3 line.py";
    format!("[processes.{app}]\ncommand = \"{command}\"\n{keys}env = {{ VERSION = \"{version}\" }}\n")
}

#[test]
fn of_a_worker_there_are_never_two_and_the_others_do_not_wait_for_it() {
    let apps = Apps::new();
    let manifest = |version| format!("{}{}", web("shop.example", version), one_only("work", "", version));
    let shop = apps.app("shop", &manifest(1)).file("line.py", LINE).file("one.sh", ONE);
    let served = served(&apps);
    answers(&served, "shop.example");
    served.running.out_line("1 begins");
    let asking = asking(&served, "shop.example");
    let shop = shop.file("tambat.toml", manifest(2));
    hang_up(&served);
    served.running.out_line("1 has ended");
    served.running.out_line("2 begins");
    assert_eq!(version(&served, "shop.example"), "2");
    served.running.err_line("the old version of shop has ended");
    assert_eq!(asking.end(), [""; 0]);
    until("its worker to run", || (shop.process("work")["state"] == "running").then_some(()));
    assert!(!served.running.stdout().iter().any(|line| line.contains("two at once")));
}

#[test]
fn of_what_has_data_there_are_never_two_and_whoever_comes_waits() {
    let apps = Apps::new();
    let at: SocketAddr = ([127, 0, 0, 1], Base::find().0).into();
    let keys = format!("protocol = \"tcp\"\nstateful = true\nexpose = true\nlisten = \"{at}\"\n");
    let manifest = |version| format!("{}{}", web("shop.example", version), one_only("data", &keys, version));
    let shop = apps.app("shop", &manifest(1)).file("line.py", LINE).file("one.sh", ONE);
    let served = served(&apps);
    answers(&served, "shop.example");
    until("data to answer", || (Talk::begin(at).says("a") == "1 a").then_some(()));
    let asking = asking(&served, "shop.example");
    let lines = Asking::begin(move || {
        let answer = Talk::begin(at).says("b");
        if answer == "1 b" || answer == "2 b" { Ok(()) } else { Err(answer) }
    });
    let _ = shop.file("tambat.toml", manifest(2));
    hang_up(&served);
    let said = served.running.err_line("shop has changed: its new version takes over");
    assert!(said.contains("`data`, of which there is never more than one, has stopped"), "{said}");
    served.running.out_line("1 has ended");
    served.running.out_line("2 begins");
    until("the new version", || (version(&served, "shop.example") == "2").then_some(()));
    assert_eq!(Talk::begin(at).says("c"), "2 c");
    assert_eq!([asking.end(), lines.end()], [[""; 0], [""; 0]]);
    assert!(!served.running.stdout().iter().any(|line| line.contains("two at once")));
}

/// It binds its port only when it has reached another process.
const NEEDS: &str = r#"
import http.server, os, urllib.request
urllib.request.urlopen(os.environ["API_URL"]).read()
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"new"
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Web).serve_forever()
"#;

#[test]
fn the_processes_of_a_new_version_reach_each_other_before_anybody_else_reaches_them() {
    let apps = Apps::new();
    let old = format!("[processes.gone]\n{WEB}protocol = \"http\"\n");
    let shop = apps.app("shop", &format!("{}{old}", web("shop.example", 1))).file("web.py", NEEDS);
    let served = served(&apps);
    answers(&served, "shop.example");
    let asking = asking(&served, "shop.example");
    let gone = shop.port("gone");
    // It has another name, too.
    let shop = shop.file(
        "tambat.toml",
        format!(
            "name = \"store\"\n[processes.web]\ncommand = \"exec /usr/bin/python3 web.py\"\nuses = [\"api\"]\n\
             hosts = [\"shop.example\", \"store.example\"]\n[processes.api]\n{WEB}protocol = \"http\"\n"
        ),
    );
    hang_up(&served);
    until("the new version", || (served.get("store.example", "/").body == "new").then_some(()));
    assert_eq!(served.get("shop.example", "/").body, "new");
    served.running.err_line("the old version of shop has ended");
    assert_eq!(asking.end(), [""; 0]);
    assert_eq!(shop.json(&["ps", "--json"])["app"], "store");
    assert_eq!(try_get_at(([127, 0, 0, 1], shop.port("api")).into(), "localhost", "/", "").unwrap().body, "api.1");
    until("its port to be closed", || TcpStream::connect(("127.0.0.1", gone)).is_err().then_some(()));
}

#[test]
fn what_changes_again_is_not_kept_waiting_by_a_version_that_never_comes() {
    let apps = Apps::new();
    let shop = apps.app("shop", &web("shop.example", 1));
    let served = served(&apps);
    answers(&served, "shop.example");
    let asking = asking(&served, "shop.example");
    let stuck = |with: &str| format!("{with}{}", web("shop.example", 2));
    let never =
        "[processes.web]\ncommand = \"echo on its way; exec sleep 600\"\nready = { within = \"10m\" }\n".to_owned();
    let shop = shop.file("tambat.toml", stuck("build = \"sleep 600\"\n"));
    hang_up(&served);
    served.running.err_line("building: sleep 600");
    let shop = shop.file("tambat.toml", &never);
    hang_up(&served);
    served.running.out_line("on its way");
    let shop = shop.file("tambat.toml", web("shop.example", 3));
    hang_up(&served);
    until("the newest version", || (version(&served, "shop.example") == "3").then_some(()));
    let shop = shop.file("tambat.toml", stuck("build = \"sleep 600\"\n"));
    hang_up(&served);
    served.running.lines("building: sleep 600", 2);
    assert_eq!(asking.end(), [""; 0]);
    fs::remove_dir_all(shop.path()).unwrap();
    hang_up(&served);
    served.running.err_line("shop is not served any more");
}

#[test]
fn a_version_that_is_wrong_leaves_what_runs() {
    let apps = Apps::new();
    let shop = apps.app("shop", &web("shop.example", 1));
    apps.app("blog", &web("blog.example", 1));
    let served = served(&apps);
    answers(&served, "shop.example");
    let pid = served.get("shop.example", "/pid").body;
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for (manifest, why) in [
        ("[processes.web]\ncomand = \"run\"\n".to_owned(), "did you mean `command`?"),
        (String::new(), "shop has changed, and goes on as it was"),
        (web("blog.example", 2), "both answer at blog.example"),
        (format!("build = \"exit 4\"\n{}", web("shop.example", 2)), "failed with code 4"),
        (format!("{}{}", web("shop.example", 2), line(&taken, 1)), "the port is taken by"),
        ("[processes.web]\ncommand = \"exit 7\"\n".to_owned(), "does not get ready: web.1 exited with code 7"),
        (
            "[processes.web]\ncommand = \"sleep 60\"\nready = { within = \"500ms\" }\n".to_owned(),
            "does not get ready: web.1 was not ready within 500ms",
        ),
    ] {
        let _ = shop.clone().file("tambat.toml", &manifest);
        hang_up(&served);
        served.running.err_line(why);
        assert_eq!(served.get("shop.example", "/pid").body, pid, "{why}");
        assert_eq!(shop.process("web")["state"], "ready");
    }
    let doctor = apps.dir.tambat(&["doctor", "--apps", "."]).must_be(1).stdout;
    assert!(
        doctor.contains("serves in an earlier version shop: its new version does not get ready: web.1"),
        "{doctor}"
    );
    let _ = shop.clone().file("tambat.toml", web("shop.example", 1));
    hang_up(&served);
    served.running.err_line("shop is served as its files say again");
    assert_eq!(served.get("shop.example", "/pid").body, pid);
    let _ = shop.clone().file("tambat.toml", web("shop.example", 3));
    hang_up(&served);
    until("the new version", || (version(&served, "shop.example") == "3").then_some(()));
}

#[test]
fn a_listener_grows_to_all_addresses_with_a_new_version() {
    let apps = Apps::new();
    let port = Base::find().0;
    let app = line_app(&apps, "chat", &format!("127.0.0.1:{port}"));
    let served = served(&apps);
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    until("line to answer", || (Talk::begin(here).says("a") == "1 a").then_some(()));
    let _ = app.file("tambat.toml", line(&format!("0.0.0.0:{port}"), 2));
    hang_up(&served);
    served.running.out_line(&format!("listening 0.0.0.0:{port} chat/line"));
    assert_eq!(Talk::begin(here).says("b"), "2 b");
    assert_eq!(Talk::begin(([127, 0, 0, 2], port).into()).says("c"), "2 c");
}

#[test]
fn a_link_that_leads_elsewhere_is_another_version() {
    let apps = Apps::new();
    let [one, two] = [1, 2].map(|version| {
        apps.dir
            .neighbour(&format!("release-{version}"))
            .file("tambat.toml", format!("name = \"shop\"\n{}", web("shop.example", version)))
    });
    let link = apps.dir.path().join("shop");
    symlink(one.path(), &link).unwrap();
    let served = served(&apps);
    answers(&served, "shop.example");
    let asking = asking(&served, "shop.example");
    let fresh = apps.dir.path().join(".shop");
    symlink(two.path(), &fresh).unwrap();
    fs::rename(&fresh, &link).unwrap();
    hang_up(&served);
    until("the new version", || (version(&served, "shop.example") == "2").then_some(()));
    assert_eq!(asking.end(), [""; 0]);
    until("the new version to be found", || (two.tambat(&["ps"]).code == 0).then_some(()));
    // Until then it can be asked what it still does.
    served.running.err_line("the old version of shop has ended");
    assert_ne!(one.tambat(&["ps"]).code, 0);
}

#[test]
fn told_to_stop_while_one_is_replaced_and_one_goes_it_stops() {
    let apps = Apps::new();
    let shop = apps.app("shop", &web("shop.example", 1));
    let slow = apps.app("slow", &web("slow.example", 1));
    let blog = apps.app("blog", &web("blog.example", 1));
    let mut served = served(&apps);
    answers(&served, "shop.example");
    answers(&served, "slow.example");
    answers(&served, "blog.example");
    let _ = shop.file("tambat.toml", format!("build = \"sleep 60\"\n{}", web("shop.example", 2)));
    let _ = slow.file("tambat.toml", "[processes.web]\ncommand = \"echo on its way; exec sleep 60\"\n");
    fs::remove_dir_all(blog.path()).unwrap();
    apps.app("new", &format!("build = \"sleep 60\"\n{}", web("new.example", 1)));
    hang_up(&served);
    served.running.lines("building: sleep 60", 2);
    served.running.out_line("on its way");
    served.running.signal(Signal::SIGTERM);
    assert_eq!(served.running.ended(), 0);
}

#[test]
fn what_the_servers_own_file_says_anew_is_told_to_need_a_new_start() {
    let apps = Apps::new();
    let file = apps.dir.path().parent().unwrap().join("serve.toml");
    let served = served(&apps);
    assert!(hang_up(&served).ends_with("nothing has changed"));
    fs::write(&file, "[router]\nworkers = 2\n").unwrap();
    // Nobody need ask.
    let said = served.running.err_line("serve.toml has changed, and is read at the start only: ");
    assert!(said.ends_with("`router.workers` holds when tambat serve is started again"), "{said}");
    fs::write(&file, "[router]\nworker = 2\n").unwrap();
    hang_up(&served);
    served.running.err_line("serve.toml is wrong; what was read at the start holds");
}
