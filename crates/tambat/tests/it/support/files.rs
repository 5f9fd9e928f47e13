//! Open files, for tests that need many.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process, and what it starts from now on, open as many files as it may; how many these are.
pub(crate) fn most_files() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard
}
