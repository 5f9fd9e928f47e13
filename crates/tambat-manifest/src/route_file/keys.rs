//! Every key of a router's file, in one table: the check for unknown keys and the manual are made from it.

use std::fmt::Write as _;

use crate::keys::{Key, KeyTable, key};

/// Every key of a router's file that is read, in the order of the manual.
pub const ROUTE_FILE_KEYS: &[Key] = &[
    key(KeyTable::RouteFile, "listen", "a string or a list of strings", "addresses to accept HTTP on; port 0: any"),
    key(
        KeyTable::RouteFile,
        "listen_tls",
        "a string or a list of strings",
        "addresses to accept TLS on, with the certificates of `[router.tls]`",
    ),
    key(KeyTable::RouteFile, "router", "a table", "the router itself"),
    key(KeyTable::RouteFile, "routes", "a table", "the routes by name"),
    key(
        KeyTable::RouteFileRouter,
        "workers",
        "a number from 1 to 256",
        "how many threads; one for each core unless said",
    ),
    key(
        KeyTable::RouteFileRouter,
        "trusted",
        "a string or a list of strings",
        "networks whose forwarding fields are believed; none unless said",
    ),
    key(
        KeyTable::RouteFileRouter,
        "proxy_protocol",
        "a string or a list of strings",
        "networks whose connections must begin with a PROXY header; none unless said",
    ),
    key(
        KeyTable::RouteFileRouter,
        "max_connections",
        "a number from 1 up",
        "connections of one client address; any number unless said",
    ),
    key(
        KeyTable::RouteFileRouter,
        "timeouts",
        "a table",
        "limits on clients' connections, and on connecting to targets",
    ),
    key(
        KeyTable::RouteFileRouter,
        "access_log",
        "a string",
        "a file that gets a line for each request; \"-\": standard output",
    ),
    key(
        KeyTable::RouteFileRouter,
        "access_log_format",
        "a string",
        "how it is written: \"json\" (unless said), \"text\"",
    ),
    key(KeyTable::RouteFileRouter, "tls", "a table", "certificates from files, and who has to have one"),
    key(
        KeyTable::RouteFileRouter,
        "listen",
        "a list of tables",
        "addresses whose clients begin in several ways: [{ address, peek, within, fallback }]",
    ),
    key(KeyTable::RouteFileRouterListen, "address", "a string", "as `listen` of those who are reached there has it"),
    key(
        KeyTable::RouteFileRouterListen,
        "peek",
        "a string or a list of strings",
        "what is looked for in a client's first bytes: \"tls\", \"http\", \"ssh\", \"xmpp\", \"postgres\"",
    ),
    key(
        KeyTable::RouteFileRouterListen,
        "within",
        "a duration such as \"3s\"",
        "how long a client may take to begin; 3s unless said",
    ),
    key(
        KeyTable::RouteFileRouterListen,
        "fallback",
        "a string",
        "the route that gets the others; they are closed unless said",
    ),
    key(KeyTable::RouteFileRouter, "metrics", "a string", "an address that answers GET /metrics"),
    key(
        KeyTable::RouteFileRouterTimeouts,
        "head",
        "a duration such as \"10s\"",
        "for a request's head to arrive whole; 10s unless said",
    ),
    key(
        KeyTable::RouteFileRouterTimeouts,
        "body_idle",
        "a duration such as \"30s\"",
        "a body on which nothing moves for so long is given up; 30s unless said",
    ),
    key(
        KeyTable::RouteFileRouterTimeouts,
        "keep_alive",
        "a duration such as \"75s\"",
        "a client's connection without a request is closed after so long; 75s unless said",
    ),
    key(
        KeyTable::RouteFileRouterTimeouts,
        "connect",
        "a duration such as \"5s\"",
        "for connecting to a target; 5s unless said",
    ),
    key(
        KeyTable::RouteFileRouterTls,
        "certificates",
        "a list of tables",
        "certificates from files: [{ chain = \"fullchain.pem\", key = \"privkey.pem\" }]",
    ),
    key(
        KeyTable::RouteFileRouterTls,
        "client_ca",
        "a string",
        "clients must have a certificate that is signed by one in this file",
    ),
    key(
        KeyTable::RouteFileRouterTls,
        "client_auth",
        "a string",
        "\"required\" (unless said) or \"optional\": clients without one are let in, too",
    ),
    key(
        KeyTable::RouteFileRouterTlsCertificate,
        "chain",
        "a string",
        "the certificate and those of who signed it, PEM",
    ),
    key(KeyTable::RouteFileRouterTlsCertificate, "key", "a string", "its key, PEM"),
    key(
        KeyTable::RouteFileRoute,
        "hosts",
        "a string or a list of strings",
        "hostnames: \"shop.example\", \"*.shop.example\"; \"*\" unless said",
    ),
    key(KeyTable::RouteFileRoute, "path", "a string", "the beginning of the paths it takes; \"/\" unless said"),
    key(KeyTable::RouteFileRoute, "strip_path", "true or false", "removes that beginning from what is sent on"),
    key(
        KeyTable::RouteFileRoute,
        "targets",
        "a string or a list of strings",
        "where its requests go: \"127.0.0.1:3000\"",
    ),
    key(
        KeyTable::RouteFileRoute,
        "protocol",
        "a string",
        "what its targets speak: http (unless said), h2c, redis, postgres, mysql, xmpp, mqtt, smtp, ssh, dns, tls, tcp, udp",
    ),
    key(
        KeyTable::RouteFileRoute,
        "proxy_protocol",
        "a string",
        "each connection tells its target in a PROXY header whom it is for: \"v1\", \"v2\"; none does unless said",
    ),
    key(
        KeyTable::RouteFileRoute,
        "balance",
        "a string",
        "how a target is chosen: \"round-robin\" (unless said), \"least-in-flight\", or \"source-hash\", by the client's address",
    ),
    key(
        KeyTable::RouteFileRoute,
        "listen",
        "a string or a list of strings",
        "addresses of its own: \"0.0.0.0:6379\"; its `hosts` are served there and nowhere else",
    ),
    key(
        KeyTable::RouteFileRoute,
        "tls",
        "a string",
        "there: \"terminate\" (ends here; unless said at port 443), \"passthrough\" (unless said with protocol tls), \"off\"",
    ),
    key(
        KeyTable::RouteFileRoute,
        "expose",
        "true or false",
        "targets on this machine may be reached from others without seeing who calls",
    ),
    key(
        KeyTable::RouteFileRoute,
        "max_connections",
        "a number from 1 up",
        "how many streams it has open at a time; any number unless said",
    ),
    key(KeyTable::RouteFileRoute, "timeouts", "a table", "limits on its connections and requests"),
    key(
        KeyTable::RouteFileRoute,
        "max_body",
        "a size such as \"10MiB\"",
        "how large a request's body may be; any unless said",
    ),
    key(
        KeyTable::RouteFileRoute,
        "max_in_flight",
        "a number from 1 up",
        "requests a target serves at a time; any unless said",
    ),
    key(KeyTable::RouteFileRoute, "queue", "a number from 1 up", "requests that wait when all targets are full"),
    key(
        KeyTable::RouteFileRoute,
        "https_redirect",
        "true or false",
        "who comes without TLS is sent to https; where the name has a certificate unless said",
    ),
    key(
        KeyTable::RouteFileRoute,
        "hsts",
        "a number of days such as \"365d\"",
        "how long browsers come over https alone, once they have; not told unless said",
    ),
    key(
        KeyTable::RouteFileRoute,
        "sticky",
        "true, false or a string",
        "a client stays with its target, by a cookie (of this name; `tambat` unless said)",
    ),
    key(KeyTable::RouteFileRoute, "headers", "a table", "fields of every answer: NAME = \"value\"; \"\" removes one"),
    key(KeyTable::RouteFileRoute, "health", "a table", "how targets are asked whether they serve"),
    key(
        KeyTable::RouteFileTimeouts,
        "first_byte",
        "a duration such as \"30s\"",
        "for the first byte of an answer; 30s unless said",
    ),
    key(
        KeyTable::RouteFileTimeouts,
        "response_idle",
        "a duration such as \"55s\"",
        "an answer on which nothing moves for so long is cut; 55s unless said",
    ),
    key(
        KeyTable::RouteFileTimeouts,
        "connect",
        "a duration such as \"5s\"",
        "for connecting to a target; as `[router]` has it unless said",
    ),
    key(
        KeyTable::RouteFileTimeouts,
        "idle",
        "a duration such as \"1h\"",
        "a stream (a WebSocket among them) on which nothing moves for so long is closed; 1h unless said",
    ),
    key(
        KeyTable::RouteFileTimeouts,
        "wait",
        "a duration such as \"30s\"",
        "for a target to take the request when none does; 30s unless said",
    ),
    key(
        KeyTable::RouteFileHealth,
        "path",
        "a string",
        "an http path that must answer 2xx; a connection is enough unless said",
    ),
    key(KeyTable::RouteFileHealth, "every", "a duration such as \"2s\"", "how often a target is asked; 2s unless said"),
    key(KeyTable::RouteFileHealth, "within", "a duration such as \"1s\"", "for an answer; 1s unless said"),
    key(
        KeyTable::RouteFileHealth,
        "up",
        "a number from 1 to 100",
        "so many good answers in a row bring a target in; 2 unless said",
    ),
    key(
        KeyTable::RouteFileHealth,
        "down",
        "a number from 1 to 100",
        "so many bad ones in a row put it out; 3 unless said",
    ),
];

/// The table of the manual, in Markdown.
pub fn route_file_keys_as_markdown() -> String {
    let mut out = String::from("| where | key | value | what it says |\n|---|---|---|---|\n");
    for key in ROUTE_FILE_KEYS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} | `{}` | {} | {} |", key.table.place(), key.name, key.kind, key.doc);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once_and_is_in_the_manual() {
        for (nth, key) in ROUTE_FILE_KEYS.iter().enumerate() {
            assert!(ROUTE_FILE_KEYS[..nth].iter().all(|k| (k.table, k.name) != (key.table, key.name)), "{}", key.name);
        }
        assert_eq!(route_file_keys_as_markdown().lines().count(), ROUTE_FILE_KEYS.len() + 2);
    }
}
