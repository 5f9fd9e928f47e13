//! The clients, how each is started, and how it begins.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A client.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    /// The folder of `fuzz/seeds` for what it sends.
    pub(crate) seeds: &'static str,
    /// The command that connects to this port of 127.0.0.1, and may keep files in this folder.
    pub(crate) command: fn(u16, &Path) -> Command,
    /// What is told of it.
    pub(crate) told: &'static str,
    /// What it shows its user of what it was told; empty: it was told nothing.
    pub(crate) says: &'static str,
}

const fn client(
    name: &'static str,
    seeds: &'static str,
    told: &'static str,
    command: fn(u16, &Path) -> Command,
) -> Client {
    Client { name, seeds, command, told, says: "" }
}

/// It says nothing before the server does.
pub(crate) const SILENT: &str = "silent";

const HELLO: &str = "client_hello";
const POSTGRES: &str = "postgres_opening";
const XMPP: &str = "xmpp_stream";
const HTTP: &str = "http_opening";

pub(crate) const CLIENTS: &[Client] = &[
    client("openssl", HELLO, "tls shop.example [h2 http/1.1]", |port, _| {
        openssl(port, &["-servername", "Shop.Example", "-alpn", "h2,http/1.1"])
    }),
    client("openssl-noservername", HELLO, "tls (absent) []", |port, _| openssl(port, &["-noservername"])),
    client("openssl-tls1_2", HELLO, "tls shop.example []", |port, _| {
        openssl(port, &["-servername", "shop.example", "-tls1_2"])
    }),
    client("openssl-postgres", POSTGRES, "postgres, tls db.example []", |port, _| {
        openssl(port, &["-starttls", "postgres", "-servername", "db.example"])
    }),
    client("openssl-xmpp", XMPP, "xmpp client chat.example, tls chat.example []", |port, _| {
        openssl(port, &["-starttls", "xmpp", "-name", "chat.example", "-servername", "chat.example"])
    }),
    client("openssl-xmpp-server", XMPP, "xmpp server chat.example, tls (absent) []", |port, _| {
        openssl(port, &["-starttls", "xmpp-server", "-name", "chat.example", "-noservername"])
    }),
    client("curl-https", HELLO, "tls shop.example [h2 http/1.1]", |port, _| {
        curl(&["--resolve", &format!("shop.example:{port}:127.0.0.1"), &format!("https://shop.example:{port}/")])
    }),
    client("curl-http", HTTP, "http", |port, _| curl(&[&format!("http://127.0.0.1:{port}/")])),
    client("curl-http2", HTTP, "http", |port, _| {
        curl(&["--http2-prior-knowledge", &format!("http://127.0.0.1:{port}/")])
    }),
    client("curl-smtp", HTTP, SILENT, |port, _| curl(&[&format!("smtp://127.0.0.1:{port}/")])),
    client("python-ssl", HELLO, "tls py.example [http/1.1]", |port, _| {
        python(
            Path::new("/usr/bin/python3"),
            "import socket, ssl, sys\n\
             c = ssl.create_default_context(); c.set_alpn_protocols(['http/1.1'])\n\
             c.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='py.example')",
            port,
        )
    }),
    client("go", HELLO, "tls go.example [h2]", go),
    client("psql", POSTGRES, "postgres, tls db.example []", |port, _| psql(port, "sslmode=require")),
    Client {
        says: "servers are told apart by the name in TLS here",
        ..client("psql-clear", POSTGRES, "postgres, Clear", |port, _| psql(port, "sslmode=disable"))
    },
    client("psycopg", POSTGRES, "postgres, tls db.example [postgresql]", |port, _| psycopg(port, "")),
    client("psycopg-direct", HELLO, "tls db.example [postgresql]", |port, _| psycopg(port, "sslnegotiation=direct")),
    client("asyncpg", POSTGRES, "postgres, tls localhost []", |port, _| {
        python(
            &tools("postgres/bin/python"),
            "import asyncio, asyncpg, ssl, sys\n\
             c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE\n\
             asyncio.run(asyncpg.connect(host='localhost', port=int(sys.argv[1]), user='u', database='d', ssl=c))",
            port,
        )
    }),
    client("slixmpp", XMPP, "xmpp client chat.example, tls (absent) []", |port, _| {
        python(
            Path::new("/usr/bin/python3"),
            "import slixmpp, sys\n\
             x = slixmpp.ClientXMPP('me@chat.example', 'secret')\n\
             x.connect(address=('127.0.0.1', int(sys.argv[1]))); x.process()",
            port,
        )
    }),
    client("ejabberd", XMPP, "xmpp server localhost, tls localhost [xmpp-server]", ejabberd),
    client("ssh", HTTP, "ssh", |port, _| {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-p", &port.to_string(), "127.0.0.1", "true"]);
        ssh
    }),
    client("mosquitto-tls", HELLO, "tls localhost []", |port, _| {
        mosquitto(port, &["--cafile", "/etc/ssl/certs/ca-certificates.crt"])
    }),
    client("mosquitto-clear", HTTP, "none", |port, _| mosquitto(port, &[])),
    client("redis-tls", HELLO, "tls cache.example []", |port, _| {
        redis(port, &["--tls", "--sni", "cache.example", "--cacert", "/etc/ssl/certs/ca-certificates.crt"])
    }),
    client("redis-clear", HTTP, "none", |port, _| redis(port, &[])),
];

