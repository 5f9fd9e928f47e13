//! Apps behind one address, told apart by what their real clients begin with.

use std::net::SocketAddr;
use std::process::Command;

use crate::support::{AppDir, Apps, Ca, Output, Running, finish};

mod captures;
mod mqtt;
mod peek;
mod postgres;
mod redis;
mod sockets;
mod streams;
mod tls;
mod xmpp;

/// The apps; each answers to its name under `.example`.
const NAMES: [&str; 2] = ["one", "two"];

/// What clients find names by: a name that nobody answers to is found, too.
const HOSTS: &str = "127.0.0.1 localhost one.example two.example nope.example\n";

/// The server, the apps `one` and `two` and a CA that clients trust.
struct Stage {
    apps: Apps,
    ca: Ca,
    members: [AppDir; 2],
}

impl Stage {
    /// With the manifest that this makes of an app's name. Certificates of the server's are for both names and a third.
    fn new(manifest: impl Fn(&str) -> String) -> Self {
        let mut apps = Apps::new();
        let ca = Ca::new("tambat test CA");
        ca.signs(&["one.example", "two.example", "nope.example"]).write(&apps.dir, "server");
        let tls = "[router.tls]\ncertificates = [{ chain = \"apps/server.pem\", key = \"apps/server.key\" }]\n";
        std::fs::write(apps.dir.home_path().join("serve.toml"), tls).unwrap();
        apps.dir = apps.dir.file("ca.pem", ca.pem()).file("hosts", HOSTS);
        let members = NAMES.map(|name| apps.app(name, &manifest(name)));
        Self { apps, ca, members }
    }

    /// Serves both; where this process of each is reached.
    fn serve(&self, process: &str) -> (Running, SocketAddr) {
        let running = self.apps.serve(&[]).running;
        let line = running.out_line(&format!(" one/{process}, two/{process}"));
        let addr = line.split(' ').nth(1).unwrap().parse().unwrap();
        (running, addr)
    }

    /// A client in a namespace where these names are this machine's.
    fn client(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.apps.dir.any_command("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.arg("-r");
        }
        command
            .args(["-m", "/bin/sh", "-c", "mount --bind hosts /etc/hosts && exec \"$0\" \"$@\"", program])
            .args(args);
        command
    }

    /// Runs it to its end.
    fn run(&self, program: &str, args: &[&str]) -> Output {
        finish(self.client(program, args), &format!("{program} {}", args.join(" ")))
    }
}
