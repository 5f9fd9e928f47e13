//! Where `tambat-fixture` is: beside the tambat that is tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The tambat that is tested.
pub(crate) const TAMBAT: &str = env!("CARGO_BIN_EXE_tambat");

/// The folder of tambat and its fixture.
pub(crate) fn folder() -> PathBuf {
    build_if_older("tambat-fixture", &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/app"));
    Path::new(TAMBAT).parent().unwrap().to_owned()
}

/// Sees that the program of this package is beside tambat. `cargo test --workspace` has built it; under `-p tambat` it is
/// built here if it is missing or older than its source.
pub(crate) fn build_if_older(package: &str, source: &Path) {
    let program = Path::new(TAMBAT).with_file_name(package);
    if !is_older(&program, &source.join("src")) {
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "-p", package, "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(built.status.success(), "cannot build {package}: {}", String::from_utf8_lossy(&built.stderr));
    assert!(program.exists(), "{} was not built: run `cargo test --workspace`", program.display());
}

fn is_older(program: &Path, source: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let Some(built) = modified(program) else { return true };
    let sources = std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path());
    let newest = sources.filter_map(|path| modified(&path)).max().unwrap_or(SystemTime::UNIX_EPOCH);
    newest > built
}