fn openssl(port: u16, arguments: &[&str]) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    openssl
}

fn curl(arguments: &[&str]) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "60"]).args(arguments);
    curl
}

pub(crate) fn python(interpreter: &Path, program: &str, port: u16) -> Command {
    let mut python = Command::new(interpreter);
    python.args(["-c", program, &port.to_string()]);
    python
}

/// What `cargo xtask packages` has installed.
pub(crate) fn tools(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools").join(file)
}

fn go(port: u16, home: &Path) -> Command {
    let program = "package main\n\
        import (\"crypto/tls\"; \"os\")\n\
        func main() {\n\
        \ttls.Dial(\"tcp\", \"127.0.0.1:\"+os.Args[1], &tls.Config{ServerName: \"go.example\", NextProtos: []string{\"h2\"}})\n\
        }\n";
    std::fs::write(home.join("main.go"), program).unwrap();
    let mut go = Command::new("go");
    // What was compiled once is kept between runs.
    go.args(["run", "main.go", &port.to_string()]).env("GOFLAGS", "-mod=mod");
    go
}

/// A server that has a message for another one, and knows by its configuration at which port servers are.
fn ejabberd(port: u16, home: &Path) -> Command {
    let configuration = format!(
        "hosts: [own.example]\nloglevel: none\ns2s_use_starttls: optional\noutgoing_s2s_port: {port}\n\
         outgoing_s2s_families: [ipv4]\nlisten: []\nmodules: {{}}\n"
    );
    std::fs::write(home.join("ejabberd.yml"), configuration).unwrap();
    // Debian has it below the folder of its architecture.
    let libraries = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|folder| folder.path());
    let has_it = |folder: &PathBuf| {
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
        inside.into_iter().any(|inside| inside.file_name().to_string_lossy().starts_with("ejabberd-"))
    };
    let libraries = libraries.into_iter().find(has_it).expect("ejabberd is installed");
    let message = "ejabberd_router:route(xmpp:decode({xmlel, <<\"message\">>, [{<<\"from\">>, <<\"a@own.example\">>}, \
        {<<\"to\">>, <<\"b@localhost\">>}], [{xmlel, <<\"body\">>, [], [{xmlcdata, <<\"x\">>}]}]}, \
        <<\"jabber:client\">>, [])).";
    let mut erl = Command::new("sh");
    // What is said here goes into the environment, which the caller empties first.
    erl.args([
        "-c",
        "ERL_LIBS=$0 EJABBERD_CONFIG_PATH=ejabberd.yml EJABBERD_LOG_PATH=log ERL_CRASH_DUMP=dump exec erl \
        -noinput -mnesia dir '\"spool\"' -s ejabberd -eval \"$1\"",
    ]);
    erl.arg(libraries).arg(message);
    erl
}

fn psql(port: u16, more: &str) -> Command {
    let mut psql = Command::new("psql");
    psql.arg(format!("host=db.example hostaddr=127.0.0.1 port={port} user=u dbname=d connect_timeout=60 {more}"));
    psql
}

fn psycopg(port: u16, more: &str) -> Command {
    let program = format!(
        "import psycopg, sys\n\
         psycopg.connect(f'host=db.example hostaddr=127.0.0.1 port={{sys.argv[1]}} user=u sslmode=require {more}')"
    );
    python(&tools("postgres/bin/python"), &program, port)
}

fn mosquitto(port: u16, more: &[&str]) -> Command {
    let mut mosquitto = Command::new("mosquitto_pub");
    mosquitto.args(["-h", "localhost", "-p", &port.to_string(), "-t", "a", "-m", "b"]).args(more);
    mosquitto
}

fn redis(port: u16, more: &[&str]) -> Command {
    let mut redis = Command::new("redis-cli");
    redis.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(more).arg("PING");
    redis
}
