//! What the router tells whoever runs the instances.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tambat_model::ServicePort;
use tokio::sync::mpsc::UnboundedSender;

/// What the router tells whoever runs the instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterReport {
    /// A target refused a connection: nobody listens there any more. Repeated for each connection it happens to, and
    /// about once a second while one waits for it.
    Refused {
        /// The target's name: `web.1`.
        target: String,
        /// Its generation, so that a report on an old instance is told from one on its successor.
        generation: u32,
        /// Where it was dialled.
        addr: SocketAddr,
    },
    /// A target could not be connected to for another reason: no answer in time, no way there. Repeated as above.
    Unreachable {
        /// The target's name.
        target: String,
        /// Its generation.
        generation: u32,
        /// Where it was dialled.
        addr: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// A connection or request began to wait for a target.
    Waiting {
        /// The service port it arrived at; none: a shared listener.
        port: Option<ServicePort>,
        /// The process port it is for, as people name it; empty: there is no route yet.
        route: String,
    },
    /// A connection of a peer that has to introduce its clients has not begun with a PROXY header, and was closed. Said
    /// once a minute at most by each worker.
    Unintroduced {
        /// The peer.
        peer: SocketAddr,
        /// What was wrong: the end of a sentence that begins with it.
        cause: String,
    },
    /// A client of HTTP/2 was refused a request, or its whole connection, for what its frames were (RFC 9113 §5.4): it breaks
    /// a rule, or asks for more than it may. Said once a minute at most by each worker; all of them are counted.
    RefusedHttp2 {
        /// The client.
        peer: SocketAddr,
        /// What became of it, and the reason that it was given.
        cause: String,
    },
    /// A client's connection was closed for a flood, or many of them for breaking rules of HTTP/2, and what comes from its
    /// address waits for a while. Said of an address when it begins to pause and when its pauses become longer, and once a
    /// second at most; all connections that wait are counted.
    AddressPaused {
        /// The client; of an IPv6 address, its network of 64 bits is meant.
        client: IpAddr,
        /// How long.
        pause: Duration,
    },
    /// Accepting connections was put off for a moment, for want of file descriptors or memory, or because as many are
    /// open as there may be; those that stand go on. Said once a minute at most for each socket.
    AcceptPaused {
        /// The listening socket.
        addr: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// A listener cannot be used any more.
    ListenerLost {
        /// The listening socket.
        addr: SocketAddr,
        /// What the system said.
        cause: String,
    },
}

/// Where reports go. Nobody there to read them is no reason to stop.
#[derive(Debug, Clone)]
pub(crate) struct Reports(pub(crate) UnboundedSender<RouterReport>);

impl Reports {
    pub(crate) fn send(&self, report: RouterReport) {
        let _ = self.0.send(report);
    }
}
