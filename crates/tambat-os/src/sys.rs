//! Every `unsafe` of the workspace, each behind a safe function of a few lines.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::errno::Errno;

use crate::{ExitStatus, Pid, Signal, WinSize};

/// What a child ends with when its code panicked (`EX_SOFTWARE`, sysexits.h).
const PANICKED_CODE: u8 = 70;

/// Forks; the child runs `child` and ends with its code, and never returns into the caller's frames. Refused in a
/// process with more than one thread: the other threads' locks would stay locked in the child for ever.
pub(crate) fn fork_child(child: impl FnOnce() -> u8) -> io::Result<Pid> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("this process has {threads} threads; fork before the first one")));
    }
    // SAFETY: this process has one thread, checked just above, so the child may run any code.
    let raw = Errno::result(unsafe { libc::fork() })?;
    if let Some(pid) = Pid::new(raw) {
        return Ok(pid);
    }
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED_CODE);
    // SAFETY: always sound; ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(i32::from(code)) }
}

/// What waitpid(2) had to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waited {
    /// This child ended, and is gone now.
    Ended(Pid, ExitStatus),
    /// There are children, and all go on.
    AllGoOn,
    /// There is no child at all.
    NoChildren,
}

/// Takes one ended child, without blocking. nix's own wait knows no real-time signals.
pub(crate) fn wait_any() -> io::Result<Waited> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    match Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }) {
        Ok(raw) => match Pid::new(raw) {
            Some(pid) => Ok(Waited::Ended(pid, exit_status(status))),
            None => Ok(Waited::AllGoOn),
        },
        Err(Errno::ECHILD) => Ok(Waited::NoChildren),
        Err(e) => Err(e.into()),
    }
}

fn exit_status(raw: i32) -> ExitStatus {
    if libc::WIFSIGNALED(raw) {
        Signal::new(libc::WTERMSIG(raw)).map_or(ExitStatus::Signal(Signal::KILL), ExitStatus::Signal)
    } else {
        // An exit code has eight bits (wait(2)).
        ExitStatus::Code(u8::try_from(libc::WEXITSTATUS(raw)).unwrap_or(u8::MAX))
    }
}

/// Takes away the ended child `pid`, if it has ended; without blocking.
pub(crate) fn reap(pid: Pid) {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    unsafe { libc::waitpid(pid.get(), &raw mut status, libc::WNOHANG) };
}

/// kill(2): a positive target is a process, a negative one a process group. nix's own knows no real-time signals.
pub(crate) fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: takes two integers and touches no memory of ours.
    Errno::result(unsafe { libc::kill(target, signal.number()) })?;
    Ok(())
}

/// Gives every signal its default meaning again. Rust's runtime ignores SIGPIPE, and an ignored signal stays
/// ignored through execve(2). Asks the kernel directly: the C library would not touch its own two, which may be
/// ignored as well.
pub(crate) fn reset_signal_actions() {
    // The kernel's struct sigaction (handler, flags, restorer, mask), where zero is SIG_DFL; its sets have 8 bytes.
    let default = [0_u64; 4];
    for number in 1..=libc::SIGRTMAX() {
        let previous = std::ptr::null_mut::<u64>();
        // SAFETY: `default` is as large as what the kernel reads, and outlives the call; no handler is installed.
        // KILL and STOP are refused, which is fine.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), previous, 8_usize) };
    }
}

/// Closes every file of this process but those in `keep`. Only for a fresh fork that never returns to the frames
/// that own the others.
pub(crate) fn close_all_except(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut from = 0;
    for fd in keep {
        if from < fd {
            for_each_fd(from, fd - 1, 0, |fd| {
                // SAFETY: as for the function: nobody in this process uses the file any more.
                unsafe { libc::close(fd) };
            });
        }
        from = fd + 1;
    }
    for_each_fd(from, u32::MAX, 0, |fd| {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    });
}

/// Marks every file from `first` on close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) {
    let flag = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    for_each_fd(first, u32::MAX, flag, |fd| {
        // SAFETY: sets a flag; an fd that is not open is refused.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    });
}

/// `close_range(2)` with `flags`, or, on a kernel before 5.9 (5.11 for the flag), `one` for each open file in range.
fn for_each_fd(first: u32, last: u32, flags: i32, one: impl Fn(RawFd)) {
    // SAFETY: takes integers; what it closes is the caller's responsibility, as documented there.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0 {
        return;
    }
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<u32> =
        listing.flatten().filter_map(|entry| entry.file_name().to_str().and_then(|n| n.parse().ok())).collect();
    for number in numbers {
        if let Ok(fd) = RawFd::try_from(number)
            && (first..=last).contains(&number)
        {
            one(fd);
        }
    }
}

