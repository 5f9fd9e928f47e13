//! From what was said about the router, in the files and on the command line, to its settings.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tambat_model::{AccessLogFormat, RouterPlan};
use tambat_router::{AccessFormat, AccessLog, RouterSettings};

use crate::failure::Failure;

/// What the command line says about the router; it wins over the files.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RouterArgs {
    /// How many threads carry requests [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroU16>,
    /// Note each request in this file; -: on standard output
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) access_log: Option<PathBuf>,
    /// How requests are noted: json or text
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) access_log_format: Option<FormatArg>,
    /// Answer GET /metrics here, for Prometheus
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
}

impl RouterArgs {
    /// With the paths as they are from this directory, where `-d` has it.
    pub(crate) fn seen_from(mut self, dir: &Path) -> Self {
        self.access_log = self.access_log.map(|path| if path.as_os_str() == "-" { path } else { dir.join(path) });
        self
    }
}

/// How requests are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FormatArg {
    /// One JSON object a line.
    Json,
    /// A terse line for people.
    Text,
}

/// The router's settings. Paths of the files are seen from `dir`; see [`RouterArgs::seen_from`] for those of the command
/// line. `say` is told when the log cannot be written, and when it goes on.
pub(crate) fn settings(
    base: RouterSettings,
    plan: &RouterPlan,
    args: &RouterArgs,
    dir: &Path,
    say: impl Fn(String) + Send + 'static,
) -> Result<RouterSettings, Failure> {
    let access = access_log(plan, args, dir, say)?;
    let workers = args.workers.or(plan.workers).map(NonZeroUsize::from);
    let limits = &plan.timeouts;
    Ok(RouterSettings {
        workers: workers.unwrap_or(base.workers),
        connect_timeout: limits.connect.unwrap_or(base.connect_timeout),
        head_timeout: limits.head.unwrap_or(base.head_timeout),
        body_idle: limits.body_idle.unwrap_or(base.body_idle),
        keep_alive_idle: limits.keep_alive.unwrap_or(base.keep_alive_idle),
        connections_per_address_max: plan.connections_max.or(base.connections_per_address_max),
        trusted: plan.trusted.clone(),
        proxy_peers: plan.proxy_peers.clone(),
        access,
        ..base
    })
}

/// What is said of a peer that has to introduce its clients and does not.
pub(crate) fn unintroduced(peer: SocketAddr, cause: &str) -> String {
    format!(
        "a connection of {peer} {cause}, so it was closed: let it send one, or take it out of `proxy_protocol` of [router]"
    )
}

/// What is said of a client that was refused something for its frames.
pub(crate) fn refused_http2(peer: SocketAddr, cause: &str) -> String {
    format!(
        "a client of HTTP/2, {peer}, breaks its rules or asks for more than it may: {cause}; others may do so, too, and are \
         counted only (`refused` of the port)"
    )
}

/// What is said of an address whose connections are put off.
pub(crate) fn address_paused(client: IpAddr, pause: Duration) -> String {
    let whose = if client.is_ipv6() { "the /64 of " } else { "" };
    let seconds = pause.as_secs_f64();
    format!(
        "{whose}{client} floods HTTP/2: its new connections wait {seconds} s, and longer if it goes on; those it has stay          (`tambat_connections_paused_total`; is it a proxy of yours? list it in `trusted` of [router])"
    )
}

fn access_log(
    plan: &RouterPlan,
    args: &RouterArgs,
    dir: &Path,
    say: impl Fn(String) + Send + 'static,
) -> Result<Option<AccessLog>, Failure> {
    let said = plan.access_log.as_ref().map(|path| if path == "-" { path.into() } else { dir.join(path) });
    let Some(path) = args.access_log.clone().or(said) else { return Ok(None) };
    let format = match (args.access_log_format, plan.access_log_format) {
        (Some(FormatArg::Json), _) | (None, AccessLogFormat::Json) => AccessFormat::Json,
        (Some(FormatArg::Text), _) | (None, AccessLogFormat::Text) => AccessFormat::Text,
    };
    let started = if path.as_os_str() == "-" {
        AccessLog::start(format, io::stdout(), say)
    } else {
        let cannot = |error| Failure::new(format!("cannot write the access log {}: {error}", path.display()));
        AccessLog::start(format, LogFile::open(path.clone()).map_err(cannot)?, say)
    };
    started.map(Some).map_err(|error| Failure::new(format!("cannot start the access log's thread: {error}")))
}

