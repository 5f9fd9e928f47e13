//! The real programs: Debian's packages, which `cargo xtask test` installs, and the example's own, which cargo builds.
//! One that is missing fails the test with a sentence that says what brings it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::app_dir::{Output, finish};
use super::{AppDir, fixture};

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Redis' server and its client.
pub(crate) fn redis() {
    needs("redis-server", &["--version"], "redis-server");
    needs("redis-cli", &["--version"], "redis-tools");
}

/// Tornado, for Debian's own interpreter: another `python3` in PATH sees none of Debian's packages.
pub(crate) fn tornado() {
    needs("/usr/bin/python3", &["-c", "import tornado"], "python3-tornado");
}

/// Thin.
pub(crate) fn thin() {
    needs("thin", &["--version"], "thin");
}

/// Java's compiler and Jetty's libraries.
pub(crate) fn jetty() {
    needs("javac", &["--version"], "default-jdk-headless");
    file("/usr/share/java/jetty9-server.jar", "libjetty9-java");
}

/// Java's compiler and Tomcat's libraries.
pub(crate) fn tomcat_embedded() {
    needs("javac", &["--version"], "default-jdk-headless");
    file("/usr/share/java/tomcat10-embed-core.jar", "libtomcat10-embed-java");
}

/// Java's compiler and Tomcat itself.
pub(crate) fn tomcat() {
    needs("javac", &["--version"], "default-jdk-headless");
    file("/usr/share/tomcat10/bin/catalina.sh", "tomcat10");
}

/// Apache httpd and its module for PHP, which Debian names by its version.
pub(crate) fn apache_php() {
    needs("/usr/sbin/apache2", &["-v"], "apache2");
    let modules = std::fs::read_dir("/usr/lib/apache2/modules").into_iter().flatten().flatten();
    let has_php = modules.into_iter().any(|module| module.file_name().to_string_lossy().starts_with("libphp"));
    assert!(has_php, "{}", missing("PHP in Apache httpd", "libapache2-mod-php"));
}

/// OpenSSL's program.
pub(crate) fn openssl() {
    needs("openssl", &["version"], "openssl");
}

/// curl.
pub(crate) fn curl() {
    needs("curl", &["--version"], "curl");
}

/// nginx.
pub(crate) fn nginx() {
    needs("/usr/sbin/nginx", &["-v"], "nginx-light");
}

/// HAProxy.
pub(crate) fn haproxy() {
    needs("/usr/sbin/haproxy", &["-v"], "haproxy");
}

/// ejabberd, and what makes its certificate.
pub(crate) fn ejabberd() {
    needs("openssl", &["version"], "openssl");
    file("/usr/sbin/ejabberdctl", "ejabberd");
}

/// `MariaDB`'s server, what makes its data, and its client.
pub(crate) fn mariadb() {
    needs("/usr/sbin/mariadbd", &["--version"], "mariadb-server");
    needs("mariadb", &["--version"], "mariadb-client");
}

/// mosquitto, which has no question that it answers with success, and its clients.
pub(crate) fn mosquitto() {
    file("/usr/sbin/mosquitto", "mosquitto");
    file("/usr/bin/mosquitto_pub", "mosquitto-clients");
}

/// OpenSSH's server and its clients.
pub(crate) fn openssh() {
    file("/usr/sbin/sshd", "openssh-server");
    file("/usr/bin/sftp", "openssh-client");
}

/// The Python that has the library `aiosmtpd`.
pub(crate) fn aiosmtpd() -> PathBuf {
    let python = repository().join("target/tools/smtp/bin/python");
    let ran = Command::new(&python).args(["-c", "import aiosmtpd"]).output();
    assert!(ran.is_ok_and(|output| output.status.success()), "{}", not_installed("aiosmtpd of Python"));
    python
}

/// The program for databases of NSS. It has no question that it answers with success.
pub(crate) fn certutil() {
    file("/usr/bin/certutil", "libnss3-tools");
}

/// The browser.
pub(crate) fn chromium() {
    needs("chromium", &["--version"], "chromium");
}

/// A server of names.
pub(crate) fn dnsmasq() {
    file("/usr/sbin/dnsmasq", "dnsmasq-base");
}

/// The XMPP library of Debian's own Python.
pub(crate) fn slixmpp() {
    needs("/usr/bin/python3", &["-c", "import slixmpp"], "python3-slixmpp");
}

/// The Python that has the library `websockets`.
pub(crate) fn websockets() -> PathBuf {
    let python = repository().join("target/tools/python/bin/python");
    let ran = Command::new(&python).args(["-c", "import websockets"]).output();
    assert!(ran.is_ok_and(|output| output.status.success()), "{}", not_installed("websockets of Python"));
    python
}

