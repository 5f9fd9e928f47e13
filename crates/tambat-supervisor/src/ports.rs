//! Instance ports: the next free one of the private range.

use std::net::{Ipv4Addr, TcpListener};

use tambat_model::{INSTANCE_PORT_FIRST, INSTANCE_PORT_LAST, InstancePort};

/// How many numbers there are.
const RANGE: u32 = (INSTANCE_PORT_LAST - INSTANCE_PORT_FIRST) as u32 + 1;

/// A prime, so that tambats started one after the other begin far from each other.
const STRIDE: u32 = 7_919;

/// Hands out instance ports, each number as late as possible again.
#[derive(Debug)]
pub(crate) struct PortPool {
    next: u32,
}

impl PortPool {
    /// Begins at a place of this process's own, so that two tambats seldom try the same number at the same moment.
    pub(crate) fn new(seed: u32) -> Self {
        Self { next: seed.wrapping_mul(STRIDE) % RANGE }
    }

    /// The next port that is free on 0.0.0.0, 127.0.0.1 and [::] and that no instance of ours was told; or why there is
    /// none.
    pub(crate) fn next(&mut self, in_use: impl Fn(u16) -> bool) -> Result<InstancePort, String> {
        let mut asked = false;
        for _ in 0..RANGE {
            let port = INSTANCE_PORT_FIRST + u16::try_from(self.next).unwrap_or(0);
            self.next = (self.next + 1) % RANGE;
            if in_use(port) {
                continue;
            }
            if tambat_os::ports::is_free(port) {
                return InstancePort::try_from(port).map_err(|error| error.to_string());
            }
            if !asked {
                asked = true;
                any_port().map_err(|error| format!("cannot look for a free port: {error}"))?;
            }
        }
        let range = format!("{INSTANCE_PORT_FIRST} to {INSTANCE_PORT_LAST}");
        Err(format!("cannot find a free port from {range}: stop something that listens there"))
    }
}

/// A process without files left finds no port free, whoever has them: this tells the one from the other.
fn any_port() -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_handed_out_before_one_comes_again() {
        let mut pool = PortPool { next: RANGE - 2 };
        let first = pool.next(|_| false).unwrap().get();
        let second = pool.next(|_| false).unwrap().get();
        let third = pool.next(|port| port == INSTANCE_PORT_FIRST).unwrap().get();
        assert!(first >= INSTANCE_PORT_LAST - 1 && second >= INSTANCE_PORT_FIRST);
        assert!(third > INSTANCE_PORT_FIRST && third != second);
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let mut pool = PortPool::new(std::process::id());
        let (taken, _listener) = loop {
            let port = pool.next(|_| false).unwrap().get();
            // Somebody else may have taken it meanwhile.
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                break (port, listener);
            }
        };
        pool.next = u32::from(taken - INSTANCE_PORT_FIRST);
        assert_ne!(pool.next(|_| false).unwrap().get(), taken);
    }

    #[test]
    fn when_all_are_told_the_range_is_named() {
        let error = PortPool::new(1).next(|_| true).unwrap_err();
        assert_eq!(error, "cannot find a free port from 20000 to 29999: stop something that listens there");
    }
}
