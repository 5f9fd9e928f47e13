//! The keeper: one small process per instance, parent of the command and reaper of everything it starts.

mod ending;

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getpgid, setsid};

use self::ending::{Action, Ending, Event};
use crate::command::{ChildStdio, StartError, become_command};
use crate::protocol::{LEFT_BEHIND_MAX, OrderReader};
use crate::sys::{self, Waited};
use crate::{ExitReport, ExitStatus, Order, Pid, ProcessInfo, Report, Signal, StopSpec, tree};

/// What the spawner hands to a new keeper.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// To tambat.
    pub(crate) socket: UnixStream,
    /// What to run, for the command's process to read.
    pub(crate) spec: File,
    pub(crate) stdio: OuterStdio,
    pub(crate) stop: StopSpec,
    pub(crate) linger: Duration,
}

/// The outer world's ends of the command's files.
#[derive(Debug)]
pub(crate) enum OuterStdio {
    Pty(OwnedFd),
    Pipes { stdout: OwnedFd, stderr: OwnedFd },
}

/// The whole life of a keeper, in its own fresh process whose signals are all blocked. Returns its exit code.
pub(crate) fn run(assignment: Assignment) -> u8 {
    detach(&assignment);
    let mut socket = assignment.socket;
    match start(&assignment.spec, assignment.stdio) {
        Ok(started) => {
            // The command has its own; held here, it would stay in memory as long as the keeper.
            drop(assignment.spec);
            Watch::new(socket, started, Ending::new(assignment.stop, assignment.linger)).run().map_or(1, |()| 0)
        }
        Err(error) => {
            // If tambat is gone, nobody needs to know.
            let _ = socket.write_all(&not_started(error).encode());
            0
        }
    }
}

fn not_started(error: StartError) -> Report {
    Report::NotStarted { step: error.step, errno: error.errno }
}

/// Leaves everything of the spawner's behind but the assignment.
fn detach(assignment: &Assignment) {
    let mut keep = vec![0, 1, 2, assignment.socket.as_raw_fd(), assignment.spec.as_raw_fd()];
    match &assignment.stdio {
        OuterStdio::Pty(slave) => keep.push(slave.as_raw_fd()),
        OuterStdio::Pipes { stdout, stderr } => keep.extend([stdout.as_raw_fd(), stderr.as_raw_fd()]),
    }
    sys::close_all_except(&keep);
    // None of these can fail in a fresh child on a kernel that has them at all (3.4).
    let _ = setsid();
    let _ = prctl::set_child_subreaper(true);
    let _ = prctl::set_name(c"tambat-keep");
}

/// A forked command, of which is not known yet whether execve(2) succeeds.
struct Started {
    children: SignalFd,
    command: Pid,
    /// Ends empty when it did, and else with the report.
    outcome: PipeReader,
    /// The end of the command's standard input that is never written to.
    held_open: Option<OwnedFd>,
}

fn start(spec: &File, outer: OuterStdio) -> Result<Started, StartError> {
    let keeper = Pid::own();
    let pipe = || io::pipe().map_err(|e| StartError::new("open a pipe for the command", e));
    let children = watch_children().map_err(|e| StartError::new("watch the command", e))?;
    let (outcome, mut failure) = pipe()?;
    let (stdio, held_open) = match outer {
        OuterStdio::Pty(slave) => (ChildStdio::Pty(slave), None),
        OuterStdio::Pipes { stdout, stderr } => {
            let (theirs, held) = pipe()?;
            (ChildStdio::Pipes { stdin: theirs.into(), stdout, stderr }, Some(OwnedFd::from(held)))
        }
    };
    let command = sys::fork_child(|| {
        let Err(error) = become_command(spec, &stdio, keeper);
        // If the keeper is gone, nobody needs to know.
        let _ = failure.write_all(&not_started(error).encode());
        NOT_STARTED_CODE
    })
    .map_err(|e| StartError::new("fork the command", e))?;
    Ok(Started { children, command, outcome, held_open })
}

/// Seen by nobody: the report goes through the pipe.
const NOT_STARTED_CODE: u8 = 127;

/// The driver: waits, asks [`Ending`] what to do, does it.
struct Watch {
    /// `None` once tambat is gone.
    socket: Option<UnixStream>,
    orders: OrderReader,
    children: SignalFd,
    command: Pid,
    /// `None` once it is known.
    outcome: Option<PipeReader>,
    _held_open: Option<OwnedFd>,
    ending: Ending,
    /// Who was asked to end; a server takes a second TERM for "now".
    told: Vec<Pid>,
    left_behind: Vec<ProcessInfo>,
    over: bool,
}

/// Readable when a child has ended. The signal itself is blocked, as all are.
pub(crate) fn watch_children() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(nix::sys::signal::Signal::SIGCHLD);
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

impl Watch {
    fn new(socket: UnixStream, started: Started, ending: Ending) -> Self {
        Self {
            socket: Some(socket),
            orders: OrderReader::new(),
            children: started.children,
            command: started.command,
            outcome: Some(started.outcome),
            _held_open: started.held_open,
            ending,
            told: Vec::new(),
            left_behind: Vec::new(),
            over: false,
        }
    }

