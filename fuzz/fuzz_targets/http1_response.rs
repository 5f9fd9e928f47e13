#![no_main]

#[path = "../http1/mod.rs"]
#[expect(dead_code, reason = "each target uses one of the functions")]
mod http1;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http1::http1_response(data));
