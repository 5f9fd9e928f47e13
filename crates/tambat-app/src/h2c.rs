//! HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3).

use std::{io, mem::MaybeUninit, pin::pin};

use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

use crate::{
    Draining, HttpService,
    activity::{Activity, Counted, CountedIo, drive},
};

/// What an HTTP/2 client sends first begins with this method, which RFC 9113 §11.6 keeps from meaning anything else.
const PREFACE_METHOD: &[u8] = b"PRI";

/// Requests at once on one connection: what RFC 9113 §6.5.2 recommends as the least, doubled. Clients open another
/// connection for more.
const STREAMS_MAX: u32 = 200;

/// Whether what a client sends first is the preface of HTTP/2. Nothing is read. Completes when that is decided, which
/// takes one to three bytes.
pub(crate) async fn is_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; PREFACE_METHOD.len()];
    loop {
        let count = stream.peek(&mut bytes).await?;
        if count == 0 || count == bytes.len() || !PREFACE_METHOD.starts_with(&bytes[..count]) {
            return Ok(bytes[..count] == *PREFACE_METHOD);
        }
        if more_than(count, stream).await? == Came::Nothing {
            return Ok(false);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    More,
    /// And nothing will: the client has closed its side.
    Nothing,
}

/// Waits until there is more to read than so many bytes.
async fn more_than(seen: usize, stream: &TcpStream) -> io::Result<Came> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        // Within `try_io`, so that what was seen before counts as not ready.
        let more = stream.try_io(Interest::READABLE, || {
            let mut bytes = [MaybeUninit::uninit(); PREFACE_METHOD.len()];
            match SockRef::from(stream).peek(&mut bytes)? {
                count if count > seen => Ok(Came::More),
                _ if ready.is_read_closed() => Ok(Came::Nothing),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match more {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            decided => return decided,
        }
    }
}

/// One connection, to its end: see [`serve_connection`](crate::http::serve_connection).
pub(crate) async fn serve<S: HttpService>(stream: TcpStream, service: S, draining: &Draining) {
    let activity = Activity::default();
    let (io, service) = (CountedIo::new(stream, &activity), Counted::new(service, &activity));
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(STREAMS_MAX).enable_connect_protocol();
    let connection = pin!(http.serve_connection(io, service));
    drive(connection, http2::Connection::graceful_shutdown, activity.deaf(), &activity, draining).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncWriteExt, net::TcpListener, time::timeout};

    use super::*;

    /// What takes longer than this has failed.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        client.set_nodelay(true).expect("set");
        (client, listener.accept().await.expect("accepted").0)
    }

    #[tokio::test]
    async fn a_preface_is_told_from_every_method_that_begins_like_it() {
        for (sent, expected) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            ("PRI", true),
            ("PROPFIND / HTTP/1.1\r\n", false),
            ("PR", false),
            ("POST / HTTP/1.1\r\n", false),
            ("P", false),
            ("GET / HTTP/1.1\r\n", false),
            ("pri", false),
            ("", false),
        ] {
            let (mut client, server) = pair().await;
            client.write_all(sent.as_bytes()).await.expect("sent");
            // What is undecided is decided by the end.
            client.shutdown().await.expect("closed");
            let seen = timeout(PATIENCE, is_preface(&server)).await.expect("decided in time").expect("decided");
            assert_eq!(seen, expected, "{sent:?}");
            let mut bytes = vec![0; sent.len()];
            let mut server = server;
            tokio::io::AsyncReadExt::read_exact(&mut server, &mut bytes).await.expect("nothing was read");
            assert_eq!(bytes, sent.as_bytes());
        }
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_are_waited_for() {
        for (sent, expected) in [("PRI", true), ("PRO", false), ("PO", false)] {
            let (mut client, server) = pair().await;
            let seen = tokio::spawn(async move { is_preface(&server).await });
            for byte in sent.as_bytes() {
                client.write_all(&[*byte]).await.expect("sent");
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            let seen = timeout(PATIENCE, seen).await.expect("decided in time").expect("no panic").expect("decided");
            assert_eq!(seen, expected, "{sent:?}");
        }
    }
}