    /// Until the command could not be started, or the end was reported.
    fn run(mut self) -> io::Result<()> {
        while !self.over {
            let limit = self.ending.wake_at().map(|at| at.saturating_duration_since(Instant::now()));
            let files = [
                self.outcome.as_ref().map(AsFd::as_fd),
                Some(self.children.as_fd()),
                self.socket.as_ref().map(AsFd::as_fd),
            ];
            let [outcome, child, socket] = sys::poll_readable(files, limit)?;
            if outcome {
                self.learn_outcome();
            }
            if child && !self.over {
                self.reap()?;
            }
            if socket && !self.over {
                self.read_orders();
            }
            self.on(Event::Time);
        }
        Ok(())
    }

    /// The pipe's other end is in the command's process alone, and closes at execve(2) or when that process ends:
    /// reading to the end takes no longer than the writing of one report.
    fn learn_outcome(&mut self) {
        let Some(mut outcome) = self.outcome.take() else { return };
        let mut report = Vec::new();
        let failed = outcome.read_to_end(&mut report).is_ok() && !report.is_empty();
        drop(outcome);
        if failed {
            self.tell(&report);
            self.over = true;
        } else {
            self.tell(&Report::Started { pid: self.command, keeper: Pid::own() }.encode());
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        // Emptied first: what ends while we look makes it readable again.
        while self.children.read_signal()?.is_some() {}
        loop {
            match sys::wait_any()? {
                Waited::Ended(pid, status) if pid == self.command => {
                    self.learn_outcome();
                    if self.over {
                        return Ok(());
                    }
                    self.on(Event::CommandEnded(status));
                }
                Waited::Ended(..) => self.on(Event::OtherEnded),
                Waited::AllGoOn => return Ok(()),
                Waited::NoChildren => {
                    self.on(Event::TreeEmpty);
                    return Ok(());
                }
            }
        }
    }

    fn read_orders(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let mut buffer = [0; 256];
        // Readable, so this does not block.
        match socket.read(&mut buffer) {
            Ok(0) => self.lose_tambat(),
            Ok(n) => self.orders.push(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_) => self.lose_tambat(),
        }
        while let Some(order) = self.orders.next() {
            match order {
                Ok(Order::Stop(stop)) => self.on(Event::Stop(stop)),
                Ok(Order::Signal(signal)) => self.on(Event::Signal(signal)),
                Ok(Order::Kill) => self.on(Event::Kill),
                Err(_) => self.lose_tambat(),
            }
        }
    }

    fn lose_tambat(&mut self) {
        self.socket = None;
        self.on(Event::Gone);
    }

    fn on(&mut self, event: Event) {
        for action in self.ending.on(event, Instant::now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::StopCommand(signal) => self.stop_command(signal),
            Action::PassOn(signal) => self.signal_group(signal),
            Action::RecordRest => self.left_behind = rest().take(LEFT_BEHIND_MAX).collect(),
            Action::StopRest(signal) => self.stop_rest(signal),
            Action::KillTree => {
                for pid in tree::descendants(Pid::own()) {
                    // Gone meanwhile, or not ours to kill: the next round, or the limit, deals with it.
                    let _ = sys::kill(pid.get(), Signal::KILL);
                }
            }
            Action::Finish { status, killed } => self.finish(status, killed),
        }
    }

    /// Remembers who is in the group, so that nobody is asked twice. A stopped process (Ctrl-Z, SIGSTOP) would not
    /// see the request before it goes on.
    fn stop_command(&mut self, signal: Signal) {
        let group = self.command.get();
        let in_group =
            |pid: &Pid| getpgid(Some(nix::unistd::Pid::from_raw(pid.get()))).is_ok_and(|g| g.as_raw() == group);
        self.told = tree::descendants(Pid::own()).into_iter().filter(in_group).collect();
        self.signal_group(signal);
        self.signal_group(Signal::CONT);
    }

    /// Only while the command has not been waited for, so its number cannot be another's.
    fn signal_group(&self, signal: Signal) {
        let command = self.command.get();
        if sys::kill(-command, signal).is_err() {
            // Not yet a group: its process is still before setsid(2), and gets the signal when it unblocks them.
            let _ = sys::kill(command, signal);
        }
    }

    fn stop_rest(&mut self, signal: Signal) {
        for pid in tree::descendants(Pid::own()) {
            if !self.told.contains(&pid) {
                self.told.push(pid);
                let _ = sys::kill(pid.get(), signal);
                let _ = sys::kill(pid.get(), Signal::CONT);
            }
        }
    }

    fn finish(&mut self, status: ExitStatus, killed: bool) {
        let left_behind = std::mem::take(&mut self.left_behind);
        self.tell(&Report::Exited(ExitReport { status, left_behind, killed }).encode());
        self.over = true;
    }

    /// If tambat is gone, the socket will say so by itself.
    fn tell(&mut self, frame: &[u8]) {
        if let Some(socket) = &mut self.socket {
            let _ = socket.write_all(frame);
        }
    }
}

/// What is alive of the tree.
fn rest() -> impl Iterator<Item = ProcessInfo> {
    tree::descendants(Pid::own())
        .into_iter()
        .filter(|pid| tree::state(*pid) == Some(tree::State::Alive))
        .filter_map(tree::process_info)
}
