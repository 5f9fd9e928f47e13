//! The access log: each worker writes its lines into a buffer of its own, which goes to the log's one writer when it is
//! full or a moment has passed. A slow disk never holds a request up: what the writer cannot keep up with is counted
//! and thrown away.

mod line;

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

pub use line::{AccessFormat, EndedBy};
pub(crate) use line::{How, Record, StreamRecord, write, write_stream};

/// A buffer of so much goes to the writer.
const BUFFER_BYTES: usize = 32 * 1024;

/// So long a line waits for others at most.
const FLUSH_AFTER_MS: u64 = 250;

/// So many buffers wait for the writer: 2 MiB.
const BUFFERS_MAX: usize = 64;

/// The access log of a router: what workers hand their lines to. Its writing thread ends when the last copy of this is
/// gone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: AccessFormat,
    writer: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

/// What the writer is told.
#[derive(Debug)]
enum Order {
    /// Write these lines.
    Write(Vec<u8>),
    /// Say when everything before this is written.
    Sync(SyncSender<()>),
}

impl AccessLog {
    /// A log that is written to `sink` by a thread of its own. An error of the sink (a full disk) loses the lines at
    /// hand, and is told to `trouble` when it begins and when it is over: requests go on.
    ///
    /// # Errors
    ///
    /// When the thread cannot be made.
    pub fn start(
        format: AccessFormat,
        sink: impl Write + Send + 'static,
        trouble: impl FnMut(String) + Send + 'static,
    ) -> io::Result<Self> {
        let (writer, inbox) = sync_channel(BUFFERS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let log = Self { format, writer, lost: Arc::clone(&lost) };
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&inbox, sink, trouble, &lost))?;
        Ok(log)
    }

    /// Waits until everything that workers have handed over is written, or `limit` has passed.
    pub fn sync(&self, limit: Duration) {
        let (done, is_done) = sync_channel(1);
        // A writer that has so much to do that it takes no order is not waited for.
        if self.writer.try_send(Order::Sync(done)).is_ok() {
            let _ = is_done.recv_timeout(limit);
        }
    }

    /// How many lines have been thrown away because the sink was too slow or failed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn write_all(inbox: &Receiver<Order>, mut sink: impl Write, mut trouble: impl FnMut(String), lost: &AtomicU64) {
    let mut in_trouble = false;
    for order in inbox {
        let buffer = match order {
            Order::Write(buffer) => buffer,
            Order::Sync(done) => {
                // Who asked may have given up.
                let _ = done.try_send(());
                continue;
            }
        };
        match sink.write_all(&buffer).and_then(|()| sink.flush()) {
            Ok(()) if in_trouble => {
                in_trouble = false;
                trouble(format!("the access log goes on; {} lines are lost so far", lost.load(Ordering::Relaxed)));
            }
            Ok(()) => {}
            Err(error) => {
                lost.fetch_add(lines(&buffer), Ordering::Relaxed);
                if !std::mem::replace(&mut in_trouble, true) {
                    trouble(format!("cannot write the access log: {error}; its lines are lost, requests go on"));
                }
            }
        }
    }
}

fn lines(buffer: &[u8]) -> u64 {
    buffer.split(|byte| *byte == b'\n').count().saturating_sub(1) as u64
}

/// A worker's part of the access log.
#[derive(Debug)]
pub(crate) struct AccessBuffer {
    log: AccessLog,
    lines: RefCell<Vec<u8>>,
    /// Is somebody looking after a buffer that is not full?
    watched: Cell<bool>,
    begun: Notify,
}

impl AccessBuffer {
    pub(crate) fn new(log: AccessLog) -> Self {
        Self { log, lines: RefCell::default(), watched: Cell::new(false), begun: Notify::new() }
    }

    /// Writes a request's line.
    pub(crate) fn record(&self, record: &Record<'_>) {
        self.append(|format, lines| write(format, SystemTime::now(), record, lines));
    }

    /// Writes a stream's line.
    pub(crate) fn record_stream(&self, record: &StreamRecord<'_>) {
        self.append(|format, lines| write_stream(format, SystemTime::now(), record, lines));
    }

