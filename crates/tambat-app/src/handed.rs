//! Sockets that a service manager opened for this process: socket activation, `sd_listen_fds(3)`.

use std::{env, mem::ManuallyDrop, net::TcpListener, os::fd::OwnedFd, process};

use socket2::{SockRef, Type};

use crate::Error;

/// Where the numbers of handed-in sockets begin (`SD_LISTEN_FDS_START`).
const FIRST_FD: usize = 3;

/// As many sockets as a process may have open files by default: a larger `LISTEN_FDS` is a mistake, not a plan.
const FDS_MAX: usize = 1024;

/// What systemd calls a socket when `LISTEN_FDNAMES` is not set.
const UNNAMED: &str = "unknown";

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// The first one, and all that have its name: one address may take several sockets.
    First,
    /// Those of this name. Letter case, and `-` or `_`, make no difference.
    Named(&'a str),
}

/// The sockets that are `wanted`; none when none was handed to this process, or none has that name.
///
/// They are duplicates. The numbers from 3 on stay open, so that another [`Port`](crate::Port) finds its own, and nothing
/// is closed twice; whoever opened the sockets has them open anyway.
pub(crate) fn from_env(wanted: Wanted<'_>) -> Result<Vec<TcpListener>, Error> {
    let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let told = Told { pid: variable("LISTEN_PID"), fds: variable("LISTEN_FDS"), names: variable("LISTEN_FDNAMES") };
    let names = told.names(process::id())?;
    let chosen = chosen(&names, wanted);
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let all = sd_listen_fds::get().map_err(|error| Error::Handed { cause: error.to_string() })?;
    // From here on nothing may close a number: each is somebody else's, too.
    let all: Vec<ManuallyDrop<OwnedFd>> = all.into_iter().map(|(_, fd)| ManuallyDrop::new(fd.into_std())).collect();
    let chosen = all.iter().zip(&names).enumerate().filter(|(nth, _)| chosen.contains(nth));
    chosen
        .map(|(nth, (fd, name))| {
            let duplicate = fd.try_clone().map_err(|error| unusable(nth, name, &error.to_string()))?;
            listener(duplicate).map_err(|cause| unusable(nth, name, cause))
        })
        .collect()
}

/// What the environment says about them.
#[derive(Debug)]
struct Told {
    pid: Option<String>,
    fds: Option<String>,
    names: Option<String>,
}

impl Told {
    /// The name of each socket; none when they are another process's. A child sees the variables that its parent had, so
    /// the pid decides.
    fn names(&self, own_pid: u32) -> Result<Vec<String>, Error> {
        let (Some(pid), Some(fds)) = (&self.pid, &self.fds) else { return Ok(Vec::new()) };
        let wrong = |cause: String| Error::Handed { cause };
        let pid: u32 = decimal(pid).ok_or_else(|| wrong(format!("LISTEN_PID={pid:?} is no process")))?;
        if pid != own_pid {
            return Ok(Vec::new());
        }
        let count = decimal(fds).and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= FDS_MAX);
        let count = count.ok_or_else(|| wrong(format!("LISTEN_FDS={fds:?} is not a number from 0 to {FDS_MAX}")))?;
        let Some(names) = &self.names else { return Ok(vec![UNNAMED.to_owned(); count]) };
        let names: Vec<String> = names.split(':').map(str::to_owned).collect();
        if count > 0 && names.len() != count {
            let cause = format!("LISTEN_FDNAMES has {} names, and LISTEN_FDS says {count}", names.len());
            return Err(wrong(cause));
        }
        Ok(if count == 0 { Vec::new() } else { names })
    }
}

fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn chosen(names: &[String], wanted: Wanted<'_>) -> Vec<usize> {
    let name = match (wanted, names.first()) {
        (Wanted::Named(name), _) => name,
        (Wanted::First, Some(first)) => first,
        (Wanted::First, None) => return Vec::new(),
    };
    (0..names.len()).filter(|nth| plain(&names[*nth]).eq(plain(name))).collect()
}

/// A name without what makes no difference.
fn plain(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|byte| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() })
}

