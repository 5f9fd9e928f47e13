//! All pairs of files that are watched, and what was read last from each.

use std::sync::Arc;
use std::time::SystemTime;

use super::{FileError, FilePair, LifetimeWarning, Stamps, Watch};
use crate::certificate::{Certificate, Lifetime};
use crate::news::News;

/// The pairs, in the order of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    all: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    pair: FilePair,
    watch: Watch,
    certificate: Option<Arc<Certificate>>,
    /// Why what is there now is not what is served.
    error: Option<String>,
    /// What was said of its lifetime last.
    warning: Option<LifetimeWarning>,
}

/// What is known of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// Which files.
    pub pair: FilePair,
    /// The names of the certificate that is served, and its lifetime. None: none could be read yet.
    pub served: Option<(Vec<tambat_model::HostPattern>, Lifetime)>,
    /// Why the files, as they are now, can't be used; then what was read before is served.
    pub error: Option<String>,
    /// What is wrong with the lifetime.
    pub warning: Option<LifetimeWarning>,
}

impl Pairs {
    /// Makes these the ones that are watched. Those that were keep what was read of them, new ones are read at once.
    pub(crate) fn set(&mut self, pairs: Vec<FilePair>, now: SystemTime) -> Vec<News> {
        let mut old = std::mem::take(&mut self.all);
        let mut news = Vec::new();
        for pair in pairs {
            match old.iter().position(|watched| watched.pair == pair) {
                Some(at) => self.all.push(old.swap_remove(at)),
                None => self.all.push(Watched::new(pair, now, &mut news)),
            }
        }
        news
    }

    /// Looks at all of them, and reads those that have changed. What follows has to be told; whether what is served may
    /// have changed is the second value.
    pub(crate) fn look(&mut self, now: SystemTime) -> (Vec<News>, bool) {
        let mut news = Vec::new();
        let mut is_changed = false;
        for watched in &mut self.all {
            if watched.watch.on_look(Stamps::of(&watched.pair)) {
                is_changed |= watched.read(now, true, &mut news);
            }
            is_changed |= watched.judge(now, &mut news);
        }
        (news, is_changed)
    }

    /// What can be served, in order.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.all.iter().filter_map(|watched| watched.certificate.as_ref())
    }

    /// What is known of each.
    pub(crate) fn status(&self) -> Vec<FileStatus> {
        let status = |watched: &Watched| FileStatus {
            pair: watched.pair.clone(),
            served: watched.certificate.as_ref().map(|served| (served.covers().to_vec(), served.lifetime())),
            error: watched.error.clone(),
            warning: watched.warning,
        };
        self.all.iter().map(status).collect()
    }
}

impl Watched {
    fn new(pair: FilePair, now: SystemTime, news: &mut Vec<News>) -> Self {
        let watch = Watch::new(Stamps::of(&pair));
        let mut watched = Self { pair, watch, certificate: None, error: None, warning: None };
        watched.read(now, false, news);
        watched.judge(now, news);
        watched
    }

    /// Reads the files; what is broken changes nothing of what is served. Has that changed?
    fn read(&mut self, now: SystemTime, again: bool, news: &mut Vec<News>) -> bool {
        let read = self.pair.load(now).map(|(certificate, _)| certificate);
        self.take(read, again, news)
    }

    fn take(&mut self, read: Result<Certificate, FileError>, again: bool, news: &mut Vec<News>) -> bool {
        match read {
            Ok(certificate) => {
                if again {
                    let names = certificate.covers().to_vec();
                    news.push(News::FilesRead { pair: self.pair.clone(), names, until: certificate.not_after() });
                }
                self.certificate = Some(Arc::new(certificate));
                (self.error, self.warning) = (None, None);
                true
            }
            Err(e) => {
                let error = e.to_string();
                let served_until = self.certificate.as_ref().map(|served| served.not_after());
                news.push(News::FilesBroken { error: error.clone(), served_until });
                self.error = Some(error);
                false
            }
        }
    }

    /// Says once when its lifetime gives cause. Is it another cause than before?
    fn judge(&mut self, now: SystemTime, news: &mut Vec<News>) -> bool {
        let warning = self.certificate.as_ref().and_then(|served| LifetimeWarning::of(served.lifetime(), now));
        let is_known = match (self.warning, warning) {
            (None, None) => true,
            (Some(old), Some(new)) => old.is_like(new),
            _ => false,
        };
        if !is_known && let Some(warning) = warning {
            news.push(News::FilesLifetime { pair: self.pair.clone(), warning });
        }
        self.warning = warning;
        !is_known
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sample::{self, days};

    struct Folder {
        temp: tempfile::TempDir,
        pair: FilePair,
        pairs: Pairs,
    }

    impl Folder {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let pair = FilePair { chain: temp.path().join("chain.pem"), key: temp.path().join("key.pem") };
            Self { temp, pair, pairs: Pairs::default() }
        }

        fn write(&self, made: &sample::Made) {
            fs::write(&self.pair.chain, &made.chain).unwrap();
            fs::write(&self.pair.key, &made.key).unwrap();
        }

        /// What two looks say, the second of which sees the files at rest.
        fn said(&mut self, day: u64) -> Vec<String> {
            let mut news = self.pairs.look(days(day)).0;
            news.extend(self.pairs.look(days(day)).0);
            self.texts(news)
        }

        fn texts(&self, news: Vec<News>) -> Vec<String> {
            let dir = self.temp.path().display().to_string();
            news.into_iter().map(|news| news.to_string().replace(&dir, "DIR")).collect()
        }

        fn served(&self) -> Option<SystemTime> {
            self.pairs.certificates().next().map(|served| served.not_after())
        }
    }

    #[test]
    fn a_broken_new_file_keeps_the_old_one_and_says_so() {
        let mut folder = Folder::new();
        let (first, second) = (
            sample::self_signed(&["a.example"], days(0), days(90)),
            sample::self_signed(&["a.example", "b.example"], days(60), days(150)),
        );
        let mut said = Vec::new();
        let news = folder.pairs.set(vec![folder.pair.clone()], days(1));
        said.extend(folder.texts(news));
        folder.write(&first);
        said.extend(folder.said(1));
        assert_eq!(folder.served(), Some(days(90)));
        said.extend(folder.said(2));
        // The new chain with the old key, for long enough to be seen at rest.
        fs::write(&folder.pair.chain, &second.chain).unwrap();
        said.extend(folder.said(60));
        assert_eq!(folder.served(), Some(days(90)));
        assert!(folder.pairs.status()[0].error.is_some());
        said.extend(folder.said(80));
        said.extend(folder.said(91));
        fs::write(&folder.pair.key, &second.key).unwrap();
        assert!(folder.pairs.look(days(91)).0.is_empty(), "it may yet be written");
        said.extend(folder.said(91));
        assert_eq!(folder.served(), Some(days(150)));
        assert_eq!(folder.pairs.status()[0].error, None);
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn a_new_configuration_keeps_what_was_read() {
        let mut folder = Folder::new();
        folder.write(&sample::self_signed(&["a.example"], days(0), days(90)));
        let missing = FilePair { chain: "/nowhere/chain".into(), key: "/nowhere/key".into() };
        assert!(folder.pairs.set(vec![folder.pair.clone()], days(1)).is_empty());
        fs::remove_file(&folder.pair.chain).unwrap();
        assert_eq!(folder.pairs.set(vec![missing.clone(), folder.pair.clone()], days(1)).len(), 1);
        assert_eq!(folder.served(), Some(days(90)));
        folder.pairs.set(vec![missing], days(1));
        assert_eq!(folder.served(), None);
    }
}
