//! Those that are compared, and a field of them that runs.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    super::{
        Bench,
        machine::Cores,
        process::{Running, facts, first_connection, refused},
        procfs, role, write,
    },
    backend::HEAD_PATH,
    config::{self, Backend, Front, Place, Ports},
    load::Load,
    measured::Measured,
    request::{Shape, host},
    secure,
    talk::Ends,
};
use crate::failure::Failure;

/// Where the first proxy listens, and the first server; the others follow.
const FIRST_PORTS: Ports = Ports { proxy: 7_101, server: 7_001 };

/// Longer than any of them takes to read its configuration.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// One proxy, set up in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    Tambat,
    /// With so many hostnames; the load asks for all of them.
    TambatHosts(u32),
    Nginx,
    /// Without `$request_id`, which is dear.
    NginxNoId,
    /// With buffers of 1 MiB in all for each answer.
    NginxBuffers,
    /// Its access log buffered.
    NginxLogBuffer,
    /// With a port for HTTP/2 beside that for HTTP/1.1: without TLS it does not tell them apart.
    NginxHttp2,
    Haproxy,
    HaproxySplice,
}

/// What it is a setting of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Family {
    Tambat,
    Nginx,
    Haproxy,
}

impl Family {
    /// By the name on the command line.
    pub(super) fn named(name: &str) -> Result<Self, Failure> {
        match name {
            "tambat" => Ok(Self::Tambat),
            "nginx" => Ok(Self::Nginx),
            "haproxy" => Ok(Self::Haproxy),
            _ => Err(Failure::new(
                format!("cannot make sense of `{name}`"),
                "the peers are tambat, nginx and haproxy".to_owned(),
            )),
        }
    }
}

impl Contender {
    pub(super) fn family(self) -> Family {
        match self {
            Self::Tambat | Self::TambatHosts(_) => Family::Tambat,
            Self::Nginx | Self::NginxNoId | Self::NginxBuffers | Self::NginxLogBuffer | Self::NginxHttp2 => {
                Family::Nginx
            }
            Self::Haproxy | Self::HaproxySplice => Family::Haproxy,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Tambat => "tambat".to_owned(),
            Self::TambatHosts(count) => format!("tambat, {count} hosts"),
            Self::Nginx | Self::NginxHttp2 => "nginx".to_owned(),
            Self::NginxNoId => "nginx, no id".to_owned(),
            Self::NginxBuffers => "nginx, 1 MiB".to_owned(),
            Self::NginxLogBuffer => "nginx, buffered log".to_owned(),
            Self::Haproxy => "HAProxy".to_owned(),
            Self::HaproxySplice => "HAProxy, splice".to_owned(),
        }
    }

    /// Where it takes HTTP/2 without TLS, if it listens there.
    pub(super) fn http2_port(self, port: u16) -> u16 {
        if self == Self::NginxHttp2 { port + config::HTTP2_PORTS } else { port }
    }

    /// A name that it answers to.
    fn host(self) -> String {
        if let Self::TambatHosts(_) = self { host(0) } else { "shop.example".to_owned() }
    }

    /// The shape of a load for it.
    fn shape(self, shape: Shape) -> Shape {
        if let Self::TambatHosts(count) = self { Shape::Hosts(count) } else { shape }
    }
}

/// How all of a field are set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup<'a> {
    pub(super) backend: Backend,
    pub(super) front: Front<'a>,
    /// They write access logs.
    pub(super) log: bool,
}

/// Some of them, running, all on the same core.
pub(super) struct Field<'a> {
    proxies: Vec<Proxy<'a>>,
    own: PathBuf,
    cores: Cores,
}

struct Proxy<'a> {
    contender: Contender,
    front: Front<'a>,
    running: Running,
    /// The server behind it, on the core of the load. Each has its own: kept-alive connections of all of them at once are
    /// more than one process may have open.
    server: Running,
    ports: Ports,
    /// What it writes.
    words: PathBuf,
    access_log: Option<PathBuf>,
}

