//! What is wrong with a text, shown to its reader: file, line, column, the text underlined, what to write instead.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Level, Origin, Renderer, Snippet};

pub use tambat_model::Severity;

use crate::Text;

/// What a terminal shows without wrapping.
const WIDTH_COLUMNS: usize = 80;

/// What stands in place of a character of a secret, by how many bytes that has: so spans stay true, and columns, too.
const MASKS: [char; 4] = ['*', '\u{d7}', '\u{2022}', '\u{1f7b1}'];

/// One thing that is wrong with what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Does it keep anything from starting?
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub title: String,
    /// Where: the first is the place itself, the others are what it clashes with.
    pub spots: Vec<Spot>,
    /// What to write instead.
    pub help: Option<String>,
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Whose place.
    pub source: Arc<Source>,
    /// Bytes of [`Source::shown`], on character boundaries; none: the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is to be said of it.
    pub label: Option<String>,
}

/// A text as it may be shown: secrets are masked, byte for byte, so that every span stays true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    shown: String,
    line_first: usize,
}

impl Source {
    /// A whole file. Passwords in URLs are masked.
    pub fn whole(text: &Text) -> Arc<Self> {
        let mut shown = text.as_str().to_owned();
        for password in passwords(text.as_str()) {
            mask(&mut shown, password);
        }
        Arc::new(Self { path: text.path().to_path_buf(), shown, line_first: 1 })
    }

    /// Lines of a file from this one on, in which these bytes are masked.
    pub(crate) fn masked(path: &Path, line_first: usize, text: &str, secret: Range<usize>) -> Arc<Self> {
        let mut shown = text.to_owned();
        mask(&mut shown, secret);
        Arc::new(Self { path: path.to_path_buf(), shown, line_first })
    }

    /// The path by which people know the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text as it may be shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A place in it; a span that is none of its own is moved to where it is.
    pub(crate) fn spot(self: &Arc<Self>, span: Range<usize>) -> Spot {
        let start = self.shown.floor_char_boundary(span.start);
        let end = self.shown.ceil_char_boundary(span.end.max(start).min(self.shown.len()));
        Spot { source: Arc::clone(self), span: Some(start..end), label: None }
    }

    /// The file as a whole.
    pub(crate) fn everywhere(self: &Arc<Self>) -> Spot {
        Spot { source: Arc::clone(self), span: None, label: None }
    }
}

impl Spot {
    /// With something to be said of it.
    #[must_use]
    pub(crate) fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// By file, then by place in it.
    pub(crate) fn order(&self) -> (PathBuf, usize, Option<usize>) {
        (self.source.path.clone(), self.source.line_first, self.span.as_ref().map(|span| span.start))
    }

    /// The line that it begins on, from 1.
    pub fn line(&self) -> usize {
        let start = self.span.as_ref().map_or(0, |s| s.start);
        self.source.line_first + self.source.shown[..start].matches('\n').count()
    }
}

impl Diagnostic {
    /// Something that keeps the app from starting.
    pub(crate) fn error(spot: Spot, title: impl Into<String>) -> Self {
        Self { severity: Severity::Error, title: title.into(), spots: vec![spot], help: None }
    }

