//! Resource handles and environments: which variable a process gets, from where, and who wins.

use serde_json::{Value, json};

use crate::support::{AppDir, Base};

const SHOP: &str = r#"
[processes.web]
command = "exec tambat-fixture serve"
uses = ["api", "cache", "db", "raw", "mail"]

[processes.api]
command = "exec tambat-fixture serve"
protocol = "http"

[processes.cache]
command = "exec tambat-fixture park"
protocol = "redis"

[processes.db]
command = "exec tambat-fixture park"
protocol = "postgres"
url = "postgres://app:devpass@{host}:{port}/shop"

[processes.raw]
command = "exec tambat-fixture echo"
protocol = "tcp"

[resources.mail]
url = "smtp://me:mailpass@mail.example.com:587"
"#;

/// The handles among the variables: those that end with `_URL`, without `TAMBAT_URL`.
fn handles(app: &AppDir, process: &str) -> Vec<(String, String)> {
    let environment = app.environment(process);
    let variables = environment.as_object().unwrap().iter();
    let handles = variables.filter(|(name, _)| name.ends_with("_URL") && *name != "TAMBAT_URL");
    handles.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn pairs(expected: &[(&str, String)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

#[test]
fn a_list_of_uses_gives_a_url_for_each_in_its_protocol_or_as_its_template_has_it() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&["web", "api", "raw"]);
    let local = |process: &str, scheme: &str| format!("{scheme}://127.0.0.1:{}", app.port(process));
    let expected = pairs(&[
        ("API_URL", local("api", "http")),
        ("CACHE_URL", local("cache", "redis")),
        ("DB_URL", format!("postgres://app:devpass@127.0.0.1:{}/shop", app.port("db"))),
        ("MAIL_URL", "smtp://me:mailpass@mail.example.com:587".to_owned()),
        ("RAW_URL", local("raw", "tcp")),
    ]);
    assert_eq!(handles(&app, "web"), expected);
    assert_eq!(handles(&app, "api"), []);
    assert_eq!(running.get("web", "/dial?API_URL").body, "api.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_password_of_the_manifest_reaches_the_app_and_no_screen() {
    let app = AppDir::manifest(SHOP);
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let verbs: [&[&str]; 9] = [
        &["ps"],
        &["ps", "--json"],
        &["env", "web"],
        &["env", "web", "--explain"],
        &["env", "web", "--json"],
        &["url", "db"],
        &["url", "--json", "db"],
        &["plan"],
        &["plan", "--json"],
    ];
    for verb in verbs {
        let said = app.tambat(verb).must_be(0);
        for password in ["devpass", "mailpass"] {
            assert!(!said.stdout.contains(password) && !said.stderr.contains(password), "{verb:?}: {said:?}");
        }
    }
    let revealed = app.tambat(&["env", "web", "--reveal"]).must_be(0).stdout;
    assert!(revealed.contains("MAIL_URL=smtp://me:mailpass@mail.example.com:587\n"), "{revealed}");
    assert_eq!(app.tambat(&["url", "db"]).stdout, format!("postgres://app:***@localhost:{}/shop\n", app.port("db")));
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_table_form_chooses_the_names() {
    let app = AppDir::manifest(
        r#"
        [processes.web]
        command = "exec tambat-fixture serve"
        uses = { REDIS = "cache", BACKEND_URL = "api" }
        [processes.api]
        command = "exec tambat-fixture serve"
        protocol = "http"
        [processes.cache]
        command = "exec tambat-fixture park"
        protocol = "redis"
        "#,
    );
    let mut running = app.start(&[]);
    running.ready(&["web", "api"]);
    assert_eq!(handles(&app, "web"), pairs(&[("BACKEND_URL", format!("http://127.0.0.1:{}", app.port("api")))]));
    assert_eq!(app.environment("web")["REDIS"], format!("redis://127.0.0.1:{}", app.port("cache")));
    assert_eq!(running.get("web", "/dial?BACKEND_URL").body, "api.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn each_named_port_has_a_variable_a_service_port_and_a_handle() {
    let app = AppDir::manifest(
        r#"
        [processes.web]
        command = "exec tambat-fixture serve"
        uses = ["chat"]
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
    let (c2s, admin) = (app.port("chat:c2s"), app.port("chat:admin"));
    assert_ne!(c2s, admin);
    assert_eq!(app.port("chat"), c2s);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let whole = pairs(&[("CHAT_ADMIN_URL", url(admin)), ("CHAT_C2S_URL", url(c2s)), ("CHAT_URL", url(c2s))]);
    assert_eq!(handles(&app, "web"), whole);
    assert_eq!(handles(&app, "back"), whole[..1]);
    let chat = app.environment("chat");
    assert_eq!(chat["PORT"], chat["PORT_C2S"]);
    assert_ne!(chat["PORT"], chat["PORT_ADMIN"]);
    assert_eq!(running.get("web", "/dial?CHAT_ADMIN_URL").body, "chat.1");
    assert_eq!(app.tambat(&["url", "chat:nobody"]).must_be(2).stdout, "");
    assert_eq!(running.stop(), 0);
}

/// `-E` > handles > `.env` files (later file first) > the manifest's `env` > `HOST` > the shell; what tambat sets is
/// above all. Each variable here is set by one source fewer than the one before it.
#[test]
fn each_source_beats_the_next() {
    let app = AppDir::manifest(
        r#"
        [processes.web]
        command = "exec tambat-fixture serve"
        uses = { HANDLE = "api" }
        env = { WORD = "manifest", LATER = "manifest", EARLIER = "manifest", MANIFEST = "manifest" }
        [processes.api]
        command = "exec tambat-fixture serve"
        protocol = "http"
        env = { HOST = "127.0.0.1" }
        "#,
    )
    .file("a.env", "PS=a\nTAMBAT_URL=a\nWORD=a\nHANDLE=a\nLATER=a\nEARLIER=a\n")
    .file("b.env", "WORD=b\nHANDLE=b\nLATER=b\n");
    let shell = ["PS", "TAMBAT_URL", "WORD", "HANDLE", "LATER", "EARLIER", "MANIFEST", "HOST", "SHELL_ONLY"];
    let app = shell.iter().fold(app, |app, name| app.env(name, "shell"));
    let words = ["-e", "a.env,b.env", "-E", "PS=word", "-E", "WORD=word"];
    let mut running = app.start(&words);
    running.ready(&["web", "api"]);

    let (a, b) = (|line: usize| json!(format!("a.env:{line}")), |line: usize| json!(format!("b.env:{line}")));
    let api = format!("http://127.0.0.1:{}", app.port("api"));
    let url = format!("http://localhost:{}", app.port("web"));
    let expected: [(&str, &str, Value, Value); 9] = [
        ("PS", "web.1", json!("tambat"), json!(["-E", a(1), "shell"])),
        ("TAMBAT_URL", &url, json!("tambat"), json!([a(2), "shell"])),
        ("WORD", "word", json!("-E"), json!([b(1), a(3), "tambat.toml", "shell"])),
        ("HANDLE", &api, json!("handle to api"), json!([b(2), a(4), "shell"])),
        ("LATER", "b", b(3), json!([a(5), "tambat.toml", "shell"])),
        ("EARLIER", "a", a(6), json!(["tambat.toml", "shell"])),
        ("MANIFEST", "manifest", json!("tambat.toml"), json!(["shell"])),
        ("HOST", "127.0.0.1", json!("default"), json!(["shell"])),
        ("SHELL_ONLY", "shell", json!("shell"), json!([])),
    ];
    let real = app.environment("web");
    for (name, value, source, lost) in expected {
        assert_eq!(real[name], value, "{name}");
        let told = json!({ "name": name, "value": value, "source": source, "lost": lost });
        assert_eq!(app.variable("web", name), told, "{name}");
    }
    let host = app.variable("api", "HOST");
    assert_eq!((&host["source"], &host["lost"]), (&json!("tambat.toml"), &json!(["default", "shell"])));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_handle_that_the_command_line_overrides_is_gone() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture serve\"\nuses = [\"api\"]\n\
         [processes.api]\ncommand = \"exec tambat-fixture serve\"\nprotocol = \"http\"\n",
    );
    let mut running = app.start(&["-E", "API_URL=http://127.0.0.1:1"]);
    running.ready(&["web", "api"]);
    assert_eq!(app.environment("web")["API_URL"], "http://127.0.0.1:1");
    let told = app.variable("web", "API_URL");
    assert_eq!((&told["source"], &told["lost"]), (&json!("-E"), &json!(["handle to api"])));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_word_without_a_value_takes_the_shells() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n").env("TOKEN", "from-the-shell");
    let app = app.file(".env", "TOKEN=from-the-file\n");
    let mut running = app.start(&["-E", "TOKEN"]);
    running.ready(&["web"]);
    assert_eq!(app.environment("web")["TOKEN"], "from-the-shell");
    assert_eq!(running.stop(), 0);
    let said = app.tambat(&["start", "-p", "0", "-E", "NOT_THERE"]).must_be(2);
    assert!(said.stderr.contains("-E NOT_THERE: there is no such variable in the shell"), "{}", said.stderr);
}

#[test]
fn a_line_of_dotenv_that_a_handle_hides_is_warned_about() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture serve\"\nuses = [\"api\"]\n\
         [processes.api]\ncommand = \"exec tambat-fixture serve\"\nprotocol = \"http\"\n",
    )
    .file(".env", "# the staging server\nAPI_URL=http://u:geheim@staging.example.com\n");
    let warning = "warning: web does not get this `API_URL`: its handle to `api` has that name\n --> .env:2\n";
    let planned = app.tambat(&["plan"]).must_be(0);
    assert!(planned.stderr.contains(warning), "{}", planned.stderr);
    assert!(planned.stderr.contains("`tambat attach api URL`"), "{}", planned.stderr);
    let mut running = app.start(&[]);
    running.ready(&["web", "api"]);
    assert!(running.stderr().join("\n").contains(warning));
    assert_eq!(running.get("web", "/dial?API_URL").body, "api.1");
    let all = [planned.stdout, planned.stderr, running.stderr().join("\n"), running.stdout().join("\n")].concat();
    assert!(!all.contains("geheim"), "{all}");
    // Whoever has no such handle gets the line.
    assert_eq!(app.environment("api")["API_URL"], "http://u:geheim@staging.example.com");
    assert_eq!(running.stop(), 0);
}

#[test]
fn two_handles_with_one_name_are_an_error() {
    let process = |name: &str| format!("[processes.{name}]\ncommand = \"true\"\nprotocol = \"tcp\"\n");
    let app = AppDir::manifest(&format!(
        "[processes.web]\ncommand = \"true\"\nuses = [\"my-db\", \"my_db\"]\n{}{}",
        process("my-db"),
        process("my_db")
    ));
    let said = app.tambat(&["start", "-p", "0"]).must_be(2);
    assert!(said.stderr.contains("the handles to `my-db` and `my_db` would both be MY_DB_URL"), "{}", said.stderr);
    assert!(said.stderr.contains("tambat.toml:3:"), "{}", said.stderr);
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"true\"\nuses = { PORT = \"api\" }\n[processes.api]\ncommand = \"true\"\nprotocol = \"http\"\n",
    );
    let said = app.tambat(&["plan"]).must_be(2);
    assert!(said.stderr.contains("`PORT` is set by tambat itself"), "{}", said.stderr);
}

#[test]
fn an_unknown_name_in_uses_is_shown_in_its_place() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"true\"\nuses = [\"aip\"]\n[processes.api]\ncommand = \"true\"\nprotocol = \"http\"\n",
    );
    for verb in [&["start", "-p", "0"][..], &["plan"]] {
        let said = app.tambat(verb).must_be(2);
        let stderr = said.stderr;
        assert!(stderr.contains("there is no process or resource `aip` in this app; it has web, api"), "{stderr}");
        assert!(stderr.contains("tambat.toml:3:") && stderr.contains("did you mean `api`?"), "{stderr}");
    }
}

