use std::fmt;
use std::num::NonZeroI32;

/// The id of one process: always positive, so it can never be mistaken for a process group or "everybody" in
/// kill(2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pid(NonZeroI32);

impl Pid {
    /// `None` unless `raw` is positive.
    pub fn new(raw: i32) -> Option<Self> {
        if raw > 0 { NonZeroI32::new(raw).map(Self) } else { None }
    }

    /// The calling process.
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "getpid(2) cannot fail and pids are positive")]
    pub fn own() -> Self {
        Self::new(nix::unistd::getpid().as_raw()).expect("a process has a positive pid")
    }

    /// The number, as the kernel writes it.
    pub fn get(self) -> i32 {
        self.0.get()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Pid;

    #[test]
    fn a_pid_is_never_a_group_or_everybody() {
        assert_eq!(Pid::new(0), None);
        assert_eq!(Pid::new(-1), None);
        assert_eq!(Pid::new(42).map(Pid::get), Some(42));
        assert_eq!(Pid::own().to_string(), std::process::id().to_string());
    }
}
