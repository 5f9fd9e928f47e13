//! What two scanners of TLS servers find of a router at its defaults: nothing of its protocols and cipher suites that
//! anybody should mend.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::support::{AppDir, Backend, Ca, Routed, finish_within, programs};

/// A scan is thousands of connections and, of testssl, as many processes: minutes on a busy machine.
const SCAN_LIMIT: Duration = Duration::from_mins(10);

/// A router with a certificate for `localhost`.
fn scanned() -> (Routed, SocketAddr, Backend) {
    let (dir, ca, app) = (AppDir::new(), Ca::new("a CA"), Backend::start("shop"));
    ca.signs(&["localhost"]).write(&dir, "a");
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"\n[router.tls]\n\
         certificates = [{{ chain = \"a.pem\", key = \"a.key\" }}]\n[routes.shop]\ntargets = \"{}\"\n",
        app.addr
    );
    let routed = Routed::start_in(&dir, &toml, &[]);
    let line = routed.lines(" tls", 1).remove(0);
    let addr = line.strip_prefix("listening ").and_then(|rest| rest.strip_suffix(" tls")).unwrap().parse().unwrap();
    (routed, addr, app)
}

fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display()))
}

#[test]
fn testssl_finds_no_protocol_or_cipher_to_mend() {
    programs::testssl();
    let (routed, addr, _app) = scanned();
    let target = format!("localhost:{}", addr.port());
    // Protocols, server defaults, preferences, forward secrecy, and the known attacks.
    let args = ["--quiet", "--color", "0", "--ip", "127.0.0.1", "--nodns", "none", "--jsonfile", "found.json"];
    let checks = ["--protocols", "--std", "--server-preference", "--fs", "--vulnerable"];
    let mut command = routed.dir().any_command("testssl");
    command.args([&args[..], &checks, &[&target]].concat());
    let said = finish_within(command, "testssl", SCAN_LIMIT);
    let found = json(&routed.dir().path().join("found.json"));
    let findings = found.as_array().unwrap();
    let ids: Vec<&str> = findings.iter().map(|finding| finding["id"].as_str().unwrap()).collect();
    for looked_at in ["TLS1_2", "TLS1_3", "SSLv3", "cipherlist_NULL", "PFS", "heartbleed", "secure_renego", "LUCKY13"] {
        assert!(ids.contains(&looked_at), "{looked_at} was not looked at: {}", said.stdout);
    }
    let bad = |finding: &&serde_json::Value| {
        // What the scanner's own openssl lacks is no finding about us.
        let is_about_us = finding["id"] != "engine_problem";
        is_about_us
            && matches!(finding["severity"].as_str().unwrap(), "MEDIUM" | "HIGH" | "CRITICAL" | "WARN" | "FATAL")
    };
    let bad: Vec<String> = findings.iter().filter(bad).map(ToString::to_string).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn sslyze_finds_no_protocol_or_cipher_to_mend() {
    let sslyze = programs::sslyze();
    let (routed, addr, _app) = scanned();
    let mut command = routed.dir().any_command(sslyze);
    let target = format!("localhost:{}{{127.0.0.1}}", addr.port());
    command.args(["--json_out", "found.json", "--mozilla_config", "disable"]);
    command.args([
        "--sslv2",
        "--sslv3",
        "--tlsv1",
        "--tlsv1_1",
        "--tlsv1_2",
        "--tlsv1_3",
        "--compression",
        "--early_data",
    ]);
    command.args(["--ems", "--fallback", "--heartbleed", "--openssl_ccs", "--reneg", "--robot", &target]);
    let said = finish_within(command, "sslyze", SCAN_LIMIT).must_be(0);
    let found = json(&routed.dir().path().join("found.json"));
    let result = &found["server_scan_results"][0]["scan_result"];
    let of = |scan: &str| {
        let scan = &result[scan];
        assert_eq!(scan["status"], "COMPLETED", "{scan}: {}", said.stdout);
        scan["result"].clone()
    };
    let accepted = |scan: &str| {
        let accepted = of(&format!("{scan}_cipher_suites"))["accepted_cipher_suites"].as_array().unwrap().clone();
        accepted.iter().map(|one| one["cipher_suite"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(accepted(old), Vec::<String>::new(), "{old}");
    }
    let (old, new) = (accepted("tls_1_2"), accepted("tls_1_3"));
    assert!(new.len() == 3 && !old.is_empty(), "{old:?} {new:?}");
    // Forward secrecy and authenticated encryption, all of them.
    for suite in old {
        let is_good = suite.starts_with("TLS_ECDHE_") && (suite.contains("_GCM_") || suite.contains("_POLY1305_"));
        assert!(is_good, "{suite}");
    }
    assert_eq!(of("heartbleed")["is_vulnerable_to_heartbleed"], false);
    assert_eq!(of("openssl_ccs_injection")["is_vulnerable_to_ccs_injection"], false);
    assert_eq!(of("tls_compression")["supports_compression"], false);
    assert_eq!(of("tls_1_3_early_data")["supports_early_data"], false);
    let renegotiation = of("session_renegotiation");
    assert_eq!(renegotiation["supports_secure_renegotiation"], true);
    assert_eq!(renegotiation["is_vulnerable_to_client_renegotiation_dos"], false);
    assert!(of("robot")["robot_result"].as_str().unwrap().starts_with("NOT_VULNERABLE"));
    assert_eq!(of("tls_extended_master_secret")["supports_ems_extension"], true);
}
