//! Sockets that are handed in: as a service manager does it, the program keeps the pid that `LISTEN_PID` names.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Command, Stdio},
};

use crate::app::{App, OWN_VARIABLES, free_port, get, program, refusal};

/// What a manager does after its fork: sockets to 3 and 4, the variables, and the program in its own place.
const HAND_OVER: &str = r#"exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID="${PID:-$$}"; exec "$0""#;

/// The example with two sockets in its hands: on standard input and output, from where the shell moves them.
fn handing(example: &str, first: OwnedFd, second: Option<OwnedFd>, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    for variable in OWN_VARIABLES {
        command.env_remove(variable);
    }
    command.args(["-c", HAND_OVER]).arg(program(example)).envs(environment.iter().copied());
    command.stdin(Stdio::from(first)).stderr(Stdio::piped());
    command.stdout(second.map_or_else(Stdio::null, Stdio::from));
    command
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn copy(listener: &TcpListener) -> OwnedFd {
    OwnedFd::from(listener.try_clone().expect("a second handle"))
}

fn started(mut command: Command, port: u16) -> App {
    App::running(command.spawn().expect("it can be run"), port)
}

#[test]
fn what_was_handed_in_is_served_and_stays_open_for_the_next_run() {
    let (socket, port) = listener();
    for _ in 0..2 {
        // `PORT` is for whoever binds; here it would be another port.
        let environment = [("LISTEN_FDS", "1"), ("PORT", "1"), ("HOST", "192.0.2.1")];
        let mut app = started(handing("axum", copy(&socket), None, &environment), port);
        assert!(get(port, "/").ends_with("moored\n"));
        app.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(app.ended().code(), Some(0), "{}", app.last_words());
    }
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err(), "whoever opened it has it still");
}

#[test]
fn each_port_finds_its_own_by_name() {
    let (web, port) = listener();
    let (admin, admin_port) = listener();
    for (names, first, second) in [("web:admin", port, admin_port), ("web:ADMIN", port, admin_port)] {
        let environment = [("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", names)];
        let mut app = started(handing("socket_activation", copy(&web), Some(copy(&admin)), &environment), port);
        assert!(get(first, "/").ends_with(&format!("moored at 127.0.0.1:{port}\n")));
        assert!(get(second, "/").ends_with("the engine room\n"));
        app.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(app.ended().code(), Some(0), "{}", app.last_words());
    }
}

#[test]
fn sockets_of_one_name_are_one_port() {
    let (one, port) = listener();
    let (two, other) = listener();
    let mut app = started(handing("axum", copy(&one), Some(copy(&two)), &[("LISTEN_FDS", "2")]), port);
    for port in [port, other] {
        assert!(get(port, "/").ends_with("moored\n"));
    }
    app.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(app.ended().code(), Some(0), "{}", app.last_words());
}

#[test]
fn what_another_process_was_handed_is_left_alone() {
    let (socket, _) = listener();
    let (app, port) = loop {
        let port = free_port();
        let environment = [("LISTEN_FDS", "1"), ("PID", "1"), ("PORT", &port.to_string())];
        if let Some(app) = App::listening(handing("axum", copy(&socket), None, &environment), port) {
            break (app, port);
        }
    };
    assert!(get(port, "/").ends_with("moored\n"));
    assert_eq!(app.stop(), Some(0));
}

#[test]
fn what_cannot_be_listened_on_is_said() {
    let (socket, port) = listener();
    let datagram = || OwnedFd::from(std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    let folder = tempfile::tempdir().expect("a folder");
    let unix = || OwnedFd::from(UnixListener::bind(folder.path().join("socket")).expect("bound"));
    let connection = || OwnedFd::from(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection"));
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").expect("a file"));
    for (fd, fds, says) in [
        (datagram(), "1", "file descriptor 3 (unknown): it is no stream socket"),
        (unix(), "1", "it is a socket of another family than TCP"),
        (connection(), "1", "it is a connection, not a listener: set Accept=no"),
        (file(), "1", "it is no stream socket"),
        (copy(&socket), "3", "file descriptor 5 (unknown): "),
        (copy(&socket), "many", "LISTEN_FDS=\"many\" is not a number"),
    ] {
        let second = (fds == "3").then(|| copy(&socket));
        let (code, said) = refusal(handing("axum", fd, second, &[("LISTEN_FDS", fds)]));
        assert_eq!(code, Some(1), "{says}: {said}");
        assert!(said.contains("cannot use the sockets that were handed in") && said.contains(says), "{said}");
    }
}
