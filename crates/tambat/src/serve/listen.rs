//! Where a server listens for everybody.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use tambat_model::ServicePort;

use crate::daemon::holder;
use crate::failure::Failure;

/// The sockets of one public port.
#[derive(Debug)]
pub(crate) struct Public {
    /// Bound and listening.
    pub(crate) sockets: Vec<TcpListener>,
}

impl Public {
    /// Where they are.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

/// Listens at this port of these addresses (none: of all that the machine has; port 0: any). `option` chooses another.
pub(crate) fn bind(hosts: &[IpAddr], port: u16, option: &str) -> Result<Public, Failure> {
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let (asked, if_there): (&[IpAddr], &[IpAddr]) =
        if hosts.is_empty() { (&everywhere, &[IpAddr::V6(Ipv6Addr::UNSPECIFIED)]) } else { (hosts, &[]) };
    let sockets = tambat_os::ports::bind_service(port, asked, if_there).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            let by = ServicePort::try_from(port).map(holder).unwrap_or_default();
            Failure::new(format!(
                "cannot serve at port {port}: it is taken by {by}; end that, or choose another with {option}"
            ))
        }
        ErrorKind::PermissionDenied => Failure::new(format!(
            "cannot serve at port {port}: ports below 1024 need a right; give it to everybody on this machine with \
             `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`, or to tambat with `AmbientCapabilities=\
             CAP_NET_BIND_SERVICE` in its systemd unit; or choose another port with {option}"
        )),
        // The address stands in it.
        _ => Failure::new(format!("{error}; choose others with --address")),
    })?;
    Ok(Public { sockets })
}
