//! `tambat serve`: the apps of a directory, each at its public names, behind one router.

use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::thread;

use nix::sys::signal::Signal;

use crate::support::{AppDir, Apps, Base, Running, get, try_get_at, until};

const WEB: &str = "command = \"tambat-fixture serve\"\n";

/// `web` at this host.
fn web(host: &str) -> String {
    format!("[processes.web]\n{WEB}hosts = \"{host}\"\n")
}

fn ready(app: &AppDir) {
    until("it to run", || (app.tambat(&["wait", "--timeout", "30s"]).code == 0).then_some(()));
}

#[test]
fn each_app_is_served_at_its_own_names_and_at_no_others() {
    let apps = Apps::new();
    let shop = apps.app("shop", &format!("{}[processes.admin]\n{WEB}protocol = \"http\"\n", web("shop.example")));
    let blog = apps.dir.neighbour("blog").file("tambat.toml", web("blog.example"));
    symlink(blog.path(), apps.dir.path().join("blog")).unwrap();
    let served = apps.serve(&[]);
    [&shop, &blog].into_iter().for_each(ready);
    for (host, app) in [("shop.example", "shop"), ("SHOP.example:8080", "shop"), ("blog.example", "blog")] {
        let env: serde_json::Value = serde_json::from_str(&served.get(host, "/env").body).unwrap();
        assert!(env["PWD"].as_str().unwrap().ends_with(app), "{host}: {env}");
    }
    // What nobody has published is reached by no name, whatever a client asks for.
    for host in ["admin.shop.localhost", "shop.localhost", "web.shop.localhost", "other.example"] {
        let response = served.get(host, "/");
        assert_eq!(response.status, 404, "{host}: {response:?}");
        assert!(response.head.contains("Tambat-Error: no-route"), "{host}: {response:?}");
    }
}

#[test]
fn the_verbs_find_a_served_app() {
    let apps = Apps::new();
    let shop = apps.app("shop", &format!("{}[processes.api]\n{WEB}protocol = \"http\"\n", web("shop.example")));
    let blog = apps.app("blog", &web("blog.example"));
    let served = apps.serve(&["--metrics", "127.0.0.1:0"]);
    ready(&shop);
    assert_eq!(served.get("shop.example", "/").body, "web.1");
    let status = shop.json(&["ps", "--json"]);
    assert_eq!((status["app"].as_str(), status["served"].as_bool()), (Some("shop"), Some(true)));
    assert_eq!(status["processes"][0]["ports"][0]["hosts"][0], "shop.example");
    assert_eq!(get(shop.port("api"), "/").body, "api.1");
    let routes = shop.tambat(&["routes"]).must_be(0).stdout;
    assert!(routes.contains("at shop.example/") && !routes.contains("localhost/"), "{routes}");
    let logs = shop.tambat(&["logs"]).must_be(0).stdout;
    assert!(logs.contains("web.1") && !logs.contains("shop/web.1"), "{logs}");
    assert!(served.running.err_line("shop/web.1").contains(" | "));
    let metrics = served.running.out_line("metrics ");
    let metrics = metrics.strip_prefix("metrics ").unwrap().parse().unwrap();
    let page = until("the request to be counted", || {
        let page = try_get_at(metrics, "m", "/metrics", "").unwrap();
        page.body.contains("tambat_requests_total{process=\"shop/web\",class=\"2xx\"} 1").then_some(page)
    });
    assert!(page.body.contains("tambat_targets{process=\"blog/web\",state="), "{}", page.body);
    let of_all = apps.dir.tambat(&["ps"]).must_be(1).stderr;
    assert!(of_all.contains("is the directory of a server's apps: name one of them with -d (blog, shop)"), "{of_all}");
    ready(&blog);
}

#[test]
fn one_app_that_stops_leaves_the_others_and_can_be_started_again() {
    let apps = Apps::new();
    let (shop, blog) = (apps.app("shop", &web("shop.example")), apps.app("blog", &web("blog.example")));
    let served = apps.serve(&[]);
    [&shop, &blog].into_iter().for_each(ready);
    let said = shop.tambat(&["stop"]).must_be(0).stderr;
    assert!(said.contains("shop has stopped; `tambat restart` starts a process of it again"), "{said}");
    assert_eq!(served.get("shop.example", "/").status, 503);
    assert_eq!(served.get("blog.example", "/").body, "web.1");
    shop.tambat(&["restart", "web"]).must_be(0);
    ready(&shop);
    assert_eq!(served.get("shop.example", "/").body, "web.1");
}

#[test]
fn a_process_that_ends_ends_nothing_else() {
    let apps = Apps::new();
    let job = apps.app("job", "[processes.job]\ncommand = \"true\"\nprotocol = \"none\"\nrestart = \"never\"\n");
    let blog = apps.app("blog", &web("blog.example"));
    let served = apps.serve(&[]);
    ready(&blog);
    job.until_state("job", "ended");
    assert_eq!(served.get("blog.example", "/").status, 200);
    job.tambat(&["restart", "job"]).must_be(0);
}