fn listener(fd: OwnedFd) -> Result<TcpListener, &'static str> {
    let listener = TcpListener::from(fd);
    if !SockRef::from(&listener).r#type().is_ok_and(|kind| kind == Type::STREAM) {
        return Err("it is no stream socket");
    }
    if listener.local_addr().is_err() {
        return Err("it is a socket of another family than TCP");
    }
    if SockRef::from(&listener).peer_addr().is_ok() {
        return Err("it is a connection, not a listener: set Accept=no in its .socket unit");
    }
    Ok(listener)
}

fn unusable(nth: usize, name: &str, cause: &str) -> Error {
    Error::Handed { cause: format!("file descriptor {} ({name}): {cause}", FIRST_FD + nth) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(pid: &str, fds: &str, names: Option<&str>) -> Told {
        Told { pid: Some(pid.to_owned()), fds: Some(fds.to_owned()), names: names.map(str::to_owned) }
    }

    fn names(told: &Told) -> Vec<String> {
        told.names(7).expect("understood")
    }

    #[test]
    fn sockets_of_another_process_are_not_ours() {
        assert_eq!(names(&told("7", "2", None)), ["unknown", "unknown"]);
        assert!(names(&told("8", "2", None)).is_empty());
        assert!(names(&told("8", "many", Some("a"))).is_empty(), "what another process was told is not judged");
        assert!(names(&Told { pid: None, ..told("7", "2", None) }).is_empty());
        assert!(names(&Told { fds: None, ..told("7", "2", None) }).is_empty());
    }

    #[test]
    fn each_has_its_name() {
        assert_eq!(names(&told("7", "3", Some("web:admin:web"))), ["web", "admin", "web"]);
        assert_eq!(names(&told("7", "1", Some(""))), [""]);
        assert!(names(&told("7", "0", Some(""))).is_empty());
        assert!(names(&told("7", "0", None)).is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_that_says_what() {
        for (pid, fds, given, says) in [
            ("", "1", None, "LISTEN_PID=\"\""),
            ("-7", "1", None, "LISTEN_PID"),
            ("7", "", None, "LISTEN_FDS=\"\""),
            ("7", "+1", None, "LISTEN_FDS"),
            ("7", "1025", None, "0 to 1024"),
            ("7", "99999999999999999999", None, "LISTEN_FDS"),
            ("7", "2", Some("web"), "1 names, and LISTEN_FDS says 2"),
            ("7", "1", Some("web:admin"), "2 names"),
        ] {
            let error = told(pid, fds, given).names(7).expect_err(says).to_string();
            assert!(error.contains(says) && error.contains(".socket unit"), "{error}");
        }
    }

    #[test]
    fn the_first_is_the_port_and_all_of_its_name() {
        let names: Vec<String> = ["web", "admin", "web"].map(str::to_owned).into();
        assert_eq!(chosen(&names, Wanted::First), [0, 2]);
        assert_eq!(chosen(&names, Wanted::Named("ADMIN")), [1]);
        assert!(chosen(&names, Wanted::Named("metrics")).is_empty());
        assert!(chosen(&[], Wanted::First).is_empty());
        assert_eq!(chosen(&["c2s-tls".to_owned()], Wanted::Named("C2S_TLS")), [0]);
    }

    proptest! {
        #[test]
        fn nothing_that_an_environment_says_is_a_panic(pid in ".{0,12}", fds in ".{0,12}", given in proptest::option::of(".{0,40}")) {
            let told = Told { pid: Some(pid), fds: Some(fds), names: given };
            if let Ok(names) = told.names(7) {
                prop_assert!(names.len() <= FDS_MAX);
                for wanted in [Wanted::First, Wanted::Named("a")] {
                    prop_assert!(chosen(&names, wanted).iter().all(|nth| *nth < names.len()));
                }
            }
        }

        #[test]
        fn as_many_names_as_sockets(given in proptest::collection::vec("[a-z.-]{0,8}", 1..40)) {
            let told = told("7", &given.len().to_string(), Some(&given.join(":")));
            prop_assert_eq!(told.names(7).expect("understood"), given);
        }
    }
}