/// Takes ownership of files that came with a message (unix(7), `SCM_RIGHTS`).
pub(crate) fn adopt(received: &[RawFd]) -> Vec<OwnedFd> {
    // SAFETY: the kernel has just opened these for us, and nobody else knows their numbers.
    received.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }).collect()
}

/// Makes `terminal` the controlling terminal of the caller's session, which must have none.
pub(crate) fn take_controlling_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the argument is an integer: 0, do not steal.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })?;
    Ok(())
}

pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> io::Result<WinSize> {
    let mut raw = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `raw` is the type that TIOCGWINSZ writes, and outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut raw) })?;
    Ok(WinSize { rows: raw.ws_row, cols: raw.ws_col })
}

pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: WinSize) -> io::Result<()> {
    let raw = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `raw` is the type that TIOCSWINSZ reads, and outlives the call.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const raw) })?;
    Ok(())
}

/// poll(2) for reading over up to N files, `None` being left out. `limit` `None`: for ever. Says which of them have
/// something (data, an end, or an error); none of them after the limit or a signal.
pub(crate) fn poll_readable<const N: usize>(
    files: [Option<BorrowedFd<'_>>; N],
    limit: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut raw =
        files.map(|file| libc::pollfd { fd: file.map_or(-1, |fd| fd.as_raw_fd()), events: libc::POLLIN, revents: 0 });
    // Rounded up: a limit that has not quite passed must not become a busy loop.
    let milliseconds =
        limit.map_or(-1, |limit| i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    let count = libc::nfds_t::try_from(N).unwrap_or(0);
    // SAFETY: `raw` has N entries and outlives the call.
    match Errno::result(unsafe { libc::poll(raw.as_mut_ptr(), count, milliseconds) }) {
        Ok(_) => Ok(raw.map(|entry| entry.revents != 0)),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(e) => Err(e.into()),
    }
}

/// Waits on a pidfd (`pidfd_open(2)`) until the process has ended, at most `limit`.
pub(crate) fn wait_for_end(pid: Pid, limit: Duration) -> bool {
    // SAFETY: takes integers.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.get(), 0) };
    let Some(raw) = RawFd::try_from(raw).ok().filter(|fd| *fd >= 0) else {
        return Errno::last() == Errno::ESRCH;
    };
    // SAFETY: the kernel has just opened it for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(raw) };
    let began = std::time::Instant::now();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        match poll_readable([Some(std::os::fd::AsFd::as_fd(&pidfd))], Some(left)) {
            Ok([true]) => return true,
            Ok([false]) if !left.is_zero() => {}
            Ok([false]) | Err(_) => return false,
        }
    }
}

/// getrandom(2), until all of it is filled.
pub(crate) fn fill_random(mut rest: &mut [u8]) -> io::Result<()> {
    while !rest.is_empty() {
        // SAFETY: `rest` is ours to write to, as long as it says.
        let filled = Errno::result(unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) });
        match filled {
            Ok(count) => rest = &mut rest[usize::try_from(count).unwrap_or(0)..],
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn raw_statuses_are_read_whole() {
        assert_eq!(exit_status(0), ExitStatus::Code(0));
        assert_eq!(exit_status(255 << 8), ExitStatus::Code(255));
        assert_eq!(exit_status(libc::SIGTERM), ExitStatus::Signal(Signal::TERM));
        assert_eq!(exit_status(libc::SIGSEGV | 0x80), ExitStatus::Signal("SEGV".parse().unwrap()), "core dumped");
        assert_eq!(exit_status(libc::SIGRTMIN()), ExitStatus::Signal("RTMIN".parse().unwrap()));
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let refused = fork_child(|| 0).unwrap_err();
        assert!(refused.to_string().contains("threads"), "{refused}");
        drop(release);
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    fn poll_says_which() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (quiet, _held) = std::io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"x").unwrap();
        let files = [Some(quiet.as_fd()), None, Some(reader.as_fd())];
        assert_eq!(poll_readable(files, None).unwrap(), [false, false, true]);
        assert_eq!(poll_readable([Some(quiet.as_fd())], Some(Duration::from_micros(1))).unwrap(), [false]);
    }
}
