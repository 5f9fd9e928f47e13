//! Every key of a server's file, in one table: the check for unknown keys and the manual are made from it.

use crate::keys::{Key, KeyTable, key};

/// Every key of a server's file that is read, in the order of the manual. What stands in `timeouts` and `tls` of its
/// `[router]` is what stands there in a router's file.
pub const SERVE_FILE_KEYS: &[Key] = &[
    key(KeyTable::ServeFile, "router", "a table", "the router that serves all apps"),
    key(
        KeyTable::ServeFileRouter,
        "workers",
        "a number from 1 to 256",
        "how many threads carry requests; one for each core unless said",
    ),
    key(
        KeyTable::ServeFileRouter,
        "trusted",
        "a string or a list of strings",
        "networks whose forwarding fields are believed; none unless said",
    ),
    key(
        KeyTable::ServeFileRouter,
        "proxy_protocol",
        "a string or a list of strings",
        "networks whose connections must begin with a PROXY header; none unless said",
    ),
    key(
        KeyTable::ServeFileRouter,
        "max_connections",
        "a number from 1 up",
        "connections of one client address; any number unless said",
    ),
    key(KeyTable::ServeFileRouter, "access_log", "a string", "a file that gets a line for each request; \"-\": stdout"),
    key(KeyTable::ServeFileRouter, "access_log_format", "a string", "\"json\" (unless said) or \"text\""),
    key(KeyTable::ServeFileRouter, "metrics", "a string", "an address that answers GET /metrics"),
    key(KeyTable::ServeFileRouter, "timeouts", "a table", "limits on clients, and on connecting to instances"),
    key(KeyTable::ServeFileRouter, "tls", "a table", "certificates from files, and who has to have one"),
    key(
        KeyTable::ServeFileRouter,
        "listen",
        "a list of tables",
        "addresses whose clients begin in several ways: [{ address, peek, within, fallback }], fallback being APP/PROCESS",
    ),
    key(KeyTable::ServeFileRouter, "acme", "a table", "certificates from a CA, for every name of the apps"),
    key(
        KeyTable::ServeFileAcme,
        "directory",
        "a string",
        "the CA, by the URL of its ACME directory; Let's Encrypt unless said",
    ),
    key(
        KeyTable::ServeFileAcme,
        "contact",
        "a string or a list of strings",
        "whom the CA tells when something is wrong: \"mailto:ops@example.com\"",
    ),
    key(KeyTable::ServeFileAcme, "terms_agreed", "true or false", "the CA's terms have been read and agreed to"),
    key(KeyTable::ServeFileAcme, "eab", "a table", "the account belongs to this customer of the CA"),
    key(
        KeyTable::ServeFileAcme,
        "challenges",
        "a list of strings",
        "how the CA may see that a name is ours: \"http-01\" (at port 80), \"tls-alpn-01\" (at 443); both unless said",
    ),
    key(
        KeyTable::ServeFileAcme,
        "dns_hook",
        "a string",
        "a command that sets TXT records, for wildcards: called with present or cleanup, a name and a value",
    ),
    key(
        KeyTable::ServeFileAcme,
        "roots",
        "a string",
        "a file, PEM, with the roots of the CA's own server; the system's unless said",
    ),
    key(
        KeyTable::ServeFileAcme,
        "ask",
        "a string",
        "a URL that is asked `?domain=NAME` before a name below a `*.` or of `*` gets a certificate; none does unless said",
    ),
    key(KeyTable::ServeFileEab, "key_id", "a string", "the CA's name for the customer"),
    key(KeyTable::ServeFileEab, "hmac_file", "a string", "the file with the key, as the CA shows it: base64url"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once() {
        for (nth, key) in SERVE_FILE_KEYS.iter().enumerate() {
            assert!(SERVE_FILE_KEYS[..nth].iter().all(|k| (k.table, k.name) != (key.table, key.name)), "{}", key.name);
        }
    }
}
