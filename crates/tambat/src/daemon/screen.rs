//! Where lines are shown: one thread writes those of all apps to standard output and standard error.
//!
//! A thread of its own, because a reader that has stopped (`tambat start | less`) must slow the app's output down, not the
//! daemon.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tambat_api::LogRecord;
use tokio::sync::mpsc;

use super::terminal::Look;

/// So many lines may wait for the terminal; then whoever writes waits. A line has 64 KiB at most: 2 MiB.
pub(super) const SCREEN_LINES_MAX: usize = 32;

/// It renders a line at a time.
const STACK_BYTES: usize = 128 * 1024;

/// At the end the terminal gets this long to take what is left.
pub(super) const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A line, and how it looks.
type Line = (Arc<Look>, LogRecord);

/// Where lines are shown. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    /// None where there could be no thread, or nothing is to be shown.
    lines: Option<mpsc::Sender<Line>>,
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct ScreenEnd {
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
}

impl Screen {
    /// Begins to show lines.
    pub(crate) fn start() -> (Self, ScreenEnd) {
        let (lines, mut received) = mpsc::channel::<Line>(SCREEN_LINES_MAX);
        let (end, done) = channel();
        let write = move || {
            while let Some((look, record)) = received.blocking_recv() {
                show(&look, &record);
            }
            let _ = end.send(());
        };
        let thread = std::thread::Builder::new().name("terminal".to_owned()).stack_size(STACK_BYTES).spawn(write).ok();
        (Self { lines: thread.is_some().then_some(lines) }, ScreenEnd { thread, done })
    }

    /// One that shows nothing.
    #[cfg(test)]
    pub(super) fn dark() -> Self {
        Self { lines: None }
    }

    /// One whose lines are read here.
    #[cfg(test)]
    pub(super) fn read_by_a_test() -> (Self, mpsc::Receiver<Line>) {
        let (lines, received) = mpsc::channel(SCREEN_LINES_MAX);
        (Self { lines: Some(lines) }, received)
    }

    /// Shows a line, as soon as there is room for it.
    pub(super) async fn write(&self, look: &Arc<Look>, record: LogRecord) {
        if let Some(lines) = &self.lines {
            let _ = lines.send((Arc::clone(look), record)).await;
        }
    }
}

impl ScreenEnd {
    /// Waits until all is written, but not for a reader that has stopped. Every [`Screen`] must have been dropped.
    pub(crate) fn finish(mut self) {
        let written = self.done.recv_timeout(FLUSH_LIMIT).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| written) {
            let _ = thread.join();
        }
    }
}

/// The app's lines are facts, tambat's own are words to people. A terminal that has been closed takes neither, and that
/// is no reason to end: the hang-up signal is.
fn show(look: &Look, record: &LogRecord) {
    let line = look.render(record);
    if record.stream == "system" {
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    } else {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}
