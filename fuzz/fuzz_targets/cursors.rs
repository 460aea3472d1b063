#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forelog::campaign::targets::cursors(data));
