//! The files themselves: read once, with a limit, as UTF-8.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::LoadError;

/// A manifest, a Procfile or a `.env` file of more than this is another file by mistake, and parsing it takes time.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Editors on Windows begin a file with it (U+FEFF); it says nothing in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A text and the path by which people know its file. There is no `Debug`: a text may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    path: PathBuf,
    text: String,
}

impl Text {
    /// A text from this file; a byte order mark at its beginning is left out.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        Self { path: path.into(), text }
    }

    /// Reads this file. `Ok(None)`: there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, LoadError> {
        Self::read_at_most(path, FILE_BYTES_MAX)
    }

    /// Reads this file, which may have so many bytes. `Ok(None)`: there is none.
    pub(crate) fn read_at_most(path: &Path, bytes_max: u64) -> Result<Option<Self>, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: shown(path), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > bytes_max {
            return Err(LoadError::TooLarge { path: shown(path), bytes_max });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            LoadError::NotUtf8 { path: shown(path), line: valid.split(|b| *b == b'\n').count() }
        })?;
        Ok(Some(Self::new(shown(path), text)))
    }

    /// The path by which people know the file: seen from the current directory where it lies below it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, secrets included.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `./tambat.toml` and `/where/i/am/tambat.toml` are `tambat.toml` to whoever stands there.
fn shown(path: &Path) -> PathBuf {
    let below = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    below.unwrap_or_else(|| path.strip_prefix(".").unwrap_or(path).to_path_buf())
}
