//! Where `tambat-fixture` is: beside the tambat that is tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The tambat that is tested.
pub(crate) const TAMBAT: &str = env!("CARGO_BIN_EXE_tambat");

/// The folder of tambat and its fixture. `cargo test --workspace` has built both; under `-p tambat` the fixture is
/// built here if it is missing or older than its source.
pub(crate) fn folder() -> PathBuf {
    let tambat = Path::new(TAMBAT);
    let fixture = tambat.with_file_name("tambat-fixture");
    if is_older_than_its_source(&fixture) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "-p", "tambat-fixture", "--manifest-path"])
            .arg(source().join("Cargo.toml"))
            .output()
            .unwrap();
        assert!(built.status.success(), "cannot build tambat-fixture: {}", String::from_utf8_lossy(&built.stderr));
        assert!(fixture.exists(), "{} was not built: run `cargo test --workspace`", fixture.display());
    }
    tambat.parent().unwrap().to_owned()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/app")
}

fn is_older_than_its_source(fixture: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    let Some(built) = modified(fixture) else { return true };
    let sources = std::fs::read_dir(source().join("src")).unwrap().map(|entry| entry.unwrap().path());
    let newest = sources.filter_map(|path| modified(&path)).max().unwrap_or(SystemTime::UNIX_EPOCH);
    newest > built
}
