//! Servers that tell who they are.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::talk::SSL_REQUEST;
use crate::support::LIMIT;

/// Servers that tell who they are and what they have heard, when their client has said all: `NAME\n`, and every byte.
#[derive(Default)]
pub(super) struct Tellers {
    /// How many have said something to any of them. Whoever looks how they are says nothing.
    visits: Arc<AtomicUsize>,
}

impl Tellers {
    /// A route of this name to a new one.
    pub(super) fn route(&mut self, name: &str, keys: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let route = format!("[routes.{name}]\ntargets = \"{}\"\n{keys}\n", listener.local_addr().unwrap());
        let (visits, name) = (Arc::clone(&self.visits), name.to_owned());
        // Until the process ends, which is the test's own.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (visits, name) = (Arc::clone(&visits), name.clone());
                // A client may break off.
                thread::spawn(move || tell(stream.unwrap(), &name, &visits));
            }
        });
        route
    }

    pub(super) fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

fn tell(mut stream: TcpStream, name: &str, visits: &AtomicUsize) -> Option<()> {
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).ok()? {
            0 => break,
            more => heard.extend_from_slice(&chunk[..more]),
        }
        visits.fetch_add(1, Ordering::Relaxed);
        // As a PostgreSQL with TLS answers who asks for it.
        if heard == SSL_REQUEST {
            heard.clear();
            stream.write_all(b"S").ok()?;
        }
    }
    stream.write_all(&[name.as_bytes(), b"\n", &heard].concat()).ok()
}

/// What a teller of this name tells whoever has said this.
pub(super) fn told(name: &str, bytes: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\n", bytes].concat()
}
