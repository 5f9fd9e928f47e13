//! Environments as values: layers, and who won each variable.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a variable comes from; an earlier one wins over a later one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// tambat itself: `PORT`, `PORT_<NAME>`, `PS`, `TAMBAT_URL`.
    Tambat,
    /// `-E NAME=VALUE`.
    CommandLine,
    /// A resource handle; names the provider.
    Handle(String),
    /// A `.env` file; a later file wins over an earlier one.
    DotEnv {
        /// The file as it was named.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// `env` in the manifest.
    Manifest,
    /// What tambat sets where nothing else does: `HOST=127.0.0.1`.
    Default,
    /// The shell that tambat was started from.
    Shell,
    /// The local CA, for programs that keep roots of their own; where nothing else says which they believe.
    LocalCa,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tambat => f.write_str("tambat"),
            Self::CommandLine => f.write_str("-E"),
            Self::Handle(provider) => write!(f, "handle to {provider}"),
            Self::DotEnv { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Manifest => f.write_str("tambat.toml"),
            Self::Default => f.write_str("default"),
            Self::Shell => f.write_str("shell"),
            Self::LocalCa => f.write_str("local CA"),
        }
    }
}

/// One variable from one source.
#[derive(Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where it comes from.
    pub source: Source,
    /// The variable.
    pub name: String,
    /// Its value, which may be secret.
    pub value: String,
}

/// Shows name and source only.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.name, self.source)
    }
}

/// A variable as an instance gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value, which may be secret: see [`crate::redact`].
    pub value: String,
    /// The source that won.
    pub source: Source,
    /// The sources that lost, best first.
    pub lost: Vec<Source>,
}

/// Everything an instance finds in its environment. `Debug` shows names and sources only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, Setting>);

impl Environment {
    /// Lays the layers over each other. Of two layers of the same source the later one wins.
    pub fn compose(layers: impl IntoIterator<Item = Layer>) -> Self {
        let mut by_name: BTreeMap<String, Vec<(usize, Layer)>> = BTreeMap::new();
        for (nth, layer) in layers.into_iter().enumerate() {
            by_name.entry(layer.name.clone()).or_default().push((nth, layer));
        }
        let settle = |(name, mut layers): (String, Vec<(usize, Layer)>)| {
            layers.sort_by(|(a_nth, a), (b_nth, b)| rank(&a.source).cmp(&rank(&b.source)).then(b_nth.cmp(a_nth)));
            let mut layers = layers.into_iter().map(|(_, layer)| layer);
            let won = layers.next()?;
            Some((name, Setting { value: won.value, source: won.source, lost: layers.map(|l| l.source).collect() }))
        };
        Self(by_name.into_iter().filter_map(settle).collect())
    }

    /// The variables by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(name, setting)| (name.as_str(), setting))
    }

    /// One variable.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, s)| (name, s.source.to_string()))).finish()
    }
}

/// `.env` files share one rank: among them, as among all equals, the later layer wins.
fn rank(source: &Source) -> u8 {
    match source {
        Source::Tambat => 0,
        Source::CommandLine => 1,
        Source::Handle(_) => 2,
        Source::DotEnv { .. } => 3,
        Source::Manifest => 4,
        Source::Default => 5,
        Source::Shell => 6,
        Source::LocalCa => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(source: Source, value: &str) -> Layer {
        Layer { source, name: "X".to_owned(), value: value.to_owned() }
    }

    fn dotenv(file: &str) -> Source {
        Source::DotEnv { file: file.into(), line: 1 }
    }

    #[test]
    fn the_first_source_in_the_order_wins_and_the_others_are_remembered() {
        let all = [
            Source::LocalCa,
            Source::Shell,
            Source::Default,
            Source::Manifest,
            dotenv(".env"),
            Source::Handle("api".into()),
            Source::CommandLine,
            Source::Tambat,
        ];
        for cut in 1..=all.len() {
            let environment = Environment::compose(all[..cut].iter().cloned().map(|s| layer(s, "v")));
            let setting = environment.get("X").unwrap();
            assert_eq!(setting.source, all[cut - 1]);
            assert_eq!(setting.lost.len(), cut - 1);
        }
    }

    #[test]
    fn the_later_of_two_files_wins() {
        let environment = Environment::compose([layer(dotenv("b.env"), "1"), layer(dotenv("a.env"), "2")]);
        assert_eq!(environment.get("X").unwrap().value, "2");
    }

    #[test]
    fn debug_shows_no_value() {
        let environment = Environment::compose([layer(Source::Shell, "secret")]);
        assert!(!format!("{environment:?}").contains("secret"));
    }
}
