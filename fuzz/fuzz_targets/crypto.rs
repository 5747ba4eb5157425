//! The decoders of `keelson-crypto`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_crypto::fuzz::TARGETS, bytes));
