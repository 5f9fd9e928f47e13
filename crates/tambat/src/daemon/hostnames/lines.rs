//! Lines over a unix socket, bounded in length and time.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tambat_os::rights::{receive_listeners, send_listeners};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::message::LINE_BYTES_MAX;

/// A tambat answers at once; one that does not take or send a line within this time is stopped or hangs.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// So much is read at a time.
const PIECE_BYTES: usize = 8 * 1024;

/// Those of both ports with one line, and those of the next line, which may have been read with it.
const LISTENERS_KEPT_MAX: usize = 2 * tambat_os::rights::FILES_MAX;

/// A connection to another tambat.
#[derive(Debug)]
pub(super) struct Lines {
    stream: UnixStream,
    unread: Vec<u8>,
    /// Listeners that came along and nobody has taken yet.
    listeners: Vec<TcpListener>,
}

impl Lines {
    /// Only with a process of the same user: whoever holds the socket's folder may have lost it to somebody else.
    pub(super) fn with_own_user(stream: UnixStream) -> io::Result<Self> {
        let uid = tambat_os::peer::peer_uid(&stream)?;
        if uid == tambat_os::runtime_dir::uid() {
            return Ok(Self { stream, unread: Vec::new(), listeners: Vec::new() });
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it is a process of user {uid}")))
    }

    /// The next line, without its end; none: the other side has ended. Waits as long as it takes. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.whole()? {
                return Ok(Some(line));
            }
            self.stream.readable().await?;
            self.unread.reserve(PIECE_BYTES);
            match self.stream.try_read_buf(&mut self.unread) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The same, keeping the listeners that come along: [`Self::take_listeners`] has them. They come with the first byte
    /// of their line at the latest.
    pub(super) async fn next_with_listeners(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if let Some(line) = self.whole()? {
                return Ok(Some(line));
            }
            let read = || receive_listeners(&self.stream, &mut piece);
            let (read, came) = self.stream.async_io(Interest::READABLE, read).await?;
            if read == 0 {
                return Ok(None);
            }
            self.unread.extend_from_slice(&piece[..read]);
            self.listeners.extend(came);
            if self.listeners.len() > LISTENERS_KEPT_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it sends listeners without end"));
            }
        }
    }

    /// The listeners that have come along so far.
    pub(super) fn take_listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// Sends a line (its end is in it), with listeners. Within [`ANSWER_LIMIT`]. Cut off, it leaves half a line: the
    /// connection is of no use then.
    pub(super) async fn send(&self, line: &[u8], mut listeners: &[&TcpListener]) -> io::Result<()> {
        let all = async {
            let mut rest = line;
            while !rest.is_empty() {
                let write = || send_listeners(&self.stream, rest, listeners);
                let taken = self.stream.async_io(Interest::WRITABLE, write).await?;
                (rest, listeners) = (&rest[taken..], &[]);
            }
            Ok(())
        };
        in_time(all).await
    }

    fn whole(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.unread.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                Ok(Some(line))
            }
            None if self.unread.len() > LINE_BYTES_MAX => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it sends a line without end"))
            }
            None => Ok(None),
        }
    }
}

/// Within [`ANSWER_LIMIT`], or an error that says so.
pub(super) async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_LIMIT, work).await.unwrap_or_else(|_| {
        let text = format!("it did not answer within {} s", ANSWER_LIMIT.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    fn pair() -> (Lines, Lines) {
        let (one, two) = UnixStream::pair().unwrap();
        (Lines::with_own_user(one).unwrap(), Lines::with_own_user(two).unwrap())
    }

    #[test]
    fn lines_come_whole_and_in_order() {
        run(async {
            let (one, mut two) = pair();
            let long = format!("{}\n", "x".repeat(LINE_BYTES_MAX / 2));
            let sent = async {
                one.send(b"first\nsecond\n", &[]).await.unwrap();
                one.send(long.as_bytes(), &[]).await.unwrap();
                drop(one);
            };
            let received = async {
                assert_eq!(two.next().await.unwrap().unwrap(), b"first");
                assert_eq!(two.next().await.unwrap().unwrap(), b"second");
                assert_eq!(two.next().await.unwrap().unwrap().len(), long.len() - 1);
                assert_eq!(two.next().await.unwrap(), None);
            };
            tokio::join!(sent, received);
        });
    }

    #[test]
    fn listeners_come_with_the_first_line_of_a_long_one_too() {
        run(async {
            let (one, mut two) = pair();
            let listeners = tambat_os::ports::bind_service(0, &tambat_os::ports::DEFAULT_HOSTS[..1], &[]).unwrap();
            let long = format!("{}\n", "x".repeat(300_000));
            let lent: Vec<&TcpListener> = listeners.iter().collect();
            let (sent, line) = tokio::join!(one.send(long.as_bytes(), &lent), two.next_with_listeners());
            sent.unwrap();
            let came = two.take_listeners();
            assert_eq!((line.unwrap().unwrap().len(), came.len()), (300_000, 1));
            assert_eq!(came[0].local_addr().unwrap(), listeners[0].local_addr().unwrap());
            // Read ahead, they are kept for their line.
            one.send(b"plain\n", &[]).await.unwrap();
            one.send(b"with one\n", &lent).await.unwrap();
            assert_eq!(two.next_with_listeners().await.unwrap().unwrap(), b"plain");
            assert_eq!(two.next_with_listeners().await.unwrap().unwrap(), b"with one");
            assert_eq!(two.take_listeners().len(), 1);
        });
    }

    #[test]
    fn a_line_without_end_and_a_silent_other_side_are_errors() {
        run(async {
            let (one, mut two) = pair();
            let endless = vec![b'x'; LINE_BYTES_MAX + PIECE_BYTES];
            let (_, heard) = tokio::join!(one.send(&endless, &[]), two.next());
            assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let (_one, mut two) = pair();
            assert_eq!(in_time(two.next_with_listeners()).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let (one, mut two) = pair();
            drop(one);
            assert_eq!(two.next_with_listeners().await.unwrap(), None);
        });
    }
}
