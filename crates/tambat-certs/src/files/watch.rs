//! When a pair of files is to be read again.
//!
//! Whoever writes them may rename new ones into place, or write into the old ones, the chain first and the key a second
//! later. So what counts is not that something has changed but that it has come to rest: two looks in a row that see the
//! same. Until then, and when what is there is broken, the certificate that was read last goes on.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::FilePair;

/// What the system says of both files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    chain: Option<Stamp>,
    key: Option<Stamp>,
}

/// Of one of them. A change of the bytes, the mode or the name changes one of these; the second time is that of the inode,
/// which no program can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamps {
    /// Looks, following links: certificates often lie behind one that is switched.
    pub(crate) fn of(pair: &FilePair) -> Self {
        Self { chain: Stamp::of(&pair.chain), key: Stamp::of(&pair.key) }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// One pair that is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    /// As they were when they were read last, for better or worse.
    read: Stamps,
    /// As they were at the last look.
    seen: Stamps,
}

impl Watch {
    /// They are read now, and were like this just before.
    pub(crate) fn new(stamps: Stamps) -> Self {
        Self { read: stamps, seen: stamps }
    }

    /// A look at them: are they to be read now?
    pub(crate) fn on_look(&mut self, stamps: Stamps) -> bool {
        let rests = stamps == self.seen;
        self.seen = stamps;
        let is_due = rests && stamps != self.read;
        if is_due {
            self.read = stamps;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn stamps(chain: u64, key: u64) -> Stamps {
        let stamp = |inode| Stamp { device: 1, inode, bytes: 1, modified_ns: 0, changed_ns: 0 };
        let of = |number| (number > 0).then(|| stamp(number));
        Stamps { chain: of(chain), key: of(key) }
    }

    #[test]
    fn files_are_read_once_they_rest() {
        for (looks, reads) in [
            (&[(1, 1), (1, 1)][..], &[][..]),
            // Renamed into place together.
            (&[(2, 2), (2, 2), (2, 2)], &[1]),
            // The chain first, the key at the next look.
            (&[(2, 1), (2, 2), (2, 2), (2, 2)], &[2]),
            // Removed, and there again.
            (&[(0, 1), (2, 2), (2, 2)], &[2]),
            // Removed for good, which is said once.
            (&[(0, 0), (0, 0), (0, 0)], &[1]),
            // Changed and changed back between two looks.
            (&[(2, 1), (1, 1), (1, 1)], &[]),
            // Written all the time.
            (&[(2, 1), (3, 1), (4, 1), (5, 1), (5, 1)], &[4]),
        ] {
            let mut watch = Watch::new(stamps(1, 1));
            let read: Vec<usize> = looks
                .iter()
                .enumerate()
                .filter(|(_, (c, k))| watch.on_look(stamps(*c, *k)))
                .map(|(at, _)| at)
                .collect();
            assert_eq!(read, reads, "{looks:?}");
        }
    }

    #[test]
    fn every_way_of_writing_changes_the_stamps() {
        let temp = tempfile::tempdir().unwrap();
        let pair = FilePair { chain: temp.path().join("chain"), key: temp.path().join("key") };
        fs::write(&pair.chain, "one").unwrap();
        fs::write(&pair.key, "one").unwrap();
        let mut last = Stamps::of(&pair);
        assert_eq!(Stamps::of(&pair), last);
        let mut has_changed = |what: &str| {
            let now = Stamps::of(&pair);
            assert_ne!(now, last, "{what}");
            last = now;
        };
        fs::write(&pair.key, "longer").unwrap();
        has_changed("written in place");
        fs::write(temp.path().join("new"), "longer").unwrap();
        fs::rename(temp.path().join("new"), &pair.chain).unwrap();
        has_changed("renamed into place");
        fs::remove_file(&pair.key).unwrap();
        has_changed("removed");
        fs::write(temp.path().join("elsewhere"), "x").unwrap();
        std::os::unix::fs::symlink(temp.path().join("elsewhere"), &pair.key).unwrap();
        has_changed("a link");
        fs::write(temp.path().join("elsewhere"), "xx").unwrap();
        has_changed("behind a link");
    }
}
