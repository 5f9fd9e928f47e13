//! The `build` command: before anything starts, under a keeper of its own, counted against no boot limit.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_model::{Environment, Layer, Plan, redact_all, shell_command};
use tambat_os::{
    ChildOutput, CommandSpec, ExitStatus, Keeper, Order, Report, ReportReader, Signal, Spawner, StdioSpec, StopSpec,
    WinSize,
};
use tambat_supervisor::{ChildStream, KeeperSocket, LineReader, Setup};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::journal::Sayer;
use crate::failure::Failure;
use crate::layers::Layers;

/// How long a build may take to stop when it is interrupted.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How a build is ended.
const STOP: StopSpec = StopSpec { signal: Signal::TERM, grace: STOP_GRACE };

/// When nothing of a build is left, its output must end at once; somebody outside its tree may hold it open.
const OUTPUT_END_LIMIT: Duration = Duration::from_secs(1);

/// What is asked of a build that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    /// End, within the grace.
    Stop,
    /// End now.
    Kill,
    /// Have a terminal of this size, if you have one.
    Resize(WinSize),
}

/// A build that has been started. Dropping it ends it.
pub(crate) struct Build {
    /// As it is shown: without passwords.
    command: String,
    keeper: Keeper,
}

impl Build {
    /// Starts the plan's `build`, in the app's directory and the environment of the shell and the `.env` files.
    pub(crate) fn of(setup: &Setup, spawner: &Spawner) -> Result<Option<Self>, Failure> {
        Self::with(&setup.plan, &setup.layers, &setup.raw_env, setup.terminal, spawner)
    }

    fn with(
        plan: &Plan,
        layers: &[Layer],
        raw_env: &[(OsString, OsString)],
        terminal: Option<WinSize>,
        spawner: &Spawner,
    ) -> Result<Option<Self>, Failure> {
        let Some(command) = plan.build() else { return Ok(None) };
        let layers: Vec<Layer> = layers.iter().filter(|layer| layer.name != "PORT").cloned().collect();
        let environment = Environment::compose(layers);
        let known = environment.iter().map(|(name, s)| (OsString::from(name), OsString::from(&s.value)));
        let spec = CommandSpec {
            argv: ["/bin/sh", "-c"].into_iter().map(OsString::from).chain([shell_command(command).into()]).collect(),
            dir: plan.dir().to_owned(),
            env: known.chain(raw_env.iter().cloned()).collect(),
            stdio: terminal.map_or(StdioSpec::Pipes, StdioSpec::Pty),
            stop: STOP,
            linger: Duration::ZERO,
            user: None,
        };
        let keeper = spawner
            .spawn(&spec)
            .map_err(|error| Failure::new(format!("cannot start the build `{}`: {error}", redact_all(command))))?;
        Ok(Some(Self { command: redact_all(command), keeper }))
    }

    /// Waits until nothing of it is left, does what is wished meanwhile, and shows what it says. Dropping the future ends
    /// the build too, and nobody knows when.
    pub(crate) async fn run(self, sayer: &Sayer, mut wishes: UnboundedReceiver<Wish>) -> Result<(), Failure> {
        let Self { command, keeper } = self;
        sayer.say(format!("building: {command}"));
        let began = Instant::now();
        let failed = |error: std::io::Error| Failure::new(format!("cannot watch the build `{command}`: {error}"));
        let socket = KeeperSocket::new(keeper.socket).map_err(failed)?;
        let outputs = match keeper.output {
            ChildOutput::Pty(master) => vec![master],
            ChildOutput::Pipes { stdout, stderr } => vec![stdout, stderr],
        };
        let outputs: Vec<Arc<ChildStream>> = outputs
            .into_iter()
            .map(|fd| ChildStream::new(fd).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let readers: Vec<_> = outputs.iter().map(|fd| tokio::spawn(show(Arc::clone(fd), sayer.clone()))).collect();
        let mut reports = Reports { socket: &socket, command: &command, reader: ReportReader::default() };
        let status = loop {
            tokio::select! {
                status = reports.end() => break status?,
                Some(wish) = wishes.recv() => match wish {
                    Wish::Stop => socket.send(&Order::Stop(STOP)).await,
                    Wish::Kill => socket.send(&Order::Kill).await,
                    Wish::Resize(size) => outputs.iter().for_each(|output| output.resize(size)),
                },
            }
        };
        let shown = async {
            for reader in readers {
                let _ = reader.await;
            }
        };
        // What comes later is shown later.
        let _ = timeout(OUTPUT_END_LIMIT, shown).await;
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

/// Builds a version of an app while another one runs. Cancelling it ends the build.
pub(crate) async fn build_beside(
    plan: &Plan,
    layers: &Layers,
    spawner: &Spawner,
    sayer: &Sayer,
) -> Result<(), Failure> {
    let Some(build) = Build::with(plan, &layers.all, &layers.raw, None, spawner)? else { return Ok(()) };
    // Nobody asks anything of it.
    let (_wishes, wished) = tokio::sync::mpsc::unbounded_channel();
    build.run(sayer, wished).await
}

/// What the keeper says of a build.
struct Reports<'a> {
    socket: &'a KeeperSocket,
    command: &'a str,
    reader: ReportReader,
}

impl Reports<'_> {
    /// How the build has ended. Cancel safe: no report is lost.
    async fn end(&mut self) -> Result<ExitStatus, Failure> {
        let command = self.command;
        loop {
            match self.socket.next(&mut self.reader).await {
                Some(Report::Started { .. }) => {}
                Some(Report::Exited(exit)) => return Ok(exit.status),
                Some(Report::NotStarted { step, errno }) => {
                    let error = std::io::Error::from_raw_os_error(errno);
                    return Err(Failure::new(format!("cannot start the build `{command}`: cannot {step}: {error}")));
                }
                None => return Err(Failure::new(format!("the build `{command}` was ended together with its keeper"))),
            }
        }
    }
}

async fn show(output: Arc<ChildStream>, sayer: Sayer) {
    let mut reader = LineReader::default();
    while let Some(lines) = output.next(&mut reader).await {
        lines.into_iter().for_each(|text| sayer.build(text));
    }
}
