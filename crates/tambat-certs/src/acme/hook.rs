//! The command that sets and removes TXT records, for DNS-01 (RFC 8555 §8.4).

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

/// A provider of DNS may take a minute until its servers show a record, and the hook returns when they do.
pub(crate) const HOOK_WITHIN: Duration = Duration::from_mins(3);

/// What the hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// The record is to be seen when the hook ends.
    Present,
    /// It is to be gone, some time.
    Cleanup,
}

/// The hook.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    line: String,
    within: Duration,
}

impl Hook {
    pub(crate) fn new(line: &str) -> Self {
        Self { line: line.to_owned(), within: HOOK_WITHIN }
    }

    /// Runs it with the verb, the record's name and its value. Its errors go where ours go; what it prints is nobody's. The
    /// sentence of an error holds neither: a hook's output may show passwords.
    ///
    /// When it is dropped, or takes too long, the hook and what it has started are killed.
    pub(crate) async fn run(&self, verb: Verb, name: &str, value: &str) -> Result<(), String> {
        let verb = match verb {
            Verb::Present => "present",
            Verb::Cleanup => "cleanup",
        };
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("{} \"$@\"", self.line)).args(["dns_hook", verb, name, value]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        let cannot = |why: String| format!("cannot {verb} the record {name}: {why}; run the hook by hand to see why");
        let mut child = command.spawn().map_err(|e| cannot(format!("the hook did not start: {e}")))?;
        let mut group = Group(child.id());
        let ended = tokio::time::timeout(self.within, child.wait()).await;
        match ended {
            Err(_) => Err(cannot(format!("the hook took longer than {} s", self.within.as_secs()))),
            Ok(Err(e)) => Err(cannot(format!("the hook can't be waited for: {e}"))),
            Ok(Ok(status)) => {
                // What it has left running is its own matter; its process group may be another's by now.
                group.0 = None;
                if status.success() { Ok(()) } else { Err(cannot(said(status))) }
            }
        }
    }
}

fn said(status: ExitStatus) -> String {
    match status.code() {
        Some(127) => "the hook was not found (exit code 127)".to_owned(),
        Some(code) => format!("the hook ended with exit code {code}"),
        None => format!("the hook was killed ({status})"),
    }
}

/// A process group that ends with this.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    async fn run(line: &str, within: Duration) -> Result<(), String> {
        let hook = Hook { line: line.to_owned(), within };
        hook.run(Verb::Present, "_acme-challenge.a.example", "secret-value").await
    }

    #[tokio::test]
    async fn it_gets_verb_name_and_value() {
        let temp = tempfile::tempdir().unwrap();
        let said = temp.path().join("said");
        let line = format!("printf '%s\\n' first >'{0}'; printf '%s\\n' >>'{0}'", said.display());
        run(&line, HOOK_WITHIN).await.unwrap();
        assert_eq!(fs::read_to_string(said).unwrap(), "first\npresent\n_acme-challenge.a.example\nsecret-value\n");
    }

    #[tokio::test]
    async fn how_it_failed_is_said_without_the_value() {
        let texts = [
            run("exit 3 #", HOOK_WITHIN).await.unwrap_err(),
            run("/nowhere/hook 2>/dev/null", HOOK_WITHIN).await.unwrap_err(),
            run("kill -9 $$ #", HOOK_WITHIN).await.unwrap_err(),
            run("sleep 60 #", Duration::from_millis(50)).await.unwrap_err(),
        ];
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[tokio::test]
    async fn what_it_started_does_not_outlive_its_time() {
        let temp = tempfile::tempdir().unwrap();
        let (pipe, begun) = (temp.path().join("pipe"), Instant::now());
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // The grandchild holds the pipe open: reading ends when it has ended.
        let line = format!("(sleep 60; true) >'{}' & wait #", pipe.display());
        let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
        assert!(run(&line, Duration::from_millis(200)).await.is_err());
        assert_eq!(reader.join().unwrap(), b"");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
