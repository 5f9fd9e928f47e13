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

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String, usize)> {
        let shell = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        let file = parse(&Text::new(".env", text), &shell).map_err(|found| found[0].render(false)).unwrap();
        let line = |layer: &Layer| match &layer.source {
            LayerSource::DotEnv { line, .. } => *line,
            other => panic!("{other}"),
        };
        file.layers.into_iter().map(|layer| (layer.name.clone(), layer.value.clone(), line(&layer))).collect()
    }

    fn value(text: &str) -> String {
        values(text).pop().unwrap().1
    }

    #[test]
    fn values_are_read_by_the_written_grammar() {
        let cases = [
            ("A=b", "b"),
            ("A=", ""),
            ("  A  =  b c  ", "b c"),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("A=b # c", "b"),
            ("A= # c", ""),
            ("A=#c", "#c"),
            ("A=b#c # d", "b#c"),
            ("A=it's", "it's"),
            ("A='$x ${y} \\n # \"'", "$x ${y} \\n # \""),
            ("A='b' # c", "b"),
            ("A=''", ""),
            ("A='b\nc'", "b\nc"),
            (r#"A="b\n\r\t\"\\\$\q""#, "b\n\r\t\"\\$q"),
            (r#"A="\${HOME}""#, "${HOME}"),
            ("A=\"b\r\nc\" # d\r\n", "b\r\nc"),
            ("A=b\\n", "b\\n"),
            ("A={\"a\": [1]}", "{\"a\": [1]}"),
            ("A=x=y=", "x=y="),
            ("A=p$a$$w0rd$", "p$a$$w0rd$"),
            ("A=${HOME}/x", "/home/me/x"),
            ("A=\"${HOME}/x\"", "/home/me/x"),
            ("B=1\nA=${B}${B}", "11"),
            ("HOME=/h\nA=${HOME}", "/h"),
            ("A=${NO}", ""),
            ("A=${NO:-b c}", "b c"),
            ("A=${NO-b}", "b"),
            ("A=${NO:-}", ""),
            ("B=\nA=${B:-c}", "c"),
            ("B=\nA=${B-c}", ""),
            ("A=${NO:-${HOME}/${NO-x}}", "/home/me/x"),
            ("A=${HOME:?why}${HOME?}", "/home/me/home/me"),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_value_knows_the_line_it_begins_on() {
        let text = "\u{feff}# c\r\n\r\nA=1\r\nB='x\r\ny'\r\nC=3\r\n";
        let lines: Vec<(String, usize)> = values(text).into_iter().map(|(name, _, line)| (name, line)).collect();
        assert_eq!(lines, [("A".to_owned(), 3), ("B".to_owned(), 4), ("C".to_owned(), 6)]);
    }

    #[test]
    fn variables_that_name_each_other_cannot_grow_without_end() {
        use std::fmt::Write as _;
        let mut text = String::from("V0=0123456789\n");
        for nth in 1..64 {
            let before = nth - 1;
            writeln!(text, "V{nth}=${{V{before}}}${{V{before}}}").unwrap();
        }
        let Err(found) = parse(&Text::new(".env", text), &|_| None) else { panic!("it grew") };
        assert!(found[0].title.ends_with("is longer than 131072 bytes"), "{}", found[0].title);
    }
}
