//! Protocols of several kinds at one address: TLS, HTTP, SSH, and who speaks first when nobody else has begun.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::sockets::{ask, connect, loopback, read_until};
use crate::support::{AppDir, Base, Ca, Output, finish, most_files, programs, until};

/// How long clients who do not begin are waited for.
const WITHIN: Duration = Duration::from_secs(1);

/// Connections that never say anything, how long they are waited for, and what they may take of tambat: some 1.6 KiB each,
/// with what an allocator keeps, and what a page of Python's server takes meanwhile.
const SILENT: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(20);
const SILENT_KIB_MAX: u64 = 8 << 10;

/// An app without privileges, of which everything is at one address.
fn mixture(port: u16) -> AppDir {
    for needs in [programs::mariadb, programs::openssh, programs::openssl, programs::curl] {
        needs();
    }
    let manifest = format!(
        "[[router.listen]]\naddress = \"127.0.0.1:{port}\"\npeek = [\"tls\", \"http\", \"ssh\", \"xmpp\"]\n\
         within = \"{}s\"\nfallback = \"db\"\n\
         [router.tls]\ncertificates = [{{ chain = \"secure.pem\", key = \"secure.key\" }}]\n\
         [processes.web]\ncommand = \"exec python3 -m http.server $PORT --bind 127.0.0.1 --directory web\"\n\
         hosts = \"web.example\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"off\"\n\
         [processes.secure]\ncommand = \"exec python3 -m http.server $PORT --bind 127.0.0.1 --directory secure\"\n\
         hosts = \"secure.example\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"terminate\"\n\
         [processes.files]\nprotocol = \"ssh\"\nlisten = \"127.0.0.1:{port}\"\n\
         command = \"exec /usr/sbin/sshd -D -e -f none -p $PORT -h $PWD/host -o ListenAddress=127.0.0.1 -o PidFile=none \
         -o UsePAM=yes -o StrictModes=no -o AuthorizedKeysFile=$PWD/key.pub -o Subsystem='sftp internal-sftp' \
         -o ForceCommand=internal-sftp\"\n\
         [processes.db]\nprotocol = \"mysql\"\nlisten = \"127.0.0.1:{port}\"\n\
         command = \"exec /usr/sbin/mariadbd --no-defaults --datadir=$PWD/data --bind-address=127.0.0.1 --port=$PORT \
         --socket=$PWD/socket --pid-file=$PWD/pid --skip-grant-tables\"\n",
        WITHIN.as_secs()
    );
    let ca = Ca::new("server CA");
    let app = AppDir::manifest(&manifest)
        .file("web/index.html", "in plain")
        .file("secure/index.html", "over TLS")
        .file("ca.pem", ca.pem());
    let batch = format!("ls {0}\nls {0}/web\n", app.path().display());
    let app = app.file("batch", batch);
    ca.signs(&["secure.example"]).write(&app, "secure");
    let app = app.unprivileged();
    for key in ["host", "key"] {
        app.program("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key]).must_be(0);
    }
    let data = format!("--datadir={}/data", app.path().display());
    app.program("mariadb-install-db", &["--no-defaults", &data, "--auth-root-authentication-method=normal"]).must_be(0);
    app
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn curl(app: &AppDir, scheme: &str, host: &str, at: SocketAddr) -> Output {
    let port = at.port();
    let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("{scheme}://{host}:{port}/"));
    app.curl(&["--cacert", "ca.pem", "--resolve", &resolve, &url])
}

fn sftp(app: &AppDir, at: SocketAddr) -> Output {
    let user = app.program("id", &["-un"]).must_be(0).stdout;
    let (to, port) = (format!("{}@127.0.0.1", user.trim_end()), at.port().to_string());
    let options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"];
    let mut command = app.any_command("sftp");
    command.args(options.iter().flat_map(|option| ["-o", option])).args(["-i", "key", "-b", "batch", "-P", &port, &to]);
    finish(command, "sftp")
}

fn query(app: &AppDir, at: SocketAddr) -> Output {
    let port = at.port().to_string();
    app.program("mariadb", &["--no-defaults", "-h", "127.0.0.1", "-P", &port, "-N", "-e", "select 6 * 7"])
}

#[test]
fn https_http_ssh_and_mariadb_share_one_port() {
    let Base(port) = Base::find();
    let at = loopback(port);
    let app = mixture(port);
    let mut running = app.start(&[]);
    running.up();
    // All of them wait for their servers to start.
    assert_eq!(query(&app, at).must_be(0).stdout, "42\n");
    assert_eq!(curl(&app, "http", "web.example", at).must_be(0).stdout, "in plain");
    assert_eq!(curl(&app, "https", "secure.example", at).must_be(0).stdout, "over TLS");
    let listed = sftp(&app, at).must_be(0).stdout;
    assert!(listed.contains("host.pub") && listed.contains("index.html"), "{listed}");
    // Who waits for the greeting is kept.
    let begun = Instant::now();
    let greeting = read_until(&connect(at), "MariaDB");
    assert!(begun.elapsed() >= WITHIN, "{greeting} after {:?}", begun.elapsed());
    // One byte that nobody begins with decides.
    let mut stream = connect(at);
    stream.write_all(b"\x20").unwrap();
    read_until(&stream, "MariaDB");
    // Nobody's names.
    let unknown = curl(&app, "https", "other.example", at);
    assert!(unknown.code != 0 && unknown.stderr.contains("unrecognized name"), "{unknown:?}");
    let unknown = ask(at, "GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n", "\r\n\r\n");
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn bytes_one_by_one_and_a_thousand_who_say_nothing() {
    programs::curl();
    most_files();
    let Base(port) = Base::find();
    let at = loopback(port);
    let app = AppDir::manifest(&format!(
        "[[router.listen]]\naddress = \"{at}\"\npeek = [\"tls\", \"http\", \"ssh\"]\nwithin = \"{}s\"\n\
         [router.tls]\ncertificates = [{{ chain = \"secure.pem\", key = \"secure.key\" }}]\n\
         [processes.web]\ncommand = \"exec python3 -m http.server $PORT --bind 127.0.0.1\"\nhosts = \"web.example\"\n\
         listen = \"{at}\"\ntls = \"off\"\n\
         [processes.secure]\ncommand = \"exec python3 -m http.server $PORT --bind 127.0.0.1\"\n\
         hosts = \"secure.example\"\nlisten = \"{at}\"\ntls = \"terminate\"\n",
        PATIENCE.as_secs()
    ))
    .file("index.html", "good");
    let ca = Ca::new("server CA");
    ca.signs(&["secure.example"]).write(&app, "secure");
    let app = app.file("ca.pem", ca.pem());
    let mut running = app.start(&[]);
    running.ready(&[]);
    let before = connect(at);
    (&before).write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n").unwrap();
    read_until(&before, "good");
    let (kib, begun) = (resident_kib(running.pid()), Instant::now());
    let silent: Vec<_> = (0..SILENT).map(|_| connect(at)).collect();
    assert_eq!(curl(&app, "https", "secure.example", at).must_be(0).stdout, "good");
    // Who was there goes on, and whoever comes does not wait for them.
    (&before).write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n").unwrap();
    read_until(&before, "good");
    for _ in 0..20 {
        ask(at, "GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n", "good");
    }
    let kept = resident_kib(running.pid()).saturating_sub(kib);
    assert!(kept < SILENT_KIB_MAX, "{SILENT} who say nothing take {kept} KiB");
    let mut slow = connect(at);
    slow.set_nodelay(true).unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n" {
        slow.write_all(&[*byte]).unwrap();
    }
    read_until(&slow, "good");
    for stream in &silent {
        stream.set_nonblocking(true).unwrap();
        let quiet = stream.peek(&mut [0]).unwrap_err();
        assert_eq!(quiet.kind(), std::io::ErrorKind::WouldBlock, "they are still waited for");
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    // Nobody is there for them when they had their time.
    for one in &silent {
        until("the end of each", || matches!(one.peek(&mut [0]), Ok(0)).then_some(()));
    }
    assert!(begun.elapsed() >= PATIENCE);
    drop(silent);
    assert_eq!(running.stop(), 0);
}

/// Sends one message by the port in its argument.
const SEND: &str = "import smtplib, sys\n\
    with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as client:\n    \
    client.sendmail('a@example.com', 'b@example.com', 'Subject: ship\\n\\nAyu')\n";

#[test]
fn a_mail_server_has_a_port_of_its_own() {
    let (python, Base(port)) = (programs::aiosmtpd(), Base::find());
    let app = AppDir::manifest(&format!(
        "[processes.mail]\nprotocol = \"smtp\"\nlisten = \"127.0.0.1:{port}\"\n\
         command = \"exec {} -m aiosmtpd -n -d -l 127.0.0.1:$PORT -c aiosmtpd.handlers.Mailbox mail\"\n",
        python.display()
    ));
    let mut running = app.start(&[]);
    running.up();
    // It comes while the server starts.
    app.program("/usr/bin/python3", &["-c", SEND, &port.to_string()]).must_be(0);
    assert_eq!(std::fs::read_dir(app.path().join("mail/new")).unwrap().count(), 1);
    assert_eq!(running.stop(), 0);
}
