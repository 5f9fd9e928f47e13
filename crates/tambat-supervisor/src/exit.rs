//! How an instance ended.

use tambat_model::{InstanceName, LAST_LINE};

/// How many of the last lines of an instance are told when it ends by itself.
pub(crate) const LAST_LINES: usize = 5;

/// How an instance ended, with everything it had started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its end.
    pub how: How,
    /// What still ran when its command had ended: program and pid. It has been stopped.
    pub left_behind: Vec<(String, i32)>,
    /// Had to be killed because it did not stop within its grace.
    pub killed: bool,
    /// Its last lines of output, oldest first.
    pub last_lines: Vec<String>,
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// With this code.
    Code(u8),
    /// By this signal: its number and its name without `SIG`.
    Signal(u8, String),
    /// Its keeper is gone without a word, killed by somebody: what became of it is unknown, but nothing of it is left.
    Unknown,
}

impl Exit {
    /// As a shell has it: the code, or 128 + the signal's number.
    pub fn code(&self) -> u8 {
        match &self.how {
            How::Code(code) => *code,
            How::Signal(number, _) => number.saturating_add(128),
            How::Unknown => 1,
        }
    }

    /// "exited with code 1", "was ended by SIGKILL".
    pub fn phrase(&self) -> String {
        match &self.how {
            How::Code(code) => format!("exited with code {code}"),
            How::Signal(_, name) => format!("was ended by SIG{name}"),
            How::Unknown => "was ended together with its keeper".to_owned(),
        }
    }

    /// In words: how it ended, and what to do where that is known.
    pub fn explain(&self, name: &InstanceName, was_ready: bool) -> String {
        let before = if was_ready { "" } else { " before it was ready" };
        let mut text = format!("{name} {}{before}", self.phrase());
        if !self.left_behind.is_empty() {
            let left: Vec<String> =
                self.left_behind.iter().map(|(program, pid)| format!("{program}, pid {pid}")).collect();
            text.push_str(&format!(
                " and left {} behind, which has been stopped: it went to the background; keep it in the foreground \
                 (redis-server: --daemonize no, nginx: -g 'daemon off;')",
                left.join("; ")
            ));
        } else if let Some(advice) = self.advice(was_ready) {
            text.push_str("; ");
            text.push_str(advice);
        }
        if let Some(last) =
            self.last_lines.iter().rev().find(|line| !line.trim().is_empty()).filter(|_| self.code() != 0)
        {
            text.push_str(LAST_LINE);
            text.push_str(last.trim());
        }
        text
    }

    fn advice(&self, was_ready: bool) -> Option<&'static str> {
        match &self.how {
            How::Code(127) => {
                Some("127 is the shell's code for a command that was not found: is it installed, is it on PATH?")
            }
            How::Code(126) => Some("126 is the shell's code for a file that may not be executed: chmod +x it"),
            How::Code(0) if !was_ready => Some("a port-bound process stays in the foreground and serves"),
            How::Signal(9, _) => Some("somebody killed it; if nobody did, look for an out-of-memory kill in dmesg"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tambat_model::discreet;

    use super::*;

    fn exit(how: How) -> Exit {
        Exit { how, left_behind: Vec::new(), killed: false, last_lines: Vec::new() }
    }

    fn signal(number: u8, name: &str) -> How {
        How::Signal(number, name.to_owned())
    }

    #[test]
    fn the_code_is_the_shells() {
        let code = |how| exit(how).code();
        assert_eq!((code(How::Code(3)), code(signal(15, "TERM")), code(signal(255, "?"))), (3, 143, 255));
        assert_eq!(code(How::Unknown), 1);
    }

    #[test]
    fn how_it_ended_in_words() {
        let last_lines = || vec!["Traceback".to_owned(), "  KeyError: 'X'  ".to_owned(), " ".to_owned()];
        let left_behind = vec![("redis-server".to_owned(), 8), ("sh".to_owned(), 9)];
        let all = [
            exit(How::Code(0)),
            exit(How::Code(1)),
            exit(How::Code(126)),
            exit(How::Code(127)),
            exit(signal(15, "TERM")),
            exit(signal(9, "KILL")),
            exit(How::Unknown),
            Exit { last_lines: last_lines(), ..exit(How::Code(1)) },
            Exit { last_lines: last_lines(), ..exit(How::Code(127)) },
            Exit { last_lines: last_lines(), ..exit(How::Code(0)) },
            Exit { left_behind: left_behind.clone(), ..exit(How::Code(0)) },
            Exit { left_behind, last_lines: last_lines(), ..exit(How::Code(1)) },
        ];
        let name = InstanceName { process: "web".parse().unwrap(), number: 1.try_into().unwrap() };
        let both = |exit: &Exit| format!("{}\n{}\n", exit.explain(&name, true), exit.explain(&name, false));
        assert!(all.iter().map(|exit| exit.explain(&name, true)).all(|text| !discreet(&text).contains("KeyError")));
        insta::assert_snapshot!(all.iter().map(both).collect::<String>(), @"
        web.1 exited with code 0
        web.1 exited with code 0 before it was ready; a port-bound process stays in the foreground and serves
        web.1 exited with code 1
        web.1 exited with code 1 before it was ready
        web.1 exited with code 126; 126 is the shell's code for a file that may not be executed: chmod +x it
        web.1 exited with code 126 before it was ready; 126 is the shell's code for a file that may not be executed: chmod +x it
        web.1 exited with code 127; 127 is the shell's code for a command that was not found: is it installed, is it on PATH?
        web.1 exited with code 127 before it was ready; 127 is the shell's code for a command that was not found: is it installed, is it on PATH?
        web.1 was ended by SIGTERM
        web.1 was ended by SIGTERM before it was ready
        web.1 was ended by SIGKILL; somebody killed it; if nobody did, look for an out-of-memory kill in dmesg
        web.1 was ended by SIGKILL before it was ready; somebody killed it; if nobody did, look for an out-of-memory kill in dmesg
        web.1 was ended together with its keeper
        web.1 was ended together with its keeper before it was ready
        web.1 exited with code 1; its last line: KeyError: 'X'
        web.1 exited with code 1 before it was ready; its last line: KeyError: 'X'
        web.1 exited with code 127; 127 is the shell's code for a command that was not found: is it installed, is it on PATH?; its last line: KeyError: 'X'
        web.1 exited with code 127 before it was ready; 127 is the shell's code for a command that was not found: is it installed, is it on PATH?; its last line: KeyError: 'X'
        web.1 exited with code 0
        web.1 exited with code 0 before it was ready; a port-bound process stays in the foreground and serves
        web.1 exited with code 0 and left redis-server, pid 8; sh, pid 9 behind, which has been stopped: it went to the background; keep it in the foreground (redis-server: --daemonize no, nginx: -g 'daemon off;')
        web.1 exited with code 0 before it was ready and left redis-server, pid 8; sh, pid 9 behind, which has been stopped: it went to the background; keep it in the foreground (redis-server: --daemonize no, nginx: -g 'daemon off;')
        web.1 exited with code 1 and left redis-server, pid 8; sh, pid 9 behind, which has been stopped: it went to the background; keep it in the foreground (redis-server: --daemonize no, nginx: -g 'daemon off;'); its last line: KeyError: 'X'
        web.1 exited with code 1 before it was ready and left redis-server, pid 8; sh, pid 9 behind, which has been stopped: it went to the background; keep it in the foreground (redis-server: --daemonize no, nginx: -g 'daemon off;'); its last line: KeyError: 'X'
        ");
    }
}
