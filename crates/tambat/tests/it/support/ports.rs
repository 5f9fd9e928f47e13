//! Ports that a test needs by number.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

/// Below the private range of instance ports and the kernel's ephemeral ones: nobody takes these by chance.
const FIRST: u32 = 10_000;
const LAST: u32 = 19_000;

/// Where service ports of a test may begin: this one, and those 100 and 200 above, with four more behind each, are free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base(pub(crate) u16);

impl Base {
    /// Finds one, beginning at a place of this test's own: tests are processes here, threads there.
    pub(crate) fn find() -> Self {
        let steps = (LAST - FIRST) / 5;
        let mut hasher = DefaultHasher::new();
        (std::process::id(), std::thread::current().name()).hash(&mut hasher);
        let seed = u32::try_from(hasher.finish() % u64::from(steps)).unwrap();
        (0..steps)
            .map(|step| u16::try_from(FIRST + (seed + step) % steps * 5).unwrap())
            .find(|base| [0, 100, 200].iter().all(|block| (0..5).all(|port| is_free(base + block + port))))
            .map(Self)
            .unwrap()
    }

    /// As `-p` takes it.
    pub(crate) fn text(self) -> String {
        self.0.to_string()
    }
}

/// Can somebody listen there, at both loopback addresses?
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
}
