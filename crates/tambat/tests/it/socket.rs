//! The control socket: who may open it, and what becomes of what nobody of ours would send.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::support::{AppDir, LIMIT, Running, until};

fn app() -> (AppDir, Running) {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    let running = app.start(&[]);
    running.ready(&["web"]);
    (app, running)
}

/// What comes back for these bytes, up to the end of the connection.
fn talk(app: &AppDir, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(app.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The other side may close before it has taken everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status and body of a request.
fn request(app: &AppDir, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: tambat\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = talk(app, format!("{head}{body}").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn error(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    value["error"].as_str().unwrap().to_owned()
}

#[test]
fn it_is_its_users_alone() {
    let (app, mut running) = app();
    let (socket, folder) = (app.socket(), app.socket().parent().unwrap().to_owned());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&folder)), (0o600, 0o700));
    assert_eq!(running.stop(), 0);
    assert!(!socket.exists());
}

/// Even where the file modes would let somebody in, the peer's user id does not.
#[test]
fn another_user_is_not_answered() {
    let (app, mut running) = app();
    let socket = app.socket();
    if fs::metadata(&socket).unwrap().uid() != 0 {
        // Only root can try as somebody else; for everybody else the modes must do.
        assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().permissions().mode() & 0o077, 0);
        assert_eq!(running.stop(), 0);
        return;
    }
    let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let folders = socket.ancestors().skip(1).take_while(|folder| *folder != std::path::Path::new("/tmp"));
    folders.for_each(|folder| open(folder, 0o755));
    open(&socket, 0o666);
    let ask = |user: &str| {
        let mut curl = app.any_command("setpriv");
        curl.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
        curl.args(["curl", "-sS", "--max-time", "20", "--unix-socket"]).arg(&socket).arg("http://tambat/apps");
        curl.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    };
    let mine = ask("0");
    assert!(String::from_utf8_lossy(&mine.stdout).contains("\"app\":\"shop\""), "{mine:?}");
    let other = ask("65534");
    assert!(!other.status.success() && other.stdout.is_empty(), "{other:?}");
    assert!(String::from_utf8_lossy(&ask("0").stdout).contains("\"app\":\"shop\""));
    assert_eq!(running.stop(), 0);
}

