//! The guestbook, as `tambat start -d examples/guestbook` runs it: one app is the backing service of the other.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{AppDir, LIMIT, get, programs, until};

/// The example's own manifest, but with the programs that are tested: no build, and found by PATH.
fn guestbook() -> AppDir {
    programs::guestbook();
    let manifest = std::fs::read_to_string(programs::repository().join("examples/guestbook/tambat.toml")).unwrap();
    let (lines, build): (Vec<&str>, Vec<&str>) = manifest.lines().partition(|line| !line.starts_with("build"));
    assert_eq!(build.len(), 1, "{manifest}");
    let manifest = lines.join("\n");
    assert_eq!(manifest.matches("../../target/release/").count(), 2, "{manifest}");
    AppDir::manifest(&manifest.replace("../../target/release/", ""))
}

/// The status line of what the page says to an entry.
fn post(port: u16, name: &str, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let body = format!("name={name}&text={text}");
    write!(
        stream,
        "POST /entries HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// The texts of all entries, by the API and its pages.
fn texts(entries: u16) -> Vec<String> {
    let (mut texts, mut before) = (Vec::new(), String::new());
    loop {
        let page = get(entries, &format!("/entries?limit=100{before}"));
        assert_eq!(page.status, 200, "{page:?}");
        let page: serde_json::Value = serde_json::from_str(&page.body).unwrap();
        let shown = page["entries"].as_array().unwrap();
        texts.extend(shown.iter().map(|entry| entry["text"].as_str().unwrap().to_owned()));
        match page["next"].as_i64() {
            Some(next) => before = format!("&before={next}"),
            None => return texts,
        }
    }
}

#[test]
fn an_entry_is_posted_and_seen_and_is_still_there_after_a_restart_of_tambat() {
    let app = guestbook();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let page = app.json(&["url", "--json"])["url"].as_str().unwrap().to_owned();
    let form = format!("{page}/entries");
    let posted = app
        .curl(&[
            "-L",
            "-w",
            "%{num_redirects} %{http_code}",
            "-d",
            "name=Ayu",
            "--data-urlencode",
            "text=Ahoj, <b>ships</b>",
            &form,
        ])
        .must_be(0);
    assert!(posted.stdout.contains("<h2>Ayu</h2>"), "{posted:?}");
    assert!(posted.stdout.contains("Ahoj, &lt;b&gt;ships&lt;/b&gt;"), "{posted:?}");
    assert!(posted.stdout.ends_with("1 200"), "the answer leads back to the page: {posted:?}");
    assert_eq!(running.stop(), 0);

    let mut running = app.start(&[]);
    running.ready(&[]);
    let shown = running.get("web", "/");
    assert!(shown.status == 200 && shown.body.contains("<h2>Ayu</h2>"), "{shown:?}");
    assert_eq!(texts(app.port("entries")), ["Ahoj, <b>ships</b>"]);
    assert_eq!(running.stop(), 0);
}

#[test]
fn entries_survive_a_tambat_that_is_killed() {
    let app = guestbook();
    let mut running = app.start(&[]);
    running.ready(&[]);
    assert_eq!(post(app.port("web"), "Ayu", "before").unwrap(), "HTTP/1.1 303 See Other");
    running.kill_9();
    running.nothing_left(LIMIT);

    let mut running = app.start(&[]);
    running.ready(&[]);
    assert_eq!(texts(app.port("entries")), ["before"]);
    assert_eq!(running.stop(), 0);
}

#[test]
fn web_knows_entries_by_its_handle_alone() {
    let app = guestbook();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let handle = &app.process("web")["uses"][0];
    assert_eq!(handle["variable"], "ENTRIES_URL");
    assert_eq!(handle["url"], format!("http://127.0.0.1:{}", app.port("entries")));
    app.tambat(&["stop", "entries"]).must_be(0);
    until("the end of entries", || (app.process("entries")["state"] == "stopped").then_some(()));
    let away = running.get("web", "/");
    assert!(away.status == 502 && away.body.contains("The entries are away"), "{away:?}");
    app.tambat(&["restart", "entries"]).must_be(0);
    // Waits for it.
    let shown = running.get("web", "/");
    assert!(shown.status == 200 && shown.body.contains("Be the first"), "{shown:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn restarts_under_load_lose_nothing() {
    let app = guestbook();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let (web, entries) = (app.port("web"), app.port("entries"));
    let enough = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = ["Ayu", "Budi"]
        .map(|name| {
            let enough = Arc::clone(&enough);
            thread::spawn(move || {
                let mut written = Vec::new();
                while !enough.load(Ordering::Relaxed) {
                    let text = format!("{name}-{}", written.len());
                    assert_eq!(post(web, name, &text).unwrap(), "HTTP/1.1 303 See Other", "{text}");
                    written.push(text);
                }
                written
            })
        })
        .into();
    for process in ["entries", "web", "entries"] {
        let pid = || app.process(process)["instances"].as_array().unwrap().iter().map(|i| i["pid"].clone()).collect();
        let before: Vec<serde_json::Value> = pid();
        app.tambat(&["restart", process]).must_be(0);
        // From now on only the new one is there: every request went to one or the other.
        until("the end of the old instance", || {
            let now = pid();
            (now.len() == 1 && now != before && now[0].is_number()).then_some(())
        });
    }
    enough.store(true, Ordering::Relaxed);
    let written: Vec<String> = visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()).collect();
    assert!(written.len() > 6, "{written:?}");
    let book = texts(entries);
    let unique: BTreeSet<&String> = book.iter().collect();
    assert_eq!(unique, written.iter().collect(), "what was answered is in the book");
    assert_eq!(book.len(), written.len(), "and nothing is in it twice");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_example_itself_is_planned_with_its_build_its_ports_and_its_handle() {
    let app = AppDir::new();
    let example = programs::repository().join("examples/guestbook");
    let plan = app.json(&["plan", "--json", "-p", "5000", "-d", example.to_str().unwrap()]);
    assert_eq!(plan["app"], "guestbook");
    let build = plan["build"].as_str().unwrap();
    assert!(build.starts_with("cargo build --release "), "{build}");
    let [web, entries] = plan["processes"].as_array().unwrap().as_slice() else { panic!("{plan}") };
    for (process, name, port) in [(web, "web", 5000), (entries, "entries", 5100)] {
        assert_eq!(process["name"], name);
        assert_eq!((&process["ports"][0]["port"], &process["ports"][0]["protocol"]), (&port.into(), &"http".into()));
        // What is built is what is run.
        let program = format!("guestbook-{name}");
        assert!(build.contains(&format!("-p {program}")), "{build}");
        assert_eq!(process["command"], format!("../../target/release/{program}"));
        assert!(process["ready"].as_str().unwrap().contains("/healthz"), "{process}");
    }
    let handle =
        serde_json::json!({ "variable": "ENTRIES_URL", "provider": "entries", "url": "http://127.0.0.1:5100" });
    assert_eq!(web["uses"], serde_json::json!([handle]));
    assert_eq!(entries["uses"], serde_json::json!([]));
}
