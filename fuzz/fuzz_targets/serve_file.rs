#![no_main]

#[path = "../entry.rs"]
#[expect(dead_code, reason = "each target uses one of the functions")]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::serve_file(data));