#[test]
fn garbage_does_no_harm() {
    let (app, mut running) = app();
    let long = [b"GET /".as_slice(), &vec![b'x'; 4 * 1024 * 1024], b" HTTP/1.1\r\n\r\n"].concat();
    let noise: Vec<u8> = (0..=255_u8).cycle().take(64 * 1024).collect();
    for bytes in
        [b"\0\0\0\0".as_slice(), b"hello\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", &noise, &long]
    {
        let answer = talk(&app, bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.200}");
    }
    drop(UnixStream::connect(app.socket()).unwrap());
    assert_eq!(app.process("web")["state"], "ready");
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_client_that_sends_nothing_is_let_go_and_holds_nobody_up() {
    let (app, mut running) = app();
    let mut silent = UnixStream::connect(app.socket()).unwrap();
    silent.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(app.process("web")["state"], "ready");
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_it_does_not_know_is_a_json_error() {
    let (app, mut running) = app();
    for (method, path, status, part) in [
        ("GET", "/", 404, "does not know /"),
        ("GET", "/apps/shop/nonsense", 404, "does not know /apps/shop/nonsense"),
        ("GET", "/apps/other", 404, "`other` does not run here, `shop` does"),
        ("DELETE", "/apps/shop", 404, "does not know"),
        ("POST", "/apps/shop/processes/web/explode", 404, "does not know explode"),
        ("POST", "/apps/shop/processes/nobody/restart", 400, "there is no process `nobody`"),
        ("POST", "/apps/shop/processes/web/scale", 400, "cannot read the request"),
    ] {
        let (got, body) = request(&app, method, path, "");
        assert_eq!(got, status, "{method} {path}: {body}");
        assert!(error(&body).contains(part), "{method} {path}: {body}");
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_body_that_is_too_long_or_wrong_is_refused_and_not_repeated() {
    let (app, mut running) = app();
    let scale = "/apps/shop/processes/web/scale";
    for body in ["{", "[]", "{\"instances\":\"geheim\"}", "{\"instances\":-1}", "{\"instances\":70000}"] {
        let (status, answer) = request(&app, "POST", scale, body);
        assert_eq!(status, 400, "{answer}");
        assert!(error(&answer).contains("cannot read the request") && !answer.contains("geheim"), "{answer}");
    }
    let (status, answer) = request(&app, "POST", scale, "{\"instances\":3000}");
    assert_eq!((status, error(&answer).contains("1000 instances are the most")), (400, true), "{answer}");
    let long = format!("{{\"name\":\"{}\",\"url\":\"\"}}", "x".repeat(100 * 1024));
    let (status, answer) = request(&app, "POST", "/apps/shop/attachments", &long);
    assert_eq!((status, error(&answer).contains("cannot read the request")), (400, true), "{answer}");
    assert_eq!(app.process("web")["desired"], 1);
    assert_eq!(running.stop(), 0);
}

/// A shell of another kind of session has another runtime folder, or one that is not there: who runs is the same.
#[test]
fn who_runs_does_not_depend_on_the_session() {
    let (app, mut running) = app();
    let elsewhere = app.home_path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for runtime_dir in [elsewhere.as_path(), std::path::Path::new("/nowhere/at/all")] {
        let other = app.clone().env("XDG_RUNTIME_DIR", runtime_dir.to_str().unwrap());
        assert_eq!(other.json(&["ps", "--json"])["pid"], running.pid(), "{}", runtime_dir.display());
    }
    assert!(fs::read_dir(&elsewhere).unwrap().next().is_none(), "who asks creates nothing");
    let other = app.clone().env("XDG_RUNTIME_DIR", elsewhere.to_str().unwrap());
    let second = other.tambat(&["start", "-p", "0"]).must_be(1);
    let expected = format!("shop already runs as pid {}", running.pid());
    assert!(second.stderr.contains(&expected), "{}", second.stderr);
    let second = other.tambat(&["start", "-p", "0", "--detach"]).must_be(1);
    assert!(second.stderr.contains("shop already runs"), "{}", second.stderr);
    other.tambat(&["stop"]).must_be(0);
    assert_eq!(running.exit_code(), 0);
}

/// A runtime folder goes when its user logs out, and is made anew when they log in again.
#[test]
fn a_socket_whose_folder_has_gone_comes_back() {
    let (app, mut running) = app();
    let (runtime, gone) = (app.home_path().join("run"), app.home_path().join("gone"));
    fs::rename(&runtime, &gone).unwrap();
    let pid = format!("runs as pid {}, which does not answer at {}", running.pid(), runtime.display());
    let silent = app.tambat(&["ps"]).must_be(1);
    assert!(silent.stderr.contains(&pid), "{}", silent.stderr);
    let second = app.tambat(&["start", "-p", "0"]).must_be(1);
    assert!(second.stderr.contains(&pid), "{}", second.stderr);
    fs::create_dir(&runtime).unwrap();
    until("the socket to come back", || (app.tambat(&["ps"]).code == 0).then_some(()));
    assert_eq!(fs::metadata(app.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(app.json(&["ps", "--json"])["pid"], running.pid());
    app.tambat(&["stop"]).must_be(0);
    assert_eq!(running.exit_code(), 0);
    app.tambat(&["ps"]).must_be(1);
}

#[test]
fn asking_works_where_the_runtime_folder_is_missing() {
    let app = AppDir::procfile("web: tambat-fixture serve\n").env("XDG_RUNTIME_DIR", "/nowhere/at/all");
    let asked = app.tambat(&["ps"]).must_be(1);
    assert!(asked.stderr.contains("no app runs in"), "{}", asked.stderr);
}
