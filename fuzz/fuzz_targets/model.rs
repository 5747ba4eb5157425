//! The decoders of `keelson-model`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_model::fuzz::TARGETS, bytes));