/// The Python that has the library `redis`.
pub(crate) fn redis_py() -> PathBuf {
    let python = repository().join("target/tools/redis/bin/python");
    let ran = Command::new(&python).args(["-c", "import redis"]).output();
    assert!(ran.is_ok_and(|output| output.status.success()), "{}", not_installed("redis of Python"));
    python
}

/// The Python that has the libraries `psycopg` and `asyncpg`.
pub(crate) fn postgres_py() -> PathBuf {
    let python = repository().join("target/tools/postgres/bin/python");
    let ran = Command::new(&python).args(["-c", "import psycopg, asyncpg"]).output();
    assert!(ran.is_ok_and(|output| output.status.success()), "{}", not_installed("psycopg and asyncpg of Python"));
    python
}

/// The Python that has the libraries `h2` and `wsproto`.
pub(crate) fn h2() -> PathBuf {
    let python = repository().join("target/tools/h2/bin/python");
    let ran = Command::new(&python).args(["-c", "import h2, wsproto"]).output();
    assert!(ran.is_ok_and(|output| output.status.success()), "{}", not_installed("h2 and wsproto of Python"));
    python
}

/// nghttp2's clients, `nghttp` and `h2load`.
pub(crate) fn nghttp2() {
    needs("nghttp", &["--version"], "nghttp2-client");
    needs("h2load", &["--version"], "nghttp2-client");
}

/// The folder in which Node.js finds the library `ws`.
pub(crate) fn ws() -> PathBuf {
    needs("node", &["--version"], "nodejs");
    let modules = repository().join("target/tools/node/node_modules");
    assert!(modules.join("ws/package.json").exists(), "{}", not_installed("ws of Node.js"));
    modules
}

fn not_installed(what: &str) -> String {
    format!("cannot find {what}: `cargo xtask packages` installs it, and so does `cargo xtask test`")
}

/// testssl.sh.
pub(crate) fn testssl() {
    needs("testssl", &["--version"], "testssl.sh");
}

/// The scanner sslyze.
pub(crate) fn sslyze() -> PathBuf {
    let sslyze = repository().join("target/tools/sslyze/bin/sslyze");
    let ran = Command::new(&sslyze).arg("--help").output();
    assert!(ran.is_ok_and(|output| output.status.success()), "{}", not_installed("sslyze"));
    sslyze
}

/// Node.js and npm.
pub(crate) fn node() {
    needs("node", &["--version"], "nodejs");
    needs("npm", &["--version"], "npm");
}

/// Puma and Rails, for Debian's own Ruby.
pub(crate) fn puma() {
    needs("puma", &["--version"], "puma");
    needs("/usr/bin/ruby", &["-e", "require 'rails'"], "ruby-railties");
}

/// Go.
pub(crate) fn go() {
    needs("go", &["version"], "golang-go");
}

/// foreman.
pub(crate) fn foreman() {
    needs("foreman", &["version"], "ruby-foreman");
}

/// The folder of PostgreSQL's programs. Debian keeps one a version, out of PATH.
pub(crate) fn postgres() -> PathBuf {
    needs("psql", &["--version"], "postgresql-client");
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|v| v.path().join("bin")).filter(|b| b.join("postgres").exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("{}", missing("PostgreSQL's server", "postgresql")))
}

/// The example's programs, from now on beside the tambat that is tested, where an app's PATH begins.
pub(crate) fn guestbook() {
    for name in ["web", "entries"] {
        let package = format!("guestbook-{name}");
        fixture::build_if_older(&package, &repository().join("examples/guestbook").join(name));
    }
}

fn needs(program: &str, args: &[&str], package: &str) {
    let ran = Command::new(program).args(args).output();
    assert!(ran.is_ok_and(|output| output.status.success()), "{}", missing(program, package));
}

fn file(path: &str, package: &str) {
    assert!(Path::new(path).exists(), "{}", missing(path, package));
}

fn missing(what: &str, package: &str) -> String {
    format!("cannot run {what}: `apt-get install {package}` brings it, and so does `cargo xtask test`")
}

impl AppDir {
    /// Runs any program of the system to its end, as if typed in the app's directory.
    pub(crate) fn program(&self, program: &str, args: &[&str]) -> Output {
        let mut command = self.any_command(program);
        command.args(args);
        finish(command, &format!("{program} {}", args.join(" ")))
    }

    /// `curl -sS ARGS`.
    pub(crate) fn curl(&self, args: &[&str]) -> Output {
        needs("curl", &["--version"], "curl");
        self.program("curl", &[&["-sS", "--max-time", "55"], args].concat())
    }
}
