//! Signals by their names, and to whom they go.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::Pid;
use crate::sys;
use crate::tree;

/// A signal of this machine: 1 to 64. Written without `SIG`: `TERM`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signal(u8);

impl Signal {
    /// Terminal closed, or "read your configuration again".
    pub const HUP: Self = Self(1);
    /// Ctrl-C.
    pub const INT: Self = Self(2);
    /// Ctrl-\\; several servers take it for "end gracefully".
    pub const QUIT: Self = Self(3);
    /// The end that cannot be refused.
    pub const KILL: Self = Self(9);
    /// The application's own.
    pub const USR1: Self = Self(10);
    /// The application's own.
    pub const USR2: Self = Self(12);
    /// Writing to a closed pipe.
    pub const PIPE: Self = Self(13);
    /// Please end.
    pub const TERM: Self = Self(15);
    /// A child ended.
    pub const CHLD: Self = Self(17);
    /// Go on after a stop.
    pub const CONT: Self = Self(18);
    /// The stop that cannot be refused.
    pub const STOP: Self = Self(19);
    /// The terminal's size changed; some servers take it for "end your workers gracefully".
    pub const WINCH: Self = Self(28);

    /// `None` unless `number` is 1 to 64.
    pub fn new(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=NAMES.len()).contains(&usize::from(*n))).map(Self)
    }

    /// The kernel's number for it.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// Its name without `SIG`: `TERM`, `RTMIN+3`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0) - 1]
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a signal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no signal is called {name:?}; write TERM, INT, HUP, QUIT, USR1, USR2, WINCH or another of `kill -l`")]
pub struct UnknownSignal {
    name: String,
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// Takes `TERM` and `SIGTERM`, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        NAMES
            .iter()
            .position(|known| *known == name && !known.starts_with(|c: char| c.is_ascii_digit()))
            .and_then(|index| i32::try_from(index + 1).ok())
            .and_then(Self::new)
            .ok_or_else(|| UnknownSignal { name: text.to_owned() })
    }
}

/// Sends `signal` to one process. `NotFound`-like failure (ESRCH) when it is gone, `PermissionDenied` when it is
/// somebody else's.
pub fn send(pid: Pid, signal: Signal) -> io::Result<()> {
    sys::kill(pid.get(), signal)
}

/// Whether the process exists and has not ended: one that ended and was not waited for yet counts as ended.
pub fn is_alive(pid: Pid) -> bool {
    matches!(tree::state(pid), Some(state) if state != tree::State::Ended)
}

/// Does this process ignore the signal? Whoever starts one with `nohup` wants it to go on without a terminal.
pub fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default();
    mask & (1 << (signal.0 - 1)) != 0
}

/// Waits until the process has ended, at most `limit`; true when it has. Needs no relation to the process; one that
/// does not exist has ended.
pub fn wait_for_end(pid: Pid, limit: Duration) -> bool {
    sys::wait_for_end(pid, limit)
}

/// Linux's numbering on every architecture Rust's tier 1 and 2 cover except MIPS and SPARC; index 0 is signal 1.
/// 32 and 33 belong to the C library.
const NAMES: [&str; 64] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS", "32", "33", "RTMIN", "RTMIN+1", "RTMIN+2", "RTMIN+3", "RTMIN+4", "RTMIN+5", "RTMIN+6", "RTMIN+7",
    "RTMIN+8", "RTMIN+9", "RTMIN+10", "RTMIN+11", "RTMIN+12", "RTMIN+13", "RTMIN+14", "RTMIN+15", "RTMIN+16",
    "RTMIN+17", "RTMIN+18", "RTMIN+19", "RTMIN+20", "RTMIN+21", "RTMIN+22", "RTMIN+23", "RTMIN+24", "RTMIN+25",
    "RTMIN+26", "RTMIN+27", "RTMIN+28", "RTMIN+29", "RTMAX",
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The runtime of every Rust program ignores PIPE (std's documentation of `main`).
    #[test]
    fn what_is_ignored_is_known() {
        assert!(is_ignored(Signal::PIPE) && !is_ignored(Signal::TERM));
    }

    #[test]
    fn names_are_the_machines_own() {
        for (name, number) in [
            ("HUP", libc::SIGHUP),
            ("ABRT", libc::SIGABRT),
            ("KILL", libc::SIGKILL),
            ("SEGV", libc::SIGSEGV),
            ("TERM", libc::SIGTERM),
            ("CHLD", libc::SIGCHLD),
            ("URG", libc::SIGURG),
            ("WINCH", libc::SIGWINCH),
            ("SYS", libc::SIGSYS),
            ("RTMIN", libc::SIGRTMIN()),
            ("RTMIN+3", libc::SIGRTMIN() + 3),
            ("RTMAX", libc::SIGRTMAX()),
        ] {
            assert_eq!(name.parse::<Signal>().unwrap().number(), number, "{name}");
            assert_eq!(Signal::new(number).unwrap().to_string(), name);
        }
        for constant in [Signal::HUP, Signal::INT, Signal::USR1, Signal::PIPE, Signal::CONT, Signal::STOP] {
            assert_eq!(constant.name().parse(), Ok(constant));
        }
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        assert_eq!("SIGTERM".parse(), Ok(Signal::TERM));
        assert_eq!("sigint".parse(), Ok(Signal::INT));
        for wrong in ["", "SIG", "TERMX", "15", "33", "-9"] {
            assert!(wrong.parse::<Signal>().is_err(), "{wrong:?}");
        }
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(65), None);
    }

    #[test]
    fn alive_until_ended_even_if_nobody_waited() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::new(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(is_alive(pid));
        assert!(!wait_for_end(pid, Duration::ZERO));
        send(pid, Signal::TERM).unwrap();
        assert!(wait_for_end(pid, Duration::from_secs(10)));
        assert!(!is_alive(pid), "a zombie has ended");
        child.wait().unwrap();
        assert!(send(pid, Signal::TERM).is_err());
        assert!(wait_for_end(pid, Duration::ZERO));
    }
}
