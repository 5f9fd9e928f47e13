//! The systems that the factor names, as the examples run them. Each is started by the real `tambat start`, is seen by a
//! client of its own kind while it boots, finishes what it began when it is told to stop, and leaves nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::{AppDir, LIMIT, Response, Running, Terminal, is_free, programs, until, whole};

mod apache;
mod chat;
mod check;
mod jetty;
mod redis;
mod thin;
mod tomcat;
mod tornado;
mod town;

/// An example as it is in the tree, in a folder of its own name: without what was built or stored there.
fn example(name: &str) -> AppDir {
    let app = AppDir::new().neighbour(name);
    copy(&app, name);
    // Apache, started by root, becomes another user, who must get through to it.
    fs::set_permissions(app.home_path(), fs::Permissions::from_mode(0o711)).unwrap();
    app
}

/// Another example beside it.
fn beside(app: &AppDir, name: &str) {
    copy(&app.neighbour(name), name);
}

fn copy(to: &AppDir, name: &str) {
    let from = programs::repository().join("examples").join(name);
    let ignored = fs::read_to_string(from.join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_start_matches('/')).collect();
    for entry in fs::read_dir(&from).unwrap() {
        let name = entry.unwrap().file_name();
        if !ignored.contains(&name.to_str().unwrap()) {
            copy_all(&from.join(&name), &to.path().join(&name));
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        copy_all(&from.join(&name), &to.join(&name));
    }
}

/// A form, as a browser sends it.
fn form(path: &str, fields: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{fields}",
        fields.len()
    )
}

/// Tells tambat to stop when an instance has read all but the end of this request, and sends it the end when it accepts
/// nothing new any more; gives its answer. Everything must end by itself and in time, and nothing may be left.
fn stop_in_the_middle_of(request: &str, app: &AppDir, process: &str, running: &mut Running) -> Response {
    let ports = ports(app);
    let instance = SocketAddr::from((Ipv4Addr::LOCALHOST, instance_port(app, process, 0)));
    let mut client = TcpStream::connect(instance).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let (begun, end) = request.as_bytes().split_at(request.len() - 3);
    client.write_all(begun).unwrap();
    until("the instance to read it", || is_read(&client).then_some(()));
    running.signal(Signal::SIGTERM);
    until("the end of accepting", || TcpStream::connect(instance).is_err().then_some(()));
    client.write_all(end).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    drop(client);
    ended_well(running, &ports);
    whole(&answer).unwrap()
}

/// Tells tambat to stop, as a deployment does.
fn stop_by_term(app: &AppDir, running: &mut Running) {
    let ports = ports(app);
    running.signal(Signal::SIGTERM);
    ended_well(running, &ports);
}

/// Runs it once more in a terminal, as a user without privileges: looks at it, and types Ctrl-C.
fn run_by_nobody(app: AppDir, look: impl FnOnce(&AppDir, &Running, &Terminal)) {
    let app = app.unprivileged();
    let (mut terminal, mut running) = Terminal::start(&app, 40, 120, &[]);
    running.ready(&[]);
    look(&app, &running, &terminal);
    let ports = ports(&app);
    terminal.type_in("\u{3}");
    ended_well(&mut running, &ports);
}

/// Waits for its end: nothing failed or had to be killed, nothing runs, nobody listens.
fn ended_well(running: &mut Running, ports: &[u16]) {
    assert_eq!(running.ended(), 0);
    let said = [running.stdout(), running.stderr()].concat();
    for trouble in ["did not stop within its grace", "started again", "is not started again"] {
        assert!(said.iter().all(|line| !line.contains(trouble)), "{said:#?}");
    }
    assert!(ports.iter().all(|port| is_free(*port)), "{ports:?}");
}

/// Service ports and instances' first ports, of every process.
fn ports(app: &AppDir) -> Vec<u16> {
    let status = app.json(&["ps", "--json"]);
    let processes = status["processes"].as_array().unwrap();
    let service = processes.iter().flat_map(|process| process["ports"].as_array().unwrap()).map(|port| &port["port"]);
    let mut ports: Vec<u16> = service.map(|port| u16::try_from(port.as_u64().unwrap()).unwrap()).collect();
    for process in processes {
        let instances = process["instances"].as_array().unwrap().len();
        ports.extend((0..instances).map(|nth| instance_port(app, process["name"].as_str().unwrap(), nth)));
    }
    ports
}

fn instance_port(app: &AppDir, process: &str, nth: usize) -> u16 {
    let instance = app.process(process)["instances"][nth].clone();
    let address = instance["address"].as_str().unwrap_or_else(|| panic!("{process} listens nowhere: {instance}"));
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// Has whoever accepted this connection taken everything that came on it? By the queues of `proc_net_tcp(5)`.
fn is_read(client: &TcpStream) -> bool {
    let (from, to) = (client.local_addr().unwrap().port(), client.peer_addr().unwrap().port());
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).ok();
    let is_empty = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        port(fields[1]) == Some(to)
            && port(fields[2]) == Some(from)
            && fields[3] == "01"
            && fields[4].ends_with(":00000000")
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).any(is_empty)
}
