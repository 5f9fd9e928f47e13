//! `attach` and `detach`: tested first, only the consumers restarted, kept until detached, and no password anywhere.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{AppDir, pause, until};

/// Nobody else in the process list has it.
const SECRET: &str = "sesam-oeffne-dich";

const SHOP: &str = r#"
[processes.web]
command = "exec tambat-fixture serve"
uses = ["cache"]

[processes.cache]
command = "exec tambat-fixture serve"
protocol = "http"

[processes.other]
command = "exec tambat-fixture serve"
protocol = "http"
uses = ["api"]

[processes.api]
command = "exec tambat-fixture serve"
protocol = "http"
"#;

const ALL: [&str; 4] = ["web", "cache", "other", "api"];

/// A backing service somewhere else: something that says this to everybody.
struct Remote {
    port: u16,
}

impl Remote {
    fn new() -> Self {
        Self::saying(b"-NOAUTH Authentication required.\r\n")
    }

    fn saying(words: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Until the end of the test's process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut heard = [0; 1024];
                    let _ = stream.write_all(words);
                    while stream.read(&mut heard).is_ok_and(|read| read > 0) {}
                });
            }
        });
        Self { port }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/3", self.port)
    }

    fn url_with_secret(&self) -> String {
        format!("redis://me:{SECRET}@127.0.0.1:{}/3", self.port)
    }
}

#[test]
fn what_cannot_be_reached_is_not_attached() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&ALL);
    let before = (ALL.map(|name| app.pid_of(name)), app.environment("web")["CACHE_URL"].clone());
    // tcpmux: nobody listens there.
    let said = app.tambat(&["attach", "cache", "redis://127.0.0.1:1"]).must_be(1);
    assert!(said.stderr.contains("cannot attach redis://127.0.0.1:1 in place of cache"), "{}", said.stderr);
    assert!(said.stderr.contains("nothing was changed"), "{}", said.stderr);
    assert_eq!(said.stdout, "");
    let nowhere = app.tambat(&["attach", "cache", "redis://nobody.invalid"]).must_be(1);
    assert!(nowhere.stderr.contains("nothing was changed"), "{}", nowhere.stderr);
    let after = (ALL.map(|name| app.pid_of(name)), app.environment("web")["CACHE_URL"].clone());
    assert_eq!(before, after);
    assert_eq!(app.process("web")["uses"][0]["attached"], false);
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_does_not_speak_as_its_scheme_says_is_not_attached() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&ALL);
    let before = app.pid_of("web");
    let ssh = Remote::saying(b"SSH-2.0-OpenSSH_9.2\r\n");
    for scheme in
        ["redis", "rediss", "postgres", "mysql", "xmpp", "mqtt", "mqtts", "smtp", "dns", "tls", "http", "https"]
    {
        let url = format!("{scheme}://127.0.0.1:{}", ssh.port);
        let said = app.tambat(&["attach", "cache", &url]).must_be(1);
        let protocol = if ["rediss", "mqtts", "https"].contains(&scheme) { "tls" } else { scheme };
        let expected = format!("127.0.0.1:{} does not speak {protocol}: it answered \"SSH-2.0-OpenSSH_9.2\"", ssh.port);
        assert!(said.stderr.contains(&expected) && said.stderr.contains("nothing was changed"), "{}", said.stderr);
    }
    for (words, scheme, why) in [
        (&b"-LOADING Redis is loading the dataset in memory\r\n"[..], "redis", "-LOADING Redis is loading"),
        (b"421 4.3.2 not now\r\n", "smtp", "it greets with \"421 4.3.2 not now\""),
        (b"\x20\x02\0\x03", "mqtt", "it answers CONNACK with the code 0x03"),
    ] {
        let url = format!("{scheme}://127.0.0.1:{}", Remote::saying(words).port);
        let said = app.tambat(&["attach", "cache", &url]).must_be(1);
        assert!(said.stderr.contains("is not ready: it ") && said.stderr.contains(why), "{}", said.stderr);
    }
    assert_eq!(app.pid_of("web"), before);
    assert_eq!(running.stop(), 0);
}

