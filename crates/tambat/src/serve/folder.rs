//! What the directory of apps is like, look by look, and which of its folders have come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::apps;
use crate::failure::Failure;

/// The directory is looked at so often: a look costs a few system calls for each app.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A folder is taken as it is when nothing of it has changed for so long: files are copied one by one, and a folder that
/// takes another's place is away for a moment.
pub(crate) const REST: Duration = Duration::from_secs(2);

/// So many files of a folder that is new are looked at: some milliseconds, for which everything else on the control thread
/// waits.
const FILES_MAX: usize = 2_000;

/// Which version of an app a folder has, as far as its files' places and times tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// Device and inode; none: a link to nowhere.
    folder: Option<(u64, u64)>,
    /// Of `tambat.toml` and the `Procfile`.
    manifest: u64,
    /// Of `.env`.
    env: u64,
}

impl Version {
    /// Is it another folder, or are other variables written there?
    pub(crate) fn differs_beside_the_manifest(self, other: Self) -> bool {
        self.folder != other.folder || self.env != other.env
    }

    #[cfg(test)]
    pub(crate) fn of_numbers(folder: u64, manifest: u64, env: u64) -> Self {
        Self { folder: Some((0, folder)), manifest, env }
    }
}

/// A folder at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Its version.
    pub(crate) version: Version,
    /// Of everything in it, where it matters whether that has come to rest; else 0.
    all: u64,
}

/// Looks at every folder of the directory. Of those that are `known` in this version it does not matter what else is in them:
/// an app that runs writes there.
pub(crate) fn look(dir: &Path, known: &BTreeMap<String, Option<Version>>) -> Result<BTreeMap<String, Sight>, Failure> {
    let sights = apps::entries(dir)?.into_iter().map(|entry| {
        let version = version(&entry.path);
        let is_known = known.get(&entry.name).is_some_and(|known| known.is_none_or(|known| known == version));
        let all = if is_known { 0 } else { all(&entry.path) };
        (entry.name, Sight { version, all })
    });
    Ok(sights.collect())
}

/// The version that this folder has.
pub(crate) fn version(folder: &Path) -> Version {
    let files = |names: &[&str]| stamp(names.iter().map(|name| folder.join(name)));
    Version {
        folder: std::fs::metadata(folder).ok().map(|folder| (folder.dev(), folder.ino())),
        manifest: files(&[tambat_manifest::MANIFEST, tambat_manifest::PROCFILE]),
        env: files(&[".env"]),
    }
}

/// Changes whenever one of these files does, or comes or goes.
pub(crate) fn stamp(files: impl IntoIterator<Item: AsRef<Path>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.into_iter().for_each(|file| note(std::fs::metadata(file).ok().as_ref(), &mut hasher));
    hasher.finish()
}

