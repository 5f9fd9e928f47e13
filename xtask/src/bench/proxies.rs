//! tambat and HAProxy in front of the same kinds of servers.

use std::{process::Command, time::Duration};

use super::{
    Bench,
    machine::Cores,
    process::{Running, facts, first_connection},
    procfs, quoted,
    role::Moved,
};
use crate::failure::Failure;

/// What is behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Sink,
    Echo,
    Redis,
}

/// How it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    Tambat,
    Haproxy,
    HaproxySplice,
}

impl Backend {
    const ALL: [Self; 3] = [Self::Sink, Self::Echo, Self::Redis];

    fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Echo => "echo",
            Self::Redis => "redis",
        }
    }

    fn protocol(self) -> &'static str {
        if self == Self::Redis { "redis" } else { "tcp" }
    }

    pub(super) fn port(self, way: Way) -> u16 {
        let first = match way {
            Way::Direct => 7_000,
            Way::Tambat => 7_100,
            Way::Haproxy => 7_200,
            Way::HaproxySplice => 7_300,
        };
        first
            + match self {
                Self::Sink => 1,
                Self::Echo => 2,
                Self::Redis => 3,
            }
    }

    /// The server, for a shell that has its PORT.
    fn line(self, bench: &Bench, place: Place) -> String {
        let server = match self {
            Self::Sink | Self::Echo => bench.role_line(self.name()),
            Self::Redis => format!(
                "redis-server --port \"$PORT\" --bind 127.0.0.1 --save '' --appendonly no --dir {}",
                quoted(&bench.dir)
            ),
        };
        place.line(&server)
    }
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tambat => "tambat",
            Self::Haproxy => "HAProxy",
            Self::HaproxySplice => "HAProxy, splice",
        }
    }
}

/// One of our own loads: which, over how many connections at once, how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) role: &'static str,
    pub(super) connections: u32,
    pub(super) seconds: u64,
}

/// Where it all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Each proxy on one core, all else on another: no proxy takes time that the load would have had.
    Pinned(Cores),
    /// Wherever the kernel puts it, as on a developer's machine.
    Anywhere,
}

impl Place {
    fn proxy(self, command: Command) -> Command {
        match self {
            Self::Pinned(cores) => Cores::pinned(cores.proxy, &command),
            Self::Anywhere => command,
        }
    }

    fn load(self, command: Command) -> Command {
        match self {
            Self::Pinned(cores) => Cores::pinned(cores.load, &command),
            Self::Anywhere => command,
        }
    }

    /// The line of a server, for a shell.
    fn line(self, server: &str) -> String {
        match self {
            Self::Pinned(cores) => format!("exec taskset -c {} {server}", cores.load),
            Self::Anywhere => format!("exec {server}"),
        }
    }
}

/// All of it, running.
pub(super) struct Proxies {
    tambat: Running,
    haproxy: Running,
    backends: Vec<Running>,
    own: Command,
    place: Place,
}

impl Proxies {
    pub(super) fn start(bench: &Bench, place: Place) -> Result<Self, Failure> {
        let files = [("tambat.toml", &*manifest(bench, place)), ("haproxy.cfg", &*haproxy_cfg())];
        let dir = bench.app("proxies", &files)?;
        let tambat = Running::start(place.proxy(bench.tambat_start(&dir)))?;
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(dir.join("haproxy.cfg"));
        let haproxy = Running::start(place.proxy(haproxy))?;
        let backends = Backend::ALL.map(|backend| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &backend.line(bench, place)]).env("PORT", backend.port(Way::Direct).to_string());
            Running::start(shell)
        });
        let backends = backends.into_iter().collect::<Result<Vec<_>, _>>()?;
        for backend in Backend::ALL {
            for way in [Way::Direct, Way::Tambat, Way::Haproxy, Way::HaproxySplice] {
                first_connection(backend.port(way))?;
            }
        }
        Ok(Self { tambat, haproxy, backends, own: bench.role("", &[]), place })
    }

    /// Runs a load to its end. What it printed, and the processor time that its proxy took meanwhile.
    pub(super) fn under(&self, way: Way, load: Command) -> Result<(String, Duration), Failure> {
        let proxy = match way {
            Way::Direct => None,
            Way::Tambat => Some(self.tambat.pid()),
            Way::Haproxy | Way::HaproxySplice => Some(self.haproxy.pid()),
        };
        let used = || proxy.map_or(Ok(Duration::ZERO), procfs::processor_time);
        let before = used()?;
        let printed = facts(self.place.load(load))?;
        Ok((printed, used()?.saturating_sub(before)))
    }

    /// One of our own loads; what it moved, and the processor time that its proxy took.
    pub(super) fn moved(&self, load: Load, to: Backend, way: Way) -> Result<(Moved, Duration), Failure> {
        let Load { role, connections, seconds } = load;
        let mut load = Command::new(self.own.get_program());
        let port = to.port(way);
        load.args([super::role::WORD, role]).args([port.to_string(), connections.to_string(), seconds.to_string()]);
        let (printed, used) = self.under(way, load)?;
        let moved = Moved::parse(&printed)
            .ok_or_else(|| Failure::new(format!("cannot read what the load says: `{printed}`"), "run it by hand"))?;
        Ok((moved, used))
    }

    pub(super) fn stop(self) -> Result<(), Failure> {
        self.tambat.stop()?;
        self.haproxy.stop()?;
        self.backends.into_iter().try_for_each(Running::stop)
    }
}

fn manifest(bench: &Bench, place: Place) -> String {
    let process = |backend: Backend| {
        format!(
            "[processes.{}]\ncommand = {:?}\nprotocol = \"{}\"\nport = {}\n",
            backend.name(),
            backend.line(bench, place),
            backend.protocol(),
            backend.port(Way::Tambat)
        )
    };
    Backend::ALL.map(process).concat()
}

/// Its defaults, but for what is said here: one thread, as the other has one core.
fn haproxy_cfg() -> String {
    let head = "global\n  nbthread 1\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
                timeout client 60s\n  timeout server 60s\n";
    let listen = |backend: Backend, way: Way| {
        let splice = if way == Way::HaproxySplice { "  option splice-request\n  option splice-response\n" } else { "" };
        format!(
            "listen {}-{}\n  bind 127.0.0.1:{}\n{splice}  server s 127.0.0.1:{}\n",
            backend.name(),
            backend.port(way),
            backend.port(way),
            backend.port(Way::Direct)
        )
    };
    let all = Backend::ALL.into_iter().flat_map(|b| [listen(b, Way::Haproxy), listen(b, Way::HaproxySplice)]);
    all.fold(head.to_owned(), |text, listen| text + &listen)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_way_to_every_backend_has_a_port_of_its_own() {
        let ways = [Way::Direct, Way::Tambat, Way::Haproxy, Way::HaproxySplice];
        let ports: BTreeSet<u16> = ways.into_iter().flat_map(|way| Backend::ALL.map(|b| b.port(way))).collect();
        assert_eq!(ports.len(), 12);
    }

    #[test]
    fn haproxy_splices_where_it_says_so_and_nowhere_else() {
        let text = haproxy_cfg();
        assert_eq!(text.matches("option splice-request").count(), 3);
        for section in text.split("listen ").skip(1) {
            let splices = section.contains("option splice");
            assert_eq!(section.contains("bind 127.0.0.1:73"), splices, "{section}");
        }
    }
}
