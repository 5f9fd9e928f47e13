//! The verbs. What was typed is parsed here; each verb's file says what it means.

mod attach;
mod check;
mod control;
mod detach;
mod docs;
mod doctor;
mod env;
mod logs;
mod open;
mod plan;
mod ps;
mod public_url;
mod route;
mod routes;
mod run;
mod running;
mod serve;
mod start;
mod trust;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use tambat_os::Spawner;

use crate::failure::Failure;
use crate::router_setup::RouterArgs;

pub(crate) use running::{block_on, sockets, sockets_there};
pub(crate) use serve::server_file;
pub(crate) use start::{await_last_run, last_run_ends, lock, state, take_lock, warn};

/// Runs apps by the port they bind.
#[derive(Debug, Parser)]
#[command(name = "tambat", version, propagate_version = false, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Work as if in this directory
    #[arg(short = 'd', long = "dir", global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the app here: every process, at its own port
    #[command(visible_alias = "up")]
    Start(StartArgs),
    /// Run a one-off command in the app's environment
    Run(RunArgs),
    /// Judge an app by the port-binding contract, clause by clause
    Check(CheckArgs),
    /// Show processes, instances, ports and providers
    #[command(visible_alias = "status")]
    Ps(JsonArgs),
    /// Show the route table, and why each target is in or out
    Routes(RoutesArgs),
    /// Run the router alone, its routes from a file
    Route(RouteArgs),
    /// Serve every app of a directory, at its public names
    Serve(ServeArgs),
    /// Show what the processes wrote
    Logs(LogsArgs),
    /// Print the URL to visit or dial
    Url(UrlArgs),
    /// Open that URL in the browser
    Open(OpenArgs),
    /// Print the environment a process gets
    Env(EnvArgs),
    /// Show what would run, where, and its handles; start nothing
    Plan(PlanArgs),
    /// Put a remote URL in the place of a provider
    Attach(AttachArgs),
    /// Take the provider back
    Detach(DetachArgs),
    /// Start a process anew
    Restart(ProcessArgs),
    /// Stop a process, or all of them
    Stop(OptionalProcessArgs),
    /// Set the number of instances
    Scale(ScaleArgs),
    /// Hold a process's connections
    Pause(ProcessArgs),
    /// Let them through again
    Resume(ProcessArgs),
    /// Wait until processes are ready
    Wait(WaitArgs),
    /// Have browsers and the system believe the local CA
    Trust(TrustArgs),
    /// Say what on this machine would get in the way, and the fix
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

/// Where the app is written down, and what is added to its environment.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Read this file instead of `Procfile`
    #[arg(short = 'f', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) procfile: Option<PathBuf>,
    /// Read these files instead of `.env`; a later one wins
    #[arg(short = 'e', long = "env-file", value_name = "FILE", value_delimiter = ',', value_hint = clap::ValueHint::FilePath)]
    pub(crate) env_files: Vec<PathBuf>,
    /// Set a variable; without a value: take it from the shell
    #[arg(short = 'E', long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
}

/// Which ports.
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// Where service ports begin; 0: the kernel chooses each [default: 5000]
    #[arg(short, long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Where names are served, shared by this user's apps; 0: the kernel chooses
    #[arg(long, value_name = "PORT", default_value_t = crate::daemon::HTTP_PORT_DEFAULT)]
    pub(crate) http_port: u16,
    /// The same over https [default: as far above --http-port as 443 is above 80: 7443]
    #[arg(long, value_name = "PORT")]
    pub(crate) https_port: Option<u16>,
    /// A busy port is an error, not a reason to move up by 100
    #[arg(long)]
    pub(crate) strict_port: bool,
}

/// `tambat start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Only these, with what they use; with =N: so many instances
    #[arg(value_name = "PROCESS[=N]")]
    pub(crate) processes: Vec<String>,
    /// Run this command as `web`, with no file at all
    #[arg(last = true, value_name = "CMD", conflicts_with = "processes")]
    pub(crate) command: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    /// How many instances of each, as foreman has it: all=1,worker=2
    #[arg(short = 'm', long, value_name = "PROCESS=N,…")]
    pub(crate) formation: Option<String>,
    /// Leave out what the named processes use
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Serve on this address too, not only on loopback (0.0.0.0: on all)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Vec<std::net::IpAddr>,
    #[command(flatten)]
    pub(crate) router: RouterArgs,
    /// Leave the terminal once everything is ready
    #[arg(long)]
    pub(crate) detach: bool,
    /// How `--detach` starts the tambat that stays
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(crate) detached: bool,
    /// End with the first process that ends, with its code
    #[arg(long)]
    pub(crate) exit_on_end: bool,
    /// How lines are written: text or json
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Leave out the time of day
    #[arg(long)]
    pub(crate) no_timestamp: bool,
    /// Wait at most so long with --detach
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: std::time::Duration,
}

