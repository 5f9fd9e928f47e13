//! Those that are compared, running, each before a server of its own.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use super::{
    super::{
        Bench,
        http::{Family, Files},
        machine::Cores,
        process::{Running, facts, first_connection, refused},
        procfs, role, write,
    },
    config::{self, Front, Place},
    load::Kind,
    served::Served,
};
use crate::failure::Failure;

/// Where the first proxy listens, and the first server; the others follow.
const FIRST_PORTS: (u16, u16) = (7_401, 7_501);

/// One proxy, set up in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Tambat,
    Nginx,
    /// With buffers of 64 KiB.
    NginxBuffers,
    Haproxy,
    HaproxySplice,
}

impl Peer {
    pub(super) fn family(self) -> Family {
        match self {
            Self::Tambat => Family::Tambat,
            Self::Nginx | Self::NginxBuffers => Family::Nginx,
            Self::Haproxy | Self::HaproxySplice => Family::Haproxy,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tambat => "tambat",
            Self::Nginx => "nginx",
            Self::NginxBuffers => "nginx, 64 KiB",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy, splice",
        }
    }
}

/// Some of them, all on the same core.
pub(super) struct Field<'a> {
    proxies: Vec<Proxy>,
    bench: &'a Bench,
    front: Front,
    kind: Kind,
    files: Option<&'a Files>,
}

struct Proxy {
    peer: Peer,
    port: u16,
    running: Running,
    server: Running,
    server_port: u16,
    /// What it writes.
    words: PathBuf,
}

impl<'a> Field<'a> {
    /// Starts them.
    pub(super) fn start(
        bench: &'a Bench,
        peers: &[Peer],
        front: Front,
        kind: Kind,
        files: Option<&'a Files>,
    ) -> Result<Self, Failure> {
        if front == Front::Tls && files.is_none() {
            return Err(Failure::new("cannot make certificates", "run it as `cargo xtask bench stream`"));
        }
        let mut field = Self { proxies: Vec::new(), bench, front, kind, files };
        for (peer, nth) in peers.iter().zip(0..) {
            let (proxy, server) = (FIRST_PORTS.0 + nth, FIRST_PORTS.1 + nth);
            let started = field.start_one(*peer, proxy, server)?;
            field.proxies.push(started);
        }
        Ok(field)
    }

    fn start_one(&self, peer: Peer, port: u16, server_port: u16) -> Result<Proxy, Failure> {
        let bench = self.bench;
        let dir = bench.app(&format!("{}-{}-{port}", self.kind.word(), self.front.word()), &[])?;
        let mut serve = self.kind.server(bench, &dir);
        serve.env("PORT", server_port.to_string());
        let server = Running::start(Cores::pinned(bench.cores.load, &serve))?;
        first_connection(server_port)?;
        let protocol = self.kind.protocol();
        let place =
            Place { proxy: port, server: server_port, protocol, front: self.front, files: self.files, dir: &dir };
        let command = command(bench, peer, &place)?;
        let words = dir.join("words");
        let running = Running::start_into(Cores::pinned(bench.cores.proxy, &command), &words)?;
        let proxy = Proxy { peer, port, running, server, server_port, words };
        first_connection(port).map_err(|failure| proxy.tells(&failure))?;
        Ok(proxy)
    }

    fn find(&self, peer: Peer) -> Result<&Proxy, Failure> {
        let found = self.proxies.iter().find(|proxy| proxy.peer == peer);
        found.ok_or_else(|| Failure::new(format!("cannot measure {}: it does not run", peer.name()), "start it"))
    }

    /// Runs the load through one of them to its end.
    pub(super) fn run(&self, peer: Peer, connections: u32, time: Duration) -> Result<Served, Failure> {
        let proxy = self.find(peer)?;
        let printed = facts(self.load(proxy, connections, time)).map_err(|failure| proxy.tells(&failure))?;
        Served::parse(&printed).ok_or_else(|| unreadable(&printed))
    }

    /// Runs a program on the core of the load; what it printed, and the processor time of the proxy meanwhile.
    pub(super) fn under(&self, peer: Peer, load: impl FnOnce(u16) -> Command) -> Result<(String, Duration), Failure> {
        let proxy = self.find(peer)?;
        let pids = proxy.pids();
        let before = procfs::used(&pids)?;
        let printed =
            facts(Cores::pinned(self.bench.cores.load, &load(proxy.port))).map_err(|failure| proxy.tells(&failure))?;
        Ok((printed, procfs::used(&pids)?.since(before).processor))
    }

    /// By how many KiB one of them grows with so many streams that are idle: PSS, and what it alone has written to.
    pub(super) fn hold(&self, peer: Peer, connections: u32) -> Result<[u64; 2], Failure> {
        let proxy = self.find(peer)?;
        let printed = facts(self.load(proxy, connections, Duration::ZERO)).map_err(|failure| proxy.tells(&failure))?;
        let (pss, dirty) = printed.trim().split_once(' ').ok_or_else(|| unreadable(&printed))?;
        match (pss.parse(), dirty.parse()) {
            (Ok(pss), Ok(dirty)) => Ok([pss, dirty]),
            _ => Err(unreadable(&printed)),
        }
    }

    fn load(&self, proxy: &Proxy, connections: u32, time: Duration) -> Command {
        let pids: Vec<String> = proxy.pids().iter().map(u32::to_string).collect();
        let mut command = Command::new(&self.bench.own);
        command.args([role::WORD, "stream-load", self.kind.word(), self.front.word()]);
        command.args([proxy.port.to_string(), connections.to_string(), time.as_secs().to_string(), pids.join(",")]);
        command.args(self.files.map(|files| &files.authority));
        Cores::pinned(self.bench.cores.load, &command)
    }

    /// Ends them.
    pub(super) fn stop(self) -> Result<(), Failure> {
        for proxy in self.proxies {
            proxy.running.stop()?;
            refused(proxy.port)?;
            proxy.server.stop()?;
            refused(proxy.server_port)?;
        }
        Ok(())
    }
}

impl Proxy {
    fn pids(&self) -> Vec<u32> {
        procfs::tree(self.running.pid()).into_iter().collect()
    }

    /// A failure, with the last that this proxy said.
    fn tells(&self, failure: &Failure) -> Failure {
        let said = fs::read_to_string(&self.words).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(3)..].join("\n");
        Failure::new(failure.to_string(), format!("{} said last: {last}", self.peer.name()))
    }
}

fn unreadable(printed: &str) -> Failure {
    Failure::new(format!("cannot read what the load says: `{printed}`"), "run it by hand")
}

fn command(bench: &Bench, peer: Peer, place: &Place<'_>) -> Result<Command, Failure> {
    let configured = |name: &str, text: &str| {
        let file = place.dir.join(name);
        write(&file, text).map(|()| file)
    };
    Ok(match peer.family() {
        Family::Tambat => {
            let file = configured("routes.toml", &config::tambat(place))?;
            let mut command = Command::new(&bench.tambat);
            command.args(["route", "--from"]).arg(file).args(["--workers", "1"]);
            bench.clean(&mut command);
            command
        }
        Family::Nginx => {
            let file = configured("nginx.conf", &config::nginx(peer, place))?;
            let mut command = Command::new(&bench.nginx);
            command.args(["-e", "stderr", "-p"]).arg(place.dir).arg("-c").arg(file);
            command
        }
        Family::Haproxy => {
            let file = configured("haproxy.cfg", &config::haproxy(peer, place))?;
            let mut command = Command::new("haproxy");
            command.args(["-db", "-f"]).arg(file);
            command
        }
    })
}
