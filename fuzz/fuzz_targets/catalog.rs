//! The decoders of `keelson-catalog`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_catalog::fuzz::TARGETS, bytes));