impl<'a> Field<'a> {
    /// Starts them, and sees that each does the work that is compared.
    pub(super) fn start(bench: &Bench, contenders: &[Contender], setup: Setup<'a>) -> Result<Self, Failure> {
        let mut field = Self { proxies: Vec::new(), own: bench.own.clone(), cores: bench.cores };
        for (contender, nth) in contenders.iter().zip(0..) {
            let ports = Ports { proxy: FIRST_PORTS.proxy + nth, server: FIRST_PORTS.server + nth };
            field.proxies.push(Proxy::start(bench, *contender, ports, setup)?);
        }
        for proxy in &field.proxies {
            proxy.check()?;
        }
        Ok(field)
    }

    /// Runs the load through one of them to its end, for the line that it prints.
    pub(super) fn run(&self, contender: Contender, load: Load) -> Result<String, Failure> {
        self.run_from(Ipv4Addr::LOCALHOST, contender, load)
    }

    /// The same from this address.
    pub(super) fn run_from(&self, from: Ipv4Addr, contender: Contender, load: Load) -> Result<String, Failure> {
        let command = self.command(from, contender, load)?;
        facts(Cores::pinned(self.cores.load, &command)).map_err(|failure| match self.proxy(contender) {
            Ok(proxy) => proxy.tells(&failure),
            Err(failure) => failure,
        })
    }

    /// Where it listens.
    pub(super) fn port(&self, contender: Contender) -> Result<u16, Failure> {
        Ok(self.proxy(contender)?.ports.proxy)
    }

    fn proxy(&self, contender: Contender) -> Result<&Proxy<'a>, Failure> {
        self.proxies
            .iter()
            .find(|proxy| proxy.contender == contender)
            .ok_or_else(|| Failure::new(format!("cannot measure {}: it does not run", contender.name()), "start it"))
    }

    /// The load, to be run by somebody else.
    pub(super) fn command(&self, from: Ipv4Addr, contender: Contender, load: Load) -> Result<Command, Failure> {
        let proxy = self.proxy(contender)?;
        let pids: Vec<u32> = procfs::tree(proxy.running.pid()).into_iter().collect();
        let load = Load { shape: contender.shape(load.shape), ..load };
        let mut command = Command::new(&self.own);
        command.args([role::WORD, "http-load"]).args(load.words(Ends { from, port: proxy.ports.proxy }, &pids));
        if let Front::Tls(files) = proxy.front {
            command.arg(&files.authority);
        }
        Ok(command)
    }

    /// The same for what was measured.
    pub(super) fn measure(&self, contender: Contender, load: Load) -> Result<Measured, Failure> {
        let printed = self.run(contender, load)?;
        Measured::parse(&printed)
            .ok_or_else(|| Failure::new(format!("cannot read what the load says: `{printed}`"), "run it by hand"))
    }

    /// Ends them. Lines and bytes of each access log, in the order of the contenders, where there are logs.
    pub(super) fn stop(self) -> Result<Vec<(u64, u64)>, Failure> {
        let mut logs = Vec::new();
        for proxy in self.proxies {
            proxy.running.stop()?;
            refused(proxy.ports.proxy)?;
            proxy.server.stop()?;
            refused(proxy.ports.server)?;
            if let Some(log) = proxy.access_log {
                logs.push(size(&log)?);
            }
        }
        Ok(logs)
    }
}

impl<'a> Proxy<'a> {
    fn start(bench: &Bench, contender: Contender, ports: Ports, setup: Setup<'a>) -> Result<Self, Failure> {
        let Setup { backend, front, log } = setup;
        let server = serve(bench, backend, ports.server)?;
        let dir = bench.app(&format!("{}-{}", backend.kind(), ports.proxy), &[])?;
        let words = dir.join("words");
        let access_log = match contender.family() {
            _ if !log => None,
            Family::Haproxy => Some(words.clone()),
            Family::Tambat | Family::Nginx => Some(dir.join("access.log")),
        };
        let place = Place { ports, front, dir: &dir, access_log: access_log.as_deref() };
        let command = command(bench, contender, &place)?;
        let running = Running::start_into(Cores::pinned(bench.cores.proxy, &command), &words)?;
        let proxy = Self { contender, front, running, server, ports, words, access_log };
        first_connection(ports.proxy).map_err(|failure| proxy.tells(&failure))?;
        Ok(proxy)
    }

