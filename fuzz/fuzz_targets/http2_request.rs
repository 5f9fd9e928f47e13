#![no_main]

#[path = "../http1/mod.rs"]
#[expect(dead_code, reason = "the reader alone is used")]
mod http1;
#[path = "../http2.rs"]
mod http2;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http2::http2_request(data));
