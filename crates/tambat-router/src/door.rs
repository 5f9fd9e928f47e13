//! A listener of the manifest at which clients are told apart by how they begin: each is heard until it is known whom it
//! wants, and led there.
//!
//! ```text
//! enter ── Peeker (pure) ── tls        ended here by a thread of handshakes, or passed on unread
//!                     │ ├── xmpp       by `to`: the app's, or STARTTLS here
//!                     │ ├── postgres   SSLRequest, then as TLS; cancels
//!                     │ └── HTTP, SSH, whoever is reached by those who tell nothing
//! ```
//!
//! What was heard is kept, and is the first that whoever is reached gets to read. It is bounded in bytes by the peekers,
//! and in time (hostile case G10): a client that waits for a greeting is led to whoever is reached by those who tell
//! nothing, or its connection is closed. One that says nothing has a task, its socket and a timer, and no buffer.

mod cancels;
mod postgres;
mod tls;
mod xmpp;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tambat_model::{Entrance, ErrorCode, ListenAddr, Opening, PEEK_WITHIN_DEFAULT};
use tambat_wire::peek::{Peek, Peeker, Told};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::arrival::Arrival;
use crate::connection::serve_http;
use crate::listener::Open;
use crate::socket::{is_transient, receive, receive_unasked};
use crate::stream;
use crate::transport::Transport;
use crate::wanted::Wanted;
use crate::worker::Worker;

pub(crate) use cancels::{Cancels, Place, Session};
pub(crate) use postgres::begin_inside;

/// What is read at once: a client's first words as a rule, and not much of what it goes on to say.
const CHUNK_BYTES: usize = 16 * 1024;

/// How long a client may take to read what it is told last, and to close.
const LINGER_S: u64 = 1;

/// How long who has not been heard out may go on when no more clients are let in.
const LAST_WORD_S: u64 = 1;

/// How much of what it still sends is thrown away before the connection is closed on it: unread bytes would make a reset of
/// the close, and a reset destroys what it was told on its way.
const DRAINED_BYTES_MAX: usize = 64 * 1024;

/// Who has come, and what it has said.
pub(crate) struct Visitor {
    pub(crate) client: TcpStream,
    pub(crate) received: Vec<u8>,
    pub(crate) arrival: Arrival,
    pub(crate) open: Open,
    pub(crate) worker: Rc<Worker>,
}

/// How a client has begun.
enum Begun {
    So(Told),
    /// In no way that its listener knows.
    Otherwise,
    /// It has closed its connection without a word, or broken it off.
    Gone,
}

/// What has come of a client.
#[derive(PartialEq, Eq)]
enum Heard {
    More,
    /// It sends no more.
    End,
    Gone,
}

/// Hears whom a client wants and leads it there, in a task of its own.
pub(crate) fn enter(at: ListenAddr, entrance: Arc<Entrance>, visitor: Visitor) {
    spawn_local(hear_out(at, entrance, visitor));
}

async fn hear_out(at: ListenAddr, entrance: Arc<Entrance>, mut visitor: Visitor) {
    let mut peeker = Peeker::new(&entrance.openings);
    let within = entrance.within.unwrap_or(PEEK_WITHIN_DEFAULT);
    drop(entrance);
    let worker = Rc::clone(&visitor.worker);
    let begun = heard_within(within, &worker, visitor.begins(&mut peeker)).await;
    let is_late = begun.is_none() && !visitor.received.is_empty();
    let begins_stream = is_late && peeker.may_be(Opening::Xmpp);
    drop((peeker, worker));
    match begun.unwrap_or(Begun::Otherwise) {
        Begun::So(Told::Http) => visitor.speaks_http(),
        Begun::So(Told::Ssh) => visitor.to(Wanted::Ssh),
        // Boxed: none of those who say nothing should be as big as these.
        Begun::So(Told::Tls(hello)) => Box::pin(tls::lead(at, hello, visitor)).await,
        Begun::So(Told::Xmpp(told)) => Box::pin(xmpp::lead(at, told, visitor)).await,
        Begun::So(Told::Postgres) => Box::pin(postgres::lead(at, visitor)).await,
        Begun::Otherwise if visitor.entrance(at).is_some_and(|entrance| entrance.other.is_some()) => {
            visitor.to(Wanted::Whoever);
        }
        Begun::Otherwise if begins_stream => Box::pin(xmpp::is_late(visitor)).await,
        Begun::Otherwise => visitor.is_refused(None, ErrorCode::NotTold),
        Begun::Gone => {}
    }
}

/// What comes of hearing somebody; none: this time is over. Who is not heard out when no more clients are let in has a second
/// from then on: the end is not put off for whoever says nothing.
async fn heard_within<T>(limit: Duration, worker: &Worker, hearing: impl Future<Output = T>) -> Option<T> {
    let deadline = worker.deadlines.deadline();
    deadline.set(Instant::now(), Some(limit));
    let mut is_last = false;
    let mut hearing = pin!(hearing);
    poll_fn(|cx| {
        if let Poll::Ready(heard) = hearing.as_mut().poll(cx) {
            return Poll::Ready(Some(heard));
        }
        deadline.wakes(cx.waker());
        if deadline.is_reached() {
            return Poll::Ready(None);
        }
        if worker.is_draining.get() && !std::mem::replace(&mut is_last, true) {
            deadline.set(Instant::now(), Some(limit.min(Duration::from_secs(LAST_WORD_S))));
        }
        Poll::Pending
    })
    .await
}

