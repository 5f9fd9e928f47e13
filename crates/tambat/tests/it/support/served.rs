//! A `tambat serve` that runs, with apps in a directory of its own.

use std::net::SocketAddr;
use std::process::Command;

use super::{AppDir, Response, Running, try_get_at};

/// The directory of a server's apps.
#[derive(Debug)]
pub(crate) struct Apps {
    /// As an app's directory, from which verbs are run.
    pub(crate) dir: AppDir,
}

/// A `tambat serve` that runs.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) running: Running,
    /// Where it serves by HTTP.
    pub(crate) http: SocketAddr,
}

impl Apps {
    /// An empty one, in a home that no other test shares.
    pub(crate) fn new() -> Self {
        Self { dir: AppDir::new().neighbour("apps") }
    }

    /// An app in it, with this manifest.
    pub(crate) fn app(&self, name: &str, manifest: &str) -> AppDir {
        self.dir.neighbour(&format!("apps/{name}")).file("tambat.toml", manifest)
    }

    /// `tambat serve ARGS`, not started yet: at ports that the kernel chooses, on loopback.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut all = vec!["serve", "--apps", ".", "--address", "127.0.0.1", "--http-port", "0", "--https-port", "0"];
        if !args.contains(&"-p") {
            all.extend(["-p", "0"]);
        }
        all.extend(args);
        self.dir.command(&all)
    }

    /// Serves them.
    pub(crate) fn serve(&self, args: &[&str]) -> Served {
        let running = Running::start(&self.dir, self.command(args));
        // Instances may say first that they are `listening on` something.
        let http = running.out_line("listening 127.").strip_prefix("listening ").unwrap().parse().unwrap();
        Served { running, http }
    }
}

impl Served {
    /// `GET path` for this host.
    pub(crate) fn get(&self, host: &str, path: &str) -> Response {
        try_get_at(self.http, host, path, "").unwrap_or_else(|error| panic!("GET {host}{path}: {error}"))
    }
}
