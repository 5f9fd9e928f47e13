//! `tambat route` with TLS, as curl and openssl see it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{AppDir, Backend, Ca, Output, Routed, pause, try_get_at, until};

const CERTIFICATES: &str =
    "certificates = [{ chain = \"a.pem\", key = \"a.key\" }, { chain = \"b.pem\", key = \"b.key\" }]";

/// A router with TLS and without, for `a.example`, `*.sub.example` and whatever else.
struct Secure {
    routed: Routed,
    tls: SocketAddr,
    ca: Ca,
}

impl Secure {
    /// With these lines of `[router]`, `[router.tls]` and the one route.
    fn start([router, tls, route]: [&str; 3], app: &Backend) -> Self {
        let (dir, ca) = (AppDir::new(), Ca::new("server CA"));
        ca.signs(&["a.example", "*.sub.example"]).write(&dir, "a");
        ca.signs(&["b.example"]).write(&dir, "b");
        let dir = dir.file("ca.pem", ca.pem());
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"\n[router]\n{router}\n[router.tls]\n{CERTIFICATES}\n{tls}\n\
             [routes.shop]\ntargets = \"{}\"\n{route}\n",
            app.addr
        );
        let routed = Routed::start_in(&dir, &toml, &["--workers", "1"]);
        let line = routed.lines(" tls", 1).remove(0);
        let tls = line.strip_prefix("listening ").and_then(|rest| rest.strip_suffix(" tls")).unwrap().parse().unwrap();
        Self { routed, tls, ca }
    }

    fn plainly(app: &Backend) -> Self {
        Self::start(["", "", ""], app)
    }

    /// `curl ARGS https://HOST:PORT/PATH`, where every host is this router.
    fn curl(&self, host: &str, path: &str, args: &[&str]) -> Output {
        let to = format!("::127.0.0.1:{}", self.tls.port());
        let url = format!("https://{host}:{}{path}", self.tls.port());
        let all = [&["--cacert", "ca.pem", "--connect-to", &to], args, &[&url]].concat();
        self.routed.dir().curl(&all)
    }

    /// `openssl s_client ARGS`, which says nothing and goes.
    fn s_client(&self, args: &[&str]) -> Output {
        let connect = self.tls.to_string();
        let begin = "exec 0</dev/null; exec openssl s_client -CAfile ca.pem \"$@\"";
        let all = [&["-c", begin, "sh", "-connect", &connect], args].concat();
        self.routed.dir().program("sh", &all)
    }
}

#[test]
fn curl_is_answered_over_every_version_and_the_app_knows_of_it() {
    let app = Backend::start("shop");
    let secure = Secure::plainly(&app);
    for (nth, version) in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]].into_iter().enumerate()
    {
        let answer = secure.curl("a.example", "/x", &version);
        assert_eq!(answer.must_be(0).stdout, "shop /x");
        let head = app.heads()[nth].to_ascii_lowercase();
        assert!(head.contains("\r\nx-forwarded-proto: https\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nx-forwarded-port: {}\r\n", secure.tls.port())), "{head}");
        assert!(head.contains(";proto=https"), "{head}");
    }
    for host in ["any.sub.example", "b.example"] {
        assert_eq!(secure.curl(host, "/", &[]).must_be(0).stdout, "shop /", "{host}");
    }
}

#[test]
fn who_comes_without_tls_to_a_name_with_a_certificate_is_sent_there() {
    let app = Backend::start("shop");
    let secure = Secure::start(["", "", "hsts = \"1d\"\nhealth = { path = \"/healthz\" }"], &app);
    until("the target to be in", || {
        let answer = secure.curl("a.example", "/up", &["-o", "/dev/null", "-w", "%{http_code}"]);
        (answer.stdout == "200").then_some(())
    });
    let sent = secure.routed.get("a.example", "/x?y");
    let url = format!("https://a.example:{}/x?y", secure.tls.port());
    assert!(sent.status == 308 && sent.head.contains(&format!("\r\nLocation: {url}")), "{sent:?}");
    assert_eq!(secure.routed.get("a.example", "/healthz").body, "shop /healthz");
    assert_eq!(secure.routed.get("c.example", "/").body, "shop /", "nobody has a certificate for it");
    let over = secure.curl("a.example", "/x", &["-D", "-"]).must_be(0).stdout.to_ascii_lowercase();
    assert!(over.contains("strict-transport-security: max-age=86400\r\n"), "{over}");
    let never = Secure::start(["", "", "https_redirect = false"], &app);
    assert_eq!(never.routed.get("a.example", "/").body, "shop /");
}

#[test]
fn openssl_agrees_on_version_protocol_and_certificate() {
    let app = Backend::start("shop");
    let secure = Secure::plainly(&app);
    for (version, says) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = secure.s_client(&[
            version,
            "-servername",
            "b.example",
            "-alpn",
            "http/1.1",
            "-verify_hostname",
            "b.example",
        ]);
        let out = &said.must_be(0).stdout;
        for part in ["Verify return code: 0 (ok)", "ALPN protocol: http/1.1", says, "CN = b.example"] {
            assert!(out.contains(part), "no {part} in {out}");
        }
    }
    for args in [
        &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-servername", "a.example"][..],
        &["-servername", "c.example"],
        &["-servername", "a.example", "-alpn", "imap"],
    ] {
        let said = secure.s_client(args);
        let out = [said.stdout, said.stderr].concat();
        let alert = ["alert protocol version", "unrecognized name", "no application protocol"];
        assert!(said.code == 1 && alert.iter().any(|alert| out.contains(alert)), "{args:?}: {out}");
    }
}

