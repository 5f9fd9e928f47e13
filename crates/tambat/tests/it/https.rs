//! Names over https: the clients that people have, with the local CA to believe, at a port that all apps of a user share.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{AppDir, Base, LIMIT, Output, Running, finish, is_free, programs, until};

const WEB: &str = "web: exec tambat-fixture serve\n";

/// The ports for names: that of http, and the next one for https.
#[derive(Clone, Copy)]
struct Ports(u16);

impl Ports {
    fn find() -> Self {
        Self(Base::find().0)
    }

    fn https(self) -> u16 {
        self.0 + 1
    }

    fn arguments(self) -> [String; 6] {
        ["-p", "0", "--http-port", &self.0.to_string(), "--https-port", &self.https().to_string()].map(str::to_owned)
    }

    fn start(self, app: &AppDir) -> Running {
        let running = app.start_at(&self.arguments().each_ref().map(String::as_str));
        running.ready(&[]);
        running
    }

    fn url(self, name: &str, path: &str) -> String {
        format!("https://{name}:{}{path}", self.https())
    }

    /// curl, which believes the local CA and nobody else.
    fn curl(self, app: &AppDir, name: &str, path: &str, more: &[&str]) -> Output {
        let root = root(app);
        let to = format!("::127.0.0.1:{}", self.https());
        let url = self.url(name, path);
        let mut command = app.any_command("curl");
        command.args(["-sS", "--noproxy", "*", "--cacert", root.to_str().unwrap(), "--connect-to", &to]);
        finish(
            {
                command.args(more).arg(&url);
                command
            },
            &format!("curl {url}"),
        )
    }

    /// The body that a name is answered with.
    fn body(self, app: &AppDir, name: &str, path: &str) -> String {
        self.curl(app, name, path, &["-f"]).must_be(0).stdout
    }

    fn until_body(self, app: &AppDir, name: &str, body: &str) {
        until(&format!("{name} to be {body}"), || (self.curl(app, name, "/", &["-f"]).stdout == body).then_some(()));
    }
}

fn root(app: &AppDir) -> PathBuf {
    app.home_path().join("state/tambat/ca/root.pem")
}

/// Stops one while others go on.
fn end(running: &mut Running) {
    running.signal(Signal::SIGINT);
    assert_eq!(running.exit_code(), 0);
}

