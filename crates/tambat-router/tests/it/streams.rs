//! What a stream carries, and how it ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tambat_model::Protocol;
use tambat_router::RouterSettings;

use crate::rig::{Backend, Rig, eventually, is_reset, pass, reset, rest, says, serve, stream};

fn pair() -> (Rig, Backend, TcpStream, TcpStream) {
    let backend = Backend::new("web.1");
    let rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let (client, target) = stream(&rig, &backend);
    (rig, backend, client, target)
}

#[test]
fn a_client_that_has_ended_its_direction_hears_the_rest_g15() {
    let (rig, _backend, client, mut target) = pair();
    says(&client, &target, "question");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&target), b"");
    // Long after the end of the other direction this one goes on.
    says(&target, &client, "a first answer");
    target.write_all(b"a second one").unwrap();
    drop(target);
    assert_eq!(rest(&client), b"a second one");
    eventually("the stream is over", || rig.counters().open == 0);
}

#[test]
fn a_target_that_has_ended_its_direction_hears_the_rest() {
    let (rig, _backend, mut client, target) = pair();
    says(&target, &client, "goodbye");
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client), b"");
    says(&client, &target, "wait");
    client.write_all(b"one more").unwrap();
    drop(client);
    assert_eq!(rest(&target), b"one more");
    eventually("the stream is over", || rig.counters().open == 0);
}

#[test]
fn a_reset_of_the_target_resets_the_client_g16() {
    let (rig, _backend, client, target) = pair();
    says(&client, &target, "hello");
    reset(target);
    assert!(is_reset(&client));
    eventually("the stream is over", || rig.counters().open == 0);
}

#[test]
fn a_reset_of_the_client_resets_the_target() {
    let (rig, _backend, client, target) = pair();
    says(&client, &target, "hello");
    reset(client);
    assert!(is_reset(&target));
    eventually("the stream is over", || rig.counters().open == 0);
}

#[test]
fn what_was_said_before_a_reset_is_heard() {
    let (_rig, _backend, client, mut target) = pair();
    // Who resets before the router has seen its connection made has refused it.
    says(&client, &target, "POST");
    target.write_all(b"HTTP/1.1 413 Content Too Large\r\n\r\n").unwrap();
    reset(target);
    let mut heard = [0; 34];
    (&client).read_exact(&mut heard).unwrap();
    assert!(is_reset(&client));
}

#[test]
fn a_reset_is_passed_on_after_a_half_close() {
    let (rig, _backend, client, target) = pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&target), b"");
    reset(client);
    eventually("the target is told", || (&target).write_all(b"anybody there?").is_err());
    eventually("the stream is over", || rig.counters().open == 0);
}

/// Writes until the router takes no more, and gives the number of bytes that it and the kernel took.
fn fill(mut from: &TcpStream, rig: &Rig) -> u64 {
    from.set_nonblocking(true).unwrap();
    let (mut taken, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_millis(300) {
        match from.write(&[b'x'; 16 * 1024]) {
            Ok(more) => {
                taken += more as u64;
                last = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                pass(Duration::from_millis(1));
            }
        }
        assert!(taken < 256 * 1024 * 1024, "no back-pressure: {:?}", rig.counters());
    }
    from.set_nonblocking(false).unwrap();
    taken
}

#[test]
fn a_client_that_breaks_off_while_the_target_does_not_read_is_noticed() {
    let (rig, _backend, client, target) = pair();
    fill(&client, &rig);
    reset(client);
    eventually("the stream is over, although nobody has read", || rig.counters().open == 0);
    drop(target);
}

#[test]
fn a_target_that_breaks_off_while_the_client_does_not_read_is_noticed() {
    let (rig, _backend, client, target) = pair();
    fill(&target, &rig);
    reset(target);
    eventually("the stream is over, although nobody has read", || rig.counters().open == 0);
    drop(client);
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer_and_loses_nothing() {
    let backend = Backend::new("web.1");
    SockRef::from(&backend.listener).set_recv_buffer_size(64 * 1024).unwrap();
    let rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let (client, mut target) = stream(&rig, &backend);
    let taken = fill(&client, &rig);
    // What the router has read is in the target's receive buffer (128 KiB: the system doubles what is asked for), in
    // the router's send buffer (4 MiB, tcp_wmem) and, up to one pipe of 1 MiB, in the router.
    let read = rig.counters().bytes_in;
    assert!(read <= taken && read < 6 * 1024 * 1024, "{read} of {taken}");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&target).len() as u64, taken);
    assert_eq!(rig.counters().bytes_in, taken);
    target.write_all(b"all of it").unwrap();
    drop(target);
    assert_eq!(rest(&client), b"all of it");
}

#[test]
fn both_directions_carry_every_byte_in_order_at_the_same_time() {
    const BYTES: u32 = 8 * 1024 * 1024;
    let (rig, _backend, client, target) = pair();
    // Small buffers make partial writes.
    SockRef::from(&client).set_recv_buffer_size(32 * 1024).unwrap();
    let words = |seed: u32| (0..BYTES / 4).flat_map(move |i: u32| (i ^ seed).wrapping_mul(2_654_435_761).to_le_bytes());
    std::thread::scope(|scope| {
        for (seed, from, to) in [(1, &client, &target), (2, &target, &client)] {
            scope.spawn(move || {
                let bytes: Vec<u8> = words(seed).collect();
                let mut from = from;
                bytes.chunks(100_003).for_each(|chunk| from.write_all(chunk).unwrap());
                from.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || assert!(rest(to).into_iter().eq(words(seed)), "seed {seed}"));
        }
    });
    assert_eq!((rig.counters().bytes_in, rig.counters().bytes_out), (u64::from(BYTES), u64::from(BYTES)));
}

#[test]
fn a_stream_on_which_nothing_moves_is_closed_and_no_other() {
    let idle = Duration::from_secs(2);
    let backend = Backend::new("web.1");
    let rig = Rig::with(Protocol::Tcp, Some(idle), RouterSettings::default());
    rig.publish(serve(&[&backend]));
    let (client, target) = stream(&rig, &backend);
    let start = Instant::now();
    // Bytes of either side count.
    let mut last = start;
    for turn in 0.. {
        let (from, to) = if turn % 2 == 0 { (&client, &target) } else { (&target, &client) };
        last = Instant::now();
        says(from, to, "tick");
        if start.elapsed() > idle * 3 / 2 {
            break;
        }
        pass(Duration::from_millis(50));
    }
    assert_eq!((rest(&client), rest(&target)), (vec![], vec![]));
    assert!(last.elapsed() >= idle, "{:?}", last.elapsed());
    eventually("the stream is over", || rig.counters().open == 0);
}
