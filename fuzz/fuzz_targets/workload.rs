//! The decoders of `keelson-workload`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keelson_fuzz::decode(keelson_workload::fuzz::TARGETS, bytes));
