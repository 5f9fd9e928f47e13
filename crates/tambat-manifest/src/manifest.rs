//! `tambat.toml`: each value parsed where it stands, and the span of everything a problem may be about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use tambat_model::{
    AppName, INSTANCES_MAX, NameError, Place, PortDraft, PortName, ProcessDraft, ProcessName, Protocol, ReadyDraft,
    ResourcePlan, ResourceUrl, Restart, RouterPlan, SiteDraft, StopDraft, UnknownProtocol, UrlTemplate, UseDraft,
    VarName,
};
use toml_edit::{Document, TableLike, TomlError, Value};

use crate::diagnostic::{Diagnostic, Source};
use crate::findings::Findings;
use crate::http_keys;
use crate::keys::KeyTable;
use crate::reader::{At, Fields, Node, Reader, Wrong};
use crate::routing;
use crate::text::Text;

/// The signals that may ask a process to stop: those that programs are known to end on, and KILL.
const STOP_SIGNALS: [&str; 8] = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL"];

/// What stands in for a URL that is wrong, so that nobody who uses it is told that it is not there.
const URL_IN_PLACE: &str = "tcp://localhost";

/// A manifest as it was written.
pub(crate) struct Manifest {
    /// For spots.
    pub(crate) source: Arc<Source>,
    /// `name`.
    pub(crate) name: Option<AppName>,
    /// `build`.
    pub(crate) build: Option<String>,
    /// In the file's order.
    pub(crate) processes: Vec<ProcessDraft>,
    /// In the file's order.
    pub(crate) resources: Vec<ResourcePlan>,
    /// `[router]`.
    pub(crate) router: RouterPlan,
    /// Where everything stands.
    pub(crate) places: BTreeMap<Place, Range<usize>>,
    /// Those of which something could not be read: what else seems wrong with them may follow from that.
    pub(crate) spoilt: BTreeSet<ProcessName>,
    /// What is wrong with it.
    pub(crate) found: Findings,
}

/// Reads a manifest whole; what is wrong with it is found at once. `Err`: it is not TOML.
pub(crate) fn read(text: &Text) -> Result<Manifest, Box<Diagnostic>> {
    let source = Source::whole(text);
    let document = Document::parse(text.as_str()).map_err(|error| Box::new(syntax_error(&source, &error)))?;
    let manifest = Manifest {
        source: Arc::clone(&source),
        name: None,
        build: None,
        processes: Vec::new(),
        resources: Vec::new(),
        router: RouterPlan::default(),
        places: BTreeMap::new(),
        spoilt: BTreeSet::new(),
        found: Findings::default(),
    };
    Ok(manifest.filled(document.as_table(), Reader::new(source)))
}

pub(crate) fn syntax_error(source: &Arc<Source>, error: &TomlError) -> Diagnostic {
    let spot = error.span().map_or_else(|| source.everywhere(), |span| source.spot(span));
    let diagnostic = Diagnostic::error(spot, error.message().replace('\n', ", "));
    if error.message() == "duplicate key" { diagnostic.help("keep one of the two") } else { diagnostic }
}

impl Manifest {
    fn filled(mut self, table: &dyn TableLike, mut reader: Reader) -> Self {
        let app = reader.fields(table, KeyTable::App, "at the top");
        self.name = app.get("name").and_then(|at| reader.parse(at, parse_app_name));
        self.build = app.get("build").and_then(|at| reader.parse(at, not_blank));
        if let Some(at) = app.get("router") {
            self.router = routing::read_router(&mut reader, at, &mut self.places);
        }
        if let Some(table) = app.get("resources").and_then(|at| reader.table(at)) {
            for at in Reader::entries(table, "a table") {
                self.read_resource(&mut reader, &at);
            }
        }
        if let Some(table) = app.get("processes").and_then(|at| reader.table(at)) {
            for at in Reader::entries(table, "a table") {
                self.read_process(&mut reader, &at);
            }
        }
        self.found = reader.found;
        self
    }

    fn read_resource(&mut self, reader: &mut Reader, at: &At<'_>) {
        let Some(name) = read_name::<ProcessName>(reader, at) else {
            return;
        };
        let Some(table) = reader.table(at) else {
            return;
        };
        self.places.insert(Place::Resource(name.to_string()), at.key_span.clone());
        let before = reader.found.errors();
        let fields = reader.fields(table, KeyTable::Resource, &format!("in `[resources.{name}]`"));
        if reader.found.errors() == before && fields.get("url").is_none() {
            let wrong = Wrong::from(format!("`{name}` has no `url`")).help("url = \"redis://db.example.com:6379\"");
            reader.wrong(at.key_span.clone(), wrong);
        }
        let url = fields.get("url").and_then(|at| {
            reader.parse(at, |text| {
                text.parse::<ResourceUrl>().map_err(|error| format!("`url` cannot be used: {error}").into())
            })
        });
        if let Some(url) = url.or_else(|| URL_IN_PLACE.parse().ok()) {
            self.resources.push(ResourcePlan { name, url });
        }
    }

