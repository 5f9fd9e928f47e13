//! A server that says what a test wants it to say, over TLS: for what pebble never does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::account::Accounts;
use super::client::Web;
use super::disk::Disk;
use super::settings::AcmeSettings;
use crate::certificate::{chain_from_pem, key_from_pem};
use crate::sample;

/// Status line and fields, and a body.
pub(super) struct Answer(pub(super) &'static str, pub(super) String);

type Say = fn(&str, &str) -> Answer;

/// The server, and a client's side of it.
pub(super) struct FakeCa {
    _temp: tempfile::TempDir,
    address: std::net::SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    asked: Arc<Mutex<Vec<String>>>,
    pub(super) disk: Disk,
    pub(super) accounts: Accounts,
}

impl FakeCa {
    /// Answers each request by its first line, `GET /dir`, and its own URL.
    pub(super) fn new(say: Say) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let made = sample::self_signed(&["localhost"], sample::days(0), sample::days(36_500));
        let chain = chain_from_pem(made.chain.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key_from_pem(made.key.as_bytes()).unwrap());
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("https://localhost:{}", address.port());
        let mut settings = AcmeSettings::new(&format!("{url}/dir"), temp.path().to_owned()).unwrap();
        settings.terms_agreed = true;
        let web = Web::secure(Some(made.chain.as_bytes())).unwrap();
        let disk = Disk::new(&settings);
        let accounts = Accounts::new(Arc::new(settings), disk.clone(), web);
        let (is_over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (over, noted) = (Arc::clone(&is_over), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                serve(client.unwrap(), &config, |line| {
                    noted.lock().unwrap().push(line.to_owned());
                    say(line, &url)
                });
            }
        });
        Self { _temp: temp, address, is_over, thread: Some(thread), asked, disk, accounts }
    }

    /// The first lines of all requests.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The URL of the server.
    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for FakeCa {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One request a connection; none: the client was gone before its end.
fn serve(client: TcpStream, config: &Arc<ServerConfig>, say: impl Fn(&str) -> Answer) -> Option<()> {
    let tls = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(tls, client));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let length = head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let Answer(status, body) = say(head[0].trim_end_matches(" HTTP/1.1"));
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.get_mut().write_all(text.as_bytes()).ok()?;
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush().ok()
}
