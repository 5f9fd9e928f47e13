//! The life of an app that has been begun: its build, and then whatever is asked of it, to the last instance's end.

use std::process::ExitCode;
use std::sync::Arc;

use tambat_os::{Signal, WinSize};
use tambat_supervisor::{Command, Outcome, Supervisor};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::app::App;
use super::build::{self, Wish};
use super::signals::{Incoming, next};
use super::{foreign, routes, status};
use crate::failure::Failure;

/// From the build to the last instance's end.
pub(super) async fn run_to_the_end(
    app: &Arc<App>,
    supervisor: &mut Supervisor,
    incoming: &mut UnboundedReceiver<Incoming>,
    build: Option<build::Build>,
) -> Result<ExitCode, Failure> {
    status::headlines(app).into_iter().for_each(|line| app.sayer.say(line));
    if let Some(build) = build
        && building(app, supervisor, incoming, build).await? == Built::Stopped
    {
        return Ok(ExitCode::SUCCESS);
    }
    foreign::settle(app).await;
    app.command(Command::Built);
    let mut asked = false;
    loop {
        tokio::select! {
            outcome = supervisor.outcome() => {
                return Ok(match outcome {
                    Outcome::Stopped => ExitCode::SUCCESS,
                    Outcome::Ended { code } => ended(app, code).await,
                });
            }
            event = next(incoming) => match event {
                // A terminal that is closed hangs up several times, by its shell and by the kernel: no wish for haste.
                Incoming::Stop(Signal::HUP) if asked => {}
                Incoming::Stop(signal) if asked => {
                    app.sayer.say(format!("SIG{} again: killing what is left", signal.name()));
                    app.command(Command::Kill);
                }
                Incoming::Stop(signal) => {
                    asked = true;
                    app.sayer.say(format!("SIG{}: stopping (once more kills)", signal.name()));
                    app.command(Command::Shutdown);
                }
                Incoming::Forward(signal) => app.command(Command::Signal(signal)),
                Incoming::Resize => {
                    if let Some(size) = size_of_child(app) {
                        app.command(Command::Resize(size));
                    }
                }
            },
        }
    }
}

/// What follows a build.
#[derive(PartialEq, Eq)]
enum Built {
    /// The app.
    Done,
    /// Nothing: its user has stopped it meanwhile, and nothing of it is left.
    Stopped,
}

/// Until nothing of the build is left, however it ends.
async fn building(
    app: &App,
    supervisor: &mut Supervisor,
    incoming: &mut UnboundedReceiver<Incoming>,
    build: build::Build,
) -> Result<Built, Failure> {
    let (wishes, wished) = mpsc::unbounded_channel();
    let wish = |wish: Wish| {
        // A build that has just ended needs no telling.
        let _ = wishes.send(wish);
    };
    let mut run = std::pin::pin!(build.run(&app.sayer, wished));
    let (mut asked, mut supervised) = (false, true);
    loop {
        tokio::select! {
            // A build that is told to end may end as it likes.
            built = &mut run => return if asked { Ok(Built::Stopped) } else { built.map(|()| Built::Done) },
            // `tambat stop`: nothing has been started yet, so the supervisor has ended at once.
            _ = supervisor.outcome(), if supervised => {
                supervised = false;
                if !std::mem::replace(&mut asked, true) {
                    wish(Wish::Stop);
                }
            }
            event = next(incoming) => match event {
                Incoming::Stop(Signal::HUP) if asked => {}
                Incoming::Stop(signal) if asked => {
                    app.sayer.say(format!("SIG{} again: killing what is left of the build", signal.name()));
                    wish(Wish::Kill);
                }
                Incoming::Stop(signal) => {
                    asked = true;
                    app.sayer.say(format!("SIG{}: stopping the build (once more kills)", signal.name()));
                    wish(Wish::Stop);
                }
                Incoming::Resize => {
                    if let Some(size) = size_of_child(app) {
                        app.command(Command::Resize(size));
                        wish(Wish::Resize(size));
                    }
                }
                // Who is to hear it has not been started yet.
                Incoming::Forward(_) => {}
            },
        }
    }
}

/// The terminal of a child in our own as it is now; none where we have none.
fn size_of_child(app: &App) -> Option<WinSize> {
    tambat_os::terminal::size(std::io::stdout()).map(|size| app.look.of_child(size))
}

/// Every process has come to its end.
async fn ended(app: &App, code: u8) -> ExitCode {
    app.sayer.say(match code {
        0 => "every process has ended".to_owned(),
        code => format!("every process has ended; the first code that is not 0: {code}"),
    });
    routes::last_words(app).await;
    ExitCode::from(code)
}
