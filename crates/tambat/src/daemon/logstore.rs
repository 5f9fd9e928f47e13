//! The ring of logs on disk: two segments of JSON lines, so that no more than 10 MiB of them are ever kept.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tambat_api::LogRecord;

/// When the current segment has grown to this, it becomes the old one: two of them are the 10 MiB we promise at most.
const SEGMENT_BYTES_MAX: u64 = 5 * 1024 * 1024;

/// The ring, as its one writer holds it.
#[derive(Debug)]
pub(crate) struct LogStore {
    dir: PathBuf,
    file: Option<File>,
    written: u64,
}

impl LogStore {
    /// Opens the ring in this folder; what an earlier run wrote becomes the old segment.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut store = Self { dir: dir.to_owned(), file: None, written: 0 };
        if current(dir).exists() {
            store.turn()?;
        } else {
            store.file = Some(create(&current(dir))?);
        }
        Ok(store)
    }

    /// Adds a line. After an error the next line is tried again: a full disk may have room by then.
    pub(crate) fn append(&mut self, record: &LogRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if self.written + line.len() as u64 > SEGMENT_BYTES_MAX {
            self.turn()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(create(&current(&self.dir))?),
        };
        file.write_all(&line)?;
        self.written += line.len() as u64;
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.file = None;
        fs::rename(current(&self.dir), previous(&self.dir))?;
        self.file = Some(create(&current(&self.dir))?);
        self.written = 0;
        Ok(())
    }
}

/// The last lines of the ring in this folder that `wanted` takes, oldest first. A line torn by a full disk or a kill is
/// passed over.
pub(crate) fn tail(dir: &Path, lines: usize, wanted: impl Fn(&LogRecord) -> bool) -> Vec<LogRecord> {
    let mut last = VecDeque::with_capacity(lines.min(1024));
    for file in [previous(dir), current(dir)].iter().filter_map(|path| File::open(path).ok()) {
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
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

fn current(dir: &Path) -> PathBuf {
    dir.join("log.jsonl")
}

fn previous(dir: &Path) -> PathBuf {
    dir.join("log.old.jsonl")
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> LogRecord {
        LogRecord { at_ms: 1, source: "web.1".into(), stream: "out".into(), text: text.into() }
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
        let last = tail(temp.path(), 2, |_| true);
        assert!(last[0].text.starts_with("398 ") && last[1].text.starts_with("399 "));
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        let temp = tempfile::tempdir().unwrap();
        let mut store = LogStore::open(temp.path()).unwrap();
        store.append(&record("a")).unwrap();
        store.file.as_mut().unwrap().write_all(b"{\"at_ms\":\n").unwrap();
        store.append(&record("b")).unwrap();
        let texts: Vec<String> = tail(temp.path(), 9, |_| true).into_iter().map(|r| r.text).collect();
        assert_eq!(texts, ["a", "b"]);
        assert_eq!(tail(temp.path(), 0, |_| true).len(), 0);
    }
}
