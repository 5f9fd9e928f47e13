use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, OptionalExtension, params};

use crate::entry::{Entry, NewEntry};

/// The version of the tables, in SQLite's `user_version`. 0 is a new file.
const SCHEMA_VERSION: i64 = 1;

/// How long a write waits for another process on the same file: the old instance during a restart.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);

/// The book: one SQLite file. What [`Store::add`] returned is on the disk.
pub(crate) struct Store {
    connection: Connection,
}

/// Why the book cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "cannot create the database {}: {cause}\nset ENTRIES_DB to a file in a directory that can be written", path.display()
    )]
    Create { path: PathBuf, cause: io::Error },
    #[error("cannot open the database {}: {cause}\nset ENTRIES_DB to another file, or move this one away", path.display())]
    Open { path: PathBuf, cause: rusqlite::Error },
    #[error(
        "cannot use the database {}: its tables are of version {version}, this program knows {SCHEMA_VERSION}\n\
         run the newer guestbook-entries that made it, or set ENTRIES_DB to another file", path.display()
    )]
    Newer { path: PathBuf, version: i64 },
    #[error("cannot use the database: {0}\nsee that its disk has space and can be written")]
    Query(#[from] rusqlite::Error),
}

impl Store {
    /// Opens the book at `path`; creates it, and its directory, for this user alone if it is not there yet.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        create(path).map_err(|cause| StoreError::Create { path: path.to_owned(), cause })?;
        let opened = || {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(BUSY_WAIT_MAX)?;
            // FULL, because NORMAL loses the last commits of a WAL when the machine loses power.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            let version = migrate(&mut connection)?;
            Ok((connection, version))
        };
        let (connection, version) = opened().map_err(|cause| StoreError::Open { path: path.to_owned(), cause })?;
        if version > SCHEMA_VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), version });
        }
        Ok(Self { connection })
    }

    /// Writes an entry, as of `now`, and returns it as the book has it.
    pub(crate) fn add(&self, entry: &NewEntry, now: SystemTime) -> Result<Entry, StoreError> {
        // A clock before 1970 is a broken clock; the entry counts more than its date.
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO entry (name, text, at) VALUES (?1, ?2, ?3)
             RETURNING id, name, text, strftime('%Y-%m-%dT%H:%M:%SZ', at, 'unixepoch')",
        )?;
        // `query_row` would leave the statement after its first row, before it is committed.
        let mut added =
            insert.query_map(params![entry.name(), entry.text(), at], read)?.collect::<Result<Vec<_>, _>>()?;
        added.pop().ok_or(StoreError::Query(rusqlite::Error::QueryReturnedNoRows))
    }

    /// At most `limit` entries, newest first; with `before`, only those older than the entry of that id.
    pub(crate) fn newest(&self, before: Option<i64>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT id, name, text, strftime('%Y-%m-%dT%H:%M:%SZ', at, 'unixepoch')
             FROM entry WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entries = select.query_map(params![before.unwrap_or(i64::MAX), limit], read)?;
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Whether the file can be read now.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.connection.query_row("SELECT id FROM entry LIMIT 1", [], |_| Ok(())).optional()?;
        Ok(())
    }
}

/// The directory 0700 and the file 0600; the files that SQLite puts beside it take over its mode.
fn create(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(())
}

/// Makes the tables of a new file; returns the version of the tables that are there.
fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    // Immediate, so that of two processes that meet a new file one waits for the other.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != 0 {
        return Ok(version);
    }
    transaction.execute_batch(
        "CREATE TABLE entry (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, text TEXT NOT NULL,
                             at INTEGER NOT NULL) STRICT",
    )?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(SCHEMA_VERSION)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { id: row.get(0)?, name: row.get(1)?, text: row.get(2)?, at: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::entry::tests::new_entry;

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_049_607)
    }

    fn add(store: &Store, text: &str) -> Entry {
        store.add(&new_entry("Ayu", text).expect("valid"), noon()).expect("added")
    }

    #[test]
    fn entries_survive_a_new_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data/deep/entries.sqlite");
        let added = add(&Store::open(&path).expect("created"), "Robert'); DROP TABLE entry;--");
        assert_eq!((added.id, added.at.as_str()), (1, "2023-11-15T12:00:07Z"));
        let store = Store::open(&path).expect("opened again");
        assert_eq!(store.newest(None, 10).expect("read"), [added]);
        store.check().expect("fine");
    }

    #[test]
    fn a_commit_is_visible_to_another_process_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("entries.sqlite");
        let (old, new) = (Store::open(&path).expect("created"), Store::open(&path).expect("opened beside it"));
        let added = [add(&old, "by the old instance"), add(&new, "by the new one")];
        for store in [&old, &new] {
            let texts: Vec<_> = store.newest(None, 10).expect("read").into_iter().rev().collect();
            assert_eq!(texts, added);
        }
    }

    #[test]
    fn pages_go_from_new_to_old_without_gap_or_repeat() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("entries.sqlite")).expect("created");
        for n in 1..=7 {
            add(&store, &n.to_string());
        }
        let (mut before, mut seen) = (None, Vec::new());
        loop {
            let page = store.newest(before, 3).expect("read");
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(page.into_iter().map(|entry| entry.text));
        }
        assert_eq!(seen, ["7", "6", "5", "4", "3", "2", "1"]);
        assert_eq!(store.newest(None, 0).expect("read"), []);
    }

    #[test]
    fn the_files_are_for_this_user_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let store = Store::open(&data.join("entries.sqlite")).expect("created");
        add(&store, "x");
        assert_eq!(fs::metadata(&data).expect("there").permissions().mode() & 0o777, 0o700);
        let files: Vec<_> = fs::read_dir(&data).expect("readable").map(|file| file.expect("readable")).collect();
        assert_eq!(files.len(), 3, "the database, its log and its index: {files:?}");
        for file in files {
            assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notes.txt");
        fs::write(&path, "these are my notes, and no database at all").expect("written");
        let error = Store::open(&path).err().expect("refused").to_string();
        assert!(error.contains("notes.txt") && error.contains("ENTRIES_DB"), "{error}");
        assert_eq!(fs::read(&path).expect("readable"), b"these are my notes, and no database at all");

        let newer = directory.path().join("newer.sqlite");
        drop(Store::open(&newer).expect("created"));
        Connection::open(&newer).and_then(|c| c.pragma_update(None, "user_version", 2)).expect("updated");
        assert!(matches!(Store::open(&newer), Err(StoreError::Newer { version: 2, .. })));

        let unwritable = Path::new("/proc/nowhere/entries.sqlite");
        assert!(matches!(Store::open(unwritable), Err(StoreError::Create { .. })));
    }
}