fn https_names(app: &AppDir) -> Vec<String> {
    let names = app.process("web")["ports"][0]["https_names"].clone();
    names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_app_is_visited_over_https() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nhosts = [\"shop.test\", \"*.shop.test\"]\n\
         [processes.big_api]\ncommand = \"tambat-fixture serve\"\nprotocol = \"http\"\n",
    );
    let ports = Ports::find();
    let mut running = ports.start(&app);
    running.err_line(&format!("https, too: {}", ports.url("shop.localhost", "")));
    for name in ["shop.localhost", "web.shop.localhost", "SHOP.localhost", "shop.test", "a.shop.test"] {
        assert_eq!(ports.body(&app, name, "/"), "web.1", "{name}");
    }
    assert_eq!(ports.body(&app, "big-api.shop.localhost", "/"), "big_api.1");
    let head = ports.body(&app, "shop.localhost", "/head");
    assert!(head.contains("X-Forwarded-Proto: https\r\n"), "{head}");
    assert!(head.contains(&format!("X-Forwarded-Port: {}\r\n", ports.https())), "{head}");
    // Nobody has these names: there is no certificate for them, and no word of who is there.
    for name in ["other.localhost", "shop.example.com", "x.shop.localhost"] {
        let refused = ports.curl(&app, name, "/", &[]);
        assert_eq!(refused.code, 35, "{name}: {refused:?}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let page = ports.body(&app, host, "/");
        assert!(page.contains(&ports.url("shop.localhost", "")), "{host}: {page}");
    }
    assert_eq!(app.tambat(&["url", "--https"]).must_be(0).stdout.trim(), ports.url("shop.localhost", ""));
    assert_eq!(https_names(&app), [ports.url("shop.localhost", ""), ports.url("web.shop.localhost", "")]);
    assert_eq!(running.stop(), 0);
    assert!(is_free(ports.https()));
}

#[test]
fn what_speaks_no_http_has_no_url_of_https() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\n\
         [processes.echo]\ncommand = \"tambat-fixture echo\"\nprotocol = \"tcp\"\n",
    );
    let mut running = app.start(&[]);
    running.ready(&[]);
    let refused = app.tambat(&["url", "--https", "echo"]).must_be(2);
    assert!(refused.stderr.contains("it speaks tcp"), "{refused:?}");
    let opened = app.clone().env("BROWSER", "echo").tambat(&["open", "--https"]).must_be(0);
    assert!(opened.stderr.starts_with("https://shop.localhost:"), "{opened:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn node_and_python_believe_the_local_ca_because_their_environment_says_so() {
    programs::node();
    let shop = AppDir::procfile(WEB);
    let ports = Ports::find();
    let url = ports.url("shop.localhost", "/");
    let script = "const dns = require('dns'); const lookup = dns.lookup; \
                  dns.lookup = (name, options, done) => lookup('127.0.0.1', options, done); \
                  require('https').get(process.env.URL, answer => { answer.on('data', d => process.stdout.write(d)) })";
    let python = "import os, socket, ssl, urllib.request as r\n\
                  lookup = socket.getaddrinfo\n\
                  socket.getaddrinfo = lambda host, *more, **named: lookup('127.0.0.1', *more, **named)\n\
                  print(r.build_opener(r.ProxyHandler({})).open(os.environ['URL']).read().decode(), end='')\n";
    let client = shop.neighbour("client").file("node.js", script).file("client.py", python).env("URL", &url);
    let mut first = ports.start(&shop);
    for line in ["node node.js", "/usr/bin/python3 client.py"] {
        let client = client.clone().file("Procfile", format!("job: {line}; echo; exec sleep 100\n"));
        // Of the child's own environment, and of a one-off command's.
        let mut second = client.start(&[]);
        second.out_line("web.1");
        end(&mut second);
        let words: Vec<&str> = ["run"].into_iter().chain(line.split(' ')).collect();
        assert_eq!(client.tambat(&words).must_be(0).stdout, "web.1", "{line}");
        // Whoever says whom to believe is left alone.
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let alone = client.clone().env("SSL_CERT_FILE", bundle).env("NODE_EXTRA_CA_CERTS", bundle);
        assert_ne!(alone.tambat(&words).code, 0, "{line}");
    }
    assert_eq!(first.stop(), 0);
}