/// A log file that is opened again when somebody has moved it away, as logrotate(8) does. Readable by its user alone:
/// addresses and paths are nobody else's business.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode of what is open.
    identity: (u64, u64),
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let metadata = file.metadata()?;
        Ok(Self { path, file, identity: (metadata.dev(), metadata.ino()) })
    }

    fn was_moved(&self) -> bool {
        !std::fs::metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.identity)
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.was_moved() {
            *self = Self::open(self.path.clone())?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> RouterArgs {
        RouterArgs { workers: None, access_log: None, access_log_format: None, metrics: None }
    }

    #[expect(clippy::needless_pass_by_value, reason = "what is told of a log takes its lines")]
    fn say(line: String) {
        panic!("{line}");
    }

    #[test]
    fn the_command_line_wins_over_the_files_and_these_over_the_defaults() {
        let plan = RouterPlan {
            workers: NonZeroU16::new(3),
            trusted: ["10.0.0.0/8".parse().unwrap()].into_iter().collect(),
            ..RouterPlan::default()
        };
        let args = RouterArgs { workers: NonZeroU16::new(1), ..none() };
        let of = |args: &RouterArgs| settings(RouterSettings::default(), &plan, args, Path::new("/"), say).unwrap();
        assert_eq!((of(&args).workers.get(), of(&none()).workers.get()), (1, 3));
        assert_eq!(of(&none()).head_timeout, RouterSettings::default().head_timeout);
        let settings = of(&none());
        assert!(settings.trusted.contains([10, 1, 2, 3].into()) && !settings.trusted.contains([11, 1, 2, 3].into()));
    }

    #[test]
    fn it_is_said_whose_connections_wait_and_how_that_ends() {
        let of = |client: &str, ms| address_paused(client.parse().unwrap(), Duration::from_millis(ms));
        assert!(
            of("192.0.2.7", 100).starts_with("192.0.2.7 floods HTTP/2: its new connections wait 0.1 s, and longer if")
        );
        let network = of("2001:db8:1:2::3", 10_000);
        assert!(
            network.starts_with("the /64 of 2001:db8:1:2::3 floods HTTP/2: its new connections wait 10 s"),
            "{network}"
        );
        assert!(network.ends_with("list it in `trusted` of [router])"), "{network}");
    }

    #[test]
    fn the_command_lines_paths_are_seen_from_where_d_says() {
        let seen = |path: &str| RouterArgs { access_log: Some(path.into()), ..none() }.seen_from(Path::new("/srv"));
        assert_eq!(seen("a.log").access_log.unwrap(), Path::new("/srv/a.log"));
        assert_eq!(seen("/var/a.log").access_log.unwrap(), Path::new("/var/a.log"));
        assert_eq!(seen("-").access_log.unwrap(), Path::new("-"));
    }

    #[test]
    fn a_log_that_was_moved_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let mut log = LogFile::open(path.clone()).unwrap();
        log.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!((std::fs::read(moved).unwrap(), std::fs::read(&path).unwrap()), (b"one\n".into(), b"two\n".into()));
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_before_anything_starts() {
        let args = RouterArgs { access_log: Some("/nowhere/at/all/access.log".into()), ..none() };
        let error =
            settings(RouterSettings::default(), &RouterPlan::default(), &args, Path::new("/"), say).unwrap_err();
        let expected = "cannot write the access log /nowhere/at/all/access.log: No such file or directory (os error 2)";
        assert!(format!("{error:?}").contains(expected), "{error:?}");
    }
}
