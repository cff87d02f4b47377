#![no_main]
//! See `proxy/tests/h1/oracle.rs`.

#[path = "../../proxy/tests/h1/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|input: &[u8]| oracle::check(input));
