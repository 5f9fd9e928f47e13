//! Recorders: a handle leads to one, which counts who dials and passes everything on to the real provider.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tambat_model::PortKey;
use tambat_os::Pid;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::Provider;
use crate::observed::Service;

/// Connections that wait for the recorder's task.
const BACKLOG_CONNECTIONS: u32 = 128;

/// After a failed accept (no files left), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What recorders have seen.
#[derive(Debug, Default)]
struct Seen {
    dials: usize,
    /// Where the provider was dialled at its usual ports, by a process of the app.
    elsewhere: BTreeSet<SocketAddr>,
}

/// The recorders of all handles of one process. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Recorders {
    services: Vec<(Provider, u16, Arc<Mutex<Seen>>)>,
    tasks: Vec<JoinHandle<()>>,
}

impl Recorders {
    /// A recorder for each provider, and where its usual ports are free, a trap at each of those. Who dials a trap is
    /// looked for below these keepers.
    pub(super) async fn open(providers: &[Provider], keepers: &Arc<Mutex<Vec<Pid>>>) -> io::Result<Self> {
        let mut recorders = Self { services: Vec::new(), tasks: Vec::new() };
        for provider in providers {
            let seen = Arc::<Mutex<Seen>>::default();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let port = listener.local_addr()?.port();
            recorders.tasks.push(tokio::spawn(record(listener, provider.addr, Arc::clone(&seen))));
            for usual in &provider.usual {
                // Somebody who has it serves there: what is dialled then is seen by the connections themselves.
                if let Ok(trap) = TcpListener::bind((Ipv4Addr::LOCALHOST, *usual)).await {
                    let (keepers, seen) = (Arc::clone(keepers), Arc::clone(&seen));
                    recorders.tasks.push(tokio::spawn(guard(trap, provider.addr, keepers, seen)));
                }
            }
            recorders.services.push((provider.clone(), port, seen));
        }
        Ok(recorders)
    }

    /// Where the handles are to lead.
    pub(super) fn handles(&self) -> Vec<(PortKey, u16)> {
        self.services.iter().map(|(provider, port, _)| (provider.key.clone(), *port)).collect()
    }

    /// What was seen. `dialled`: the addresses to which the app's processes were connected.
    pub(super) fn services(&self, dialled: &BTreeSet<SocketAddr>) -> Vec<Service> {
        let service = |(provider, _, seen): &(Provider, u16, Arc<Mutex<Seen>>)| {
            let seen = lock(seen);
            let is_usual = |addr: &&SocketAddr| {
                let is_here = addr.ip().to_canonical().is_loopback() && provider.usual.contains(&addr.port());
                is_here || **addr == provider.addr || provider.places.contains(addr)
            };
            let mut elsewhere = seen.elsewhere.clone();
            elsewhere.extend(dialled.iter().filter(is_usual));
            Service {
                var: provider.var.clone(),
                provider: provider.name.clone(),
                dials: seen.dials,
                elsewhere: elsewhere.into_iter().collect(),
            }
        };
        self.services.iter().map(service).collect()
    }
}

impl Drop for Recorders {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn record(listener: TcpListener, provider: SocketAddr, seen: Arc<Mutex<Seen>>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                lock(&seen).dials += 1;
                tokio::spawn(pass_on(stream, provider));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// At a port that is not the app's to know. Whoever is not of the app is turned away: it is not what they look for.
async fn guard(trap: TcpListener, provider: SocketAddr, keepers: Arc<Mutex<Vec<Pid>>>, seen: Arc<Mutex<Seen>>) {
    loop {
        match trap.accept().await {
            Ok((stream, peer)) => {
                let keepers = keepers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let of_app = keepers.iter().any(|keeper| is_of(*keeper, peer));
                if let (true, Ok(addr)) = (of_app, stream.local_addr()) {
                    lock(&seen).elsewhere.insert(addr);
                    tokio::spawn(pass_on(stream, provider));
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn is_of(keeper: Pid, peer: SocketAddr) -> bool {
    tambat_os::connections_of(keeper).unwrap_or_default().iter().any(|connection| connection.local == peer)
}

async fn pass_on(mut from: TcpStream, to: SocketAddr) {
    if let Ok(mut to) = TcpStream::connect(to).await {
        // Either side may end it as it likes.
        let _ = copy_bidirectional(&mut from, &mut to).await;
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A provider that is away: its port refuses, until it is opened.
#[derive(Debug)]
pub(super) struct Closed {
    socket: TcpSocket,
    port: u16,
    provider: Provider,
}

impl Closed {
    pub(super) fn new(provider: &Provider) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket, port, provider: provider.clone() })
    }

    pub(super) fn handle(&self) -> (PortKey, u16) {
        (self.provider.key.clone(), self.port)
    }

    /// From now on it leads to the provider, for as long as the task runs.
    pub(super) fn open(self) -> io::Result<JoinHandle<()>> {
        let listener = self.socket.listen(BACKLOG_CONNECTIONS)?;
        Ok(tokio::spawn(record(listener, self.provider.addr, Arc::default())))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A provider that says hello.
    async fn provider(usual: Vec<u16>) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"hello").await;
            }
        });
        let key = PortKey { process: "cache".parse().unwrap(), port: None };
        Provider { var: "CACHE_URL".to_owned(), name: "cache".to_owned(), key, addr, places: Vec::new(), usual }
    }

    async fn heard(port: u16) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// PB-15
    #[tokio::test]
    async fn who_dials_is_counted_and_passed_on_and_a_stranger_at_the_usual_port_is_not() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let usual = free.local_addr().unwrap().port();
        drop(free);
        let recorders = Recorders::open(&[provider(vec![usual]).await], &Arc::default()).await.unwrap();
        let [(_, port)] = recorders.handles()[..] else { panic!("one handle") };
        assert_eq!(heard(port).await.unwrap(), "hello");
        assert_eq!(heard(usual).await.unwrap_or_default(), "", "we are not of the app");
        let services = recorders.services(&BTreeSet::new());
        assert_eq!((services[0].dials, services[0].elsewhere.len()), (1, 0));
        let dialled = BTreeSet::from([SocketAddr::from((Ipv4Addr::LOCALHOST, usual))]);
        assert_eq!(recorders.services(&dialled)[0].elsewhere.len(), 1);
    }

    /// PB-18
    #[tokio::test]
    async fn a_provider_that_is_away_refuses_until_it_is_there() {
        let closed = Closed::new(&provider(vec![]).await).unwrap();
        let (_, port) = closed.handle();
        assert_eq!(heard(port).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let task = closed.open().unwrap();
        assert_eq!(heard(port).await.unwrap(), "hello");
        task.abort();
    }
}
