//! One start of one instance: the keeper's socket and the child's output, read until both have ended.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tambat_model::{InstanceName, InstancePort, plain, redact_all};
use tambat_os::{ChildOutput, ExitReport, ExitStatus, Keeper, Order, Pid, Report, ReportReader, WinSize};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::child_output::{ChildStream, LineReader};
use crate::exit::{Exit, How, LAST_LINES};
use crate::group::SlotId;
use crate::keeper_socket::KeeperSocket;

/// When nothing of an instance is left, its output must end at once; somebody outside its tree may hold it open.
const OUTPUT_END_LIMIT: Duration = Duration::from_millis(400);

/// The news of an end waits so long for what was written before it.
const NEWS_DELAY_MAX: Duration = Duration::from_millis(500);

/// Whatever an instance wrote before its end is in its pipe, which holds no more than this (`pipe(7)`, pipe-max-size).
const OUTPUT_REST_MAX_BYTES: usize = 1024 * 1024;

/// A last line is quoted in a sentence: more of it would hide the sentence.
const LAST_LINE_CHARS_MAX: usize = 400;

/// So much of it is looked at: what hides a password has to see where it ends, which is past the end of what is quoted.
const LAST_LINE_BYTES_MAX: usize = 4096;

/// Which stream a line came from. On a pty the two are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the pty.
    Out,
    /// Standard error.
    Err,
}

/// A line that an instance wrote.
#[derive(Debug, Clone)]
pub struct OutputLine {
    /// Who.
    pub instance: InstanceName,
    /// Where.
    pub stream: Stream,
    /// What, without its line end.
    pub text: String,
    /// The instance's first port: a line may come before the world knows that its writer has been started.
    pub port: Option<InstancePort>,
}

/// What a run tells the driver.
#[derive(Debug)]
pub(crate) enum RunEvent {
    Started { pid: Pid, keeper: Pid },
    NotStarted { step: String, errno: i32 },
    Ended(Exit),
}

/// One start of one instance, as the driver holds it. Dropping it closes the keeper's socket, which ends the instance.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: u32,
    orders: UnboundedSender<Order>,
    pty: Option<Arc<ChildStream>>,
    reader: JoinHandle<()>,
}

impl Run {
    /// Takes over what the spawner gave.
    pub(crate) fn begin(
        id: u32,
        slot: SlotId,
        instance: (&InstanceName, Option<InstancePort>),
        keeper: Keeper,
        lines: &Sender<OutputLine>,
        events: UnboundedSender<(SlotId, u32, RunEvent)>,
    ) -> std::io::Result<Self> {
        let socket = Arc::new(KeeperSocket::new(keeper.socket)?);
        let (end, ended) = watch::channel(None);
        let last = Arc::new(Mutex::new(VecDeque::with_capacity(LAST_LINES)));
        let (instance, port) = instance;
        let open = |fd: OwnedFd, stream| -> std::io::Result<(Arc<ChildStream>, Line)> {
            let line = Line { instance: instance.clone(), port, stream, lines: lines.clone(), last: Arc::clone(&last) };
            Ok((Arc::new(ChildStream::new(fd)?), line))
        };
        let (outputs, is_pty) = match keeper.output {
            ChildOutput::Pty(master) => (vec![open(master, Stream::Out)?], true),
            ChildOutput::Pipes { stdout, stderr } => {
                (vec![open(stdout, Stream::Out)?, open(stderr, Stream::Err)?], false)
            }
        };
        let pty = outputs.first().filter(|_| is_pty).map(|(fd, _)| Arc::clone(fd));
        let read = |(fd, line)| tokio::spawn(read_output(fd, line, ended.clone()));
        let outputs = outputs.into_iter().map(read).collect();
        let (orders, given) = unbounded_channel();
        tokio::spawn(write_orders(Arc::clone(&socket), given));
        let reader = tokio::spawn(read_reports(socket, outputs, end, last, move |event| {
            // The driver may have ended: then nobody needs to know.
            let _ = events.send((slot, id, event));
        }));
        Ok(Self { id, orders, pty, reader })
    }

