//! A stage: the fixture in tambat's place, driven by lines.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tambat_os::{Pid, signals};

pub(crate) const FIXTURE: &str = env!("CARGO_BIN_EXE_tambat-os-fixture");

/// Far beyond what anything here takes, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    tambat: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    marker: String,
}

pub(crate) struct Started {
    pub(crate) command: Pid,
    pub(crate) keeper: Pid,
}

impl Stage {
    /// Starts the fixture as tambat with these words; `{fixture}` stands for its own path.
    pub(crate) fn start(words: &[&str]) -> Self {
        Self::start_by(&[], words)
    }

    /// The same, by another program that takes the fixture and its words as its last arguments.
    pub(crate) fn start_by(launcher: &[&str], words: &[&str]) -> Self {
        let marker = format!("STAGE={}-{:?}", std::process::id(), Instant::now()).replace(' ', "");
        let (name, value) = marker.split_once('=').unwrap();
        let line = [launcher, &[FIXTURE, "tambat"]].concat();
        let mut tambat = Command::new(line[0])
            .args(&line[1..])
            .args(words.iter().map(|word| word.replace("{fixture}", FIXTURE)))
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(tambat.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { tambat, lines, seen: Vec::new(), marker }
    }

    /// Starts a shell script as the instance.
    pub(crate) fn script(options: &[&str], script: &str) -> Self {
        Self::start(&[options, &["--", "sh", "-c", script]].concat())
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.tambat.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The rest of the first line, said before or from now on, that begins so.
    pub(crate) fn hear(&mut self, prefix: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.seen.iter().position(|line| line.starts_with(prefix)) {
                return self.seen.remove(at)[prefix.len()..].to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(e) => panic!("no {prefix:?} ({e}), but {:?}", self.seen),
            }
        }
    }

    pub(crate) fn started(&mut self) -> Started {
        let (command, keeper) = self.hear_pair("started ");
        Started { command: pid(&command), keeper: pid(&keeper) }
    }

    /// Port and process of a fixture that listens.
    pub(crate) fn listening(&mut self) -> (u16, Pid) {
        let (port, process) = self.hear_pair("out: listening ");
        (port.parse().unwrap(), pid(&process))
    }

    pub(crate) fn spawner(&mut self) -> Pid {
        pid(&self.hear("spawner "))
    }

    fn hear_pair(&mut self, prefix: &str) -> (String, String) {
        let rest = self.hear(prefix);
        let (first, second) = rest.split_once(' ').unwrap();
        (first.to_owned(), second.to_owned())
    }

    /// Everything that was said and not heard, until it ended.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.seen.push(line);
        }
        std::mem::take(&mut self.seen)
    }

    pub(crate) fn kill_tambat(&mut self) {
        self.tambat.kill().unwrap();
        self.tambat.wait().unwrap();
    }

    /// tambat itself, its spawner, its keepers and whatever they started have all ended, or do within `limit`.
    pub(crate) fn nothing_left(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let left = self.left();
            let Some(first) = left.first() else { return };
            let wait = deadline.saturating_duration_since(Instant::now());
            let shown: Vec<_> = left.iter().filter_map(|pid| tambat_os::process_info(*pid)).collect();
            assert!(signals::wait_for_end(*first, wait), "still there: {shown:?}");
        }
    }

    /// Who has inherited this stage's mark.
    fn left(&self) -> Vec<Pid> {
        let marked = |pid: &Pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == self.marker.as_bytes())
        };
        let listing = fs::read_dir("/proc").unwrap();
        listing
            .flatten()
            .filter_map(|entry| Pid::new(entry.file_name().to_str()?.parse().ok()?))
            .filter(marked)
            .filter(|pid| signals::is_alive(*pid))
            .collect()
    }
}

impl Drop for Stage {
    /// Whatever a failed test has left ends with it.
    fn drop(&mut self) {
        let _ = self.tambat.kill();
        let _ = self.tambat.wait();
        for pid in self.left() {
            let _ = signals::send(pid, tambat_os::Signal::KILL);
        }
    }
}

pub(crate) fn pid(text: &str) -> Pid {
    Pid::new(text.trim().parse().unwrap()).unwrap()
}
