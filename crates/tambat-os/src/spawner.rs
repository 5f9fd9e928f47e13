//! The spawner: forked before any thread exists, it forks the keepers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::command::{CommandSpec, StdioSpec};
use crate::context::cannot;
use crate::frame::{Decoder, Encoder, ProtocolError};
use crate::keeper::{self, Assignment, OuterStdio};
use crate::protocol::{Report, StopSpec};
use crate::sys::{self, Waited};
use crate::{Pid, Signal, pty, rights, tree};

/// tambat's end of the spawner. Dropping it ends the spawner as soon as its last keeper has ended; keepers end by
/// their own sockets.
#[derive(Debug)]
pub struct Spawner {
    /// A sequence of whole messages (`SOCK_SEQPACKET`), so that several threads may ask at once.
    control: OwnedFd,
    pid: Pid,
}

/// tambat's ends of one instance. Dropping `socket` ends the instance.
#[derive(Debug)]
pub struct Keeper {
    /// [`crate::Order`]s out, [`Report`]s in. Nonblocking, close-on-exec.
    pub socket: UnixStream,
    /// What the command writes.
    pub output: ChildOutput,
}

/// Where a command's output comes out. All nonblocking, close-on-exec.
#[derive(Debug)]
pub enum ChildOutput {
    /// The master of its pseudo-terminal: lines end in CR LF, the end of output is EIO. Closing it hangs up the
    /// command's session.
    Pty(OwnedFd),
    /// The reading ends of two pipes.
    Pipes {
        /// Its standard output.
        stdout: OwnedFd,
        /// Its standard error.
        stderr: OwnedFd,
    },
}

/// How long a drop waits for a spawner that has nothing left to do, so that usually nothing is seen of it after
/// tambat has ended.
const FAREWELL_MAX: Duration = Duration::from_millis(200);

/// What a spawner is called in process lists.
const NAME: &std::ffi::CStr = c"tambat-spawn";

/// Is this process a spawner that has not ended? It lives for as long as anything that it started does.
pub fn is_spawner(pid: Pid) -> bool {
    crate::signals::is_alive(pid)
        && crate::process_info(pid).is_some_and(|info| info.name.as_bytes() == NAME.to_bytes())
}

impl Spawner {
    /// Forks the spawner. Must be called before any thread exists (else an error) and before limits are raised, for
    /// every command inherits the spawner's. The spawner lets go of all files, of the terminal and of the current
    /// directory.
    pub fn fork() -> io::Result<Self> {
        let what = "fork the spawner";
        let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|e| cannot(what, e))?;
        let null =
            OpenOptions::new().read(true).write(true).open("/dev/null").map_err(|e| cannot("open /dev/null", e))?;
        // From its first instruction on, no Ctrl-C ends it.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|e| cannot("block signals", e))?;
        let forked = sys::fork_child(|| serve(theirs, &null));
        mask.thread_set_mask().map_err(|e| cannot("unblock signals", e))?;
        Ok(Self { control, pid: forked.map_err(|e| cannot(what, e))? })
    }

    /// Asks for one instance. Returns at once: success or failure comes as the keeper's first [`Report`]. An error
    /// here means that nothing was asked: the specification cannot be (`InvalidInput`), this process has no files
    /// left, or the spawner is gone. A socket that closes without any report means that the spawner itself could
    /// not take it on.
    pub fn spawn(&self, spec: &CommandSpec) -> io::Result<Keeper> {
        let image = image_file(&spec.encode()?).map_err(|e| cannot("keep what to run in memory", e))?;
        let (socket, theirs) = UnixStream::pair().map_err(|e| cannot("open a socket to a keeper", e))?;
        socket.set_nonblocking(true)?;
        let (output, outer) = open_stdio(spec.stdio)?;
        let mut files = vec![theirs.as_raw_fd(), image.as_raw_fd()];
        let kind = match &outer {
            OuterStdio::Pty(slave) => {
                files.push(slave.as_raw_fd());
                PTY
            }
            OuterStdio::Pipes { stdout, stderr } => {
                files.extend([stdout.as_raw_fd(), stderr.as_raw_fd()]);
                PIPES
            }
        };
        let message = spec.stop.encode(Encoder::new().u8(kind)).duration(spec.linger).finish();
        rights::send(self.control.as_fd(), &message, &files).map_err(|e| match e {
            Errno::EPIPE | Errno::ECONNRESET => cannot(format!("ask the spawner (pid {}): it is gone", self.pid), e),
            e => cannot("ask the spawner", e),
        })?;
        Ok(Keeper { socket, output })
    }

    /// The spawner's own process.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // It reads the end of the stream and leaves; if it is gone already, so much the better.
        let _ = shutdown(self.control.as_raw_fd(), Shutdown::Both);
        if sys::wait_for_end(self.pid, FAREWELL_MAX) {
            sys::reap(self.pid);
        }
    }
}

