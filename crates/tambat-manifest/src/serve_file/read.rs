//! From text to a server's settings, each value parsed where it stands.

use toml_edit::{Document, TableLike};

use super::{ACME_DIRECTORY_DEFAULT, AcmeChallenges, AcmeKeys, EabKeys, ServeFile};
use crate::RouterKeys;
use crate::diagnostic::{Diagnostic, Source};
use crate::http_keys;
use crate::keys::KeyTable;
use crate::listen_keys::router_listen;
use crate::manifest::{not_blank, syntax_error};
use crate::reader::{At, Fields, Reader, Wrong};
use crate::route_file::address;
use crate::text::Text;

/// Those of the tables inside of `[router]`, which are a router's file's.
const KEYS_OF_ROUTER: [KeyTable; 3] =
    [KeyTable::RouteFileRouterTimeouts, KeyTable::RouteFileRouterTls, KeyTable::RouteFileRouterTlsCertificate];

/// As RFC 8555 §8.3 has it.
const HTTP_01: &str = "http-01";

/// As RFC 8737 §3 has it.
const TLS_ALPN_01: &str = "tls-alpn-01";

/// What can be done without a hook.
const ALL: AcmeChallenges = AcmeChallenges { http01: true, tls_alpn01: true };

/// A CA writes to each of them.
const CONTACTS_MAX: usize = 16;

/// Everything that this text says, or everything that is wrong with it.
pub(super) fn read(text: &Text) -> Result<ServeFile, Vec<Diagnostic>> {
    let source = Source::whole(text);
    let document = Document::parse(text.as_str()).map_err(|error| vec![syntax_error(&source, &error)])?;
    let mut reader = Reader::new(source);
    let file = read_file(&mut reader, document.as_table());
    if reader.found.has_errors() { Err(reader.found.in_order()) } else { Ok(file) }
}

fn read_file(reader: &mut Reader, table: &dyn TableLike) -> ServeFile {
    let top = reader.fields(table, KeyTable::ServeFile, "at the top");
    let Some(table) = top.get("router").and_then(|at| reader.table(at)) else {
        return ServeFile::default();
    };
    let fields = reader.fields(table, KeyTable::ServeFileRouter, "in `[router]`");
    let mut plan = http_keys::router(reader, &fields, KEYS_OF_ROUTER);
    let listen = fields.get("listen").map(|at| router_listen(reader, at, KeyTable::RouteFileRouterListen));
    plan.listen = listen.unwrap_or_default().into_iter().map(|entry| entry.plan).collect();
    let metrics = fields.get("metrics").and_then(|at| reader.parse(at, |text| address(text, "to listen at")));
    let acme = fields.get("acme").and_then(|at| read_acme(reader, at));
    ServeFile { router: RouterKeys { plan, metrics }, acme }
}

fn read_acme(reader: &mut Reader, at: &At<'_>) -> Option<AcmeKeys> {
    let table = reader.table(at)?;
    let fields = reader.fields(table, KeyTable::ServeFileAcme, "in `[router.acme]`");
    agreed(reader, at, &fields);
    let mut text =
        |name: &str, parse: fn(&str) -> Result<String, Wrong>| fields.get(name).and_then(|at| reader.parse(at, parse));
    let directory = text("directory", directory);
    let (dns_hook, roots, ask) = (text("dns_hook", not_blank), text("roots", not_blank), text("ask", ask));
    Some(AcmeKeys {
        directory: directory.unwrap_or_else(|| ACME_DIRECTORY_DEFAULT.to_owned()),
        contact: fields.get("contact").map(|at| contacts(reader, at)).unwrap_or_default(),
        eab: fields.get("eab").and_then(|at| eab(reader, at)),
        challenges: fields.get("challenges").map_or(ALL, |at| challenges(reader, at)),
        dns_hook,
        roots,
        ask,
    })
}

/// Whoever runs the server has to say so: nobody else can.
fn agreed(reader: &mut Reader, at: &At<'_>, fields: &Fields<'_>) {
    let said = fields.get("terms_agreed");
    let is_agreed = said.map(|at| reader.flag(at));
    let span = match (said, is_agreed) {
        (Some(at), Some(Some(false))) => at.whole(),
        (None, _) => at.key_span.clone(),
        _ => return,
    };
    let wrong = Wrong::from("a CA gives certificates to those who have agreed to its terms");
    reader.wrong(span, wrong.help("read them, then write terms_agreed = true"));
}

