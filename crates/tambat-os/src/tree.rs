//! Process trees, as `/proc` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::Pid;

/// A process, as a person would recognise it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessInfo {
    /// Its id.
    pub pid: Pid,
    /// The name the kernel knows it by, at most 15 bytes.
    pub name: String,
    /// Its command line, at most [`COMMAND_CHARS_MAX`] characters, fit to be shown: what is not text or would move
    /// a terminal's cursor is replaced. Empty when it has none.
    pub command: String,
}

/// Two lines of a terminal: enough to recognise a command, too little to drown a message.
pub const COMMAND_CHARS_MAX: usize = 200;

/// The kernel's own default limit on pids; a tree cannot be larger in practice.
const TREE_PIDS_MAX: usize = 32_768;

/// Every process below `root`, nearest first, without `root` itself; ended ones that nobody has waited for
/// included. Where `root` is a child subreaper, as a keeper is, that is everything the instance ever started, new
/// sessions and double forks included. A snapshot: what forks or is re-parented meanwhile may be missed and is seen
/// by the next call. Empty when `root` is gone.
pub fn descendants(root: Pid) -> Vec<Pid> {
    if !lists_children() {
        return descendants_in(&parents(), root);
    }
    let mut seen = BTreeSet::from([root]);
    let mut found = listed_children(root);
    found.retain(|pid| seen.insert(*pid));
    let mut next = 0;
    while next < found.len() && found.len() < TREE_PIDS_MAX {
        let below = listed_children(found[next]);
        found.extend(below.into_iter().filter(|pid| seen.insert(*pid)));
        next += 1;
    }
    found
}

/// Name and command line of a process; `None` when it is gone.
pub fn process_info(pid: Pid) -> Option<ProcessInfo> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Some(ProcessInfo { pid, name: shown(name.trim_ascii_end()), command: shown(without_trailing_nul(&command)) })
}

/// The process group that a process is in, by its leader; `None` when it is gone.
pub fn group_of(pid: Pid) -> Option<Pid> {
    let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid.get()))).ok()?;
    Pid::new(group.as_raw())
}

/// The memory that the processes below `root` have in all, in bytes: pages that several have are counted once in all
/// (PSS, `proc_pid_smaps(5)`), or once each where the kernel does not say (RSS). `None` when none of it can be seen.
pub fn memory_below(root: Pid) -> Option<u64> {
    let of_each: Vec<u64> = descendants(root).into_iter().filter_map(memory_of).collect();
    (!of_each.is_empty()).then(|| of_each.iter().sum())
}

fn memory_of(pid: Pid) -> Option<u64> {
    let kib = |file: &str, field: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    kib("smaps_rollup", "Pss:").or_else(|| kib("status", "VmRSS:")).map(|kib| kib * 1024)
}

/// Whether a process goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Alive,
    /// Ended, and not waited for yet.
    Ended,
}

/// `None` when there is no such process.
pub(crate) fn state(pid: Pid) -> Option<State> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (letter, _parent) = parse_stat(&stat)?;
    Some(if matches!(letter, b'Z' | b'X' | b'x') { State::Ended } else { State::Alive })
}

/// All pids of the machine, as far as this user may see them.
pub(crate) fn all_pids() -> Vec<Pid> {
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    listing.flatten().filter_map(|entry| Pid::new(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// The children of one process, ended ones that nobody has waited for included.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    if lists_children() { listed_children(pid) } else { parents().remove(&pid).unwrap_or_default() }
}

/// Not on kernels built without `CONFIG_PROC_CHILDREN`.
fn lists_children() -> bool {
    Path::new("/proc/thread-self/children").exists()
}

/// The children of all threads of one process (`proc_pid_task(5)`).
fn listed_children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|n| Pid::new(n.parse().ok()?)).collect::<Vec<_>>())
        .collect()
}

/// Parent → children over the whole machine, for kernels that do not list them.
fn parents() -> BTreeMap<Pid, Vec<Pid>> {
    let mut map = BTreeMap::<Pid, Vec<Pid>>::new();
    for pid in all_pids() {
        if let Some((_, parent)) = fs::read(format!("/proc/{pid}/stat")).ok().as_deref().and_then(parse_stat)
            && let Some(parent) = Pid::new(parent)
        {
            map.entry(parent).or_default().push(pid);
        }
    }
    map
}

