//! A start as a user without privileges.

use std::io;
use std::path::{Path, PathBuf};

use tambat_os::User;

use super::boot::boot;
use super::copy::{fresh_dir, give};
use super::stage::{How, Stage};
use crate::access::{Want, closed_to};
use crate::observed::{Look, Unseen, UserStart};

/// `nobody`, on every Linux.
const NOBODY: User = User { uid: 65_534, gid: 65_534 };

/// More closed folders say nothing more.
const CLOSED_MAX: usize = 4;

/// Starts it so, where tambat may.
pub(super) async fn start(stage: &Stage<'_>) -> Look<UserStart> {
    let own = tambat_os::runtime_dir::uid();
    if own != 0 {
        return Ok(UserStart { uid: own, closed: Vec::new(), start: None });
    }
    let cannot = |error: io::Error| Unseen::because(format!("no home could be made for that user: {error}"));
    let home = Home::make(NOBODY).map_err(cannot)?;
    let dir = stage.subject.plan.dir();
    if stage.subject.is_copy {
        give(dir, NOBODY).map_err(cannot)?;
    }
    let closed = closed(dir, &stage.process.command, path_of(stage).as_deref());
    let mut staged =
        stage.start(&How { user: Some((NOBODY, &home.dir)), ..How::default() }).map_err(Unseen::because)?;
    let (start, _) = boot(&mut staged, &stage.patience(stage.limits.boot)).await;
    staged.kill().await;
    Ok(UserStart { uid: NOBODY.uid, closed, start: Some(start) })
}

/// What keeps that user from the app's directory, and from programs that root finds under a name in the command.
fn closed(dir: &Path, command: &str, path: Option<&str>) -> Vec<PathBuf> {
    let words: Vec<&str> = command.split(|c: char| c.is_whitespace() || ";&|()\"'".contains(c)).collect();
    let has_one = |folder: &&Path| words.iter().any(|w| !w.is_empty() && !w.contains('/') && folder.join(w).is_file());
    let folders = path.unwrap_or_default().split(':').filter(|folder| !folder.is_empty()).map(Path::new);
    let programs = folders.filter(has_one).filter_map(|folder| closed_to(NOBODY, folder, Want::ENTER));
    let mut closed: Vec<PathBuf> = closed_to(NOBODY, dir, Want::USE).into_iter().chain(programs).collect();
    closed.dedup();
    closed.truncate(CLOSED_MAX);
    closed
}

/// The `PATH` that it is started with.
fn path_of(stage: &Stage<'_>) -> Option<String> {
    let layers = &stage.subject.layers;
    layers.iter().rev().find(|layer| layer.name == "PATH").map(|layer| layer.value.clone())
}

/// A folder of that user's own. It is deleted when dropped.
struct Home {
    dir: PathBuf,
}

impl Home {
    fn make(user: User) -> io::Result<Self> {
        let home = Self { dir: fresh_dir()? };
        give(&home.dir, user)?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be deleted is left to whoever cleans the machine's temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
