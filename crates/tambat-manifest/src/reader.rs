//! Values of the manifest, each with its span: read as what they should be, or told what was expected.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{ServicePort, closest};
use toml_edit::{ArrayOfTables, Item, TableLike, Value};

use crate::diagnostic::{Diagnostic, Source, Spot};
use crate::duration::parse_duration;
use crate::findings::Findings;
use crate::keys::{Key, KeyTable};
use crate::size::{SIZE_BYTES_MAX, parse_size};

/// Reads values and keeps what is wrong with them.
pub(crate) struct Reader {
    source: Arc<Source>,
    /// What was wrong so far.
    pub(crate) found: Findings,
}

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct At<'a> {
    /// Its key as written; empty in a list.
    pub(crate) name: &'a str,
    /// What should be here, as [`Key::kind`] has it.
    pub(crate) kind: &'static str,
    /// What is here.
    pub(crate) node: Node<'a>,
    /// Where the value stands.
    pub(crate) span: Range<usize>,
    /// Where its key stands.
    pub(crate) key_span: Range<usize>,
}

/// What stands in a place.
#[derive(Clone, Copy)]
pub(crate) enum Node<'a> {
    /// Anything that stands behind a `=`.
    Value(&'a Value),
    /// What a `[header]` opens.
    Table(&'a dyn TableLike),
    /// What `[[header]]`s open.
    Tables(&'a ArrayOfTables),
}

/// The values of a table by the keys they have there.
pub(crate) struct Fields<'a>(Vec<(&'static Key, At<'a>)>);

/// What is wrong with a text, and what to write instead.
pub(crate) struct Wrong {
    title: String,
    help: Option<String>,
}

impl<E: Display> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self { title: error.to_string(), help: None }
    }
}

impl Wrong {
    /// With the known word that was probably meant, if there is one.
    pub(crate) fn or_meant<'w>(self, word: &str, known: impl IntoIterator<Item = &'w str>) -> Self {
        Self { help: closest(word, known).map(|meant| format!("did you mean \"{meant}\"?")), ..self }
    }

    /// With what to write instead.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl<'a> Fields<'a> {
    /// The value of this key.
    pub(crate) fn get(&self, name: &str) -> Option<&At<'a>> {
        self.0.iter().find(|(key, _)| key.name == name).map(|(_, at)| at)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Key, &At<'a>)> {
        self.0.iter().map(|(key, at)| (*key, at))
    }
}

impl At<'_> {
    /// Key and value, where they stand beside each other.
    pub(crate) fn whole(&self) -> Range<usize> {
        if self.span.start >= self.key_span.end { self.key_span.start..self.span.end } else { self.key_span.clone() }
    }
}

impl<'a> Node<'a> {
    fn of(item: &'a Item) -> Option<Self> {
        match item {
            Item::None => None,
            Item::Value(value) => Some(Self::Value(value)),
            Item::Table(table) => Some(Self::Table(table)),
            Item::ArrayOfTables(tables) => Some(Self::Tables(tables)),
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Value(Value::String(_)) => "a string",
            Self::Value(Value::Integer(_)) => "a number",
            Self::Value(Value::Float(_)) => "a number with a fraction",
            Self::Value(Value::Boolean(_)) => "a boolean",
            Self::Value(Value::Datetime(_)) => "a date",
            Self::Value(Value::Array(_)) => "a list",
            Self::Value(Value::InlineTable(_)) | Self::Table(_) => "a table",
            Self::Tables(_) => "a list of tables",
        }
    }

    /// As it is written without quotes, where it can be.
    fn bare(self) -> Option<String> {
        match self {
            Self::Value(Value::Integer(n)) => Some(n.value().to_string()),
            Self::Value(Value::Float(n)) => Some(n.value().to_string()),
            Self::Value(Value::Boolean(b)) => Some(b.value().to_string()),
            _ => None,
        }
    }
}

