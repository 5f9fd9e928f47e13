//! How many connections the limit on open files lets us carry.

use tambat_router::RouterSettings;

/// What tambat has open besides instances, service ports and connections: some 20 for runtimes, lock, log and control
/// socket; the rest is room for clients of the control API, a build, and the pipes of long runs of bytes.
const FILES_OWN: usize = 48;

/// The keeper's socket and the outputs of the command, with one to spare.
const FILES_AN_INSTANCE: usize = 4;

/// The client's side and the target's.
const FILES_A_CONNECTION: usize = 2;

/// The router's settings where so many instances run and so many sockets listen. Raises the soft limit on open files to
/// the hard one; what is wrong with limits shows where they are reached.
pub(crate) fn router_settings(instances: usize, sockets: usize) -> RouterSettings {
    let settings = RouterSettings::default();
    let Some(files) = tambat_os::limits::raise_nofile().ok().and_then(|files| usize::try_from(files).ok()) else {
        return settings;
    };
    let connections_max = connections_max(files, instances, sockets).min(settings.connections_max);
    RouterSettings { connections_max, ..settings }
}

fn connections_max(files: usize, instances: usize, sockets: usize) -> usize {
    let other = FILES_OWN + instances * FILES_AN_INSTANCE + sockets;
    (files.saturating_sub(other) / FILES_A_CONNECTION).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_is_left_and_at_least_one() {
        assert_eq!(connections_max(1024, 2, 4), (1024 - 48 - 8 - 4) / 2);
        assert_eq!(connections_max(64, 50, 100), 1);
        assert!(router_settings(1, 2).connections_max >= 1);
    }
}
