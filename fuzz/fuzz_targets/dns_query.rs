#![no_main]

#[path = "../dns_query.rs"]
mod dns_query;

libfuzzer_sys::fuzz_target!(|data: &[u8]| dns_query::dns_query(data));
