#![no_main]

#[path = "../handles.rs"]
mod handles;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handles::app_resource(data));
