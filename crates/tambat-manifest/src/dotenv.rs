//! `.env` files, by the grammar that compose has written down, with one change: only the braced `${NAME}` is
//! interpolated, because a bare `$` stands in too many passwords.
//!
//! ```text
//! # a comment
//! export NAME=value        # `export` may stand there; a comment needs a space before it
//! SINGLE='as it is, also over
//! several lines'
//! DOUBLE="escapes \n \r \t \" \\ \$, and ${NAME}"
//! OTHER=${A} ${A:-if unset or empty} ${A-if unset} ${A:?must not be empty} ${A?must be set}
//! ```
//!
//! A diagnostic of such a file never shows a value.

mod expand;
mod scan;

use std::collections::BTreeMap;
use std::path::Path;

use tambat_model::{Layer, Source as LayerSource};

use self::expand::{Expanded, expand};
use self::scan::{Assignment, Fault, Quote, Scanner};
use crate::LoadError;
use crate::diagnostic::{Diagnostic, Source, Spot};
use crate::findings::Findings;
use crate::text::Text;

/// What a `.env` file sets. There is no `Debug`: the values may be secret.
pub struct DotEnv {
    /// In the file's order; of two with one name the later one counts.
    pub layers: Vec<Layer>,
    /// Where another tool reads the file otherwise, and variables that are not set.
    pub warnings: Vec<Diagnostic>,
}

/// Reads this file. `shell` knows the variables that `${NAME}` may mean besides those of earlier lines. `Ok(None)`:
/// there is no such file, which is an error only where it was named by its user.
pub fn read_dotenv(path: &Path, shell: &dyn Fn(&str) -> Option<String>) -> Result<Option<DotEnv>, LoadError> {
    let text = Text::read(path)?;
    text.map(|text| parse(&text, shell)).transpose().map_err(LoadError::Invalid)
}

/// Reads a text. `Err`: everything that is wrong with it, errors first.
pub fn parse(text: &Text, shell: &dyn Fn(&str) -> Option<String>) -> Result<DotEnv, Vec<Diagnostic>> {
    let mut file = Reading { text, shell, known: BTreeMap::new(), layers: Vec::new(), found: Findings::default() };
    for scanned in Scanner::new(text.as_str()) {
        match scanned {
            Ok(assignment) => file.assign(&assignment),
            Err(fault) => file.fault(&fault),
        }
    }
    let Reading { layers, found, .. } = file;
    if found.has_errors() { Err(found.in_order()) } else { Ok(DotEnv { layers, warnings: found.in_order() }) }
}

struct Reading<'t> {
    text: &'t Text,
    shell: &'t dyn Fn(&str) -> Option<String>,
    known: BTreeMap<&'t str, String>,
    layers: Vec<Layer>,
    found: Findings,
}

impl<'t> Reading<'t> {
    fn assign(&mut self, assignment: &Assignment<'t>) {
        let expanded = match assignment.quote {
            Quote::Single => Ok(Expanded::literal(assignment.value)),
            Quote::Double | Quote::None => {
                let lookup = |name: &str| self.known.get(name).cloned().or_else(|| (self.shell)(name));
                expand(assignment, &lookup)
            }
        };
        match expanded {
            Ok(expanded) => {
                self.warn(assignment, &expanded);
                self.known.insert(assignment.name, expanded.value.clone());
                self.layers.push(Layer {
                    source: LayerSource::DotEnv { file: self.text.path().to_path_buf(), line: assignment.line },
                    name: assignment.name.to_owned(),
                    value: expanded.value,
                });
            }
            Err(fault) => self.fault(&fault),
        }
    }

    fn fault(&mut self, fault: &Fault) {
        let diagnostic = Diagnostic::error(self.spot(fault), fault.title.as_str());
        self.found.push(diagnostic.help(fault.help.as_str()));
    }

    /// Where an existing file would change its meaning in silence, its owner is told.
    fn warn(&mut self, assignment: &Assignment<'_>, expanded: &Expanded) {
        let name = assignment.name;
        let mut warn = |at, title: String, help: &str| {
            let fault = Fault::at(assignment, at, title, help);
            self.found.push(Diagnostic::warning(self.spot(&fault), fault.title.as_str()).help(help));
        };
        if let Some(comment) = &assignment.comment {
            let title = format!("the value of `{name}` ends before this `#`; foreman takes it all");
            warn(comment.clone(), title, "quote the value if it has a `#`, or give the comment a line of its own");
        }
        if let Some(dollar) = &expanded.bare_dollar {
            let title = format!("this `$` in `{name}` stands for itself; compose looks for a variable");
            warn(dollar.clone(), title, "write ${NAME} for a variable, or single quotes around the value");
        }
        for (unset, at) in &expanded.unset {
            let title = format!("`{name}` uses `{unset}`, which is not set: it is taken as empty");
            warn(at.clone(), title, &format!("${{{unset}:-default}} gives it a default"));
        }
    }

    /// The line of a fault, its value masked.
    fn spot(&self, fault: &Fault) -> Spot {
        let text = self.text.as_str();
        let start = text[..fault.at.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[fault.at.start..].find('\n').map_or(text.len(), |at| fault.at.start + at);
        let line = text[start..end].trim_end();
        let secret = fault.secret_from.clamp(start, start + line.len()) - start..line.len();
        let number = fault.line + text[fault.line_start..start.max(fault.line_start)].matches('\n').count();
        let source = Source::masked(self.text.path(), number, line, secret);
        source.spot(fault.at.start - start..fault.at.end.min(end) - start)
    }
}
