//! Every key of `tambat.toml`, in one table: the check for unknown keys and the manual are made from it.

use std::fmt::Write as _;

use crate::route_file::ROUTE_FILE_KEYS;
use crate::serve_file::SERVE_FILE_KEYS;

/// A key of `tambat.toml` or of a router's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub table: KeyTable,
    /// As it is written.
    pub name: &'static str,
    /// What its value is, in words: the end of "expected …".
    pub kind: &'static str,
    /// What it says, in one line.
    pub doc: &'static str,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyTable {
    /// At the top.
    App,
    /// `[processes.NAME]`.
    Process,
    /// One entry of a process's `ports`, where it is a table.
    Port,
    /// A process's `ready`.
    Ready,
    /// A process's `stop`.
    Stop,
    /// A process's `timeouts`.
    Timeouts,
    /// A process's `health`.
    Health,
    /// `[resources.NAME]`.
    Resource,
    /// `[router]`.
    Router,
    /// The `timeouts` of `[router]`.
    RouterTimeouts,
    /// `[router.tls]`.
    RouterTls,
    /// One of its `certificates`.
    RouterTlsCertificate,
    /// An entry of the `listen` of `[router]`.
    RouterListen,
    /// At the top of a router's file.
    RouteFile,
    /// `[router]` of a router's file.
    RouteFileRouter,
    /// Its `timeouts`.
    RouteFileRouterTimeouts,
    /// Its `tls`.
    RouteFileRouterTls,
    /// One of the `certificates` there.
    RouteFileRouterTlsCertificate,
    /// An entry of the `listen` of `[router]`, there and in a server's file.
    RouteFileRouterListen,
    /// `[routes.NAME]` of a router's file.
    RouteFileRoute,
    /// A route's `timeouts`.
    RouteFileTimeouts,
    /// A route's `health`.
    RouteFileHealth,
    /// At the top of a server's file.
    ServeFile,
    /// `[router]` of a server's file.
    ServeFileRouter,
    /// `[router.acme]` of a server's file.
    ServeFileAcme,
    /// Its `eab`.
    ServeFileEab,
}

impl KeyTable {
    /// Where that is, in words.
    pub fn place(self) -> &'static str {
        match self {
            Self::App | Self::RouteFile | Self::ServeFile => "at the top",
            Self::Process => "in `[processes.NAME]`",
            Self::Port => "in an entry of `ports`",
            Self::Ready => "in `ready`",
            Self::Stop => "in `stop`",
            Self::Timeouts => "in `timeouts`",
            Self::Health | Self::RouteFileHealth => "in `health`",
            Self::Resource => "in `[resources.NAME]`",
            Self::Router | Self::RouteFileRouter | Self::ServeFileRouter => "in `[router]`",
            Self::RouterTimeouts | Self::RouteFileRouterTimeouts => "in `timeouts` of `[router]`",
            Self::RouterTls | Self::RouteFileRouterTls => "in `[router.tls]`",
            Self::RouterTlsCertificate | Self::RouteFileRouterTlsCertificate => "in an entry of `certificates`",
            Self::RouterListen | Self::RouteFileRouterListen => "in an entry of `listen` of `[router]`",
            Self::RouteFileRoute => "in `[routes.NAME]`",
            Self::ServeFileAcme => "in `[router.acme]`",
            Self::ServeFileEab => "in `eab` of `[router.acme]`",
            Self::RouteFileTimeouts => "in `timeouts` of `[routes.NAME]`",
        }
    }

    /// The keys that may stand here.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        self.all().iter().filter(move |key| key.table == self)
    }

    /// All keys of its kind of file.
    pub(crate) fn all(self) -> &'static [Key] {
        match self {
            Self::RouteFile
            | Self::RouteFileRouter
            | Self::RouteFileRouterTimeouts
            | Self::RouteFileRouterTls
            | Self::RouteFileRouterTlsCertificate
            | Self::RouteFileRouterListen
            | Self::RouteFileRoute
            | Self::RouteFileTimeouts
            | Self::RouteFileHealth => ROUTE_FILE_KEYS,
            Self::ServeFile | Self::ServeFileRouter | Self::ServeFileAcme | Self::ServeFileEab => SERVE_FILE_KEYS,
            _ => KEYS,
        }
    }
}

