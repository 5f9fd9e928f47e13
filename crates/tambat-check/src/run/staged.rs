//! One start: its keeper, what it writes, what it opens.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tambat_model::{Protocol, ProxyProtocol, plain};
use tambat_os::{
    ChildOutput, ExitReport, ExitStatus, Keeper, Order, Pid, Report, ReportReader, Signal, StopSpec, signals,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::watch::{Sightings, Watch};
use crate::observed::{End, Program};

/// Of what an app writes, its last lines are kept: enough to see why it ended.
const LINES_MAX: usize = 20;

/// A line that is shown in a sentence is no longer than this.
const LINE_CHARS_MAX: usize = 400;

/// Without a line's end, so much is kept of one.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// One that has shown what was to be seen may take so long to end.
const END_GRACE: Duration = Duration::from_secs(2);

/// What it wrote last is in its pipe when it has ended, and is read within this.
const OUTPUT_END_LIMIT: Duration = Duration::from_millis(300);

/// A port that it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToldPort {
    /// The variable: `PORT`, `PORT_ADMIN`.
    pub(super) var: String,
    pub(super) number: u16,
    /// What is said to be spoken there; none: nothing says.
    pub(super) protocol: Option<Protocol>,
    /// The path whose 2xx says that it is ready.
    pub(super) path: Option<String>,
    /// How it is told where each connection comes from.
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

/// Where a start stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    Starting,
    Running {
        pid: Pid,
        keeper: Pid,
    },
    /// "cannot" and this: why.
    NotStarted(String),
    /// Nothing of it is left; none: its keeper was killed.
    Over(Option<ExitReport>),
}

/// Orders to one start, and where it stands: enough to end it.
#[derive(Debug, Clone)]
pub(super) struct Reins {
    orders: UnboundedSender<Order>,
    life: watch::Receiver<Life>,
}

impl Reins {
    /// Kills what there is, and waits until nothing of it is left.
    pub(super) async fn kill(&mut self) {
        let _ = self.orders.send(Order::Kill);
        let _ = self.life.wait_for(|life| matches!(life, Life::NotStarted(_) | Life::Over(_))).await;
    }
}

/// One start. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) told: Vec<ToldPort>,
    pub(super) began: Instant,
    pub(super) reins: Reins,
    /// Where its own keeper is to be known.
    keepers: Arc<Mutex<Vec<Pid>>>,
    lines: Arc<Mutex<VecDeque<String>>>,
    watch: Option<Watch>,
    ids: Option<(Pid, Pid)>,
    tasks: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl Staged {
    /// Takes over what the spawner gave.
    pub(super) fn begin(keeper: Keeper, told: Vec<ToldPort>, keepers: Arc<Mutex<Vec<Pid>>>) -> io::Result<Self> {
        let (orders, given) = unbounded_channel();
        let (life_in, life) = watch::channel(Life::Starting);
        let socket = UnixStream::from_std(keeper.socket)?;
        let lines = Arc::<Mutex<VecDeque<String>>>::default();
        let outputs = match keeper.output {
            ChildOutput::Pty(master) => vec![master],
            ChildOutput::Pipes { stdout, stderr } => vec![stdout, stderr],
        };
        let read = |fd: OwnedFd| {
            let output = pipe::Receiver::from_owned_fd(fd)?;
            io::Result::Ok(tokio::spawn(read_lines(output, Arc::clone(&lines))))
        };
        let readers = outputs.into_iter().map(read).collect::<io::Result<Vec<_>>>()?;
        let tasks = vec![tokio::spawn(converse(socket, given, life_in))];
        let reins = Reins { orders, life };
        Ok(Self { told, began: Instant::now(), reins, keepers, lines, watch: None, ids: None, tasks, readers })
    }

    /// Waits until the command runs; the cause, when it cannot. From then on its ports are watched.
    pub(super) async fn started(&mut self) -> Result<(), String> {
        let life = self.reins.life.wait_for(|life| *life != Life::Starting).await.map(|life| life.clone());
        match life {
            Ok(Life::Running { pid, keeper }) => {
                self.ids = Some((pid, keeper));
                self.keepers.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
                self.watch = Some(Watch::begin(keeper));
                Ok(())
            }
            Ok(Life::NotStarted(cause)) => Err(cause),
            // It ended so quickly that nobody saw it run.
            Ok(Life::Over(Some(_)) | Life::Starting) => Ok(()),
            Ok(Life::Over(None)) | Err(_) => Err("its keeper was killed".to_owned()),
        }
    }

    /// The command's own process.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.ids.map(|(pid, _)| pid)
    }

    /// Its keeper, below which everything of it is.
    pub(super) fn keeper(&self) -> Option<Pid> {
        self.ids.map(|(_, keeper)| keeper)
    }

    /// The command itself has ended; something of its tree may go on.
    pub(super) fn command_ended(&self) -> bool {
        self.is_over() || self.pid().is_none_or(|pid| !signals::is_alive(pid))
    }

    /// Nothing of it is left.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.reins.life.borrow(), Life::Over(_) | Life::NotStarted(_))
    }

    /// What is alive of it.
    pub(super) fn alive(&self) -> Vec<Pid> {
        let Some(keeper) = self.keeper() else { return Vec::new() };
        tambat_os::descendants(keeper).into_iter().filter(|pid| signals::is_alive(*pid)).collect()
    }

    /// Tells its keeper.
    pub(super) fn order(&self, order: Order) {
        // A keeper that is gone needs no telling.
        let _ = self.reins.orders.send(order);
    }

    /// Waits until nothing of it is left, however it comes to that.
    pub(super) async fn over(&mut self) -> Option<ExitReport> {
        let life = self.reins.life.wait_for(|life| matches!(life, Life::Over(_) | Life::NotStarted(_))).await;
        match life.map(|life| life.clone()) {
            Ok(Life::Over(report)) => report,
            _ => None,
        }
    }

    /// Asks it to end, does not wait for long, and returns when nothing of it is left.
    pub(super) async fn end(&mut self, signal: Signal) {
        if !self.is_over() {
            self.order(Order::Stop(StopSpec { signal, grace: END_GRACE }));
        }
        self.over().await;
    }

    /// Kills what there is of it, and says how the command ended.
    pub(super) async fn kill(&mut self) -> End {
        if !self.is_over() {
            self.order(Order::Kill);
        }
        end_of(self.over().await)
    }

    /// What it wrote last. Once it has ended, all of it has been read.
    pub(super) async fn last_lines(&mut self) -> Vec<String> {
        if self.is_over() {
            for reader in &mut self.readers {
                // Somebody outside its tree may hold its output open.
                let _ = timeout(OUTPUT_END_LIMIT, reader).await;
            }
            self.readers.clear();
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|line| plain(line)).collect()
    }

    /// What it has opened so far.
    pub(super) fn sightings(&self) -> Sightings {
        self.watch.as_ref().map(Watch::sightings).unwrap_or_default()
    }

    /// Looks at what it has open, now.
    pub(super) fn look(&self) {
        if let Some(watch) = &self.watch {
            watch.look();
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.tasks.iter().chain(&self.readers).for_each(JoinHandle::abort);
    }
}

