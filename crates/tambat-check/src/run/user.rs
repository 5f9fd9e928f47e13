//! A start as a user without privileges.

use std::io;
use std::path::{Path, PathBuf};

use tambat_os::User;

use super::boot::boot;
use super::copy::{Copied, fresh_dir, give};
use super::stage::{How, Stage};
use crate::access::{Want, closed_to};
use crate::observed::{Boot, Look, Start, Unseen, UserStart};

/// `nobody`, on every Linux.
const NOBODY: User = User { uid: 65_534, gid: 65_534 };

/// Who tambat runs as, where it can run anything as somebody else.
const ROOT: User = User { uid: 0, gid: 0 };

/// A directory up to this size is copied for that user in no time.
const COPIED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// And up to so many files.
const COPIED_FILES_MAX: usize = 5_000;

/// More closed folders say nothing more.
const CLOSED_MAX: usize = 4;

/// Starts it so, where tambat may: in a copy of the directory that belongs to that user, for files that root has made
/// there before would be closed to it. What fails there is started there as root, too: does it fail for the user's sake?
pub(super) async fn start(stage: &Stage<'_>) -> Look<UserStart> {
    let own = tambat_os::runtime_dir::uid();
    if own != ROOT.uid {
        return Ok(UserStart { uid: own, closed: Vec::new(), start: None, as_root: None });
    }
    let cannot = |error: io::Error| Unseen::because(format!("no home could be made for that user: {error}"));
    let home = Home::make(NOBODY).map_err(cannot)?;
    let original = stage.subject.plan.dir();
    // One that is too large is used where it is, if that user may.
    let copied = Copied::within(original, COPIED_BYTES_MAX, COPIED_FILES_MAX).ok();
    let dir = copied.as_ref().map_or(original, Copied::dir);
    if copied.is_some() {
        give(dir, NOBODY).map_err(cannot)?;
    }
    let mut closed = closed(dir, &stage.process.command, path_of(stage).as_deref());
    if copied.is_none() && closed.is_empty() {
        // Who knows which of its files only root may write.
        closed.push(original.to_owned());
    }
    let start = once(stage, &How { dir: Some(dir), user: Some((NOBODY, &home.dir)), ..How::default() }).await?;
    let mut as_root = None;
    if start.bound().is_none() && copied.is_some() {
        give(dir, ROOT).map_err(cannot)?;
        let control = once(stage, &How { dir: Some(dir), ..How::default() }).await?;
        if control.bound().is_none() {
            // It needs what lies beside its directory: perhaps that user may use it where it is.
            let in_place = once(stage, &How { user: Some((NOBODY, &home.dir)), ..How::default() }).await?;
            if in_place.bound().is_some() {
                return Ok(UserStart { uid: NOBODY.uid, closed, start: Some(in_place), as_root: None });
            }
        }
        as_root = Some(control);
    }
    Ok(UserStart { uid: NOBODY.uid, closed, start: Some(start), as_root })
}

/// What finds its port taken is started once more: somebody else may have wanted it.
async fn once(stage: &Stage<'_>, how: &How<'_>) -> Look<Start> {
    let mut tries = 0;
    loop {
        let mut staged = stage.start(how).map_err(Unseen::because)?;
        let (start, _) = boot(&mut staged, &stage.patience(stage.limits.boot)).await;
        staged.end(stage.signal()).await;
        tries += 1;
        if tries > 1 || !(start.says_port_is_taken() || matches!(start.boot, Boot::Foreign(_))) {
            return Ok(start);
        }
    }
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
