#![no_main]

// The file itself: it needs nothing of the product, and the fuzzer's build should not need it either.
#[path = "../../src/mitm/hosts/block.rs"]
mod block;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (names, addresses): (&[&str], _) = (&["a.example", "b.example"], [[127, 0, 0, 1].into(), "::1".parse().unwrap()]);
    block::check(input, &block::Wanted { hosts: names, addresses: &addresses, catalogue: names, windows: input.len() % 2 == 0 });
});