/// Each is asked in its own words, and any answer in them will do.
#[test]
fn what_speaks_as_its_scheme_says_is_attached() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&ALL);
    for (words, schemes) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], &["ssh", "sftp", "tcp", "foo"][..]),
        (b"220 mail.example.com ESMTP\r\n", &["smtp", "submission"]),
        (b"\x05\0\0\0\x0a8.0\0", &["mysql", "mariadb"]),
        (b"\x20\x02\0\x05", &["mqtt"]),
        (b"\x15\x03\x03\0\x02\x02\x70", &["tls", "rediss", "mqtts", "smtps", "https"]),
        (b"HTTP/1.1 500 Oops\r\n\r\n", &["http", "ws"]),
        (b"", &["udp"]),
    ] {
        let remote = Remote::saying(words);
        for scheme in schemes {
            let url = format!("{scheme}://127.0.0.1:{}", remote.port);
            let said = app.tambat(&["attach", "api", &url]).must_be(0);
            assert!(said.stderr.contains(&format!("api is now {url}; restarted: other")), "{}", said.stderr);
        }
    }
    // Those that it was restarted as before may still answer.
    until("other to have the last one", || {
        app.environment("other")["API_URL"].as_str().is_some_and(|url| url.starts_with("udp:")).then_some(())
    });
    assert_eq!(running.stop(), 0);
}

#[test]
fn only_the_consumers_are_restarted_and_the_local_provider_stops_and_comes_back() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&ALL);
    let [web, cache, other, api] = ALL.map(|name| app.pid_of(name));
    let local = app.environment("web")["CACHE_URL"].clone();
    let remote = Remote::new();

    let said = app.tambat(&["attach", "cache", &remote.url()]).must_be(0);
    assert!(said.stderr.contains("restarted: web; cache stops, since nobody uses it"), "{}", said.stderr);
    let attached = app.pid_after("web", web);
    app.until_state("cache", "stopped");
    app.tambat(&["wait", "--timeout", "30s"]).must_be(0);
    app.tambat(&["wait", "cache"]).must_be(1);
    assert_eq!(app.environment("web")["CACHE_URL"], remote.url());
    assert_eq!((app.pid_of("other"), app.pid_of("api")), (other, api));
    let handle = app.process("web")["uses"][0].clone();
    assert_eq!((&handle["attached"], &handle["url"]), (&true.into(), &remote.url().into()));
    assert!(app.tambat(&["ps"]).stdout.contains("cache (attached)"));

    let said = app.tambat(&["detach", "cache"]).must_be(0);
    assert!(said.stderr.contains("cache is back; cache starts again; restarted: web"), "{}", said.stderr);
    app.pid_after("web", attached);
    assert_ne!(app.pid_of("cache"), cache);
    assert_eq!(app.environment("web")["CACHE_URL"], local);
    assert_eq!(running.get("web", "/dial?CACHE_URL").body, "cache.1");
    assert_eq!((app.pid_of("other"), app.pid_of("api")), (other, api));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_provider_that_somebody_else_uses_goes_on() {
    let app = AppDir::manifest(
        r#"
        [processes.web]
        command = "exec tambat-fixture serve"
        uses = ["chat:c2s"]
        [processes.back]
        command = "exec tambat-fixture serve"
        protocol = "http"
        uses = ["chat:admin"]
        [processes.chat]
        command = "tambat-fixture serve --port-var PORT_ADMIN & exec tambat-fixture serve --port-var PORT_C2S"
        ports = { c2s = "http", admin = "http" }
        "#,
    );
    let mut running = app.start(&[]);
    running.ready(&["web", "back", "chat"]);
    let [web, back, chat] = ["web", "back", "chat"].map(|name| app.pid_of(name));
    let remote = Remote::new();
    let said = app.tambat(&["attach", "chat:c2s", &remote.url()]).must_be(0);
    assert!(said.stderr.ends_with("restarted: web\n"), "{}", said.stderr);
    app.pid_after("web", web);
    assert_eq!((app.pid_of("back"), app.pid_of("chat")), (back, chat));
    assert_eq!(app.environment("web")["CHAT_C2S_URL"], remote.url());
    assert_eq!(running.get("back", "/dial?CHAT_ADMIN_URL").body, "chat.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_provider_goes_on_for_the_consumer_whose_replacement_failed() {
    let app = AppDir::manifest(
        r#"
        [processes.web]
        command = "case $CACHE_URL in redis:*) exit 9;; esac; exec tambat-fixture serve"
        uses = ["cache"]
        ready = { within = "500ms" }
        stop = { grace = "500ms" }
        [processes.cache]
        command = "exec tambat-fixture serve"
        protocol = "http"
        "#,
    );
    let mut running = app.start(&[]);
    running.ready(&["web", "cache"]);
    let before = ["web", "cache"].map(|name| app.pid_of(name));
    let remote = Remote::new();
    app.tambat(&["attach", "cache", &remote.url()]).must_be(0);
    running.err_line("the one that it was to replace goes on");
    running.err_line("cache goes on: web.1 still uses it");
    assert_eq!(["web", "cache"].map(|name| app.pid_of(name)), before);
    assert_eq!(running.get("web", "/dial?CACHE_URL").body, "cache.1");

    app.tambat(&["stop", "web"]).must_be(0);
    app.until_state("cache", "stopped");
    assert_eq!(running.stop(), 0);
}

#[test]
fn it_is_kept_until_it_is_detached() {
    let app = AppDir::manifest(SHOP);
    let remote = Remote::new();
    let mut first = app.start(&[]);
    first.ready(&ALL);
    app.tambat(&["attach", "cache", &remote.url()]).must_be(0);
    assert_eq!(first.stop(), 0);

    assert!(app.tambat(&["plan"]).must_be(0).stdout.contains("cache (attached)"));
    let mut second = app.start(&[]);
    second.ready(&["web", "other", "api"]);
    assert_eq!(app.environment("web")["CACHE_URL"], remote.url());
    assert_eq!(app.process("cache")["state"], "stopped");
    app.tambat(&["detach", "cache"]).must_be(0);
    app.until_state("cache", "ready");
    assert_eq!(second.stop(), 0);

    let mut third = app.start(&[]);
    third.ready(&ALL);
    assert_eq!(third.get("web", "/dial?CACHE_URL").body, "cache.1");
    assert_eq!(third.stop(), 0);
}

#[test]
fn a_password_is_refused_on_the_command_line() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&ALL);
    let before = app.pid_of("web");
    for url in ["redis://me:offen@127.0.0.1:1", "redis://127.0.0.1:1?password=offen"] {
        let said = app.tambat(&["attach", "cache", url]).must_be(2);
        assert!(said.stderr.contains("`tambat attach cache -` reads the URL from standard input"), "{}", said.stderr);
        assert!(!said.stderr.contains("offen"), "{}", said.stderr);
    }
    assert_eq!(app.pid_of("web"), before);
    assert_eq!(app.process("web")["uses"][0]["attached"], false);
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let app = AppDir::manifest(SHOP).file("empty.url", "");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["attach", "cahce", "redis://127.0.0.1:1"], 2, "did you mean `cache`?"),
        (&["attach", "web", "http://127.0.0.1:1"], 2, "no process uses `web`: used are api, cache"),
        (&["attach", "cache", "127.0.0.1"], 2, "it is not a URL"),
        (&["attach", "cache", "foo://127.0.0.1"], 1, "it has no port, and foo has no usual one"),
        (&["attach", "cache", "--url-file", "nobody.url"], 2, "cannot read the URL from"),
        (&["attach", "cache", "--url-file", "empty.url"], 2, "it is not a URL"),
        (&["detach", "cache"], 1, "nothing is attached in its place"),
    ];
    for (args, code, part) in cases {
        let said = app.tambat(args).must_be(code);
        assert!(said.stderr.contains(part), "{args:?}: {}", said.stderr);
    }
    assert_eq!(running.stop(), 0);
}