#[test]
fn a_session_resumes() {
    let app = Backend::start("shop");
    let secure = Secure::plainly(&app);
    for version in ["-tls1_2", "-tls1_3"] {
        // The ticket of TLS 1.3 comes with the first answer.
        let ask = "printf 'GET / HTTP/1.1\\r\\nHost: a.example\\r\\nConnection: close\\r\\n\\r\\n' | \
            openssl s_client -ign_eof -CAfile ca.pem -servername a.example \"$@\"";
        let connect = secure.tls.to_string();
        let run = |how: &str| {
            let args = ["-c", ask, "sh", "-connect", &connect, version, how, "session.pem"];
            secure.routed.dir().program("sh", &args).must_be(0).stdout
        };
        let (first, second) = (run("-sess_out"), run("-sess_in"));
        assert!(first.contains("shop /") && second.contains("shop /"), "{first}{second}");
        assert!(first.contains("\nNew, TLSv1") && second.contains("\nReused, TLSv1"), "{version}: {second}");
    }
}

#[test]
fn clients_show_certificates_where_they_must() {
    let app = Backend::start("shop");
    let (clients, strangers) = (Ca::new("client CA"), Ca::new("another CA"));
    let dir = AppDir::new().file("clients.pem", clients.pem());
    let path = dir.path().join("clients.pem");
    let secure = Secure::start(["", &format!("client_ca = \"{}\"", path.display()), ""], &app);
    let dir = secure.routed.dir();
    clients.signs(&["alice"]).write(dir, "alice");
    strangers.signs(&["alice"]).write(dir, "stranger");
    let with = |name: &str| {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        secure.curl("a.example", "/", &["--cert", &cert, "--key", &key, "-H", "X-Client-Cert-Subject: CN=root"])
    };
    assert_eq!(with("alice").must_be(0).stdout, "shop /");
    let head = app.heads().pop().unwrap();
    assert!(head.contains("\r\nClient-Cert: :MII") && head.contains("CN=alice"), "{head}");
    assert!(!head.contains("CN=root") && head.contains("\r\nX-Client-Cert-SHA256: "), "{head}");
    for refused in [with("stranger"), secure.curl("a.example", "/", &[])] {
        assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused:?}");
    }
    assert_eq!(app.heads().len(), 1);
}

#[test]
fn a_new_certificate_is_shown_soon_and_a_broken_one_never() {
    let app = Backend::start("shop");
    let secure = Secure::plainly(&app);
    let shown = || {
        let said = secure.s_client(&["-servername", "b.example", "-showcerts"]).must_be(0).stdout;
        said.split("-----").find(|part| part.starts_with("\nMII")).unwrap().to_owned()
    };
    let first = shown();
    secure.ca.signs(&["b.example"]).write(secure.routed.dir(), "b");
    until("the new certificate", || (shown() != first).then_some(()));
    let second = shown();
    std::fs::write(secure.routed.dir().path().join("b.pem"), "no certificate").unwrap();
    secure.routed.err_line("b.pem");
    pause(Duration::from_millis(100));
    assert_eq!(shown(), second);
}

#[test]
fn what_is_wrong_with_certificates_is_said_before_anything_starts() {
    let dir = AppDir::new();
    let toml = "listen_tls = \"127.0.0.1:0\"\n[router.tls]\ncertificates = [{ chain = \"a.pem\", key = \"a.key\" }]\n\
        [routes.shop]\ntargets = \"127.0.0.1:3000\"\n";
    let dir = dir.file("routes.toml", toml);
    let said = dir.tambat(&["route", "--from", "routes.toml"]);
    assert!(said.code != 0 && said.stderr.contains("a.pem"), "{said:?}");
    let ca = Ca::new("server CA");
    ca.signs(&["a.example"]).write(&dir, "a");
    ca.signs(&["b.example"]).write(&dir, "b");
    std::fs::copy(dir.path().join("b.key"), dir.path().join("a.key")).unwrap();
    let said = dir.tambat(&["route", "--from", "routes.toml"]);
    assert!(said.code != 0 && said.stderr.contains("a.key"), "{said:?}");
    ca.signs(&["a.example"]).write(&dir, "a");
    let dir = dir.file("routes.toml", toml.replace("[routes", "client_ca = \"none.pem\"\n[routes"));
    let said = dir.tambat(&["route", "--from", "routes.toml"]);
    assert!(said.code != 0 && said.stderr.contains("cannot read the CA of client certificates"), "{said:?}");
}

#[test]
fn handshakes_are_counted_and_the_log_knows_of_tls() {
    let app = Backend::start("shop");
    let secure = Secure::start(["metrics = \"127.0.0.1:0\"\naccess_log = \"access.log\"", "", ""], &app);
    secure.curl("a.example", "/", &[]).must_be(0);
    secure.s_client(&["-servername", "c.example"]).must_be(1);
    let page = until("both to be counted", || {
        let page = try_get_at(secure.routed.address("metrics "), "metrics", "/metrics", "").ok()?.body;
        page.contains("cause=\"unknown-name\"} 1").then_some(page)
    });
    assert!(page.contains("tambat_tls_handshakes_total{listener=\"names\"} 1"), "{page}");
    let log = until("a line in the log", || {
        let log = std::fs::read_to_string(secure.routed.dir().path().join("access.log")).unwrap_or_default();
        log.ends_with('\n').then_some(log)
    });
    assert!(log.contains("\"tls\":\"1.3\""), "{log}");
}
