//! The decoders of `keelson-store`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_store::fuzz::TARGETS, bytes));
