//! What a directory's app remembers between two runs: its base port and its attachments. Written atomically.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tambat_model::ResourceUrl;

/// The folder of one app's state.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    dir: PathBuf,
}

/// What is remembered. Attached URLs may hold passwords: the file is its user's alone.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Remembered {
    #[serde(default)]
    base: Option<RememberedBase>,
    #[serde(default)]
    attachments: BTreeMap<String, String>,
}

/// The base that was taken in place of a busy one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RememberedBase {
    /// The one that was wanted.
    pub(crate) wanted: u16,
    /// The one that was taken.
    pub(crate) taken: u16,
}

impl StateDir {
    /// `$XDG_STATE_HOME/tambat/HASH`, or `~/.local/state/tambat/HASH`, where a home that no variable names is the one that
    /// the system knows.
    pub(crate) fn of(app_dir: &Path) -> io::Result<Self> {
        Ok(Self { dir: Self::home()?.join(crate::sockets::Sockets::hash(app_dir)) })
    }

    /// The folder of every app that has run here.
    pub(crate) fn all() -> Vec<Self> {
        let entries = Self::home().and_then(fs::read_dir).into_iter().flatten().flatten();
        entries.map(|entry| Self { dir: entry.path() }).collect()
    }

    /// The folder of all of them.
    pub(crate) fn home() -> io::Result<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let home = absolute("XDG_STATE_HOME").or_else(|| {
            let home = std::env::home_dir().filter(|home| home.is_absolute());
            home.map(|home| home.join(".local/state"))
        });
        let home =
            home.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "neither XDG_STATE_HOME nor HOME is set"))?;
        Ok(home.join("tambat"))
    }

    /// Makes the folder, readable by its user alone.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The lock that decides who runs the app.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The lock that decides who holds this port for names: one for all apps of this user on this machine, for homes may
    /// be shared by several.
    pub(crate) fn http_lock(&self, port: u16) -> PathBuf {
        let host = tambat_os::runtime_dir::host_name().map(|host| format!(".{host}")).unwrap_or_default();
        self.dir.with_file_name(format!("http-{port}{host}.lock"))
    }

    /// The base that was taken last time in place of a busy one.
    pub(crate) fn base(&self) -> Option<RememberedBase> {
        self.read().base
    }

    /// Remembers the base, or forgets it.
    pub(crate) fn set_base(&self, base: Option<RememberedBase>) -> io::Result<()> {
        let mut remembered = self.read();
        if remembered.base == base {
            return Ok(());
        }
        remembered.base = base;
        self.write(&remembered)
    }

    /// The attachments that have not been detached.
    pub(crate) fn attachments(&self) -> BTreeMap<String, ResourceUrl> {
        self.read().attachments.into_iter().filter_map(|(name, url)| Some((name, url.parse().ok()?))).collect()
    }

    /// Remembers the attachments. Those of a name that is not `known` stay: the app's next version may know it again, and
    /// nobody has detached it.
    pub(crate) fn set_attachments(
        &self,
        attached: &BTreeMap<String, ResourceUrl>,
        known: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        let mut remembered = self.read();
        remembered.attachments.retain(|name, _| !known(name));
        remembered.attachments.extend(attached.iter().map(|(name, url)| (name.clone(), url.reveal().to_owned())));
        self.write(&remembered)
    }

    /// What cannot be read is as if it were not there: a start must not fail for it.
    fn read(&self) -> Remembered {
        fs::read(self.file()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn write(&self, remembered: &Remembered) -> io::Result<()> {
        let new = self.dir.join(format!("state.json.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let written = file.write_all(&serde_json::to_vec_pretty(remembered)?).and_then(|()| file.sync_all());
        let replaced = written.and_then(|()| fs::rename(&new, self.file()));
        if replaced.is_err() {
            let _ = fs::remove_file(&new);
        }
        replaced
    }

    fn file(&self) -> PathBuf {
        self.dir.join("state.json")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_remembered_is_its_users_alone() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir { dir: temp.path().join("a/b") };
        state.create().unwrap();
        let url: ResourceUrl = "redis://:secret@h".parse().unwrap();
        state.set_attachments(&[("cache".to_owned(), url.clone())].into(), |_| true).unwrap();
        state.set_base(Some(RememberedBase { wanted: 5000, taken: 5100 })).unwrap();
        assert_eq!(state.attachments()["cache"].reveal(), url.reveal());
        assert_eq!(state.base().unwrap().taken, 5100);
        assert_eq!(fs::metadata(state.file()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&state.dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&state.dir).unwrap().count(), 1);
    }

    #[test]
    fn what_nobody_detached_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir { dir: temp.path().to_owned() };
        let url: ResourceUrl = "redis://h".parse().unwrap();
        let attached = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), url.clone())).collect();
        let kept = || state.attachments().into_keys().collect::<Vec<_>>();
        state.set_attachments(&attached(&["cache", "db"]), |_| true).unwrap();
        // This version of the app does not use `db`.
        state.set_attachments(&attached(&["api", "cache"]), |name| name != "db").unwrap();
        assert_eq!(kept(), ["api", "cache", "db"]);
        state.set_attachments(&attached(&["api"]), |name| name != "db").unwrap();
        assert_eq!(kept(), ["api", "db"]);
        state.set_attachments(&attached(&["api"]), |_| true).unwrap();
        assert_eq!(kept(), ["api"]);
    }

    #[test]
    fn a_broken_file_is_as_none() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir { dir: temp.path().to_owned() };
        fs::write(state.file(), b"{").unwrap();
        assert_eq!(state.base(), None);
    }
}
