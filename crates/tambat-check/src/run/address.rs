//! Where a start is asked, and what it is promised to hear first.

use std::io;
use std::net::SocketAddr;

use tambat_model::ProxyProtocol;
use tambat_wire::proxy_protocol::own_header;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// An address of a start. Every client of a check connects through it, the rude ones too: whoever stands behind a router
/// that sends the PROXY header gets it from all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) addr: SocketAddr,
    /// How it is told where a connection comes from.
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

impl Address {
    /// One at which nothing is said first.
    pub(super) fn plain(addr: SocketAddr) -> Self {
        Self { addr, proxy_protocol: None }
    }

    pub(super) fn port(self) -> u16 {
        self.addr.port()
    }

    /// A connection on which the app's protocol begins. The header says that it is nobody's but ours.
    pub(super) async fn connect(self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.addr).await?;
        if let Some(version) = self.proxy_protocol {
            let header = own_header(version, stream.local_addr()?, self.addr);
            stream.write_all(&header).await?;
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_header_comes_first_where_it_is_promised() {
        for (proxy_protocol, begins) in [
            (None, &b"hello"[..]),
            (Some(ProxyProtocol::V1), b"PROXY TCP4 127.0.0.1 127.0.0.1 "),
            (Some(ProxyProtocol::V2), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0hello"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = Address { addr: listener.local_addr().unwrap(), proxy_protocol };
            let mut client = at.connect().await.unwrap();
            client.write_all(b"hello").await.unwrap();
            drop(client);
            let mut heard = Vec::new();
            listener.accept().await.unwrap().0.read_to_end(&mut heard).await.unwrap();
            assert!(heard.starts_with(begins) && heard.ends_with(b"hello"), "{}", heard.escape_ascii());
        }
    }
}
