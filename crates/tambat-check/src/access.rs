//! May a user use a file? Told by its mode, as the kernel does for one without privileges (`path_resolution(7)`).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tambat_os::User;

/// What is to be done with a file; as the bits of a mode have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want(u32);

impl Want {
    /// To go through a folder.
    pub(crate) const ENTER: Self = Self(0o1);
    /// To read a folder, make files in it and go through it.
    pub(crate) const USE: Self = Self(0o7);
}

/// The first folder on the way to `path`, or that itself, that keeps this user from using it so; none: nothing does.
/// What does not exist keeps nobody out.
pub(crate) fn closed_to(user: User, path: &Path, want: Want) -> Option<PathBuf> {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    let last = way.len().saturating_sub(1);
    let keeps_out = |(nth, part): &(usize, &&Path)| {
        let want = if *nth == last { want } else { Want::ENTER };
        part.metadata().is_ok_and(|found| !may(&mode_of(&found), user, want))
    };
    way.iter().enumerate().find(keeps_out).map(|(_, part)| part.to_path_buf())
}

struct Mode {
    bits: u32,
    uid: u32,
    gid: u32,
}

fn mode_of(found: &Metadata) -> Mode {
    Mode { bits: found.mode(), uid: found.uid(), gid: found.gid() }
}

fn may(mode: &Mode, user: User, Want(want): Want) -> bool {
    let shift = match (mode.uid == user.uid, mode.gid == user.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    (mode.bits >> shift) & want == want
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOBODY: User = User { uid: 65_534, gid: 65_534 };

    #[test]
    fn the_owner_the_group_and_the_others_have_bits_of_their_own() {
        let mode = |bits, uid, gid| Mode { bits, uid, gid };
        assert!(may(&mode(0o700, 65_534, 0), NOBODY, Want::USE));
        assert!(!may(&mode(0o077, 65_534, 0), NOBODY, Want::USE), "the owner's bits count for the owner");
        assert!(may(&mode(0o070, 0, 65_534), NOBODY, Want::USE));
        assert!(!may(&mode(0o755, 0, 0), NOBODY, Want::USE) && may(&mode(0o755, 0, 0), NOBODY, Want::ENTER));
    }

    #[test]
    fn the_first_closed_folder_on_the_way_is_named() {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        let (closed, inner) = (root.path().join("closed"), root.path().join("closed/inner"));
        fs::create_dir_all(&inner).unwrap();
        for (path, bits) in [(root.path(), 0o755), (&closed, 0o700), (&inner, 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
        }
        assert_eq!(closed_to(NOBODY, &inner, Want::USE), Some(closed.clone()));
        fs::set_permissions(&closed, Permissions::from_mode(0o711)).unwrap();
        assert_eq!(closed_to(NOBODY, &inner, Want::USE), None);
        assert_eq!(closed_to(NOBODY, &closed, Want::USE), Some(closed));
        assert_eq!(closed_to(NOBODY, Path::new("/no/such/folder"), Want::ENTER), None);
    }
}
