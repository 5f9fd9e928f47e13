//! Where a connection comes from: the ends of its socket, and what was said of them before its first byte.

use std::net::SocketAddr;

use tambat_model::ProxyProtocol;
use tambat_wire::http1::{RequestId, Scheme};
use tambat_wire::proxy_protocol::{Header, Notes, Origin, Tls, write};

use crate::settings::RouterSettings;
use crate::transport::Transport;

/// Where a connection comes from.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// The client: the other end of the socket, or whom that has connected for.
    pub(crate) peer: SocketAddr,
    /// What the socket does not say. Boxed: most connections have nothing of the kind.
    pub(crate) known: Option<Box<Known>>,
}

/// What is known of a connection beyond its socket: from a PROXY header, or from TLS.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The address that the client has dialled, where that is none of ours.
    pub(crate) server: Option<SocketAddr>,
    /// The other end has connected for somebody else, and could not say for whom.
    pub(crate) is_of_stranger: bool,
    /// The name by which the client has called us: TLS' `server_name`.
    pub(crate) authority: Option<Box<str>>,
    /// What is spoken, as ALPN has it.
    pub(crate) alpn: Option<Box<[u8]>>,
    /// The TLS that the client speaks, to us or to whom it has dialled.
    pub(crate) tls: Option<KnownTls>,
}

/// What is known of a client's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownTls {
    /// The version: `TLSv1.3`.
    pub(crate) version: Option<Box<str>>,
    /// Has the client shown a certificate that was verified?
    pub(crate) certified: bool,
}

impl Arrival {
    /// A connection of which nothing but its other end is known.
    pub(crate) fn of(peer: SocketAddr) -> Self {
        Self { peer, known: None }
    }

    /// One that began with this header, sent by a peer that had to send one. The sender's own connections (`LOCAL`) come
    /// from where they come from.
    pub(crate) fn introduced(peer: SocketAddr, header: &Header<'_>) -> Self {
        let Notes { authority, alpn, tls, .. } = header.notes;
        let mut known = Known {
            authority: authority.map(Into::into),
            alpn: alpn.map(Into::into),
            tls: tls.map(|Tls { version, certified }| KnownTls { version: version.map(Into::into), certified }),
            ..Known::default()
        };
        let peer = match header.origin {
            Origin::Sender => return Self::of(peer),
            Origin::Unknown => {
                known.is_of_stranger = true;
                peer
            }
            Origin::Client { client, server } => {
                known.server = Some(server);
                client
            }
        };
        Self { peer, known: Some(Box::new(known)) }
    }

    /// The same of one that has called by this name whom it has dialled.
    pub(crate) fn calling(&self, name: &str) -> Self {
        let known = self.known.as_deref().cloned().unwrap_or_default();
        Self { peer: self.peer, known: Some(Box::new(Known { authority: Some(name.into()), ..known })) }
    }

    /// How the client speaks to us, or to whom it has dialled.
    pub(crate) fn scheme(&self) -> Scheme {
        match &self.known {
            Some(known) if known.tls.is_some() => Scheme::Https,
            _ => Scheme::Http,
        }
    }

    /// The number that the client has dialled, where this one was accepted at `port`.
    pub(crate) fn port(&self, port: u16) -> u16 {
        self.known.as_ref().and_then(|known| known.server).map_or(port, |server| server.port())
    }

    /// Is the client's word taken on where requests come from? Not that of one who stands behind somebody trusted.
    pub(crate) fn is_trusted(&self, settings: &RouterSettings) -> bool {
        !self.is_of_stranger() && settings.trusted.contains(self.peer.ip())
    }

    /// Does it come from this machine, as far as that is certain? What a header says of a loopback address is true on the
    /// sender's machine.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        !self.is_introduced() && !self.is_of_stranger() && self.peer.ip().to_canonical().is_loopback()
    }

    /// Has a header said who the client is?
    pub(crate) fn is_introduced(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.server.is_some())
    }

    fn is_of_stranger(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.is_of_stranger)
    }

    /// The header for a target that is told where this connection comes from, and its id.
    pub(crate) fn header(&self, version: ProxyProtocol, client: &Transport, id: &RequestId) -> Vec<u8> {
        let dialled = self.known.as_ref().and_then(|known| known.server).or_else(|| client.local_addr());
        let origin = match dialled {
            // Who stands behind a stranger is not known: the stranger is named, and nobody takes him for somebody of this
            // machine, as would happen if nobody were.
            Some(server) => Origin::Client { client: self.peer, server },
            None => Origin::Unknown,
        };
        let mut header = Vec::new();
        let alpn = client.alpn();
        // What the client's TLS with us has said comes before what was said of its TLS with somebody else.
        let notes = match (client.secured(), self.known.as_deref()) {
            (Some(secured), _) => Notes {
                authority: secured.server_name.as_deref(),
                alpn: alpn.as_deref(),
                unique_id: Some(id.as_bytes()),
                tls: Some(Tls { version: Some(secured.version.openssl_name()), certified: secured.client.is_some() }),
            },
            (None, Some(known)) => Notes { unique_id: Some(id.as_bytes()), ..known.notes() },
            (None, None) => Notes { unique_id: Some(id.as_bytes()), ..Notes::default() },
        };
        write(version, &origin, &notes, &mut header);
        header
    }
}

