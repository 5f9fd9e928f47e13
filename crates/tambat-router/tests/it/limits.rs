//! Many streams, and too many.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tambat_model::Protocol;
use tambat_router::{RouterReport, RouterSettings};

use crate::rig::{Backend, Rig, eventually, pass, says, serve, stream};

/// Tells the test that it is the child of itself, whose file descriptors are its own.
const CHILD: &str = "TAMBAT_ROUTER_TEST_CHILD";

#[test]
fn a_thousand_streams_at_once() {
    const STREAMS: usize = 1_000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= 5_000, "this test needs 5,000 file descriptors; `ulimit -Hn` allows {hard}");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();

    let backend = Backend::new("web.1");
    let rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let streams: Vec<(TcpStream, TcpStream)> = (0..STREAMS).map(|_| stream(&rig, &backend)).collect();
    assert_eq!((rig.counters().open, backend.target.load.in_flight()), (STREAMS, STREAMS));
    for (number, (client, target)) in streams.iter().enumerate() {
        says(client, target, &format!("from client {number}"));
        says(target, client, &format!("to client {number}"));
    }
    drop(streams);
    eventually("all are over", || rig.counters().open == 0 && backend.target.load.in_flight() == 0);
}

/// Hostile case F5. The limit holds for a whole process: the test runs itself in one of its own.
#[test]
fn without_file_descriptors_accepting_pauses_and_streams_go_on_f5() {
    if std::env::var_os(CHILD).is_some() {
        return run_out_of_file_descriptors();
    }
    let name = "limits::without_file_descriptors_accepting_pauses_and_streams_go_on_f5";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&child.stderr));
}

fn run_out_of_file_descriptors() {
    let backend = Backend::new("web.1");
    let mut rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let (client, target) = stream(&rig, &backend);
    says(&client, &target, "before");

    let late = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // The lowest number that is free: with this limit there is none.
    let free = u64::try_from(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().as_raw_fd()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, free, hard).unwrap();
    late.connect(&rig.addr().into()).unwrap();
    let RouterReport::AcceptPaused { addr, cause } = rig.report() else { panic!("accepting must pause") };
    assert!(addr == rig.addr() && cause.contains("Too many open files"), "{cause}");
    // Pauses of 100 ms, not a spin; reported once.
    let since = Instant::now();
    eventually("it is tried again", || rig.counters().accept_pauses >= 3);
    pass(Duration::from_millis(300));
    let (pauses, most) = (rig.counters().accept_pauses, since.elapsed().as_millis() / 100 + 3);
    assert!(u128::from(pauses) <= most, "{pauses}, {most} at most");
    says(&client, &target, "meanwhile");
    says(&target, &client, "all is well");

    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let late = TcpStream::from(late);
    says(&late, &backend.accept(), "at last");
    assert_eq!(rig.counters().connections, 2);
}

#[test]
fn connections_beyond_the_limit_wait_to_be_accepted() {
    let settings = RouterSettings { connections_max: 2, ..RouterSettings::default() };
    let mut rig = Rig::with(Protocol::Tcp, None, settings);
    let backend = Backend::new("web.1");
    rig.publish(serve(&[&backend]));
    let (first, second) = (stream(&rig, &backend), stream(&rig, &backend));
    let late = rig.client();
    let RouterReport::AcceptPaused { cause, .. } = rig.report() else { panic!("accepting must pause") };
    assert!(cause.contains("2 connections are open"), "{cause}");
    assert_eq!(rig.counters().open, 2);
    says(&first.0, &first.1, "those there go on");
    drop(second);
    let target = backend.accept();
    says(&late, &target, "and there is room again");
    assert_eq!(rig.counters().connections, 3);
}