/// `tambat serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where the apps are, each a folder or a link to one [default: /srv/tambat/apps for root, else
    /// ~/.local/share/tambat/apps]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) apps: Option<PathBuf>,
    /// What holds for the server as a whole [default: serve.toml beside the apps' directory, if it is there]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Where names are served by HTTP; 0: the kernel chooses
    #[arg(long, value_name = "PORT", default_value_t = crate::serve::HTTP_PORT_PUBLIC)]
    pub(crate) http_port: u16,
    /// Where names are served with TLS, if there are certificates; 0: the kernel chooses
    #[arg(long, value_name = "PORT", default_value_t = crate::serve::HTTPS_PORT_PUBLIC)]
    pub(crate) https_port: u16,
    /// Listen at this address only [default: at all of this machine]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Vec<std::net::IpAddr>,
    /// Where service ports begin; 0: the kernel chooses each [default: 5000, each app after the other]
    #[arg(short, long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) router: RouterArgs,
    /// How lines are written: text or json
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Leave out the time of day
    #[arg(long)]
    pub(crate) no_timestamp: bool,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `tambat run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// In the environment of this process [default: web, or the first]
    #[arg(long = "as", value_name = "PROCESS")]
    pub(crate) process: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// `tambat check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Only this process [default: all that export a port]
    #[arg(value_name = "PROCESS")]
    pub(crate) process: Option<String>,
    /// Judge this command, with no file at all
    #[arg(last = true, value_name = "CMD", conflicts_with = "process")]
    pub(crate) command: Vec<String>,
    /// Judge what can be judged of something that runs already
    #[arg(long, value_name = "URL", conflicts_with_all = ["process", "command"])]
    pub(crate) url: Option<tambat_check::Url>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Only these clauses: PB-03,PB-11
    #[arg(long, value_name = "CLAUSE,…", value_delimiter = ',')]
    pub(crate) only: Vec<tambat_model::ClauseId>,
    /// All but these clauses
    #[arg(long, value_name = "CLAUSE,…", value_delimiter = ',')]
    pub(crate) skip: Vec<tambat_model::ClauseId>,
    /// A warning is a failure, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// How long it may take until it listens [default: what the manifest says, or 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) boot: Option<std::time::Duration>,
    /// How long it may take to stop
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) grace: std::time::Duration,
    /// A page that takes its time: is its answer finished when the app is told to stop?
    #[arg(long, value_name = "PATH")]
    pub(crate) slow: Option<String>,
    /// A page to ask for beside `/`: one that redirects, or needs the backing services
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// How the verdicts are written: text, json, junit or markdown
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true, default_value_t = CheckFormat::Text)]
    pub(crate) format: CheckFormat,
    /// As JSON: one object a process, one a line
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// How verdicts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people.
    Text,
    /// For programs: one object a process, one a line.
    Json,
    /// For CI.
    Junit,
    /// For a pull request.
    Markdown,
}

/// Facts, for people or for programs.
#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat route`.
#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// Read the routes from this file, and again at SIGHUP
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) from: PathBuf,
    #[command(flatten)]
    pub(crate) router: crate::router_setup::RouterArgs,
}

/// `tambat routes`.
#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    /// Of the `tambat route` that runs with this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Only of this process or instance
    pub(crate) process: Option<String>,
    /// Go on as lines come
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Begin with so many lines
    #[arg(short = 'n', long, default_value_t = 200)]
    pub(crate) lines: usize,
    /// As JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat url`.
#[derive(Debug, Args)]
pub(crate) struct UrlArgs {
    /// The process, or process:port [default: web, or the only one]
    pub(crate) process: Option<String>,
    /// By name and over TLS: `https://shop.localhost:7443`
    #[arg(long)]
    pub(crate) https: bool,
    /// From other machines: by its public name, or where its `listen` is
    #[arg(long, conflicts_with = "https")]
    pub(crate) public: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat open`.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// The process, or process:port [default: web, or the only one]
    pub(crate) process: Option<String>,
    /// By name and over TLS: `https://shop.localhost:7443`
    #[arg(long)]
    pub(crate) https: bool,
}