    /// What it forwards and what it answers, seen once before anything is measured.
    fn check(&self) -> Result<(), Failure> {
        let seen = self.ask().map_err(|error| {
            self.tells(&Failure::new(format!("cannot ask {}: {error}", self.contender.name()), "run it by hand"))
        })?;
        let (answer, forwarded) = seen.split_once("\r\n\r\n").unwrap_or((&seen, ""));
        let id: &[&str] = if self.contender == Contender::NginxNoId { &[] } else { &["x-request-id"] };
        let fields = ["via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
        let absent = |head: &str, names: &[&'static str]| {
            let has = |name: &str| head.lines().any(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
            names.iter().copied().find(|name| !has(name))
        };
        let missing = absent(forwarded, &fields).or_else(|| absent(forwarded, id)).or_else(|| absent(answer, id));
        match missing {
            _ if !answer.starts_with("HTTP/1.1 200 ") => Err(self.tells(&Failure::new(
                format!("cannot compare {}: it answers `{answer}`", self.contender.name()),
                "run it by hand",
            ))),
            Some(name) => Err(Failure::new(
                format!("cannot compare {}: there is no {name}", self.contender.name()),
                format!("see what it did of it:\n{seen}"),
            )),
            None => Ok(()),
        }
    }

    fn ask(&self) -> io::Result<String> {
        let request =
            format!("GET {HEAD_PATH} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.contender.host());
        if let Front::Tls(files) = self.front {
            return secure::ask(&files.authority, self.ports.proxy, &request);
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.proxy))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A failure, with the last that this proxy said.
    fn tells(&self, failure: &Failure) -> Failure {
        let said = fs::read_to_string(&self.words).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Failure::new(failure.to_string(), format!("{} said last: {}", self.contender.name(), last.join("\n")))
    }
}

fn command(bench: &Bench, contender: Contender, place: &Place<'_>) -> Result<Command, Failure> {
    let dir = place.dir;
    Ok(match contender.family() {
        Family::Tambat => {
            let file = configured(dir, "routes.toml", &config::tambat(contender, place))?;
            let mut command = Command::new(&bench.tambat);
            command.args(["route", "--from"]).arg(file).args(["--workers", "1"]);
            if let Some(log) = place.access_log {
                command.arg("--access-log").arg(log);
            }
            bench.clean(&mut command);
            command
        }
        Family::Nginx => {
            let file = configured(dir, "nginx.conf", &config::nginx(contender, place))?;
            let mut command = Command::new(&bench.nginx);
            command.args(["-e", "stderr", "-p"]).arg(dir).arg("-c").arg(file);
            command
        }
        Family::Haproxy => {
            let file = configured(dir, "haproxy.cfg", &config::haproxy(contender, place))?;
            let mut command = Command::new("haproxy");
            command.args(["-db", "-f"]).arg(file);
            command
        }
    })
}

fn serve(bench: &Bench, backend: Backend, port: u16) -> Result<Running, Failure> {
    let mut serve = bench.role("http-backend", &[backend.kind()]);
    serve.env("PORT", port.to_string());
    let server = Running::start(Cores::pinned(bench.cores.load, &serve))?;
    first_connection(port)?;
    Ok(server)
}

fn configured(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let file = dir.join(name);
    write(&file, text)?;
    Ok(file)
}

/// Lines and bytes.
fn size(file: &Path) -> Result<(u64, u64), Failure> {
    let unread = |error| Failure::new(format!("cannot read {}: {error}", file.display()), "run it by hand");
    let mut reader = fs::File::open(file).map_err(unread)?;
    let (mut lines, mut bytes, mut piece) = (0, 0, vec![0; 256 * 1024]);
    loop {
        match reader.read(&mut piece).map_err(unread)? {
            0 => return Ok((lines, bytes)),
            count => {
                lines += piece[..count].split(|byte| *byte == b'\n').skip(1).count() as u64;
                bytes += count as u64;
            }
        }
    }
}
