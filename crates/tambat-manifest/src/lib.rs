//! From text to plan: `tambat.toml`, `Procfile` and `.env`.
//!
//! [`load`] reads what a directory has and gives the [`Plan`], or everything that is wrong with it at once: each a
//! [`Diagnostic`] with the text underlined and what to write instead. Only [`Files::read`], [`load`],
//! [`plan_for_command`] and [`dotenv::read_dotenv`] touch the file system; the rest takes text.

mod assemble;
mod diagnostic;
pub mod dotenv;
mod duration;
mod error;
mod findings;
mod keys;
mod manifest;
mod procfile;
mod reader;
mod text;

use std::path::Path;

use tambat_model::{AppName, Draft, Plan, ProcessDraft, ProcessName};

pub use diagnostic::{Diagnostic, Severity, Source, Spot};
pub use dotenv::{DotEnv, read_dotenv};
pub use duration::{DURATION_MAX, DurationError, parse_duration};
pub use error::LoadError;
pub use keys::{KEYS, Key, KeyTable, keys_as_markdown};
pub use text::{FILE_BYTES_MAX, Text};

/// The name of the manifest.
pub const MANIFEST: &str = "tambat.toml";

/// The name of the Procfile.
pub const PROCFILE: &str = "Procfile";

/// What was found in an app's directory.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// `tambat.toml`.
    pub manifest: Option<Text>,
    /// `Procfile`, or the file named in its place.
    pub procfile: Option<Text>,
}

/// A plan, and what its user should know although it can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What is meant.
    pub plan: Plan,
    /// In the order of the files.
    pub warnings: Vec<Diagnostic>,
}

impl Files {
    /// Reads what this directory has. `procfile` names another file in place of `Procfile`, seen from the directory,
    /// and then it must exist.
    pub fn read(dir: &Path, procfile: Option<&Path>) -> Result<Self, LoadError> {
        let manifest = Text::read(&dir.join(MANIFEST))?;
        let path = dir.join(procfile.unwrap_or(Path::new(PROCFILE)));
        let text = Text::read(&path)?;
        if text.is_none() && procfile.is_some() {
            return Err(LoadError::Unreadable { path, source: std::io::ErrorKind::NotFound.into() });
        }
        Ok(Self { manifest, procfile: text })
    }

    /// What they mean for an app in this directory, which should be canonical: the app's default name is its last
    /// part. `Err`: everything that is wrong, errors first.
    pub fn plan(&self, dir: &Path) -> Result<Loaded, Vec<Diagnostic>> {
        assemble::assemble(self, dir)
    }
}

/// Reads `tambat.toml` and the `Procfile` of this directory, at least one of which must be there. `procfile` names
/// another file (`-f`), seen from the directory.
pub fn load(dir: &Path, procfile: Option<&Path>) -> Result<Loaded, LoadError> {
    let files = Files::read(dir, procfile)?;
    if files.manifest.is_none() && files.procfile.is_none() {
        return Err(LoadError::NoFiles { dir: dir.to_path_buf() });
    }
    files.plan(&canonical(dir)?).map_err(LoadError::Invalid)
}

/// The plan for `tambat start -- CMD`: the command is the process `web` of an app named after this directory. No file
/// is read.
pub fn plan_for_command(dir: &Path, command: &str) -> Result<Plan, LoadError> {
    let dir = canonical(dir)?;
    let web = ProcessDraft::new(ProcessName::web(), Some(command.to_owned()));
    let draft = Draft { name: name_of(&dir), dir, build: None, processes: vec![web], resources: Vec::new() };
    match Plan::new(draft) {
        Ok((plan, _)) => Ok(plan),
        Err(_) => Err(LoadError::NoCommand),
    }
}

fn canonical(dir: &Path) -> Result<std::path::PathBuf, LoadError> {
    dir.canonicalize().map_err(|source| LoadError::Unreadable { path: dir.to_path_buf(), source })
}

/// The name an app has by its directory.
fn name_of(dir: &Path) -> AppName {
    AppName::from_directory(&dir.file_name().unwrap_or_default().to_string_lossy())
}
