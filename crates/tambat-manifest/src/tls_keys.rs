//! `[router.tls]`: what TLS needs, in both kinds of file.

use std::ops::Range;

use tambat_model::{CertificateFiles, ClientAuthPlan, TlsPlan};
use toml_edit::Value;

use crate::keys::KeyTable;
use crate::manifest::not_blank;
use crate::reader::{At, Node, Reader, Wrong};

/// So many certificates are read from files; for more names there are certificates that need no care.
const CERTIFICATES_MAX: usize = 1_000;

/// `[router.tls]`; `keys` are those it has in its kind of file, `certificate` those of an entry of `certificates`.
pub(crate) fn tls(reader: &mut Reader, at: &At<'_>, keys: KeyTable, certificate: KeyTable) -> TlsPlan {
    let Some(table) = reader.table(at) else {
        return TlsPlan::default();
    };
    let fields = reader.fields(table, keys, keys.place());
    let certificates = fields.get("certificates").map(|at| certificates(reader, at, certificate)).unwrap_or_default();
    let required = fields.get("client_auth").and_then(|at| reader.word(at, &[("required", true), ("optional", false)]));
    let ca = fields.get("client_ca").and_then(|at| reader.parse(at, not_blank));
    if let (Some(at), None) = (fields.get("client_auth"), fields.get("client_ca")) {
        let wrong = Wrong::from("nothing says who signs the certificates of clients");
        reader.wrong(at.whole(), wrong.help("client_ca = \"ca.pem\""));
    }
    // Who names a CA for clients wants them to have a certificate.
    let client_auth = ca.map(|ca| ClientAuthPlan { ca, required: required.unwrap_or(true) });
    TlsPlan { certificates, client_auth }
}

fn certificates(reader: &mut Reader, at: &At<'_>, keys: KeyTable) -> Vec<CertificateFiles> {
    let nodes: Vec<(Node<'_>, Option<Range<usize>>)> = match at.node {
        Node::Value(Value::Array(list)) => list.iter().map(|value| (Node::Value(value), value.span())).collect(),
        Node::Tables(tables) => tables.iter().map(|table| (Node::Table(table), table.span())).collect(),
        _ => {
            let help = "certificates = [{ chain = \"fullchain.pem\", key = \"privkey.pem\" }]";
            reader.expected(at, Some(help.to_owned()));
            return Vec::new();
        }
    };
    if nodes.len() > CERTIFICATES_MAX {
        reader.wrong(at.key_span.clone(), format!("at most {CERTIFICATES_MAX} certificates can be read from files"));
        return Vec::new();
    }
    let entry = |(node, span): (_, Option<_>)| {
        let span = span.unwrap_or_else(|| at.span.clone());
        At { name: "", kind: "a table", node, span, key_span: at.key_span.clone() }
    };
    nodes.into_iter().map(entry).filter_map(|at| files(reader, &at, keys)).collect()
}

fn files(reader: &mut Reader, at: &At<'_>, keys: KeyTable) -> Option<CertificateFiles> {
    let table = reader.table(at)?;
    let fields = reader.fields(table, keys, "in an entry of `certificates`");
    let mut file = |name: &str| match fields.get(name) {
        Some(at) => reader.parse(at, not_blank),
        None => {
            let wrong = Wrong::from(format!("this certificate has no `{name}`"));
            reader.wrong(at.span.clone(), wrong.help("{ chain = \"fullchain.pem\", key = \"privkey.pem\" }"));
            None
        }
    };
    let (chain, key) = (file("chain"), file("key"));
    Some(CertificateFiles { chain: chain?, key: key? })
}