const PTY: u8 = 1;
const PIPES: u8 = 2;

/// Kind, signal, grace and lingering in their frame are 25 bytes.
const MESSAGE_BYTES_MAX: usize = 32;

/// The specification in a file without a name: it may be megabytes, and only the command's own process reads it.
fn image_file(image: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("tambat-spec", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(image)?;
    Ok(file)
}

fn open_stdio(stdio: StdioSpec) -> io::Result<(ChildOutput, OuterStdio)> {
    match stdio {
        StdioSpec::Pty(size) => {
            let (master, slave) = pty::open(size)?;
            Ok((ChildOutput::Pty(master), OuterStdio::Pty(slave)))
        }
        StdioSpec::Pipes => {
            let ((stdout, their_stdout), (stderr, their_stderr)) = (output_pipe()?, output_pipe()?);
            Ok((
                ChildOutput::Pipes { stdout, stderr },
                OuterStdio::Pipes { stdout: their_stdout, stderr: their_stderr },
            ))
        }
    }
}

/// Nonblocking at our end only: few programs know what to do about EAGAIN on their standard output.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let what = "open a pipe for a command's output";
    let (reader, writer) = io::pipe().map_err(|e| cannot(what, e))?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| cannot(what, e))?;
    Ok((reader.into(), writer.into()))
}

/// The whole life of the spawner, in its own process. Returns its exit code.
fn serve(control: OwnedFd, null: &File) -> u8 {
    sys::close_all_except(&[control.as_raw_fd(), null.as_raw_fd()]);
    // None of these can fail in a fresh child; and there is nobody to tell.
    let _ = dup2_stdin(null).and_then(|()| dup2_stdout(null)).and_then(|()| dup2_stderr(null));
    let _ = setsid();
    let _ = chdir("/");
    // Where SIGCHLD is ignored, children end without a word. Keepers inherit this.
    sys::reset_signal_actions();
    let _ = prctl::set_child_subreaper(true);
    let _ = prctl::set_name(NAME);
    match Service::new(control).and_then(Service::run) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Between two rounds of KILL against processes whose keeper was killed.
const KILL_ROUND: Duration = Duration::from_millis(20);

/// What is not gone after this cannot be killed by us: another user's, or stuck in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(10);

struct Service {
    /// `None` once tambat is gone.
    control: Option<OwnedFd>,
    children: SignalFd,
    keepers: Vec<Pid>,
    /// Until when strangers are hunted; `None`: there is none.
    hunt_until: Option<Instant>,
}

impl Service {
    fn new(control: OwnedFd) -> io::Result<Self> {
        Ok(Self { control: Some(control), children: keeper::watch_children()?, keepers: Vec::new(), hunt_until: None })
    }

    fn run(mut self) -> io::Result<()> {
        while self.control.is_some() || !self.keepers.is_empty() || self.hunting() {
            let limit = self.hunting().then_some(KILL_ROUND);
            let files = [Some(self.children.as_fd()), self.control.as_ref().map(AsFd::as_fd)];
            let [child, request] = sys::poll_readable(files, limit)?;
            if child {
                self.reap()?;
            }
            if child || self.hunting() {
                self.kill_strangers();
            }
            if request {
                self.take_request();
            }
        }
        Ok(())
    }

    fn hunting(&self) -> bool {
        self.hunt_until.is_some_and(|until| Instant::now() < until)
    }

    fn reap(&mut self) -> io::Result<()> {
        // Emptied first: what ends while we look makes it readable again.
        while self.children.read_signal()?.is_some() {}
        while let Waited::Ended(pid, _) = sys::wait_any()? {
            self.keepers.retain(|keeper| *keeper != pid);
        }
        Ok(())
    }

    /// A child that is no keeper was orphaned by a keeper that somebody killed. Only children: what is below them
    /// comes up when they end, and what is below a keeper is the keeper's.
    fn kill_strangers(&mut self) {
        let mut children = tree::children(Pid::own());
        children.retain(|pid| !self.keepers.contains(pid));
        for stranger in &children {
            // Gone meanwhile, or not ours to kill: the next round, or the limit, deals with it.
            let _ = sys::kill(stranger.get(), Signal::KILL);
        }
        self.hunt_until =
            if children.is_empty() { None } else { self.hunt_until.or_else(|| Some(Instant::now() + KILL_LIMIT)) };
    }

    fn take_request(&mut self) {
        let Some(control) = &self.control else { return };
        match receive(control) {
            Ok(Some(assignment)) => self.fork_keeper(assignment),
            // Of a bad message, the dropped files tell tambat: the keeper's socket closes without a report.
            Err(Errno::EINTR | Errno::EAGAIN | Errno::EBADMSG) => {}
            Ok(None) | Err(_) => self.control = None,
        }
    }

    fn fork_keeper(&mut self, assignment: Assignment) {
        let Ok(mut socket) = assignment.socket.try_clone() else { return };
        match sys::fork_child(|| keeper::run(assignment)) {
            Ok(pid) => self.keepers.push(pid),
            Err(e) => {
                let step = "fork a keeper".to_owned();
                let report = Report::NotStarted { step, errno: e.raw_os_error().unwrap_or(libc::EIO) };
                // If tambat is gone, nobody needs to know.
                let _ = socket.write_all(&report.encode());
            }
        }
    }
}

/// The next request; `None` at the end of the stream, EBADMSG for one that is none.
fn receive(control: &OwnedFd) -> nix::Result<Option<Assignment>> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let (length, files) = rights::receive(control.as_fd(), &mut bytes)?;
    if length == 0 {
        return Ok(None);
    }
    let content = bytes.get(..length).ok_or(Errno::EBADMSG)?;
    assignment(content, files).map(Some).map_err(|_| Errno::EBADMSG)
}