/// A process by its name.
pub(super) fn program(pid: Pid) -> Option<Program> {
    tambat_os::process_info(pid).map(|info| Program { name: info.name, pid: pid.get() })
}

/// How the command ended.
pub(super) fn end_of(report: Option<ExitReport>) -> End {
    match report.map(|report| report.status) {
        Some(ExitStatus::Code(code)) => End::Code(code),
        Some(ExitStatus::Signal(signal)) => End::Signal(signal.name().to_owned()),
        None => End::Unknown,
    }
}

/// Orders out, reports in, until either end is gone.
async fn converse(socket: UnixStream, mut orders: UnboundedReceiver<Order>, life: watch::Sender<Life>) {
    const CHUNK_BYTES: usize = 1024;
    let (mut reports, mut to_keeper) = socket.into_split();
    let mut reader = ReportReader::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                // A keeper that is gone says so below.
                Some(order) => drop(to_keeper.write_all(&order.encode()).await),
                None => return,
            },
            read = reports.read(&mut chunk) => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    reader.push(&chunk[..length]);
                    while let Some(Ok(report)) = reader.next() {
                        life.send_replace(life_after(report));
                    }
                }
            },
        }
    }
    life.send_if_modified(|life| {
        let is_news = !matches!(life, Life::Over(_) | Life::NotStarted(_));
        if is_news {
            *life = Life::Over(None);
        }
        is_news
    });
}

fn life_after(report: Report) -> Life {
    match report {
        Report::Started { pid, keeper } => Life::Running { pid, keeper },
        Report::NotStarted { step, errno } => {
            Life::NotStarted(format!("cannot {step}: {}", io::Error::from_raw_os_error(errno)))
        }
        Report::Exited(report) => Life::Over(Some(report)),
    }
}

async fn read_lines(mut output: pipe::Receiver, lines: Arc<Mutex<VecDeque<String>>>) {
    let mut rest = Vec::new();
    let mut chunk = vec![0; LINE_BYTES_MAX];
    while let Ok(length @ 1..) = output.read(&mut chunk).await {
        rest.extend_from_slice(&chunk[..length]);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            keep(&lines, &rest[..end]);
            rest.drain(..=end);
        }
        if rest.len() > LINE_BYTES_MAX {
            keep(&lines, &rest);
            rest.clear();
        }
    }
    if !rest.is_empty() {
        keep(&lines, &rest);
    }
}

fn keep(lines: &Mutex<VecDeque<String>>, line: &[u8]) {
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() == LINES_MAX {
        lines.pop_front();
    }
    lines.push_back(String::from_utf8_lossy(line).trim_end().chars().take(LINE_CHARS_MAX).collect());
}
