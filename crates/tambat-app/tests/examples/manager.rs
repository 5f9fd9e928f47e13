//! A service manager that waits to be told: `NOTIFY_SOCKET`.

use std::{os::unix::net::UnixDatagram, path::Path, time::Duration};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::app::{App, PATIENCE, get};

fn heard(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let n = manager.recv(&mut buffer).expect("told, in time");
    String::from_utf8(buffer[..n].to_vec()).expect("text")
}

/// In the folder, or in the abstract namespace, for which a NUL stands.
fn manager(name: &Path) -> UnixDatagram {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).expect("a socket");
    socket.bind(&SockAddr::unix(name).expect("an address")).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    UnixDatagram::from(std::os::fd::OwnedFd::from(socket))
}

#[test]
fn it_is_told_when_the_app_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let path = path.to_str().expect("text");
    let abstract_name = format!("tambat-app-test-{}", std::process::id());
    for (variable, name) in
        [(path.to_owned(), path.to_owned()), (format!("@{abstract_name}"), format!("\0{abstract_name}"))]
    {
        let manager = manager(Path::new(&name));
        let app = App::start("axum", &[("NOTIFY_SOCKET", &variable)]);
        let ready = heard(&manager);
        assert_eq!(ready, format!("READY=1\nSTATUS=listening on 127.0.0.1:{}", app.port), "{variable}");
        assert!(get(app.port, "/").ends_with("moored\n"));
        assert_eq!(app.stop(), Some(0));
        assert!(heard(&manager).starts_with("STOPPING=1\n"), "{variable}");
        manager.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        assert!(manager.recv(&mut [0; 1]).is_err(), "nothing else is said");
    }
}
