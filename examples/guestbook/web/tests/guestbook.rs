//! Both programs together, through their ports, as a visitor and an operator meet them.

#![expect(clippy::expect_used, reason = "a test panics where it fails, and so do its helpers")]

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the two programs; killed when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts it on a free port of its own and waits for the line that says where it listens.
    fn start(program: &Path, env: &[(&str, &str)]) -> Self {
        // Between this look and the start somebody may take the port; then another is tried.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
            if let Ok(program) = Self::start_on(program, free, env) {
                return program;
            }
        }
        panic!("{} does not start", program.display());
    }

    fn start_on(program: &Path, address: SocketAddr, env: &[(&str, &str)]) -> Result<Self, String> {
        let mut child = command(program, env)
            .env("PORT", address.port().to_string())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is built");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("text");
        // What it says later must find a reader.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::stderr()));
        let program = Self { child, address };
        if line == format!("listening on {address}\n") { Ok(program) } else { Err(line) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends TERM and waits for the end.
    fn stop(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        wait(&mut self.child)
    }

    fn get(&self, path: &str) -> String {
        exchange(self.address, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address))
    }

    fn post(&self, path: &str, fields: &str, body: &str) -> String {
        let (host, length) = (self.address, body.len());
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n");
        exchange(self.address, &format!("{head}{fields}\r\n{body}"))
    }

    fn post_form(&self, name: &str, text: &str) -> String {
        let fields = format!("Content-Type: application/x-www-form-urlencoded\r\nOrigin: {}\r\n", self.url());
        self.post("/entries", &fields, &format!("name={}&text={}", percent(name), percent(text)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(program: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for other in ["PORT", "HOST", "ENTRIES_URL", "ENTRIES_DB"] {
        command.env_remove(other);
    }
    command.envs(env.iter().copied()).stdin(Stdio::null());
    command
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        thread::yield_now();
    }
}

fn exchange(address: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    client.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("answered");
    answer
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").expect("a string takes all");
        encoded
    })
}

fn web() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_guestbook-web"))
}

/// Cargo builds the programs of this package for its tests, but not those of another: where `cargo test --workspace` or
/// somebody else has not, it is built here, beside web. Not in any case: cargo would build whatever it is made of anew, with
/// the features that it needs alone, for minutes, and while tests run.
fn entries() -> PathBuf {
    let web = web();
    let profile_dir = web.parent().expect("a directory");
    let program = profile_dir.join("guestbook-entries");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["../entries/src", "../../../crates/tambat-app/src"].map(|source| folder.join(source));
    if !sources.iter().any(|source| is_older(&program, source)) {
        return program;
    }
    let target_dir = profile_dir.parent().expect("a directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()).expect("a name") {
        "debug" => "dev",
        other => other,
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "guestbook-entries", "--profile", profile, "--target-dir"])
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "entries does not build");
    program
}

/// Is this program missing, or older than a file of its source?
fn is_older(program: &Path, source: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let Some(built) = modified(program) else { return true };
    let files = std::fs::read_dir(source).expect("its source").map(|entry| entry.expect("an entry").path());
    files.filter_map(|path| modified(&path)).any(|changed| changed > built)
}

#[test]
fn an_entry_is_posted_shown_and_survives_a_restart_of_entries() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("data/entries.sqlite");
    let env = [("ENTRIES_DB", database.to_str().expect("text"))];
    let program = entries();
    let book = Program::start(&program, &env);
    let page = Program::start(&web(), &[("ENTRIES_URL", &book.url())]);
    assert!(page.get("/").contains("Be the first"));

    let posted = page.post_form("Ayu <b>", "first & \"last\"\r\nline");
    assert!(posted.starts_with("HTTP/1.1 303 See Other\r\n") && posted.contains("location: /\r\n"), "{posted}");
    let shown = page.get("/");
    assert!(shown.starts_with("HTTP/1.1 200 OK\r\n") && shown.contains("content-security-policy: default-src 'none'"));
    assert!(
        shown.contains("<h2>Ayu &lt;b&gt;</h2>") && shown.contains("first &amp; &quot;last&quot;\nline</p>"),
        "{shown}"
    );

    let address = book.address;
    assert_eq!(book.stop().code(), Some(0));
    let away = page.get("/");
    assert!(away.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && away.contains("retry-after: 5\r\n"), "{away}");
    assert!(away.contains("The entries are away") && away.contains("Try again"), "{away}");
    let kept = page.post_form("Budi", "do not lose this");
    assert!(kept.starts_with("HTTP/1.1 502 ") && kept.contains("do not lose this</textarea>"), "{kept}");
    assert!(page.get("/healthz").starts_with("HTTP/1.1 200 OK\r\n"), "web itself is well");

    let book = Program::start_on(&program, address, &env).expect("the port is free again");
    assert_eq!(page.get("/").matches("<article").count(), 1);
    assert!(page.get("/").contains("<h2>Ayu &lt;b&gt;</h2>"));
    assert_eq!(page.stop().code(), Some(0));
    assert_eq!(book.stop().code(), Some(0));
}

