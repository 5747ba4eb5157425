//! The decoders of `keelson-resources`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_resources::fuzz::TARGETS, bytes));