fn directory(text: &str) -> Result<String, Wrong> {
    if text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        return Ok(text.to_owned());
    }
    Err(Wrong::from("the directory of an ACME CA is a URL that begins with https://").help(ACME_DIRECTORY_DEFAULT))
}

fn ask(text: &str) -> Result<String, Wrong> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(text.to_owned());
    }
    Err(Wrong::from("who is asked is a URL that begins with http:// or https://")
        .help("ask = \"http://127.0.0.1:9000/ask\""))
}

fn contacts(reader: &mut Reader, at: &At<'_>) -> Vec<String> {
    let entries = http_keys::strings(reader, at);
    if entries.len() > CONTACTS_MAX {
        reader.wrong(
            at.key_span.clone(),
            format!("`contact` has {} entries; there is room for {CONTACTS_MAX}", entries.len()),
        );
        return Vec::new();
    }
    let contact = |text: &str| match text.strip_prefix("mailto:") {
        Some(address) if address.contains('@') => Ok(text.to_owned()),
        None if text.contains('@') => {
            Err(Wrong::from("a contact is a URL").help(format!("contact = \"mailto:{}\"", text.escape_debug())))
        }
        _ => Err(Wrong::from("a contact is a mailto: URL").help("contact = \"mailto:ops@example.com\"")),
    };
    entries.iter().filter_map(|at| reader.parse(at, contact)).collect()
}

fn challenges(reader: &mut Reader, at: &At<'_>) -> AcmeChallenges {
    let words = [(HTTP_01, HTTP_01), (TLS_ALPN_01, TLS_ALPN_01)];
    let entries = http_keys::strings(reader, at);
    let said: Vec<&str> =
        entries.into_iter().filter_map(|at| reader.word(&At { name: "challenges", ..at }, &words)).collect();
    AcmeChallenges { http01: said.contains(&HTTP_01), tls_alpn01: said.contains(&TLS_ALPN_01) }
}

