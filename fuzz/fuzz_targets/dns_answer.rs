#![no_main]

#[path = "../answers.rs"]
#[expect(dead_code, reason = "each target uses one of the functions")]
mod answers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answers::dns_answer(data));