/// Looks at the process list all the time, as another user of this machine could.
struct Watcher {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Watcher {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut seen = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    seen.extend(command_lines().into_iter().filter(|line| line.contains(SECRET)));
                    pause(Duration::from_millis(1));
                }
                seen
            }
        });
        Self { over, thread }
    }

    /// The command lines that had the secret in them.
    fn finish(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn command_lines() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

#[test]
fn a_password_reaches_the_app_and_nothing_else() {
    let app = AppDir::manifest(SHOP);
    let remote = Remote::new();
    let app = app.file("secret.url", remote.url_with_secret() + "\n");
    let watcher = Watcher::start();
    let mut running = app.start(&[]);
    running.ready(&ALL);
    let web = app.pid_of("web");
    let mut said = String::new();
    let mut tell = |output: crate::support::Output| said.push_str(&format!("{}{}", output.stdout, output.stderr));

    tell(app.shell("tambat attach cache - < secret.url").must_be(0));
    let by_input = app.pid_after("web", web);
    assert_eq!(app.environment("web")["CACHE_URL"], remote.url_with_secret());
    tell(app.tambat(&["detach", "cache"]).must_be(0));
    let local = app.pid_after("web", by_input);
    tell(app.tambat(&["attach", "cache", "--url-file", "secret.url"]).must_be(0));
    app.pid_after("web", local);
    assert_eq!(app.environment("web")["CACHE_URL"], remote.url_with_secret());
    // The same at a port where nobody listens.
    let app = app.file("wrong.url", format!("redis://me:{SECRET}@127.0.0.1:1"));
    tell(app.tambat(&["attach", "cache", "--url-file", "wrong.url"]).must_be(1));

    let verbs: [&[&str]; 9] = [
        &["ps"],
        &["ps", "--json"],
        &["env"],
        &["env", "--explain"],
        &["env", "--json"],
        &["logs"],
        &["logs", "--json"],
        &["plan"],
        &["plan", "--json"],
    ];
    verbs.into_iter().for_each(|verb| tell(app.tambat(verb).must_be(0)));
    let folder = app.state_dir();
    let state = folder.join("state.json");
    assert_eq!(running.stop(), 0);

    said.push_str(&running.stdout().join("\n"));
    said.push_str(&running.stderr().join("\n"));
    assert!(said.contains(&format!("redis://me:***@127.0.0.1:{}/3", remote.port)), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    assert_eq!(watcher.finish(), Vec::<String>::new());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&folder)), (0o600, 0o700));
    for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let kept = String::from_utf8_lossy(&fs::read(&file).unwrap()).contains(SECRET);
        assert_eq!(kept, file == state, "{}", file.display());
    }
}