#[test]
fn limits_and_other_sites_are_kept_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("entries.sqlite");
    let book = Program::start(&entries(), &[("ENTRIES_DB", database.to_str().expect("text"))]);
    let page = Program::start(&web(), &[("ENTRIES_URL", &book.url())]);

    // The form lets through exactly what entries takes.
    let form = page.get("/");
    assert!(form.contains("maxlength=\"80\"") && form.contains("maxlength=\"1000\""), "{form}");
    assert!(page.post_form(&"n".repeat(80), &"🚢".repeat(1_000)).starts_with("HTTP/1.1 303 "));
    let long = page.post_form("n", &"t".repeat(1_001));
    assert!(long.starts_with("HTTP/1.1 422 ") && long.contains("1001 characters; 1000 is the most"), "{long}");
    assert!(page.post_form("  ", "x").starts_with("HTTP/1.1 422 "));
    assert!(page.post_form("n", &"t".repeat(20_000)).starts_with("HTTP/1.1 413 "));

    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let other = page.post("/entries", &format!("{form}Origin: http://evil.example.com\r\n"), "name=evil&text=x");
    assert!(other.starts_with("HTTP/1.1 403 ") && !other.contains("value=\"evil\""), "{other}");
    let cross = page.post("/entries", &format!("{form}Sec-Fetch-Site: cross-site\r\n"), "name=evil&text=x");
    assert!(cross.starts_with("HTTP/1.1 403 "), "{cross}");
    assert_eq!(page.get("/").matches("<article").count(), 1);
    assert!(page.get("/?before=x").starts_with("HTTP/1.1 400 "));
}

#[test]
fn the_api_pages_from_new_to_old_and_tells_errors_as_json() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("entries.sqlite");
    let book = Program::start(&entries(), &[("ENTRIES_DB", database.to_str().expect("text"))]);
    let json = "Content-Type: application/json\r\n";
    for n in 1..=3 {
        let added = book.post("/entries", json, &format!(r#"{{"name":"n","text":"t{n}"}}"#));
        assert!(added.starts_with("HTTP/1.1 201 ") && added.contains(&format!("\"id\":{n},")), "{added}");
    }
    let newest = book.get("/entries?limit=2");
    assert!(newest.contains("\"t3\"") && newest.contains("\"t2\"") && newest.ends_with("\"next\":2}"), "{newest}");
    let oldest = book.get("/entries?limit=2&before=2");
    assert!(oldest.contains("\"t1\"") && oldest.ends_with("\"next\":null}"), "{oldest}");
    for (body, status) in [
        (r#"{"name":"n"}"#, 422),
        (r#"{"name":"n","text":" "}"#, 422),
        (r#"{"name":"n","text":"t","id":9}"#, 422),
        ("{", 400),
    ] {
        let refused = book.post("/entries", json, body);
        assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")) && refused.contains("{\"error\":\""), "{refused}");
    }
    assert!(book.post("/entries", "", "{}").starts_with("HTTP/1.1 415 "));
    assert!(book.get("/healthz").ends_with("ok\n"));
}

#[test]
fn a_request_half_sent_when_term_comes_is_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("entries.sqlite");
    let env = [("ENTRIES_DB", database.to_str().expect("text"))];
    let program = entries();
    let mut book = Program::start(&program, &env);
    let mut client = TcpStream::connect(book.address).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    let head = "POST /entries HTTP/1.1\r\nHost: e\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n";
    client.write_all(format!("{head}{{\"name\":\"n\",").as_bytes()).expect("sent");
    // A later request is answered, so the first one's head has been read.
    assert!(book.get("/healthz").ends_with("ok\n"));
    kill(Pid::from_raw(book.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(book.address).is_ok() {
        assert!(Instant::now() < deadline, "the port is still open");
    }
    client.write_all(b"\"text\":\"t\"}").expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert_eq!(wait(&mut book.child).code(), Some(0));
    let book = Program::start(&program, &env);
    assert!(book.get("/entries").contains("\"text\":\"t\""));
}

#[test]
fn what_is_missing_or_taken_ends_the_program_with_a_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").port().to_string();
    let url = ("ENTRIES_URL", "http://127.0.0.1:9");
    for (program, env, reason) in [
        (web(), &[("PORT", "5000")][..], "ENTRIES_URL"),
        (web(), &[("PORT", "5000"), ("ENTRIES_URL", "https://u:hunter2@h")], "http://host:port"),
        (web(), &[url], "PORT is not in the environment"),
        (web(), &[url, ("PORT", "70000")], "PORT=70000"),
        (web(), &[url, ("PORT", &taken)], "another program listens there"),
        (entries(), &[], "PORT is not in the environment"),
        (entries(), &[("PORT", &taken)], "another program listens there"),
    ] {
        let output = command(&program, env).current_dir(directory.path()).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{env:?}: {said}");
        assert!(
            said.contains(reason) && (said.contains("\nset it ") || said.contains("\nstop it ")),
            "{env:?}: {said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert_eq!(directory.path().read_dir().expect("readable").count(), 0, "nothing was created");
}
