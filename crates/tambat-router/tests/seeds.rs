//! Every seed of the fuzz target keeps the promises that the fuzzer looks for breaches of.

#[cfg(test)]
#[path = "../src/tls/asked.rs"]
mod asked;

#[cfg(test)]
#[path = "../../../fuzz/tls_hello.rs"]
mod tls_hello;

#[cfg(test)]
mod seeds {
    use std::path::Path;

    use crate::tls_hello::hello;

    fn seeds() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/tls_hello");
        let seeds: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(seeds.len() >= 10, "{}: {} seeds", folder.display(), seeds.len());
        seeds
    }

    #[test]
    fn hellos_ask_for_the_same_however_they_are_cut() {
        seeds().iter().for_each(|seed| hello(seed));
    }

    /// Every fifth byte of the head of each seed changed, and as many ends cut off.
    #[test]
    fn hellos_that_are_a_byte_off_never_ask_for_what_is_no_name() {
        for seed in seeds() {
            for at in (0..seed.len().min(300)).step_by(5) {
                for byte in [0, 0xff, b'.', b'A', seed[at] ^ 1] {
                    let mut changed = seed.clone();
                    changed[at] = byte;
                    hello(&changed);
                }
                hello(&seed[..at]);
            }
        }
    }
}