    fn read_process(&mut self, reader: &mut Reader, at: &At<'_>) {
        let Some(name) = read_name::<ProcessName>(reader, at) else {
            return;
        };
        let before = reader.found.errors();
        self.places.insert(Place::Process(name.clone()), at.key_span.clone());
        let mut draft = ProcessDraft::new(name.clone(), None);
        if let Some(table) = reader.table(at) {
            let fields = reader.fields(table, KeyTable::Process, &format!("in `[processes.{name}]`"));
            for (key, at) in fields.iter() {
                self.places.insert(Place::Key(name.clone(), key.name), at.whole());
            }
            self.fill_process(&mut draft, reader, &fields);
        }
        if reader.found.errors() > before {
            self.spoilt.insert(name);
        }
        self.processes.push(draft);
    }

    fn fill_process(&mut self, draft: &mut ProcessDraft, reader: &mut Reader, fields: &Fields<'_>) {
        let get = |name| fields.get(name);
        draft.command = get("command").and_then(|at| reader.string(at)).map(str::to_owned);
        draft.protocol = get("protocol").and_then(|at| reader.parse(at, parse_protocol));
        draft.port = get("port").and_then(|at| reader.port(at));
        draft.instances = get("instances").and_then(|at| reader.count(at, INSTANCES_MAX));
        draft.url = get("url").and_then(|at| {
            reader.parse(at, |text| {
                text.parse::<UrlTemplate>().map_err(|error| format!("`url` cannot be used: {error}").into())
            })
        });
        let restart = [("on-failure", Restart::OnFailure), ("always", Restart::Always), ("never", Restart::Never)];
        draft.restart = get("restart").and_then(|at| reader.word(at, &restart));
        draft.stateful = get("stateful").and_then(|at| reader.flag(at));
        let any_owner = get("owner").and_then(|at| reader.word(at, &[("tree", false), ("any", true)]));
        draft.any_owner = any_owner.unwrap_or_default();
        draft.expose = get("expose").and_then(|at| reader.flag(at)).unwrap_or_default();
        draft.ready = get("ready").map(|at| read_ready(reader, at)).unwrap_or_default();
        draft.stop = get("stop").map(|at| read_stop(reader, at)).unwrap_or_default();
        routing::fill(draft, reader, fields, &mut self.places);
        draft.env = get("env").map(|at| read_env(reader, at)).unwrap_or_default();
        if let Some(at) = get("ports") {
            self.read_ports(draft, reader, at);
        }
        if let Some(at) = get("uses") {
            self.read_uses(draft, reader, at);
        }
    }

    fn read_ports(&mut self, draft: &mut ProcessDraft, reader: &mut Reader, at: &At<'_>) {
        let Some(table) = reader.table(at) else {
            return;
        };
        for at in Reader::entries(table, "a protocol such as \"http\", or a table") {
            let Some(name) = read_name(reader, &at) else {
                continue;
            };
            self.places.insert(Place::Port(draft.name.clone(), at.name.to_owned()), at.whole());
            let port = self.read_port(&draft.name, name, reader, &at);
            draft.ports.push(port);
        }
    }

    fn read_port(&mut self, process: &ProcessName, name: PortName, reader: &mut Reader, at: &At<'_>) -> PortDraft {
        // A protocol that is wrong is reported; any other keeps the port's name known.
        let mut port =
            PortDraft { name, protocol: Protocol::Tcp, port: None, proxy_protocol: None, site: SiteDraft::default() };
        let table = match at.node {
            Node::Value(Value::String(_)) => {
                port.protocol = reader.parse(at, parse_protocol).unwrap_or(port.protocol);
                return port;
            }
            Node::Value(Value::InlineTable(_)) | Node::Table(_) => reader.table(at),
            _ => None,
        };
        let Some(table) = table else {
            reader.expected(at, None);
            return port;
        };
        let before = reader.found.errors();
        let fields = reader.fields(table, KeyTable::Port, &format!("in the port `{}`", at.name));
        if reader.found.errors() == before && fields.get("protocol").is_none() {
            let wrong = Wrong::from(format!("nothing says what the port `{}` speaks", at.name));
            reader.wrong(at.whole(), wrong.help(format!("{} = {{ protocol = \"http\" }}", at.name)));
        }
        port.protocol = fields.get("protocol").and_then(|at| reader.parse(at, parse_protocol)).unwrap_or(port.protocol);
        port.port = fields.get("port").and_then(|at| reader.port(at));
        port.proxy_protocol = http_keys::proxy_protocol(reader, &fields);
        port.site = routing::read_site(reader, &fields, (process, Some(at.name)), &mut self.places);
        port
    }

