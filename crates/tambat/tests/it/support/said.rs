//! What a tambat has written so far, line by line, and waiting for a line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::wait::LIMIT;

/// Everything it has said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
}

/// A line that tambat wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) stream: Stream,
    pub(super) text: String,
}

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Said {
    /// Reads lines from here until their end.
    pub(super) fn listen(self: &Arc<Self>, from: impl Read + Send + 'static, stream: Stream) {
        let said = Arc::clone(self);
        thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut bytes = Vec::new();
            // The end of a terminal is an error.
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
                said.lines.lock().unwrap().push(Line { stream, text });
                said.more.notify_all();
                bytes.clear();
            }
        });
    }

    /// The first line with `part`, of those said so far or from now on, on such a stream.
    pub(super) fn first(&self, part: &str, on: impl Fn(Stream) -> bool) -> String {
        self.wait(&format!("a line with {part:?}"), |lines| {
            lines.iter().find(|line| on(line.stream) && line.text.contains(part)).map(|line| line.text.clone())
        })
    }

    /// Waits until so many lines contain `part`; gives them all.
    pub(super) fn count(&self, part: &str, count: usize) -> Vec<String> {
        self.wait(&format!("{count} lines with {part:?}"), |lines| {
            let found: Vec<String> = lines.iter().filter(|l| l.text.contains(part)).map(|l| l.text.clone()).collect();
            (found.len() >= count).then_some(found)
        })
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&[Line]) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(found) = look(&lines) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {LIMIT:?} for {what}; it said:\n{}", tail(&lines));
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Everything said so far on this stream.
    pub(super) fn all(&self, stream: Stream) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.stream == stream).map(|line| line.text.clone()).collect()
    }

    /// The last lines, for whoever reads why a test failed.
    pub(super) fn tail(&self) -> String {
        // Whoever waited in vain has panicked while holding it.
        tail(&self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The last lines, for whoever reads why a test failed.
fn tail(lines: &[Line]) -> String {
    let last = lines.iter().skip(lines.len().saturating_sub(60));
    let shown: Vec<String> = last.map(|line| format!("{:?} {:.400}", line.stream, line.text)).collect();
    shown.join("\n")
}
