//! Telling the service manager how the app is: `sd_notify(3)`.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    net::SocketAddr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::Error;

/// The manager reads at once, unless it hangs; a hung manager must not hang the app.
const SEND_WAIT_MAX: Duration = Duration::from_secs(1);

/// Whoever is behind `NOTIFY_SOCKET`; nobody when it is not set.
pub(crate) struct Manager(Option<Line>);

struct Line {
    /// What the variable says.
    name: OsString,
    address: SockAddr,
    socket: Socket,
}

impl Manager {
    /// # Errors
    ///
    /// When the variable is set to something that is no address.
    pub(crate) fn from_env() -> Result<Self, Error> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => {
                let line = Line::new(&name).map_err(|error| failed(&name, error.to_string()))?;
                Ok(Self(Some(line)))
            }
            _ => Ok(Self(None)),
        }
    }

    /// # Errors
    ///
    /// When nobody takes it: a manager that waits for readiness would end the app in a minute or two, and nobody knew why.
    pub(crate) fn ready(&self, listening: SocketAddr) -> Result<(), Error> {
        let Some(line) = &self.0 else { return Ok(()) };
        line.say(&format!("READY=1\nSTATUS=listening on {listening}"))
            .map_err(|error| failed(&line.name, error.to_string()))
    }

    /// A manager that does not learn it sees the process end.
    pub(crate) fn stopping(&self) {
        if let Some(line) = &self.0 {
            drop(line.say("STOPPING=1\nSTATUS=finishing what is in flight"));
        }
    }
}

impl Line {
    fn new(name: &OsStr) -> io::Result<Self> {
        let address = address(name)?;
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.set_write_timeout(Some(SEND_WAIT_MAX))?;
        Ok(Self { name: name.to_owned(), address, socket })
    }

    fn say(&self, text: &str) -> io::Result<()> {
        self.socket.send_to(text.as_bytes(), &self.address).map(drop)
    }
}

/// A path, or a name in the abstract namespace, which is written with `@` for its NUL.
fn address(name: &OsStr) -> io::Result<SockAddr> {
    let wrong = |cause| Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
    match name.as_bytes() {
        [b'/', ..] => SockAddr::unix(name),
        [b'@', rest @ ..] if !rest.is_empty() => {
            let bytes: Vec<u8> = [&[0], rest].concat();
            SockAddr::unix(PathBuf::from(OsString::from_vec(bytes)))
        }
        [b'v', b's', b'o', b'c', b'k', ..] => {
            wrong("tambat-app speaks to managers on this machine only, not over vsock")
        }
        _ => wrong("it is neither a path from / nor an abstract name with @"),
    }
}

fn failed(name: &OsStr, cause: String) -> Error {
    Error::Notify { socket: name.to_string_lossy().into_owned(), cause }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use proptest::prelude::*;

    use super::*;

    fn manager(name: &str) -> Manager {
        Manager(Some(Line::new(OsStr::new(name)).expect(name)))
    }

    #[test]
    fn a_manager_behind_a_path_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let manager = manager(path.to_str().expect("text"));
        manager.ready(SocketAddr::from(([127, 0, 0, 1], 5000))).expect("told");
        manager.stopping();
        let mut buffer = [0; 256];
        for expected in
            ["READY=1\nSTATUS=listening on 127.0.0.1:5000", "STOPPING=1\nSTATUS=finishing what is in flight"]
        {
            let n = socket.recv(&mut buffer).expect("received");
            assert_eq!(std::str::from_utf8(&buffer[..n]).expect("text"), expected);
        }
    }

    #[test]
    fn nobody_to_tell_is_fine_and_nobody_there_is_not() {
        let address = SocketAddr::from(([127, 0, 0, 1], 5000));
        Manager(None).ready(address).expect("nobody");
        let folder = tempfile::tempdir().expect("a folder");
        let absent = folder.path().join("absent");
        let error = manager(absent.to_str().expect("text")).ready(address).expect_err("absent").to_string();
        assert!(error.contains("absent") && error.contains("unset NOTIFY_SOCKET"), "{error}");
        manager(absent.to_str().expect("text")).stopping();
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for name in ["notify", "@", "vsock:2:1234", "run/notify", &format!("/{}", "x".repeat(200))] {
            assert!(address(OsStr::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn an_abstract_name_has_a_nul_for_its_at() {
        let abstract_name = address(OsStr::new("@/org/app")).expect("an address");
        assert_eq!(abstract_name.as_abstract_namespace(), Some(&b"/org/app"[..]));
        assert_eq!(address(OsStr::new("/run/app")).expect("an address").as_pathname(), Some("/run/app".as_ref()));
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_an_address_or_an_error(name in proptest::collection::vec(1_u8..=255, 0..150)) {
            let name = OsString::from_vec(name);
            if let Ok(address) = address(&name) {
                prop_assert!(address.is_unix() && name.len() <= 108);
            }
        }
    }
}