/// As typed at a terminal, whose end does not come with the line's.
#[test]
fn a_url_from_standard_input_ends_with_its_line() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&ALL);
    let remote = Remote::new();
    let mut attach = app.command(&["attach", "cache", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut typed = attach.stdin.take().unwrap();
    writeln!(typed, "{}", remote.url_with_secret()).unwrap();
    let status = until("the end of attach", || attach.try_wait().unwrap());
    assert!(status.success(), "{status}");
    assert_eq!(app.process("web")["uses"][0]["attached"], true);
    drop(typed);
    assert_eq!(running.stop(), 0);
}

#[test]
fn env_reveals_when_it_is_asked_to() {
    let app = AppDir::manifest(SHOP);
    let remote = Remote::new();
    let app = app.file("secret.url", remote.url_with_secret());
    let mut running = app.start(&[]);
    running.ready(&ALL);
    app.tambat(&["attach", "cache", "--url-file", "secret.url"]).must_be(0);
    let line = |url: &str| format!("CACHE_URL={url}\n");
    assert!(app.tambat(&["env", "--reveal"]).must_be(0).stdout.contains(&line(&remote.url_with_secret())));
    let hidden = remote.url_with_secret().replace(SECRET, "***");
    assert!(app.tambat(&["env"]).must_be(0).stdout.contains(&line(&hidden)));
    assert_eq!(running.stop(), 0);
}

/// Nobody needs the provider, and nothing would ever start it again: it keeps nobody waiting.
#[test]
fn tambat_ends_when_all_but_what_was_replaced_have() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture serve\"\nuses = [\"cache\"]\nrestart = \"never\"\n\
         [processes.cache]\ncommand = \"exec tambat-fixture serve\"\nprotocol = \"http\"\n",
    );
    let mut running = app.start(&[]);
    running.ready(&["web", "cache"]);
    let web = app.pid_of("web");
    let remote = Remote::new();
    app.tambat(&["attach", "cache", &remote.url()]).must_be(0);
    app.pid_after("web", web);
    app.until_state("cache", "stopped");
    running.get("web", "/exit?3");
    assert_eq!(running.ended(), 3);
}

#[test]
fn as_many_come_back_as_there_were() {
    let app = AppDir::manifest(SHOP);
    let remote = Remote::new();
    let mut running = app.start(&["web", "cache=2"]);
    running.ready(&["web", "cache"]);
    app.tambat(&["scale", "cache=3"]).must_be(0);
    running.ready(&["cache"]);
    app.tambat(&["attach", "cache", &remote.url()]).must_be(0);
    app.until_state("cache", "stopped");
    app.tambat(&["detach", "cache"]).must_be(0);
    app.until_state("cache", "ready");
    assert_eq!(app.process("cache")["desired"], 3);
    app.tambat(&["attach", "cache", &remote.url()]).must_be(0);
    assert_eq!(running.stop(), 0);

    let mut again = app.start(&["web", "cache=2"]);
    again.ready(&["web"]);
    app.tambat(&["detach", "cache"]).must_be(0);
    app.until_state("cache", "ready");
    assert_eq!(app.process("cache")["desired"], 2);
    assert_eq!(again.stop(), 0);
}
