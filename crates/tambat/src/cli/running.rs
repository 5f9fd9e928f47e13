//! The running app of a directory, asked over its socket.

use std::path::{Path, PathBuf};

use tambat_api::{AppStatus, Client, ClientError};

use crate::failure::Failure;
use crate::run_lock::runner;
use crate::sockets::Sockets;

/// A running app.
pub(crate) struct Running {
    /// Talks to it.
    pub(crate) client: Client,
    /// How it was a moment ago.
    pub(crate) status: AppStatus,
}

impl Running {
    /// The app of this directory or the nearest one above it. Fails loudly when it does not run: where an app is
    /// written down, none further up is meant.
    pub(crate) async fn find(dir: &Path) -> Result<Self, Failure> {
        let sockets = sockets_there()?;
        let mut last = dir;
        for ancestor in up_to_app(dir) {
            if let Some(running) = Self::of_dir(&sockets, ancestor).await? {
                return Ok(running);
            }
            last = if is_app(ancestor) { ancestor } else { dir };
        }
        Err(not_running(last))
    }

    /// The app of this very directory; `None`: it does not run. One that was started from another kind of session has its
    /// socket elsewhere: where, stands in its lock. One that runs and does not answer is an error that names it.
    pub(crate) async fn of_dir(sockets: &Sockets, dir: &Path) -> Result<Option<Self>, Failure> {
        let usual = sockets.socket(dir);
        if let Some(running) = Self::at(usual.clone()).await? {
            return Ok(Some(running));
        }
        let Some(noted) = runner(sockets, dir) else { return Ok(None) };
        if let Some(socket) = noted.socket().filter(|socket| *socket != usual)
            && let Some(running) = Self::at(socket).await?
        {
            return Ok(Some(running));
        }
        Err(noted.silent(dir))
    }

    async fn at(socket: PathBuf) -> Result<Option<Self>, Failure> {
        let client = Client::new(socket);
        match client.status().await {
            Ok(status) => Ok(Some(Self { client, status })),
            Err(ClientError::NotRunning) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// The path of this app's own things.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/apps/{}/{rest}", self.status.app)
    }

    /// The process that was named, or the one that is meant without a name: web, or the only one.
    pub(crate) fn process_or_default(&self, named: Option<&str>) -> Result<String, Failure> {
        let names: Vec<&str> = self.status.processes.iter().map(|p| p.name.as_str()).collect();
        match (named, names.as_slice()) {
            (Some(name), _) if names.contains(&name) => Ok(name.to_owned()),
            (Some(name), _) => Err(self.no_process(name)),
            (None, [only]) => Ok((*only).to_owned()),
            (None, _) if names.contains(&"web") => Ok("web".to_owned()),
            (None, _) => Err(Failure::usage(format!("name a process of {}: {}", self.status.app, names.join(", ")))),
        }
    }

    /// There is no such process.
    pub(crate) fn no_process(&self, name: &str) -> Failure {
        let names: Vec<&str> = self.status.processes.iter().map(|p| p.name.as_str()).collect();
        Failure::usage(format!("there is no process `{name}` in {}; it has {}", self.status.app, names.join(", ")))
    }
}

/// Runs a verb that talks to a running app.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(work)
}

/// Where this user's control sockets are, made if need be: for whoever opens one.
pub(crate) fn sockets() -> Result<Sockets, Failure> {
    Sockets::open(std::env::var_os("XDG_RUNTIME_DIR").as_deref()).map_err(|error| Failure::new(error.to_string()))
}

/// The same for whoever asks, and creates nothing.
pub(crate) fn sockets_there() -> Result<Sockets, Failure> {
    Sockets::find(std::env::var_os("XDG_RUNTIME_DIR").as_deref()).map_err(|error| Failure::new(error.to_string()))
}

/// This directory and those above it, to the nearest in which an app is written down: none further up is meant.
pub(crate) fn up_to_app(dir: &Path) -> impl Iterator<Item = &Path> {
    let mut above = Some(dir);
    std::iter::from_fn(move || {
        let here = above?;
        above = here.parent().filter(|_| !is_app(here));
        Some(here)
    })
}

/// Is an app written down in this very directory?
fn is_app(dir: &Path) -> bool {
    [tambat_manifest::MANIFEST, tambat_manifest::PROCFILE].iter().any(|file| dir.join(file).is_file())
}

fn not_running(dir: &Path) -> Failure {
    Failure::new(format!(
        "no app runs in {} or above it: `tambat start` runs it, -d names another directory",
        dir.display()
    ))
}

/// A part of a path, percent-encoded (RFC 3986 §2.1).
pub(crate) fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