#[test]
fn the_environment_says_who_believes_the_local_ca() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\n\
         [processes.own]\ncommand = \"tambat-fixture serve\"\nprotocol = \"http\"\nenv = { SSL_CERT_DIR = \"/theirs\" }\n",
    );
    let app = app.env("NODE_EXTRA_CA_CERTS", "/mine");
    let mut running = app.start(&[]);
    running.ready(&[]);
    let told = app.environment("web");
    let bundle = PathBuf::from(told["SSL_CERT_FILE"].as_str().unwrap());
    let folder = if nix::unistd::geteuid().is_root() { "state/tambat-roots" } else { "state/tambat/ca" };
    assert_eq!(bundle, app.home_path().join(folder).join("bundle.pem"));
    assert_eq!(told["NODE_EXTRA_CA_CERTS"], "/mine");
    let node = app.variable("web", "NODE_EXTRA_CA_CERTS");
    assert_eq!((&node["source"], &node["lost"][0]), (&Value::from("shell"), &Value::from("local CA")));
    assert_eq!(app.variable("web", "SSL_CERT_FILE")["source"], "local CA");
    assert_eq!(app.environment("own")["SSL_CERT_FILE"], Value::Null, "its folder is all it believes");
    let (all, ours) = (fs::read_to_string(&bundle).unwrap(), fs::read_to_string(root(&app)).unwrap());
    let system = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
    assert!(all.starts_with(&system) && all.ends_with(&ours));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_child_that_drops_root_can_read_whom_to_believe() {
    if !nix::unistd::geteuid().is_root() {
        // Nobody else becomes another user.
        return;
    }
    let read = "cat \"$SSL_CERT_FILE\" \"$NODE_EXTRA_CA_CERTS\" | grep -c END.CERTIFICATE; id -u; exec sleep 100";
    let drop = format!("exec setpriv --reuid 65534 --regid 65534 --clear-groups /bin/sh -c '{read}'");
    let app = AppDir::new().file("Procfile", format!("job: {drop}\n"));
    // What lies around the state folder is its user's affair, here the test's.
    for folder in [app.home_path(), app.home_path().join("state")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut running = app.start(&[]);
    running.out_line("65534");
    let all = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap().matches("END CERTIFICATE").count();
    running.out_line(&(all + 2).to_string());
    assert_eq!(running.stop(), 0);
    // Without XDG_STATE_HOME the state is in root's home, which nobody enters, and the roots are where the system has such
    // things: here in a namespace, whose own that folder is.
    let home = app.home_path().join("home");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let app = app.file("Procfile", format!("web: {}\n", drop.replace("; exec sleep 100", "")));
    let script = "mount -t tmpfs none /var/lib && chmod 755 /var/lib && unset XDG_STATE_HOME && \
                  exec tambat start -p 0 --http-port 0 --exit-on-end";
    let said = app.program("unshare", &["-m", "/bin/sh", "-c", script]).must_be(0);
    assert!(said.stdout.contains(&(all + 2).to_string()) && said.stdout.contains("65534"), "{said:?}");
}

/// Three apps; who asks asks for the last one's name.
fn three() -> (Ports, [AppDir; 3], [Running; 3]) {
    let shop = AppDir::procfile(WEB);
    let apps =
        [shop.clone(), shop.neighbour("billing").file("Procfile", WEB), shop.neighbour("last").file("Procfile", WEB)];
    let ports = Ports::find();
    let running = apps.each_ref().map(|app| ports.start(app));
    ports.until_body(&shop, "last.localhost", "web.1");
    ports.until_body(&shop, "billing.localhost", "web.1");
    (ports, apps, running)
}

fn pid(ports: Ports, app: &AppDir, name: &str) -> String {
    ports.body(app, name, "/pid")
}

#[test]
fn https_goes_on_when_the_holder_stops_and_when_it_is_killed() {
    let (ports, [shop, billing, last], [mut first, second, third]) = three();
    assert_eq!(pid(ports, &shop, "last.localhost"), last.pid_of("web").to_string(), "through the holder");
    end(&mut first);
    // Nobody is refused in between, and nobody is told another name: the first answer is the right one.
    assert_eq!(pid(ports, &last, "last.localhost"), last.pid_of("web").to_string());
    assert_eq!(pid(ports, &last, "billing.localhost"), billing.pid_of("web").to_string());
    assert_eq!(ports.curl(&last, "shop.localhost", "/", &[]).code, 35, "its names have ended with it");
    let taken_over = format!("names at port {} are served from here now", ports.0);
    let mut rest = [second, third];
    let holder = until("somebody to take over", || {
        rest.iter().position(|running| running.stderr().iter().any(|line| line.contains(&taken_over)))
    });
    rest[holder].kill_9();
    let (left, name) = if holder == 0 { (&last, "last.localhost") } else { (&billing, "billing.localhost") };
    assert_eq!(pid(ports, left, name), left.pid_of("web").to_string());
    assert_eq!(https_names(left).len(), 2);
    end(&mut rest[1 - holder]);
    rest.iter().for_each(|running| running.nothing_left(LIMIT));
    first.nothing_left(LIMIT);
    assert!(is_free(ports.https()));
}

#[test]
fn names_are_served_at_one_port_where_a_stranger_has_the_other() {
    let shop = AppDir::procfile(WEB);
    let billing = shop.neighbour("billing").file("Procfile", WEB);
    let ports = Ports::find();
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.https())).unwrap();
    let mut first = ports.start(&shop);
    let note = first.err_line("names are served over http alone for now");
    let taken = format!("port {} is taken by ", ports.https());
    assert!(note.contains(&taken) && note.contains(&format!("(pid {})", std::process::id())), "{note}");
    assert!(note.contains("`--https-port` chooses another port"), "{note}");
    assert!(!first.stderr().iter().any(|line| line.contains("https://")));
    let none = shop.tambat(&["url", "--https"]).must_be(1);
    assert!(none.stderr.contains("is not served over https"), "{none:?}");
    let words = ports.arguments();
    let strict = [&["start"], &words.each_ref().map(String::as_str)[..], &["--strict-port"]].concat();
    let refused = billing.tambat(&strict).must_be(1);
    assert!(refused.stderr.contains(&format!("cannot serve names over https: {taken}")), "{refused:?}");
    let mut second = ports.start(&billing);
    assert!(second.err_line("names are served over http alone for now").contains(&taken));
    drop(stranger);
    let now = format!("names are served over https at port {} now", ports.https());
    first.err_line(&now);
    second.err_line(&now);
    ports.until_body(&shop, "billing.localhost", "web.1");
    assert_eq!(https_names(&billing).len(), 2);
    // What came late has been handed to all.
    first.kill_9();
    assert_eq!(ports.body(&billing, "billing.localhost", "/"), "web.1");
    assert_eq!(second.stop(), 0);
    first.nothing_left(LIMIT);
}

