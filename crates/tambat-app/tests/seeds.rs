//! The promises that the fuzz target checks, held with every seed.

#![expect(clippy::expect_used, reason = "a test panics where it fails, and so do its helpers")]

use std::path::Path;

#[path = "../../../fuzz/handles.rs"]
mod handles;

#[test]
fn every_seed_keeps_the_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/app_resource");
    let mut replayed = 0;
    for seed in std::fs::read_dir(&folder).expect("the folder of the seeds").flatten() {
        handles::app_resource(&std::fs::read(seed.path()).expect("a seed"));
        replayed += 1;
    }
    assert!(replayed > 0, "no seed in {}", folder.display());
}
