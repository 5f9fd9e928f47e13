//! What the load offers in a handshake: one thing of each kind, so that every proxy must agree to the same.

use std::io;

/// Of a client that takes one version (TLS 1.3), one cipher (AES-128-GCM, what browsers want first) and these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) protocol: Protocol,
    pub(super) exchange: Exchange,
    pub(super) sessions: Sessions,
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// With so many requests outstanding on each connection.
    Http2(u32),
}

/// How the keys are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    X25519,
    /// With ML-KEM beside it, which takes a later OpenSSL than Debian 12 has.
    X25519MlKem768,
}

/// What a handshake begins from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sessions {
    /// Tickets are taken and thrown away: every handshake is a full one.
    New,
    /// Every connection but the first goes on with the ticket of the one before.
    Resumed,
}

impl Offer {
    /// HTTP/1.1, and the rest as most clients have it.
    pub(super) const HTTP1: Self =
        Self { protocol: Protocol::Http1, exchange: Exchange::X25519, sessions: Sessions::New };

    /// The same for HTTP/2.
    pub(super) const fn http2(streams: u32) -> Self {
        Self { protocol: Protocol::Http2(streams), ..Self::HTTP1 }
    }

    /// How many requests are outstanding on a connection at most.
    pub(super) fn at_once(self) -> usize {
        match self.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2(streams) => streams as usize,
        }
    }

    pub(super) fn word(self) -> String {
        let protocol = match self.protocol {
            Protocol::Http1 => "http1".to_owned(),
            Protocol::Http2(streams) => format!("http2:{streams}"),
        };
        let exchange = match self.exchange {
            Exchange::X25519 => "x25519",
            Exchange::X25519MlKem768 => "x25519mlkem768",
        };
        let sessions = match self.sessions {
            Sessions::New => "new",
            Sessions::Resumed => "resumed",
        };
        format!("{protocol},{exchange},{sessions}")
    }

    pub(super) fn parse(word: &str) -> io::Result<Self> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{word}` is no offer of a handshake"));
        let parts: Vec<&str> = word.split(',').collect();
        let [protocol, exchange, sessions] = parts[..] else { return Err(unknown()) };
        let protocol = match (protocol, protocol.strip_prefix("http2:")) {
            ("http1", _) => Protocol::Http1,
            (_, Some(streams)) => {
                Protocol::Http2(streams.parse().ok().filter(|streams| *streams > 0).ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        };
        let exchange = match exchange {
            "x25519" => Exchange::X25519,
            "x25519mlkem768" => Exchange::X25519MlKem768,
            _ => return Err(unknown()),
        };
        let sessions = match sessions {
            "new" => Sessions::New,
            "resumed" => Sessions::Resumed,
            _ => return Err(unknown()),
        };
        Ok(Self { protocol, exchange, sessions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_a_word_and_back() {
        for protocol in [Protocol::Http1, Protocol::Http2(100)] {
            for exchange in [Exchange::X25519, Exchange::X25519MlKem768] {
                for sessions in [Sessions::New, Sessions::Resumed] {
                    let offer = Offer { protocol, exchange, sessions };
                    assert_eq!(Offer::parse(&offer.word()).unwrap(), offer);
                }
            }
        }
        for broken in ["", "http1", "http2:0,x25519,new", "http1,x25519,old", "http3,x25519,new", "http1,p256,new"] {
            assert!(Offer::parse(broken).is_err(), "{broken}");
        }
    }
}
