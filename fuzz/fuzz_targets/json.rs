#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    codecs::fuzzing::json(input, |text| serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok());
});