fn descendants_in(children: &BTreeMap<Pid, Vec<Pid>>, root: Pid) -> Vec<Pid> {
    let mut seen = BTreeSet::from([root]);
    let mut found = Vec::new();
    let mut next = Some(root);
    let mut at = 0;
    while let Some(parent) = next {
        found.extend(children.get(&parent).into_iter().flatten().filter(|pid| seen.insert(**pid)));
        next = found.get(at).copied();
        at += 1;
    }
    found
}

/// State letter and parent. The name before them may hold anything, spaces and brackets included, so the last
/// closing one counts (`proc_pid_stat(5)`).
fn parse_stat(stat: &[u8]) -> Option<(u8, i32)> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace();
    let letter = *fields.next()?.as_bytes().first()?;
    Some((letter, fields.next()?.parse().ok()?))
}

/// Arguments are separated by NUL; a terminal must not obey what a stranger's process calls itself.
fn shown(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut shown: String = text
        .chars()
        .map(|c| match c {
            '\0' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .take(COMMAND_CHARS_MAX)
        .collect();
    if text.chars().nth(COMMAND_CHARS_MAX).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

fn without_trailing_nul(raw: &[u8]) -> &[u8] {
    let end = raw.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &raw[..end]
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn both_ways_of_looking_find_a_grandchild() {
        // The shell stays and waits; `read` ends both when the pipe closes. In the background, 0 is /dev/null.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3<&0; (read x <&3; true) & echo $!; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.as_mut().unwrap()), &mut line).unwrap();
        let child = Pid::new(i32::try_from(shell.id()).unwrap()).unwrap();
        let grandchild = Pid::new(line.trim().parse().unwrap()).unwrap();

        let below = descendants(Pid::own());
        assert!(below.contains(&child) && below.contains(&grandchild), "{below:?}");
        assert!(!below.contains(&Pid::own()));
        assert_eq!(descendants(child), [grandchild]);
        assert_eq!(descendants_in(&parents(), child), [grandchild]);
        assert_eq!(process_info(child).unwrap().name, "sh");
        assert!(process_info(child).unwrap().command.starts_with("sh -c exec 3<&0;"));
        assert_eq!(group_of(child), group_of(Pid::own()));
        let (below, of_child) = (memory_below(Pid::own()).unwrap(), memory_of(child).unwrap());
        assert!(of_child > 0 && below > of_child, "{of_child} of {below} bytes");

        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(descendants(child), []);
        assert_eq!((process_info(child), memory_of(child), group_of(child)), (None, None, None));
    }

    #[test]
    fn a_cycle_in_a_changing_snapshot_ends() {
        let pid = |n| Pid::new(n).unwrap();
        let map = BTreeMap::from([(pid(1), vec![pid(2)]), (pid(2), vec![pid(1), pid(3)]), (pid(3), vec![pid(2)])]);
        assert_eq!(descendants_in(&map, pid(1)), [pid(2), pid(3)]);
    }

    #[test]
    fn stat_is_read_past_any_name() {
        assert_eq!(parse_stat(b"12 (a) Z 1) (b) S 34 0 0"), Some((b'S', 34)));
        assert_eq!(parse_stat(b"12 (\xff) Z 1 0"), Some((b'Z', 1)));
        for broken in [&b""[..], b"12 (a", b"12 (a) ", b"12 (a) S", b"12 (a) S x"] {
            assert_eq!(parse_stat(broken), None);
        }
    }

    #[test]
    fn what_is_shown_is_harmless_and_short() {
        assert_eq!(shown(b"sh\0-c\0a\x1b[2Jb\xff\n"), "sh -c a\u{fffd}[2Jb\u{fffd}\u{fffd}");
        let long = shown("ä".repeat(500).as_bytes());
        assert_eq!(long.chars().count(), COMMAND_CHARS_MAX);
        assert!(long.ends_with('…'));
        assert_eq!(shown("ä".repeat(COMMAND_CHARS_MAX).as_bytes()), "ä".repeat(COMMAND_CHARS_MAX));
        assert_eq!(without_trailing_nul(b"a\0b\0\0"), b"a\0b");
    }
}