impl Known {
    fn notes(&self) -> Notes<'_> {
        let tls = self.tls.as_ref();
        Notes {
            authority: self.authority.as_deref(),
            alpn: self.alpn.as_deref(),
            unique_id: None,
            tls: tls.map(|tls| Tls { version: tls.version.as_deref(), certified: tls.certified }),
        }
    }
}

#[cfg(test)]
mod tests {
    use tambat_model::Network;
    use tambat_wire::proxy_protocol::{Peek, peek};

    use super::*;

    /// A connection of 10.0.0.1 that began with this.
    fn introduced(bytes: &[u8]) -> Arrival {
        let Peek::Found(header) = peek(bytes) else { panic!("{bytes:?}") };
        Arrival::introduced(([10, 0, 0, 1], 4711).into(), &header)
    }

    fn settings(trusted: &str) -> RouterSettings {
        let trusted = [trusted.parse::<Network>().unwrap()].into_iter().collect();
        RouterSettings { trusted, ..RouterSettings::default() }
    }

    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    #[test]
    fn who_is_named_is_the_peer_and_what_was_dialled_is_the_port() {
        let arrival = introduced(b"PROXY TCP4 192.0.2.7 198.51.100.2 1 443\r\n");
        assert_eq!((arrival.peer, arrival.port(8_080)), (([192, 0, 2, 7], 1).into(), 443));
        assert!(arrival.is_introduced() && arrival.scheme() == Scheme::Http);
        for (header, peer) in [(LOCAL, [10, 0, 0, 1]), (b"PROXY UNKNOWN\r\n", [10, 0, 0, 1])] {
            let arrival = introduced(header);
            assert_eq!((arrival.peer, arrival.port(8_080)), ((peer, 4711).into(), 8_080));
            assert!(!arrival.is_introduced());
        }
    }

    #[test]
    fn trust_is_in_who_is_named_and_in_nobody_who_is_not() {
        let (proxy, client) = (settings("10.0.0.1"), settings("192.0.2.7"));
        let named = introduced(b"PROXY TCP4 192.0.2.7 198.51.100.2 1 443\r\n");
        assert!(!named.is_trusted(&proxy) && named.is_trusted(&client));
        let unknown = introduced(b"PROXY UNKNOWN\r\n");
        assert!(!unknown.is_trusted(&proxy) && !unknown.is_trusted(&client));
        let own = introduced(LOCAL);
        assert!(own.is_trusted(&proxy) && !own.is_trusted(&client));
    }

    #[test]
    fn a_name_that_was_called_changes_nothing_else() {
        for arrival in
            [Arrival::of(([127, 0, 0, 1], 1).into()), introduced(b"PROXY TCP4 192.0.2.7 198.51.100.2 1 443\r\n")]
        {
            let calling = arrival.calling("a.example");
            assert_eq!(calling.known.as_deref().and_then(|known| known.authority.as_deref()), Some("a.example"));
            assert_eq!((calling.peer, calling.port(80)), (arrival.peer, arrival.port(80)));
            assert_eq!(calling.is_of_this_machine(), arrival.is_of_this_machine());
            assert_eq!(calling.is_introduced(), arrival.is_introduced());
        }
    }

    #[test]
    fn what_is_of_this_machine_says_so_by_itself() {
        assert!(Arrival::of(([127, 0, 0, 1], 1).into()).is_of_this_machine());
        assert!(!introduced(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 443\r\n").is_of_this_machine());
        let Peek::Found(unknown) = peek(b"PROXY UNKNOWN\r\n") else { panic!("a header") };
        assert!(!Arrival::introduced(([127, 0, 0, 1], 1).into(), &unknown).is_of_this_machine());
    }
}
