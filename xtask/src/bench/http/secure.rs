//! TLS as a client has it: the load's connections, and the certificate that all proxies show.
//!
//! On rustls, as tambat is; HTTP/2 in its own few lines, so that it costs the load next to nothing and shares no mistake
//! with any of the proxies.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{
    config::Files,
    contender::ANSWER_LIMIT,
    load::{self, Load},
    offer::{Offer, Protocol},
    talk::Ends,
};
use crate::{bench::write, failure::Failure};
use http2::Http2;
use shared::{NAME, Shared, config, invalid};
use speech::Http1;
use talk::Secure;

mod http2;
mod shared;
mod speech;
mod talk;

/// Makes an authority and a certificate for the one host, ECDSA on P-256 both, and writes them into this folder.
///
/// # Errors
///
/// When the folder cannot be written to.
pub(in super::super) fn certificates(dir: &Path) -> Result<Files, Failure> {
    let unmade =
        |error: rcgen::Error| Failure::new(format!("cannot make certificates: {error}"), "is the clock right?");
    let (authority, chain, key) = pem().map_err(unmade)?;
    let of = |name: &str| dir.join(name);
    let files = Files { authority: of("ca.pem"), chain: of("chain.pem"), key: of("key.pem"), both: of("both.pem") };
    write(&files.authority, &authority)?;
    write(&files.both, &format!("{chain}{key}"))?;
    write(&files.chain, &chain)?;
    write(&files.key, &key)?;
    Ok(files)
}

fn pem() -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}

/// Sends one request, and reads until the end.
///
/// # Errors
///
/// When there is no handshake, or nothing comes any more.
pub(super) fn ask(authority: &Path, port: u16, request: &str) -> io::Result<String> {
    let mut stream = open(config(&fs::read(authority)?, Offer::HTTP1)?, port)?;
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A stream of bytes over TLS, of no protocol in particular.
///
/// # Errors
///
/// When nobody listens there. The handshake comes with the first byte.
pub(in super::super) fn stream(authority: &Path, port: u16) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut config = config(&fs::read(authority)?, Offer::HTTP1)?;
    config.alpn_protocols.clear();
    open(config, port)
}

fn open(config: ClientConfig, port: u16) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = NAME.try_into().map_err(|error| invalid(&error))?;
    let tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    Ok(StreamOwned::new(tls, socket))
}

/// The load itself: what it prints.
///
/// # Errors
///
/// When a handshake, an answer or an end is not what it must be.
pub(super) fn play(load: Load, ends: Ends, pids: Vec<u32>, authority: &Path) -> io::Result<String> {
    let Some(offer) = load.offer else { return Err(invalid(&"there is no offer")) };
    let shared = Shared::new(fs::read(authority)?, load.shape, offer);
    match offer.protocol {
        Protocol::Http1 => load::run::<Secure<Http1>>(load, ends, pids, shared),
        Protocol::Http2(_) => load::run::<Secure<Http2>>(load, ends, pids, shared),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use rustls::{
        ServerConfig, ServerConnection, Stream,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    };

    use super::{
        super::{
            load::Pace,
            measured::Measured,
            offer::Sessions,
            reply::head_end,
            request::{SMALL_BYTES, Shape},
        },
        *,
    };

    /// A server of one certificate, a thread for each connection. Gives out so many tickets; gone with its clients.
    fn server(files: &Files, tickets: usize) -> u16 {
        let chain = CertificateDer::from_pem_file(&files.chain).unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = tickets;
        let (config, listener) = (Arc::new(config), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let config = Arc::clone(&config);
                thread::spawn(move || serve(config, client));
            }
        });
        port
    }

    fn serve(config: Arc<ServerConfig>, mut client: TcpStream) -> io::Result<()> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = Stream::new(&mut tls, &mut client);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SMALL_BYTES}\r\n\r\n{}", "x".repeat(SMALL_BYTES));
        let (mut seen, mut piece) = (Vec::new(), [0; 1024]);
        loop {
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                count => seen.extend_from_slice(&piece[..count]),
            }
            while let Some(end) = head_end(&seen) {
                seen.drain(..end);
                stream.write_all(answer.as_bytes())?;
            }
        }
    }

    fn measured(pace: Pace, sessions: Sessions, tickets: usize) -> io::Result<Measured> {
        let dir = std::env::temp_dir().join(format!("tambat-bench-tls-{}-{pace:?}-{tickets}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let files = certificates(&dir).unwrap();
        let port = server(&files, tickets);
        let offer = Some(Offer { sessions, ..Offer::HTTP1 });
        let load = Load { connections: 2, seconds: 1, shape: Shape::Plain, pace, offer };
        let printed = play(load, port.into(), vec![std::process::id()], &files.authority);
        fs::remove_dir_all(&dir).unwrap();
        Ok(Measured::parse(&printed?).unwrap())
    }

    #[test]
    fn connections_are_kept_or_made_anew() {
        for (pace, sessions) in [(Pace::Saturated, Sessions::New), (Pace::Anew, Sessions::New)] {
            let measured = measured(pace, sessions, 2).unwrap();
            assert!(measured.answers > 2 && measured.bytes > measured.answers * 1_024, "{measured:?}");
        }
    }

    #[test]
    fn sessions_are_resumed_or_the_load_says_that_they_are_not() {
        assert!(measured(Pace::Anew, Sessions::Resumed, 1).unwrap().answers > 2);
        let error = measured(Pace::Anew, Sessions::Resumed, 0).unwrap_err().to_string();
        assert!(error.contains("was Some(Full)") && error.contains("should have been Resumed"), "{error}");
    }
}
