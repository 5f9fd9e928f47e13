//! The ring of logs on disk: two segments of JSON lines, so that no more than 10 MiB of them are ever kept.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tambat_api::LogRecord;

/// When the current segment has grown to this, it becomes the old one: two of them are the 10 MiB we promise at most.
const SEGMENT_BYTES_MAX: u64 = 5 * 1024 * 1024;

/// The ring, as a writer holds it: there is one, but while two versions of an app run beside each other.
#[derive(Debug)]
pub(crate) struct LogStore {
    dir: PathBuf,
    file: Option<File>,
    written: u64,
    /// The last line has no end: the next one begins with it.
    torn: bool,
}

impl LogStore {
    /// Opens the ring in this folder, and goes on where an earlier run has ended.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut store = Self { dir: dir.to_owned(), file: None, written: 0, torn: false };
        store.file()?;
        Ok(store)
    }

    /// Adds a line. After an error the next line is tried again: a full disk may have room by then.
    pub(crate) fn append(&mut self, record: &LogRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if self.written + line.len() as u64 > SEGMENT_BYTES_MAX {
            self.turn()?;
        }
        self.file()?;
        if self.torn {
            line.insert(0, b'\n');
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        // Of a line that could not be written whole a part may be there.
        self.torn = true;
        file.write_all(&line)?;
        self.torn = false;
        self.written += line.len() as u64;
        Ok(())
    }

    /// The current segment becomes the old one. Somebody may have removed it: then there is none, and the next is begun. Nor
    /// is there anything to do where another version of the app, which writes here as well for a while, has turned it.
    fn turn(&mut self) -> io::Result<()> {
        let inode = |metadata: io::Result<fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
        let own = self.file.as_ref().and_then(|file| inode(file.metadata()));
        (self.file, self.written, self.torn) = (None, 0, false);
        if own.is_some() && own != inode(fs::metadata(current(&self.dir))) {
            return Ok(());
        }
        match fs::rename(current(&self.dir), previous(&self.dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens the current segment, where it is not open.
    fn file(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let path = current(&self.dir);
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
            self.written = file.metadata()?.len();
            self.torn = self.written > 0 && last_byte(&mut file)? != b'\n';
            self.file = Some(file);
        }
        Ok(())
    }
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// What had been written at one moment. What is written afterwards is not in it, nor is anything lost by the ring's
/// turning meanwhile.
#[derive(Debug)]
pub(crate) struct Past {
    /// The segments and how much of them counts, oldest first.
    segments: Vec<io::Take<File>>,
}

impl Past {
    /// This moment. A segment that cannot be read is as none.
    pub(crate) fn open(dir: &Path) -> Self {
        // The newer one first: where the ring turns between the two, it is found twice.
        let mut segments: Vec<(File, fs::Metadata)> = Vec::new();
        for path in [current(dir), previous(dir)] {
            let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
            let Ok((file, metadata)) = opened else { continue };
            if segments.iter().all(|(_, known)| known.ino() != metadata.ino()) {
                segments.insert(0, (file, metadata));
            }
        }
        Self { segments: segments.into_iter().map(|(file, metadata)| file.take(metadata.len())).collect() }
    }

    /// The last lines that `wanted` takes, oldest first. A line torn by a full disk or a kill is passed over.
    pub(crate) fn tail(self, lines: usize, wanted: impl Fn(&LogRecord) -> bool) -> Vec<LogRecord> {
        let mut last = VecDeque::with_capacity(lines.min(1024));
        for segment in self.segments {
            for line in BufReader::new(segment).split(b'\n').map_while(Result::ok) {
                let Ok(record) = serde_json::from_slice::<LogRecord>(&line) else { continue };
                if wanted(&record) {
                    if last.len() == lines {
                        last.pop_front();
                    }
                    if lines > 0 {
                        last.push_back(record);
                    }
                }
            }
        }
        last.into()
    }
}

fn current(dir: &Path) -> PathBuf {
    dir.join("log.jsonl")
}

fn previous(dir: &Path) -> PathBuf {
    dir.join("log.old.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> LogRecord {
        LogRecord { at_ms: 1, source: "web.1".into(), stream: "out".into(), text: text.into() }
    }

    fn texts(dir: &Path) -> Vec<String> {
        Past::open(dir).tail(9, |_| true).into_iter().map(|record| record.text).collect()
    }

    #[test]
    fn a_start_goes_on_where_the_last_run_ended_however_that_ended() {
        let temp = tempfile::tempdir().unwrap();
        for text in ["a", "b", "c"] {
            LogStore::open(temp.path()).unwrap().append(&record(text)).unwrap();
        }
        assert_eq!(texts(temp.path()), ["a", "b", "c"]);
        let mut file = OpenOptions::new().append(true).open(current(temp.path())).unwrap();
        file.write_all(b"{\"at_ms\":1,\"sou").unwrap();
        LogStore::open(temp.path()).unwrap().append(&record("d")).unwrap();
        assert_eq!(texts(temp.path()), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_segment_that_somebody_removed_is_begun_anew() {
        let temp = tempfile::tempdir().unwrap();
        let mut store = LogStore::open(temp.path()).unwrap();
        let long = "x".repeat(1024 * 1024);
        store.append(&record(&long)).unwrap();
        fs::remove_file(current(temp.path())).unwrap();
        for _ in 0..4 {
            store.append(&record(&long)).unwrap();
        }
        store.append(&record("after it")).unwrap();
        assert_eq!(texts(temp.path()).last().unwrap(), "after it");
        fs::remove_file(current(temp.path())).unwrap();
        assert_eq!(LogStore::open(temp.path()).unwrap().written, 0);
    }

    /// Two versions of an app may run beside each other for a while.
    #[test]
    fn of_two_writers_neither_takes_what_the_other_wrote() {
        let temp = tempfile::tempdir().unwrap();
        let [mut one, mut two] = [(); 2].map(|()| LogStore::open(temp.path()).unwrap());
        let long = "x".repeat(1024 * 1024);
        for _ in 0..4 {
            two.append(&record(&long)).unwrap();
            one.append(&record(&long)).unwrap();
        }
        // Both think that the segment is full: the second to do so sees that it is another one already.
        one.append(&record(&long)).unwrap();
        one.append(&record("of one")).unwrap();
        two.append(&record(&long)).unwrap();
        two.append(&record("of two")).unwrap();
        let kept = Past::open(temp.path()).tail(20, |_| true);
        assert_eq!(kept.iter().filter(|record| record.text == long).count(), 10);
        assert_eq!(kept.iter().filter(|record| record.text.starts_with("of ")).count(), 2);
    }

    #[test]
    fn the_past_is_one_moment() {
        let temp = tempfile::tempdir().unwrap();
        let mut store = LogStore::open(temp.path()).unwrap();
        store.append(&record("a")).unwrap();
        store.turn().unwrap();
        store.append(&record("b")).unwrap();
        let past = Past::open(temp.path());
        store.append(&record("too late")).unwrap();
        store.turn().unwrap();
        store.append(&record("too late, too")).unwrap();
        let texts: Vec<String> = past.tail(9, |_| true).into_iter().map(|record| record.text).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn the_ring_keeps_the_last_lines_and_no_more_than_its_size() {
        let temp = tempfile::tempdir().unwrap();
        let mut store = LogStore::open(temp.path()).unwrap();
        let long = "x".repeat(64 * 1024);
        for nth in 0..400 {
            store.append(&record(&format!("{nth} {long}"))).unwrap();
        }
        let size: u64 = fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= 2 * SEGMENT_BYTES_MAX, "{size}");
        let last = Past::open(temp.path()).tail(2, |_| true);
        assert!(last[0].text.starts_with("398 ") && last[1].text.starts_with("399 "));
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        let temp = tempfile::tempdir().unwrap();
        let mut store = LogStore::open(temp.path()).unwrap();
        store.append(&record("a")).unwrap();
        store.file.as_mut().unwrap().write_all(b"{\"at_ms\":\n").unwrap();
        store.append(&record("b")).unwrap();
        assert_eq!(texts(temp.path()), ["a", "b"]);
        assert_eq!(Past::open(temp.path()).tail(0, |_| true).len(), 0);
    }
}