    /// Sends an order to the keeper. If that is gone, its end is on its way here.
    pub(crate) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// The terminal has another size now.
    pub(crate) fn resize(&self, size: WinSize) {
        if let Some(pty) = &self.pty {
            pty.resize(size);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// In a task of its own, since a socket that has just been opened is not known to be writable yet, and an order that is
/// lost would leave its instance running for ever.
async fn write_orders(socket: Arc<KeeperSocket>, mut orders: UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        socket.send(&order).await;
    }
}

struct Line {
    instance: InstanceName,
    port: Option<InstancePort>,
    stream: Stream,
    lines: Sender<OutputLine>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Line {
    async fn send(&self, text: String) {
        if let Ok(mut last) = self.last.lock() {
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(quoted(&text));
        }
        let line = OutputLine { instance: self.instance.clone(), stream: self.stream, text, port: self.port };
        let _ = self.lines.send(line).await;
    }
}

/// A line as it may be quoted in a sentence that anybody may come to read: no URL in it tells its password.
fn quoted(text: &str) -> String {
    let seen = &text[..text.floor_char_boundary(LAST_LINE_BYTES_MAX)];
    redact_all(seen).chars().take(LAST_LINE_CHARS_MAX).collect()
}

/// Until the end of the output; or, once nothing of the instance is left, until there is nothing more in it.
async fn read_output(output: Arc<ChildStream>, line: Line, mut ended: watch::Receiver<Option<Instant>>) {
    let mut reader = LineReader::default();
    let mut rest = OUTPUT_REST_MAX_BYTES;
    loop {
        let next = tokio::select! {
            biased;
            next = output.next(&mut reader) => next,
            () = quiet(&mut ended) => break,
        };
        let Some(lines) = next else { break };
        if ended.borrow().is_some() {
            let read = lines.iter().map(|text| text.len() + 1).sum();
            let Some(less) = rest.checked_sub(read) else { break };
            rest = less;
        }
        for text in lines {
            line.send(text).await;
        }
    }
    if let Some(text) = reader.rest() {
        line.send(text).await;
    }
}

/// The instance has been gone for [`OUTPUT_END_LIMIT`].
async fn quiet(ended: &mut watch::Receiver<Option<Instant>>) {
    let at = ended.wait_for(Option::is_some).await.ok().and_then(|at| *at);
    match at {
        Some(at) => sleep_until(at + OUTPUT_END_LIMIT).await,
        // Nobody is going to say so any more: the driver has let go of this run, and with it goes the instance.
        None => std::future::pending().await,
    }
}

async fn read_reports(
    socket: Arc<KeeperSocket>,
    mut outputs: Vec<JoinHandle<()>>,
    end: watch::Sender<Option<Instant>>,
    last: Arc<Mutex<VecDeque<String>>>,
    tell: impl Fn(RunEvent),
) {
    let mut reader = ReportReader::default();
    let exit = loop {
        match socket.next(&mut reader).await {
            Some(Report::Started { pid, keeper }) => tell(RunEvent::Started { pid, keeper }),
            Some(Report::NotStarted { step, errno }) => {
                tell(RunEvent::NotStarted { step, errno });
                return;
            }
            Some(Report::Exited(report)) => break Some(report),
            None => break None,
        }
    };
    let now = Instant::now();
    end.send_replace(Some(now));
    let finish = async {
        for output in &mut outputs {
            let _ = output.await;
        }
    };
    // What was written comes before the news of the end, unless whoever shows it has stopped taking lines. Those that
    // are left then follow; nothing is lost, and nobody waits for a terminal to learn that an instance has ended.
    let _ = timeout_at(now + NEWS_DELAY_MAX, finish).await;
    // They become part of sentences that are shown in many places: colours have no business there, nor has what clears
    // a screen.
    let last_lines = last
        .lock()
        .map(|mut lines| lines.drain(..).map(|line| redact_all(&plain(&line))).collect())
        .unwrap_or_default();
    tell(RunEvent::Ended(describe(exit, last_lines)));
}

fn describe(report: Option<ExitReport>, last_lines: Vec<String>) -> Exit {
    let Some(report) = report else {
        return Exit { how: How::Unknown, left_behind: Vec::new(), killed: false, last_lines };
    };
    let how = match report.status {
        ExitStatus::Code(code) => How::Code(code),
        ExitStatus::Signal(signal) => {
            How::Signal(u8::try_from(signal.number()).unwrap_or(u8::MAX), signal.name().to_owned())
        }
    };
    let left_behind = report.left_behind.into_iter().map(|info| (info.name, info.pid.get())).collect();
    Exit { how, left_behind, killed: report.killed, last_lines }
}

#[cfg(test)]
mod tests;