/// Changes whenever a file in the folder does, or one comes or goes. Links are not followed.
fn all(folder: &Path) -> u64 {
    let (mut hasher, mut count) = (DefaultHasher::new(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries.take(FILES_MAX - count).collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let metadata = entry.metadata().ok();
            entry.file_name().hash(&mut hasher);
            note(metadata.as_ref(), &mut hasher);
            count += 1;
            if metadata.is_some_and(|metadata| metadata.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    hasher.finish()
}

fn note(file: Option<&Metadata>, hasher: &mut DefaultHasher) {
    let of = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    file.map(of).hash(hasher);
}

/// Which folders have come to rest.
#[derive(Debug, Default)]
pub(crate) struct Settling(BTreeMap<String, (Option<Sight>, Instant)>);

impl Settling {
    /// Takes in a look. Gives every folder that has been as it is for [`REST`]; none: it has been gone for so long. Those of
    /// the `expected` that are not there are looked for, too. `at_once`: somebody says that all of them are ready.
    pub(crate) fn take_in<'a>(
        &mut self,
        look: &BTreeMap<String, Sight>,
        expected: impl IntoIterator<Item = &'a String>,
        now: Instant,
        at_once: bool,
    ) -> BTreeMap<String, Option<Version>> {
        let known: Vec<String> = self.0.keys().cloned().collect();
        let names: BTreeSet<String> = look.keys().cloned().chain(expected.into_iter().cloned()).chain(known).collect();
        for name in names {
            let seen = look.get(&name).copied();
            if self.0.get(&name).is_none_or(|(before, _)| *before != seen) {
                self.0.insert(name, (seen, now));
            }
        }
        let has_rested = |since: Instant| at_once || now.saturating_duration_since(since) >= REST;
        let rested = self.0.iter().filter(|(_, (_, since))| has_rested(*since));
        let rested: BTreeMap<String, Option<Version>> =
            rested.map(|(name, (sight, _))| (name.clone(), sight.map(|sight| sight.version))).collect();
        self.0.retain(|name, (sight, _)| sight.is_some() || !rested.contains_key(name));
        rested
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn looked(dir: &Path) -> BTreeMap<String, Sight> {
        look(dir, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_folder_is_taken_when_nothing_in_it_has_changed_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let shop = dir.path().join("shop");
        let (mut settling, start) = (Settling::default(), Instant::now());
        let mut at = |ms: u64, at_once| {
            let now = start + Duration::from_millis(ms);
            settling
                .take_in(&looked(dir.path()), [], now, at_once)
                .into_iter()
                .map(|(name, v)| (name, v.is_some()))
                .collect::<Vec<_>>()
        };
        assert!(at(0, false).is_empty());
        fs::create_dir(&shop).unwrap();
        assert!(at(1_000, false).is_empty());
        fs::write(shop.join("tambat.toml"), "").unwrap();
        assert!(at(3_000, false).is_empty());
        fs::create_dir_all(shop.join("src/deep")).unwrap();
        assert!(at(5_000, false).is_empty());
        fs::write(shop.join("src/deep/app.py"), "x").unwrap();
        assert!(at(7_000, false).is_empty());
        assert!(at(8_900, false).is_empty());
        assert_eq!(at(9_000, false), [("shop".to_owned(), true)]);
        assert_eq!(at(9_100, false), [("shop".to_owned(), true)]);
        fs::write(shop.join("tambat.toml"), "# more").unwrap();
        assert!(at(10_000, false).is_empty());
        assert_eq!(at(10_001, true), [("shop".to_owned(), true)]);
        fs::remove_dir_all(&shop).unwrap();
        assert!(at(11_000, false).is_empty());
        assert_eq!(at(13_000, false), [("shop".to_owned(), false)]);
        assert!(at(20_000, false).is_empty(), "told once");
    }

    #[test]
    fn one_that_takes_anothers_place_was_never_gone() {
        let sight = |folder| Sight { version: Version::of_numbers(folder, 0, 0), all: 0 };
        let look = |folder| BTreeMap::from([("shop".to_owned(), sight(folder))]);
        let (mut settling, start) = (Settling::default(), Instant::now());
        let expected = "shop".to_owned();
        let mut at = |look: &BTreeMap<String, Sight>, s: u64| {
            settling.take_in(look, [&expected], start + Duration::from_secs(s), false).remove("shop")
        };
        assert_eq!(at(&look(1), 0), None);
        assert_eq!(at(&look(1), 2), Some(Some(sight(1).version)));
        assert_eq!(at(&BTreeMap::new(), 3), None);
        assert_eq!(at(&look(2), 4), None);
        assert_eq!(at(&look(2), 6), Some(Some(sight(2).version)));
    }

    #[test]
    fn what_an_app_that_runs_writes_beside_its_files_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let shop = dir.path().join("shop");
        fs::create_dir(&shop).unwrap();
        fs::write(shop.join("Procfile"), "web: run\n").unwrap();
        let first = version(&shop);
        let runs = BTreeMap::from([("shop".to_owned(), None)]);
        let before = look(dir.path(), &runs).unwrap();
        fs::write(shop.join("data"), "x").unwrap();
        assert_eq!((look(dir.path(), &runs).unwrap(), version(&shop)), (before, first));
        assert_ne!(looked(dir.path())["shop"].all, 0);
        fs::write(shop.join(".env"), "A=1\n").unwrap();
        assert!(version(&shop) != first && version(&shop).differs_beside_the_manifest(first));
        let with_env = version(&shop);
        fs::write(shop.join("Procfile"), "web: walk\n").unwrap();
        assert!(version(&shop) != with_env && !version(&shop).differs_beside_the_manifest(with_env));
        assert!(look(&dir.path().join("nowhere"), &runs).is_err());
    }
}
