//! The decoders of `keelson-protection`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_protection::fuzz::TARGETS, bytes));