/// One process.
#[derive(Debug, Args)]
pub(crate) struct ProcessArgs {
    /// The process
    pub(crate) process: Option<String>,
}

/// One process, or all.
#[derive(Debug, Args)]
pub(crate) struct OptionalProcessArgs {
    /// The process; none: all, and tambat itself
    pub(crate) process: Option<String>,
}

/// `tambat env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// The process [default: web, or the first]
    pub(crate) process: Option<String>,
    /// Say which source won each variable, and which lost
    #[arg(long)]
    pub(crate) explain: bool,
    /// Show passwords in URLs
    #[arg(long)]
    pub(crate) reveal: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Only these, with what they use; with =N: so many instances
    #[arg(value_name = "PROCESS[=N]")]
    pub(crate) processes: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    /// Leave out what the named processes use
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The provider, as `uses` names it
    pub(crate) name: String,
    /// The URL; - reads it from standard input, which keeps a password out of the process list
    #[arg(required_unless_present = "url_file")]
    pub(crate) url: Option<String>,
    /// Read the URL from this file
    #[arg(long, value_name = "FILE", conflicts_with = "url", value_hint = clap::ValueHint::FilePath)]
    pub(crate) url_file: Option<PathBuf>,
}

/// `tambat detach`.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// The provider, as `uses` names it
    pub(crate) name: String,
}

/// `tambat scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// The process and its number of instances
    #[arg(required = true, value_name = "PROCESS=N")]
    pub(crate) counts: Vec<String>,
}

/// `tambat wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The processes [default: all that export a port]
    pub(crate) processes: Vec<String>,
    /// At most so long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: std::time::Duration,
}

/// `tambat trust`.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// List exactly what would be done; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Take the local CA out of every store again
    #[arg(long)]
    pub(crate) undo: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where a server's apps are, as `tambat serve` has it
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) apps: Option<PathBuf>,
    /// The server's file, as `tambat serve` has it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tambat completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Does what was typed.
pub(crate) fn run(spawner: Option<Spawner>) -> Result<ExitCode, Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    let dir = app_dir(cli.dir)?;
    match cli.verb {
        Verb::Start(args) => start::run(&dir, &args, spawner),
        Verb::Run(args) => run::run(&dir, &args),
        Verb::Check(args) => check::run(&dir, &args, spawner),
        Verb::Ps(args) => ps::run(&dir, args.json),
        Verb::Route(args) => route::run(&dir, &args),
        Verb::Routes(args) => routes::run(&dir, &args),
        Verb::Serve(args) => serve::run(&dir, &args, spawner),
        Verb::Logs(args) => logs::run(&dir, &args),
        Verb::Url(args) => open::url(&dir, &args),
        Verb::Open(args) => open::open(&dir, &args),
        Verb::Env(args) => env::run(&dir, &args),
        Verb::Plan(args) => plan::run(&dir, &args),
        Verb::Attach(args) => attach::attach(&dir, &args),
        Verb::Detach(args) => attach::detach(&dir, &args),
        Verb::Restart(args) => control::restart(&dir, args.process.as_deref()),
        Verb::Stop(args) => control::stop(&dir, args.process.as_deref()),
        Verb::Scale(args) => control::scale(&dir, &args.counts),
        Verb::Pause(args) => control::gate(&dir, args.process.as_deref(), "pause"),
        Verb::Resume(args) => control::gate(&dir, args.process.as_deref(), "resume"),
        Verb::Wait(args) => wait::run(&dir, &args),
        Verb::Trust(args) => trust::run(&args),
        Verb::Doctor(args) => doctor::run(&dir, &args),
        Verb::Completions(args) => Ok(docs::completions(&mut Cli::command(), args.shell)),
        Verb::Man => docs::man(Cli::command()),
    }
}

/// The directory to work in, canonical: it names the app's socket.
fn app_dir(dir: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let dir = dir.unwrap_or_else(|| PathBuf::from("."));
    let canonical =
        dir.canonicalize().map_err(|error| Failure::usage(format!("cannot work in {}: {error}", dir.display())))?;
    if canonical.is_dir() {
        return Ok(canonical);
    }
    Err(Failure::usage(format!(
        "cannot work in {}: it is not a directory; -d takes the app's directory",
        dir.display()
    )))
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    tambat_manifest::parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
