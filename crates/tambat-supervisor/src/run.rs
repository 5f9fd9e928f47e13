//! One start of one instance: the keeper's socket and the child's output, read until both have ended.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tambat_model::InstanceName;
use tambat_os::{ChildOutput, ExitReport, ExitStatus, Order, Pid, Report, ReportReader, WinSize};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::task::JoinHandle;

use crate::child_output::{ChildStream, LineReader};
use crate::exit::{Exit, How, LAST_LINES};
use crate::group::SlotId;

/// When nothing of an instance is left, its output must end at once; somebody outside its tree may hold it open.
const OUTPUT_END_LIMIT: Duration = Duration::from_millis(500);

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
    socket: Arc<UnixStream>,
    pty: Option<Arc<ChildStream>>,
    reader: JoinHandle<()>,
}

impl Run {
    /// Takes over what the spawner gave.
    pub(crate) fn begin(
        id: u32,
        slot: SlotId,
        instance: &InstanceName,
        keeper: tambat_os::Keeper,
        lines: &Sender<OutputLine>,
        events: UnboundedSender<(SlotId, u32, RunEvent)>,
    ) -> std::io::Result<Self> {
        let socket = Arc::new(UnixStream::from_std(keeper.socket)?);
        let last = Arc::new(Mutex::new(VecDeque::with_capacity(LAST_LINES)));
        let read = |fd: OwnedFd, stream| -> std::io::Result<(Arc<ChildStream>, JoinHandle<()>)> {
            let fd = Arc::new(ChildStream::new(fd)?);
            let line = Line { instance: instance.clone(), stream, lines: lines.clone(), last: Arc::clone(&last) };
            Ok((Arc::clone(&fd), tokio::spawn(read_output(fd, line))))
        };
        let (pty, outputs) = match keeper.output {
            ChildOutput::Pty(master) => {
                let (fd, task) = read(master, Stream::Out)?;
                (Some(fd), vec![task])
            }
            ChildOutput::Pipes { stdout, stderr } => {
                (None, vec![read(stdout, Stream::Out)?.1, read(stderr, Stream::Err)?.1])
            }
        };
        let reader = tokio::spawn(read_reports(Arc::clone(&socket), outputs, last, move |event| {
            // The driver may have ended: then nobody needs to know.
            let _ = events.send((slot, id, event));
        }));
        Ok(Self { id, socket, pty, reader })
    }

    /// Sends an order to the keeper. An order is a few bytes to a process that always reads: where they do not fit,
    /// the keeper is gone, and its end is on its way here.
    pub(crate) fn order(&self, order: &Order) {
        let _ = self.socket.try_write(&order.encode());
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

struct Line {
    instance: InstanceName,
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
            last.push_back(text.chars().take(400).collect());
        }
        let line = OutputLine { instance: self.instance.clone(), stream: self.stream, text };
        let _ = self.lines.send(line).await;
    }
}

async fn read_output(output: Arc<ChildStream>, line: Line) {
    let mut reader = LineReader::default();
    while let Some(lines) = output.next(&mut reader).await {
        for text in lines {
            line.send(text).await;
        }
    }
}

async fn read_reports(
    socket: Arc<UnixStream>,
    outputs: Vec<JoinHandle<()>>,
    last: Arc<Mutex<VecDeque<String>>>,
    tell: impl Fn(RunEvent),
) {
    let mut reader = ReportReader::default();
    let mut outputs = outputs;
    let exit = 'reports: loop {
        let mut bytes = [0; 1024];
        let read = match socket.readable().await.and_then(|()| socket.try_read(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => break None,
            Ok(read) => read,
        };
        reader.push(&bytes[..read]);
        while let Some(report) = reader.next() {
            match report {
                Ok(Report::Started { pid, keeper }) => tell(RunEvent::Started { pid, keeper }),
                Ok(Report::NotStarted { step, errno }) => {
                    tell(RunEvent::NotStarted { step, errno });
                    return;
                }
                Ok(Report::Exited(report)) => break 'reports Some(report),
                Err(_) => break 'reports None,
            }
        }
    };
    let finish = async {
        for output in &mut outputs {
            let _ = output.await;
        }
    };
    if tokio::time::timeout(OUTPUT_END_LIMIT, finish).await.is_err() {
        outputs.iter().for_each(JoinHandle::abort);
    }
    let last_lines = last.lock().map(|mut lines| lines.drain(..).collect()).unwrap_or_default();
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
