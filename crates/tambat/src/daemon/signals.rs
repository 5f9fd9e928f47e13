//! What a tambat that runs is told by signals.

use tambat_os::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What is asked of an app that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// End. The second time: now.
    Stop(Signal),
    /// Hand this on to every instance.
    Forward(Signal),
    /// The terminal has another size.
    Resize,
}

/// Whatever is asked from now on, by signals. Needs a runtime, and ends with it.
pub(crate) fn listen() -> std::io::Result<UnboundedReceiver<Incoming>> {
    let mut signals = Signals::install()?;
    let (out, incoming) = unbounded_channel();
    tokio::spawn(async move { while out.send(signals.next().await).is_ok() {} });
    Ok(incoming)
}

/// The next thing that is asked; never, once nobody can ask any more. Cancel safe.
pub(crate) async fn next(incoming: &mut UnboundedReceiver<Incoming>) -> Incoming {
    match incoming.recv().await {
        Some(incoming) => incoming,
        None => std::future::pending().await,
    }
}

/// The signals that mean something here: INT, TERM and HUP stop (HUP not under `nohup`); USR1 and USR2 are handed on; WINCH resizes.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: Option<tokio::signal::unix::Signal>,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    resize: tokio::signal::unix::Signal,
}

/// Has nobody asked for this signal to be ignored?
fn heeded(signal: Signal) -> bool {
    !tambat_os::signals::is_ignored(signal)
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: heeded(Signal::HUP).then(|| signal(SignalKind::hangup())).transpose()?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Incoming {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Incoming::Stop(Signal::INT),
            _ = self.terminate.recv() => Incoming::Stop(Signal::TERM),
            _ = hang_up => Incoming::Stop(Signal::HUP),
            _ = self.user1.recv() => Incoming::Forward(Signal::USR1),
            _ = self.user2.recv() => Incoming::Forward(Signal::USR2),
            _ = self.resize.recv() => Incoming::Resize,
        }
    }
}
