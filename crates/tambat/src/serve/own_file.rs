//! The server's own file while it runs: it is read at the start only, and whoever changes it is told what that means.

use std::path::PathBuf;

use tambat_manifest::{LoadError, ServeFile};
use tokio::time::Instant;

use super::folder::{REST, stamp};
use crate::failure::Failure;

/// The file, where it is, and what it said at the start.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    read: ServeFile,
    /// As it was seen last, and since when.
    seen: (u64, Instant),
    /// It has been judged as it is.
    is_judged: bool,
    /// Something was told of it that may hold no more.
    is_told: bool,
}

impl OwnFile {
    /// This file, which has just been read.
    pub(super) fn new(path: PathBuf, read: ServeFile, now: Instant) -> Self {
        let seen = (stamp([&path]), now);
        Self { path, read, seen, is_judged: true, is_told: false }
    }

    /// Looks at it. Gives what is to be told, once, when it has come to rest in another state; `at_once`: as it is now.
    pub(super) fn look(&mut self, now: Instant, at_once: bool) -> Option<String> {
        let stamp = stamp([&self.path]);
        if stamp != self.seen.0 {
            (self.seen, self.is_judged) = ((stamp, now), false);
        }
        let is_due = !self.is_judged && now.saturating_duration_since(self.seen.1) >= REST;
        if !is_due && !at_once {
            return None;
        }
        self.is_judged = true;
        let told = self.judge(ServeFile::load(&self.path));
        let is_news = told.is_some() || std::mem::take(&mut self.is_told);
        self.is_told |= told.is_some();
        let told = told.unwrap_or_else(|| "is as it was at the start again".to_owned());
        is_news.then(|| format!("{} {told}", self.path.display()))
    }

    fn judge(&self, now: Result<Option<ServeFile>, LoadError>) -> Option<String> {
        let now = match now {
            Ok(now) => now.unwrap_or_default(),
            Err(error) => return Some(format!("is wrong; what was read at the start holds: {}", Failure::from(error))),
        };
        let keys: Vec<String> = self.read.differs(&now).iter().map(|key| format!("`{key}`")).collect();
        (!keys.is_empty()).then(|| {
            let (keys, holds) = (keys.join(", "), if keys.len() == 1 { "holds" } else { "hold" });
            format!("has changed, and is read at the start only: {keys} {holds} when tambat serve is started again")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_is_told_once_when_it_has_come_to_rest_and_to_whoever_asks() {
        let dir = tempfile::tempdir().unwrap();
        let (path, start) = (dir.path().join("serve.toml"), Instant::now());
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let mut file = OwnFile::new(path.clone(), ServeFile::default(), start);
        let mut at = |s: u64, at_once| {
            let told = file.look(start + Duration::from_secs(s), at_once);
            told.map(|told| told.strip_prefix(&path.display().to_string()).unwrap().trim_start().to_owned())
        };
        assert_eq!([at(0, false), at(9, false), at(9, true)], [None, None, None]);
        write("[router]\nworkers = 2\nmetrics = \"127.0.0.1:9100\"\n");
        assert_eq!([at(10, false), at(11, false)], [None, None]);
        let both = "has changed, and is read at the start only: `router.workers`, `router.metrics` hold when tambat serve is \
                    started again";
        assert_eq!([at(12, false), at(13, false), at(14, true)].map(Option::unwrap_or_default), [both, "", both]);
        write("[router]\nworker = 2\n");
        assert!(at(20, true).unwrap().starts_with("is wrong; what was read at the start holds: "));
        write("# Nothing.\n");
        assert_eq!(at(30, false), None);
        assert_eq!(at(32, false).unwrap(), "is as it was at the start again");
        assert_eq!([at(33, false), at(34, true)], [None, None]);
    }
}