#[test]
fn what_is_broken_is_named_and_the_others_are_served() {
    let apps = Apps::new();
    let good = apps.app("a", &web("a.example"));
    apps.app("clash", &web("a.example"));
    apps.app("typo", "[processes.web]\ncomand = \"run\"\n");
    apps.app("unbuilt", &format!("build = \"echo cannot build; exit 3\"\n{}", web("unbuilt.example")));
    apps.dir.neighbour("apps/empty");
    let served = apps.serve(&[]);
    ready(&good);
    let clash = served.running.err_line("clash is not served");
    assert!(clash.contains("`web` of a and `web` of clash both answer at a.example"), "{clash}");
    served.running.err_line("did you mean `command`?");
    assert!(served.running.err_line("empty is not served").contains("cannot find an app in"));
    let unbuilt = served.running.err_line("unbuilt is not served");
    assert!(unbuilt.contains("failed with code 3"), "{unbuilt}");
    assert_eq!(served.get("a.example", "/").body, "web.1");
    until("its name to be nobody's", || (served.get("unbuilt.example", "/").status == 404).then_some(()));
}

#[test]
fn each_app_has_service_ports_of_its_own() {
    let apps = Apps::new();
    let (blog, shop) = (apps.app("blog", &web("blog.example")), apps.app("shop", &web("shop.example")));
    let base = Base::find();
    let _served = apps.serve(&["-p", &base.text()]);
    [&shop, &blog].into_iter().for_each(ready);
    assert_eq!((blog.port("web"), shop.port("web")), (base.0, base.0 + 100));
}

/// The request begins before the server is told to stop, and needs another process only afterwards.
const LATE: &str = r#"
import http.server, os, sys, time, urllib.request
class Late(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"ready"
        if self.path == "/late":
            print("asked", flush=True)
            while not os.path.exists("go"): time.sleep(0.01)
            body = urllib.request.urlopen(os.environ["API_URL"]).read()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Late).serve_forever()
"#;

#[test]
fn told_to_stop_it_finishes_what_is_on_its_way_and_takes_nothing_new() {
    let apps = Apps::new();
    let shop = apps.app(
        "shop",
        &format!(
            "[processes.web]\ncommand = \"exec /usr/bin/python3 late.py\"\nuses = [\"api\"]\nhosts = \"shop.example\"\n\
             ready = {{ within = \"30s\" }}\n[processes.api]\n{WEB}protocol = \"http\"\n"
        ),
    );
    let shop = shop.file("late.py", LATE);
    let mut served = apps.serve(&[]);
    ready(&shop);
    let http = served.http;
    let client = thread::spawn(move || try_get_at(http, "shop.example", "/late", ""));
    served.running.out_line("asked");
    served.running.signal(Signal::SIGTERM);
    served.running.err_line("SIGTERM: finishing what is on its way");
    until("nobody to be let in", || TcpStream::connect(http).is_err().then_some(()));
    let _ = shop.file("go", "");
    let response = client.join().unwrap().unwrap();
    assert_eq!((response.status, response.body.as_str()), (200, "api.1"));
    assert_eq!(served.running.ended(), 0);
}

#[test]
fn told_twice_it_ends_at_once() {
    let apps = Apps::new();
    let shop = apps.app("shop", &web("shop.example"));
    let mut served = apps.serve(&[]);
    ready(&shop);
    let http = served.http;
    let client = thread::spawn(move || try_get_at(http, "shop.example", "/slow?60000", ""));
    until("the request to be on its way", || {
        let routes = shop.json(&["routes", "--json"]);
        (routes["routes"][0]["in_flight"] == 1).then_some(())
    });
    served.running.signal(Signal::SIGTERM);
    served.running.err_line("SIGTERM: finishing");
    served.running.signal(Signal::SIGTERM);
    assert_eq!(served.running.ended(), 128 + 15);
    let response = client.join().unwrap();
    assert!(response.as_ref().map_or(true, |response| response.status == 502), "{response:?}");
}

#[test]
fn a_directory_that_is_not_there_and_one_that_is_served_already_are_named() {
    let apps = Apps::new();
    let missing = apps.dir.tambat(&["serve", "--apps", "nowhere"]).must_be(2).stderr;
    assert!(missing.contains("cannot serve the apps in ") && missing.contains("`mkdir -p "), "{missing}");
    let served = apps.serve(&[]);
    served.running.err_line("serving no app so far of ");
    let again = Running::start(&apps.dir, apps.command(&[]));
    again.err_line("are served already");
    drop(again);
    assert_eq!(served.get("any.example", "/").status, 404);
}

#[test]
fn an_app_that_its_developer_runs_is_not_served_meanwhile() {
    let apps = Apps::new();
    let shop = apps.app("shop", &web("shop.example"));
    let mut mine = shop.start(&[]);
    mine.ready(&[]);
    let served = apps.serve(&[]);
    let said = served.running.err_line("shop is not served");
    assert!(said.contains("shop already runs as pid"), "{said}");
    drop(served);
    assert_eq!(mine.stop(), 0);
}
