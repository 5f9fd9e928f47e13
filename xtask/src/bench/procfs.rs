//! What the kernel knows of processes: memory, processor time, wake-ups (`proc(5)`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::failure::Failure;

/// `utime` and `stime` are in clock ticks, which are 100 a second on every Linux that tambat runs on (`times(2)`).
const TICK: Duration = Duration::from_millis(10);

/// Memory, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Its proportional share of every page it has mapped.
    pub(super) pss: u64,
    /// Every page it has mapped in full.
    pub(super) rss: u64,
    /// What it alone has written to.
    pub(super) private_dirty: u64,
}

/// Processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// As the scheduler counts it, in nanoseconds.
    pub(super) processor: Duration,
    /// As the clock's ticks found it. The kernel makes the sum of these two agree with its own count, in ticks.
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl Used {
    /// Since that moment.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(before.processor),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// The processes of a runner: itself and what it forked without another program; not the apps it runs.
pub(super) fn own_processes(root: u32) -> Result<Vec<u32>, Failure> {
    let program = program(root).ok_or_else(|| gone(root))?;
    Ok(tree(root).into_iter().filter(|pid| self::program(*pid).is_some_and(|other| other == program)).collect())
}

/// A process and everything below it, now.
pub(super) fn tree(root: u32) -> BTreeSet<u32> {
    let all: Vec<(u32, u32)> = pids().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    descendants(&all, root)
}

/// Of all these processes together.
pub(super) fn memory(pids: &[u32]) -> Result<Memory, Failure> {
    let mut sum = Memory::default();
    for pid in pids {
        let one = read(*pid, "smaps_rollup").as_deref().and_then(parse_rollup).ok_or_else(|| gone(*pid))?;
        sum.pss += one.pss;
        sum.rss += one.rss;
        sum.private_dirty += one.private_dirty;
    }
    Ok(sum)
}

/// How often threads of these processes have gone to sleep, which is how often they were woken, since they began.
pub(super) fn sleeps(pids: &[u32]) -> u64 {
    let threads = pids.iter().flat_map(|pid| entries(Path::new(&format!("/proc/{pid}/task"))));
    threads
        .filter_map(|thread| fs::read_to_string(thread.join("status")).ok())
        .filter_map(|status| field(&status, "voluntary_ctxt_switches:"))
        .sum()
}

/// Processor time of a process since it began, all threads, user and system.
pub(super) fn processor_time(pid: u32) -> Result<Duration, Failure> {
    read(pid, "stat").as_deref().and_then(parse_stat).map(|stat| stat.user + stat.system).ok_or_else(|| gone(pid))
}

/// Of all these processes together, since they began.
pub(super) fn used(pids: &[u32]) -> Result<Used, Failure> {
    let mut sum = Used::default();
    for pid in pids {
        let stat = read(*pid, "stat").as_deref().and_then(parse_stat).ok_or_else(|| gone(*pid))?;
        sum.user += stat.user;
        sum.system += stat.system;
        for thread in entries(Path::new(&format!("/proc/{pid}/task"))) {
            // A thread that has just ended is in nobody's count.
            let counts = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            let nanoseconds = counts.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default();
            sum.processor += Duration::from_nanos(nanoseconds);
        }
    }
    Ok(sum)
}

fn gone(pid: u32) -> Failure {
    Failure::new(format!("cannot read what the kernel knows of pid {pid}"), "did it end? Run it by hand")
}

fn pids() -> Vec<u32> {
    entries(Path::new("/proc")).into_iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn read(pid: u32, file: &str) -> Option<String> {
    fs::read(format!("/proc/{pid}/{file}")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn parent(pid: u32) -> Option<u32> {
    read(pid, "stat").as_deref().and_then(parse_stat).map(|stat| stat.parent)
}

/// `root` and everything below it, from pairs of pid and parent.
fn descendants(all: &[(u32, u32)], root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (pid, parent) in all {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = BTreeSet::new();
    let mut todo = vec![root];
    while let Some(pid) = todo.pop() {
        if found.insert(pid) {
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user: Duration,
    system: Duration,
}

/// Fields 4, 14 and 15, counted from behind the name, which may hold anything.
fn parse_stat(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |nth: usize| fields.get(nth - 3)?.parse::<u32>().ok();
    Some(Stat { parent: number(4)?, user: TICK * number(14)?, system: TICK * number(15)? })
}

fn parse_rollup(rollup: &str) -> Option<Memory> {
    let part = |name| field(rollup, name);
    Some(Memory { pss: part("Pss:")?, rss: part("Rss:")?, private_dirty: part("Private_Dirty:")? })
}

/// The first number of the line that begins with this.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let stat = "7 (a) S 9) R 42 1 1 0 -1 4194304 90 0 0 0 150 25 3 4 20 0 1 0 100";
        assert_eq!(parse_stat(stat), Some(Stat { parent: 42, user: TICK * 150, system: TICK * 25 }));
        for broken in ["", "7 (a", "7 (a) R 42", "7 (a) R x 1 1 0 -1 4194304 90 0 0 0 150 25"] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn memory_is_read_by_its_own_line() {
        let rollup = "00400000-7fff [rollup]\nRss:    3440 kB\nPss:     512 kB\nPss_Dirty:   300 kB\nPrivate_Dirty:  280 kB\nSwapPss: 9 kB\n";
        assert_eq!(parse_rollup(rollup), Some(Memory { pss: 512, rss: 3_440, private_dirty: 280 }));
        assert_eq!(parse_rollup("Rss: 1 kB\n"), None);
    }

    #[test]
    fn only_what_is_voluntary_is_a_sleep() {
        let status = "Threads:\t3\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t41\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(41));
        assert_eq!(field(status, "Uid:"), None);
    }

    #[test]
    fn a_tree_is_found_in_any_order_and_nothing_beside_it() {
        let all = [(5, 3), (3, 2), (9, 1), (2, 1), (4, 2)];
        assert_eq!(descendants(&all, 2).into_iter().collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert_eq!(descendants(&[(2, 2)], 2).len(), 1);
    }

    #[test]
    fn this_process_is_one_of_its_own() {
        let own = std::process::id();
        assert!(own_processes(own).unwrap().contains(&own));
        assert!(memory(&[own]).unwrap().pss > 0);
        assert!(sleeps(&[own]) > 0 && processor_time(own).is_ok());
        assert!(used(&[own]).unwrap().processor > Duration::ZERO && used(&[u32::MAX]).is_err());
    }
}