#[test]
fn a_cycle_works_and_plan_shows_it() {
    let app = AppDir::manifest(
        r#"
        [processes.web]
        command = "exec tambat-fixture serve"
        uses = ["api"]
        [processes.api]
        command = "exec tambat-fixture serve --boot 100"
        protocol = "http"
        uses = ["web"]
        "#,
    );
    assert_eq!(app.json(&["plan", "--json"])["cycles"], json!([["web", "api"]]));
    let shown = app.tambat(&["plan"]).must_be(0).stdout;
    assert!(shown.contains("web → api → web"), "{shown}");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    assert_eq!(running.get("web", "/dial?API_URL").body, "api.1");
    assert_eq!(running.get("api", "/dial?WEB_URL").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_base_of_the_service_ports_is_p_then_dotenv_then_the_shell_then_5000() {
    let app = AppDir::procfile("web: true\nworker: true\n");
    let planned = |app: &AppDir, args: &[&str]| {
        let plan = app.json(&[&["plan", "--json"], args].concat());
        [0, 1].map(|nth: usize| plan["processes"][nth]["ports"][0]["port"].as_u64().unwrap())
    };
    assert_eq!(planned(&app, &[]), [5000, 5100]);
    let app = app.env("PORT", "7000");
    assert_eq!(planned(&app, &[]), [7000, 7100]);
    let app = app.file(".env", "PORT=8000\n");
    assert_eq!(planned(&app, &[]), [8000, 8100]);
    assert_eq!(planned(&app, &["-p", "9000"]), [9000, 9100]);
    let said = app.file(".env", "PORT=web\n").tambat(&["plan"]).must_be(2);
    assert!(said.stderr.contains("PORT is `web`") && said.stderr.contains(".env:1"), "{}", said.stderr);
}

#[test]
fn the_base_in_dotenv_is_not_the_port_of_an_instance() {
    let base = Base::find();
    let app = AppDir::procfile("web: exec tambat-fixture serve\n").file(".env", format!("PORT={}\n", base.text()));
    let mut running = app.start_at(&[]);
    running.ready(&["web"]);
    assert_eq!(app.port("web"), base.0);
    let told: u16 = app.environment("web")["PORT"].as_str().unwrap().parse().unwrap();
    assert!((20_000..30_000).contains(&told), "{told}");
    assert_eq!(running.stop(), 0);
}
