//! The `build` command: before anything starts, under a keeper of its own, counted against no boot limit.

use std::ffi::OsString;
use std::time::Instant;

use tambat_model::{Environment, Layer, shell_command};
use tambat_os::{
    ChildOutput, CommandSpec, ExitStatus, Keeper, Report, ReportReader, Signal, Spawner, StdioSpec, StopSpec,
};
use tambat_supervisor::{ChildStream, LineReader, Setup};
use tokio::net::UnixStream;

use super::journal::Sayer;
use crate::failure::Failure;

/// How long a build may take to stop when it is interrupted.
const STOP_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// A build that has been started. Dropping it ends it.
pub(crate) struct Build {
    command: String,
    keeper: Keeper,
}

impl Build {
    /// Starts the plan's `build`, in the app's directory and the environment of the shell and the `.env` files.
    pub(crate) fn of(setup: &Setup, spawner: &Spawner) -> Result<Option<Self>, Failure> {
        let Some(command) = setup.plan.build() else { return Ok(None) };
        let layers: Vec<Layer> = setup.layers.iter().filter(|layer| layer.name != "PORT").cloned().collect();
        let environment = Environment::compose(layers);
        let known = environment.iter().map(|(name, s)| (OsString::from(name), OsString::from(&s.value)));
        let spec = CommandSpec {
            argv: ["/bin/sh", "-c"].into_iter().map(OsString::from).chain([shell_command(command).into()]).collect(),
            dir: setup.plan.dir().to_owned(),
            env: known.chain(setup.raw_env.iter().cloned()).collect(),
            stdio: setup.terminal.map_or(StdioSpec::Pipes, StdioSpec::Pty),
            stop: StopSpec { signal: Signal::TERM, grace: STOP_GRACE },
        };
        let keeper = spawner
            .spawn(&spec)
            .map_err(|error| Failure::new(format!("cannot start the build `{command}`: {error}")))?;
        Ok(Some(Self { command: command.to_owned(), keeper }))
    }

    /// Waits for its end and shows what it says. Dropping the future ends the build.
    pub(crate) async fn run(self, sayer: &Sayer) -> Result<(), Failure> {
        let Self { command, keeper } = self;
        sayer.say(format!("building: {command}"));
        let began = Instant::now();
        let failed = |error: std::io::Error| Failure::new(format!("cannot watch the build `{command}`: {error}"));
        let socket = UnixStream::from_std(keeper.socket).map_err(failed)?;
        let outputs = match keeper.output {
            ChildOutput::Pty(master) => vec![master],
            ChildOutput::Pipes { stdout, stderr } => vec![stdout, stderr],
        };
        let readers: Vec<_> = outputs
            .into_iter()
            .map(|fd| ChildStream::new(fd).map(|fd| tokio::spawn(show(fd, sayer.clone()))))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let status = wait(&socket, &command).await?;
        for reader in readers {
            let _ = reader.await;
        }
        match status {
            ExitStatus::Code(0) => {
                sayer.say(format!("built in {:.1} s", began.elapsed().as_secs_f64()));
                Ok(())
            }
            ExitStatus::Code(code) => {
                Err(Failure::new(format!("the build `{command}` failed with code {code}: nothing was started")))
            }
            ExitStatus::Signal(signal) => Err(Failure::new(format!(
                "the build `{command}` was ended by SIG{}: nothing was started",
                signal.name()
            ))),
        }
    }
}

async fn wait(socket: &UnixStream, command: &str) -> Result<ExitStatus, Failure> {
    let mut reports = ReportReader::default();
    loop {
        let mut bytes = [0; 1024];
        let read = match socket.readable().await.and_then(|()| socket.try_read(&mut bytes)) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => {
                return Err(Failure::new(format!("the build `{command}` was ended together with its keeper")));
            }
            Ok(read) => read,
        };
        reports.push(&bytes[..read]);
        while let Some(report) = reports.next() {
            match report {
                Ok(Report::Started { .. }) => {}
                Ok(Report::Exited(exit)) => return Ok(exit.status),
                Ok(Report::NotStarted { step, errno }) => {
                    let error = std::io::Error::from_raw_os_error(errno);
                    return Err(Failure::new(format!("cannot start the build `{command}`: cannot {step}: {error}")));
                }
                Err(error) => return Err(Failure::new(format!("cannot watch the build `{command}`: {error}"))),
            }
        }
    }
}

async fn show(output: ChildStream, sayer: Sayer) {
    let mut reader = LineReader::default();
    while let Some(lines) = output.next(&mut reader).await {
        lines.into_iter().for_each(|text| sayer.build(text));
    }
}
