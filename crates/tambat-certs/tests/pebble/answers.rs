//! What a router would do: shows the CA its challenges. And what an operator would: decides about names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use tambat_certs::Store;

/// A client that says nothing for so long is not the CA.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Something that was asked of a server here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Http { host: String, path: String },
    Alpn(String),
    Ask(String),
}

/// What the servers share with the test.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) store: Mutex<Option<Arc<Store>>>,
    pub(crate) asked: Mutex<Vec<Asked>>,
    /// HTTP-01 is answered with 404.
    pub(crate) refuses_http: AtomicBool,
    /// Is ended when a challenge is looked for.
    pub(crate) victim: Mutex<Option<u32>>,
    pub(crate) allowed: Mutex<Vec<String>>,
}

impl Shared {
    fn store(&self) -> Option<Arc<Store>> {
        self.store.lock().unwrap().clone()
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }

    fn kill_victim(&self) {
        if let Some(pid) = self.victim.lock().unwrap().take() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

/// A server on a thread of its own, which ends with this.
pub(crate) struct Server {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(shared: Arc<Shared>, serve: fn(TcpStream, &Shared)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                client.set_read_timeout(Some(READ_WITHIN)).unwrap();
                serve(client, &shared);
            }
        });
        Self { address, is_over, thread: Some(thread) }
    }

    /// HTTP-01, and the URL that decides about names.
    pub(crate) fn http(shared: Arc<Shared>) -> Self {
        Self::start(shared, serve_http)
    }

    /// TLS-ALPN-01.
    pub(crate) fn tls(shared: Arc<Shared>) -> Self {
        Self::start(shared, serve_tls)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve_http(mut client: TcpStream, shared: &Shared) {
    let mut head = Vec::new();
    let mut some = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut some) {
            Ok(read) if read > 0 => head.extend_from_slice(&some[..read]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let host = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
    let host = host.unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
    let answer = match path.strip_prefix("/ask?domain=") {
        Some(name) => {
            shared.note(Asked::Ask(name.to_owned()));
            shared.allowed.lock().unwrap().iter().any(|allowed| allowed == name).then(|| "yes".to_owned())
        }
        None => {
            shared.kill_victim();
            shared.note(Asked::Http { host: host.clone(), path: path.clone() });
            let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
            let may = !shared.refuses_http.load(Ordering::Acquire);
            shared.store().filter(|_| may).and_then(|store| store.http_challenge(&host, token))
        }
    };
    let (status, body) = answer.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let _ = client.write_all(text.as_bytes());
}

fn serve_tls(mut client: TcpStream, shared: &Shared) {
    let store = shared.store();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Challenge(store)));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    while server.is_handshaking() {
        if server.complete_io(&mut client).is_err() {
            return;
        }
    }
    if server.alpn_protocol() == Some(b"acme-tls/1") {
        shared.note(Asked::Alpn(server.server_name().unwrap_or_default().to_owned()));
    }
    server.send_close_notify();
    let _ = server.complete_io(&mut client);
}

#[derive(Debug)]
struct Challenge(Option<Arc<Store>>);

impl ResolvesServerCert for Challenge {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificate = self.0.as_ref()?.alpn_challenge(hello.server_name()?)?;
        Some(Arc::clone(certificate.key()))
    }
}