    fn read_uses(&mut self, draft: &mut ProcessDraft, reader: &mut Reader, at: &At<'_>) {
        let entries = match at.node {
            Node::Value(Value::Array(_)) => {
                http_keys::strings(reader, at).into_iter().map(|element| (None, element)).collect()
            }
            Node::Value(Value::String(text)) => {
                let help = format!("as a list: uses = [\"{}\"]", text.value().escape_debug());
                return reader.expected(at, Some(help));
            }
            Node::Value(Value::InlineTable(_)) | Node::Table(_) => {
                let table = reader.table(at).map(|table| Reader::entries(table, "a string")).unwrap_or_default();
                table.into_iter().filter_map(|at| Some((Some(read_name(reader, &at)?), at))).collect::<Vec<_>>()
            }
            _ => return reader.expected(at, None),
        };
        for (var, at) in entries {
            if let Some(provider) = reader.parse(&at, not_blank) {
                self.places.insert(Place::Use(draft.name.clone(), provider.clone()), at.span.clone());
                draft.uses.push(UseDraft { var, provider });
            }
        }
    }
}

fn read_ready(reader: &mut Reader, at: &At<'_>) -> ReadyDraft {
    let Some(table) = reader.table(at) else {
        return ReadyDraft::default();
    };
    let fields = reader.fields(table, KeyTable::Ready, "in `ready`");
    ReadyDraft {
        path: fields.get("path").and_then(|at| reader.parse(at, parse_path)),
        within: fields.get("within").and_then(|at| reader.duration(at, true)),
    }
}

fn read_stop(reader: &mut Reader, at: &At<'_>) -> StopDraft {
    let Some(table) = reader.table(at) else {
        return StopDraft::default();
    };
    let fields = reader.fields(table, KeyTable::Stop, "in `stop`");
    StopDraft {
        signal: fields.get("signal").and_then(|at| reader.parse(at, parse_signal)),
        grace: fields.get("grace").and_then(|at| reader.duration(at, false)),
    }
}

fn read_env(reader: &mut Reader, at: &At<'_>) -> Vec<(VarName, String)> {
    let Some(table) = reader.table(at) else {
        return Vec::new();
    };
    let mut env = Vec::new();
    for at in Reader::entries(table, "a string") {
        let var: Option<VarName> = read_name(reader, &at);
        let value = reader.string(&at).map(str::to_owned);
        env.extend(var.zip(value));
    }
    env
}

/// What a key names: a process, a port, a variable.
fn read_name<T: FromStr<Err = NameError>>(reader: &mut Reader, at: &At<'_>) -> Option<T> {
    at.name.parse().map_err(|error| reader.wrong(at.key_span.clone(), error)).ok()
}

fn parse_app_name(text: &str) -> Result<AppName, Wrong> {
    text.parse()
        .map_err(|error: NameError| Wrong::from(error).help(format!("name = \"{}\"", AppName::from_directory(text))))
}

pub(crate) fn parse_protocol(text: &str) -> Result<Protocol, Wrong> {
    text.parse().map_err(|error: UnknownProtocol| {
        Wrong::from(error).or_meant(text, Protocol::ALL.iter().map(|protocol| protocol.as_str()))
    })
}

/// The origin form of RFC 9112 §3.2.1, as it stands in a request line.
pub(crate) fn parse_path(text: &str) -> Result<String, Wrong> {
    if !text.starts_with('/') {
        let help = format!("path = \"/{}\"", text.escape_debug());
        return Err(Wrong::from("a path begins with `/`").help(help));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Wrong::from("a path takes no spaces and only ASCII; others are written as %20"));
    }
    Ok(text.to_owned())
}

fn parse_signal(text: &str) -> Result<String, Wrong> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if STOP_SIGNALS.contains(&name) {
        return Ok(name.to_owned());
    }
    let title = format!("`signal` takes one of {}, not \"{}\"", STOP_SIGNALS.join(", "), text.escape_debug());
    let upper = name.to_ascii_uppercase();
    Err(Wrong::from(title).or_meant(upper.strip_prefix("SIG").unwrap_or(&upper), STOP_SIGNALS))
}

/// A text that is something.
pub(crate) fn not_blank(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() { Err(Wrong::from("there is nothing in these quotes")) } else { Ok(text.to_owned()) }
}
