//! Where every line goes: the ring on disk, those who follow, the screen.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tambat_api::LogRecord;
use tambat_model::InstancePort;
use tambat_supervisor::{OutputLine, Stream, Told};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::logstore::LogStore;
use super::screen::{FLUSH_LIMIT, Screen};
use super::terminal::Look;

/// So many lines a follower may lag behind before it misses some, and is told so.
const FOLLOWER_LINES_MAX: usize = 4096;

/// Lets the daemon's other parts say something.
#[derive(Debug, Clone)]
pub(crate) struct Sayer {
    records: mpsc::UnboundedSender<LogRecord>,
    followers: broadcast::Sender<Arc<LogRecord>>,
}

impl Sayer {
    /// tambat itself says something.
    pub(crate) fn say(&self, text: impl Into<String>) {
        self.record("tambat", "system", text.into());
    }

    /// A line of the build.
    pub(crate) fn build(&self, text: String) {
        self.record("build", "out", text);
    }

    /// Every line from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<LogRecord>> {
        self.followers.subscribe()
    }

    fn record(&self, source: &str, stream: &str, text: String) {
        // At the very end nobody reads any more.
        let _ = self.records.send(record(source.to_owned(), stream, text));
    }
}

/// What the journal reads.
pub(crate) struct Inlets {
    /// What instances write.
    pub(crate) lines: mpsc::Receiver<OutputLine>,
    /// What happens to instances.
    pub(crate) news: mpsc::UnboundedReceiver<Told>,
    said: mpsc::UnboundedReceiver<LogRecord>,
}

/// The journal at work.
pub(crate) struct Journal {
    task: tokio::task::JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

/// The two ends: one to speak, one for [`Journal::start`].
pub(crate) fn channel(lines: mpsc::Receiver<OutputLine>, news: mpsc::UnboundedReceiver<Told>) -> (Sayer, Inlets) {
    let (records, said) = mpsc::unbounded_channel();
    let (followers, _) = broadcast::channel(FOLLOWER_LINES_MAX);
    (Sayer { records, followers }, Inlets { lines, news, said })
}

/// Where it may be said under which URL people reach an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spot<'a> {
    /// After the news that it is ready.
    Ready,
    /// After a line of its own that names its private port.
    Line {
        /// The line.
        text: &'a str,
        /// The port.
        port: InstancePort,
    },
}

/// What is added there for the instance of this name.
pub(crate) type Annotate = Box<dyn Fn(&str, Spot<'_>) -> Option<String> + Send>;

impl Journal {
    /// Begins to take lines.
    pub(crate) fn start(
        inlets: Inlets,
        sayer: &Sayer,
        (look, screen): (Look, Screen),
        store: Option<LogStore>,
        annotate: Annotate,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (look, followers) = (Arc::new(look), sayer.followers.clone());
        let writer = Writer { screen, look, store, store_failed: false, followers, annotate };
        Self { task: tokio::spawn(writer.run(inlets, stopped)), stop: Some(stop) }
    }

    /// Takes what is still on its way and ends; what a reader that has stopped does not take is left out: false.
    pub(crate) async fn finish(mut self) -> bool {
        drop(self.stop.take());
        let is_taken = matches!(tokio::time::timeout(FLUSH_LIMIT, &mut self.task).await, Ok(Ok(())));
        // What its reader has not taken by now it is not going to take.
        self.task.abort();
        is_taken
    }
}

struct Writer {
    screen: Screen,
    look: Arc<Look>,
    store: Option<LogStore>,
    store_failed: bool,
    followers: broadcast::Sender<Arc<LogRecord>>,
    annotate: Annotate,
}

impl Writer {
    /// News and words come before lines, for a loud process has a line ready at every moment and would leave them
    /// waiting for ever. What an instance wrote before its news is among the lines by then, and is written first.
    async fn run(mut self, mut inlets: Inlets, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                Some(told) = inlets.news.recv() => {
                    self.lines_so_far(&mut inlets.lines).await;
                    self.news(&told).await;
                }
                Some(said) = inlets.said.recv() => {
                    self.lines_so_far(&mut inlets.lines).await;
                    self.write(said, "").await;
                }
                Some(line) = inlets.lines.recv() => self.line(line).await,
                _ = &mut stopped => return,
            }
        }
    }

    /// The lines that are there now, and not those that come meanwhile.
    async fn lines_so_far(&mut self, lines: &mut mpsc::Receiver<OutputLine>) {
        for _ in 0..lines.len() {
            let Ok(line) = lines.try_recv() else { return };
            self.line(line).await;
        }
    }

    async fn line(&mut self, line: OutputLine) {
        let stream = match line.stream {
            Stream::Out => "out",
            Stream::Err => "err",
        };
        let record = record(line.instance.to_string(), stream, line.text);
        let port = line.port.filter(|_| self.look.tty);
        let more = port.and_then(|port| (self.annotate)(&record.source, Spot::Line { text: &record.text, port }));
        self.write(record, &more.unwrap_or_default()).await;
    }

    async fn news(&mut self, told: &Told) {
        let port = match (&told.news, told.port) {
            (tambat_supervisor::News::Started { .. }, Some(port)) => format!(", PORT {port}"),
            _ => String::new(),
        };
        let source = told.instance.to_string();
        let place = match &told.news {
            tambat_supervisor::News::Ready { .. } => (self.annotate)(&source, Spot::Ready).unwrap_or_default(),
            _ => String::new(),
        };
        // Its name stands before the line already.
        let news = told.news.to_string();
        let news = news.strip_prefix(&format!("{source} ")).unwrap_or(&news);
        self.write(record(source, "system", format!("{news}{port}{place}")), "").await;
    }

    /// `more` is for the terminal alone.
    async fn write(&mut self, record: LogRecord, more: &str) {
        if let Some(trouble) = self.keep(&record) {
            self.screen.write(&self.look, trouble).await;
        }
        let mut shown = record.clone();
        shown.text.push_str(more);
        // Without a follower there is nobody to send to.
        let _ = self.followers.send(Arc::new(record));
        self.screen.write(&self.look, shown).await;
    }

    /// Gives what is to be said of it: a full disk is said once; the lines still reach the terminal and those who follow.
    fn keep(&mut self, record: &LogRecord) -> Option<LogRecord> {
        let has_failed = self.store.as_mut()?.append(record);
        let had_failed = std::mem::replace(&mut self.store_failed, has_failed.is_err());
        let error = has_failed.err().filter(|_| !had_failed)?;
        let text = format!("cannot write the log: {error}; `tambat logs` lacks lines until there is room again");
        Some(self::record("tambat".to_owned(), "system", text))
    }
}

