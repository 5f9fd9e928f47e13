//! The Procfile, by foreman's rule: `name: command`, the space optional; `#` comments and blank lines. Anything else is
//! an error with its line, because what the other tools skip in silence is usually what a merge left behind.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tambat_model::ProcessName;

use crate::diagnostic::{Diagnostic, Source};
use crate::findings::Findings;
use crate::text::Text;

/// The name that other platforms run once for each release, and never as a process.
const ONE_OFF: &str = "release";

/// How a merge marks what it could not decide (git-merge: how conflicts are presented).
const MERGE_MARKERS: [&str; 4] = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];

/// A Procfile as it was written.
#[derive(Debug)]
pub(crate) struct Procfile {
    /// For spots.
    pub(crate) source: Arc<Source>,
    /// In the file's order.
    pub(crate) entries: Vec<Entry>,
    /// What is wrong with it.
    pub(crate) found: Findings,
}

/// A line of it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Before the colon.
    pub(crate) name: ProcessName,
    /// Behind it.
    pub(crate) command: String,
    /// Where the name stands.
    pub(crate) span: Range<usize>,
}

impl Entry {
    /// Is it run once for each release elsewhere, and so not a process?
    pub(crate) fn is_one_off(&self) -> bool {
        self.name.as_str() == ONE_OFF
    }
}

/// Reads a Procfile whole; what is wrong with it is found at once.
pub(crate) fn read(text: &Text) -> Procfile {
    let source = Source::whole(text);
    let mut procfile = Procfile { source, entries: Vec::new(), found: Findings::default() };
    let mut markers = Vec::new();
    let mut start = 0;
    for line in text.as_str().split('\n') {
        let content = line.strip_suffix('\r').unwrap_or(line).trim_end();
        let span = start..start + content.len();
        start += line.len() + 1;
        if content.is_empty() || content.trim_start().starts_with('#') {
            continue;
        }
        if MERGE_MARKERS.iter().any(|marker| content.starts_with(marker)) {
            markers.push(span);
            continue;
        }
        match read_entry(content, span.start) {
            Ok(entry) => procfile.entries.push(entry),
            Err(wrong) => {
                let span = span.start + wrong.span.start..span.start + wrong.span.end;
                let diagnostic = Diagnostic::error(procfile.source.spot(span), wrong.title).help(wrong.help);
                procfile.found.push(diagnostic);
            }
        }
    }
    procfile.settle_twins(markers);
    procfile
}

impl Procfile {
    /// Each name once. Both sides of a merge name the same processes: then the markers are what is wrong.
    fn settle_twins(&mut self, markers: Vec<Range<usize>>) {
        let mut first: BTreeMap<ProcessName, Range<usize>> = BTreeMap::new();
        let entries = std::mem::take(&mut self.entries);
        for entry in entries {
            match first.get(&entry.name) {
                None => {
                    first.insert(entry.name.clone(), entry.span.clone());
                    self.entries.push(entry);
                }
                Some(_) if !markers.is_empty() => {}
                Some(other) => {
                    let title = format!("there are two processes called `{}`", entry.name);
                    let first = self.source.spot(other.clone()).label("the first is here");
                    let diagnostic = Diagnostic::error(self.source.spot(entry.span), title).and(first);
                    self.found.push(diagnostic.help("give each a name of its own, or remove one of the lines"));
                }
            }
        }
        let mut markers = markers.into_iter().map(|span| self.source.spot(span));
        if let Some(first) = markers.next() {
            let mut diagnostic = Diagnostic::error(first, "a merge left its conflict in this file")
                .help("keep the lines of one side, and remove the lines with markers");
            diagnostic.spots.extend(markers.take(MERGE_MARKERS.len() - 1));
            self.found.push(diagnostic);
        }
    }
}

/// What is wrong with a line, its span counted from the line's start.
struct Wrong {
    title: String,
    span: Range<usize>,
    help: String,
}

fn read_entry(line: &str, start: usize) -> Result<Entry, Wrong> {
    let wrong = |title: String, span, help: &str| Wrong { title, span, help: help.to_owned() };
    let neither = || {
        let title = "this line is neither `name: command` nor a comment".to_owned();
        wrong(title, 0..line.len(), "write `name: command`, or `#` before what is only for people")
    };
    if let Some(at) = line.find('\0') {
        let title = "a command cannot have a zero byte in it".to_owned();
        return Err(wrong(title, at..at + 1, "remove it"));
    }
    let (name, command) = line.split_once(':').ok_or_else(neither)?;
    if line.starts_with(char::is_whitespace) {
        let indent = line.len() - line.trim_start().len();
        let title = "a process begins at the start of its line".to_owned();
        return Err(wrong(title, 0..indent, "remove the space before it; one command is one line"));
    }
    let known: ProcessName = name.parse().map_err(|error: tambat_model::NameError| {
        if name.contains(char::is_whitespace) || name.is_empty() {
            return neither();
        }
        wrong(error.to_string(), 0..name.len(), "write `name: command`")
    })?;
    let command = command.trim();
    if command.is_empty() {
        let title = format!("`{known}` has no command");
        return Err(wrong(title, 0..line.len(), &format!("{known}: npm start")));
    }
    Ok(Entry { name: known, command: command.to_owned(), span: start..start + name.len() })
}
