//! A client of HTTP/2 without TLS that asks what the one of HTTP/1 asks where one request is looked at closely.

use std::io;

use bytes::Bytes;
use h2::{RecvStream, SendStream, client};
use http::{Method, Request, Response};
use tokio::task::JoinHandle;

use super::address::Address;
use super::http::{Answer, NoAnswer, clean, within};

/// A request on a connection of its own.
#[derive(Debug)]
pub(super) struct Stream {
    head: JoinHandle<Result<Response<RecvStream>, h2::Error>>,
    body: SendStream<Bytes>,
}

impl Stream {
    /// Asks for a path at a host, with further fields. `ends`: without a body.
    pub(super) async fn open(
        addr: Address,
        (method, host, path): (Method, &str, &str),
        fields: &[(&'static str, String)],
        ends: bool,
    ) -> io::Result<Self> {
        let stream = addr.connect().await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = client::handshake(stream).await.map_err(io::Error::other)?;
        // It ends when nobody holds a stream of it any more.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(format!("http://{host}{}", clean(path)));
        for (name, value) in
            [("user-agent", "tambat-check".to_owned()), ("accept", "*/*".to_owned())].iter().chain(fields)
        {
            request = request.header(*name, value);
        }
        let request = request.body(()).map_err(io::Error::other)?;
        let mut requests = requests.ready().await.map_err(io::Error::other)?;
        let (head, body) = requests.send_request(request, ends).map_err(io::Error::other)?;
        Ok(Self { head: tokio::spawn(head), body })
    }

    /// Sends so much of the body; a stream that is gone says so when the answer is read.
    pub(super) fn send(&mut self, bytes: &'static [u8], ends: bool) {
        let _ = self.body.send_data(Bytes::from_static(bytes), ends);
    }

    /// Has an answer begun, or the stream ended?
    pub(super) fn has_news(&self) -> bool {
        self.head.is_finished()
    }

    /// Reads the answer to its end.
    pub(super) async fn answer(self) -> Result<Answer, NoAnswer> {
        let gone = |error: h2::Error| NoAnswer::Ended(0, Some(io::Error::other(error)));
        let (head, mut body) = self.head.await.map_err(|_| NoAnswer::Ended(0, None))?.map_err(gone)?.into_parts();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
        let mut answer = Answer {
            status: head.status.as_u16(),
            fields: fields.collect(),
            body: Vec::new(),
            is_whole: false,
            bytes: 1,
        };
        while let Some(data) = body.data().await {
            let Ok(data) = data else { return Ok(answer) };
            answer.take(&data);
            let _ = body.flow_control().release_capacity(data.len());
            if !within(&answer) {
                return Ok(answer);
            }
        }
        answer.is_whole = body.trailers().await.is_ok();
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers the first stream once its request is whole: with so many bytes, all of them or not.
    async fn server(bytes: usize, all: bool) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = Address::plain(listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            let (mut request, mut respond) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            while request.body_mut().data().await.is_some() {}
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from(vec![b'x'; bytes]), all).unwrap();
            if !all {
                // What was sent comes first.
                tokio::task::yield_now().await;
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        });
        addr
    }

    #[tokio::test]
    async fn an_answer_is_whole_when_its_stream_ends_in_order() {
        for (all, is_whole) in [(true, true), (false, false)] {
            let addr = server(5, all).await;
            let mut stream = Stream::open(addr, (Method::POST, "h", "/x"), &[], false).await.unwrap();
            stream.send(b"half", false);
            assert!(!stream.has_news());
            stream.send(b"rest", true);
            match stream.answer().await {
                Ok(answer) => assert_eq!((answer.status, answer.is_whole), (200, is_whole)),
                Err(error) => assert!(!is_whole, "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_is_gone_gives_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = Address::plain(listener.local_addr().unwrap());
        tokio::spawn(async move { drop(listener.accept().await) });
        let asked = Stream::open(addr, (Method::GET, "h", "/"), &[], true).await;
        if let Ok(stream) = asked {
            assert!(stream.answer().await.is_err());
        }
    }
}