    /// Something that is said, and no more.
    pub(crate) fn warning(spot: Spot, title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(spot, title) }
    }

    /// With what to write instead.
    #[must_use]
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// With a place that it clashes with.
    #[must_use]
    pub(crate) fn and(mut self, spot: Spot) -> Self {
        self.spots.push(spot);
        self
    }

    /// The file it is about; none: it is about a command line.
    pub fn file(&self) -> Option<&Path> {
        self.spots.first().map(|spot| spot.source.path())
    }

    /// Everything about it in several lines, without a line end after the last: the sentence, the file with line and
    /// column, the text underlined, what to write instead. At most 80 columns wide where its words allow that.
    pub fn render(&self, color: bool) -> String {
        let (level, word) = match self.severity {
            Severity::Error => (Level::ERROR, "error: "),
            Severity::Warning => (Level::WARNING, "warning: "),
        };
        let title = wrap(&self.title, WIDTH_COLUMNS - word.len());
        let mut group = level.primary_title(title).elements(self.snippets());
        if self.spots.iter().all(|spot| spot.span.is_none()) {
            let origins = self.spots.iter().map(|spot| Origin::path(spot.source.path.to_string_lossy()));
            group = group.elements(origins);
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(wrap(help, WIDTH_COLUMNS - self.help_indent())));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.term_width(WIDTH_COLUMNS).render(&[group])
    }

    /// One snippet for each file, the one of the place itself first.
    fn snippets(&self) -> Vec<Snippet<'_, Annotation<'_>>> {
        let mut sources: Vec<&Arc<Source>> = Vec::new();
        for spot in self.spots.iter().filter(|spot| spot.span.is_some()) {
            if !sources.iter().any(|known| Arc::ptr_eq(known, &spot.source)) {
                sources.push(&spot.source);
            }
        }
        let snippet = |source: &'_ Arc<Source>| -> Vec<Annotation<'_>> {
            let spots = self.spots.iter().enumerate().filter(|(_, spot)| Arc::ptr_eq(&spot.source, source));
            spots
                .filter_map(|(nth, spot)| {
                    let kind = if nth == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                    Some(kind.span(spot.span.clone()?).label(spot.label.as_deref()))
                })
                .collect()
        };
        sources
            .into_iter()
            .map(|source| {
                Snippet::source(source.shown.as_str())
                    .path(source.path.to_string_lossy())
                    .line_start(source.line_first)
                    .annotations(snippet(source))
            })
            .collect()
    }

    /// The width of `= help: ` and of the line numbers before it.
    fn help_indent(&self) -> usize {
        let digits = self.spots.iter().map(|spot| spot.line().to_string().len()).max().unwrap_or_default();
        digits + " = help: ".len()
    }
}

/// Breaks lines at spaces; what has none is left whole.
fn wrap(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    for (nth, line) in text.split('\n').enumerate() {
        if nth > 0 {
            out.push('\n');
        }
        let mut used = 0;
        for (nth, word) in line.split(' ').enumerate() {
            let width = word.chars().count();
            if nth > 0 && used + 1 + width > columns {
                out.push('\n');
                used = 0;
            } else if nth > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += width;
        }
    }
    out
}

fn mask(text: &mut String, secret: Range<usize>) {
    let masked: String =
        text[secret.clone()].chars().map(|c| if c == '\n' { c } else { MASKS[c.len_utf8() - 1] }).collect();
    text.replace_range(secret, &masked);
}

/// Where the passwords are in `scheme://user:password@host`, wherever that stands in a text.
fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, marker) in text.match_indices("://") {
        let start = at + marker.len();
        let rest = &text[start..];
        let end = rest.find(|c: char| c.is_whitespace() || c == '"' || c == '\'').unwrap_or(rest.len());
        let Some(userinfo) = rest[..end].rfind('@') else {
            continue;
        };
        if let Some(colon) = rest[..userinfo].find(':') {
            found.push(start + colon + 1..start + userinfo);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_the_bytes_and_the_columns_of_what_it_hides() {
        for (nth, mask) in MASKS.iter().enumerate() {
            assert_eq!(mask.len_utf8(), nth + 1);
        }
        let secret = "A=a\u{e4}\u{65e5}\u{1f6a2}\n#";
        let source = Source::masked(Path::new(".env"), 1, secret, 2..secret.len());
        assert_eq!(source.shown().len(), secret.len());
        assert_eq!(source.shown().chars().count(), secret.chars().count());
        assert!(!source.shown()[2..].chars().any(|c| secret[2..].contains(c) && c != '\n'));
        let told = Diagnostic::warning(source.spot(secret.len() - 1..secret.len()), "x").render(false);
        assert!(told.contains(".env:2:1"), "{told}");
        let end = secret.find('\n').unwrap();
        let told = Diagnostic::warning(source.spot(end - 4..end), "x").render(false);
        assert!(told.contains(".env:1:6"), "{told}");
    }
}
