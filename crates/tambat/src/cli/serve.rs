//! `tambat serve`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tambat_manifest::ServeFile;
use tambat_os::Spawner;

use super::{LogFormat, ServeArgs};
use crate::daemon::Look;
use crate::failure::Failure;
use crate::output;
use crate::serve::{self, Serve};

/// Where a server's apps are, where root runs it.
const APPS_OF_ROOT: &str = "/srv/tambat/apps";

/// The same below the data folder of anybody else.
const APPS_OF_USER: &str = "tambat/apps";

/// The server's file, beside the directory of its apps.
const FILE: &str = "serve.toml";

/// `tambat serve`.
pub(crate) fn run(dir: &Path, args: &ServeArgs, spawner: Option<Spawner>) -> Result<ExitCode, Failure> {
    let spawner = spawner.ok_or_else(|| Failure::new("cannot serve: there is no spawner"))?;
    let apps = match &args.apps {
        Some(apps) => dir.join(apps),
        None => default_apps()?,
    };
    let apps = apps.canonicalize().map_err(|error| {
        let shown = apps.display();
        Failure::usage(format!(
            "cannot serve the apps in {shown}: {error}; `mkdir -p {shown}` makes it, and each app is a folder in it or a link \
             to one; --apps names another"
        ))
    })?;
    let file_path = server_file_path(dir, args.config.as_deref(), &apps);
    let (file, file_dir) = load(&file_path, args.config.is_some(), &apps)?;
    let serve = Serve {
        apps,
        file,
        file_path,
        file_dir,
        addresses: args.address.clone(),
        http_port: args.http_port,
        https_port: args.https_port,
        port: args.port,
        router: args.router.clone().seen_from(dir),
        look: look(args),
    };
    serve::run(&serve, spawner)
}

/// The server's file, and the folder that it lies in. One that is named must be there.
pub(crate) fn server_file(dir: &Path, config: Option<&Path>, apps: &Path) -> Result<(ServeFile, PathBuf), Failure> {
    load(&server_file_path(dir, config, apps), config.is_some(), apps)
}

/// Where it is.
fn server_file_path(dir: &Path, config: Option<&Path>, apps: &Path) -> PathBuf {
    match config {
        Some(file) => dir.join(file),
        None => apps.parent().unwrap_or(apps).join(FILE),
    }
}

fn load(path: &Path, is_named: bool, apps: &Path) -> Result<(ServeFile, PathBuf), Failure> {
    let folder = path.parent().unwrap_or(apps).to_owned();
    match ServeFile::load(path)? {
        Some(file) => Ok((file, folder)),
        None if is_named => Err(Failure::usage(format!("cannot read {}: there is no such file", path.display()))),
        None => Ok((ServeFile::default(), folder)),
    }
}

/// Where the apps are that nobody has said a directory for.
pub(super) fn default_apps() -> Result<PathBuf, Failure> {
    if tambat_os::runtime_dir::uid() == 0 {
        return Ok(APPS_OF_ROOT.into());
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".local/share"));
    let data = absolute("XDG_DATA_HOME").or_else(home);
    let data =
        data.ok_or_else(|| Failure::usage("neither XDG_DATA_HOME nor HOME is set: say where apps are with --apps"))?;
    Ok(data.join(APPS_OF_USER))
}

/// A server has no terminal for its apps: they write to pipes.
fn look(args: &ServeArgs) -> Look {
    let text = args.log_format == LogFormat::Text;
    Look {
        format: args.log_format,
        timestamp: !args.no_timestamp,
        color_out: text && output::color_on_stdout(),
        color_err: text && output::color_on_stderr(),
        tty: text && std::io::IsTerminal::is_terminal(&std::io::stdout()),
        app: None,
        names: Vec::new(),
        width: 0,
    }
}
