//! Servers that have their own certificates: the handshake passes through, and is theirs.

use std::net::SocketAddr;
use std::process::Command;

use super::{NAMES, Stage};
use crate::support::{Output, finish, programs};

fn stage() -> Stage {
    programs::openssl();
    let stage = Stage::new(|name| {
        format!(
            "[processes.echo]\n\
             command = \"exec openssl s_server -accept 127.0.0.1:$PORT -cert own.pem -key own.key -rev -quiet\"\n\
             protocol = \"tls\"\nlisten = \"127.0.0.1:0\"\nhosts = \"{name}.example\"\n"
        )
    });
    for (name, member) in NAMES.iter().zip(&stage.members) {
        stage.ca.signs(&[&format!("{name}.example")]).write(member, "own");
    }
    stage
}

/// What a client that gives this name is shown and told, when it says a line.
fn s_client(stage: &Stage, at: SocketAddr, name: &[&str], script: &str) -> Output {
    let mut command: Command = stage.apps.dir.any_command("/bin/sh");
    let client = format!("openssl s_client -connect {at} -verify_return_error -CAfile ca.pem \"$@\"");
    command.args(["-c", &script.replace("CLIENT", &client), "sh"]).args(name);
    finish(command, "openssl s_client")
}

/// Of a certificate on standard input.
const FINGERPRINT: &str = "openssl x509 -noout -fingerprint -sha256";

#[test]
fn a_client_is_shown_the_certificate_of_the_one_that_it_names() {
    let stage = stage();
    let (mut running, at) = stage.serve("echo");
    let mut shown = Vec::new();
    for (name, member) in NAMES.iter().zip(&stage.members) {
        let host = format!("{name}.example");
        let naming = ["-servername", &host, "-verify_hostname", &host];
        // Its input stays open until the line has come back.
        let talk =
            "mkfifo in.$$; (CLIENT -quiet -no_ign_eof 2>&1 <in.$$) | { exec 3>in.$$; echo uyA >&3; grep -m1 Ayu; }";
        assert_eq!(s_client(&stage, at, &naming, talk).must_be(0).stdout, "Ayu\n", "{host}");
        for version in ["-tls1_2", "-tls1_3"] {
            let all = [&naming[..], &[version]].concat();
            let seen = s_client(&stage, at, &all, &format!("CLIENT </dev/null | {FINGERPRINT}")).must_be(0).stdout;
            let own = member.program("/bin/sh", &["-c", &format!("{FINGERPRINT} <own.pem")]).must_be(0).stdout;
            assert_eq!(seen, own, "{host} {version}");
            shown.push(seen);
        }
    }
    assert_ne!(shown[0], shown[2], "each has its own");
    for nobody in [&["-servername", "nope.example"][..], &["-noservername"]] {
        let refused = s_client(&stage, at, nobody, "exec CLIENT </dev/null").must_be(1);
        assert!(refused.stderr.contains("unrecognized name"), "{refused:?}");
        assert!(refused.stdout.contains("no peer certificate available"), "{refused:?}");
    }
    assert_eq!(running.stop(), 0);
}
