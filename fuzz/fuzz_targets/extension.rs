//! The decoders of `keelson-extension`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_extension::fuzz::TARGETS, bytes));
