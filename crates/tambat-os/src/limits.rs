//! Limits of this process.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::context::cannot;

/// Raises the soft limit on open files to the hard one and returns it. A router needs two files a connection, and
/// the soft default of 1024 exists for programs that use select(2). Call it after [`crate::Spawner::fork`]: the
/// commands keep the limits of the shell that tambat was started from.
pub fn raise_nofile() -> io::Result<u64> {
    let what = "raise the limit on open files";
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| cannot(what, e))?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|e| cannot(what, e))?;
    }
    Ok(hard)
}

/// How many files this process may have open: the soft limit and the hard one.
pub fn nofile() -> io::Result<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| cannot("look at the limit on open files", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_nofile().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (raised, raised));
        assert_eq!(raise_nofile().unwrap(), raised);
        assert_eq!(nofile().unwrap(), (raised, raised));
    }
}
