#![no_main]

#[path = "../openings.rs"]
#[expect(dead_code, reason = "each target uses one of the functions")]
mod openings;

libfuzzer_sys::fuzz_target!(|data: &[u8]| openings::hello(data));