pub(crate) const fn key(table: KeyTable, name: &'static str, kind: &'static str, doc: &'static str) -> Key {
    Key { table, name, kind, doc }
}

/// Every key that is read, in the order of the manual.
pub const KEYS: &[Key] = &[
    key(KeyTable::App, "name", "a string", "the app's name, a hostname label; the directory's unless said"),
    key(KeyTable::App, "build", "a string", "a command that is run to its end before anything starts"),
    key(KeyTable::App, "processes", "a table", "the processes by name, beside those of the Procfile"),
    key(KeyTable::App, "resources", "a table", "backing services that are not run here, by name"),
    key(KeyTable::App, "router", "a table", "what holds for the router as a whole"),
    key(KeyTable::Process, "command", "a string", "the command line, for `/bin/sh -c`; the Procfile's unless said"),
    key(
        KeyTable::Process,
        "protocol",
        "a string",
        "what it speaks on its `PORT`: http, h2c, redis, postgres, mysql, xmpp, mqtt, smtp, ssh, dns, tls, tcp, udp, none",
    ),
    key(KeyTable::Process, "port", "a number from 1 to 65535", "its service port; by its position unless said"),
    key(
        KeyTable::Process,
        "ports",
        "a table",
        "named ports: name = protocol, or name = { protocol, port, hosts, path, strip_path, listen, tls, proxy_protocol }",
    ),
    key(KeyTable::Process, "instances", "a number from 0 to 1000", "how many are run; 1 unless said"),
    key(KeyTable::Process, "uses", "a list of strings or a table", "its backing services, or VARIABLE = service"),
    key(KeyTable::Process, "env", "a table", "its part of the environment: VARIABLE = \"value\""),
    key(KeyTable::Process, "url", "a string", "how its handle is written, with {host} and {port}"),
    key(KeyTable::Process, "ready", "a table", "when it is ready; as its protocol has it unless said"),
    key(KeyTable::Process, "stop", "a table", "how it is stopped"),
    key(KeyTable::Process, "restart", "a string", "after its end: \"on-failure\" (unless said), \"always\", \"never\""),
    key(
        KeyTable::Process,
        "stateful",
        "true or false",
        "one instance at a time; true for redis and postgres unless said",
    ),
    key(KeyTable::Process, "owner", "a string", "who may listen on its port: \"tree\" (unless said) or \"any\""),
    key(KeyTable::Process, "expose", "true or false", "may be reached from other machines without seeing who calls"),
    key(
        KeyTable::Process,
        "proxy_protocol",
        "a string",
        "each connection tells it in a PROXY header whom it is for: \"v1\", \"v2\"; none does unless said",
    ),
    key(
        KeyTable::Process,
        "hosts",
        "a string or a list of strings",
        "hostnames beside PROCESS.APP.localhost: one, `*.` and all below one, or `*` for what nobody else has; of http, or with `listen`",
    ),
    key(
        KeyTable::Process,
        "path",
        "a string",
        "the beginning of the paths it answers to, also at APP.localhost; / unless said",
    ),
    key(KeyTable::Process, "strip_path", "true or false", "`path` is removed from what it gets; false unless said"),
    key(
        KeyTable::Process,
        "listen",
        "a string or a list of strings",
        "where else its first port is reached, beside the service port, and its `hosts` are served: \"0.0.0.0:6379\"",
    ),
    key(
        KeyTable::Process,
        "tls",
        "a string",
        "there: \"terminate\" (ends here; unless said at port 443), \"passthrough\" (unless said with protocol tls), \"off\"",
    ),
    key(
        KeyTable::Process,
        "max_connections",
        "a number from 1 up",
        "how many streams each of its ports has open at a time; any number unless said",
    ),
    key(KeyTable::Process, "timeouts", "a table", "limits on its connections and requests"),
    key(
        KeyTable::Process,
        "max_body",
        "a size such as \"10MiB\"",
        "the largest body of a request; any size unless said",
    ),
    key(
        KeyTable::Process,
        "headers",
        "a table",
        "fields its answers get in place of its own: NAME = \"value\", \"\" removes",
    ),
    key(
        KeyTable::Process,
        "https_redirect",
        "true or false",
        "who comes without TLS is sent to https; where the name has a public certificate unless said",
    ),
    key(
        KeyTable::Process,
        "hsts",
        "a number of days such as \"365d\"",
        "how long browsers come over https alone, once they have; not told unless said",
    ),
    key(
        KeyTable::Process,
        "sticky",
        "true, false or a string",
        "a client stays with its instance, by a cookie of this name; true: `tambat`",
    ),
    key(
        KeyTable::Process,
        "balance",
        "a string",
        "which instance is next: \"round-robin\" (unless said), \"least-in-flight\", or \"source-hash\", by the client's address",
    ),
    key(
        KeyTable::Process,
        "max_in_flight",
        "a number from 1 up",
        "how many requests or streams an instance has at a time; any number unless said",
    ),
    key(
        KeyTable::Process,
        "queue",
        "a number from 1 up",
        "how many of them wait while there is no instance for them; 1024 unless said",
    ),
    key(KeyTable::Process, "health", "a table", "its instances are asked how they are while they run; not unless said"),
    key(KeyTable::Port, "protocol", "a string", "what is spoken there"),
    key(KeyTable::Port, "port", "a number from 1 to 65535", "its service port; by its place unless said"),
    key(KeyTable::Port, "hosts", "a string or a list of strings", "as of a process, beside PORT.PROCESS.APP.localhost"),
    key(KeyTable::Port, "path", "a string", "as of a process"),
    key(KeyTable::Port, "strip_path", "true or false", "as of a process"),
    key(KeyTable::Port, "listen", "a string or a list of strings", "as of a process"),
    key(KeyTable::Port, "tls", "a string", "as of a process"),
    key(KeyTable::Port, "proxy_protocol", "a string", "as of a process"),
    key(KeyTable::Ready, "path", "a string", "an http path that must answer 2xx"),
    key(KeyTable::Ready, "within", "a duration such as \"60s\"", "the limit for becoming ready; 60s unless said"),
    key(KeyTable::Stop, "signal", "a string", "what asks it to stop; TERM unless said"),
    key(
        KeyTable::Stop,
        "grace",
        "a duration such as \"5s\"",
        "how long it may take before it is killed; 5s unless said",
    ),
    key(
        KeyTable::Timeouts,
        "idle",
        "a duration such as \"15m\"",
        "a stream on which nothing moves for so long is closed; none is, unless said; a session of datagrams after 60s",
    ),
    key(
        KeyTable::Timeouts,
        "connect",
        "a duration such as \"5s\"",
        "how long connecting to an instance may take; as `[router]` has it unless said",
    ),
    key(
        KeyTable::Timeouts,
        "first_byte",
        "a duration such as \"30s\"",
        "how long an answer may take to begin; any time unless said",
    ),
    key(
        KeyTable::Timeouts,
        "response_idle",
        "a duration such as \"55s\"",
        "how long an answer may stand still; any time unless said",
    ),
    key(
        KeyTable::Timeouts,
        "wait",
        "a duration such as \"30s\"",
        "how long a request waits for an instance; as long as `ready.within` unless said",
    ),
    key(
        KeyTable::Health,
        "path",
        "a string",
        "an http path that must answer 2xx; it must accept a connection unless said",
    ),
    key(KeyTable::Health, "every", "a duration such as \"2s\"", "from one question to the next; 2s unless said"),
    key(KeyTable::Health, "within", "a duration such as \"1s\"", "how long an answer may take; 1s unless said"),
    key(KeyTable::Health, "up", "a number from 1 to 100", "so many right answers in a row take it in; 2 unless said"),
    key(KeyTable::Health, "down", "a number from 1 to 100", "so many wrong ones take it out; 3 unless said"),
    key(KeyTable::Resource, "url", "a string", "its URL: scheme://user:password@host:port/path"),
    key(
        KeyTable::Router,
        "workers",
        "a number from 1 to 256",
        "how many threads carry requests; one a core unless said",
    ),
    key(
        KeyTable::Router,
        "trusted",
        "a string or a list of strings",
        "peers whose forwarding fields are believed: \"10.0.0.0/8\", \"::1\"; nobody's unless said",
    ),
    key(
        KeyTable::Router,
        "proxy_protocol",
        "a string or a list of strings",
        "peers whose connections must begin with a PROXY header: \"10.0.0.0/8\"; nobody's unless said",
    ),
    key(
        KeyTable::Router,
        "max_connections",
        "a number from 1 up",
        "how many connections one client address may have; any number unless said",
    ),
    key(
        KeyTable::Router,
        "access_log",
        "a string",
        "the file that each request is written down in; \"-\": standard output",
    ),
    key(KeyTable::Router, "access_log_format", "a string", "\"json\" (unless said) or \"text\""),
    key(KeyTable::Router, "timeouts", "a table", "limits on clients, whatever they ask for"),
    key(KeyTable::Router, "tls", "a table", "certificates from files, and who has to have one"),
    key(
        KeyTable::RouterTimeouts,
        "head",
        "a duration such as \"10s\"",
        "how long a request's head may take; 10s unless said",
    ),
    key(
        KeyTable::RouterTimeouts,
        "body_idle",
        "a duration such as \"30s\"",
        "how long a body may stand still; 30s unless said",
    ),
    key(
        KeyTable::RouterTimeouts,
        "keep_alive",
        "a duration such as \"75s\"",
        "how long a connection is kept between two requests; 75s unless said",
    ),
    key(
        KeyTable::RouterTimeouts,
        "connect",
        "a duration such as \"5s\"",
        "how long connecting to an instance may take; 5s unless said",
    ),
    key(
        KeyTable::RouterTls,
        "certificates",
        "a list of tables",
        "certificates from files: [{ chain = \"fullchain.pem\", key = \"privkey.pem\" }]",
    ),
    key(
        KeyTable::RouterTls,
        "client_ca",
        "a string",
        "clients must have a certificate that is signed by one in this file",
    ),
    key(
        KeyTable::RouterTls,
        "client_auth",
        "a string",
        "\"required\" (unless said) or \"optional\": clients without one are let in, too",
    ),
    key(KeyTable::RouterTlsCertificate, "chain", "a string", "the certificate and those of who signed it, PEM"),
    key(KeyTable::RouterTlsCertificate, "key", "a string", "its key, PEM"),
    key(
        KeyTable::Router,
        "listen",
        "a list of tables",
        "addresses whose clients begin in several ways: [{ address, peek, within, fallback }]",
    ),
    key(KeyTable::RouterListen, "address", "a string", "as `listen` of the processes there has it"),
    key(
        KeyTable::RouterListen,
        "peek",
        "a string or a list of strings",
        "what is looked for in a client's first bytes: \"tls\", \"http\", \"ssh\", \"xmpp\", \"postgres\"",
    ),
    key(
        KeyTable::RouterListen,
        "within",
        "a duration such as \"3s\"",
        "how long a client may take to begin; 3s unless said",
    ),
    key(
        KeyTable::RouterListen,
        "fallback",
        "a string",
        "who gets the others, PROCESS or PROCESS:PORT; they are closed unless said",
    ),
];

/// The table of the manual, in Markdown.
pub fn keys_as_markdown() -> String {
    let mut out = String::from("| where | key | value | what it says |\n|---|---|---|---|\n");
    for key in KEYS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} | `{}` | {} | {} |", key.table.place(), key.name, key.kind, key.doc);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once() {
        for (nth, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..nth].iter().all(|k| (k.table, k.name) != (key.table, key.name)), "{}", key.name);
        }
    }

    #[test]
    fn the_manual_has_every_key() {
        let manual = keys_as_markdown();
        assert_eq!(manual.lines().count(), KEYS.len() + 2);
        assert!(manual.contains("| in `stop` | `grace` | a duration such as \"5s\" | how long it may take"));
    }
}
