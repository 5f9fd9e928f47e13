//! The addresses that a router alone accepts at.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use tambat_model::ServicePort;

use crate::daemon::holder;
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
        let cannot = |error: &io::Error| cannot_listen(*addr, error);
        for socket in tambat_os::ports::bind_service(addr.port(), &[addr.ip()], &[]).map_err(|error| cannot(&error))? {
            let addr = socket.local_addr().map_err(|error| cannot(&error))?;
            all.push(Bound { addr, socket });
        }
    }
    Ok(all)
}

fn cannot_listen(addr: SocketAddr, error: &io::Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::AddrInUse => {
            let by = ServicePort::try_from(addr.port()).map(holder).unwrap_or_default();
            format!("the port is taken by {by}; end that, or change `listen`")
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege (capabilities(7), CAP_NET_BIND_SERVICE); or change `listen`".to_owned()
        }
        ErrorKind::AddrNotAvailable => format!("this machine has no address {}", addr.ip()),
        // The address stands in it.
        _ => return Failure::new(error.to_string()),
    };
    Failure::new(format!("cannot listen at {addr}: {why}"))
}