fn record(source: String, stream: &str, text: String) -> LogRecord {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LogRecord { at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), source, stream: stream.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tambat_supervisor::News;
    use tokio::time::timeout;

    use super::super::screen::SCREEN_LINES_MAX;
    use super::*;
    use crate::cli::LogFormat;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A loud neighbour has written so many lines at most before others are heard: what waited, once for the news and
    /// once for the word before it.
    const LINES_BEFORE_MAX: usize = 4 * SCREEN_LINES_MAX;

    fn line(instance: &str, text: &str) -> OutputLine {
        let (process, number) = instance.split_once('.').unwrap();
        let number = number.parse::<u16>().unwrap().try_into().unwrap();
        let instance = tambat_model::InstanceName { process: process.parse().unwrap(), number };
        OutputLine { instance, stream: Stream::Out, text: text.to_owned(), port: Some(20_000_u16.try_into().unwrap()) }
    }

    /// A journal without a screen. With every line that it takes there is another at once.
    fn writer(sayer: &Sayer, lines: mpsc::Sender<OutputLine>) -> Writer {
        let look = Look {
            format: LogFormat::Text,
            timestamp: false,
            color_out: false,
            color_err: false,
            tty: true,
            app: None,
            names: Vec::new(),
            width: 0,
        };
        let annotate = Box::new(move |_: &str, _: Spot<'_>| {
            lines.try_send(line("noise.1", "y")).unwrap();
            None
        });
        let followers = sayer.followers.clone();
        Writer { screen: Screen::dark(), look: Arc::new(look), store: None, store_failed: false, followers, annotate }
    }

    #[tokio::test]
    async fn a_loud_neighbour_keeps_nobody_waiting_and_last_lines_come_before_the_news() {
        let (lines, received) = mpsc::channel(SCREEN_LINES_MAX);
        let (news_in, news) = mpsc::unbounded_channel();
        let (sayer, inlets) = channel(received, news);
        let mut follower = sayer.follow();
        for _ in 1..SCREEN_LINES_MAX {
            lines.try_send(line("noise.1", "y")).unwrap();
        }
        lines.try_send(line("web.1", "last words")).unwrap();
        let cause = tambat_model::Cause::from("web.1 exited with code 7");
        news_in.send(Told { instance: line("web.1", "").instance, news: News::Ended(cause), port: None }).unwrap();
        sayer.say("SIGINT: stopping");
        let (_stop, stopped) = oneshot::channel();
        let journal = tokio::spawn(writer(&sayer, lines).run(inlets, stopped));
        let mut heard = Vec::new();
        for _ in 0..LINES_BEFORE_MAX {
            let record = timeout(LIMIT, follower.recv()).await.unwrap().unwrap();
            if record.source != "noise.1" {
                heard.push((record.source.clone(), record.text.clone()));
            }
        }
        journal.abort();
        let heard: Vec<(&str, &str)> = heard.iter().map(|(source, text)| (source.as_str(), text.as_str())).collect();
        let expected = [("web.1", "last words"), ("web.1", "exited with code 7"), ("tambat", "SIGINT: stopping")];
        assert_eq!(heard, expected);
    }

    #[tokio::test]
    async fn a_full_disk_is_said_once_also_where_the_screen_has_no_room_at_that_moment() {
        let dir = tempfile::tempdir().unwrap();
        drop(LogStore::open(dir.path()).unwrap());
        let segment = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::remove_file(&segment).unwrap();
        std::os::unix::fs::symlink("/dev/full", segment).unwrap();
        let (screen, mut shown) = Screen::read_by_a_test();
        let (sayer, _inlets) = channel(mpsc::channel(1).1, mpsc::unbounded_channel().1);
        let store = LogStore::open(dir.path()).ok();
        let mut writer = Writer { screen, store, ..writer(&sayer, mpsc::channel(1).0) };
        let of_web = |text: &str| record("web.1".to_owned(), "out", text.to_owned());
        for _ in 0..SCREEN_LINES_MAX {
            writer.screen.write(&writer.look, of_web("earlier")).await;
        }
        let writing = async {
            writer.write(of_web("one"), "").await;
            writer.write(of_web("two"), "").await;
            drop(writer);
        };
        let reading = async {
            let mut texts = Vec::new();
            while let Some((_, record)) = shown.recv().await {
                texts.push(record.text);
            }
            texts.split_off(SCREEN_LINES_MAX)
        };
        let ((), texts) = tokio::join!(writing, reading);
        let [said, one, two] = &texts[..] else { panic!("{texts:?}") };
        assert!(said.starts_with("cannot write the log: No space left on device"), "{said}");
        assert_eq!([one, two], ["one", "two"]);
    }
}
