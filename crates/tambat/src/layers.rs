//! The sources of the environment that every process of an app shares.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tambat_manifest::Diagnostic;
use tambat_model::{Layer, Plan, Source, VarName};

use crate::failure::Failure;

/// The file that is read where none is named.
const DOTENV: &str = ".env";

/// The shared sources.
#[derive(Debug)]
pub(crate) struct Layers {
    /// Best first has no meaning here: each layer knows its source.
    pub(crate) all: Vec<Layer>,
    /// Variables of the shell that are not UTF-8.
    pub(crate) raw: Vec<(OsString, OsString)>,
    /// `PORT` of a `.env` file, else of the shell: the base of the service ports.
    pub(crate) port: Option<Layer>,
    /// What is worth saying about the `.env` files.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Reads the shell, the `.env` files (`files`; without one `.env`, which may be missing) and the `-E` words.
pub(crate) fn read(dir: &Path, files: &[PathBuf], words: &[String]) -> Result<Layers, Failure> {
    let mut layers = Layers { all: Vec::new(), raw: Vec::new(), port: None, warnings: Vec::new() };
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => layers.all.push(Layer { source: Source::Shell, name, value }),
            (name, value) => {
                layers
                    .raw
                    .push((name.map_or_else(|raw| raw, OsString::from), value.map_or_else(|raw| raw, OsString::from)));
            }
        }
    }
    let named = !files.is_empty();
    let default = [PathBuf::from(DOTENV)];
    for file in if named { files } else { &default } {
        layers.dotenv(dir, file, named)?;
    }
    for word in words {
        layers.all.push(command_line(word)?);
    }
    let of =
        |source: fn(&Source) -> bool| layers.all.iter().rev().find(|l| l.name == "PORT" && source(&l.source)).cloned();
    layers.port = of(|s| matches!(s, Source::DotEnv { .. })).or_else(|| of(|s| *s == Source::Shell));
    Ok(layers)
}

impl Layers {
    /// The lines of `.env` files that some process never sees because a handle has their name, in words. Never a value.
    pub(crate) fn overridden(&self, plan: &Plan) -> Vec<String> {
        let mut warnings = Vec::new();
        for layer in &self.all {
            let Source::DotEnv { file, line } = &layer.source else { continue };
            let mut blind: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            for process in plan.processes() {
                let handles = process.uses.iter().filter(|used| used.var.as_str() == layer.name);
                handles
                    .for_each(|used| blind.entry(used.provider.to_string()).or_default().push(process.name.as_str()));
            }
            warnings.extend(blind.into_iter().map(|(provider, processes)| {
                format!(
                    "warning: {} does not get this `{}`: its handle to `{provider}` has that name\n --> {}:{line}\n  |\n  \
                     = help: `tambat attach {provider} URL` points the handle elsewhere; or take the line out",
                    processes.join(", "),
                    layer.name,
                    file.file_name().map_or_else(|| file.as_path(), Path::new).display(),
                )
            }));
        }
        warnings
    }

    fn dotenv(&mut self, dir: &Path, file: &Path, named: bool) -> Result<(), Failure> {
        let shell = |name: &str| std::env::var(name).ok();
        match tambat_manifest::read_dotenv(&dir.join(file), &shell)? {
            Some(found) => {
                self.all.extend(found.layers);
                self.warnings.extend(found.warnings);
                Ok(())
            }
            None if named => {
                Err(Failure::usage(format!("cannot read {}: there is no such file", dir.join(file).display())))
            }
            None => Ok(()),
        }
    }
}

/// `-E NAME=VALUE`; `-E NAME` takes the shell's value, so that a secret need not stand on the command line.
fn command_line(word: &str) -> Result<Layer, Failure> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => match std::env::var(word) {
            Ok(value) => (word, value),
            Err(_) => {
                return Err(Failure::usage(format!(
                    "-E {word}: there is no such variable in the shell; write -E NAME=VALUE"
                )));
            }
        },
    };
    let name: VarName = name.parse().map_err(|error| Failure::usage(format!("-E: {error}")))?;
    Ok(Layer { source: Source::CommandLine, name: name.to_string(), value })
}
