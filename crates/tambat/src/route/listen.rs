//! The addresses that a router alone accepts at.

use std::io;
use std::net::{SocketAddr, TcpListener};

use tambat_model::Transport;

use crate::entrances::cannot_listen;
use crate::failure::Failure;

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Where: its port is the kernel's choice where the file leaves it to it.
    pub(crate) addr: SocketAddr,
    /// It.
    pub(crate) socket: TcpListener,
}

/// Listens at all of these addresses, or at none of them.
pub(crate) fn bind(addrs: &[SocketAddr]) -> Result<Vec<Bound>, Failure> {
    let mut all = Vec::new();
    for addr in addrs {
        let cannot = |error: &io::Error| cannot_listen(*addr, error, &[Transport::Tcp], "");
        for socket in tambat_os::ports::bind_service(addr.port(), &[addr.ip()], &[]).map_err(|error| cannot(&error))? {
            let addr = socket.local_addr().map_err(|error| cannot(&error))?;
            all.push(Bound { addr, socket });
        }
    }
    Ok(all)
}
