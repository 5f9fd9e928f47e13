//! What an app speaks on its own port.

use std::fmt;
use std::str::FromStr;

/// What an app speaks on its own port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112): ready when it answers below 500.
    Http,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3), gRPC among it: ready when it answers, and does not say that
    /// it is not serving (`grpc.health.v1`).
    H2c,
    /// The Redis protocol: ready when it answers `PING`.
    Redis,
    /// The `PostgreSQL` protocol: ready when it answers a startup message.
    Postgres,
    /// XMPP (RFC 6120), of clients or of servers: ready when it answers a stream header.
    Xmpp,
    /// The protocol of `MySQL` and `MariaDB`: ready when it greets.
    Mysql,
    /// MQTT (OASIS MQTT 3.1.1 and 5.0): ready when it answers a `CONNECT`.
    Mqtt,
    /// SMTP (RFC 5321): ready when it greets.
    Smtp,
    /// SSH (RFC 4253): ready when it names its version.
    Ssh,
    /// DNS (RFC 1035), over UDP and TCP on one number: ready when it answers a query.
    Dns,
    /// Any stream that begins with a TLS handshake (RFC 8446): ready when it takes part in one.
    Tls,
    /// Any stream over TCP: ready when it accepts.
    Tcp,
    /// Any datagrams over UDP: ready when it has bound its port.
    Udp,
    /// Nothing: the process binds no port and gets none.
    None,
}

/// What ports are numbered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Streams (RFC 9293).
    Tcp,
    /// Datagrams (RFC 768).
    Udp,
}

/// A protocol that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a protocol known here: it is http, h2c, redis, postgres, mysql, xmpp, mqtt, smtp, ssh, dns, tls, tcp (any \
     other stream), udp (any other datagrams) or none"
)]
pub struct UnknownProtocol(pub String);

impl Protocol {
    /// All of them, in the order the manual has.
    pub const ALL: [Self; 14] = [
        Self::Http,
        Self::H2c,
        Self::Redis,
        Self::Postgres,
        Self::Mysql,
        Self::Xmpp,
        Self::Mqtt,
        Self::Smtp,
        Self::Ssh,
        Self::Dns,
        Self::Tls,
        Self::Tcp,
        Self::Udp,
        Self::None,
    ];

    /// As it is written in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Xmpp => "xmpp",
            Self::Mqtt => "mqtt",
            Self::Smtp => "smtp",
            Self::Ssh => "ssh",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::None => "none",
        }
    }

    /// The scheme of its handles' URLs: `http` for both versions of HTTP (RFC 9110 §4.2.1), as clients of either write it.
    pub fn scheme(self) -> &'static str {
        if self.is_http() { Self::Http.as_str() } else { self.as_str() }
    }

    /// Is it HTTP, of whatever version? Then requests are routed one by one, by name and path, and clients of any version
    /// are served.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::H2c)
    }

    /// Does a server that speaks it usually own a data directory that a second instance would destroy?
    pub fn is_stateful(self) -> bool {
        matches!(self, Self::Redis | Self::Postgres | Self::Mysql | Self::Xmpp | Self::Mqtt)
    }

    /// The transports that it is spoken over; a port of the same number on each.
    pub fn transports(self) -> &'static [Transport] {
        match self {
            Self::Udp => &[Transport::Udp],
            Self::Dns => &[Transport::Udp, Transport::Tcp],
            Self::None => &[],
            _ => &[Transport::Tcp],
        }
    }

    /// Is it spoken over this transport?
    pub fn is_over(self, transport: Transport) -> bool {
        self.transports().contains(&transport)
    }

    /// Can a listener give it streams of which nothing is known? Whoever speaks HTTP is told by that.
    pub fn can_be_fallback(self) -> bool {
        self.is_over(Transport::Tcp) && !self.is_http()
    }

    /// Does the protocol itself carry the client's address past a router? None that the router carries as a plain
    /// stream does.
    pub fn carries_client_address(self) -> bool {
        self.is_http()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_is_read_as_it_is_written() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.as_str().parse(), Ok(protocol));
        }
        assert!("gopher".parse::<Protocol>().is_err());
    }

    #[test]
    fn each_protocol_has_its_transports() {
        for protocol in Protocol::ALL {
            let is_over = Protocol::is_over;
            let expected = match protocol.as_str() {
                "none" => (false, false),
                "udp" => (false, true),
                "dns" => (true, true),
                _ => (true, false),
            };
            assert_eq!((is_over(protocol, Transport::Tcp), is_over(protocol, Transport::Udp)), expected, "{protocol}");
        }
    }

    #[test]
    fn both_versions_of_http_are_dialled_by_one_scheme() {
        for protocol in Protocol::ALL {
            let is_http = matches!(protocol.as_str(), "http" | "h2c");
            assert_eq!((protocol.is_http(), protocol.scheme() == "http"), (is_http, is_http), "{protocol}");
        }
    }
}
