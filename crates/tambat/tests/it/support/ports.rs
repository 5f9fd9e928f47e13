//! Ports that a test needs by number.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Below the private range of instance ports and the kernel's ephemeral ones: nobody takes these by chance.
const FIRST: u32 = 10_000;
const LAST: u32 = 19_000;

/// So many ports lie side by side.
const BLOCK: u16 = 5;

/// Where service ports of a test may begin: this one, and those 100, 200 and 300 above, with four more behind each, are
/// free, and no other test finds them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base(pub(crate) u16);

impl Base {
    /// Finds one, beginning at a place of this test's own: tests are processes here, threads there. Each is found once.
    pub(crate) fn find() -> Self {
        let steps = (LAST - FIRST) / u32::from(BLOCK);
        let mut hasher = DefaultHasher::new();
        (std::process::id(), std::thread::current().name()).hash(&mut hasher);
        let seed = u32::try_from(hasher.finish() % u64::from(steps)).unwrap();
        let base = |step: u32| u16::try_from(FIRST + (seed + step) % steps * u32::from(BLOCK)).unwrap();
        (0..steps).map(base).find(|base| is_had(*base)).map(Self).unwrap()
    }

    /// As `-p` takes it.
    pub(crate) fn text(self) -> String {
        self.0.to_string()
    }
}

/// Its blocks are this test's until the process ends, and nobody else's.
fn is_had(base: u16) -> bool {
    let blocks = [0, 100, 200, 300].map(|above| base + above);
    // Names are looked at first: whoever binds a port in order to see whether it is free is in the way of its owner.
    let Some(names) = blocks.iter().map(|block| name(*block)).collect::<Option<Vec<_>>>() else { return false };
    let is_free = |port| is_free(port) && is_free_for_datagrams(port);
    let are_free = blocks.iter().all(|block| (0..BLOCK).all(|port| is_free(block + port)));
    if are_free {
        Box::leak(names.into_boxed_slice());
    }
    are_free
}

/// The name of a block, which the kernel gives to one socket of this machine alone (unix(7), abstract sockets); none:
/// another test has it.
fn name(block: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("tambat-test-ports-{block}")).unwrap();
    UnixListener::bind_addr(&name).ok()
}

/// Can somebody listen there, at both loopback addresses?
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
}

fn is_free_for_datagrams(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
}
