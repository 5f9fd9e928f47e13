//! An ACME CA: pebble, and the DNS server that it asks. Both end with the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{AppDir, Base, until};

/// Both servers.
#[derive(Debug)]
pub(crate) struct Pebble {
    dir: PathBuf,
    port: u16,
    management: u16,
    dns_port: u16,
    dns: Child,
    ca: Child,
}

/// How the CA is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Where it looks for answers by HTTP.
    pub(crate) http: u16,
    /// Where it shakes hands.
    pub(crate) tls: u16,
    /// How long its certificates are good, in seconds.
    pub(crate) lifetime_s: u64,
}

impl Pebble {
    /// Starts both, with their files in a folder of this home.
    pub(crate) fn start(app: &AppDir, wanted: Wanted) -> Self {
        let dir = app.home_path().join("pebble");
        fs::create_dir(&dir).unwrap();
        server_certificate(app, &dir);
        let Base(port) = Base::find();
        let [management, dns_port, dns_management] = [1, 2, 3].map(|above| port + above);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": dir.join("server.pem"),
            "privateKey": dir.join("server.key"),
            "httpPort": wanted.http,
            "tlsPort": wanted.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": wanted.lifetime_s,
        }});
        fs::write(dir.join("pebble.json"), config.to_string()).unwrap();
        let dns = spawn(
            &dir,
            "pebble-challtestsrv",
            &[
                "-defaultIPv4=127.0.0.1",
                "-defaultIPv6=",
                &format!("-dns01=127.0.0.1:{dns_port}"),
                "-http01=",
                "-https01=",
                "-tlsalpn01=",
                &format!("-management=127.0.0.1:{dns_management}"),
            ],
        );
        let ca = spawn_ca(&dir, dns_port);
        let pebble = Self { dir, port, management, dns_port, dns, ca };
        pebble.accepts();
        pebble
    }

    /// What a server's file says of it.
    pub(crate) fn acme(&self) -> String {
        format!(
            "[router.acme]\nterms_agreed = true\ndirectory = \"https://localhost:{}/dir\"\nroots = \"{}\"\n",
            self.port,
            self.dir.join("root.pem").display()
        )
    }

    /// The root of the certificates that it issues, fetched into a file.
    pub(crate) fn issuer(&self, app: &AppDir) -> PathBuf {
        let to = self.dir.join("issuer.pem");
        let from = format!("https://localhost:{}/roots/0", self.management);
        let fetch = format!("curl -sS --cacert {} -o {} {from}", self.dir.join("root.pem").display(), to.display());
        app.shell(&fetch).must_be(0);
        to
    }

    /// How many orders it has taken. Requests whose nonce it rejected are none.
    pub(crate) fn orders(&self) -> usize {
        fs::read_to_string(self.dir.join("pebble.log")).unwrap_or_default().matches("Added order").count()
    }

    /// Ends the CA with SIGKILL.
    pub(crate) fn kill(&mut self) {
        end(&mut self.ca);
    }

    /// Starts it again at the same ports; it has forgotten everything.
    pub(crate) fn restart(&mut self) {
        end(&mut self.ca);
        self.ca = spawn_ca(&self.dir, self.dns_port);
        self.accepts();
    }

    fn accepts(&self) {
        until("pebble to accept", || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok());
        until("its management to accept", || std::net::TcpStream::connect(("127.0.0.1", self.management)).ok());
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        end(&mut self.ca);
        end(&mut self.dns);
    }
}

fn spawn_ca(dir: &Path, dns_port: u16) -> Child {
    let config = dir.join("pebble.json").display().to_string();
    spawn(dir, "pebble", &["-config", &config, "-dnsserver", &format!("127.0.0.1:{dns_port}")])
}

fn spawn(dir: &Path, program: &str, args: &[&str]) -> Child {
    let path = format!("/usr/bin/{program}");
    assert!(Path::new(&path).exists(), "cannot run {path}: `apt-get install pebble` brings it");
    let log = File::options().create(true).append(true).open(dir.join(format!("{program}.log"))).unwrap();
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    // Every fourth good nonce is rejected, and no authorization is used twice.
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "25").env("PEBBLE_AUTHZREUSE", "0");
    command.spawn().unwrap()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The certificate of the CA's own server, and the root by which it is known.
fn server_certificate(app: &AppDir, dir: &Path) {
    let script = "cd \"$0\" && exec >openssl.log 2>&1 && set -e
        new='openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        $new -x509 -days 2 -subj '/CN=root of a test' -keyout root.key -out root.pem
        $new -subj /CN=localhost -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >names
        openssl x509 -req -in server.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 -extfile names -out server.pem";
    let mut shell = app.any_command("/bin/sh");
    shell.args(["-c", script]).arg(dir);
    super::finish(shell, "openssl").must_be(0);
}