impl Visitor {
    async fn begins(&mut self, peeker: &mut Peeker) -> Begun {
        loop {
            match self.hear().await {
                Heard::More => {}
                Heard::End if !self.received.is_empty() => return Begun::Otherwise,
                Heard::End | Heard::Gone => return Begun::Gone,
            }
            match peeker.on(&self.received) {
                Peek::Incomplete => {}
                Peek::Found(told) => return Begun::So(told),
                Peek::No => return Begun::Otherwise,
            }
        }
    }

    /// Takes what has come, as soon as something has. Cancelling it loses nothing.
    async fn hear(&mut self) -> Heard {
        let Self { client, received, worker, .. } = self;
        // What it begins with is there as a rule when it is accepted, before any event tells of it.
        let mut is_new = received.is_empty();
        poll_fn(|cx| {
            loop {
                let is_first = std::mem::take(&mut is_new);
                if !is_first && std::task::ready!(client.poll_read_ready(cx)).is_err() {
                    return Poll::Ready(Heard::Gone);
                }
                let mut tools = worker.tools.borrow_mut();
                let buffer = &mut tools.ready().buffer[..CHUNK_BYTES];
                let heard = if is_first { receive_unasked(client, buffer) } else { receive(client, buffer) };
                return Poll::Ready(match heard {
                    Ok(0) => Heard::End,
                    Ok(more) => {
                        received.extend_from_slice(&buffer[..more]);
                        Heard::More
                    }
                    Err(error) if is_transient(&error) => continue,
                    Err(_) => Heard::Gone,
                });
            }
        })
        .await
    }

    /// Sends this.
    async fn say(&self, words: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < words.len() {
            self.client.writable().await?;
            match crate::socket::send(&self.client, &words[sent..]) {
                Ok(more) => sent += more,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Who is reached here now.
    fn entrance(&self, at: ListenAddr) -> Option<Arc<Entrance>> {
        self.worker.tables.newest().entrance(at).map(Arc::clone)
    }

    fn to(self, wanted: Wanted) {
        let Self { client, received, arrival, open, worker } = self;
        spawn_local(stream::serve(wanted, Transport::Tcp(client), received, arrival, open, worker));
    }

    fn speaks_http(self) {
        let Self { client, received, arrival, open, worker } = self;
        serve_http(Transport::Tcp(client), received, arrival, open, worker, None);
    }

    /// It is counted and noted that it was refused.
    fn is_refused(&self, name: Option<&str>, code: ErrorCode) {
        stream::refuse(&self.arrival, &self.open, &self.worker, name, code);
    }

    /// Tells it why, and closes.
    async fn dismiss(self, words: &[u8]) {
        say_last(&Transport::Tcp(self.client), words, &self.worker).await;
    }

    /// An id that nobody can guess.
    fn id(&self) -> String {
        let id = self.worker.clock.request_id(std::time::Instant::now());
        String::from_utf8_lossy(id.as_bytes()).into_owned()
    }
}

/// Tells a client something, and that nothing more comes. It has a second to read that and to close.
pub(crate) async fn say_last(client: &Transport, words: &[u8], worker: &Worker) {
    let _ = timeout(Duration::from_secs(LINGER_S), async {
        client.send_all(words).await?;
        poll_fn(|cx| client.poll_end(cx)).await?;
        let mut drained = 0;
        poll_fn(|cx| {
            loop {
                std::task::ready!(client.poll_read_ready(cx))?;
                let mut tools = worker.tools.borrow_mut();
                match client.receive(&mut tools.ready().buffer) {
                    Ok(0) => return Poll::Ready(Ok(())),
                    Ok(more) => drained += more,
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
                if drained > DRAINED_BYTES_MAX {
                    return Poll::Ready(io::Result::Ok(()));
                }
            }
        })
        .await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;
    use crate::listener::{ListenerKind, ListenerState};

    /// A thousand connections that never speak: a MiB, with what the runtime has for each, and no buffer.
    #[tokio::test]
    async fn who_says_nothing_costs_little() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let at = ListenAddr::from(listener.local_addr().unwrap());
        let open = Arc::new(ListenerState::new(ListenerKind::Named(at), Arc::default())).opened(80, None);
        let arrival = Arrival::of(([127, 0, 0, 1], 80).into());
        let visitor = Visitor { client, received: Vec::new(), arrival, open, worker: Worker::with(Arc::default()) };
        let entrance = Arc::new(Entrance { openings: Opening::ALL.to_vec(), ..Entrance::default() });
        let task = hear_out(at, entrance, visitor);
        let bytes = size_of_val(&task);
        println!("task {bytes} B, peeker {} B", size_of::<Peeker>());
        assert!(bytes <= 1_024, "{bytes}");
    }
}