    fn append(&self, line: impl FnOnce(AccessFormat, &mut Vec<u8>)) {
        let mut lines = self.lines.borrow_mut();
        if lines.capacity() == 0 {
            lines.reserve(BUFFER_BYTES + BUFFER_BYTES / 4);
        }
        line(self.log.format, &mut lines);
        if lines.len() >= BUFFER_BYTES {
            self.hand_over(&mut lines);
        } else if !self.watched.replace(true) {
            self.begun.notify_one();
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        self.hand_over(&mut self.lines.borrow_mut());
    }

    /// Looks after lines that no other line follows. Never ends.
    pub(crate) async fn watch(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(Duration::from_millis(FLUSH_AFTER_MS)).await;
            self.watched.set(false);
            self.flush();
        }
    }

    fn hand_over(&self, lines: &mut Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        let order = Order::Write(std::mem::take(lines));
        if let Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) = self.log.writer.try_send(order)
            && let Order::Write(buffer) = order
        {
            self.log.lost.fetch_add(self::lines(&buffer), Ordering::Relaxed);
        }
    }
}

impl Drop for AccessBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A sink that fails while it is told to.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut inner = self.0.lock().unwrap();
            if inner.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inner.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(asked: &[u8]) -> Record<'_> {
        Record {
            client: [127, 0, 0, 1].into(),
            method: b"GET",
            host: b"a.example",
            asked,
            request_id: b"1",
            traceparent: None,
            route: None,
            target: None,
            status: 200,
            bytes_in: 1,
            bytes_out: 1,
            took: Duration::ZERO,
            first_byte: None,
            ended_by: EndedBy::Target,
            code: None,
            retries: 0,
            tls: None,
            is_http2: false,
        }
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let sink = Sink::default();
        let log = AccessLog::start(AccessFormat::Text, sink.clone(), |said| panic!("{said}")).unwrap();
        let buffer = AccessBuffer::new(log.clone());
        for number in 0..2_000 {
            buffer.record(&record(format!("/{number}").as_bytes()));
        }
        drop(buffer);
        log.sync(Duration::from_secs(10));
        let written = String::from_utf8(std::mem::take(&mut sink.0.lock().unwrap().0)).unwrap();
        assert_eq!(written.lines().count(), 2_000);
        assert!(written.lines().enumerate().all(|(number, line)| line.contains(&format!("a.example/{number} 200"))));
    }

    #[test]
    fn a_sink_that_fails_loses_lines_and_is_told_once() {
        let sink = Sink::default();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let log =
            AccessLog::start(AccessFormat::Text, sink.clone(), move |line| heard.lock().unwrap().push(line)).unwrap();
        let buffer = AccessBuffer::new(log.clone());
        let send = |fails: bool, lost: u64| {
            sink.0.lock().unwrap().1 = fails;
            buffer.record(&record(b"/"));
            let before = sink.0.lock().unwrap().0.len();
            buffer.flush();
            while log.lost() < lost || (!fails && sink.0.lock().unwrap().0.len() == before) {
                std::thread::yield_now();
            }
        };
        send(true, 1);
        send(true, 2);
        send(false, 2);
        log.sync(Duration::from_secs(10));
        assert_eq!(
            *said.lock().unwrap(),
            [
                "cannot write the access log: no storage space; its lines are lost, requests go on",
                "the access log goes on; 2 lines are lost so far"
            ]
        );
    }

    #[tokio::test]
    async fn a_lonely_line_is_written_soon() {
        let sink = Sink::default();
        let log = AccessLog::start(AccessFormat::Text, sink.clone(), drop).unwrap();
        let buffer = Rc::new(AccessBuffer::new(log));
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let watching = tokio::task::spawn_local(Rc::clone(&buffer).watch());
                buffer.record(&record(b"/"));
                let written = async {
                    while sink.0.lock().unwrap().0.is_empty() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(10), written).await.unwrap();
                watching.abort();
            })
            .await;
    }
}
