//! `tambat doctor`: what would get in the way here, and the fix.

use serde_json::Value;

use crate::support::{AppDir, Apps, Base, Output};

/// Its exit code, and what it found of this.
fn found(app: &AppDir, args: &[&str], id: &str) -> (i32, Value) {
    let Output { code, stdout, .. } = app.tambat(&[&["doctor", "--json"], args].concat());
    let findings: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    let finding = findings.into_iter().find(|finding| finding["id"] == id);
    (code, finding.unwrap_or_else(|| panic!("no {id} in {stdout}")))
}

#[test]
fn a_folder_that_others_may_enter_is_named_with_the_command_that_mends_it() {
    let app = AppDir::new();
    assert_eq!(found(&app, &[], "runtime-folder").1["verdict"], "fine");
    assert_eq!(found(&app, &[], "state-folder").1["verdict"], "fine");
    app.shell("mkdir -m 755 \"$XDG_RUNTIME_DIR\"/tambat").must_be(0);
    let (code, finding) = found(&app, &[], "runtime-folder");
    assert_eq!((code, finding["verdict"].as_str()), (1, Some("wrong")));
    let fix = finding["fix"].as_str().unwrap();
    assert!(fix.starts_with("run `chmod 700 "), "{finding}");
    let text = app.tambat(&["doctor"]).must_be(1).stdout;
    assert!(text.lines().next().unwrap().starts_with("wrong") && text.contains(&format!("fix: {fix}")), "{text}");
    let chmod = fix.trim_start_matches("run `").trim_end_matches('`');
    app.shell(chmod).must_be(0);
    assert_eq!(found(&app, &[], "runtime-folder").1["verdict"], "fine", "the fix mends it");
}

#[test]
fn what_is_in_the_way_of_listeners_is_seen() {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, Base(free)) = (stranger.local_addr().unwrap(), Base::find());
    let manifest = |listen: &str| {
        format!(
            "[processes.line]\ncommand = \"exec sleep 600\"\nprotocol = \"redis\"\nexpose = true\nlisten = {listen}\n\
             hosts = \"nobody.invalid\"\ntls = \"terminate\"\n"
        )
    };
    let app = AppDir::manifest(&manifest(&format!("[\"{taken}\", \"127.0.0.1:{free}\", \"192.0.2.1:{free}\"]")));
    let look = |at: &str| found(&app, &[], &format!("listen {at}"));
    let seen = |finding: &Value| finding["seen"].as_str().unwrap().to_owned();
    let (code, finding) = look(&taken.to_string());
    assert_eq!((code, finding["verdict"].as_str()), (1, Some("wrong")), "{finding}");
    let part = format!("(pid {}) listens at port {}, which is to be for shop/line", std::process::id(), taken.port());
    assert!(seen(&finding).ends_with(&part), "{finding}");
    let (_, finding) = look(&format!("127.0.0.1:{free}"));
    assert_eq!(finding["verdict"], "fine", "{finding}");
    // TEST-NET-1 (RFC 5737), and a name that nobody can have (RFC 6761 §6.4).
    let (_, finding) = look(&format!("192.0.2.1:{free}"));
    assert!(seen(&finding).starts_with("this machine has no address 192.0.2.1, where shop/line"), "{finding}");
    let text = app.tambat(&["doctor"]).must_be(1).stdout;
    assert!(text.contains("no resolver knows nobody.invalid, by which shop/line is to be reached"), "{text}");
    drop(stranger);
    let app = app.file("tambat.toml", manifest("80"));
    let (_, finding) = found(&app, &[], "app");
    assert_eq!(finding["verdict"], "note", "{finding}");
    // Without a right to it.
    let app = app.file("tambat.toml", manifest("\"127.0.0.1:25\"")).unprivileged();
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let is_held = std::net::TcpStream::connect("127.0.0.1:25").is_ok();
    let expected = if is_held || start.trim().parse::<u16>().unwrap() > 25 { "wrong" } else { "fine" };
    assert_eq!(found(&app, &[], "listen 127.0.0.1:25").1["verdict"], expected);
}

#[test]
fn listeners_of_a_servers_apps_are_seen_with_what_its_file_says_of_them() {
    let (apps, Base(port)) = (Apps::new(), Base::find());
    let process = |name: &str, protocol: &str| {
        format!("[processes.{name}]\ncommand = \"x\"\nprotocol = \"{protocol}\"\nlisten = \"127.0.0.1:{port}\"\n")
    };
    apps.app("shop", &(process("web", "http") + &process("line", "tcp")));
    // Without its file nobody can be told apart there.
    let (_, finding) = found(&apps.dir, &["--apps", "."], "app");
    let seen = finding["seen"].as_str().unwrap();
    assert!(seen.contains("/apps/shop may ask for: it cannot be read"), "{finding}");
    let file =
        format!("[[router.listen]]\naddress = \"127.0.0.1:{port}\"\npeek = [\"http\"]\nfallback = \"shop/line\"\n");
    std::fs::write(apps.dir.home_path().join("serve.toml"), file).unwrap();
    let (_, finding) = found(&apps.dir, &["--apps", "."], &format!("listen 127.0.0.1:{port}"));
    let seen = finding["seen"].as_str().unwrap();
    assert!(seen.ends_with("which is to be for shop/web, shop/line"), "{finding}");
}

#[test]
fn a_server_and_what_it_does_not_serve_are_seen() {
    let apps = Apps::new();
    let at = |id| found(&apps.dir, &["--apps", "."], id);
    let seen = |finding: &Value| finding["seen"].as_str().unwrap().to_owned();
    assert!(seen(&at("server").1).starts_with("no server runs with the apps in "));
    apps.app("shop", "[processes.web]\ncommand = \"tambat-fixture serve\"\nhosts = \"shop.example\"\n");
    let served = apps.serve(&[]);
    let (_, finding) = at("server");
    assert_eq!(finding["verdict"], "fine", "{finding}");
    assert!(seen(&finding).contains(&format!("tambat serve (pid {}) serves 1 app of ", served.running.pid())));
    drop(served);
    apps.app("blog", "[processes.web]\ncomand = \"run\"\n");
    let _served = apps.serve(&[]);
    let (code, finding) = at("server");
    assert_eq!((code, finding["verdict"].as_str()), (1, Some("wrong")));
    assert!(seen(&finding).contains("does not serve blog: ") && seen(&finding).contains("unknown key"), "{finding}");
}
