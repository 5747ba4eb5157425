//! The decoders of `keelson-repository`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_repository::fuzz::TARGETS, bytes));
