//! The recipes of docs/recipes: each is started from the files that its page shows, asked through its service port by
//! curl, as people's browsers would, stopped, and judged by `tambat check`.

use std::path::{Path, PathBuf};

use crate::support::programs::{self, repository};
use crate::support::{AppDir, fixture};

/// The files of a recipe, by their paths in its folder, sorted.
fn files(name: &str) -> Vec<(String, String)> {
    let root = repository().join("tests/fixtures/recipes").join(name);
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found.sort();
    assert!(!found.is_empty(), "{} has no files", root.display());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The app of a recipe. `tools`: the folder of target/tools with its libraries.
fn app(name: &str, tools: &str) -> AppDir {
    let app = files(name).into_iter().fold(AppDir::new(), |app, (file, text)| app.file(&file, text));
    with_libraries(app, tools)
}

/// Programs of the folder come first in PATH, and its modules lie where Node looks.
fn with_libraries(app: AppDir, tools: &str) -> AppDir {
    if tools.is_empty() {
        return app;
    }
    let folder = repository().join("target/tools").join(tools);
    assert!(
        folder.join("bin").exists() || folder.join("node_modules").exists(),
        "cannot find {}: `cargo xtask packages` installs it, and so does `cargo xtask test`",
        folder.display()
    );
    let modules = folder.join("node_modules");
    if modules.exists() {
        // The folder is the app's own, for Vite has its cache there; what is in it belongs to all tests.
        let own = app.path().join("node_modules");
        std::fs::create_dir(&own).unwrap();
        for module in std::fs::read_dir(modules).unwrap().map(Result::unwrap) {
            if module.file_name() != ".vite" {
                std::os::unix::fs::symlink(module.path(), own.join(module.file_name())).unwrap();
            }
        }
    }
    let path = format!("{}:{}:/usr/bin:/bin", folder.join("bin").display(), fixture::folder().display());
    app.env("PATH", &path)
}

/// Starts it, has curl ask for `/` at the service port and by name, and stops it.
fn answers(app: &AppDir, expected: impl Fn(&str) -> String) {
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let url = app.tambat(&["url", "web"]).must_be(0).stdout.trim_end().to_owned();
    let by_number = app.curl(&["-f", &format!("{url}/")]).must_be(0).stdout;
    assert_eq!(by_number, expected(&url));
    let line = running.err_line("http://shop.localhost:");
    let (_, named) = line.split_once("http://shop.localhost:").unwrap();
    let (host, via) = (format!("http://shop.localhost:{named}"), format!("shop.localhost:{named}:127.0.0.1"));
    let by_name = app.curl(&["-f", "--resolve", &via, &format!("{host}/")]).must_be(0).stdout;
    assert_eq!(by_name, expected(&host));
    assert_eq!(running.stop(), 0);
    let said = running.stderr().join("\n");
    assert!(!said.contains("was killed"), "{said}");
    keeps_the_contract(app);
}

/// Starts it, has a client of its own kind talk to it, stops it, and judges it.
fn serves(app: &AppDir, process: &str, talk: impl FnOnce(&str)) {
    let mut running = app.start(&[]);
    running.ready(&[process]);
    talk(&app.port(process).to_string());
    assert_eq!(running.stop(), 0);
    let said = running.stderr().join("\n");
    assert!(!said.contains("was killed"), "{said}");
    app.tambat(&["check", process, "--boot", "20s", "--grace", "10s"]).must_be(0);
}

/// No clause is broken; the limits are those of a busy machine.
fn keeps_the_contract(app: &AppDir) {
    app.tambat(&["check", "web", "--boot", "20s", "--grace", "10s"]).must_be(0);
}

/// Without its flag it ignores `PORT`: the sentence with the line.
fn ignores_port(app: AppDir, command: &str) -> String {
    let app = app.file("tambat.toml", format!("[processes.web]\ncommand = \"exec {command}\"\n"));
    let mut running = app.start(&[]);
    let line = running.err_line("it ignores PORT (PB-03); ");
    running.stop();
    line.split_once("(PB-03); ").unwrap().1.to_owned()
}

#[test]
fn node_http() {
    programs::node();
    answers(&app("node-http", ""), |_| "hello from node\n".to_owned());
}

#[test]
fn express() {
    programs::node();
    answers(&app("express", "express"), |url| format!("hello from express at {url}\n"));
}

#[test]
fn vite() {
    programs::node();
    let app = app("vite", "vite");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let url = app.tambat(&["url", "web"]).must_be(0).stdout.trim_end().to_owned();
    let page = app.curl(&["-f", &format!("{url}/")]).must_be(0).stdout;
    assert!(page.contains("<h1>hello from vite</h1>") && page.contains("/@vite/client"), "{page}");
    let module = app.curl(&["-f", &format!("{url}/main.js")]).must_be(0).stdout;
    assert!(module.contains("by a module"), "{module}");
    assert_eq!(running.stop(), 0);
    keeps_the_contract(&app);
}

#[test]
fn vite_without_its_flag_is_told_it() {
    programs::node();
    let told = ignores_port(app("vite", "vite"), "npx vite");
    assert_eq!(told, "Vite: vite --port $PORT --strictPort");
}

#[test]
fn flask_with_gunicorn() {
    answers(&app("flask", "flask"), |url| format!("hello from flask at {url}/\n"));
}

#[test]
fn flask_without_its_flag_is_told_it() {
    let told = ignores_port(app("flask", "flask"), "flask run");
    assert_eq!(told, "Flask: flask run --port $PORT");
}

#[test]
fn django_with_uvicorn() {
    answers(&app("django", "django"), |url| format!("hello from django at {url}/\n"));
}

#[test]
fn django_with_uvicorn_without_its_flag_is_told_it() {
    let told = ignores_port(app("django", "django"), "uvicorn app:application");
    assert_eq!(told, "uvicorn: uvicorn --port $PORT");
}

#[test]
fn rails_with_puma() {
    programs::puma();
    answers(&app("rails", ""), |url| format!("hello from rails at {url}\n"));
}

#[test]
fn go_net_http() {
    programs::go();
    // Its standard library is compiled once, not in each home.
    let cache = repository().join("target/tools/go-cache");
    let app = app("go", "").env("GOCACHE", cache.to_str().unwrap());
    answers(&app, |url| format!("hello from go at {}\n", url.trim_start_matches("http://")));
}

#[test]
fn axum() {
    let app = app("axum", "");
    fixture::build_if_older("recipe-axum", &repository().join("tests/fixtures/recipes/axum"));
    let built = fixture::folder().join("recipe-axum");
    std::fs::create_dir_all(app.path().join("target/release")).unwrap();
    std::os::unix::fs::symlink(built, app.path().join("target/release/hello")).unwrap();
    answers(&app, |_| "hello from axum\n".to_owned());
}

/// Says hello to the server at this address, as a client of that authority if there is one.
const GRPC_CLIENT: &str = r#"
import sys, grpc
options = [("grpc.default_authority", sys.argv[2])] if len(sys.argv) > 2 else []
with grpc.insecure_channel(sys.argv[1], options=options) as channel:
    print(channel.unary_unary("/demo.Greeter/Hello")(b"from grpc", timeout=20).decode())
"#;

#[test]
fn grpc() {
    let app = app("grpc", "grpc");
    let mut running = app.start(&[]);
    running.ready(&["api"]);
    let hello = |args: &[&str]| {
        let said = app.program("python", &[&["-c", GRPC_CLIENT], args].concat());
        assert_eq!(said.must_be(0).stdout, "hello from grpc\n");
    };
    let line = running.err_line("http://api.shop.localhost:");
    let port = line.split_once("http://api.shop.localhost:").unwrap().1.split_whitespace().next().unwrap().to_owned();
    hello(&[&format!("localhost:{}", app.port("api"))]);
    hello(&[&format!("127.0.0.1:{port}"), &format!("api.shop.localhost:{port}")]);
    assert_eq!(running.stop(), 0);
    app.tambat(&["check", "api", "--strict", "--boot", "20s", "--grace", "10s"]).must_be(0);
}

#[test]
fn mariadb() {
    programs::mariadb();
    let app = app("mariadb", "").unprivileged();
    serves(&app, "db", |port| {
        let asked = ["--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", "root", "-Ne", "select 6 * 7"];
        assert_eq!(app.program("mariadb", &asked).must_be(0).stdout, "42\n");
    });
}

#[test]
fn mosquitto() {
    programs::mosquitto();
    let app = app("mosquitto", "").unprivileged();
    serves(&app, "broker", |port| {
        let at = ["-h", "127.0.0.1", "-p", port, "-t", "ships"];
        app.program("mosquitto_pub", &[&at[..], &["-r", "-q", "1", "-m", "Ayu"]].concat()).must_be(0);
        let heard = app.program("mosquitto_sub", &[&at[..], &["-C", "1", "-W", "20"]].concat()).must_be(0);
        assert_eq!(heard.stdout, "Ayu\n");
    });
}

#[test]
fn smtp_with_aiosmtpd() {
    programs::aiosmtpd();
    let app = app("smtp", "smtp").file("message.txt", "Subject: ship\r\n\r\nAyu\r\n");
    serves(&app, "mail", |port| {
        let (from, to) = ("a@example.com", "b@example.com");
        let url = format!("smtp://127.0.0.1:{port}");
        app.curl(&["-f", &url, "--mail-from", from, "--mail-rcpt", to, "-T", "message.txt"]).must_be(0);
        assert_eq!(std::fs::read_dir(app.path().join("mail/new")).unwrap().count(), 1);
    });
}

#[test]
fn pages_show_the_files_that_are_tested() {
    let folder = repository().join("docs/recipes");
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut names: Vec<PathBuf> = std::fs::read_dir(repository().join("tests/fixtures/recipes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for name in names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()) {
        let page = std::fs::read_to_string(folder.join(format!("{name}.md"))).unwrap();
        assert!(index.contains(&format!("({name}.md)")), "the index has no {name}");
        let mut shown = 0;
        for (file, text) in files(name) {
            // Of this repository's own workspace; the page says what to write in another.
            if file == "Cargo.toml" {
                continue;
            }
            let introduced = format!("`{file}`:\n\n```");
            let (_, after) = page.split_once(&introduced).unwrap_or_else(|| panic!("{name}.md does not show {file}"));
            let code = after.split_once('\n').unwrap().1;
            assert!(code.starts_with(&format!("{text}```\n")), "{name}.md shows another {file} than is tested");
            shown += 1;
        }
        assert_eq!(page.matches("`:\n\n```").count(), shown, "{name}.md shows a file that is not tested");
    }
}
