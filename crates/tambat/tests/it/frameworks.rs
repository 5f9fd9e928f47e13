//! What serves is recognised by its command and by what the app declares, and its own line is what its user is told.

use crate::support::{AppDir, Base, programs, try_get_at};

/// Node's own server, which any framework of Node's listens with.
const NODE: &str =
    "require('http').createServer((_, answer) => answer.end('hello')).listen(process.env.FIXED, '127.0.0.1');\n";

/// Python's own.
const PYTHON: &str = "import http.server, os\nhttp.server.HTTPServer(('127.0.0.1', int(os.environ['FIXED'])), \
                      http.server.SimpleHTTPRequestHandler).serve_forever()\n";

/// What the log says, and the page, of an app that listens on another port than its own.
fn told(app: AppDir) -> String {
    let fixed = Base::find();
    let app = app.env("FIXED", &fixed.text());
    let mut running = app.start(&[]);
    let line = running.err_line("it ignores PORT");
    let said = line.split_once("not on its PORT").unwrap().1.to_owned();
    let web = app.json(&["routes", "--json"])["routes"][0].clone();
    let cause = web["cause"].as_str().unwrap();
    assert!(cause.starts_with(&format!("web.1 listens on {}, not on its PORT 2", fixed.0)), "{web}");
    assert!(cause.ends_with(": it ignores PORT (PB-03)"), "{web}");
    assert_eq!(
        said,
        format!(": it ignores PORT (PB-03); {}", web["mend"].as_str().unwrap()),
        "log and page say the same"
    );
    assert_eq!(running.stop(), 0);
    web["mend"].as_str().unwrap().to_owned()
}

#[test]
fn an_express_app_is_told_the_line_of_express_whether_npm_or_node_starts_it() {
    programs::node();
    let package = r#"{"scripts": {"start": "node server.js"}, "dependencies": {"express": "5"}, "devDependencies": {"vite": "7"}}"#;
    for command in ["node server.js", "npm start"] {
        let app = AppDir::procfile(&format!("web: {command}\n")).file("package.json", package).file("server.js", NODE);
        assert_eq!(told(app), "Express: in server.js say app.listen(process.env.PORT)", "{command}");
    }
}

#[test]
fn the_page_of_an_app_that_was_given_up_has_the_line_too() {
    programs::node();
    let fixed = Base::find();
    let web = "[processes.web]\ncommand = \"exec node server.js\"\nready = { within = \"5s\" }\n\
               restart = \"never\"\n[processes.job]\ncommand = \"exec tambat-fixture park\"\n";
    let app = AppDir::manifest(web)
        .file("package.json", r#"{"dependencies": {"fastify": "5"}}"#)
        .file("server.js", NODE)
        .env("FIXED", &fixed.text());
    let mut running = app.start(&[]);
    running.err_line("was not ready within 5s");
    let page = try_get_at(([127, 0, 0, 1], app.port("web")).into(), "localhost", "/", "Accept: text/html\r\n").unwrap();
    assert_eq!(page.status, 503, "{page:?}");
    let line = "it ignores PORT (PB-03); Fastify: in server.js say app.listen({ port: process.env.PORT })";
    assert!(page.body.contains(line), "{}", page.body);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_flask_app_is_told_the_line_of_flask_although_another_language_is_declared_too() {
    let app = AppDir::procfile("web: /usr/bin/python3 app.py\n")
        .file("requirements.txt", "Flask==3.1 # the app\ngunicorn\n")
        .file("package.json", r#"{"devDependencies": {"vite": "7"}}"#)
        .file("app.py", PYTHON);
    assert_eq!(told(app), "Flask: in app.py say app.run(port=int(os.environ[\"PORT\"]))");
}

#[test]
fn a_command_without_any_file_is_recognised_by_its_words() {
    let app = AppDir::procfile("web: exec /usr/bin/python3 -m http.server --bind 127.0.0.1 $FIXED\n");
    assert_eq!(told(app), "Python's http.server: python3 -m http.server $PORT");
}
