//! pebble and pebble-challtestsrv, the DNS server that it asks. Both end with the test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Both start in well under a second.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Other tests choose ports at the same time.
const STARTS_MAX: usize = 5;

/// Does the CA want to know whose the account is?
#[derive(Clone, Copy)]
pub(crate) enum Binding {
    None,
    Required { key_id: &'static str, key: &'static str },
}

/// Both servers.
pub(crate) struct Pebble {
    dir: PathBuf,
    port: u16,
    management_port: u16,
    dns_management_port: u16,
    dns_port: u16,
    dns: Child,
    ca: Child,
}

impl Pebble {
    pub(crate) fn is_installed() -> bool {
        ["/usr/bin/pebble", "/usr/bin/pebble-challtestsrv"].iter().all(|path| Path::new(path).exists())
    }

    /// Starts both. The CA looks for challenges at these ports.
    pub(crate) fn start(dir: &Path, http_port: u16, tls_port: u16, binding: Binding) -> Self {
        assert!(Self::is_installed(), "cannot run this test without pebble: apt-get install pebble");
        write_server_certificate(dir);
        for _ in 0..STARTS_MAX {
            let [port, management_port, dns_port, dns_management_port] = free_ports();
            let config = config(dir, (port, management_port), (http_port, tls_port), binding);
            fs::write(dir.join("pebble.json"), config).unwrap();
            let mut dns = spawn(
                dir,
                "pebble-challtestsrv",
                &[
                    "-defaultIPv4=127.0.0.1",
                    "-defaultIPv6=",
                    &format!("-dns01=127.0.0.1:{dns_port}"),
                    "-http01=",
                    "-https01=",
                    "-tlsalpn01=",
                    &format!("-management=127.0.0.1:{dns_management_port}"),
                ],
            );
            let mut ca = spawn_pebble(dir, dns_port);
            if accepts(port, &mut ca) && accepts(dns_management_port, &mut dns) {
                return Self { dir: dir.to_owned(), port, management_port, dns_management_port, dns_port, dns, ca };
            }
            end(&mut dns);
            end(&mut ca);
        }
        panic!("cannot start pebble: {}", log(dir));
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// Where its own roots are served.
    pub(crate) fn management(&self) -> String {
        format!("https://localhost:{}", self.management_port)
    }

    /// Where TXT records are set and removed.
    pub(crate) fn dns_management(&self) -> String {
        format!("http://127.0.0.1:{}", self.dns_management_port)
    }

    /// Ends the CA with SIGKILL.
    pub(crate) fn kill(&mut self) {
        end(&mut self.ca);
    }

    /// Its process id, for whoever ends it in the middle.
    pub(crate) fn pid(&self) -> u32 {
        self.ca.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.ca.try_wait().unwrap().is_some()
    }

    /// Starts the CA again at the same ports; it has forgotten everything.
    pub(crate) fn restart(&mut self) {
        for _ in 0..STARTS_MAX {
            end(&mut self.ca);
            self.ca = spawn_pebble(&self.dir, self.dns_port);
            if accepts(self.port, &mut self.ca) {
                return;
            }
        }
        panic!("cannot start pebble again: {}", log(&self.dir));
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        end(&mut self.ca);
        end(&mut self.dns);
    }
}

fn spawn_pebble(dir: &Path, dns_port: u16) -> Child {
    let config = dir.join("pebble.json").display().to_string();
    spawn(dir, "pebble", &["-config", &config, "-dnsserver", &format!("127.0.0.1:{dns_port}")])
}

fn spawn(dir: &Path, program: &str, args: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(dir.join(format!("{program}.log"))).unwrap();
    let mut command = Command::new(format!("/usr/bin/{program}"));
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    // Two of five good nonces are rejected, and no authorization is used twice.
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "40").env("PEBBLE_AUTHZREUSE", "0");
    command.spawn().unwrap()
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("pebble.log")).unwrap_or_default()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until something accepts at the port, as long as the process lives.
fn accepts(port: u16, child: &mut Child) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < READY_WITHIN {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    false
}

/// Free a moment ago, and above those that the kernel gives to outgoing connections (to 60999, if nobody has changed that):
/// one has to be free again when the CA comes back.
fn free_ports() -> [u16; 4] {
    let first = std::process::id().wrapping_mul(31) % 4_000;
    let ports = (0..4_000).map(|step| 61_000 + u16::try_from((first + step) % 4_000).unwrap());
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    [(); 4].map(|()| free.next().unwrap())
}

fn config(dir: &Path, (port, management): (u16, u16), (http, tls): (u16, u16), binding: Binding) -> String {
    let (required, keys) = match binding {
        Binding::None => (false, serde_json::json!({})),
        Binding::Required { key_id, key } => (true, serde_json::json!({ key_id: key })),
    };
    serde_json::json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": dir.join("server.pem"),
        "privateKey": dir.join("server.key"),
        "httpPort": http,
        "tlsPort": tls,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": required,
        "externalAccountMACKeys": keys,
    }})
    .to_string()
}

/// The certificate of pebble's own server, and the root by which it is known: `root.pem`.
fn write_server_certificate(dir: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "root of a test");
    let root = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    for (name, text) in [("root.pem", root.pem()), ("server.pem", server.pem()), ("server.key", key.serialize_pem())] {
        fs::write(dir.join(name), text).unwrap();
    }
}
