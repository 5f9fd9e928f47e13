//! How much of the processor a thread gets when others want it, too.

use std::io;

/// Lowers the calling thread's priority by so many steps of nice(2), in which each takes about a fifth of the share.
/// It cannot be raised again without privilege. Other threads keep theirs: on Linux each has its own (setpriority(2)).
///
/// # Errors
///
/// When the system does not let it, as a sandbox may.
pub fn lower_this_thread(steps: u8) -> io::Result<()> {
    // SAFETY: takes and gives numbers only. 0 is the calling thread.
    let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, current()? + libc::c_int::from(steps)) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The calling thread's nice value. -1 is one of them, so that an error shows in errno alone.
fn current() -> io::Result<libc::c_int> {
    nix::errno::Errno::clear();
    // SAFETY: takes and gives numbers only.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if nice == -1 && nix::errno::Errno::last_raw() != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(nice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_is_lowered() {
        let before = current().unwrap();
        let lowered = std::thread::spawn(|| {
            lower_this_thread(3).unwrap();
            current().unwrap()
        });
        assert_eq!(lowered.join().unwrap(), (before + 3).min(19));
        assert_eq!(current().unwrap(), before);
    }
}