fn eab(reader: &mut Reader, at: &At<'_>) -> Option<EabKeys> {
    let table = reader.table(at)?;
    let fields = reader.fields(table, KeyTable::ServeFileEab, "in `eab`");
    let mut text = |name: &str| match fields.get(name) {
        Some(at) => reader.parse(at, not_blank),
        None => {
            let wrong = Wrong::from(format!("this customer has no `{name}`"));
            reader.wrong(at.key_span.clone(), wrong.help("eab = { key_id = \"...\", hmac_file = \"eab.key\" }"));
            None
        }
    };
    let (key_id, hmac_file) = (text("key_id"), text("hmac_file"));
    Some(EabKeys { key_id: key_id?, hmac_file: hmac_file? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SERVE_FILE_KEYS;

    fn file(text: &str) -> ServeFile {
        ServeFile::new(&Text::new("serve.toml", text)).unwrap()
    }

    fn wrong(text: &str) -> String {
        let found = ServeFile::new(&Text::new("serve.toml", text)).unwrap_err();
        found.iter().map(|diagnostic| diagnostic.render(false)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn keys_of_which_another_file_says_something_else_are_named() {
        let before = file("[router]\nworkers = 2\n[router.acme]\nterms_agreed = true\n");
        assert_eq!(before.differs(&before), [""; 0]);
        let other = file("[router]\nmetrics = \"127.0.0.1:9100\"\ntimeouts = { head = \"3s\" }\n");
        assert_eq!(before.differs(&other), ["router.workers", "router.metrics", "router.timeouts", "router.acme"]);
        // Whatever a file may say has a key here, or a change of it would not be told.
        let all = file(
            "[router]\nworkers = 3\ntrusted = \"10.0.0.0/8\"\nproxy_protocol = \"10.0.0.0/8\"\nmax_connections = 7\naccess_log = \"a\"\n\
             access_log_format = \"text\"\nmetrics = \"127.0.0.1:9100\"\ntimeouts = { head = \"3s\" }\n\
             listen = [{ address = \"127.0.0.1:70\", peek = [\"http\"], fallback = \"shop/web\" }]\n\
             [router.tls]\ncertificates = [{ chain = \"c.pem\", key = \"k.pem\" }]\n[router.acme]\nterms_agreed = true\n",
        );
        let keys = SERVE_FILE_KEYS.iter().filter(|key| key.table == KeyTable::ServeFileRouter);
        let mut keys: Vec<String> = keys.map(|key| format!("router.{}", key.name)).collect();
        let mut told = ServeFile::default().differs(&all);
        keys.sort();
        told.sort_unstable();
        assert_eq!(told, keys);
    }

    #[test]
    fn what_is_said_is_read() {
        assert_eq!(file(""), ServeFile::default());
        let all = "[router]\nworkers = 2\nmetrics = \"127.0.0.1:9100\"\n[router.acme]\nterms_agreed = true\n\
                   directory = \"https://ca.example/dir\"\ncontact = \"mailto:ops@example.com\"\nroots = \"ca.pem\"\n\
                   eab = { key_id = \"7\", hmac_file = \"eab.key\" }\ndns_hook = \"./dns\"\nchallenges = [\"tls-alpn-01\"]\nask = \"http://127.0.0.1:9/a\"\n\
                   [router.tls]\ncertificates = [{ chain = \"c.pem\", key = \"k.pem\" }]\n";
        let read = file(all);
        assert_eq!((read.router.plan.workers.unwrap().get(), read.router.metrics.unwrap().port()), (2, 9100));
        assert_eq!(read.router.plan.tls.certificates[0].chain, "c.pem");
        let expected = AcmeKeys {
            directory: "https://ca.example/dir".to_owned(),
            contact: vec!["mailto:ops@example.com".to_owned()],
            eab: Some(EabKeys { key_id: "7".to_owned(), hmac_file: "eab.key".to_owned() }),
            challenges: AcmeChallenges { http01: false, tls_alpn01: true },
            dns_hook: Some("./dns".to_owned()),
            roots: Some("ca.pem".to_owned()),
            ask: Some("http://127.0.0.1:9/a".to_owned()),
        };
        assert_eq!(read.acme, Some(expected));
        let least = file("[router.acme]\nterms_agreed = true\n").acme.unwrap();
        assert_eq!((least.directory.as_str(), least.ask, least.challenges), (ACME_DIRECTORY_DEFAULT, None, ALL));
    }

    #[test]
    fn everything_that_is_wrong_is_shown_where_it_stands() {
        let all = "[router]\nlisten = \"x\"\n[router.acme]\ndirectory = \"http://ca.example\"\ncontact = [\"ops@example.com\", \"x\"]\n\
                   eab = { key_id = \"7\" }\nask = \"127.0.0.1:9\"\nterms = true\nchallenges = \"http\"\n";
        insta::assert_snapshot!(wrong(all), @r#"
        error: expected a list of tables, found a string
         --> serve.toml:2:10
          |
        2 | listen = "x"
          |          ^^^
          |
          = help: listen = [{ address = "0.0.0.0:443", peek = ["tls", "http"] }]
        error: a CA gives certificates to those who have agreed to its terms
         --> serve.toml:3:9
          |
        3 | [router.acme]
          |         ^^^^
          |
          = help: read them, then write terms_agreed = true
        error: the directory of an ACME CA is a URL that begins with https://
         --> serve.toml:4:13
          |
        4 | directory = "http://ca.example"
          |             ^^^^^^^^^^^^^^^^^^^
          |
          = help: https://acme-v02.api.letsencrypt.org/directory
        error: a contact is a URL
         --> serve.toml:5:12
          |
        5 | contact = ["ops@example.com", "x"]
          |            ^^^^^^^^^^^^^^^^^
          |
          = help: contact = "mailto:ops@example.com"
        error: a contact is a mailto: URL
         --> serve.toml:5:31
          |
        5 | contact = ["ops@example.com", "x"]
          |                               ^^^
          |
          = help: contact = "mailto:ops@example.com"
        error: this customer has no `hmac_file`
         --> serve.toml:6:1
          |
        6 | eab = { key_id = "7" }
          | ^^^
          |
          = help: eab = { key_id = "...", hmac_file = "eab.key" }
        error: who is asked is a URL that begins with http:// or https://
         --> serve.toml:7:7
          |
        7 | ask = "127.0.0.1:9"
          |       ^^^^^^^^^^^^^
          |
          = help: ask = "http://127.0.0.1:9000/ask"
        error: unknown key `terms` in `[router.acme]`
         --> serve.toml:8:1
          |
        8 | terms = true
          | ^^^^^
          |
          = help: known here: directory, contact, terms_agreed, eab, challenges,
                  dns_hook, roots, ask
        error: `challenges` takes one of "http-01", "tls-alpn-01", not "http"
         --> serve.toml:9:14
          |
        9 | challenges = "http"
          |              ^^^^^^
        "#);
    }
}
