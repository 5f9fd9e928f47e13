//! The dependency files of an app's directory, read for the model.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use tambat_model::{DependencyFile, Plan};

/// So much of each file is read: what people write is a hundredth of it. What stands behind that is not seen.
const DEPENDENCY_FILE_BYTES_MAX: u64 = 256 * 1024;

/// The plan, with what the dependency files of its app tell.
pub(crate) fn recognising(plan: Plan) -> Plan {
    let files = read(plan.dir());
    plan.recognising(&files)
}

/// Those that are there. One that cannot be read is as good as none: what they tell is advice, and no app is kept from
/// starting for want of it.
fn read(dir: &Path) -> Vec<DependencyFile> {
    DependencyFile::names().filter_map(|name| DependencyFile::read(name, &text(&dir.join(name))?)).collect()
}

/// Whoever opens a pipe waits for its other end: only files are opened.
fn text(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(DEPENDENCY_FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_nothing_else_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(read(dir.path()), []);
        fs::create_dir(at("Gemfile")).unwrap();
        nix::unistd::mkfifo(&at("go.mod"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::write(at("requirements.txt"), b"\xff\nflask\n").unwrap();
        let mut long = vec![b'#'; usize::try_from(DEPENDENCY_FILE_BYTES_MAX).unwrap()];
        long.extend_from_slice(b"\n[dependencies]\naxum = \"1\"\n");
        fs::write(at("Cargo.toml"), long).unwrap();
        let flask = DependencyFile::read("requirements.txt", "flask").unwrap();
        assert_eq!(read(dir.path()), [flask, DependencyFile::read("Cargo.toml", "").unwrap()]);
    }
}