fn assignment(content: &[u8], files: Vec<OwnedFd>) -> Result<Assignment, ProtocolError> {
    let mut fields = Decoder::of_whole_frame(content)?;
    let kind = fields.u8()?;
    let stop = StopSpec::decode(&mut fields)?;
    let linger = fields.duration()?;
    fields.finish()?;
    let mut files = files.into_iter();
    let mut file = || files.next().ok_or(ProtocolError::Value("number of files"));
    let (socket, spec) = (UnixStream::from(file()?), File::from(file()?));
    let stdio = match kind {
        PTY => OuterStdio::Pty(file()?),
        PIPES => OuterStdio::Pipes { stdout: file()?, stderr: file()? },
        _ => return Err(ProtocolError::Value("kind of standard output")),
    };
    Ok(Assignment { socket, spec, stdio, stop, linger })
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;

    use super::*;

    #[test]
    fn a_request_and_its_files_arrive_together_or_not_at_all() {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let stop = StopSpec { signal: Signal::INT, grace: Duration::from_secs(7) };
        let linger = Duration::from_millis(250);
        let message = stop.encode(Encoder::new().u8(PIPES)).duration(linger).finish();
        let files: Vec<File> = (0..4).map(|_| File::open("/dev/null").unwrap()).collect();
        let numbers: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();

        rights::send(ours.as_fd(), &message, &numbers).unwrap();
        let taken = receive(&theirs).unwrap().expect("a request");
        assert_eq!((taken.stop, taken.linger), (stop, linger));
        assert!(matches!(taken.stdio, OuterStdio::Pipes { .. }));

        for (bytes, count) in [(&message[..], 3), (&message[..message.len() - 1], 4), (&[0; 32], 4)] {
            rights::send(ours.as_fd(), bytes, &numbers[..count]).unwrap();
            assert_eq!(receive(&theirs).unwrap_err(), Errno::EBADMSG);
        }
        drop(ours);
        assert!(receive(&theirs).unwrap().is_none());
    }

    #[test]
    fn a_process_with_threads_gets_no_spawner() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        assert!(Spawner::fork().unwrap_err().to_string().contains("threads"));
        drop(release);
        assert!(thread.join().unwrap().is_err());
    }
}