impl Reader {
    /// For this text.
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, found: Findings::default() }
    }

    /// A place in the text.
    pub(crate) fn spot(&self, span: Range<usize>) -> Spot {
        self.source.spot(span)
    }

    /// Keeps that something is wrong here.
    pub(crate) fn wrong(&mut self, span: Range<usize>, wrong: impl Into<Wrong>) {
        let Wrong { title, help } = wrong.into();
        self.found.push(Diagnostic { help, ..Diagnostic::error(self.spot(span), title) });
    }

    /// Every value of a table with names of its user's choice, in the file's order.
    pub(crate) fn entries<'a>(table: &'a dyn TableLike, kind: &'static str) -> Vec<At<'a>> {
        let at = |(name, item): (&'a str, &'a Item)| {
            let (key, _) = table.get_key_value(name)?;
            let key_span = key.span().unwrap_or_default();
            let span = item.span().unwrap_or_else(|| key_span.clone());
            Some(At { name, kind, node: Node::of(item)?, span, key_span })
        };
        table.iter().filter_map(at).collect()
    }

    /// The values of a table whose keys are known; others are reported.
    pub(crate) fn fields<'a>(&mut self, table: &'a dyn TableLike, kind: KeyTable, place: &str) -> Fields<'a> {
        let mut fields = Vec::new();
        for at in Self::entries(table, "") {
            match kind.keys().find(|key| key.name == at.name) {
                Some(key) => fields.push((key, At { kind: key.kind, ..at })),
                None => self.unknown(&at, kind, place),
            }
        }
        Fields(fields)
    }

    fn unknown(&mut self, at: &At<'_>, kind: KeyTable, place: &str) {
        let title = format!("unknown key `{}` {place}", at.name.escape_debug());
        let meant = closest(at.name, kind.keys().map(|key| key.name));
        let help = match (meant, kind.all().iter().find(|key| key.name == at.name)) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, Some(elsewhere)) => format!("`{}` stands {}", elsewhere.name, elsewhere.table.place()),
            (None, None) => {
                let known: Vec<&str> = kind.keys().map(|key| key.name).collect();
                format!("known here: {}", known.join(", "))
            }
        };
        self.wrong(at.key_span.clone(), Wrong { title, help: Some(help) });
    }

    /// Says what was expected here.
    pub(crate) fn expected(&mut self, at: &At<'_>, help: Option<String>) {
        let title = format!("expected {}, found {}", at.kind, at.node.in_words());
        self.wrong(at.span.clone(), Wrong { title, help });
    }

    /// A table.
    pub(crate) fn table<'a>(&mut self, at: &At<'a>) -> Option<&'a dyn TableLike> {
        match at.node {
            Node::Table(table) => Some(table),
            Node::Value(Value::InlineTable(table)) => Some(table),
            _ => {
                self.expected(at, None);
                None
            }
        }
    }

    /// A string; it ends up in a command line or an environment, which hold no zero byte.
    pub(crate) fn string<'a>(&mut self, at: &At<'a>) -> Option<&'a str> {
        let Node::Value(Value::String(text)) = at.node else {
            let key = if at.name.is_empty() { String::new() } else { format!("{} = ", at.name) };
            let help = at.node.bare().map(|bare| format!("with quotes: {key}\"{bare}\""));
            self.expected(at, help);
            return None;
        };
        if text.value().contains('\0') {
            self.wrong(at.span.clone(), "neither a command line nor a variable can have a zero byte in it");
            return None;
        }
        Some(text.value())
    }

    /// A string that is something.
    pub(crate) fn parse<T>(&mut self, at: &At<'_>, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        let text = self.string(at)?;
        parse(text).map_err(|wrong| self.wrong(at.span.clone(), wrong)).ok()
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(&mut self, at: &At<'_>, words: &[(&str, T)]) -> Option<T> {
        self.parse(at, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
                let known = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
                let title = format!("`{}` takes one of {known}, not \"{}\"", at.name, text.escape_debug());
                Wrong::from(title).or_meant(text, words.iter().map(|(word, _)| *word))
            })
        })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, at: &At<'_>) -> Option<bool> {
        match at.node {
            Node::Value(Value::Boolean(flag)) => Some(*flag.value()),
            Node::Value(Value::String(text)) if matches!(text.value().as_str(), "true" | "false") => {
                self.expected(at, Some(format!("without quotes: {} = {}", at.name, text.value())));
                None
            }
            _ => {
                self.expected(at, None);
                None
            }
        }
    }

    /// A number that this takes.
    pub(crate) fn number<T>(&mut self, at: &At<'_>, read: impl Fn(i64) -> Option<T>) -> Option<T> {
        match at.node {
            Node::Value(Value::Integer(number)) => {
                let read = read(*number.value());
                if read.is_none() {
                    self.wrong(at.span.clone(), format!("expected {}, found {}", at.kind, number.value()));
                }
                read
            }
            Node::Value(Value::String(text)) if text.value().parse().ok().and_then(&read).is_some() => {
                self.expected(at, Some(format!("without quotes: {} = {}", at.name, text.value())));
                None
            }
            _ => {
                self.expected(at, None);
                None
            }
        }
    }

    /// A number of things, with a limit.
    pub(crate) fn count(&mut self, at: &At<'_>, most: u16) -> Option<u16> {
        self.number(at, |number| u16::try_from(number).ok().filter(|number| *number <= most))
    }

    /// A port. 0 means "any" to the kernel, and a service port is never just any.
    pub(crate) fn port(&mut self, at: &At<'_>) -> Option<ServicePort> {
        let port = self.number(at, |number| ServicePort::try_from(number).ok());
        if let (None, Node::Value(Value::Integer(number)), Some(last)) = (port, at.node, self.found.last_mut())
            && *number.value() == 0
        {
            last.help = Some("without `port` it gets one by its position".to_owned());
        }
        port
    }

    /// A duration; `positive`: longer than nothing.
    pub(crate) fn duration(&mut self, at: &At<'_>, positive: bool) -> Option<Duration> {
        if let Node::Value(Value::Integer(number)) = at.node {
            self.expected(at, Some(format!("with its unit: {} = \"{}s\"", at.name, number.value())));
            return None;
        }
        self.parse(at, |text| match parse_duration(text)? {
            Duration::ZERO if positive => Err(Wrong::from(format!("`{}` must be longer than nothing", at.name))),
            duration => Ok(duration),
        })
    }

    /// A size in bytes: a number of them, or a text with a unit.
    pub(crate) fn size(&mut self, at: &At<'_>) -> Option<u64> {
        match at.node {
            Node::Value(Value::Integer(_)) => {
                self.number(at, |number| u64::try_from(number).ok().filter(|bytes| *bytes <= SIZE_BYTES_MAX))
            }
            Node::Value(Value::String(_)) => self.parse(at, |text| Ok(parse_size(text)?)),
            _ => {
                self.expected(at, None);
                None
            }
        }
    }
}