#[test]
fn names_are_served_over_https_alone_where_a_stranger_has_the_port_of_http() {
    let app = AppDir::procfile(WEB);
    let ports = Ports::find();
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.0)).unwrap();
    let mut running = ports.start(&app);
    let note = running.err_line("names are served over https alone for now");
    assert!(note.contains(&format!("port {} is taken by ", ports.0)), "{note}");
    assert_eq!(ports.body(&app, "shop.localhost", "/"), "web.1");
    drop(stranger);
    running.err_line(&format!("names are served at port {} now", ports.0));
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_port_of_https_is_that_of_whoever_came_first() {
    let shop = AppDir::procfile(WEB);
    let billing = shop.neighbour("billing").file("Procfile", WEB);
    let ports = Ports::find();
    let mut first = ports.start(&shop);
    let other = (ports.https() + 1).to_string();
    let http = ports.0.to_string();
    let mut second = billing.start_at(&["-p", "0", "--http-port", &http, "--https-port", &other]);
    second.ready(&[]);
    second.err_line(&format!(
        "https is at port {}, where the tambat that serves names has it, and not at {other}",
        ports.https()
    ));
    ports.until_body(&shop, "billing.localhost", "web.1");
    let one = billing.tambat(&["start", "--http-port", &http, "--https-port", &http]).must_be(2);
    assert!(one.stderr.contains("are to differ"), "{one:?}");
    end(&mut first);
    assert_eq!(second.stop(), 0);
}

#[test]
fn without_a_place_for_a_ca_the_app_runs_over_http() {
    let app = AppDir::procfile(WEB);
    fs::create_dir(app.home_path().join("state/tambat")).unwrap();
    fs::write(app.home_path().join("state/tambat/ca"), "in the way").unwrap();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let said: Vec<String> = running.stderr().into_iter().filter(|line| line.contains("https")).collect();
    assert!(said.len() == 1 && said[0].contains("nothing is served over https from here"), "{said:?}");
    assert_eq!(app.environment("web")["NODE_EXTRA_CA_CERTS"], Value::Null);
    assert_eq!(app.environment("web")["SSL_CERT_FILE"], Value::Null);
    assert!(https_names(&app).is_empty());
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
    let refused = app.tambat(&["trust", "--yes"]).must_be(1);
    assert!(refused.stderr.contains("state/tambat/ca"), "{refused:?}");
}

#[test]
fn a_browser_visits_it_once_it_trusts_the_ca() {
    programs::chromium();
    programs::certutil();
    let app = AppDir::procfile(WEB);
    let ports = Ports::find();
    let mut running = ports.start(&app);
    let url = ports.url("shop.localhost", "/");
    let visit = || {
        let mut browser = app.any_command("chromium");
        let profile = format!("--user-data-dir={}", app.home_path().join("profile").display());
        browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        browser.args(["--disable-dev-shm-usage", "--no-proxy-server", &profile, "--dump-dom", &url]);
        finish(browser, "chromium")
    };
    let warned = visit();
    assert!(!warned.stdout.contains("web.1"), "{warned:?}");
    // The system's store is not changed by who has no privileges; only the browser's is asked for.
    trust_in_database(&app);
    let shown = visit();
    assert!(shown.stdout.contains("web.1"), "{shown:?}");
    assert_eq!(running.stop(), 0);
}

/// `tambat trust` in a namespace where the system's store is a copy: nothing else of the machine changes.
fn trust_in_database(app: &AppDir) {
    let script = "set -e; mkdir certs anchors; cp -r /etc/ssl/certs/. certs/; mount --bind certs /etc/ssl/certs; \
                  mount --bind anchors /usr/local/share/ca-certificates; tambat trust --yes";
    let user = if nix::unistd::geteuid().is_root() { "" } else { "-r " };
    app.shell(&format!("unshare {user}-m /bin/sh -c '{script}'")).must_be(0);
}
