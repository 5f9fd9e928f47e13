#![no_main]

#[path = "../../crates/tambat-router/src/tls/asked.rs"]
mod asked;
#[path = "../tls_hello.rs"]
mod tls_hello;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls_hello::hello(data));
